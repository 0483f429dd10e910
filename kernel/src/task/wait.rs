//! Waiting for something that another task does.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::schedule::{self, Task};
use crate::arch::cpu::SpinLock;
use crate::arch::timer;

/// The tasks that wait for one thing.
pub struct WaitQueue {
    what: &'static str,
    waiters: SpinLock<Vec<Arc<Task>>>,
}

impl WaitQueue {
    /// With nobody in it; `what` says what one waits for, for reports.
    pub const fn new(what: &'static str) -> Self {
        Self { what, waiters: SpinLock::new(Vec::new()) }
    }

    /// What one waits for here.
    pub const fn what(&self) -> &'static str {
        self.what
    }

    /// Sleeps until `ready` gives something, which is asked now and whenever somebody wakes those who wait here.
    pub fn sleep<R>(&self, mut ready: impl FnMut() -> Option<R>) -> R {
        loop {
            if let Some(result) = sleep_on(&[self], self.what, None, &mut ready) {
                return result;
            }
        }
    }

    /// Has everyone who waits here look again.
    pub fn wake_all(&self) {
        let waiters = core::mem::take(&mut *self.waiters.lock());
        waiters.iter().for_each(schedule::wake);
    }

    fn leave(&self, task: &Arc<Task>) {
        self.waiters.lock().retain(|waiter| !Arc::ptr_eq(waiter, task));
    }
}

/// Sleeps until `ready` gives something, or until the time `deadline`: then `None`. It is asked now, and whenever somebody wakes those
/// who wait in one of `queues`, or this task itself.
///
/// Between a look and the sleep nobody else runs, as a task leaves the CPU only where it says so; so no wake-up is lost.
pub fn sleep_on<R>(
    queues: &[&WaitQueue],
    what: &'static str,
    deadline: Option<u64>,
    mut ready: impl FnMut() -> Option<R>,
) -> Option<R> {
    let task = schedule::current();
    loop {
        let result = ready();
        if result.is_some() || deadline.is_some_and(|deadline| deadline <= timer::now_ns()) {
            return result;
        }
        queues.iter().for_each(|queue| queue.waiters.lock().push(task.clone()));
        schedule::block(what, deadline);
        queues.iter().for_each(|queue| queue.leave(&task));
    }
}
