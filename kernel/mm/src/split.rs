//! Splitting a folio into single pages, wherever it is mapped (reference 4.20).
//!
//! Linux takes the folio out of every table by migration entries, so that whoever meets one waits, and maps the parts again. That is
//! for folios whose pages may move. Here no page moves: entries, frames and swap slots stay as they are, and only what is said of the
//! frames changes. So it is enough that nobody looks at that meanwhile. Whoever does has the folio's lock, a reference, or the lock of
//! a table that maps it; here all three are taken: the lock; every reference, by freezing them at what mappings, cache and caller
//! account for; and the locks of all tables that map the folio, at once. The first of these is waited for, the others are only tried,
//! so that no order among tables is needed: where one is busy all are given up and it begins anew.
//!
//! What is freed needs no flush: nothing maps it any more, and whoever took out a mapping of it kept a reference until its flush was
//! complete (`tlb::Gather::put`).

use alloc::vec::Vec;

use mmu::mutant::{self, Mutant};
use mmu::{Operation, Slot, TABLE_SPAN, VirtAddr};

use crate::folio::{self, Folio, FolioLock};
use crate::frame::OrphanList;
use crate::lru::FolioList;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::rmap::{Extent, Extents};
use crate::space::Space;
use crate::tlb::Deferred;

/// Tables that a folio of the largest size can lie in, at one place.
const TABLES: usize = 2;
/// How often all tables are tried for.
const TRIES: usize = 16;

/// Splits the folio that the entry at `slot` maps, for an operation that wants a part of it. The table's lock is given up for it, as
/// other tables may map the folio too. False if the folio is in use, or another space's as well, and whole as it was.
pub(crate) fn split_at(memory: &Memory, table: TableGuard<'_>, slot: Slot) -> bool {
    let folio = memory.frames.folio_of(memory.door.load(slot).frame());
    let space = table.space;
    folio.get(1);
    drop(table);
    split_if(memory, folio, |locked| !is_mapped_elsewhere(memory, locked, space)).is_some()
}

/// Splits a folio that the caller found, and gives up the caller's reference. Returns how many pages came free; `None` if the folio is
/// in use and whole as it was.
pub(crate) fn split_found(memory: &Memory, folio: Folio<'_>) -> Option<usize> {
    split_if(memory, folio, |_| true)
}

fn split_if<'m>(memory: &'m Memory, folio: Folio<'m>, may: impl Fn(&FolioLock<'m>) -> bool) -> Option<usize> {
    // Reclaim's work, whoever asks for it: it goes through every space that maps the folio, and completes nothing that others owe there
    // (rule MS-41), as a walk of the rmap does not. What they owe is of other folios, as this one is locked; or of this one, by munmap,
    // which has a reference until it has flushed, so that nothing is split. Madvise had let go of its table for this, and completes
    // what is owed again when it takes it anew.
    let _underway = memory.begin(Operation::Reclaim);
    let freed = folio.try_lock().filter(may).and_then(|locked| split_folio(memory, &locked, None));
    let mut orphans = OrphanList::new();
    memory.swap.free_unneeded(folio);
    let last = folio.put(1);
    let first_freed = usize::from(last.is_some());
    last.into_iter().for_each(|orphan| orphans.push(memory, orphan));
    Deferred::new().free(memory, &mut orphans);
    freed.map(|freed| freed + first_freed)
}

/// Whether a space maps a page of the folio that is not this one.
fn is_mapped_elsewhere(memory: &Memory, folio: &FolioLock<'_>, space: &Space) -> bool {
    let Some((anon, index)) = folio.mapping().and_then(|(id, index)| Some((memory.anon.get(id)?, index))) else {
        return false;
    };
    let extents = anon.extents();
    let others = extents.at(index, folio.pages()).filter(|(extent, _)| !core::ptr::eq(&*extent.space, space));
    let mut places = others.flat_map(|(extent, range)| in_tables(range).map(move |place| (extent, place)));
    places.any(|(extent, place)| {
        let table = TableGuard::lock(memory, &extent.space, place.0);
        table.is_some_and(|table| mapped_slots(&table, folio, place).next().is_some())
    })
}

/// Splits a locked folio into single pages. The caller has one reference, which stays with the first page, as does the lock. The other
/// pages go to the LRU list that the folio was on; of one that was isolated, to `list`, isolated as well. Pages that nothing needs
/// are freed, but the first: returns how many. `None` if anybody else refers to the folio: it is whole as it was. It is a part of reclaim.
pub(crate) fn split_folio(memory: &Memory, folio: &FolioLock<'_>, list: Option<&mut FolioList>) -> Option<usize> {
    let order = folio.order();
    let freed = split_everywhere(memory, folio).map(|parts| hand_out(memory, parts, list));
    let (count, size) = (memory.count(), memory.count_size(order));
    let counters =
        if freed.is_some() { [&count.split, &size.split] } else { [&count.split_failed, &size.split_failed] };
    counters.iter().for_each(|counter| counter.add(1));
    freed
}

/// The parts but the first, each with a reference for the caller.
fn split_everywhere<'m>(
    memory: &'m Memory,
    folio: &FolioLock<'m>,
) -> Option<impl Iterator<Item = Folio<'m>> + use<'m>> {
    if folio.is_file() {
        // Nothing maps it where reclaim needs it in parts, and these stay where they are: its file need not be told.
        return memory.while_alone_in_file(folio, || folio::split::split(memory, folio, 0, &|| {}));
    }
    let (id, index) = folio.mapping()?;
    let anon = memory.anon.get(id)?;
    let extents = anon.extents();
    let mut tables = lock_tables(memory, folio, index, &extents)?;
    let mapped: usize = tables.places().map(|(table, place)| mapped_slots(table, folio, place).count()).sum();
    if mapped != folio.mapcount() {
        return None;
    }
    if mutant::is(Mutant::SplitUnlocked) {
        unfold(&tables, folio);
        tables.clear();
    }
    folio::split::split(memory, folio, 0, &|| unfold(&tables, folio))
}

/// A block may not stay folded over several folios.
fn unfold(tables: &Tables<'_>, folio: &Folio<'_>) {
    if mutant::is(Mutant::SplitLeavesFold) {
        return;
    }
    for (table, place) in tables.places() {
        mapped_slots(table, folio, place).for_each(|slot| table.unfold_around(slot));
    }
}

/// Gives up the references to parts, or gives them with the parts to `list`. Returns how many pages were freed.
fn hand_out<'m>(memory: &Memory, parts: impl Iterator<Item = Folio<'m>>, mut list: Option<&mut FolioList>) -> usize {
    let mut orphans = OrphanList::new();
    let mut freed = 0;
    for part in parts {
        memory.swap.free_unneeded(part);
        match &mut list {
            Some(list) if part.is_mapped() || part.is_swap_cache() || part.is_file() => list.push_back(part),
            _ => {
                if let Some(orphan) = part.put(1) {
                    orphans.push(memory, orphan);
                    freed += 1;
                }
            }
        }
    }
    Deferred::new().free(memory, &mut orphans);
    freed
}

/// Addresses of one table.
type Place = (VirtAddr, VirtAddr);

/// The locks of all tables that may map a folio, and where.
struct Tables<'a> {
    locked: Vec<TableGuard<'a>>,
    places: Vec<(usize, Place)>,
}

impl<'a> Tables<'a> {
    /// Room for the tables of as many extents; nothing may be allocated once one is locked.
    fn with_room_for(extents: usize) -> Option<Self> {
        let (mut locked, mut places) = (Vec::new(), Vec::new());
        locked.try_reserve_exact(TABLES * extents).ok()?;
        places.try_reserve_exact(TABLES * extents).ok()?;
        Some(Self { locked, places })
    }

    fn places(&self) -> impl Iterator<Item = (&TableGuard<'a>, Place)> {
        self.places.iter().map(|&(table, place)| (&self.locked[table], place))
    }

    fn clear(&mut self) {
        self.places.clear();
        self.locked.clear();
    }

    /// Locks the table for `place`, if there is one and it is not locked already. False if somebody else has it.
    fn add(&mut self, memory: &'a Memory, extent: &'a Extent, place: Place) -> bool {
        let base = place.0.align_down(TABLE_SPAN);
        let known = |table: &TableGuard<'_>| core::ptr::eq(table.space, &*extent.space) && table.start() == base;
        let table = match self.locked.iter().position(known) {
            Some(table) => table,
            None if extent.space.tables.find(memory, base).is_none() => return true,
            None => {
                let wait = self.locked.is_empty();
                let lock = if wait { TableGuard::lock } else { TableGuard::try_lock };
                let Some(guard) = lock(memory, &extent.space, base) else { return wait };
                self.locked.push(guard);
                self.locked.len() - 1
            }
        };
        self.places.push((table, place));
        true
    }
}

/// Locks every table in which `extents` may map the folio, whose first page is page `index` of theirs. `None` if they are too busy.
fn lock_tables<'a>(memory: &'a Memory, folio: &Folio<'_>, index: u64, extents: &'a Extents) -> Option<Tables<'a>> {
    let extents = || extents.at(index, folio.pages());
    let mut tables = Tables::with_room_for(extents().count())?;
    for _ in 0..TRIES {
        let mut places = extents().flat_map(|(extent, range)| in_tables(range).map(move |place| (extent, place)));
        if places.all(|(extent, place)| tables.add(memory, extent, place)) {
            return Some(tables);
        }
        tables.clear();
        mmu::relax();
    }
    None
}

/// The parts of a range that lie in one table each.
fn in_tables((start, end): Place) -> impl Iterator<Item = Place> {
    let stop = move |address: VirtAddr| end.min(address.table_end());
    let starts = core::iter::successors(Some(start), move |&address| Some(stop(address)));
    starts.take_while(move |&address| address < end).map(move |address| (address, stop(address)))
}

/// The slots of a place that map a page of the folio.
fn mapped_slots(table: &TableGuard<'_>, folio: &Folio<'_>, (start, end): Place) -> impl Iterator<Item = Slot> {
    let first = table.slot(start);
    let count = (end.page_number() - start.page_number()) as usize;
    (0..count).map(move |page| first.add(page)).filter(move |&slot| {
        let entry = table.memory.door.load(slot);
        entry.is_present() && !entry.is_special() && folio.contains(entry.frame())
    })
}
