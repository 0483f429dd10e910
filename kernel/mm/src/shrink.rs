//! Shrinking: memory comes back from where it was not used for longest: the fronts of the LRU lists (reference 4.26).
//!
//! New folios go to the end of the inactive list. At its front each is looked at: one that was used has a second chance, one that was used
//! twice or by several goes to the active list, and the others are reclaimed. The active list is the longer one only until its front is
//! moved over. Folios that were given up (MADV_FREE) come first, those of which a part is unmapped are split before anything is
//! written.

use crate::aging::{Usage, take_usage, take_young};
use crate::folio::Folio;
use crate::frame::OrphanList;
use crate::lru::{FolioList, LruList};
use crate::memory::Memory;
use crate::pageout::GATHER_LIMIT;
use crate::policy::Unmap;
use crate::reclaim::reclaim;
use crate::tlb::Deferred;

/// Pages that are looked at in one go (Linux's SWAP_CLUSTER_MAX).
const BATCH: usize = 32;
/// Looks at a folio after which it is reclaimed if nobody uses it meanwhile: on the active list, on the inactive one, and once more.
const LOOKS: usize = 3;

/// What came of shrinking.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shrunk {
    /// Pages that are free now.
    pub freed: usize,
    /// Pages that will be once they are written.
    pub begun: usize,
}

impl Shrunk {
    /// Both.
    pub fn pages(self) -> usize {
        self.freed + self.begun
    }

    fn add(&mut self, more: Self) {
        self.freed += more.freed;
        self.begun += more.begun;
    }
}

impl Memory {
    /// Gets at least `pages` pages back, or as many as there are to be had. Called with no lock of an anon_vma, a folio or a table
    /// held; areas may be locked.
    pub fn shrink(&self, pages: usize) -> Shrunk {
        let mut sum = Shrunk { freed: self.shrink_deferred_splits(pages), begun: 0 };
        let mut looks = LOOKS * self.lru.reclaimable();
        while sum.pages() < pages && looks > 0 {
            let (looked, shrunk) = self.shrink_lists(self.batch(pages - sum.pages()));
            if looked == 0 {
                break;
            }
            sum.add(shrunk);
            looks = looks.saturating_sub(looked);
        }
        let count = self.count();
        count.shrinks.add(1);
        count.pages_shrunk.add(sum.pages() as u64);
        sum
    }

    /// Whether there is a slot, or one that is only cached can be freed.
    fn finds_slots(&self) -> bool {
        if self.swap.has_free() {
            return true;
        }
        let mut orphans = OrphanList::new();
        let left = self.swap.free_cached(self, |orphan| orphans.push(self, orphan));
        // Whoever took their last entries out has flushed before.
        Deferred::new().free(self, &mut orphans);
        left > 0
    }

    /// How many pages are looked at in one go where `pages` are wanted.
    fn batch(&self, pages: usize) -> usize {
        let most = if self.policy().unmap() == Unmap::Gather { GATHER_LIMIT } else { BATCH };
        pages.clamp(BATCH, most)
    }

    /// Looks at about `pages` pages of each list; without swap slots only at those that were given up. Returns at how many, and what
    /// was got of them.
    fn shrink_lists(&self, pages: usize) -> (usize, Shrunk) {
        let size = |list| self.lru.size(list).1;
        let mut idle = FolioList::new();
        let mut looked = self.choose(LruList::LazyFree, pages, &mut idle);
        if self.finds_slots() {
            if size(LruList::InactiveAnon) < size(LruList::ActiveAnon) {
                looked += self.cool_active(pages);
            }
            looked += self.choose(LruList::InactiveAnon, pages.saturating_sub(idle.pages()), &mut idle);
        }
        (looked, if idle.is_empty() { Shrunk::default() } else { reclaim(self, &mut idle) })
    }

    /// Moves folios at the front of the active list to the inactive one, where they have to be used again to stay.
    fn cool_active(&self, pages: usize) -> usize {
        let mut found = self.lru.isolate_front(&self.frames, LruList::ActiveAnon, pages);
        let looked = found.pages();
        let mut orphans = OrphanList::new();
        while let Some(folio) = found.pop_front(&self.frames) {
            if let Some(locked) = folio.try_lock() {
                take_young(self, &locked);
                locked.set_active(false);
            }
            self.put_back_looked_at(folio, &mut orphans);
        }
        Deferred::new().free(self, &mut orphans);
        looked
    }

    /// Looks at folios at the front of a list: puts those in use back, and those that can be reclaimed into `idle`. Returns at how many
    /// pages it has looked.
    fn choose(&self, list: LruList, pages: usize, idle: &mut FolioList) -> usize {
        let mut found = self.lru.isolate_front(&self.frames, list, pages);
        let looked = found.pages();
        let mut orphans = OrphanList::new();
        while let Some(folio) = found.pop_front(&self.frames) {
            if self.is_idle(folio) {
                idle.push_back(folio);
            } else {
                self.put_back_looked_at(folio, &mut orphans);
            }
        }
        Deferred::new().free(self, &mut orphans);
        looked
    }

    /// Whether an isolated folio can be reclaimed; if not, its flags say where it belongs.
    fn is_idle(&self, folio: Folio<'_>) -> bool {
        let Some(locked) = folio.try_lock() else { return false };
        if locked.is_writeback() {
            return false;
        }
        let usage = take_usage(self, &locked);
        // What was given up and only read goes: it is empty or full of what nobody wants.
        if usage == Usage::Often && locked.is_swap_backed() {
            locked.set_active(true);
            locked.set_referenced(false);
        }
        usage == Usage::Idle || !locked.is_swap_backed()
    }

    /// The folio goes to its list; if it was used by nobody else any more, to `orphans`.
    fn put_back_looked_at(&self, folio: Folio<'_>, orphans: &mut OrphanList) {
        self.swap.free_unneeded(folio);
        if let Some(orphan) = self.lru.putback(folio) {
            orphans.push(self, orphan);
        }
    }
}
