//! A program's signals: what it asked for, what its threads block, what waits for them.
//!
//! Processes send them to each other, the kernel tells of ended children by one, and a program's bugs send it some. How they reach it
//! is in `deliver`.

mod of_thread;

use alloc::collections::BTreeMap;

use mm::Errno;

use super::family::Pid;
use super::status::{ExitStatus, Signal};

pub use of_thread::OfThread;

/// SIG_DFL.
pub const DEFAULT: u64 = 0;
/// SIG_IGN.
pub const IGNORE: u64 = 1;

/// What a program asked for with `rt_sigaction`, in the order of Linux's structure.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Action {
    /// [`DEFAULT`], [`IGNORE`], or the address of a handler.
    pub handler: u64,
    /// SA_… flags.
    pub flags: u64,
    /// Where a handler returns to.
    pub restorer: u64,
    /// Signals blocked while it runs.
    pub mask: u64,
}

/// Why a signal was sent: what a handler finds in `siginfo`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Info {
    /// The signal.
    pub signal: Signal,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`, or the process that sent it or has ended (`si_pid`).
    pub value: u64,
    /// `si_status`, of a child that has ended.
    pub status: i32,
}

impl Info {
    /// SI_USER: sent by process `pid`.
    pub const fn sent_by(signal: Signal, pid: u32) -> Self {
        Self { signal, code: 0, value: pid as u64, status: 0 }
    }

    /// SI_TKILL: sent by process `pid` to one thread.
    pub const fn sent_to_thread(signal: Signal, pid: u32) -> Self {
        Self { code: -6, ..Self::sent_by(signal, pid) }
    }

    /// SI_KERNEL: sent by nobody.
    pub const fn from_kernel(signal: Signal) -> Self {
        Self { code: 0x80, ..Self::sent_by(signal, 0) }
    }

    /// SIGCHLD: process `pid` has ended so.
    pub fn of_child(pid: u32, status: ExitStatus) -> Self {
        const EXITED: i32 = 1;
        const KILLED: i32 = 2;
        let (code, status) = match status {
            ExitStatus::Killed(signal) => (KILLED, signal.0),
            other => (EXITED, other.code()),
        };
        Self { signal: Signal::CHLD, code, value: pid.into(), status: status.into() }
    }
}

impl Info {
    /// Bytes of a `siginfo`.
    pub const SIZE: usize = 128;

    /// As a `siginfo`.
    pub fn bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&i32::from(self.signal.0).to_le_bytes());
        bytes[8..12].copy_from_slice(&self.code.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.value.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.status.to_le_bytes());
        bytes
    }
}

/// What `sigaltstack` was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AlternateStack {
    /// Its lowest address.
    pub address: u64,
    /// SS_… flags.
    pub flags: u32,
    /// Its size.
    pub size: u64,
}

impl AlternateStack {
    /// There is none.
    pub const NONE: Self = Self { address: 0, flags: Self::DISABLED, size: 0 };
    /// SS_ONSTACK: the program runs on it.
    const IN_USE: u32 = 1;
    /// SS_DISABLE: there is none.
    const DISABLED: u32 = 2;
    /// SS_AUTODISARM: there is none while a handler runs on it, so that this one may give its place to others.
    const AUTODISARM: u32 = 1 << 31;
    /// The smallest there may be, as on Linux: a frame fits.
    const SMALLEST: u64 = 5120;

    /// Where a handler that shall run on it starts; `None` if there is none, or a program with this stack pointer is on it.
    pub fn top(&self, sp: u64) -> Option<u64> {
        (self.flags & Self::DISABLED == 0 && !self.is_in_use(sp)).then(|| self.address.wrapping_add(self.size))
    }

    /// Whether a handler's frame is on it. One that is disarmed meanwhile never is.
    fn is_in_use(&self, sp: u64) -> bool {
        self.flags & Self::AUTODISARM == 0 && sp > self.address && sp - self.address <= self.size
    }

    /// What a program with this stack pointer is told of it.
    pub fn told(&self, sp: u64) -> Self {
        Self { flags: self.flags | if self.is_in_use(sp) { Self::IN_USE } else { 0 }, ..*self }
    }

    /// What is kept of what a program has said.
    fn checked(self) -> Result<Self, Errno> {
        match self.flags & !Self::AUTODISARM {
            Self::DISABLED => Ok(Self { flags: self.flags, ..Self::NONE }),
            0 | Self::IN_USE if self.size < Self::SMALLEST => Err(Errno::ENOMEM),
            0 | Self::IN_USE => Ok(Self { flags: self.flags & Self::AUTODISARM, ..self }),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// Signals that wait, each once, with why it was sent.
#[derive(Clone, Default, Debug)]
struct Waiting(BTreeMap<Signal, Info>);

impl Waiting {
    fn set(&self) -> u64 {
        self.0.keys().fold(0, |set, signal| set | signal.bit())
    }

    fn add(&mut self, info: Info) {
        self.0.entry(info.signal).or_insert(info);
    }

    /// The lowest of a set.
    fn take(&mut self, set: u64) -> Option<Info> {
        let signal = self.0.keys().copied().find(|signal| signal.bit() & set != 0)?;
        self.0.remove(&signal)
    }
}

/// What each thread has for itself.
#[derive(Clone, Debug)]
struct Own {
    blocked: u64,
    waiting: Waiting,
    /// What was blocked before a wait for signals blocked others: the next handler returns to that.
    before_wait: Option<u64>,
    /// The stack for handlers.
    stack: AlternateStack,
    /// Whether it is to end, as its process does or runs another program.
    must_end: bool,
}

impl Own {
    const fn new(blocked: u64, stack: AlternateStack) -> Self {
        Self { blocked, waiting: Waiting(BTreeMap::new()), before_wait: None, stack, must_end: false }
    }
}

impl Default for Own {
    fn default() -> Self {
        Self::new(0, AlternateStack::NONE)
    }
}

/// The signals of a process: what it asked for, and what waits for whichever thread takes it, or for one of them.
#[derive(Clone, Debug)]
pub struct Signals {
    actions: [Action; Signal::LAST as usize],
    waiting: Waiting,
    threads: BTreeMap<Pid, Own>,
    /// The thread that is asked first whether it takes one.
    first: Pid,
}

/// Who is to notice a signal that was sent to a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Notices {
    /// Nobody: the program ignores it.
    Nobody,
    /// This thread, which does not block it.
    One(Pid),
    /// All: each must end, or all block it and one may wait for it.
    All,
}

/// SIGKILL and SIGSTOP, which nothing holds off.
const UNSTOPPABLE: u64 = Signal::KILL.bit() | Signal::STOP.bit();

impl Signals {
    /// What a new program has, with this thread: every action the default, nothing blocked.
    pub fn new(thread: Pid) -> Self {
        Self {
            actions: [Action::default(); Signal::LAST as usize],
            waiting: Waiting::default(),
            threads: BTreeMap::from([(thread, Own::default())]),
            first: thread,
        }
    }

    /// What a child of `thread` has: all of it, but nothing waits.
    pub fn of_child(&self, thread: Pid, child: Pid) -> Self {
        let own = self.threads.get(&thread).map_or_else(Own::default, |own| Own::new(own.blocked, own.stack));
        Self { actions: self.actions, threads: BTreeMap::from([(child, own)]), ..Self::new(child) }
    }

    /// `thread` runs another program, and is the first and only one from now on: what is ignored or blocked stays so, and what waits
    /// waits.
    pub fn start_program(&mut self, thread: Pid, first: Pid) {
        for action in &mut self.actions {
            let handler = if action.handler == IGNORE { IGNORE } else { DEFAULT };
            *action = Action { handler, ..Action::default() };
        }
        let own = self.threads.remove(&thread).unwrap_or_default();
        self.threads = BTreeMap::from([(first, Own { stack: AlternateStack::NONE, before_wait: None, ..own })]);
        self.first = first;
    }

    /// `thread` makes another one, which blocks what it blocks, and is to end if it is.
    pub fn add_thread(&mut self, thread: Pid, new: Pid) {
        let (blocked, must_end) = self.threads.get(&thread).map_or((0, false), |own| (own.blocked, own.must_end));
        self.threads.insert(new, Own { must_end, ..Own::new(blocked, AlternateStack::NONE) });
    }

    /// A thread is there no longer; how many are left.
    pub fn remove_thread(&mut self, thread: Pid) -> usize {
        self.threads.remove(&thread);
        self.threads.len()
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Says that all threads but `other` are to end.
    pub fn end_threads(&mut self, other: Option<Pid>) {
        for (_, own) in self.threads.iter_mut().filter(|&(&thread, _)| Some(thread) != other) {
            own.must_end = true;
        }
    }

    /// The action of a signal.
    pub fn action(&self, signal: Signal) -> Action {
        self.actions[usize::from(signal.0) - 1]
    }

    /// Sets the action of a signal. False for SIGKILL and SIGSTOP, whose action can not be set.
    #[must_use]
    pub fn set_action(&mut self, signal: Signal, action: Action) -> bool {
        if UNSTOPPABLE & signal.bit() != 0 {
            return false;
        }
        self.actions[usize::from(signal.0) - 1] = action;
        if self.is_ignored(signal) {
            self.waiting.take(signal.bit());
            for own in self.threads.values_mut() {
                own.waiting.take(signal.bit());
            }
        }
        true
    }

    /// Sends a signal; one that waits already is not sent twice. Who blocks a signal may wait for it, so then it is kept even if the
    /// program ignores it.
    pub fn raise(&mut self, info: Info) -> Notices {
        let bit = info.signal.bit();
        if self.is_ignored(info.signal) && self.threads.values().all(|own| own.blocked & bit == 0) {
            return Notices::Nobody;
        }
        self.waiting.add(info);
        if info.signal == Signal::KILL { Notices::All } else { self.taker(bit).map_or(Notices::All, Notices::One) }
    }

    /// A thread that would take a signal of a set.
    fn taker(&self, set: u64) -> Option<Pid> {
        let takes = |own: &Own| !own.must_end && !own.blocked & set != 0;
        if self.threads.get(&self.first).is_some_and(takes) {
            return Some(self.first);
        }
        self.threads.iter().find(|(_, own)| takes(own)).map(|(&thread, _)| thread)
    }

    /// Who is to look again whether a signal waits that was sent to the process: who was to take it may block it now, or be gone.
    pub fn left_over(&self) -> Option<Pid> {
        if self.waiting.0.is_empty() { None } else { self.taker(self.waiting.set()) }
    }

    /// The same signal for one thread; `None` if there is no such thread, false if the program ignores it.
    pub fn raise_in(&mut self, thread: Pid, info: Info) -> Option<bool> {
        let is_ignored = self.is_ignored(info.signal);
        let own = self.threads.get_mut(&thread)?;
        let is_kept = !is_ignored || own.blocked & info.signal.bit() != 0;
        if is_kept {
            own.waiting.add(info);
        }
        Some(is_kept)
    }

    /// Whether SIGKILL waits for the process.
    pub fn is_killed(&self) -> bool {
        self.waiting.set() & Signal::KILL.bit() != 0
    }

    /// Whether ended children of the program are forgotten at once: it ignores SIGCHLD, or has said so (SA_NOCLDWAIT).
    pub fn forgets_children(&self) -> bool {
        const NOCLDWAIT: u64 = 2;
        let action = self.action(Signal::CHLD);
        action.handler == IGNORE || action.flags & NOCLDWAIT != 0
    }

    /// Whether the program does not notice it.
    pub fn is_ignored(&self, signal: Signal) -> bool {
        match self.action(signal).handler {
            DEFAULT => signal.is_ignored_by_default(),
            IGNORE => true,
            _ => false,
        }
    }
}

#[cfg(test)]
#[path = "signals_tests.rs"]
mod tests;
