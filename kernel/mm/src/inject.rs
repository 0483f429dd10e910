//! Points at which a test makes something fail that hardly ever fails by itself.
//!
//! Each point counts units that pass it: pages where the work is done in runs, attempts elsewhere. A test arms a point with the
//! number of units that still succeed. Where nothing is armed a point costs one load.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What can be made to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Point {
    /// Raising the swap count of a page: the count is saturated and has no room to grow.
    SwapDup,
    /// Taking the exclusive mark off a page: it is found pinned.
    Share,
    /// Getting swap slots for a folio.
    SwapAlloc,
    /// A write to the swap device.
    DeviceWrite,
    /// A read from the swap device.
    DeviceRead,
    /// A write that the swap device has accepted and completes later.
    DeviceComplete,
    /// Getting a folio of order 0.
    FolioAlloc,
    /// Getting a folio of an order above 0.
    LargeFolioAlloc,
    /// Getting a table page.
    TableAlloc,
    /// Getting an anon_vma.
    AnonVma,
    /// Room for the extent of an area.
    Extent,
    /// Unmapping a huge page of bad memory.
    HugeUnmap,
    /// Raising the swap counts of a folio that leaves its file.
    FileDup,
    /// Getting swap slots for a folio of a file.
    FileSlots,
}

impl Point {
    /// How many there are.
    pub const COUNT: usize = 14;
    /// All, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::SwapDup,
        Self::Share,
        Self::SwapAlloc,
        Self::DeviceWrite,
        Self::DeviceRead,
        Self::DeviceComplete,
        Self::FolioAlloc,
        Self::LargeFolioAlloc,
        Self::TableAlloc,
        Self::AnonVma,
        Self::Extent,
        Self::HugeUnmap,
        Self::FileDup,
        Self::FileSlots,
    ];

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// How often an armed point fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Times {
    /// Once; then it is disarmed.
    Once,
    /// Each time from then on, until [`Inject::clear`].
    Always,
}

/// The points of one `Memory`.
#[derive(Debug, Default)]
pub struct Inject {
    armed: AtomicU32,
    always: AtomicU32,
    left: [AtomicU64; Point::COUNT],
    failures: [AtomicU64; Point::COUNT],
}

impl Inject {
    /// With nothing armed.
    pub const fn new() -> Self {
        Self {
            armed: AtomicU32::new(0),
            always: AtomicU32::new(0),
            left: [const { AtomicU64::new(0) }; Point::COUNT],
            failures: [const { AtomicU64::new(0) }; Point::COUNT],
        }
    }

    /// Lets `after` more units pass the point, then makes it fail, once.
    pub fn fail(&self, point: Point, after: usize) {
        self.arm(point, after, Times::Once);
    }

    /// Lets `after` more units pass the point, then makes it fail, this often.
    pub fn arm(&self, point: Point, after: usize, times: Times) {
        self.left[point as usize].store(after as u64, Ordering::Relaxed);
        match times {
            Times::Once => self.always.fetch_and(!point.bit(), Ordering::Relaxed),
            Times::Always => self.always.fetch_or(point.bit(), Ordering::Relaxed),
        };
        self.armed.fetch_or(point.bit(), Ordering::Release);
    }

    /// Disarms everything.
    pub fn clear(&self) {
        self.armed.store(0, Ordering::Relaxed);
    }

    /// Whether this point is still waiting to fail.
    pub fn is_armed(&self, point: Point) -> bool {
        self.armed.load(Ordering::Relaxed) & point.bit() != 0
    }

    /// How often this point has failed.
    pub fn failures(&self, point: Point) -> u64 {
        self.failures[point as usize].load(Ordering::Relaxed)
    }

    /// Says that `units` are about to pass `point`. True: one of them fails, and so the whole run does.
    #[inline(always)]
    pub fn strikes(&self, point: Point, units: usize) -> bool {
        self.armed.load(Ordering::Relaxed) != 0 && self.strikes_armed(point, units as u64)
    }

    /// The same where it takes work to find out how many units there are.
    #[inline(always)]
    pub fn strikes_counted(&self, point: Point, units: impl FnOnce() -> usize) -> bool {
        self.armed.load(Ordering::Relaxed) != 0 && self.strikes_armed(point, units() as u64)
    }

    #[cold]
    fn strikes_armed(&self, point: Point, units: u64) -> bool {
        if self.armed.load(Ordering::Acquire) & point.bit() == 0 {
            return false;
        }
        let passes = |left: u64| left.checked_sub(units);
        if self.left[point as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, passes).is_ok() {
            return false;
        }
        if self.always.load(Ordering::Relaxed) & point.bit() != 0 {
            self.left[point as usize].store(0, Ordering::Relaxed);
        } else {
            self.armed.fetch_and(!point.bit(), Ordering::Relaxed);
        }
        self.failures[point as usize].fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_that_holds_the_unit_fails_once() {
        let inject = Inject::new();
        assert!(!inject.strikes(Point::SwapDup, 100));
        inject.fail(Point::SwapDup, 20);
        assert!(!inject.strikes(Point::Share, 100));
        assert!(!inject.strikes(Point::SwapDup, 16));
        assert!(inject.strikes(Point::SwapDup, 16));
        assert!(!inject.strikes(Point::SwapDup, 16));
        assert_eq!(inject.failures(Point::SwapDup), 1);
    }

    #[test]
    fn the_last_unit_that_may_pass_does() {
        let inject = Inject::new();
        inject.fail(Point::FolioAlloc, 1);
        assert!(!inject.strikes(Point::FolioAlloc, 1));
        assert!(inject.strikes(Point::FolioAlloc, 1));
        assert!(!inject.is_armed(Point::FolioAlloc));
    }

    #[test]
    fn always_lasts_until_cleared() {
        let inject = Inject::new();
        inject.arm(Point::DeviceRead, 2, Times::Always);
        let hits = [2, 1, 5, 1].map(|units| inject.strikes(Point::DeviceRead, units));
        assert_eq!(hits, [false, true, true, true]);
        inject.clear();
        assert!(!inject.strikes(Point::DeviceRead, 9));
    }
}
