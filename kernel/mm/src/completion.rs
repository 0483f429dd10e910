//! Completions: what becomes of folios when a device has written them.
//!
//! A folio under writeback is unlocked in the swap cache. Faults map it again without a read, programs write it, entries for it go;
//! only reclaim leaves it alone, and nothing of it is freed (reference 4.9, 4.12). When the write is over the folio takes part in reclaim
//! again, and is freed if it is what the device has and nothing maps it. That is the pass that Linux makes some time later: there the
//! folio goes to the end of the list where reclaim looks first; here nothing else would look.

use crate::folio::Folio;
use crate::frame::OrphanList;
use crate::lru::FolioList;
use crate::memory::Memory;
use crate::reclaim::reclaim_folios;
use crate::tlb::Deferred;

impl Memory {
    /// Ends the writeback of every folio whose write is over, and frees those that nothing maps. A folio whose write has failed stays,
    /// dirty. Returns the pages freed. Whoever drives a device that is not synchronous calls this, with no lock held.
    pub fn run_completions(&self) -> usize {
        let (mut written, mut orphans) = (FolioList::new(), OrphanList::new());
        while let Some(folio) = self.swap.end_write(self) {
            self.swap.free_unneeded(folio);
            self.file_written(folio, &mut written);
            if let Some(orphan) = folio.put(1) {
                orphans.push(self, orphan);
            }
        }
        // Whoever took their last entries out has flushed before it gave their references up.
        Deferred::new().free(self, &mut orphans);
        if written.is_empty() { 0 } else { reclaim_folios(self, &mut written) }
    }

    /// A folio that can go is isolated; any other goes to the list that its flags say.
    fn file_written(&self, folio: Folio<'_>, written: &mut FolioList) {
        let can_go = folio.is_swap_cache() && !folio.is_mapped() && !folio.is_dirty();
        if !can_go {
            self.lru.refile(folio);
        } else if self.lru.isolate(folio) {
            written.push_back(folio);
        }
    }
}
