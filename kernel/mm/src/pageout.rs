//! MADV_PAGEOUT: the walk over a range that isolates its folios and hands them to reclaim (reference 4.12).
//!
//! `page` and `folio` reclaim at the end of each page table, as Linux does. `gather` lets the isolation list grow to 32 MiB, over any
//! number of tables and areas, so that the flush is shared by more.

use alloc::sync::Arc;

use mmu::mutant::{self, Mutant};
use mmu::{Slot, VirtAddr};

use crate::contpte::BatchRules;
use crate::folio::Folio;
use crate::lru::FolioList;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::policy::Unmap;
use crate::reclaim::reclaim_folios;
use crate::space::Space;
use crate::split::split_at;

/// Pages that one isolation list of `gather` may hold: 32 MiB.
const GATHER_LIMIT: usize = 8192;

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
            let stop = end.min(address.align_down(mmu::TABLE_SPAN).add_bytes(mmu::TABLE_SPAN));
            if self.isolated.pages() + mmu::ENTRIES > self.limit {
                self.reclaim();
            }
            self.isolate_table(space, address, stop);
            address = stop;
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

    /// Isolates the folios that one table maps in `start..stop`.
    fn isolate_table(&mut self, space: &Space, start: VirtAddr, stop: VirtAddr) {
        let mut address = start;
        while let Some(table) = (address < stop).then(|| TableGuard::lock(self.memory, space, address)).flatten() {
            space.tlb.flush(self.memory, space);
            address = self.isolate_locked(table, address, stop);
        }
    }

    /// Isolates the folios from `address` on, until one has to be split, for which the table's lock is given up. Returns where to go on.
    fn isolate_locked(&mut self, table: TableGuard<'_>, mut address: VirtAddr, stop: VirtAddr) -> VirtAddr {
        while address < stop {
            let slot = table.slot(address);
            let left = (stop.page_number() - address.page_number()) as usize;
            address = address.add_pages(match self.look(&table, slot, left) {
                Look::Skip(count) => count,
                Look::Isolate(folio, count) => {
                    self.isolate(folio);
                    count
                }
                // Looked at again as single pages, or passed over if it could not be split.
                Look::Split(count) => {
                    let done = split_at(self.memory, table, slot);
                    return if done { address } else { address.add_pages(count) };
                }
            });
        }
        address
    }

    /// What is to be done about the entry at `slot`, with `left` entries up to the end of the range.
    fn look(&self, table: &TableGuard<'_>, slot: Slot, left: usize) -> Look<'m> {
        let entry = table.get(slot);
        if !entry.is_present() || entry.is_special() {
            return Look::Skip(1);
        }
        let folio = self.memory.frames.folio_of(entry.frame());
        let pages = folio.pages();
        let most = left.min(pages - folio.index_of(entry.frame()));
        let count = if most == 1 { 1 } else { table.batch(slot, entry, most, BatchRules::default()).0 };
        if count < pages {
            return if folio.mapcount() > pages { Look::Skip(count) } else { Look::Split(count) };
        }
        let shared = mutant::or(Mutant::MapcountIgnored, folio.mapcount() != pages, false);
        if shared || !folio.is_on_lru() { Look::Skip(count) } else { Look::Isolate(folio, count) }
    }

    fn isolate(&mut self, folio: Folio<'m>) {
        folio.set_referenced(false);
        if self.memory.lru.isolate(folio) {
            self.isolated.push_back(folio);
        }
    }
}

enum Look<'m> {
    Skip(usize),
    Isolate(Folio<'m>, usize),
    Split(usize),
}
