//! Walks over a range of addresses: through its tables, and through the folios that they map whole (reference 4.12 to 4.15).
//!
//! What an advice says of pages is done to folios. One of which only a part lies in the range, or is mapped there, is split first.

use mmu::mutant::{self, Mutant};
use mmu::{Descriptor, Slot, VirtAddr};

use crate::contpte::BatchRules;
use crate::folio::Folio;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::space::Space;
use crate::split::split_at;

/// Gives `work` each last-level table of `start..end` that there is, locked, with the addresses of it that are in the range; it returns
/// the address to go on from. What reclaim has deferred is completed before, so that what is not present is not cached either
/// (reference 3.6). Returns where the next table may be: at the end of the range, or beyond where there is none.
pub(crate) fn for_each_table(
    memory: &Memory,
    space: &Space,
    range: (VirtAddr, VirtAddr),
    mut work: impl FnMut(TableGuard<'_>, VirtAddr, VirtAddr) -> VirtAddr,
) -> VirtAddr {
    let mut known = None;
    for_each_table_as_is(memory, space, range, |table, address, stop| {
        let is_new = known.replace(table.start()) != Some(table.start());
        if mutant::or(Mutant::CompletedOnce, true, is_new) {
            space.tlb.flush(memory, space);
        }
        work(table, address, stop)
    })
}

/// The same, for who only looks: nothing is completed.
pub(crate) fn for_each_table_as_is(
    memory: &Memory,
    space: &Space,
    (start, end): (VirtAddr, VirtAddr),
    mut work: impl FnMut(TableGuard<'_>, VirtAddr, VirtAddr) -> VirtAddr,
) -> VirtAddr {
    let mut address = start;
    while address < end {
        address = match space.lock_table(memory, address) {
            Some(table) => work(table, address, end.min(address.table_end())),
            None => space.tables.next(memory, address),
        };
    }
    address
}

/// Who is shown what the tables have.
pub(crate) trait Visitor<'m> {
    /// The entries from `slot` on map all the pages of `folio`, in order; `merged` is the first with the flags of all.
    fn folio(&mut self, table: &TableGuard<'_>, slot: Slot, folio: Folio<'m>, merged: Descriptor);

    /// A swap entry, with `left` entries from it on in the range. Returns how many of them are done with: at least one.
    fn swapped(&mut self, _table: &TableGuard<'_>, _slot: Slot, _entry: Descriptor, _left: usize) -> usize {
        1
    }

    /// The table's lock is about to be given up.
    fn leave(&mut self) {}
}

/// Shows `visitor` what the tables have for a range, each locked and with nothing deferred. Returns where the next table may be: at the
/// end of the range, or beyond.
pub(crate) fn visit<'m>(
    memory: &'m Memory,
    space: &Space,
    range: (VirtAddr, VirtAddr),
    visitor: &mut impl Visitor<'m>,
) -> VirtAddr {
    for_each_table(memory, space, range, |table, start, stop| visit_locked(memory, table, (start, stop), visitor))
}

/// Visits one table, until a folio has to be split, for which its lock is given up. Returns where to go on.
fn visit_locked<'m>(
    memory: &'m Memory,
    table: TableGuard<'_>,
    (mut address, stop): (VirtAddr, VirtAddr),
    visitor: &mut impl Visitor<'m>,
) -> VirtAddr {
    while address < stop {
        let slot = table.slot(address);
        let left = (stop.page_number() - address.page_number()) as usize;
        match step(memory, &table, slot, left, visitor) {
            Step::On(count) => address = address.add_pages(count),
            Step::Split(count) => {
                visitor.leave();
                // Looked at again as single pages, or passed over if it could not be split.
                return if split_at(memory, table, slot) { address } else { address.add_pages(count) };
            }
        }
    }
    visitor.leave();
    address
}

/// What became of a look at one entry.
enum Step {
    /// So many entries are done with.
    On(usize),
    /// So many entries map a part of a folio, which is to be split.
    Split(usize),
}

fn step<'m>(
    memory: &'m Memory,
    table: &TableGuard<'_>,
    slot: Slot,
    left: usize,
    visitor: &mut impl Visitor<'m>,
) -> Step {
    let entry = table.get(slot);
    if entry.is_absent() || entry.is_special() || entry.is_device_exclusive() {
        return Step::On(1);
    }
    if !entry.is_present() {
        return Step::On(visitor.swapped(table, slot, entry, left));
    }
    let folio = memory.frames.folio_of(entry.frame());
    let pages = folio.pages();
    let most = left.min(pages - folio.index_of(entry.frame()));
    let (count, merged) = table.batch(slot, entry, most, BatchRules::default());
    if count == pages {
        visitor.folio(table, slot, folio, merged);
        return Step::On(count);
    }
    // A folio that others may map too is not this range's to split, nor one of a file.
    if folio.mapcount() > pages || folio.is_file() { Step::On(count) } else { Step::Split(count) }
}
