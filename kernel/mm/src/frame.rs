//! Frames: one array with 32 bytes for each page of memory, and who has which.
//!
//! Memory comes in 2 MiB blocks; folios of order 0 to 8 are split off and merged inside a block by `buddy`, with links in the array
//! itself, so freeing never allocates. What a large folio needs beyond its head lives in the unused fields of its tails (`folio`), so
//! the exclusive marks and map counts cost no byte more.
//!
//! A frame leaves by [`FreshFolio`] or as a table page, and comes back only as [`Flushed`].

mod buddy;
mod huge;
mod orphan;
mod watermarks;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::{Deref, Range};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use buddy_system_allocator::FrameAllocator;
use mmu::{Fact, Pfn, PhysAddr, Role, Table};

use crate::MAX_CPUS;
use crate::errno::Errno;
use crate::folio::{FIRST, Folio, state};
use crate::inject::Point;
use crate::memory::Memory;
use crate::sync::{Lock, Rank};
use crate::tlb::Flushed;

use buddy::{CACHED_ORDERS, Cache, FreeLists};
use huge::HugePools;
pub use huge::{HugeCounts, HugeSize};
pub use orphan::{Orphan, OrphanList};
pub use watermarks::Shortage;
use watermarks::Watermarks;

/// The largest folio: 2 MiB.
pub const MAX_ORDER: usize = 9;
/// Frames at the end of the array that no page has: the handle of the last folio sees them.
const PADDING: usize = FIRST - 1;
/// Pages of the largest folio.
const BLOCK: u64 = 1 << MAX_ORDER;
/// How often memory is searched for one page (Linux's MAX_RECLAIM_RETRIES).
const TRIES: usize = 16;
/// The end of a list, and no frame at all.
pub(crate) const NIL: u32 = u32::MAX;

/// What is known of one page. Which field means what depends on `state`; links and indices count frames from the first of the array.
#[repr(C, align(32))]
#[derive(Debug)]
pub(crate) struct Frame {
    /// The kind with its order or place, and the flags of a folio.
    pub(crate) state: AtomicU32,
    /// References, of a head. 0 of all else: who has looked at an entry too late gets none.
    pub(crate) refs: AtomicU32,
    /// Mappings of this page by itself. The lock, of a table page.
    pub(crate) maps: AtomicU32,
    /// Swap entry, of a head. Pins, of the first tail.
    pub(crate) swap: AtomicU32,
    /// The next in a list.
    pub(crate) next: AtomicU32,
    /// The one before in a list.
    pub(crate) prev: AtomicU32,
    /// Where it is mapped, of a head. Map counts of the folio, of the first tail. Exclusive marks of 64 pages each, of the later ones.
    pub(crate) mapping: AtomicU64,
}

const _: () = assert!(size_of::<Frame>() == 32);

impl Frame {
    const fn reserved() -> Self {
        Self {
            state: AtomicU32::new(state::RESERVED),
            refs: AtomicU32::new(0),
            maps: AtomicU32::new(0),
            swap: AtomicU32::new(0),
            next: AtomicU32::new(NIL),
            prev: AtomicU32::new(NIL),
            mapping: AtomicU64::new(0),
        }
    }
}

/// All frames, and the lists of free ones.
pub struct Frames {
    frames: Box<[Frame]>,
    /// The frame number of the first of the array, a multiple of a block: buddies in the array are buddies in memory.
    base: u64,
    total: usize,
    lists: Lock<FreeLists>,
    caches: [Lock<Cache>; MAX_CPUS],
    marks: Watermarks,
    huge: HugePools,
    /// Frames of bad memory, which nobody gets.
    bad: AtomicUsize,
}

impl Frames {
    /// The frames of the ranges `usable`, all free.
    ///
    /// # Errors
    /// `ENOMEM` if the array does not fit into the heap; `EINVAL` for more frames than 32 bits count.
    pub fn new(usable: &[Range<Pfn>]) -> Result<Self, Errno> {
        let filled = usable.iter().filter(|range| range.start < range.end);
        let start = filled.clone().map(|range| range.start.as_u64()).min().unwrap_or(0);
        let end = filled.map(|range| range.end.as_u64()).max().unwrap_or(0);
        let base = start & !(BLOCK - 1);
        let length = (end - base).next_multiple_of(BLOCK);
        if length >= u64::from(NIL) {
            return Err(Errno::EINVAL);
        }
        let mut frames = Vec::new();
        let length = length as usize + PADDING;
        frames.try_reserve_exact(length).map_err(|_| Errno::ENOMEM)?;
        frames.extend((0..length).map(|_| Frame::reserved()));
        let frames = frames.into_boxed_slice();
        let (lists, total) = divide(&frames, base, usable);
        let caches = [const { Lock::new(Rank::Frames, Cache::new()) }; MAX_CPUS];
        let (lists, marks) = (Lock::new(Rank::Frames, lists), Watermarks::of(total));
        Ok(Self { frames, base, total, lists, caches, marks, huge: HugePools::new(), bad: AtomicUsize::new(0) })
    }

    /// A folio of `1 << order` pages with one reference and anything in its pages; `None` if there is none. Order 1 does not exist for
    /// anonymous memory: its map counts and exclusive marks would have no room.
    pub fn alloc(&self, order: usize) -> Option<FreshFolio<'_>> {
        assert!(order <= MAX_ORDER && order != 1, "a folio of order {order}");
        let index = self.take(order)?;
        self.init_folio(index, order);
        Some(FreshFolio(Folio::at(self, index)))
    }

    /// A page for a translation table, with anything in it.
    pub fn alloc_table(&self) -> Option<PhysAddr> {
        let index = self.take(0)?;
        let frame = self.frame(index);
        frame.maps.store(0, Ordering::Relaxed);
        frame.state.store(state::TABLE, Ordering::Release);
        Some(self.pfn(index).start())
    }

    /// Takes back a folio that nobody refers to and no TLB knows.
    #[inline]
    pub fn free(&self, folio: Flushed<Orphan>) {
        let index = folio.into_inner().index();
        self.give_folio(index);
    }

    /// The pages of a folio on its way back: the first, and how many.
    #[inline]
    pub(crate) fn pages_of(&self, folio: &Flushed<Orphan>) -> (Pfn, usize) {
        let index = folio.get().index();
        (self.pfn(index), 1 << state::order(self.frame(index).state.load(Ordering::Relaxed)))
    }

    /// Takes back a table page that no CPU can walk.
    pub fn free_table(&self, table: Flushed<Table>) {
        let index = self.index(table.into_inner().address().frame());
        debug_assert_eq!(self.frame(index).state.load(Ordering::Relaxed), state::TABLE);
        debug_assert_eq!(self.frame(index).maps.load(Ordering::Relaxed), 0, "a locked table is freed");
        self.give(index, 0);
    }

    /// The folio that page `frame` belongs to. It says nothing of whether the caller may use it: that takes a reference, or a lock
    /// under which the page stays mapped.
    #[inline]
    pub fn folio_of(&self, frame: Pfn) -> Folio<'_> {
        let index = self.index(frame);
        Folio::at(self, index - state::tail_place(self.frame(index).state.load(Ordering::Acquire)))
    }

    /// Whether `frame` lies in the range under management. There may be holes in it.
    pub fn contains(&self, frame: Pfn) -> bool {
        frame.as_u64().wrapping_sub(self.base) < (self.frames.len() - PADDING) as u64
    }

    /// The lock of a table page: 0 free, 1 held.
    #[inline]
    pub fn lock_word(&self, table: Pfn) -> &AtomicU32 {
        &self.frame(self.index(table)).maps
    }

    /// Frames under management.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Frames that are free, those kept by each CPU among them.
    pub fn free_count(&self) -> usize {
        let kept: usize = self.caches.iter().map(|cache| cache.lock().pages()).sum();
        kept + self.lists.lock().pages()
    }

    /// How short memory was when it was looked at last.
    #[inline]
    pub(crate) fn shortage(&self) -> Shortage {
        self.marks.seen()
    }

    /// Looks how short memory is.
    pub(crate) fn look(&self) {
        self.marks.note(self.lists.lock().pages());
    }

    /// How many frames more ought to be free.
    pub(crate) fn missing(&self) -> usize {
        self.marks.high.saturating_sub(self.lists.lock().pages())
    }

    /// Free blocks by order, once what each CPU keeps is given back: the whole truth about fragmentation.
    pub fn free_blocks(&self) -> [usize; MAX_ORDER + 1] {
        self.drain();
        self.lists.lock().blocks(&self.frames)
    }

    #[inline(always)]
    pub(crate) fn frame(&self, index: u32) -> &Frame {
        &self.frames[index as usize]
    }

    /// Frame `index` and those right after it.
    ///
    /// # Panics
    /// If there is no such frame.
    #[inline(always)]
    pub(crate) fn first_of(&self, index: u32) -> &[Frame; FIRST] {
        match self.frames[index as usize..].first_chunk() {
            Some(first) => first,
            None => panic!("frame {index} of the array is beyond its end"),
        }
    }

    #[inline(always)]
    pub(crate) fn frames_from(&self, index: u32, count: usize) -> &[Frame] {
        &self.frames[index as usize..][..count]
    }

    /// The number of a frame of the array.
    #[inline(always)]
    pub(crate) fn index_of(&self, frame: &Frame) -> u32 {
        ((frame as *const Frame as usize - self.frames.as_ptr() as usize) / size_of::<Frame>()) as u32
    }

    #[inline(always)]
    pub(crate) fn pfn(&self, index: u32) -> Pfn {
        Pfn::new(self.base + u64::from(index))
    }

    #[inline(always)]
    pub(crate) fn index(&self, frame: Pfn) -> u32 {
        let index = frame.as_u64().wrapping_sub(self.base);
        debug_assert!(index < self.frames.len() as u64, "frame {frame} is not under management");
        index as u32
    }

    /// Writes what says that a folio is here. Fields that every use leaves at zero are not written again.
    fn init_folio(&self, index: u32, order: usize) {
        let pages = &self.frames[index as usize..][..1 << order];
        for (place, tail) in pages.iter().enumerate().skip(1) {
            debug_assert_eq!(tail.maps.load(Ordering::Relaxed), 0);
            tail.state.store(state::tail(place), Ordering::Relaxed);
        }
        let words = if order == 0 { 1..1 } else { 1..2 + (1usize << order).div_ceil(64) };
        for tail in &pages[words] {
            tail.mapping.store(0, Ordering::Relaxed);
        }
        if order > 0 {
            pages[1].swap.store(0, Ordering::Relaxed);
        }
        let head = &pages[0];
        debug_assert_eq!(head.maps.load(Ordering::Relaxed), 0);
        head.swap.store(0, Ordering::Relaxed);
        head.mapping.store(0, Ordering::Relaxed);
        head.refs.store(1, Ordering::Relaxed);
        head.state.store(state::folio(order), Ordering::Release);
    }

    fn give_folio(&self, index: u32) {
        let frame = self.frame(index);
        let old = frame.state.load(Ordering::Relaxed);
        debug_assert!(state::is_folio(old) && old & state::BUSY == 0, "a folio in state {old:#x} is freed");
        debug_assert_eq!(frame.refs.load(Ordering::Relaxed), 0, "a folio with references is freed");
        debug_assert!(!Folio::at(self, index).is_mapped(), "a mapped folio is freed");
        if old & state::NOT_PLAIN != 0 {
            return self.give_other(index, old);
        }
        self.give(index, state::order(old));
    }

    fn take(&self, order: usize) -> Option<u32> {
        if order < CACHED_ORDERS {
            return self.take_cached(order);
        }
        let found = {
            let mut lists = self.lists.lock();
            let found = lists.take(&self.frames, order);
            self.marks.note(lists.pages());
            found
        };
        found.or_else(|| {
            self.drain();
            self.lists.lock().take(&self.frames, order)
        })
    }

    /// Takes from what this CPU keeps, filling that up from the common lists when it is empty.
    fn take_cached(&self, order: usize) -> Option<u32> {
        let cache = self.cache();
        let kept = cache.lock().pop(&self.frames, order);
        if kept.is_some() {
            return kept;
        }
        let (first, chain) = {
            let mut lists = self.lists.lock();
            // The one that is asked for comes first, so that it is the one from the smallest block.
            let taken = (lists.take(&self.frames, order), lists.take_chain(&self.frames, order));
            self.marks.note(lists.pages());
            taken
        };
        cache.lock().put_chain(&self.frames, order, chain);
        first.or_else(|| {
            self.drain();
            self.lists.lock().take(&self.frames, order)
        })
    }

    #[inline]
    fn give(&self, index: u32, order: usize) {
        if order < CACHED_ORDERS {
            self.give_cached(index, order)
        } else {
            self.lists.lock().give(&self.frames, index, order)
        }
    }

    #[inline(never)]
    fn give_cached(&self, index: u32, order: usize) {
        let excess = self.cache().lock().push(&self.frames, index, order);
        if !excess.is_empty() {
            self.lists.lock().give_chain(&self.frames, order, excess);
        }
    }

    fn cache(&self) -> &Lock<Cache> {
        &self.caches[mmu::current_cpu() % MAX_CPUS]
    }

    /// Gives back what each CPU keeps.
    fn drain(&self) {
        for cache in &self.caches {
            for order in 0..CACHED_ORDERS {
                let chains = cache.lock().take_all(order);
                let mut lists = self.lists.lock();
                chains.into_iter().for_each(|chain| lists.give_chain(&self.frames, order, chain));
            }
        }
    }
}

/// Divides the usable ranges into aligned blocks of at most 2 MiB, and lists them.
fn divide(frames: &[Frame], base: u64, usable: &[Range<Pfn>]) -> (FreeLists, usize) {
    let mut ranges = FrameAllocator::<{ MAX_ORDER + 1 }>::new();
    for range in usable.iter().filter(|range| range.start < range.end) {
        ranges.add_frame((range.start.as_u64() - base) as usize, (range.end.as_u64() - base) as usize);
    }
    let mut lists = FreeLists::new();
    for order in (0..=MAX_ORDER).rev() {
        // All blocks above this order are taken out by now, so none is split.
        while let Some(index) = ranges.alloc(1 << order) {
            lists.push(frames, index as u32, order);
        }
    }
    let total = lists.pages();
    (lists, total)
}

impl fmt::Debug for Frames {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Frames").field("base", &self.base).field("total", &self.total).finish_non_exhaustive()
    }
}

impl Memory {
    /// A folio of `1 << order` pages; `None` if there is none. For a single page memory is got back where it is short; a large folio is
    /// not given out then. There are points where a test makes it fail.
    pub fn alloc_folio(&self, order: usize) -> Option<FreshFolio<'_>> {
        let point = if order == 0 { Point::FolioAlloc } else { Point::LargeFolioAlloc };
        if self.inject.strikes(point, 1) {
            return None;
        }
        let folio = if order == 0 {
            self.with_room(|| self.frames.alloc(0))
        } else {
            (self.shortage() < Shortage::Min).then(|| self.frames.alloc(order)).flatten()
        }?;
        self.door.fact(Fact::FrameRole(folio.head(), folio.pages(), Role::Folio));
        Some(folio)
    }

    /// [`Frames::alloc_table`], where memory is got back if it is short, with the point where a test makes it fail.
    pub fn alloc_table(&self) -> Option<PhysAddr> {
        if self.inject.strikes(Point::TableAlloc, 1) { None } else { self.with_room(|| self.frames.alloc_table()) }
    }

    /// Takes a page, as soon as there is one.
    #[inline]
    fn with_room<T>(&self, take: impl Fn() -> Option<T>) -> Option<T> {
        self.make_room();
        for _ in 0..TRIES {
            let taken = take();
            if taken.is_some() || !self.find_room() {
                return taken;
            }
        }
        None
    }
}

/// A folio that was never mapped, with its one reference. Dropped, it is free again at once: its frames were flushed before they
/// were free, and nobody can have a translation since.
#[derive(Debug)]
#[must_use]
pub struct FreshFolio<'m>(Folio<'m>);

impl<'m> FreshFolio<'m> {
    /// The folio, about to be mapped or cached; its reference is the caller's to put.
    pub fn publish(self) -> Folio<'m> {
        let folio = self.0;
        core::mem::forget(self);
        folio
    }
}

impl<'m> Deref for FreshFolio<'m> {
    type Target = Folio<'m>;

    fn deref(&self) -> &Folio<'m> {
        &self.0
    }
}

impl Drop for FreshFolio<'_> {
    fn drop(&mut self) {
        let frozen = self.0.freeze(1);
        debug_assert!(frozen, "a folio that was never published has references");
        self.0.frames().give_folio(self.0.index());
    }
}

#[cfg(test)]
pub(crate) mod tests;
