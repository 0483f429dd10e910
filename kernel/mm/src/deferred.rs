//! The queue of folios that ought to be split: some of their pages nothing maps any more, and these are free only once the folio is
//! in parts (reference 4.20).
//!
//! On it is exactly each large folio of which some pages are mapped and some are not, unless it is in the swap cache, where a page
//! without a mapping may have a swap entry, or in a file, which has its pages mapped or not; and one that has lost the rest of its mappings
//! too, as long as somebody refers to it. Nobody splits at once: the rest of the folio goes soon, most often. It leaves the queue when it
//! is split, freed, or enters the swap cache. The links are in the first tail, since those of the head are the LRU list's.

use core::sync::atomic::{Ordering, fence};

use mmu::mutant::{self, Mutant};

use crate::folio::Folio;
use crate::frame::Frames;
use crate::lru::LinkedFolios;
use crate::memory::Memory;
use crate::split::split_found;
use crate::sync::{Lock, Rank};

/// The queue. A folio on it says so in its state, and there is no reference for it.
#[derive(Debug)]
pub struct DeferredSplits {
    queue: Lock<LinkedFolios<1>>,
}

impl DeferredSplits {
    /// With nothing on it.
    pub const fn new() -> Self {
        Self { queue: Lock::new(Rank::Lru, LinkedFolios::new()) }
    }

    /// How many folios are on it (Linux's nr_anon_partially_mapped).
    pub fn len(&self) -> usize {
        self.queue.lock().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the folio has a place on the queue, by what maps it.
    pub(crate) fn has_place_for(folio: &Folio<'_>) -> bool {
        folio.is_large()
            && !folio.is_huge()
            && !folio.is_swap_cache()
            && !folio.is_file()
            && (1..folio.pages()).contains(&folio.mapped_pages())
    }

    /// Puts a folio on the queue if it has a place there and is not on it. Whether it did. The caller has a reference to it.
    fn add(&self, folio: Folio<'_>) -> bool {
        // One unmaps a page and looks whether the folio is cached, another takes it out of the cache and looks at what is mapped: where
        // they meet, one of the two sees both.
        fence(Ordering::SeqCst);
        if !Self::has_place_for(&folio) {
            return false;
        }
        let mut queue = self.queue.lock();
        let added = folio.set_partially_mapped();
        if added {
            queue.push_back(folio);
        }
        added
    }

    /// How many folios of an order are queued.
    pub fn of_order(&self, frames: &Frames, order: usize) -> usize {
        self.queue.lock().iter(frames).filter(|folio| folio.order() == order).count()
    }

    /// Takes a folio off the queue, if it is on it.
    #[inline]
    pub(crate) fn remove(&self, folio: Folio<'_>) {
        if folio.is_partially_mapped() {
            let mut queue = self.queue.lock();
            if folio.clear_partially_mapped() {
                queue.remove(folio);
            }
        }
    }

    /// The first folio, which goes to the end, with a reference for the caller; `None` if somebody is freeing or splitting it.
    fn next<'m>(&self, frames: &'m Frames) -> Option<Folio<'m>> {
        let mut queue = self.queue.lock();
        let folio = queue.pop_front(frames)?;
        queue.push_back(folio);
        folio.try_get().then_some(folio)
    }

    /// Shows `see` every folio on the queue: for an audit.
    pub(crate) fn for_each(&self, frames: &Frames, see: impl FnMut(Folio<'_>)) {
        self.queue.lock().iter(frames).for_each(see);
    }
}

impl Default for DeferredSplits {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// Queues a folio for a split if it is mapped in part now: after some of its pages were unmapped, or it left the swap cache. The
    /// caller has a reference to it.
    pub(crate) fn defer_split(&self, folio: Folio<'_>) {
        if !mutant::is(Mutant::SplitNotDeferred) && self.deferred.add(folio) {
            self.count().split_deferred.add(1);
            self.count_size(folio.order()).split_deferred.add(1);
        }
    }

    /// Splits folios of the queue until `pages` pages came free or each was tried once. Returns how many pages that freed. Called where
    /// memory is short, with no folio and no table locked.
    pub fn shrink_deferred_splits(&self, pages: usize) -> usize {
        let mut freed = 0;
        for _ in 0..self.deferred.len() {
            if freed >= pages {
                break;
            }
            if let Some(folio) = self.deferred.next(&self.frames) {
                freed += split_found(self, folio).unwrap_or(0);
            }
        }
        freed
    }
}
