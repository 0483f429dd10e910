//! Lists of physical ranges: what memory there is, and what of it is free.

use core::fmt;
use mmu::PAGE_SIZE;

/// Most ranges that a list holds; more are dropped, smallest use first, since a range too few is only memory not used.
pub const MAX_RANGES: usize = 32;

/// Physical addresses from `start` up to `end`, which is not part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PhysRange {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl PhysRange {
    /// The range of `size` bytes from `start`.
    pub const fn new(start: u64, size: u64) -> Self {
        Self { start, end: start.saturating_add(size) }
    }

    /// Bytes in it.
    pub const fn size(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it holds nothing.
    pub const fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// The whole pages inside it.
    pub const fn pages_inside(&self) -> Self {
        Self { start: self.start.next_multiple_of(PAGE_SIZE), end: self.end & !(PAGE_SIZE - 1) }
    }

    /// The whole pages that it touches.
    pub const fn pages_around(&self) -> Self {
        Self { start: self.start & !(PAGE_SIZE - 1), end: self.end.next_multiple_of(PAGE_SIZE) }
    }
}

impl fmt::Display for PhysRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:#x}..{:#x}", self.start, self.end)
    }
}

/// A list of ranges that do not touch one another, in order of address.
#[derive(Clone, Copy, Default)]
pub struct Ranges {
    list: [PhysRange; MAX_RANGES],
    count: usize,
}

impl Ranges {
    /// An empty list.
    pub const fn new() -> Self {
        Self { list: [PhysRange { start: 0, end: 0 }; MAX_RANGES], count: 0 }
    }

    /// The ranges.
    pub fn as_slice(&self) -> &[PhysRange] {
        &self.list[..self.count]
    }

    /// Bytes in all of them.
    pub fn total(&self) -> u64 {
        self.as_slice().iter().map(PhysRange::size).sum()
    }

    /// Adds a range; what is in the list already is not added twice.
    pub fn add(&mut self, range: PhysRange) {
        let mut fresh = range;
        let old = *self;
        *self = Self::new();
        for &other in old.as_slice() {
            if other.end < fresh.start || other.start > fresh.end {
                self.push(other);
            } else {
                fresh = PhysRange { start: fresh.start.min(other.start), end: fresh.end.max(other.end) };
            }
        }
        self.push(fresh);
        self.list[..self.count].sort_unstable_by_key(|range| range.start);
    }

    /// Takes a range out, wherever it overlaps the list.
    pub fn remove(&mut self, hole: PhysRange) {
        if hole.is_empty() {
            return;
        }
        let old = *self;
        *self = Self::new();
        for &range in old.as_slice() {
            self.push(PhysRange { start: range.start, end: range.end.min(hole.start) });
            self.push(PhysRange { start: range.start.max(hole.end), end: range.end });
        }
    }

    /// Takes `size` bytes aligned to `align` (a power of two) out of the list, from its highest range that has room.
    pub fn take(&mut self, size: u64, align: u64) -> Option<PhysRange> {
        let fit = |range: &PhysRange| {
            let start = range.end.checked_sub(size)? & !(align - 1);
            (start >= range.start).then_some(PhysRange::new(start, size))
        };
        let taken = self.as_slice().iter().rev().find_map(fit)?;
        self.remove(taken);
        Some(taken)
    }

    fn push(&mut self, range: PhysRange) {
        if !range.is_empty() && self.count < MAX_RANGES {
            self.list[self.count] = range;
            self.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(ranges: &[(u64, u64)]) -> Ranges {
        let mut list = Ranges::new();
        ranges.iter().for_each(|&(start, end)| list.add(PhysRange { start, end }));
        list
    }

    fn pairs(list: &Ranges) -> std::vec::Vec<(u64, u64)> {
        list.as_slice().iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn neighbours_and_overlaps_are_merged() {
        assert_eq!(pairs(&list(&[(10, 20), (30, 40), (20, 25)])), [(10, 25), (30, 40)]);
        assert_eq!(pairs(&list(&[(30, 40), (10, 20), (15, 35)])), [(10, 40)]);
    }

    #[test]
    fn a_hole_splits() {
        let mut ranges = list(&[(0, 100), (200, 300)]);
        ranges.remove(PhysRange { start: 40, end: 250 });
        assert_eq!(pairs(&ranges), [(0, 40), (250, 300)]);
        ranges.remove(PhysRange { start: 10, end: 20 });
        assert_eq!(pairs(&ranges), [(0, 10), (20, 40), (250, 300)]);
    }

    #[test]
    fn take_comes_from_the_top_and_is_aligned() {
        let mut ranges = list(&[(0x1000, 0x9000), (0x10000, 0x12800)]);
        assert_eq!(ranges.take(0x1000, 0x1000), Some(PhysRange { start: 0x11000, end: 0x12000 }));
        assert_eq!(ranges.take(0x4000, 0x4000), Some(PhysRange { start: 0x4000, end: 0x8000 }));
        assert_eq!(ranges.take(0x4000, 0x4000), None);
    }
}
