//! Taking pages out of a space for good: munmap, MADV_DONTNEED, exit (reference 4.15, A18).
//!
//! Entries are cleared in batches under their table's lock; what lost its last reference waits in the `Gather` until the flush.

use mmu::{Descriptor, Slot, VirtAddr};

use crate::contpte::BatchRules;
use crate::folio::Folio;
use crate::marker::Rest;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::space::Space;
use crate::swap::SwapEntry;
use crate::tlb::Gather;
use crate::walk::for_each_table;

/// How the areas of the space are locked while its entries are taken out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Areas {
    /// To read: a fault or a page-out may follow as soon as a table's lock is free, so each table is flushed before (rule MS-41).
    Shared,
    /// To write: nobody else comes near before the one flush at the end.
    Alone,
}

/// Clears all entries of a range of small pages, but for the `rest` that protected ones leave.
pub(crate) fn zap_range<'m>(
    memory: &'m Memory,
    space: &Space,
    (areas, rest): (Areas, Rest),
    range: (VirtAddr, VirtAddr),
    gather: &mut Gather<'m>,
) {
    let (mut address, end) = range;
    while address < end {
        let next = end.min(address.table_end());
        gather.make_room((next.page_number() - address.page_number()) as usize);
        address = for_each_table(memory, space, (address, next), |table, start, stop| {
            zap_table(memory, &table, (start, stop), rest, gather);
            if areas == Areas::Shared {
                gather.flush_now();
            }
            stop
        });
    }
}

fn zap_table<'m>(
    memory: &'m Memory,
    table: &TableGuard<'_>,
    (start, stop): (VirtAddr, VirtAddr),
    rest: Rest,
    gather: &mut Gather<'m>,
) {
    let mut address = start;
    while address < stop {
        let slot = table.slot(address);
        let entry = table.get(slot);
        let left = (stop.page_number() - address.page_number()) as usize;
        let count = if entry.is_none() || (entry.is_marker() && rest.keeps()) {
            address = address.add_pages(1);
            continue;
        } else if entry.is_special() {
            table.clear(slot, 1);
            gather.add(address, 1);
            1
        } else if entry.maps_page() {
            zap_mapped(memory, table, slot, entry, left, gather)
        } else {
            zap_swapped(memory, table, slot, entry, left, gather)
        };
        table.leave_rest(slot, entry, count, rest);
        address = address.add_pages(count);
    }
}

/// Clears the entries that map consecutive pages of one folio, at most `left`. Returns how many.
fn zap_mapped<'m>(
    memory: &'m Memory,
    table: &TableGuard<'_>,
    slot: Slot,
    entry: Descriptor,
    left: usize,
    gather: &mut Gather<'m>,
) -> usize {
    let folio = memory.frames.folio_of(entry.frame());
    let first = folio.index_of(entry.frame());
    let max = if entry.is_present() { left.min(folio.pages() - first) } else { 1 };
    let count = if max == 1 { 1 } else { table.batch(slot, entry, max, BatchRules::default()).0 };
    let old = table.clear(slot, count);
    if old.is_valid() {
        gather.add(table.address(slot), count);
    }
    if folio.remove_maps(first, count).partially_mapped {
        memory.defer_split(folio);
    }
    table.space.add_pages_of(folio, -(count as i64));
    memory.swap.free_unneeded(folio);
    gather.put(folio, count);
    count
}

/// Drops `count` references, of whoever found the folio and of mappings whose flush is complete. One that only the swap cache still holds
/// leaves it, if no swap entry needs it there.
pub(crate) fn release(memory: &Memory, folio: Folio<'_>, count: usize, gather: &mut Gather<'_>) {
    memory.swap.free_unneeded(folio);
    if let Some(orphan) = folio.put(count) {
        gather.orphan(orphan);
    }
}

/// Clears a run of swap entries, at most `left`, and lowers the counts of their slots. Returns how many.
pub(crate) fn zap_swapped(
    memory: &Memory,
    table: &TableGuard<'_>,
    slot: Slot,
    entry: Descriptor,
    left: usize,
    gather: &mut Gather<'_>,
) -> usize {
    let count = swap_run(memory, slot, entry, left);
    table.clear(slot, count);
    if let Some(swapped) = SwapEntry::from_descriptor(entry) {
        table.space.add_swap(-(count as i64));
        memory.swap.put_entries(memory, swapped.entry, count, |orphan| gather.orphan(orphan));
    }
    count
}

/// How many entries from `slot` on, at most `max`, are the swap entries that follow `entry`, equal in all flags.
pub(crate) fn swap_run(memory: &Memory, slot: Slot, entry: Descriptor, max: usize) -> usize {
    let next = entry.advance(1);
    let other = memory.door.find(slot.add(1), max - 1, |index, other| other != next.advance(index));
    other.map_or(max, |(index, _)| index + 1)
}
