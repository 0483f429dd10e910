//! Huge pages: folios of 64 KiB and 2 MiB that are set aside for hugetlb areas (reference 4.22), and frames of bad memory.
//!
//! Each size has a pool. A huge page leaves it for a map and comes back when it is freed; the buddy lists see it only when the pool
//! is made larger or smaller. Areas reserve pages when they are made, so that their first touches can not fail: of the free pages of
//! a pool as many are kept for those who reserved.

use core::sync::atomic::Ordering;

use mmu::mutant::{self, Mutant};
use mmu::{Fact, PAGE_SHIFT, Role};

use super::{Frames, FreshFolio, NIL};
use crate::folio::{Folio, state};
use crate::memory::Memory;
use crate::sync::{Lock, Rank};

/// The sizes of huge pages: those that a descriptor form of the 4 KiB granule maps, without the largest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum HugeSize {
    /// 64 KiB: sixteen entries of a last-level table with the Contiguous bit.
    Run,
    /// 2 MiB: a block, the entry of a table of level 2.
    Block,
}

impl HugeSize {
    /// How many there are.
    pub const COUNT: usize = 2;
    /// All of them, the smaller first.
    pub const ALL: [Self; Self::COUNT] = [Self::Run, Self::Block];
    /// The one that a program gets which names none, as on Linux.
    pub const DEFAULT: Self = Self::Block;

    /// log2 of its bytes.
    pub const fn shift(self) -> u32 {
        match self {
            Self::Run => 16,
            Self::Block => 21,
        }
    }

    /// The level of the tables whose entries map it.
    pub const fn level(self) -> u8 {
        match self {
            Self::Run => 3,
            Self::Block => 2,
        }
    }

    /// The one with these bytes.
    pub fn from_bytes(bytes: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|size| size.bytes() == bytes)
    }

    /// log2 of its pages of 4 KiB.
    pub const fn order(self) -> usize {
        (self.shift() - PAGE_SHIFT) as usize
    }

    /// Its bytes.
    pub const fn bytes(self) -> u64 {
        1 << self.shift()
    }

    /// Its pages of 4 KiB.
    pub const fn pages(self) -> usize {
        1 << self.order()
    }
}

/// How many pages a pool has, as `/proc/meminfo` tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HugeCounts {
    /// In use and free ones.
    pub total: usize,
    /// Those that nothing maps.
    pub free: usize,
    /// Those of them that are kept for areas which reserved them.
    pub reserved: usize,
}

/// One pool.
#[derive(Debug)]
struct Pool {
    /// The free pages, linked through their frames.
    first: u32,
    counts: HugeCounts,
}

/// The pools of all sizes.
#[derive(Debug)]
pub(super) struct HugePools {
    pools: [Lock<Pool>; HugeSize::COUNT],
}

impl HugePools {
    pub(super) const fn new() -> Self {
        Self { pools: [const { Lock::new(Rank::Lru, Pool::new()) }; HugeSize::COUNT] }
    }

    fn of(&self, size: HugeSize) -> &Lock<Pool> {
        &self.pools[size as usize]
    }
}

impl Pool {
    const fn new() -> Self {
        Self { first: NIL, counts: HugeCounts { total: 0, free: 0, reserved: 0 } }
    }

    fn push(&mut self, frames: &Frames, index: u32) {
        frames.frame(index).next.store(self.first, Ordering::Relaxed);
        self.first = index;
        self.counts.free += 1;
    }

    fn pop(&mut self, frames: &Frames) -> Option<u32> {
        let index = Some(self.first).filter(|&first| first != NIL)?;
        self.first = frames.frame(index).next.load(Ordering::Relaxed);
        self.counts.free -= 1;
        Some(index)
    }

    /// Free pages that are not kept for anybody.
    const fn spare(&self) -> usize {
        self.counts.free.saturating_sub(self.counts.reserved)
    }
}

impl Frames {
    /// How many pages a pool has.
    pub fn huge_counts(&self, size: HugeSize) -> HugeCounts {
        self.huge.of(size).lock().counts
    }

    /// Sets pages aside until the pool has `total`, or no more can be had without making memory short, or gives back what is free beyond
    /// that and not reserved (Linux's nr_hugepages). Returns how many there are.
    pub fn resize_huge(&self, size: HugeSize, total: usize) -> usize {
        while self.huge_counts(size).total < total && self.free_count() >= self.marks.high + size.pages() {
            let Some(index) = self.take(size.order()) else { break };
            let mut pool = self.huge.of(size).lock();
            pool.counts.total += 1;
            pool.push(self, index);
        }
        loop {
            let mut pool = self.huge.of(size).lock();
            let shrinks = pool.counts.total > total && pool.spare() > 0;
            let Some(index) = shrinks.then(|| pool.pop(self)).flatten() else { return pool.counts.total };
            pool.counts.total -= 1;
            drop(pool);
            self.give(index, size.order());
        }
    }

    /// Keeps `count` pages for whoever asks. False, and none is kept, if there are not as many.
    #[must_use]
    pub fn reserve_huge(&self, size: HugeSize, count: usize) -> bool {
        let mut pool = self.huge.of(size).lock();
        let enough = pool.spare() >= count;
        pool.counts.reserved += if enough { count } else { 0 };
        enough
    }

    /// Gives up `count` reservations.
    pub fn unreserve_huge(&self, size: HugeSize, count: usize) {
        let mut pool = self.huge.of(size).lock();
        debug_assert!(pool.counts.reserved >= count, "more reservations given up than there were");
        pool.counts.reserved -= count;
    }

    /// A huge page with one reference and anything in it: of those kept, which takes up a reservation, or of the others. Dropped, or
    /// freed before the reservation is [said to be used](Folio::set_reserved_for), it brings that back.
    pub(crate) fn alloc_huge(&self, size: HugeSize, from_reserve: bool) -> Option<FreshFolio<'_>> {
        let mut pool = self.huge.of(size).lock();
        let available = if from_reserve { pool.counts.reserved } else { pool.spare() };
        let index = if available > 0 { pool.pop(self) } else { None }?;
        pool.counts.reserved -= usize::from(from_reserve);
        drop(pool);
        self.init_folio(index, size.order());
        let folio = Folio::at(self, index);
        folio.set_huge(true);
        folio.set_reserved_for(from_reserve);
        Some(FreshFolio(folio))
    }

    /// Frames whose memory is bad (Linux's HardwareCorrupted).
    pub fn bad_count(&self) -> usize {
        self.bad.load(Ordering::Relaxed)
    }

    /// Takes a folio back that is a huge page, or has bad memory in it.
    #[cold]
    pub(super) fn give_other(&self, index: u32, old: u32) {
        let order = state::order(old);
        let size = HugeSize::ALL.into_iter().find(|size| old & state::HUGE != 0 && size.order() == order);
        if let Some(size) = size {
            let mut pool = self.huge.of(size).lock();
            if old & state::RESERVED_FOR != 0 {
                pool.counts.reserved += 1;
            }
            if old & state::POISONED == 0 {
                return pool.push(self, index);
            }
            pool.counts.total -= 1;
        }
        for index in index..index + (1 << order) {
            let frame = self.frame(index);
            let is_bad = frame.state.load(Ordering::Relaxed) & state::BAD_PAGE != 0;
            if mutant::or(Mutant::BadFrameFreed, !is_bad, true) {
                self.give(index, 0);
            } else {
                frame.state.store(state::BAD, Ordering::Relaxed);
                self.bad.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Memory {
    /// [`Frames::alloc_huge`], told to whoever watches.
    pub(crate) fn alloc_huge(&self, size: HugeSize, from_reserve: bool) -> Option<FreshFolio<'_>> {
        let folio = self.frames.alloc_huge(size, from_reserve)?;
        self.door.fact(Fact::FrameRole(folio.head(), folio.pages(), Role::Folio));
        Some(folio)
    }
}
