//! The walk over the entries of one area that map a folio (Linux's page_vma_mapped_walk, always synchronous: the table's lock is
//! taken before the first look).
//!
//! The walk knows nothing of batches. After one it looks at each entry again: a swap entry or an empty one is not the folio's, so it
//! steps on (reference 1.10).

use mmu::mutant::{self, Mutant};
use mmu::{Slot, VirtAddr};

use crate::count::Counters;
use crate::folio::FolioLock;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::rmap::Extent;
use crate::tlb::Deferred;

/// Where the walk is.
pub(super) struct FolioWalk<'a> {
    memory: &'a Memory,
    count: &'a Counters,
    extent: &'a Extent,
    folio: &'a FolioLock<'a>,
    address: VirtAddr,
    end: VirtAddr,
    table: Option<TableGuard<'a>>,
    started: bool,
}

impl<'a> FolioWalk<'a> {
    /// A walk over the addresses `start..end`, where the extent may map the folio.
    pub(super) fn new(
        memory: &'a Memory,
        extent: &'a Extent,
        folio: &'a FolioLock<'a>,
        start: VirtAddr,
        end: VirtAddr,
    ) -> Self {
        Self { memory, count: memory.count(), extent, folio, address: start, end, table: None, started: false }
    }

    /// The next entry that maps a page of the folio, under its table's lock, with the number of entries up to the end of the area's
    /// range or of the table. `deferred` is the flush that is owed for those before.
    pub(super) fn next(&mut self, deferred: &mut Deferred) -> Option<(&TableGuard<'a>, Slot, usize)> {
        self.count.walk_turns.add(1);
        if self.started && !self.step(deferred) {
            return None;
        }
        self.started = true;
        loop {
            if self.table.is_none() && !self.enter_table() {
                return None;
            }
            if let Some(slot) = self.mapped_here() {
                let left = self.left();
                return self.table.as_ref().map(|table| (table, slot, left));
            }
            if !self.step(deferred) {
                return None;
            }
        }
    }

    /// Gives the table's lock up. What is discarded, or is in a file, leaves its entries empty, for any fault to fill, so it is flushed
    /// before.
    pub(super) fn leave_table(&mut self, deferred: &mut Deferred) {
        if self.folio.leaves_nothing() && !mutant::is(Mutant::DiscardNotAwaited) {
            deferred.flush(self.memory);
        }
        self.table = None;
    }

    /// Locks the table for the address, passing over spans that have none. False at the end.
    fn enter_table(&mut self) -> bool {
        while self.address < self.end {
            self.table = TableGuard::lock(self.memory, &self.extent.space, self.address);
            if self.table.is_some() {
                return true;
            }
            self.address = self.address.table_end();
        }
        false
    }

    /// Goes to the next entry that is not empty, or to the start of the next table. False at the end, which costs no look.
    fn step(&mut self, deferred: &mut Deferred) -> bool {
        loop {
            self.address = self.address.add_pages(1);
            if self.address >= self.end {
                return false;
            }
            if self.address.is_aligned(mmu::TABLE_SPAN) {
                self.leave_table(deferred);
                return true;
            }
            let Some(table) = &self.table else { return true };
            if !table.get(table.slot(self.address)).is_none() {
                return true;
            }
        }
    }

    fn mapped_here(&self) -> Option<Slot> {
        let table = self.table.as_ref()?;
        let slot = table.slot(self.address);
        let entry = table.get(slot);
        (entry.maps_page() && self.folio.contains(entry.frame())).then_some(slot)
    }

    fn left(&self) -> usize {
        let next_table = self.address.table_end();
        let end = mutant::or(Mutant::BatchCrossesArea, self.end.min(next_table), next_table);
        let end = mutant::or(Mutant::BatchCrossesTable, end, self.end);
        (end.page_number() - self.address.page_number()) as usize
    }
}
