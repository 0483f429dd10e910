//! Reclaim: writing isolated folios to the swap device and freeing them, or freeing them at once where they were lazily freed.
//!
//! One isolation list is reclaimed in one of two orders. `page` and `folio` take a folio at a time: unmap, complete the flush, write,
//! free. `gather` takes the list in steps: unmap all with one flush, write all, free all. In both, data is copied
//! only after every translation through which a CPU could still write it is gone (rule MS-42).
//!
//! A device that takes its time has the folio under writeback meanwhile: nothing of it is freed, and the pass after its completion
//! takes up where this one has left off.

use alloc::vec::Vec;

use mmu::Operation;
use mmu::mutant::{self, Mutant};

use crate::file::Stays;
use crate::folio::{Folio, FolioLock};
use crate::frame::{Orphan, OrphanList};
use crate::lru::FolioList;
use crate::memory::Memory;
use crate::policy::Unmap;
use crate::shrink::Shrunk;
use crate::split::split_folio;
use crate::swap::Written;
use crate::tlb::{BatchFlush, Deferred};
use crate::unmap::{try_to_unmap, unmap_batch};

/// Folios that are freed together (Linux's folio_batch).
const FREE_BATCH: usize = 31;

/// Reclaims the folios of `list`: they were isolated from the LRU lists, each with a reference of the list's own. Those that can not
/// be reclaimed go back to the lists. Returns the pages freed.
pub fn reclaim_folios(memory: &Memory, list: &mut FolioList) -> usize {
    reclaim(memory, list).freed
}

/// The same, and tells of pages that are being written as well.
pub(crate) fn reclaim(memory: &Memory, list: &mut FolioList) -> Shrunk {
    let _underway = memory.begin(Operation::Reclaim);
    let mut batch = Vec::new();
    let together = memory.policy().unmap() == Unmap::Gather && batch.try_reserve_exact(list.len()).is_ok();
    if together { reclaim_together(memory, list, batch) } else { reclaim_one_by_one(memory, list) }
}

fn reclaim_one_by_one(memory: &Memory, list: &mut FolioList) -> Shrunk {
    let mut deferred = Deferred::new();
    let mut owed = Owed::default();
    while let Some(folio) = list.pop_front(&memory.frames) {
        let Some(locked) = make_ready(memory, folio, list, &mut owed) else { continue };
        if locked.is_mapped() && !try_to_unmap(memory, &locked, &mut deferred) {
            // Of what went before the failure a CPU may still know, and another one's reclaim would not complete this flush.
            if !mutant::is(Mutant::KeptBeforeFlush) {
                deferred.flush(memory);
            }
            owed.keep(memory, locked);
            continue;
        }
        // Also where every entry was clean, so that no write can be lost: once the folio is out of the cache a fault maps another frame
        // at the same address, and until the flush is complete a CPU could read the old one beside it (rule MS-04; as the TLBI is
        // under way, the checker calls it MS-21).
        if !mutant::is(Mutant::NoFlushBeforeWriteOut) {
            deferred.flush(memory);
        }
        dispose(memory, locked, list, &mut owed);
        if owed.folios >= FREE_BATCH {
            deferred.free(memory, &mut owed.orphans);
            owed.folios = 0;
        }
    }
    deferred.free(memory, &mut owed.orphans);
    owed.shrunk
}

/// `batch` has room for all, as long as none is split.
fn reclaim_together<'m>(memory: &'m Memory, list: &mut FolioList, mut batch: Vec<FolioLock<'m>>) -> Shrunk {
    let mut owed = Owed::default();
    while let Some(folio) = list.pop_front(&memory.frames) {
        let Some(locked) = make_ready(memory, folio, list, &mut owed) else { continue };
        // A folio that was split has become many.
        if !locked.is_mapped() {
            dispose(memory, locked, list, &mut owed);
        } else if batch.try_reserve(1).is_ok() {
            batch.push(locked);
        } else {
            owed.keep(memory, locked);
        }
    }
    let mut flush = BatchFlush::with_room_for(batch.len() + 1);
    unmap_batch(memory, &batch, &mut flush);
    for locked in batch {
        if locked.is_mapped() {
            owed.keep(memory, locked);
        } else {
            dispose(memory, locked, list, &mut owed);
        }
    }
    dispose_parts(memory, list, &mut owed);
    flush.free(memory, &mut owed.orphans);
    owed.shrunk
}

/// Goes on with the parts of unmapped folios of files, which had to be split for slots.
fn dispose_parts(memory: &Memory, list: &mut FolioList, owed: &mut Owed) {
    while let Some(folio) = list.pop_front(&memory.frames) {
        match make_ready(memory, folio, list, owed) {
            Some(locked) if locked.is_mapped() => owed.keep(memory, locked),
            Some(locked) => dispose(memory, locked, list, owed),
            None => {}
        }
    }
}

/// What became of the folios so far: those to free wait for the flush.
#[derive(Debug, Default)]
struct Owed {
    orphans: OrphanList,
    folios: usize,
    shrunk: Shrunk,
}

impl Owed {
    fn free(&mut self, memory: &Memory, orphan: Orphan, pages: usize) {
        self.folios += 1;
        self.shrunk.freed += pages;
        self.orphans.push(memory, orphan);
    }

    /// The folio is in use, as far as was seen: it goes to the active list. One that turned out to be locked in memory has no use for its
    /// slots, and gives them back.
    fn keep(&mut self, memory: &Memory, folio: FolioLock<'_>) {
        folio.set_active(true);
        if mutant::or(Mutant::LockedKeepsSlots, folio.is_mlocked(), false) {
            memory.swap.free_if_unused(&folio);
        }
        self.wait(memory, folio);
    }

    /// The folio has to wait, for a device say: it goes to its list, unless all that needed it has gone meanwhile.
    fn wait(&mut self, memory: &Memory, folio: FolioLock<'_>) {
        let plain = folio.unlock();
        memory.swap.free_unneeded(plain);
        // Lazily freed pages that went before the unmap failed left no swap entry.
        memory.defer_split(plain);
        self.put_back(memory, plain);
    }

    /// The folio goes to its list, unless the list's reference turns out to be the last.
    fn put_back(&mut self, memory: &Memory, folio: Folio<'_>) {
        let pages = folio.pages();
        if let Some(orphan) = memory.lru.putback(folio) {
            self.free(memory, orphan, pages);
        }
    }
}

/// Locks an isolated folio and, if it is swap-backed, gives it swap slots (reference A14). It is split first if it is mapped in part, or
/// there is no run of slots for all of it; the other pages join `list`, isolated like it. A folio that is busy, pinned, locked in memory,
/// being written or finds no slots goes back to its list.
fn make_ready<'m>(
    memory: &'m Memory,
    folio: Folio<'m>,
    list: &mut FolioList,
    owed: &mut Owed,
) -> Option<FolioLock<'m>> {
    let Some(locked) = folio.try_lock() else {
        owed.put_back(memory, folio);
        return None;
    };
    let stays = locked.maybe_pinned() || mutant::or(Mutant::LockedTakesSlots, locked.is_mlocked(), false);
    let is_busy = stays || mutant::or(Mutant::WrittenTwice, locked.is_writeback(), false);
    // A folio of a file gets them when nothing maps it any more, as nothing takes its entries' place.
    let needs_slots = locked.is_swap_backed() && !locked.is_swap_cache() && !locked.is_file();
    if is_busy || (needs_slots && !get_swap_slots(memory, &locked, list, owed)) {
        owed.keep(memory, locked);
        return None;
    }
    Some(locked)
}

/// Swap slots for the folio, or for its first page. References beyond those of its mappings and the list's own say that somebody uses
/// it. False also if nothing maps that page: it needs none.
fn get_swap_slots(memory: &Memory, folio: &FolioLock<'_>, list: &mut FolioList, owed: &mut Owed) -> bool {
    if folio.refs() != folio.expected_refs() + 1 {
        return false;
    }
    if folio.is_partially_mapped() && !split_to(memory, folio, list, owed) {
        return false;
    }
    if !folio.is_mapped() {
        return false;
    }
    let taken =
        take_slots_in_parts(memory, folio, list, owed, || memory.swap.alloc(memory, folio).map_err(|_| Stays::NoSlots));
    if taken.is_ok() {
        // The slots have nothing of it yet, whatever its entries say. A folio that is in the cache already is as clean as it says.
        folio.set_dirty(true);
    }
    taken.is_ok()
}

/// Takes slots for the folio by `take`; or, where there is no run of its size, for its first page, after a split.
fn take_slots_in_parts(
    memory: &Memory,
    folio: &FolioLock<'_>,
    list: &mut FolioList,
    owed: &mut Owed,
    take: impl Fn() -> Result<(), Stays>,
) -> Result<(), Stays> {
    let taken = take_slots(memory, owed, &take);
    if taken != Err(Stays::NoSlots) {
        return taken;
    }
    let order = folio.order();
    let falls_back = folio.is_large() && !mutant::is(Mutant::FullSwapKeepsWhole);
    if !falls_back || !split_to(memory, folio, list, owed) {
        return taken;
    }
    memory.count().swap_fallbacks.add(1);
    memory.count_size(order).swpout_fallback.add(1);
    take_slots(memory, owed, &take)
}

/// Takes slots; where there are none, those of folios that are in memory and only cached are freed first.
fn take_slots(memory: &Memory, owed: &mut Owed, take: impl Fn() -> Result<(), Stays>) -> Result<(), Stays> {
    let taken = take();
    let is_full = taken == Err(Stays::NoSlots);
    if is_full && memory.swap.free_cached(memory, |orphan| owed.orphans.push(memory, orphan)) > 0 {
        take()
    } else {
        taken
    }
}

/// Splits the folio; its other pages join the list. False if it is in use.
fn split_to(memory: &Memory, folio: &FolioLock<'_>, list: &mut FolioList, owed: &mut Owed) -> bool {
    let freed = split_folio(memory, folio, Some(list));
    owed.shrunk.freed += freed.unwrap_or(0);
    freed.is_some()
}

/// Lets go of an unmapped folio. One of a file leaves that first (Linux's shmem_writeout).
fn dispose(memory: &Memory, folio: FolioLock<'_>, list: &mut FolioList, owed: &mut Owed) {
    if folio.is_file() {
        match take_slots_in_parts(memory, &folio, list, owed, || memory.move_to_swap(&folio)) {
            Ok(()) => {}
            // Its file has let go of it just now, or somebody is about to map it, or reads from it.
            Err(Stays::Busy) => return owed.wait(memory, folio),
            Err(Stays::NoSlots) => return owed.keep(memory, folio),
        }
    }
    if folio.is_swap_cache() {
        write_and_detach(memory, folio, owed);
    } else if folio.is_swap_backed() {
        // Its file is gone, and somebody else has the reference that is about to be the last.
        owed.wait(memory, folio);
    } else if folio.freeze(1) {
        let pages = folio.pages();
        memory.count().pglazyfreed.add(pages as u64);
        owed.free(memory, folio.into_orphan(), pages);
    } else {
        // Somebody has got hold of it meanwhile, and gives up what is then the last reference.
        owed.keep(memory, folio);
    }
}

/// Writes an unmapped folio to the device and takes it out of the swap cache, to be freed. It stays if the device refuses or takes its
/// time, or somebody has got hold of it.
fn write_and_detach(memory: &Memory, folio: FolioLock<'_>, owed: &mut Owed) {
    if folio.refs() != 1 + folio.pages() {
        // Nothing is gained by a write. And who took its entries out may hold it until a flush is complete.
        return owed.keep(memory, folio);
    }
    if folio.is_dirty() {
        let Ok(written) = memory.swap.write_out(memory, &folio) else { return owed.keep(memory, folio) };
        let count = memory.count();
        count.folios_swapped_out.add(1);
        memory.count_size(folio.order()).swpout.add(1);
        count.pages_swapped_out.add(folio.pages() as u64);
        if mutant::or(Mutant::PendingTakenForDone, written == Written::Later, false) {
            owed.shrunk.begun += folio.pages();
            return owed.wait(memory, folio);
        }
    }
    if folio.is_dirty() || !folio.freeze(1 + folio.pages()) {
        return owed.keep(memory, folio);
    }
    memory.swap.remove_from_cache(&folio);
    let pages = folio.pages();
    owed.free(memory, folio.into_orphan(), pages);
}
