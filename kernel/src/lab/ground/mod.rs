//! The kernel testing its own ground: protection of its map, entry to EL0, access to user memory, time, tasks.
//!
//! Each check is a plain function that says what it found wrong; `tests` runs them by [`ALL`] and [`FIRST_CPU`], `other_cpu` those of
//! [`ALL`] on the other CPUs.

use alloc::string::String;

mod protection;
mod space;
mod tasks;
mod time;
mod uaccess;
mod user;

/// A check: nothing, or what is wrong.
pub type Check = fn() -> Result<(), String>;

/// The checks of what every CPU has, by name.
pub const ALL: &[(&str, Check)] = &[
    ("arch/text-can-not-be-written", protection::text_is_read_only),
    ("arch/linear-alias-of-text-and-constants-is-read-only", protection::alias_is_read_only),
    ("arch/data-can-not-be-executed", protection::data_is_not_executable),
    ("arch/nothing-is-writable-and-executable", protection::nothing_is_writable_and_executable),
    ("arch/guards-below-the-stacks", protection::guards_fault),
    ("arch/linear-map-has-all-memory", protection::linear_map_is_whole),
    ("arch/lower-half-is-empty-without-a-program", protection::lower_half_is_empty),
    // Before any entry to EL0: the way back from there sets PAN whatever the start has done.
    ("arch/pan-stops-plain-access-to-user-memory", uaccess::pan),
    ("arch/el0-keeps-every-register", user::registers),
    ("arch/el0-changes-every-register", user::changed_registers),
    ("arch/el0-traps-by-kind", user::traps),
    ("arch/el0-may-read-counter-and-cache-registers", user::allowed),
    ("arch/el0-has-memory-operations-where-the-cpu-has", user::memory_operations),
    ("arch/el0-faults-name-address-and-access", user::faults),
    ("arch/uaccess-copies-every-length", uaccess::lengths),
    ("arch/uaccess-refuses-what-the-program-has-not-got", uaccess::refusals),
    ("arch/uaccess-asks-the-hook-and-goes-on", uaccess::hook),
];

/// The checks of what the first CPU alone has: the timer's interrupt, the count of instructions, tasks.
pub const FIRST_CPU: &[(&str, Check)] = &[
    ("arch/time-goes-on-and-sleep-ends", time::sleep),
    ("arch/instructions-are-counted-exactly", time::instructions),
    ("task/kernel-tasks-take-turns", tasks::turns),
    ("task/sleepers-wake-in-the-order-of-their-times", tasks::deadlines),
    ("task/who-waits-for-a-lock-gives-way-to-its-holder", tasks::held_over_a_wait),
];

/// `Err` with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(alloc::format!($($message)+));
        }
    };
}
pub(super) use ensure;
