//! What processes have of each other: a number, a way to send a signal, a way to wait. And all of them.

use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, Ordering};

use mm::Errno;
use spin::mutex::SpinMutexGuard;
use spin::once::Once;

use super::about::About;
use super::family::{Family, NOBODY, Pid};
use super::schedule::{self, Task};
use super::signals::{Info, Signals};
use super::space::UserSpace;
use super::status::{ExitStatus, Signal};
use super::wait::WaitQueue;
use crate::arch::cpu::{SpinLock, Yield};

static FAMILY: SpinLock<Family<Arc<Handle>>> = SpinLock::new(Family::new());
/// Whoever has started the first process waits here for the end of all.
static ENDS: WaitQueue = WaitQueue::new("for its program to end");

/// What others have of a process.
pub struct Handle {
    /// Its number.
    pub pid: Pid,
    /// Its signals.
    pub(super) signals: SpinLock<Signals>,
    about: SpinLock<About>,
    space: SpinLock<Weak<UserSpace>>,
    /// It waits here for its children to end.
    pub children: WaitQueue,
    task: Once<Arc<Task>, Yield>,
    /// Whether it has given back the memory that it borrowed from its parent (`vfork`), who waits for it.
    has_own_memory: AtomicBool,
    parent_waits: WaitQueue,
}

impl Handle {
    pub(super) const fn new(pid: Pid, signals: Signals, about: About) -> Self {
        Self {
            pid,
            signals: SpinLock::new(signals),
            about: SpinLock::new(about),
            space: SpinLock::new(Weak::new()),
            children: WaitQueue::new("for a child to end"),
            task: Once::new(),
            has_own_memory: AtomicBool::new(false),
            parent_waits: WaitQueue::new("for a child that has borrowed its memory"),
        }
    }

    /// What others may know about it.
    pub fn about(&self) -> SpinMutexGuard<'_, About, Yield> {
        self.about.lock()
    }

    /// Its memory, as long as it has it.
    pub fn space(&self) -> Weak<UserSpace> {
        self.space.lock().clone()
    }

    /// Says what its memory is.
    pub(super) fn set_space(&self, space: &Arc<UserSpace>) {
        *self.space.lock() = Arc::downgrade(space);
    }

    /// What it does, as Linux has it (`R`, it runs or could; `S`, it waits), and the nanoseconds that it has run.
    pub fn activity(&self) -> (char, u64) {
        self.task.get().map_or(('R', 0), |task| task.activity())
    }

    /// Says which task runs it, once.
    pub(super) fn set_task(&self, task: Arc<Task>) {
        self.task.call_once(|| task);
    }

    /// The task that runs it.
    pub(super) fn task(&self) -> Option<&Arc<Task>> {
        self.task.get()
    }

    /// Whether SIGKILL was sent to it.
    pub(super) fn is_killed(&self) -> bool {
        self.signals.lock().is_killed()
    }

    pub(super) fn set_task_name(&self, name: &str) {
        if let Some(task) = self.task.get() {
            task.set_name(name);
        }
    }

    /// Sends it a signal, and ends its wait if it waits.
    pub fn send(&self, info: Info) {
        let is_noticed = self.signals.lock().raise(info);
        if let Some(task) = self.task.get().filter(|_| is_noticed) {
            schedule::wake(task);
        }
    }

    /// Takes the lowest signal of a set that waits for it, as [`Signals::take_awaited`] does.
    pub fn take_signal(&self, set: u64) -> Option<Info> {
        self.signals.lock().take_awaited(set)
    }

    /// It uses its parent's memory no longer.
    pub(super) fn give_back_memory(&self) {
        self.has_own_memory.store(true, Ordering::Release);
        self.parent_waits.wake_all();
    }

    /// Sleeps until it uses its parent's memory no longer, or the parent is killed.
    pub(super) fn wait_for_memory(&self, parent: &Self) {
        self.parent_waits.sleep(|| {
            let is_back = self.has_own_memory.load(Ordering::Acquire);
            (is_back || parent.signals.lock().is_killed()).then_some(())
        });
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

/// Makes the handle of a child of `parent`.
///
/// # Errors
/// `EAGAIN` if there are too many processes.
pub(super) fn add_child(parent: &Handle) -> Result<Arc<Handle>, Errno> {
    let signals = parent.signals.lock().of_child();
    let about = parent.about().clone();
    let most = schedule::most_tasks();
    family().add_child(parent.pid, most, |pid| Arc::new(Handle::new(pid, signals, about)))
}
