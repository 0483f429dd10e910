//! Small things of the CPU that runs this: waiting, and who it is.

use core::arch::asm;

/// How `spin`'s locks relax here: `yield`. Its own way, `core::hint::spin_loop`, is an ISB, which would be counted.
#[derive(Debug)]
pub struct Yield;

impl spin::RelaxStrategy for Yield {
    #[inline(always)]
    fn relax() {
        yield_now();
    }
}

/// A lock that waits by `yield`.
pub type SpinLock<T> = spin::mutex::SpinMutex<T, Yield>;

/// Hints that this CPU is waiting for another.
#[inline(always)]
pub fn yield_now() {
    // SAFETY: a hint.
    unsafe { asm!("yield", options(nostack, nomem, preserves_flags)) };
}

/// Sleeps until an interrupt is pending; whether it is masked makes no difference.
pub fn wait_for_interrupt() {
    // SAFETY: waits, nothing else.
    unsafe { asm!("wfi", options(nostack, preserves_flags)) };
}
