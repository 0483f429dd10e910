//! Stretches of a program that are measured: every MADV_PAGEOUT, and what lies between two calls of `prctl` with [`PRCTL`].
//!
//! The program names the stretch as it begins, `prctl(PRCTL, name)`, and ends it by `prctl(PRCTL, NULL)`. What the program itself does
//! in between is measured with it. Linux answers EINVAL to this prctl, so a program that does not mind runs there as well.

use core::sync::atomic::{AtomicBool, Ordering};

use mm::Errno;
use spin::once::Once;

use super::{Outcome, user};
use crate::arch::cpu::Yield;
use crate::task::Process;

/// The operation of `prctl`: "unfd" in ASCII.
pub const PRCTL: u32 = 0x756E_6664;

/// What measures.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    /// Called right before, with a name for the interval; without one it is a page-out that nobody named.
    pub begin: fn(&str),
    /// Called right after.
    pub end: fn(),
}

static INTERVAL: Once<Interval, Yield> = Once::new();
/// Whether a program has begun one and not ended it.
static OPEN: AtomicBool = AtomicBool::new(false);

/// Says what measures, once for a run of the machine.
pub fn measure(interval: Interval) {
    INTERVAL.call_once(|| interval);
}

/// Does `work` as an interval, unless it is part of one.
pub(super) fn around<R>(process: &mut Process, work: impl FnOnce(&mut Process) -> R) -> R {
    let interval = INTERVAL.get().filter(|_| !OPEN.load(Ordering::Relaxed));
    interval.inspect(|interval| (interval.begin)(""));
    let result = work(process);
    interval.inspect(|interval| (interval.end)());
    result
}

/// Begins the interval with the name at an address of the program, in place of one that is open; or ends it if the address is 0.
pub(super) fn prctl(name: u64) -> Outcome {
    let interval = INTERVAL.get().ok_or(Errno::EINVAL)?;
    if name != 0 {
        let name = user::read_path(name)?;
        OPEN.store(true, Ordering::Relaxed);
        (interval.begin)(&name);
    } else if OPEN.swap(false, Ordering::Relaxed) {
        (interval.end)();
    } else {
        return Err(Errno::EINVAL);
    }
    Ok(0)
}
