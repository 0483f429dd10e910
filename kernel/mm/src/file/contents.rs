//! What a file has: a size in bytes, and pages in memory or in swap. New ones come as folios of zeros, as large as policy and hole
//! allow; of those in memory only whole folios are cut off.

use mmu::mutant::{self, Mutant};
use mmu::{PAGE_SHIFT, PAGE_SIZE, PhysAddr};

use super::index::{Index, Part, Place};
use super::{MemoryFile, Seals};
use crate::errno::Errno;
use crate::fault::descending;
use crate::folio::Folio;
use crate::frame::{FreshFolio, OrphanList};
use crate::memory::Memory;
use crate::rmap::AnonVmaId;
use crate::sync::WriteGuard;
use crate::tlb::Deferred;

/// Where a byte of a file is.
pub(super) enum Found {
    /// In a hole: it is 0.
    Hole,
    /// There.
    Memory(PhysAddr),
    /// In swap.
    Swap,
}

/// Size and pages of a file.
#[derive(Debug)]
pub(crate) struct Contents {
    size: u64,
    index: Index,
    pub(super) seals: Seals,
}

impl Contents {
    pub(super) const fn new() -> Self {
        Self { size: 0, index: Index::new(), seals: Seals::SEAL }
    }

    /// Its bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether that makes it shorter: then the pages beyond are to be taken out of every table and [cut off](Self::cut_off).
    pub(super) fn set_size(&mut self, size: u64) -> bool {
        size < core::mem::replace(&mut self.size, size)
    }

    pub(super) fn grow_to(&mut self, size: u64) {
        self.size = self.size.max(size);
    }

    /// The pages that its bytes reach into: those that may be accessed.
    pub(crate) fn pages(&self) -> u64 {
        self.size.div_ceil(PAGE_SIZE)
    }

    /// The run that has the page of this index; `None` for a hole, which reads as zeros.
    pub(crate) fn find(&self, index: u64) -> Option<Part> {
        self.index.find(index)
    }

    /// All runs, in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> {
        self.index.iter()
    }

    /// The first run that ends after page `index`.
    pub(super) fn first_from(&self, index: u64) -> Option<Part> {
        self.index.first_from(index)
    }

    /// Where the byte at `offset` is.
    pub(super) fn place(&self, offset: u64) -> Found {
        let index = offset >> PAGE_SHIFT;
        match self.find(index).map(|part| part.place_of(index)) {
            None => Found::Hole,
            Some(Place::Memory(frame)) => Found::Memory(frame.start().add_bytes(offset % PAGE_SIZE)),
            Some(Place::Swap(_)) => Found::Swap,
        }
    }

    /// Says that pages which are in one run are where `part` says from now on; or a hole, if `stays` is false.
    ///
    /// # Errors
    /// `ENOMEM`, with nothing changed.
    pub(super) fn change(&mut self, memory: &Memory, part: Part, stays: bool) -> Result<(), Errno> {
        self.index.change(part, stays, &memory.files.budget)
    }

    /// Frees what lies beyond the size, where nothing is mapped any more. Of a folio that reaches over it, as of the last page, the part
    /// beyond becomes zeros.
    pub(super) fn cut_off(&mut self, memory: &Memory) {
        if self.take_out(memory, (self.pages(), u64::MAX)).is_err() {
            memory.note_defect("a file could not be cut off");
        }
        let last = self.size >> PAGE_SHIFT;
        let Some(part) = self.find(last) else { return };
        let Some(frame) = part.frame_of(last) else { return };
        let in_page = mutant::or(Mutant::CutLeavesBytes, (self.pages() << PAGE_SHIFT) - self.size, 0);
        let place = frame.start().add_bytes(self.size % PAGE_SIZE);
        memory.door.write_bytes(place, &[0; PAGE_SIZE as usize][..in_page as usize]);
        let beyond = (part.end() - self.pages()) as usize;
        if beyond > 0 {
            memory.door.clear_pages(frame.add((self.pages() - last) as usize), beyond);
        }
    }

    /// Takes out what the file has of the pages of a range, which nothing maps: slots, and folios that lie whole in it. Folios that nobody
    /// refers to besides are freed. That takes no flush: whoever took out a mapping had a reference until its own was complete.
    ///
    /// # Errors
    /// `ENOMEM` if a run would fall into two pieces and there is no room for that; pages from there on are out.
    pub(super) fn take_out(&mut self, memory: &Memory, (from, to): (u64, u64)) -> Result<(), Errno> {
        let mut orphans = OrphanList::new();
        let mut end = to;
        let mut result = Ok(());
        while let Some(part) = self.index.last_before(end).and_then(|part| part.piece(from, end)) {
            end = part.first;
            let Some(whole) = whole_folios(memory, part) else { continue };
            result = self.change(memory, whole, false);
            if result.is_err() {
                break;
            }
            match whole.place {
                Place::Memory(_) => drop_folios(memory, whole, &mut orphans),
                Place::Swap(_) => drop_slots(memory, whole, &mut orphans),
            }
        }
        Deferred::new().free(memory, &mut orphans);
        result
    }

    /// Those of `orders` whose aligned range around page `index` is a hole, and lies inside the file or the bytes up to `end`.
    fn fitting(&self, index: u64, orders: u16, end: u64) -> u16 {
        let pages = self.pages().max(end.div_ceil(PAGE_SIZE));
        let fits = |&order: &usize| {
            let first = aligned(index, order);
            first + (1 << order) <= pages && self.index.is_hole(first, 1 << order)
        };
        descending(orders).filter(fits).fold(0, |fitting, order| fitting | 1 << order)
    }
}

/// The first page of the aligned range of `1 << order` pages that has page `index`.
pub(super) const fn aligned(index: u64, order: usize) -> u64 {
    index & !((1 << order) - 1)
}

impl MemoryFile {
    /// What it has, locked to write: nobody maps a page of it meanwhile.
    pub(super) fn contents_mut(&self) -> WriteGuard<'_, Contents> {
        self.contents.write()
    }

    /// Fills the hole at page `index` with a folio of zeros of one of `orders`, or a page, if there is a hole inside the file, or
    /// inside the bytes up to `end` that it is about to have.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn fill_hole(&self, memory: &Memory, index: u64, orders: u16, end: u64) -> Result<(), Errno> {
        let orders = self.contents().fitting(index, orders | 1, end);
        if orders == 0 {
            return Ok(());
        }
        let folio = alloc(memory, orders, drop).ok_or(Errno::ENOMEM)?;
        let (order, pages) = (folio.order(), folio.pages());
        memory.door.clear_pages(folio.head(), pages);
        let mut contents = self.contents_mut();
        let is_hole = contents.fitting(index, 1 << order, end) != 0;
        if !mutant::or(Mutant::HoleFilledTwice, is_hole, true) {
            // Somebody was faster, or has cut the file.
            return Ok(());
        }
        self.enter(memory, &mut contents, aligned(index, order), folio).map(drop)
    }

    /// Makes a page, whose contents are ready, that of page `index`, and has `map` map it before anybody else can.
    ///
    /// # Errors
    /// `EFAULT` beyond the end, `EEXIST` if there is a page, `ENOMEM`.
    pub(crate) fn add_page<'m>(
        &self,
        memory: &'m Memory,
        index: u64,
        folio: FreshFolio<'m>,
        map: impl FnOnce(Folio<'m>),
    ) -> Result<(), Errno> {
        let mut contents = self.contents_mut();
        if index >= contents.pages() {
            return Err(Errno::EFAULT);
        }
        if mutant::or(Mutant::HoleFilledTwice, contents.find(index).is_some(), false) {
            return Err(Errno::EEXIST);
        }
        map(self.enter(memory, &mut contents, index, folio)?);
        Ok(())
    }

    /// Enters a new folio, whose contents are ready, from page `first` on, where there is a hole.
    fn enter<'m>(
        &self,
        memory: &'m Memory,
        contents: &mut Contents,
        first: u64,
        folio: FreshFolio<'m>,
    ) -> Result<Folio<'m>, Errno> {
        let part = Part { first, pages: folio.pages(), place: Place::Memory(folio.head()) };
        contents.index.insert(part, &memory.files.budget)?;
        memory.files.count_pages(part.pages as i64);
        let folio = folio.publish();
        // The reference it was allocated with is the file's, which has one for each page.
        if part.pages > 1 {
            folio.get(part.pages - 1);
        }
        folio.enter_file(self.areas, first);
        memory.lru.add(folio);
        Ok(folio)
    }
}

/// The pages of a run that lie in folios which lie whole in it; all of it in swap.
fn whole_folios(memory: &Memory, part: Part) -> Option<Part> {
    let folio_at = |index: u64| {
        let frame = part.frame_of(index)?;
        let folio = memory.frames.folio_of(frame);
        Some((folio.index_of(frame) as u64, folio.pages() as u64))
    };
    let last = part.end() - 1;
    let (Some((skipped, pages)), Some((page, pages_of_last))) = (folio_at(part.first), folio_at(last)) else {
        return Some(part);
    };
    let first = if skipped == 0 { part.first } else { part.first + pages - skipped };
    let end = if page + 1 == pages_of_last { part.end() } else { last - page.min(last) };
    part.piece(first, end)
}

/// The folios of a run, which is in no file any more, are nobody's. Those that nobody else refers to go to `orphans`.
fn drop_folios(memory: &Memory, part: Part, orphans: &mut OrphanList) {
    let mut index = part.first;
    while let Some(frame) = part.frame_of(index).filter(|_| index < part.end()) {
        let folio = memory.frames.folio_of(frame);
        let pages = folio.pages();
        folio.leave_file();
        memory.files.count_pages(-(pages as i64));
        index += pages as u64;
        if let Some(orphan) = folio.put(pages) {
            orphans.push(memory, orphan);
        }
    }
}

/// The slots of a run, which is in no file any more, have one count less, by one call (Linux's folio_put_swap of a run).
fn drop_slots(memory: &Memory, part: Part, orphans: &mut OrphanList) {
    let Place::Swap(entry) = part.place else { return };
    memory.files.count_swapped(-(part.pages as i64));
    if !mutant::is(Mutant::CutLeaksSlots) {
        memory.swap.put_entries(memory, entry, part.pages, |orphan| orphans.push(memory, orphan));
    }
}

/// A folio of the largest of `orders` that can be had; `fallback` is told of each that could not.
pub(super) fn alloc(memory: &Memory, orders: u16, fallback: impl Fn(usize)) -> Option<FreshFolio<'_>> {
    let folio = descending(orders).find_map(|order| {
        let folio = memory.alloc_folio(order);
        if order > 0 && folio.is_none() {
            memory.count().folio_fallbacks.add(1);
            fallback(order);
        }
        folio
    })?;
    memory.count().folios_filed.add(1);
    Some(folio)
}

impl Folio<'_> {
    /// Makes it that of a file, from its page `first` on. The file's references, one for each page, are there. Its contents are nowhere
    /// else: a page of a file is dirty, or in swap, as in Linux's shmem.
    pub(super) fn enter_file(&self, areas: AnonVmaId, first: u64) {
        self.set_mapping(areas, first);
        self.set_swap_backed(true);
        self.set_uptodate(true);
        self.set_dirty(!mutant::is(Mutant::FilePageClean));
        self.set_file(true);
    }

    /// Makes it nobody's. The file's references are the caller's to put.
    pub(super) fn leave_file(&self) {
        debug_assert!(!self.is_mapped(), "a folio that is mapped leaves its file");
        self.set_file(false);
        self.clear_mapping();
    }
}
