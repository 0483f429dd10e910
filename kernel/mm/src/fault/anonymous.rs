//! The first touch of anonymous memory: the shared zero page for a read, a folio of zeros for a write, as large as policy, area and
//! neighbouring entries allow (reference 4.19).

use mmu::mutant::{self, Mutant};
use mmu::{Descriptor, ENTRIES, PAGE_SIZE, Protection, Slot, VirtAddr};

use super::{Access, Fault, FaultError, Handled, Outcome};
use crate::frame::FreshFolio;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::rmap::AnonVmaId;
use crate::vma::{Area, AreaFlags};

impl<'a> Fault<'a> {
    pub(super) fn anonymous(&self) -> Handled {
        if self.access != Access::Write {
            return self.map_zero_page();
        }
        let Some(anon) = self.area.anon else { return Ok(Outcome::NeedsAnonVma) };
        let orders = self.empty_orders(&self.lock_table()?);
        let fallback = |order| self.memory.count_size(order).anon_fault_fallback.add(1);
        let folio = self.alloc(orders, fallback).ok_or(FaultError::OutOfMemory)?;
        let pages = folio.pages();
        self.memory.door.clear_pages(folio.head(), pages);
        let start = self.aligned(folio.order());
        let table = self.lock_table()?;
        let slot = table.slot(start);
        if mutant::or(Mutant::NoSecondLook, !self.is_empty(slot, pages), false) {
            drop(table);
            return Ok(Outcome::Again);
        }
        self.space.complete_discards(self.memory);
        self.memory.count_size(folio.order()).anon_fault_alloc.add(1);
        self.map_fresh(&table, slot, folio, (anon, false));
        self.note_resolved(&table);
        self.space.add_anon(pages as i64);
        self.memory.count().faults_anonymous.add(1);
        Ok(Outcome::Resolved)
    }

    fn map_zero_page(&self) -> Handled {
        let table = self.lock_table()?;
        let slot = table.slot(self.address);
        if !self.is_empty(slot, 1) {
            return Ok(Outcome::Again);
        }
        self.space.complete_discards(self.memory);
        let protection = Protection { write: false, ..self.area.protection() };
        let zero = Descriptor::user_page(self.memory.zero_frame(), protection).make_special().make_young();
        table.set(slot, zero);
        self.note_resolved(&table);
        self.memory.count().faults_zero_page.add(1);
        Ok(Outcome::Resolved)
    }

    /// The orders that policy and area allow here, order 0 among them.
    pub(super) fn allowed_orders(&self) -> u16 {
        if mutant::or(Mutant::WatchedAreaGetsLarge, self.area.flags.intersects(AreaFlags::UFFD), false) {
            return 1;
        }
        let orders = self.memory.policy().sizes().orders(self.area.advice());
        let fits = |order: usize| {
            let start = self.aligned(order);
            self.area.covers(start, start.add_pages(1 << order))
        };
        descending(orders).filter(|&order| fits(order)).fold(1, |fitting, order| fitting | 1 << order)
    }

    /// Those of them whose entries are all empty.
    fn empty_orders(&self, table: &TableGuard<'_>) -> u16 {
        let orders = self.allowed_orders();
        let is_empty = |&order: &usize| order == 0 || self.is_empty(table.slot(self.aligned(order)), 1 << order);
        // Ranges lie inside those of larger orders, so below the first that is empty all are.
        let largest = descending(orders).find(is_empty).unwrap_or(0);
        orders & ((2 << largest) - 1)
    }

    /// A folio of the largest of `orders` that can be had; `fallback` is told of each that could not.
    pub(super) fn alloc(&self, orders: u16, fallback: impl Fn(usize)) -> Option<FreshFolio<'a>> {
        for order in descending(orders) {
            let folio = self.memory.alloc_folio(order);
            if let Some(folio) = folio {
                self.memory.count().folios_allocated.add(1);
                return Some(folio);
            }
            if order > 0 {
                self.memory.count().folio_fallbacks.add(1);
                fallback(order);
            }
        }
        None
    }

    /// The start of the aligned range of `1 << order` pages that holds the address.
    pub(super) fn aligned(&self, order: usize) -> VirtAddr {
        self.address.align_down(PAGE_SIZE << order)
    }

    pub(super) fn is_empty(&self, slot: Slot, count: usize) -> bool {
        debug_assert!(slot.index() + count <= ENTRIES);
        self.memory.door.find(slot, count, |_, entry| !entry.is_none()).is_none()
    }

    /// Maps a new folio, whose contents are ready, for the access that faulted, or protected by userfaultfd.
    pub(super) fn map_fresh(
        &self,
        table: &TableGuard<'_>,
        slot: Slot,
        folio: FreshFolio<'a>,
        (anon, is_protected): (AnonVmaId, bool),
    ) {
        let entry = Descriptor::user_page(folio.head(), self.area.protection()).make_young();
        let entry = if self.access == Access::Write { entry.make_dirty() } else { entry.write_protect() };
        let entry = if is_protected { entry.write_protect().make_uffd() } else { entry };
        map_fresh(self.memory, table, slot, folio, entry, (anon, self.area));
    }
}

/// Maps a new folio, whose contents are ready: all its pages from `slot` on, the first by `entry`, exclusive to the table's space. The
/// entries hold no translation. The pages belong to an anon_vma, of an area whose offsets are theirs.
pub(crate) fn map_fresh(
    memory: &Memory,
    table: &TableGuard<'_>,
    slot: Slot,
    folio: FreshFolio<'_>,
    entry: Descriptor,
    (anon, area): (AnonVmaId, &Area),
) {
    let pages = folio.pages();
    let folio = folio.publish();
    folio.set_mapping(anon, area.index_of(table.address(slot)));
    // Pages of a droppable area never go to swap: they are dropped instead.
    folio.set_swap_backed(!area.flags.contains(AreaFlags::DROPPABLE));
    folio.set_uptodate(true);
    if mutant::or(Mutant::TouchedNotMarked, area.flags.contains(AreaFlags::LOCKED), false) {
        memory.mark(folio, true);
    }
    folio.set_exclusive(0, pages);
    folio.add_maps(0, pages);
    if pages > 1 {
        // The reference that it was allocated with is that of its first mapping.
        folio.get(pages - 1);
    }
    if entry.is_user_executable() {
        memory.door.sync_instructions(folio.head(), pages);
    }
    // The door stores with release: a walk that finds the entry finds the contents too (reference 4.28).
    table.set_run(slot, entry, pages);
    memory.lru.add(folio);
}

/// The orders in a mask, the largest first.
pub(crate) fn descending(orders: u16) -> impl Iterator<Item = usize> {
    let mut left = orders;
    core::iter::from_fn(move || {
        let order = left.checked_ilog2()?;
        left &= !(1 << order);
        Some(order as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_come_largest_first() {
        assert!(descending(0b10_0001_0101).eq([9, 4, 2, 0]));
    }
}
