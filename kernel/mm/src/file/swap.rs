//! Pages of files go to swap and come back (Linux's shmem_writeout and shmem_swapin_folio).
//!
//! Reclaim takes a folio out of every table, where its entries become empty, then out of its file: it gets slots, for each of which the
//! file has one count from then on, raised by one call for the folio, and the file's index has the slots in the folio's place. What is left
//! is a folio of the swap cache that nothing maps, as one of anonymous memory would be: it is written and freed like that. Whoever looks
//! into the index next, for a fault, a read or a write, finds slots there, and brings their folio back: from the cache, or from the
//! device as one folio where slots and policy allow, else page by page.
//!
//! Who changes both an index and the swap cache has the folio's lock first and then the file's contents, to write. A fault maps pages
//! with the contents locked to read, so nobody maps a folio while it leaves. A folio that comes back while the device still writes it stays
//! in the cache until that is over, with slots that nobody counts any more.

use alloc::sync::Arc;

use mmu::mutant::{self, Mutant};
use mmu::{PAGE_SHIFT, PAGE_SIZE};

use super::MemoryFile;
use super::contents::{Contents, aligned, alloc};
use super::index::{Part, Place};
use crate::errno::Errno;
use crate::fault::descending;
use crate::folio::{Folio, FolioLock};
use crate::frame::OrphanList;
use crate::inject::Point;
use crate::memory::Memory;
use crate::policy::Unit;
use crate::swap::SwapEntry;
use crate::tlb::Deferred;

/// Why a folio stays in its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stays {
    /// Somebody uses it, or has taken it out.
    Busy,
    /// No run of slots of its size is free.
    NoSlots,
}

/// How a page came to be where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Brought {
    /// It was not in swap, or somebody else is bringing it back: look again.
    Nothing,
    /// It was in the swap cache.
    Cached,
    /// It was read from the device.
    Read,
}

impl Memory {
    /// The file that a folio belongs to, and the index of its first page there. It may leave meanwhile.
    fn file_of(&self, folio: &Folio<'_>) -> Option<(Arc<MemoryFile>, u64)> {
        let (areas, first) = folio.mapping()?;
        let file = self.anon.get(areas)?.file()?;
        Some((self.files.get(file)?, first))
    }

    /// Moves an unmapped folio from its file into the swap cache. The caller has the one reference beside the file's.
    ///
    /// # Errors
    /// Why it stays, with nothing changed.
    pub(crate) fn move_to_swap(&self, folio: &FolioLock<'_>) -> Result<(), Stays> {
        let (file, first) = self.file_of(folio).ok_or(Stays::Busy)?;
        let mut contents = file.contents_mut();
        if !contents.has_alone(folio, first) || folio.is_swap_cache() {
            return Err(Stays::Busy);
        }
        self.swap.alloc(self, folio).map_err(|_| Stays::NoSlots)?;
        if !self.put_slots_in_place(&mut contents, folio, first) {
            self.swap.free_if_unused(folio);
            return Err(Stays::Busy);
        }
        folio.leave_file();
        let last = folio.put(folio.pages());
        debug_assert!(last.is_none(), "a folio that reclaim refers to lost its last reference");
        Ok(())
    }

    /// Puts the folio's slots in its place, with a count for each. All or nothing.
    fn put_slots_in_place(&self, contents: &mut Contents, folio: &FolioLock<'_>, first: u64) -> bool {
        let pages = folio.pages();
        self.count().swap_dups.add(1);
        if self.inject.strikes(Point::FileDup, pages) || self.swap.dup(folio, 0, pages).is_err() {
            return false;
        }
        let place = Place::Swap(folio.swap_entry(0));
        let stays = !mutant::is(Mutant::SwappedPagesForgotten);
        let done = contents.change(self, Part { first, pages, place }, stays).is_ok();
        if done {
            self.files.count_pages(-(pages as i64));
            self.files.count_swapped(pages as i64);
        } else {
            self.swap.put(folio, 0, pages);
        }
        done
    }

    /// Does something to an unmapped folio of a file, while nobody can map it or find it there. The caller has the one reference beside the
    /// file's. `None` if somebody uses it.
    pub(crate) fn while_alone_in_file<R>(&self, folio: &FolioLock<'_>, act: impl FnOnce() -> Option<R>) -> Option<R> {
        let (file, first) = self.file_of(folio)?;
        let contents = file.contents_mut();
        if contents.has_alone(folio, first) { act() } else { None }
    }

    /// Gives up a reference to a folio of the swap cache or of a file, which nobody has locked any more.
    pub(super) fn let_go(&self, folio: Folio<'_>) {
        self.swap.free_unneeded(folio);
        let mut orphans = OrphanList::new();
        if let Some(orphan) = folio.put(1) {
            orphans.push(self, orphan);
        }
        // Whoever took its last mapping out had a reference until that was flushed.
        Deferred::new().free(self, &mut orphans);
    }
}

impl Contents {
    /// Whether the folio is the file's, at page `first`, and nobody maps it or refers to it but the file and one other.
    fn has_alone(&self, folio: &FolioLock<'_>, first: u64) -> bool {
        let place = self.find(first).map(|part| part.place_of(first));
        let is_its = folio.is_file() && place == Some(Place::Memory(folio.head()));
        let is_alone = !folio.is_mapped() && folio.refs() == folio.expected_refs() + 1;
        is_its && mutant::or(Mutant::FilePageLeavesInUse, is_alone, true)
    }

    /// Whether these pages are where `part` says.
    fn has(&self, part: Part) -> bool {
        self.find(part.first).and_then(|run| run.piece(part.first, part.end())) == Some(part)
    }

    /// Whether the page with the byte `at` is in swap, and a cut at that byte concerns pages before it: the page itself, or others that
    /// are cached with it.
    pub(super) fn is_border_swapped(&self, memory: &Memory, at: u64) -> bool {
        let index = at >> PAGE_SHIFT;
        let place = self.find(index).map(|part| (part.place_of(index), part.first < index));
        match place {
            Some((Place::Swap(entry), is_inside)) => {
                at % PAGE_SIZE != 0 || (is_inside && memory.swap.is_cached(entry, 1))
            }
            _ => false,
        }
    }

    /// The page of this index or the next one whose slot a swap device has.
    fn next_swapped(&self, mut index: u64, device: u8) -> Option<u64> {
        loop {
            let part = self.first_from(index)?;
            if matches!(part.place, Place::Swap(entry) if entry.device == device) {
                return Some(index.max(part.first));
            }
            index = part.end();
        }
    }
}

impl MemoryFile {
    /// The page of this index, if it is in swap: its slot, and the run that it is in.
    fn swapped(&self, index: u64) -> Option<(SwapEntry, Part)> {
        let run = self.contents().find(index)?;
        match run.place_of(index) {
            Place::Memory(_) => None,
            Place::Swap(entry) => Some((entry, run)),
        }
    }

    /// Brings the page back if it is in swap, and as many around it as make a folio of the largest of `orders` that can be had. Called
    /// with no folio, file or table locked.
    ///
    /// # Errors
    /// `ENOMEM`; `EIO` if the device does not give the page back.
    pub(crate) fn bring_in(&self, memory: &Memory, index: u64, orders: u16) -> Result<Brought, Errno> {
        let Some((entry, run)) = self.swapped(index) else { return Ok(Brought::Nothing) };
        match memory.swap.lookup(memory, entry) {
            Some(folio) => self.put_back(memory, folio.lock(), (index, entry), Brought::Cached),
            None => self.read_in(memory, (index, entry), readable_orders(memory, run, index, orders)),
        }
    }

    fn read_in(&self, memory: &Memory, (index, entry): (u64, SwapEntry), orders: u16) -> Result<Brought, Errno> {
        let fallback = |order| memory.count_size(order).swpin_fallback.add(1);
        let folio = alloc(memory, orders, fallback).ok_or(Errno::ENOMEM)?;
        let pages = folio.pages();
        let first = entry.align_down(pages);
        let Ok(locked) = memory.swap.add_to_cache(memory, first, folio) else { return Ok(Brought::Nothing) };
        if memory.swap.read_in(memory, &locked).is_err() {
            memory.swap.drop_unused(&locked);
            memory.let_go(locked.unlock());
            // Of many pages one may be bad, which need not be this one.
            return if pages > 1 { self.read_in(memory, (index, entry), 1) } else { Err(Errno::EIO) };
        }
        locked.set_swap_backed(true);
        locked.set_uptodate(true);
        memory.count().pages_swapped_in.add(pages as u64);
        memory.count_size(locked.order()).swpin.add(1);
        memory.lru.add(locked.folio());
        self.put_back(memory, locked, (index, entry), Brought::Read)
    }

    /// Puts a locked folio in the place of its slots, if it is still cached for the page's and the file still has them. Its lock and the
    /// caller's reference are given up.
    fn put_back(
        &self,
        memory: &Memory,
        locked: FolioLock<'_>,
        (index, entry): (u64, SwapEntry),
        how: Brought,
    ) -> Result<Brought, Errno> {
        let done = self.enter_again(memory, &locked, index, entry);
        if how == Brought::Read && done != Ok(true) {
            memory.swap.drop_unused(&locked);
        }
        memory.let_go(locked.unlock());
        Ok(if done? { how } else { Brought::Nothing })
    }

    fn enter_again(&self, memory: &Memory, folio: &FolioLock<'_>, index: u64, entry: SwapEntry) -> Result<bool, Errno> {
        let first = folio.page_cached_at(entry).and_then(|page| index.checked_sub(page as u64));
        let Some(first) = first else { return Ok(false) };
        let pages = folio.pages();
        let mut contents = self.contents_mut();
        if !contents.has(Part { first, pages, place: Place::Swap(folio.swap_entry(0)) }) {
            return Ok(false);
        }
        contents.change(memory, Part { first, pages, place: Place::Memory(folio.head()) }, true)?;
        memory.files.count_pages(pages as i64);
        memory.files.count_swapped(-(pages as i64));
        folio.get(pages);
        folio.enter_file(self.areas, first);
        if !mutant::is(Mutant::FileCountKept) {
            memory.swap.put(folio, 0, pages);
        }
        memory.swap.free_if_unused(folio);
        Ok(true)
    }

    /// Brings back what a swap device has of the file (Linux's shmem_unuse), once: what could not be brought back just now is left.
    ///
    /// # Errors
    /// `ENOMEM`; `EIO` if the device does not give a page back.
    pub(crate) fn take_back(&self, memory: &Memory, device: u8, orders: u16) -> Result<(), Errno> {
        let mut index = 0;
        let next = |index| self.contents().next_swapped(index, device);
        while let Some(found) = next(index) {
            self.bring_in(memory, found, orders)?;
            index = found + 1;
        }
        Ok(())
    }
}

/// The orders of folios that could be read for a page: their slots are of the run, in which they are aligned as in the file, and nothing of
/// them is cached; page by page where a device takes its time, or the policy says so.
fn readable_orders(memory: &Memory, run: Part, index: u64, orders: u16) -> u16 {
    let Place::Swap(entry) = run.place_of(index) else { return 1 };
    let swap = &memory.swap;
    if memory.policy().swapin() == Unit::Page || !swap.is_synchronous(entry) {
        return 1;
    }
    let fits = |&order: &usize| {
        let (pages, first) = (1 << order, aligned(index, order));
        let is_in_run = run.piece(first, first + pages).is_some_and(|piece| piece.pages as u64 == pages);
        let place = is_in_run.then(|| run.place_of(first));
        let at = |first: SwapEntry| {
            first.slot as u64 % pages == 0
                && !swap.is_cached(first, pages as usize)
                && swap.zero_run(first, pages as usize).is_some()
        };
        matches!(place, Some(Place::Swap(first)) if at(first))
    };
    descending(orders & !1).filter(fits).fold(1, |fitting, order| fitting | 1 << order)
}
