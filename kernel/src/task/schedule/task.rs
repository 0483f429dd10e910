//! A task: what the scheduler has run on a CPU, with a stack of its own.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mm::Space;
use mm::sync::TaskHeld;

use crate::arch::context::KernelStack;
use crate::arch::cpu::SpinLock;

/// What a task does; it ends when that returns.
pub type Body = Box<dyn FnOnce() + Send>;

/// What a task is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It runs, or would if it were its turn.
    Runnable,
    /// It waits until it is woken, or until a time.
    Waiting {
        /// What for, in words.
        what: &'static str,
        /// The time.
        until: Option<u64>,
    },
}

/// A task. Whoever holds it may wake it.
pub struct Task {
    /// A number that no other task has had.
    pub(super) id: u64,
    name: SpinLock<String>,
    pub(super) state: SpinLock<State>,
    /// Its stack; the first task runs on boot's.
    stack: Option<KernelStack>,
    /// Its SP while it does not run.
    pub(super) saved: AtomicU64,
    pub(super) body: SpinLock<Option<Body>>,
    /// The space that it runs in. One that has none runs in whichever is active, and touches no user memory.
    pub(super) space: SpinLock<Option<Arc<Space>>>,
    /// The locks of memory management that it holds while it does not run.
    pub(super) held: SpinLock<TaskHeld>,
    /// Nanoseconds that it has run, up to the last switch.
    pub(super) ran: AtomicU64,
    /// It is to end soon: long work of its in the kernel stops.
    pub(super) is_doomed: AtomicBool,
}

impl Task {
    pub(super) fn new(id: u64, name: &str, stack: Option<KernelStack>) -> Self {
        Self {
            id,
            name: SpinLock::new(name.into()),
            state: SpinLock::new(State::Runnable),
            stack,
            saved: AtomicU64::new(0),
            body: SpinLock::new(None),
            space: SpinLock::new(None),
            held: SpinLock::new(TaskHeld::default()),
            ran: AtomicU64::new(0),
            is_doomed: AtomicBool::new(false),
        }
    }

    /// Whether its stack has not run over, as far as that can be seen.
    pub(super) fn is_intact(&self) -> bool {
        self.stack.as_ref().is_none_or(KernelStack::is_intact)
    }

    /// Its name, for reports.
    pub fn name(&self) -> String {
        self.name.lock().clone()
    }

    /// Gives it another name.
    pub fn set_name(&self, name: &str) {
        *self.name.lock() = name.into();
    }

    /// Says that it is to end soon.
    pub fn doom(&self) {
        self.is_doomed.store(true, Ordering::Relaxed);
    }

    /// What it waits for, if it does.
    pub(super) fn waits_for(&self) -> Option<(&'static str, Option<u64>)> {
        match *self.state.lock() {
            State::Runnable => None,
            State::Waiting { what, until } => Some((what, until)),
        }
    }

    /// Whether it waits, in one letter, and how long it has run.
    pub fn activity(&self) -> (char, u64) {
        (if self.waits_for().is_some() { 'S' } else { 'R' }, self.ran.load(Ordering::Relaxed))
    }

    pub(super) fn add_time(&self, nanoseconds: u64) {
        self.ran.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}
