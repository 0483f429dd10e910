//! Watermarks: how many free frames are few. Below `low` somebody should get memory back beside all else, up to `high`; below `min` who
//! needs memory gets some back himself first, and no large folio is given out.
//!
//! The free frames are looked at where a CPU gets more of them from the common lists, so no step of a single page pays for it.

use core::sync::atomic::{AtomicU8, Ordering};

/// How short memory is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Shortage {
    /// It is not.
    None,
    /// Fewer frames are free than `low`.
    Low,
    /// Fewer than `min`.
    Min,
}

/// The marks, and where free memory was when it was looked at last.
#[derive(Debug)]
pub(super) struct Watermarks {
    pub(super) min: usize,
    pub(super) low: usize,
    pub(super) high: usize,
    seen: AtomicU8,
}

impl Watermarks {
    /// Those of a machine with `total` frames: `min` is 4 times the root of its memory in KiB, as Linux has it, the others a quarter and
    /// a half more.
    pub(super) fn of(total: usize) -> Self {
        const KIB: usize = (mmu::PAGE_SIZE / 1024) as usize;
        let min = (4 * (total * KIB).isqrt() / KIB).min(total / 16);
        Self { min, low: min + min / 4, high: min + min / 2, seen: AtomicU8::new(Shortage::None as u8) }
    }

    /// So many frames are free.
    #[inline]
    pub(super) fn note(&self, free: usize) {
        let seen = match free {
            free if free < self.min => Shortage::Min,
            free if free < self.low => Shortage::Low,
            _ => Shortage::None,
        };
        if self.seen.load(Ordering::Relaxed) != seen as u8 {
            self.seen.store(seen as u8, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn seen(&self) -> Shortage {
        match self.seen.load(Ordering::Relaxed) {
            0 => Shortage::None,
            1 => Shortage::Low,
            _ => Shortage::Min,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gibibyte_keeps_four_mebibytes() {
        let marks = Watermarks::of(1 << 18);
        assert_eq!([marks.min, marks.low, marks.high], [1024, 1280, 1536]);
        assert_eq!(Watermarks::of(64).min, 4);
    }

    #[test]
    fn free_frames_are_few_below_a_mark() {
        let marks = Watermarks::of(1 << 18);
        for (free, seen) in
            [(1023, Shortage::Min), (1024, Shortage::Low), (1279, Shortage::Low), (1280, Shortage::None)]
        {
            marks.note(free);
            assert_eq!(marks.seen(), seen, "{free} free");
        }
    }
}
