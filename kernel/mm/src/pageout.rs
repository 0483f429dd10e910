//! MADV_PAGEOUT: the walk over a range that isolates its folios and hands them to reclaim (reference 4.12).
//!
//! `page` and `folio` reclaim at the end of each page table, as Linux does. `gather` lets the isolation list grow to 32 MiB, over any
//! number of tables and areas, so that the flush is shared by more.

use alloc::sync::Arc;

use mmu::mutant::{self, Mutant};
use mmu::{Descriptor, Slot, VirtAddr};

use crate::folio::Folio;
use crate::lru::FolioList;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::policy::Unmap;
use crate::reclaim::reclaim_folios;
use crate::space::Space;
use crate::walk::{Visitor, visit};

/// Pages that one isolation list of `gather` may hold: 32 MiB.
pub(crate) const GATHER_LIMIT: usize = 8192;

/// A page-out in progress: what is isolated and not reclaimed yet. Dropping it unfinished would lose folios: see
/// [`finish`](Self::finish).
#[derive(Debug)]
#[must_use]
pub struct Pageout<'m> {
    memory: &'m Memory,
    isolated: FolioList,
    limit: usize,
}

impl<'m> Pageout<'m> {
    /// Nothing isolated yet.
    pub fn new(memory: &'m Memory) -> Self {
        let limit = if memory.policy().unmap() == Unmap::Gather { GATHER_LIMIT } else { 0 };
        Self { memory, isolated: FolioList::new(), limit }
    }

    /// Pages out `start..end`, which lies in one area of `space`.
    pub fn range(&mut self, space: &Arc<Space>, start: VirtAddr, end: VirtAddr) {
        let mut address = start;
        while address < end {
            let stop = end.min(address.table_end());
            if self.isolated.pages() + mmu::ENTRIES > self.limit {
                self.reclaim();
            }
            address = visit(self.memory, space, (address, stop), self);
        }
    }

    /// Reclaims what is still isolated.
    pub fn finish(mut self) {
        self.reclaim();
    }

    fn reclaim(&mut self) {
        if !self.isolated.is_empty() {
            reclaim_folios(self.memory, &mut self.isolated);
        }
    }
}

impl<'m> Visitor<'m> for Pageout<'m> {
    /// Isolates a folio that only these entries map.
    fn folio(&mut self, _table: &TableGuard<'_>, _slot: Slot, folio: Folio<'m>, _merged: Descriptor) {
        let shared = mutant::or(Mutant::MapcountIgnored, folio.mapcount() != folio.pages(), false);
        if shared || !folio.is_on_lru() {
            return;
        }
        folio.set_referenced(false);
        if self.memory.lru.isolate(folio) {
            self.isolated.push_back(folio);
        }
    }
}
