//! The clock of a swap device whose writes take time: while some are pending it ticks every 10 ms, by the timer's interrupt, which
//! also ends a program's turn. What the device has completed is dealt with before the program goes on.
//!
//! With nothing pending no timer is set, so a synchronous device costs nothing, and what is measured has no tick in it.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::arch::timer;
use crate::memory::{drive, memory};

/// Nanoseconds from one tick to the next.
const TICK: u64 = 10_000_000;
/// Ticks that an asynchronous write takes.
pub const LATENCY: u64 = 3;

/// When the next tick is; 0 while nothing is pending.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Ticks if it is time, completes what the device has done, and sets the timer if there is more to come. Called with no lock held
/// whenever a program has been interrupted or has called the kernel.
pub fn poll() {
    if !is_pending() {
        NEXT.store(0, Ordering::Relaxed);
        return;
    }
    let now = timer::now_ns();
    let mut next = NEXT.load(Ordering::Relaxed);
    if next != 0 && now >= next {
        drive().inspect(|drive| drive.tick());
        memory().run_completions();
        next = 0;
    }
    if next == 0 {
        next = now + TICK;
    }
    NEXT.store(next, Ordering::Relaxed);
    timer::interrupt_at(next);
}

/// Waits for the next tick. Whether there was anything to wait for: memory that was short may be free now.
pub fn wait() -> bool {
    poll();
    let is_pending = is_pending();
    if is_pending {
        timer::sleep_until(NEXT.load(Ordering::Relaxed));
        poll();
    }
    is_pending
}

fn is_pending() -> bool {
    drive().is_some_and(|drive| drive.pending() > 0)
}
