//! Folios: naturally aligned runs of pages that are allocated, mapped, swapped and freed together, in Linux's sense.
//!
//! The head frame holds what is said of the whole folio: references, flags, where it is mapped, its swap entry. The tails, which
//! need little for themselves, hold the rest: the first one pins and map counts, the later ones exclusive marks.

mod exclusive;
mod maps;
pub(crate) mod split;
pub(crate) mod state;

use core::fmt;
use core::ops::Deref;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use mmu::Pfn;

use crate::frame::{Frame, Frames, Orphan};
use crate::rmap::AnonVmaId;
use crate::swap::SwapEntry;
use crate::sync::{Held, Rank, assert_may_wait, give_way};

pub use maps::Unmapped;

/// References that a pin of a folio of one page counts for, which has no count of its own for them.
pub const PIN_REFS: usize = 1024;
/// Frames that a folio's handle sees at once.
pub(crate) const FIRST: usize = 3;
/// Bits of a page's offset in `mapping`, below those of the anon_vma.
const INDEX_BITS: u32 = 36;

/// A folio. Holding one does not keep it alive, nor of its size: that takes a reference, or a table's lock under which it is mapped.
#[derive(Clone, Copy)]
pub struct Folio<'m> {
    frames: &'m Frames,
    /// Its head and, of a large one, the first two tails: all that most steps need, without a look at how many frames there are.
    first: &'m [Frame; FIRST],
}

impl<'m> Folio<'m> {
    #[inline(always)]
    pub(crate) fn at(frames: &'m Frames, index: u32) -> Self {
        Self { frames, first: frames.first_of(index) }
    }

    #[inline(always)]
    pub(crate) fn frames(&self) -> &'m Frames {
        self.frames
    }

    /// The number of its head in the frame array.
    #[inline(always)]
    pub(crate) fn index(&self) -> u32 {
        self.frames.index_of(&self.first[0])
    }

    #[inline(always)]
    pub(crate) fn head_frame(&self) -> &'m Frame {
        &self.first[0]
    }

    /// The frame of page `page`, which may be beyond the first.
    #[inline(always)]
    fn page_frame(&self, page: usize) -> &'m Frame {
        if page < FIRST { &self.first[page] } else { self.frames.frame(self.index() + page as u32) }
    }

    fn page_frames(&self, first: usize, count: usize) -> &'m [Frame] {
        self.frames.frames_from(self.index() + first as u32, count)
    }

    #[inline(always)]
    fn state(&self) -> u32 {
        self.head_frame().state.load(Ordering::Acquire)
    }

    /// log2 of its pages.
    #[inline(always)]
    pub fn order(&self) -> usize {
        state::order(self.head_frame().state.load(Ordering::Relaxed))
    }

    /// Its pages.
    #[inline(always)]
    pub fn pages(&self) -> usize {
        1 << self.order()
    }

    /// Whether it has more than one page.
    #[inline(always)]
    pub fn is_large(&self) -> bool {
        self.order() > 0
    }

    /// Its first frame.
    #[inline(always)]
    pub fn head(&self) -> Pfn {
        self.frames.pfn(self.index())
    }

    /// The frame of page `index`.
    #[inline(always)]
    pub fn page(&self, index: usize) -> Pfn {
        self.head().add(index)
    }

    /// Whether `frame` is one of its pages.
    #[inline(always)]
    pub fn contains(&self, frame: Pfn) -> bool {
        frame.as_u64().wrapping_sub(self.head().as_u64()) < self.pages() as u64
    }

    /// Which of its pages `frame` is.
    #[inline(always)]
    pub fn index_of(&self, frame: Pfn) -> usize {
        debug_assert!(self.contains(frame));
        (frame.as_u64() - self.head().as_u64()) as usize
    }

    /// References.
    #[inline]
    pub fn refs(&self) -> usize {
        self.head_frame().refs.load(Ordering::Acquire) as usize
    }

    /// Takes `count` references. The caller has one, or holds a lock under which the folio can not go away.
    #[inline]
    pub fn get(&self, count: usize) {
        let before = self.head_frame().refs.fetch_add(count as u32, Ordering::Relaxed);
        debug_assert!(before > 0, "a reference to a folio that has none");
    }

    /// Takes a reference unless there is none: the way of whoever finds a folio in a list or cache.
    #[inline]
    pub fn try_get(&self) -> bool {
        mmu::switch_point();
        let raise = |refs: u32| if refs == 0 { None } else { Some(refs + 1) };
        self.head_frame().refs.fetch_update(Ordering::Acquire, Ordering::Relaxed, raise).is_ok()
    }

    /// Gives `count` references up. If they were the last, the folio comes back as an orphan.
    #[inline]
    pub fn put(&self, count: usize) -> Option<Orphan> {
        mmu::switch_point();
        let before = self.head_frame().refs.fetch_sub(count as u32, Ordering::Release);
        debug_assert!(before >= count as u32, "more references put than there were");
        if before == count as u32 { Some(self.orphan()) } else { None }
    }

    /// Gives `count` references up if they are all there are. If not, none is given up.
    pub fn put_if_last(&self, count: usize) -> Option<Orphan> {
        self.freeze(count).then(|| self.orphan())
    }

    #[cold]
    fn orphan(&self) -> Orphan {
        fence(Ordering::Acquire);
        Orphan::new(self.index())
    }

    /// Takes all references at once if there are exactly `expected`, so that nobody can get one any more.
    #[inline]
    pub fn freeze(&self, expected: usize) -> bool {
        mmu::switch_point();
        self.head_frame().refs.compare_exchange(expected as u32, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Gives `count` references back after [`freeze`](Self::freeze).
    pub fn unfreeze(&self, count: usize) {
        debug_assert_eq!(self.refs(), 0);
        self.head_frame().refs.store(count as u32, Ordering::Release);
    }

    /// The references that its mappings, the swap cache and its file account for. One that the caller holds comes on top (reference 4.3).
    #[inline]
    pub fn expected_refs(&self) -> usize {
        let holders = (self.state() & (state::SWAP_CACHE | state::FILE)).count_ones() as usize;
        self.mapcount() + holders * self.pages()
    }

    /// Pins it: somebody will access the memory by its physical address. Each pin is a reference too.
    pub fn pin(&self, count: usize) {
        if self.is_large() {
            self.get(count);
            self.pins().fetch_add(count as u32, Ordering::Relaxed);
        } else {
            self.get(count * PIN_REFS);
        }
    }

    /// Takes pins off.
    pub fn unpin(&self, count: usize) -> Option<Orphan> {
        if !self.is_large() {
            return self.put(count * PIN_REFS);
        }
        let before = self.pins().fetch_sub(count as u32, Ordering::Release);
        debug_assert!(before >= count as u32, "more pins taken off than there were");
        self.put(count)
    }

    /// Whether it is pinned. Exact for a large folio; one of a single page may also have very many references.
    #[inline]
    pub fn maybe_pinned(&self) -> bool {
        if self.is_large() { self.pins().load(Ordering::Relaxed) > 0 } else { self.refs() >= PIN_REFS }
    }

    /// The references that pins account for.
    pub fn pin_refs(&self) -> usize {
        if self.is_large() { self.pins().load(Ordering::Relaxed) as usize } else { self.refs() / PIN_REFS * PIN_REFS }
    }

    #[inline(always)]
    fn pins(&self) -> &AtomicU32 {
        &self.page_frame(1).swap
    }

    /// The anon_vma, or the areas of its file, and the page offset there of its first page; `None` if it was never mapped.
    #[inline]
    pub fn mapping(&self) -> Option<(AnonVmaId, u64)> {
        let word = self.head_frame().mapping.load(Ordering::Relaxed);
        let id = (word >> INDEX_BITS).checked_sub(1)?;
        Some((AnonVmaId::from_number(id as u32), word & ((1 << INDEX_BITS) - 1)))
    }

    /// Says where it is mapped.
    pub fn set_mapping(&self, anon: AnonVmaId, index: u64) {
        debug_assert!(index >> INDEX_BITS == 0);
        self.head_frame().mapping.store((u64::from(anon.number()) + 1) << INDEX_BITS | index, Ordering::Relaxed);
    }

    /// Says that it is mapped nowhere, and has no place where it could be.
    pub(crate) fn clear_mapping(&self) {
        self.head_frame().mapping.store(0, Ordering::Relaxed);
    }

    /// The swap entry of page `index`, of a folio in the swap cache.
    #[inline(always)]
    pub fn swap_entry(&self, index: usize) -> SwapEntry {
        debug_assert!(self.is_swap_cache());
        SwapEntry::from_word(self.head_frame().swap.load(Ordering::Relaxed)).advance(index)
    }

    /// Where its first page is in the swap cache, if it is there. Without its lock or the cluster's it may leave at any moment.
    pub(crate) fn cached_at(&self) -> Option<SwapEntry> {
        let word = self.head_frame().swap.load(Ordering::Relaxed);
        (self.is_swap_cache() && word != 0).then(|| SwapEntry::from_word(word))
    }

    /// Enters it as cached at `entry`, one reference a page. The cluster's lock is held.
    pub(crate) fn enter_swap_cache(&self, entry: SwapEntry) {
        self.get(self.pages());
        self.head_frame().swap.store(entry.to_word(), Ordering::Relaxed);
        self.set(state::SWAP_CACHE, true);
    }

    /// Takes the flag off. The references are the caller's to put.
    pub(crate) fn leave_swap_cache(&self) {
        self.set(state::SWAP_CACHE, false);
        self.head_frame().swap.store(0, Ordering::Relaxed);
    }

    /// Locks it unless it is locked.
    #[inline]
    pub fn try_lock(&self) -> Option<FolioLock<'m>> {
        mmu::switch_point();
        if self.head_frame().state.fetch_or(state::LOCKED, Ordering::Acquire) & state::LOCKED != 0 {
            return None;
        }
        Some(FolioLock { folio: *self, _held: Held::tried(Rank::Folio) })
    }

    /// Waits for its lock, which may be held over a write to the swap device.
    pub fn lock(&self) -> FolioLock<'m> {
        mmu::switch_point();
        assert_may_wait();
        let held = Held::take(Rank::Folio);
        while self.head_frame().state.fetch_or(state::LOCKED, Ordering::Acquire) & state::LOCKED != 0 {
            give_way();
        }
        FolioLock { folio: *self, _held: held }
    }

    /// Locks a folio that nobody else has heard of, so that there is nothing to wait for.
    pub(crate) fn lock_fresh(&self) -> FolioLock<'m> {
        let before = self.head_frame().state.fetch_or(state::LOCKED, Ordering::Acquire);
        debug_assert_eq!(before & state::LOCKED, 0);
        FolioLock { folio: *self, _held: Held::tried(Rank::Folio) }
    }

    /// Whether somebody holds its lock.
    pub fn is_locked(&self) -> bool {
        self.has(state::LOCKED)
    }

    #[inline(always)]
    fn has(&self, flag: u32) -> bool {
        self.state() & flag != 0
    }

    #[inline(always)]
    fn set(&self, flag: u32, value: bool) {
        if self.has(flag) == value {
            return;
        }
        if value {
            self.head_frame().state.fetch_or(flag, Ordering::Release);
        } else {
            self.head_frame().state.fetch_and(!flag, Ordering::Release);
        }
    }
}

impl Folio<'_> {
    /// Whether it is in the swap cache.
    #[inline]
    pub fn is_swap_cache(&self) -> bool {
        self.has(state::SWAP_CACHE)
    }

    /// Says that the memory of page `index` is bad, or that it is not after all.
    pub(crate) fn mark_bad(&self, index: usize, bad: bool) {
        let state = &self.page_frame(index).state;
        if bad {
            state.fetch_or(state::BAD_PAGE, Ordering::Release);
        } else {
            state.fetch_and(!state::BAD_PAGE, Ordering::Release);
        }
        self.set_poisoned(bad);
    }

    /// Whether its entries stay empty when it is unmapped: what they mapped is in a file, or was given up.
    #[inline]
    pub(crate) fn leaves_nothing(&self) -> bool {
        self.state() & (state::SWAP_BACKED | state::FILE) != state::SWAP_BACKED
    }

    /// Whether it is on an LRU list.
    #[inline]
    pub fn is_on_lru(&self) -> bool {
        self.has(state::ON_LRU)
    }

    /// Whether it is on the queue of folios to be split.
    #[inline]
    pub fn is_partially_mapped(&self) -> bool {
        self.has(state::PARTIALLY_MAPPED)
    }

    /// Says that it is on the queue of folios to be split, unless it is already, or is in the swap cache. Whether that was said. In one
    /// step: whoever enters it into the cache finds it on the queue then, or keeps it off.
    pub(crate) fn set_partially_mapped(&self) -> bool {
        let stays = state::PARTIALLY_MAPPED | state::SWAP_CACHE;
        let set = |word: u32| (word & stays == 0).then_some(word | state::PARTIALLY_MAPPED);
        self.head_frame().state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, set).is_ok()
    }

    /// Says that it is not. Whether it was.
    pub(crate) fn clear_partially_mapped(&self) -> bool {
        let before = self.head_frame().state.fetch_and(!state::PARTIALLY_MAPPED, Ordering::AcqRel);
        before & state::PARTIALLY_MAPPED != 0
    }

    /// The LRU list that it is on. The lists' lock is held.
    pub(crate) fn lru_list(&self) -> Option<usize> {
        let word = self.state();
        (word & state::ON_LRU != 0).then_some(((word & state::LRU_LIST) >> state::LRU_SHIFT) as usize)
    }

    /// Says which LRU list it is on. The lists' lock is held.
    pub(crate) fn set_lru_list(&self, list: Option<usize>) {
        match list {
            Some(list) => {
                let flags = state::ON_LRU | (list as u32) << state::LRU_SHIFT;
                self.head_frame().state.fetch_or(flags, Ordering::Release);
            }
            None => {
                self.head_frame().state.fetch_and(!(state::ON_LRU | state::LRU_LIST), Ordering::Release);
            }
        }
    }
}

macro_rules! flags {
    ($($flag:ident: $get:ident, $set:ident, $what:literal;)*) => {
        impl Folio<'_> {
            $(
                #[doc = concat!("Whether ", $what, ".")]
                #[inline]
                pub fn $get(&self) -> bool {
                    self.has(state::$flag)
                }

                #[doc = concat!("Says whether ", $what, ".")]
                #[inline]
                pub fn $set(&self, value: bool) {
                    self.set(state::$flag, value);
                }
            )*
        }
    };
}

flags! {
    DIRTY: is_dirty, set_dirty, "its contents differ from what the swap device has";
    SWAP_BACKED: is_swap_backed, set_swap_backed, "its contents go to swap when it is reclaimed";
    UPTODATE: is_uptodate, set_uptodate, "its contents are valid";
    REFERENCED: is_referenced, set_referenced, "it was used since reclaim last looked";
    ACTIVE: is_active, set_active, "it belongs on an active list";
    UNEVICTABLE: is_unevictable, set_unevictable, "it may not be reclaimed";
    MLOCKED: is_mlocked, set_mlocked, "an area that maps it is locked";
    FILE: is_file, set_file, "it belongs to a memory file";
    WRITEBACK: is_writeback, set_writeback, "it is being written to the swap device";
    HUGE: is_huge, set_huge, "it is a huge page of a pool";
    RESERVED_FOR: is_reserved_for, set_reserved_for, "a reservation comes back when it is freed";
    POISONED: is_poisoned, set_poisoned, "some page of it is bad memory";
}

impl PartialEq for Folio<'_> {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self.first, other.first)
    }
}

impl Eq for Folio<'_> {}

impl fmt::Debug for Folio<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Folio({}, order {}, refs {}, maps {}", self.head(), self.order(), self.refs(), self.mapcount())?;
        write!(out, ", state {:#x})", self.state())
    }
}

/// A folio whose lock this CPU holds; dropping it unlocks. It does not keep the folio alive: the holder has a reference besides.
#[derive(Debug)]
#[must_use]
pub struct FolioLock<'m> {
    folio: Folio<'m>,
    _held: Held,
}

impl<'m> FolioLock<'m> {
    /// The folio, which stays locked.
    pub fn folio(&self) -> Folio<'m> {
        self.folio
    }

    /// Unlocks.
    pub fn unlock(self) -> Folio<'m> {
        self.folio
    }

    /// A frozen folio that left the swap cache and that nothing maps: it only waits for a flush now. Its lock ends here.
    pub fn into_orphan(self) -> Orphan {
        debug_assert!(self.refs() == 0 && !self.is_mapped() && !self.is_swap_cache());
        Orphan::new(self.index())
    }
}

impl<'m> Deref for FolioLock<'m> {
    type Target = Folio<'m>;

    #[inline(always)]
    fn deref(&self) -> &Folio<'m> {
        &self.folio
    }
}

impl Drop for FolioLock<'_> {
    #[inline]
    fn drop(&mut self) {
        self.head_frame().state.fetch_and(!state::LOCKED, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
