//! Splitting a folio that one table maps, where an operation wants a part of it: its blocks are unfolded, then each page becomes a
//! folio of its own, in place.

use mmu::{Cause, Slot};

use crate::folio::{self, Folio, FolioLock};
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::tlb::Gather;

/// Splits `folio`, which the entry at `slot` maps, into single pages. Pages that nothing maps any more are freed. False, and nothing
/// changed but the fold, if the folio is busy or mapped anywhere else too.
pub(crate) fn split_in_table(memory: &Memory, table: &TableGuard<'_>, folio: Folio<'_>, slot: Slot) -> bool {
    let Some(locked) = folio.try_lock() else { return false };
    let Some(first) = first_slot(memory, folio, slot) else { return false };
    if mapped_in_table(memory, folio, first) != folio.mapcount() {
        return false;
    }
    unfold(table, folio, first);
    locked.get(1);
    let mut gather = Gather::new(memory, table.space, Cause::Zap);
    let done = split_locked(memory, &locked, &mut gather);
    drop(locked);
    if let Some(orphan) = folio.put(1) {
        gather.orphan(orphan);
    }
    // What is freed here lost its last entry earlier, under this table's lock, and whoever took it out flushed before giving the lock up
    // or left a deferral, which was completed when the table was locked now.
    gather.finish();
    done
}

fn split_locked(memory: &Memory, folio: &FolioLock<'_>, gather: &mut Gather<'_>) -> bool {
    folio::split::split(memory, folio, 0, 1, |_| {}, |orphan| gather.orphan(orphan))
}

/// Where the folio's first page would be mapped, if all of the folio lies in the table.
fn first_slot(memory: &Memory, folio: Folio<'_>, slot: Slot) -> Option<Slot> {
    let page = folio.index_of(memory.door.load(slot).frame());
    let first = slot.sub(page)?;
    (folio.pages() <= first.left_in_table()).then_some(first)
}

fn mapped_in_table(memory: &Memory, folio: Folio<'_>, first: Slot) -> usize {
    let maps = |page: &usize| {
        let entry = memory.door.load(first.add(*page));
        entry.is_present() && !entry.is_special() && entry.frame() == folio.page(*page)
    };
    (0..folio.pages()).filter(maps).count()
}

fn unfold(table: &TableGuard<'_>, folio: Folio<'_>, first: Slot) {
    for page in (0..folio.pages()).step_by(mmu::CONT_PTES) {
        table.unfold_around(first.add(page));
    }
    table.unfold_around(first.add(folio.pages() - 1));
}
