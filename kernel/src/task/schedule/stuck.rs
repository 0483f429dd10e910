//! Nothing will ever happen again: every task waits, and for no time. It is said which waits for what, and it ends: the programs, if
//! that helps, or the machine.

use alloc::sync::Arc;

use super::task::Task;
use crate::dev::log as kernel_log;

/// Ends what can be ended; whether there was something.
pub type LastResort = fn() -> bool;

/// Says who waits for what, and ends the programs; the machine, if they have been ended already.
pub(super) fn resolve(tasks: &[Arc<Task>], last_resort: LastResort) {
    log::error!("deadlock: every task waits for another one");
    list(tasks);
    if !last_resort() {
        give_up();
    }
}

/// Says that tasks wait in vain for locks of memory management, and ends the machine.
pub(super) fn in_vain(tasks: &[Arc<Task>]) -> ! {
    log::error!("deadlock: every task waits for a lock that another one holds");
    list(tasks);
    give_up()
}

fn list(tasks: &[Arc<Task>]) {
    for task in tasks {
        log::error!("  {}: {}", task.name(), task.waits_for().map_or("a lock of memory management", |(what, _)| what));
    }
}

fn give_up() -> ! {
    kernel_log::dying();
    kernel_log::die()
}
