//! Who is whose child, in which group and session, and who has ended without being asked for yet. Pure: what a process is, is up to
//! whoever asks.
//!
//! The first process is what init is to Linux: children whose parent ends become its own.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use mm::Errno;

use super::status::ExitStatus;

/// A process's number.
pub type Pid = u32;

/// The first process.
pub const FIRST: Pid = 100;
/// Its parent, which is no process.
pub const NOBODY: Pid = 1;
/// One past the largest number, Linux's usual one.
const PID_MAX: Pid = 32768;

struct Member<T> {
    parent: Pid,
    group: Pid,
    session: Pid,
    /// Whether it has replaced its program.
    has_executed: bool,
    state: State<T>,
}

enum State<T> {
    Alive(T),
    Ended(ExitStatus),
}

/// All processes.
pub struct Family<T> {
    members: BTreeMap<Pid, Member<T>>,
    /// Threads beside the first of each process, which has its number: whose they are.
    threads: BTreeMap<Pid, Pid>,
    next: Pid,
}

/// Which of its children a process asks for, as `wait4` has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// Any.
    Any,
    /// This one.
    Child(Pid),
    /// Any of this group.
    Group(Pid),
}

/// Who must be told of an end.
#[derive(Debug)]
pub struct Bereaved<T> {
    /// The parent, if it is alive: with the number of what has ended.
    pub parent: Option<T>,
    /// The first process, if it has become the parent of somebody.
    pub first: Option<T>,
}

impl<T: Clone> Family<T> {
    /// With nobody in it.
    pub const fn new() -> Self {
        Self { members: BTreeMap::new(), threads: BTreeMap::new(), next: FIRST }
    }

    /// Makes the first process.
    pub fn found(&mut self, make: impl FnOnce(Pid) -> T) -> T {
        self.members.clear();
        self.threads.clear();
        self.next = FIRST + 1;
        let value = make(FIRST);
        let state = State::Alive(value.clone());
        let first = Member { parent: NOBODY, group: FIRST, session: FIRST, has_executed: true, state };
        self.members.insert(FIRST, first);
        value
    }

    /// Makes a child of `parent`, in its group and session.
    ///
    /// # Errors
    /// `EAGAIN` if there are `most` processes and threads already, or the first has ended, and all others are about to.
    pub fn add_child(&mut self, parent: Pid, most: usize, make: impl FnOnce(Pid) -> T) -> Result<T, Errno> {
        if self.count() >= most || self.get(FIRST).is_none() {
            return Err(Errno::EAGAIN);
        }
        let of_parent = self.members.get(&parent).ok_or(Errno::EAGAIN)?;
        let (group, session) = (of_parent.group, of_parent.session);
        let pid = self.free_number();
        let value = make(pid);
        let state = State::Alive(value.clone());
        self.members.insert(pid, Member { parent, group, session, has_executed: false, state });
        Ok(value)
    }

    /// Makes a thread of a process beside its first; its number.
    ///
    /// # Errors
    /// `EAGAIN` if there are `most` processes and threads already, or half as many threads of this process: others need some too.
    pub fn add_thread(&mut self, pid: Pid, most: usize) -> Result<Pid, Errno> {
        let of_process = 1 + self.threads.values().filter(|&&process| process == pid).count();
        if self.count() >= most || of_process >= most / 2 {
            return Err(Errno::EAGAIN);
        }
        let thread = self.free_number();
        self.threads.insert(thread, pid);
        Ok(thread)
    }

    /// A thread beside the first of its process has ended.
    pub fn forget_thread(&mut self, thread: Pid) {
        self.threads.remove(&thread);
    }

    /// The process, if it is alive, of which this is a thread, the first or another one.
    pub fn with_thread(&self, thread: Pid) -> Option<T> {
        self.get(self.threads.get(&thread).copied().unwrap_or(thread))
    }

    /// The next number that names no process, thread, group or session.
    fn free_number(&mut self) -> Pid {
        loop {
            let pid = self.next;
            self.next = if pid + 1 < PID_MAX { pid + 1 } else { FIRST + 1 };
            let is_used =
                |(&other, member): (&Pid, &Member<T>)| other == pid || member.group == pid || member.session == pid;
            if !self.threads.contains_key(&pid) && !self.members.iter().any(is_used) {
                return pid;
            }
        }
    }

    /// Takes back a child that could not be made after all.
    pub fn forget(&mut self, pid: Pid) {
        self.members.remove(&pid);
    }

    /// A process that is alive.
    pub fn get(&self, pid: Pid) -> Option<T> {
        match &self.members.get(&pid)?.state {
            State::Alive(value) => Some(value.clone()),
            State::Ended(_) => None,
        }
    }

    /// Whether there is such a process, perhaps one that has ended and was not asked for yet.
    pub fn exists(&self, pid: Pid) -> bool {
        self.members.contains_key(&pid)
    }

    /// How many processes there are, with those that have ended and were not asked for, and threads beside the first of each.
    pub fn count(&self) -> usize {
        self.members.len() + self.threads.len()
    }

    /// All that are alive.
    pub fn alive(&self) -> Vec<T> {
        self.members.keys().filter_map(|&pid| self.get(pid)).collect()
    }

    /// Those of a group that are alive.
    pub fn alive_in(&self, group: Pid) -> Vec<T> {
        self.members.iter().filter(|(_, member)| member.group == group).filter_map(|(&pid, _)| self.get(pid)).collect()
    }

    /// Whether a group has members.
    pub fn is_group(&self, group: Pid) -> bool {
        self.members.values().any(|member| member.group == group)
    }

    /// The parent of a process: [`NOBODY`] for the first.
    pub fn parent(&self, pid: Pid) -> Pid {
        self.members.get(&pid).map_or(NOBODY, |member| member.parent)
    }

    /// A process has replaced its program.
    pub fn note_execution(&mut self, pid: Pid) {
        if let Some(member) = self.members.get_mut(&pid) {
            member.has_executed = true;
        }
    }

    /// A process ends, with the last of its threads, which need not be its first. Its children are the first's from now on. If nobody will
    /// ask for it (`is_asked_for`), it is forgotten at once.
    pub fn end(&mut self, pid: Pid, status: ExitStatus, is_asked_for: bool) -> Bereaved<T> {
        self.threads.retain(|_, process| *process != pid);
        let parent = self.get(self.parent(pid));
        let mut has_orphans = false;
        for (_, orphan) in self.members.iter_mut().filter(|(_, member)| member.parent == pid) {
            orphan.parent = FIRST;
            has_orphans = true;
        }
        match self.members.get_mut(&pid) {
            Some(member) if is_asked_for => member.state = State::Ended(status),
            _ => self.forget(pid),
        }
        Bereaved { parent, first: self.get(FIRST).filter(|_| has_orphans) }
    }

    /// Takes a child that has ended: its number and how it ended. `None` while those asked for are all alive. With `keep` it can be
    /// asked for again.
    ///
    /// # Errors
    /// `ECHILD` if there is no such child.
    pub fn ask_for(&mut self, parent: Pid, which: Which, keep: bool) -> Result<Option<(Pid, ExitStatus)>, Errno> {
        let is_meant = |pid: Pid, member: &Member<T>| match which {
            Which::Any => true,
            Which::Child(child) => pid == child,
            Which::Group(group) => member.group == group,
        };
        let children = self.members.iter().filter(|&(&pid, member)| member.parent == parent && is_meant(pid, member));
        let mut any = false;
        let mut found = None;
        for (&pid, member) in children {
            any = true;
            if let State::Ended(status) = member.state {
                found = Some((pid, status));
                break;
            }
        }
        if let Some((pid, _)) = found.filter(|_| !keep) {
            self.forget(pid);
        }
        if any { Ok(found) } else { Err(Errno::ECHILD) }
    }

    /// The group of a process.
    ///
    /// # Errors
    /// `ESRCH`.
    pub fn group(&self, pid: Pid) -> Result<Pid, Errno> {
        Ok(self.members.get(&pid).ok_or(Errno::ESRCH)?.group)
    }

    /// The session of a process.
    ///
    /// # Errors
    /// `ESRCH`.
    pub fn session(&self, pid: Pid) -> Result<Pid, Errno> {
        Ok(self.members.get(&pid).ok_or(Errno::ESRCH)?.session)
    }

    /// Puts `pid`, which is `caller` or a child of it, into a group (`setpgid`).
    ///
    /// # Errors
    /// Linux's.
    pub fn set_group(&mut self, caller: Pid, pid: Pid, group: Pid) -> Result<(), Errno> {
        let session = self.session(caller)?;
        let member = self.members.get(&pid).ok_or(Errno::ESRCH)?;
        if pid != caller && member.parent != caller {
            return Err(Errno::ESRCH);
        }
        if pid != caller && member.has_executed {
            return Err(Errno::EACCES);
        }
        let fits =
            group == pid || self.members.values().any(|member| member.group == group && member.session == session);
        if member.session != session || member.session == pid || !fits {
            return Err(Errno::EPERM);
        }
        if let Some(member) = self.members.get_mut(&pid) {
            member.group = group;
        }
        Ok(())
    }

    /// Makes `pid` the leader of a session and of a group of its own (`setsid`).
    ///
    /// # Errors
    /// `EPERM` if it leads a group already.
    pub fn new_session(&mut self, pid: Pid) -> Result<Pid, Errno> {
        if self.is_group(pid) {
            return Err(Errno::EPERM);
        }
        let member = self.members.get_mut(&pid).ok_or(Errno::ESRCH)?;
        (member.group, member.session) = (pid, pid);
        Ok(pid)
    }
}

impl<T: Clone> Default for Family<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[path = "family_tests.rs"]
mod tests;
