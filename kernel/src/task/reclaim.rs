//! The kernel task that gets memory back while programs run: when few frames are free it works until there are enough.
//!
//! While memory is not short the task waits and no timer is set, so what is measured then has nothing of it.

use alloc::string::String;

use mm::frame::Shortage;
use spin::once::Once;

use super::schedule;
use super::wait::{WaitQueue, sleep_on};
use crate::arch::cpu::Yield;
use crate::arch::timer;
use crate::memory::memory;

/// Nanoseconds until it looks again where all memory is in use or being written.
const PAUSE: u64 = 10_000_000;

/// The task waits here for something to do.
static SHORT: WaitQueue = WaitQueue::new("memory to be short");

/// Starts the task, once for a run of the machine.
///
/// # Errors
/// If the heap has no room for it.
pub(super) fn start() -> Result<(), String> {
    static STARTED: Once<bool, Yield> = Once::new();
    if *STARTED.call_once(|| schedule::spawn_kernel("reclaim", run).is_ok()) {
        Ok(())
    } else {
        Err("the heap has no room for the task that gets memory back: give the machine more memory (--mem)".into())
    }
}

fn run() {
    loop {
        SHORT.sleep(|| is_short().then_some(()));
        while memory().balance().is_some_and(|shrunk| shrunk.pages() > 0) {
            schedule::yield_now();
        }
        if is_short() {
            let _: Option<()> = sleep_on(&[], "memory that is not in use", Some(timer::now_ns() + PAUSE), || None);
        }
    }
}

fn is_short() -> bool {
    memory().shortage() >= Shortage::Low
}

/// Has the task get memory back where it is short, before the program that has used it goes on. Called whenever a program has called the
/// kernel or was interrupted.
pub(super) fn notice() {
    if is_short() {
        SHORT.wake_all();
        schedule::yield_now();
    }
}
