//! The swap cache: folios that are on their way out or in, found by their slots.
//!
//! It is no structure of its own: a cluster knows which folio is cached at a slot, and the folio knows its first slot. A folio enters
//! and leaves under its own lock and the cluster's. It does not leave while a device writes it: the slots, and the memory that the
//! device reads, stay what they are.

use mmu::mutant::{self, Mutant};

use super::{Swap, SwapEntry};
use crate::folio::{Folio, FolioLock};
use crate::frame::{FreshFolio, Orphan};
use crate::memory::Memory;

impl Swap {
    /// The folio cached at `entry` and which of its pages that is, with a reference for the caller; not if somebody is taking it away.
    pub(super) fn try_find<'m>(&self, memory: &'m Memory, entry: SwapEntry) -> Option<(Folio<'m>, usize)> {
        let (cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        let (index, page) = cluster.cached(at)?;
        let folio = Folio::at(&memory.frames, index);
        folio.try_get().then_some((folio, page))
    }

    /// Drops the folio cached at `entry` if nobody needs it, without waiting. How many slots on to look further.
    pub(super) fn drop_unneeded(&self, memory: &Memory, entry: SwapEntry, orphan: &mut impl FnMut(Orphan)) -> usize {
        let Some((folio, page)) = self.try_find(memory, entry) else { return 1 };
        let length = folio.pages() - page;
        self.free_unneeded(folio);
        if let Some(last) = folio.put(1) {
            orphan(last);
        }
        length
    }

    /// The folio cached at `entry`, with a reference for the caller, who locks it and looks whether it is still cached there.
    pub fn lookup<'m>(&self, memory: &'m Memory, entry: SwapEntry) -> Option<Folio<'m>> {
        loop {
            {
                let (cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
                let (index, _) = cluster.cached(at)?;
                let folio = Folio::at(&memory.frames, index);
                if folio.try_get() {
                    return Some(folio);
                }
            }
            // Somebody has frozen its references, to split it or to take it out of the cache: soon one or the other is done.
            mmu::relax();
        }
    }

    /// Whether a folio is cached at any of `count` slots, which do not cross a cluster.
    pub fn is_cached(&self, entry: SwapEntry, count: usize) -> bool {
        let (cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        cluster.any_cached(at, count)
    }

    /// Enters a fresh folio that is about to be read in, with one reference a page beside the caller's. Its pages are those of the
    /// slots from `entry` on, which is a multiple of its size. It comes back locked, and is not up to date.
    ///
    /// # Errors
    /// The folio, if another is cached at any of the slots, or not all of them have a count: look at the entry again.
    pub fn add_to_cache<'m>(
        &self,
        memory: &'m Memory,
        entry: SwapEntry,
        folio: FreshFolio<'m>,
    ) -> Result<FolioLock<'m>, FreshFolio<'m>> {
        debug_assert!(core::ptr::eq(folio.frames(), &memory.frames));
        let (order, pages) = (folio.order(), folio.pages());
        let (mut cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        // Slots that were given up and taken again since the fault looked may be zero in part only.
        let alike = cluster.zero(at, pages).is_some();
        if at % pages != 0 || cluster.any_cached(at, pages) || !cluster.all_counted(at, pages) || !alike {
            return Err(folio);
        }
        let folio = folio.publish();
        let lock = folio.lock_fresh();
        cluster.cache(at, order, folio.index());
        folio.enter_swap_cache(entry);
        Ok(lock)
    }

    /// Takes a folio out of the cache. Its slots stay in use as far as entries name them; the references it had for being cached are
    /// the caller's.
    pub fn remove_from_cache(&self, folio: &FolioLock<'_>) {
        let entry = folio.swap_entry(0);
        let clusters = &self.device(entry).clusters;
        let (mut cluster, at) = clusters.lock(entry.slot as usize);
        let freed = cluster.uncache(at, folio.pages());
        clusters.note_freed(entry.slot as usize, &mut cluster, freed);
        folio.leave_swap_cache();
    }

    /// Takes a folio out of the cache that was not read, or was read in vain: nothing maps it, and its slots have what it should have
    /// had. Whoever has found it meanwhile sees that it is cached no longer, and looks again. The caller has a reference.
    pub(crate) fn drop_unused(&self, folio: &FolioLock<'_>) {
        debug_assert!(!folio.is_mapped() && !folio.is_dirty() && !folio.is_writeback());
        self.remove_from_cache(folio);
        let last = folio.put(folio.pages());
        debug_assert!(last.is_none(), "the caller of drop_unused had no reference");
    }

    /// Takes an unmapped, clean folio out of the cache for good, if only the cache and the caller refer to it: it waits for a flush
    /// then.
    ///
    /// # Errors
    /// The folio, if it is dirty or being written, or somebody else has got hold of it.
    pub fn detach<'m>(&self, memory: &'m Memory, folio: FolioLock<'m>) -> Result<Orphan, FolioLock<'m>> {
        debug_assert!(core::ptr::eq(folio.frames(), &memory.frames));
        let pages = folio.pages();
        if is_being_written(&folio) || !folio.freeze(1 + pages) {
            return Err(folio);
        }
        // Dirtied through a mapping that is gone: whoever did it gave its reference up afterwards, so the flag is seen here.
        if folio.is_dirty() {
            folio.unfreeze(1 + pages);
            return Err(folio);
        }
        self.remove_from_cache(&folio);
        Ok(folio.into_orphan())
    }

    /// Takes a folio out of the cache if no entry names its slots any more: they are free then, the references go, and the only copy
    /// of its contents is the folio itself, so it is dirty. Not while it is written: the slots could be given to others, and get this
    /// folio's data then. The caller has a reference.
    pub fn free_if_unused(&self, folio: &FolioLock<'_>) -> bool {
        if !folio.is_swap_cache() || is_being_written(folio) {
            return false;
        }
        let pages = folio.pages();
        if !self.uncache_if_unused(folio) {
            return false;
        }
        folio.set_dirty(true);
        let last = folio.put(pages);
        debug_assert!(last.is_none(), "the caller of free_if_unused had no reference");
        true
    }

    /// Takes a folio out of the cache that nothing maps, or that is back in its file, and no entry names, unless somebody is at it.
    /// Whoever lets go of a mapping, an entry or the lock of a cached folio, or ends its writeback, calls this afterwards: of two that
    /// meet, one finds the folio locked and leaves it to the other, who looks again once it has unlocked. The caller has a reference.
    pub fn free_unneeded(&self, folio: Folio<'_>) {
        while self.is_unneeded(folio) {
            let Some(locked) = folio.try_lock() else { return };
            if !is_mapped_only(&locked) {
                self.free_if_unused(&locked);
            }
        }
    }

    /// Whether the cache holds a folio for nobody. Its lock need not be held: that it is cached is looked at under the cluster's.
    fn is_unneeded(&self, folio: Folio<'_>) -> bool {
        let Some(entry) = folio.cached_at().filter(|_| !is_being_written(&folio)) else { return false };
        let (cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        folio.cached_at() == Some(entry) && !is_mapped_only(&folio) && cluster.none_counted(at, folio.pages())
    }

    fn uncache_if_unused(&self, folio: &Folio<'_>) -> bool {
        let (entry, pages) = (folio.swap_entry(0), folio.pages());
        let clusters = &self.device(entry).clusters;
        let (mut cluster, at) = clusters.lock(entry.slot as usize);
        if !cluster.none_counted(at, pages) {
            return false;
        }
        let freed = cluster.uncache(at, pages);
        clusters.note_freed(entry.slot as usize, &mut cluster, freed);
        folio.leave_swap_cache();
        true
    }

    /// A cached folio of `pages` pages was split into folios, which have its slots now. Their references are still frozen.
    pub(crate) fn split(&self, first: &Folio<'_>, pages: usize) {
        let entry = first.swap_entry(0);
        let (mut cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        for page in (0..pages).step_by(first.pages()) {
            cluster.cache(at + page, first.order(), first.index() + page as u32);
        }
    }
}

impl FolioLock<'_> {
    /// Which of its pages the slot holds; `None` if it is not, or no longer, the one that is cached there.
    pub(crate) fn page_cached_at(&self, entry: SwapEntry) -> Option<usize> {
        let first = self.cached_at()?;
        let page = entry.slot.checked_sub(first.slot)? as usize;
        (first.device == entry.device && page < self.pages()).then_some(page)
    }
}

/// Whether something maps the folio, and no file has it, which needs no slots for it once it is in memory again.
fn is_mapped_only(folio: &Folio<'_>) -> bool {
    folio.is_mapped() && !folio.is_file()
}

/// Whether a device may still look at the folio's pages.
fn is_being_written(folio: &Folio<'_>) -> bool {
    mutant::or(Mutant::FreedUnderWriteback, folio.is_writeback(), false)
}
