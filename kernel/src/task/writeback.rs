//! The kernel task that sees writes to the swap device end, where they take time: while some are pending the device's clock ticks every
//! 10 ms, and what it has completed is dealt with.
//!
//! With nothing pending the task waits and no timer is set, so a synchronous device costs nothing, and what is measured has no tick in it.

use alloc::string::String;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::once::Once;

use super::schedule;
use super::wait::{WaitQueue, sleep_on};
use crate::arch::cpu::Yield;
use crate::arch::timer;
use crate::memory::{drive, memory};

/// Nanoseconds from one tick to the next.
const TICK: u64 = 10_000_000;

/// The task waits here for something to do.
static BEGUN: WaitQueue = WaitQueue::new("writes to the swap device");
/// Whoever needs memory that is being written waits here.
static TICKED: WaitQueue = WaitQueue::new("memory that is being written");
/// How often the clock has ticked.
static TICKS: AtomicU64 = AtomicU64::new(0);

/// Starts the task, once for a run of the machine.
///
/// # Errors
/// If the heap has no room for it.
pub(super) fn start() -> Result<(), String> {
    static STARTED: Once<bool, Yield> = Once::new();
    let is_needed = drive().is_some_and(|drive| drive.latency() > 0);
    if is_needed {
        memory().set_wait_for_writes(wait);
    }
    if is_needed && !STARTED.call_once(|| schedule::spawn_kernel("writeback", run).is_ok()) {
        return Err(
            "the heap has no room for the task that writes to swap: give the machine more memory (--mem)".into()
        );
    }
    Ok(())
}

fn run() {
    loop {
        BEGUN.sleep(|| is_pending().then_some(()));
        let next = timer::now_ns() + TICK;
        let _: Option<()> = sleep_on(&[], "the swap device", Some(next), || None);
        drive().inspect(|drive| drive.tick());
        memory().run_completions();
        TICKS.fetch_add(1, Ordering::Relaxed);
        TICKED.wake_all();
    }
}

/// Has the task look whether there are writes. Called whenever a program has called the kernel or was interrupted.
pub(super) fn notice() {
    if is_pending() {
        BEGUN.wake_all();
    }
}

/// Waits for the next tick. Whether there was anything to wait for: memory that was short may be free now.
fn wait() -> bool {
    // The other CPUs have no tasks that could wait.
    let is_pending = mmu::current_cpu() == 0 && is_pending();
    if is_pending {
        BEGUN.wake_all();
        let before = TICKS.load(Ordering::Relaxed);
        TICKED.sleep(|| (TICKS.load(Ordering::Relaxed) != before).then_some(()));
    }
    is_pending
}

fn is_pending() -> bool {
    drive().is_some_and(|drive| drive.pending() > 0)
}
