//! Waiting for another CPU, and where another CPU may come in between.

/// Says that this CPU waits for another: the body of every loop that waits.
///
/// In the kernel it is `yield`; `core::hint::spin_loop` is an ISB on this target, and would be counted as one. On the host another
/// simulated CPU goes on.
#[inline(always)]
pub fn relax() {
    #[cfg(target_os = "none")]
    // SAFETY: a hint that changes nothing.
    unsafe {
        core::arch::asm!("yield", options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(target_os = "none"))]
    crate::host::relax();
}

/// Says that another CPU may come in here: before a lock is taken and after it is released. Nothing in the kernel.
#[inline(always)]
pub fn switch_point() {
    #[cfg(not(target_os = "none"))]
    crate::host::switch_point();
}

/// The number of this CPU, from 0.
#[inline(always)]
pub fn current_cpu() -> usize {
    #[cfg(target_os = "none")]
    {
        crate::door::current_cpu()
    }
    #[cfg(not(target_os = "none"))]
    {
        crate::host::current_cpu()
    }
}
