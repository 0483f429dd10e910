//! Walks over a range of addresses: through its tables, and through the folios that they map whole (reference 4.12 to 4.15).
//!
//! What an advice says of pages is done to folios. One of which only a part lies in the range, or is mapped there, is split first.

use mmu::{Descriptor, Slot, TABLE_SPAN, VirtAddr};

use crate::contpte::BatchRules;
use crate::folio::Folio;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::space::Space;
use crate::split::split_in_table;

/// Calls `work` for each last-level table of `start..end` that there is, locked, with the addresses of it that are in the range. What
/// reclaim has deferred is completed before, so that what is not present is not cached either (reference 3.6).
pub(crate) fn for_each_table(
    memory: &Memory,
    space: &Space,
    (start, end): (VirtAddr, VirtAddr),
    mut work: impl FnMut(&TableGuard<'_>, VirtAddr, VirtAddr),
) {
    let mut address = start;
    while address < end {
        let stop = end.min(address.align_down(TABLE_SPAN).add_bytes(TABLE_SPAN));
        if let Some(table) = space.lock_table(memory, address) {
            space.tlb.flush(memory, space);
            work(&table, address, stop);
        }
        address = stop;
    }
}

/// Who is shown what a table has.
pub(crate) trait Visitor<'m> {
    /// The entries from `slot` on map all the pages of `folio`, in order; `merged` is the first with the flags of all.
    fn folio(&mut self, table: &TableGuard<'_>, slot: Slot, folio: Folio<'m>, merged: Descriptor);

    /// A swap entry, with `left` entries from it on in the range. Returns how many of them are done with: at least one.
    fn swapped(&mut self, _table: &TableGuard<'_>, _slot: Slot, _entry: Descriptor, _left: usize) -> usize {
        1
    }
}

/// Shows `visitor` what the table has for the addresses `start..stop`.
pub(crate) fn visit<'m>(
    memory: &'m Memory,
    table: &TableGuard<'_>,
    (start, stop): (VirtAddr, VirtAddr),
    visitor: &mut impl Visitor<'m>,
) {
    let mut address = start;
    while address < stop {
        let left = (stop.page_number() - address.page_number()) as usize;
        address = address.add_pages(step(memory, table, table.slot(address), left, visitor));
    }
}

/// Returns how many entries on the next look is to be; none if a folio was split here, to be looked at again as single pages.
fn step<'m>(
    memory: &'m Memory,
    table: &TableGuard<'_>,
    slot: Slot,
    left: usize,
    visitor: &mut impl Visitor<'m>,
) -> usize {
    let entry = table.get(slot);
    if entry.is_none() || entry.is_special() {
        return 1;
    }
    if !entry.is_present() {
        return visitor.swapped(table, slot, entry, left);
    }
    let folio = memory.frames.folio_of(entry.frame());
    let pages = folio.pages();
    let most = left.min(pages - folio.index_of(entry.frame()));
    let (count, merged) = if most == 1 { (1, entry) } else { table.batch(slot, entry, most, BatchRules::default()) };
    if count == pages {
        visitor.folio(table, slot, folio, merged);
        return count;
    }
    // A folio that others may map too is not this range's to split.
    let split = folio.mapcount() <= pages && split_in_table(memory, table, folio, slot);
    if split { 0 } else { count }
}
