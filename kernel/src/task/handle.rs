//! What processes have of each other: a number, a way to send a signal, a way to wait. And all of them.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, Ordering};

use mm::Errno;
use spin::mutex::SpinMutexGuard;

use super::about::About;
use super::family::{Family, NOBODY, Pid};
use super::missing::Missing;
use super::schedule::{self, Task};
use super::signals::{Info, Notices, OfThread, Signals};
use super::space::UserSpace;
use super::status::{ExitStatus, Signal};
use super::wait::WaitQueue;
use crate::arch::cpu::{SpinLock, Yield};

static FAMILY: SpinLock<Family<Arc<Handle>>> = SpinLock::new(Family::new());
/// Whoever has started the first process waits here for the end of all.
static ENDS: WaitQueue = WaitQueue::new("for its program to end");

/// What others have of a process.
pub struct Handle {
    /// Its number, which is that of its first thread too.
    pub pid: Pid,
    /// Its signals, and which threads it has.
    signals: SpinLock<Signals>,
    /// The tasks that run its threads.
    tasks: SpinLock<BTreeMap<Pid, Arc<Task>>>,
    about: SpinLock<About>,
    space: SpinLock<Weak<UserSpace>>,
    /// What it asked for in vain.
    missing: SpinLock<Missing>,
    /// It waits here for its children to end.
    pub children: WaitQueue,
    end: SpinLock<End>,
    /// Whether it has given back the memory that it borrowed from its parent (`vfork`), who waits for it.
    has_own_memory: AtomicBool,
    parent_waits: WaitQueue,
    /// A thread that runs another program waits here until it is alone.
    others_end: WaitQueue,
}

/// What becomes of a process.
#[derive(Default)]
struct End {
    /// How it ends, with all its threads.
    all: Option<ExitStatus>,
    /// How its first thread has ended, if that alone has: so does the process if nothing else ends it.
    first: Option<ExitStatus>,
    /// Nanoseconds that threads have run that have ended.
    ran: u64,
}

impl Handle {
    pub(super) fn new(pid: Pid, signals: Signals, about: About) -> Self {
        Self {
            pid,
            signals: SpinLock::new(signals),
            tasks: SpinLock::new(BTreeMap::new()),
            about: SpinLock::new(about),
            space: SpinLock::new(Weak::new()),
            missing: SpinLock::new(Missing::default()),
            children: WaitQueue::new("for a child to end"),
            end: SpinLock::new(End::default()),
            has_own_memory: AtomicBool::new(false),
            parent_waits: WaitQueue::new("for a child that has borrowed its memory"),
            others_end: WaitQueue::new("for the other threads of its process to end"),
        }
    }

    /// Its signals.
    pub(super) fn signals(&self) -> SpinMutexGuard<'_, Signals, Yield> {
        self.signals.lock()
    }

    /// What others may know about it.
    pub fn about(&self) -> SpinMutexGuard<'_, About, Yield> {
        self.about.lock()
    }

    /// What it asked for in vain.
    pub fn missing(&self) -> SpinMutexGuard<'_, Missing, Yield> {
        self.missing.lock()
    }

    /// Its memory, as long as it has it.
    pub fn space(&self) -> Weak<UserSpace> {
        self.space.lock().clone()
    }

    /// Says what its memory is.
    pub(super) fn set_space(&self, space: &Arc<UserSpace>) {
        *self.space.lock() = Arc::downgrade(space);
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        self.signals.lock().threads()
    }

    /// What it does, or one of its threads, as Linux has it (`R`, it runs or could; `S`, it waits), and the nanoseconds that it has run.
    pub fn activity(&self) -> (char, u64) {
        let tasks = self.tasks.lock();
        let runs = tasks.is_empty() || tasks.values().any(|task| task.activity().0 == 'R');
        let ran: u64 = tasks.values().map(|task| task.activity().1).sum();
        (if runs { 'R' } else { 'S' }, ran + self.end.lock().ran)
    }

    /// Nanoseconds that it has run up to now.
    pub fn run_time(&self) -> u64 {
        let ran: u64 = self.tasks.lock().values().map(schedule::run_time_of).sum();
        ran + self.end.lock().ran
    }

    /// Says which task runs a thread.
    pub(super) fn add_task(&self, thread: Pid, task: Arc<Task>) {
        if OfThread::new(self.signals.lock(), thread).is_doomed() {
            task.doom();
        }
        self.tasks.lock().insert(thread, task);
    }

    /// Whether the task runs one of its threads.
    pub(super) fn has_task(&self, task: &Arc<Task>) -> bool {
        self.tasks.lock().values().any(|own| Arc::ptr_eq(own, task))
    }

    /// Whether it is to end: SIGKILL was sent to it, or it ends already.
    pub(super) fn is_killed(&self) -> bool {
        self.signals.lock().is_killed() || self.end.lock().all.is_some()
    }

    /// Sends it a signal, and ends the wait of the thread that is to notice it.
    pub fn send(&self, info: Info) {
        let notices = self.signals.lock().raise(info);
        match notices {
            Notices::Nobody => {}
            Notices::One(thread) => self.wake(Some(thread)),
            Notices::All => self.wake(None),
        }
        if info.signal == Signal::KILL {
            self.tasks.lock().values().for_each(|task| task.doom());
        }
    }

    /// Sends one of its threads a signal. False if there is no such thread.
    #[must_use]
    pub fn send_to(&self, thread: Pid, info: Info) -> bool {
        let raised = self.signals.lock().raise_in(thread, info);
        if raised == Some(true) {
            self.wake(Some(thread));
        }
        if info.signal == Signal::KILL {
            self.send(info);
        }
        raised.is_some()
    }

    /// Has a thread look again whether something is to be noticed; all of them, if none is named.
    fn wake(&self, thread: Option<Pid>) {
        let tasks = self.tasks.lock();
        tasks.iter().filter(|(own, _)| thread.is_none_or(|thread| thread == **own)).for_each(|(_, task)| {
            schedule::wake(task);
        });
    }

    /// Has another thread look for a signal of the process that waits, if it would take it.
    pub(super) fn wake_taker(&self) {
        let left_over = self.signals.lock().left_over();
        if left_over.is_some() {
            self.wake(left_over);
        }
    }

    /// Ends it with all its threads. The first end counts.
    pub(super) fn end_all(&self, status: ExitStatus) {
        self.end.lock().all.get_or_insert(status);
        self.end_threads(None);
    }

    /// Ends all threads but the one that asks, and waits until they are gone.
    pub(super) fn end_others(&self, thread: Pid) {
        self.end_threads(Some(thread));
        self.others_end.sleep(|| (self.signals.lock().threads() == 1).then_some(()));
    }

    fn end_threads(&self, other: Option<Pid>) {
        self.signals.lock().end_threads(other);
        for (_, task) in self.tasks.lock().iter().filter(|&(&thread, _)| Some(thread) != other) {
            task.doom();
            schedule::wake(task);
        }
    }

    /// A thread, alone, runs another program: it is the first from now on.
    pub(super) fn start_program(&self, thread: Pid) {
        self.signals.lock().start_program(thread, self.pid);
        let mut tasks = self.tasks.lock();
        if let Some(task) = tasks.remove(&thread) {
            tasks.insert(self.pid, task);
        }
        drop(tasks);
        self.end.lock().first = None;
        if thread != self.pid {
            family().forget_thread(thread);
        }
    }

    /// The first thread ends, and perhaps no other.
    pub(super) fn end_first(&self, status: ExitStatus) {
        self.end.lock().first = Some(status);
    }

    /// A thread has ended, and given back what it had. How the process has ended, if that was its last one.
    pub(super) fn remove_thread(&self, thread: Pid) -> Option<ExitStatus> {
        let left = self.signals.lock().remove_thread(thread);
        let task = self.tasks.lock().remove(&thread);
        let mut end = self.end.lock();
        end.ran += task.as_ref().map_or(0, schedule::run_time_of);
        if left > 0 {
            drop(end);
            self.others_end.wake_all();
            self.wake_taker();
            return None;
        }
        Some(end.all.or(end.first).unwrap_or(ExitStatus::Exited(0)))
    }

    /// Gives the task of its first thread another name.
    pub(super) fn set_task_name(&self, name: &str) {
        if let Some(task) = self.tasks.lock().get(&self.pid) {
            task.set_name(name);
        }
    }

    /// It uses its parent's memory no longer.
    pub(super) fn give_back_memory(&self) {
        self.has_own_memory.store(true, Ordering::Release);
        self.parent_waits.wake_all();
    }

    /// Sleeps until it uses its parent's memory no longer, or `is_doomed` says that the parent's thread that waits is to end.
    pub(super) fn wait_for_memory(&self, is_doomed: impl Fn() -> bool) {
        self.parent_waits.sleep(|| (self.has_own_memory.load(Ordering::Acquire) || is_doomed()).then_some(()));
    }
}

/// Who is whose child.
pub fn family() -> SpinMutexGuard<'static, Family<Arc<Handle>>, Yield> {
    FAMILY.lock()
}

/// A process has ended, and given everything back: its parent is told.
pub(super) fn end(handle: &Handle, status: ExitStatus) {
    let mut family = family();
    let parent = family.parent(handle.pid);
    let forgets = family.get(parent).map(|parent| parent.signals.lock().forgets_children());
    // Whoever started the first process asks for it.
    let bereaved = family.end(handle.pid, status, forgets.map_or(parent == NOBODY, |forgets| !forgets));
    drop(family);
    if let Some(parent) = bereaved.parent {
        parent.send(Info::of_child(handle.pid, status));
        parent.children.wake_all();
    }
    if let Some(first) = bereaved.first {
        first.children.wake_all();
    }
    ENDS.wake_all();
}

/// Waits for the end of the first process, and then ends all others: how the first ended.
pub(super) fn outlive(first: Pid) -> ExitStatus {
    let ended = || match family().ask_for(NOBODY, super::family::Which::Child(first), false) {
        Ok(found) => found.map(|(_, status)| status),
        Err(_) => Some(ExitStatus::Killed(Signal::KILL)),
    };
    let status = ENDS.sleep(ended);
    kill_all();
    ENDS.sleep(|| family().alive().is_empty().then_some(()));
    status
}

/// Waits until a process has ended, and given everything back.
pub(super) fn wait_for_end(pid: Pid) {
    ENDS.sleep(|| family().get(pid).is_none().then_some(()));
}

/// Sends SIGKILL to every process that it was not sent to; whether there was one.
pub(super) fn kill_all() -> bool {
    let processes = family().alive();
    let alive = processes.iter().filter(|process| !process.is_killed());
    alive.map(|process| process.send(Info::from_kernel(Signal::KILL))).count() > 0
}

/// Makes the handle of a child of `parent`, by its thread `thread`.
///
/// # Errors
/// `EAGAIN` if there are too many processes.
pub(super) fn add_child(parent: &Handle, thread: Pid) -> Result<Arc<Handle>, Errno> {
    let about = parent.about().clone();
    let most = schedule::most_tasks();
    let make = |pid| Arc::new(Handle::new(pid, parent.signals.lock().of_child(thread, pid), about));
    family().add_child(parent.pid, most, make)
}

/// Makes a thread of `process`, by its thread `thread`; its number.
///
/// # Errors
/// `EAGAIN` if there are too many.
pub(super) fn add_thread(process: &Handle, thread: Pid) -> Result<Pid, Errno> {
    let new = family().add_thread(process.pid, schedule::most_tasks())?;
    process.signals.lock().add_thread(thread, new);
    Ok(new)
}

/// Takes back a thread that could not be made after all.
pub(super) fn forget_thread(process: &Handle, thread: Pid) {
    process.signals.lock().remove_thread(thread);
    family().forget_thread(thread);
}
