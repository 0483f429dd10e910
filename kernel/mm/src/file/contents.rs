//! What a file has: a size in bytes, and folios. New ones come as zeros, as large as policy and hole allow; only whole ones are cut off.

use mmu::mutant::{self, Mutant};
use mmu::{PAGE_SHIFT, PAGE_SIZE, PhysAddr};

use super::MemoryFile;
use super::index::{Index, Part};
use crate::errno::Errno;
use crate::fault::descending;
use crate::folio::Folio;
use crate::frame::{FreshFolio, OrphanList};
use crate::memory::Memory;
use crate::rmap::AnonVmaId;
use crate::sync::WriteGuard;
use crate::tlb::Deferred;

/// Size and folios of a file.
#[derive(Debug)]
pub(crate) struct Contents {
    size: u64,
    index: Index,
}

impl Contents {
    pub(super) const fn new() -> Self {
        Self { size: 0, index: Index::new() }
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

    /// The folio that has the page of this index; `None` for a hole, which reads as zeros.
    pub(crate) fn find(&self, index: u64) -> Option<Part> {
        self.index.find(index)
    }

    /// All folios, in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> {
        self.index.iter()
    }

    /// Where the byte at `offset` is; `None` in a hole.
    pub(super) fn place(&self, offset: u64) -> Option<PhysAddr> {
        let part = self.find(offset >> PAGE_SHIFT)?;
        Some(part.head.start().add_bytes(offset - (part.first << PAGE_SHIFT)))
    }

    /// Frees what lies beyond the size, where nothing is mapped any more. Of a folio that reaches over it, as of the last page, the part
    /// beyond becomes zeros.
    pub(super) fn cut_off(&mut self, memory: &Memory) {
        self.take_out(memory, self.pages());
        let Some(part) = self.find(self.size >> PAGE_SHIFT) else { return };
        let place = part.head.start().add_bytes(self.size - (part.first << PAGE_SHIFT));
        let in_page = (self.pages() << PAGE_SHIFT) - self.size;
        memory.door.write_bytes(place, &[0; PAGE_SIZE as usize][..in_page as usize]);
        let beyond = (part.end() - self.pages()) as usize;
        if beyond > 0 {
            memory.door.clear_pages(part.head.add(part.pages - beyond), beyond);
        }
    }

    /// Takes out the folios from page `from` on, which nothing maps, and frees those that nobody refers to besides. That takes no flush:
    /// whoever took out a mapping had a reference until its own was complete.
    pub(super) fn take_out(&mut self, memory: &Memory, from: u64) {
        let mut orphans = OrphanList::new();
        while let Some(part) = self.index.pop_from(from, &memory.files.budget) {
            let folio = memory.frames.folio_of(part.head);
            folio.leave_file();
            memory.files.count_pages(-(part.pages as i64));
            if let Some(orphan) = folio.put(part.pages) {
                orphans.push(memory, orphan);
            }
        }
        Deferred::new().free(memory, &mut orphans);
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
const fn aligned(index: u64, order: usize) -> u64 {
    index & !((1 << order) - 1)
}

impl MemoryFile {
    /// What it has, locked to write: nobody maps a page of it meanwhile.
    pub(super) fn contents_mut(&self) -> WriteGuard<'_, Contents> {
        self.contents.write()
    }

    /// Fills the hole at page `index` with a folio of zeros of one of `orders`, or a page, if there is a hole inside the file, or inside the bytes up to
    /// `end` that it is about to have.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn fill_hole(&self, memory: &Memory, index: u64, orders: u16, end: u64) -> Result<(), Errno> {
        let orders = self.contents().fitting(index, orders | 1, end);
        if orders == 0 {
            return Ok(());
        }
        let folio = alloc(memory, orders).ok_or(Errno::ENOMEM)?;
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
        let part = Part { first, pages: folio.pages(), head: folio.head() };
        contents.index.insert(part, &memory.files.budget)?;
        memory.files.count_pages(part.pages as i64);
        let folio = folio.publish();
        folio.enter_file(self.areas, first);
        memory.lru.add(folio);
        Ok(folio)
    }
}

/// A folio of the largest of `orders` that can be had.
fn alloc(memory: &Memory, orders: u16) -> Option<FreshFolio<'_>> {
    let folio = descending(orders).find_map(|order| {
        let folio = memory.alloc_folio(order);
        memory.count().folio_fallbacks.add(u64::from(order > 0 && folio.is_none()));
        folio
    })?;
    memory.count().folios_filed.add(1);
    Some(folio)
}

impl Folio<'_> {
    /// Makes a new folio that of a file, from its page `first` on. The reference it was allocated with is the file's, which has one for
    /// each page. Its contents are nowhere else and do not go to swap, so who looks for memory passes it by.
    fn enter_file(&self, areas: AnonVmaId, first: u64) {
        self.set_mapping(areas, first);
        self.set_swap_backed(true);
        self.set_uptodate(true);
        self.set_dirty(true);
        self.set_unevictable(true);
        self.set_file(true);
        if self.is_large() {
            self.get(self.pages() - 1);
        }
    }

    /// Makes it nobody's. The file's references are the caller's to put.
    fn leave_file(&self) {
        debug_assert!(!self.is_mapped(), "a folio that is mapped leaves its file");
        self.set_file(false);
        self.clear_mapping();
    }
}
