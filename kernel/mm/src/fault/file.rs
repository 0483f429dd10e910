//! The first touch of an area that maps a file: a page of the file, or for a write to a private area a copy of one (reference 4.5).
//!
//! The file's contents are locked to read from the look at them until the page is mapped, so that it can not be cut off in between. What
//! has to be allocated is there before. A page that is in swap comes back into the file first, with nothing of it locked.

use mmu::mutant::{self, Mutant};
use mmu::{Descriptor, ENTRIES, Pfn, Protection, VirtAddr};

use super::{Access, Fault, FaultError, Handled, Outcome};
use crate::errno::Errno;
use crate::file::{Brought, Contents, FileId, MemoryFile};
use crate::folio::Folio;
use crate::frame::FreshFolio;
use crate::pgtable::TableGuard;
use crate::rmap::AnonVmaId;
use crate::vma::AreaFlags;

impl<'a> Fault<'a> {
    /// `found` is what the entry says: nothing, or that the page is protected by userfaultfd.
    pub(super) fn file(&self, id: FileId, found: Descriptor) -> Handled {
        let Some(file) = self.memory.files.get(id) else { return Err(FaultError::BeyondEnd) };
        let copies = !self.area.backing.is_shared() && self.access == Access::Write;
        if copies && self.area.anon.is_none() {
            return Ok(Outcome::NeedsAnonVma);
        }
        let fresh = if copies { Some(self.alloc(1, drop).ok_or(FaultError::OutOfMemory)?) } else { None };
        drop(self.lock_table()?);
        let index = self.area.index_of(self.address);
        // Nothing is allocated between a page's coming into the file and the next look, nor is what was allocated given back: where memory
        // is short, to get it again might take that page out again, for ever.
        loop {
            let contents = file.contents();
            if index >= contents.pages() {
                return Err(FaultError::BeyondEnd);
            }
            match contents.find(index).map(|part| part.frame_of(index)) {
                Some(Some(frame)) => {
                    return match (fresh, self.area.anon) {
                        (Some(fresh), Some(anon)) => self.copy_of_file(frame, fresh, anon, found),
                        _ => self.map_file(&contents, index, frame, found),
                    };
                }
                Some(None) => {
                    drop(contents);
                    self.bring_in(&file, index)?;
                }
                None => {
                    drop(contents);
                    if self.is_asked_first() {
                        return self.ask_monitor(false);
                    }
                    file.fill_hole(self.memory, index, self.file_orders(), 0)?;
                }
            }
            if mutant::is(Mutant::CopyGivenBack) {
                return Ok(Outcome::Again);
            }
        }
    }

    /// The orders of the folios that a file gets for this area: those that anonymous memory has.
    fn file_orders(&self) -> u16 {
        self.memory.policy().sizes().orders(self.area.advice())
    }

    /// The page is in swap: back into the file with it, where the next look finds it.
    fn bring_in(&self, file: &MemoryFile, index: u64) -> Result<(), FaultError> {
        let count = self.memory.count();
        match file.bring_in(self.memory, index, self.file_orders()) {
            Ok(Brought::Read) => count.faults_swap_major.add(1),
            Ok(Brought::Cached) => count.faults_swap_minor.add(1),
            Ok(Brought::Nothing) => {}
            Err(Errno::EIO) => return Err(FaultError::SwapRead),
            Err(_) => return Err(FaultError::OutOfMemory),
        }
        Ok(())
    }

    /// Maps the whole folio where it fits, else the page: writable in a shared area, also by a read. In a watched area a page at a time,
    /// so that each is protected or not by itself.
    fn map_file(&self, contents: &Contents, index: u64, frame: Pfn, found: Descriptor) -> Handled {
        let memory = self.memory;
        let folio = memory.frames.folio_of(frame);
        let page = folio.index_of(frame);
        let end = index + (folio.pages() - page) as u64;
        let table = self.lock_table()?;
        if memory.door.load(table.slot(self.address)) != found {
            return Ok(Outcome::Again);
        }
        let is_watched = mutant::or(Mutant::WatchedAreaGetsLarge, self.area.flags.intersects(AreaFlags::UFFD), false);
        let fits = !is_watched && mutant::or(Mutant::MappedOverEnd, end <= contents.pages(), true);
        let whole = if fits { self.whole(&table, folio, page) } else { None };
        let (start, first, count) = whole.map_or((self.address, page, 1), |start| (start, 0, folio.pages()));
        self.space.complete_discards(memory);
        folio.get(count);
        folio.add_maps(first, count);
        let allowed = self.area.protection();
        let writes = mutant::or(Mutant::PrivateWritesFile, self.area.backing.is_shared(), true);
        let protection = Protection { write: allowed.write && writes, ..allowed };
        let entry = Descriptor::user_page(folio.page(first), protection).make_young();
        let entry = if is_protected(found) {
            entry.write_protect().make_uffd()
        } else if self.access == Access::Write {
            entry.make_dirty()
        } else {
            entry
        };
        if protection.execute {
            memory.door.sync_instructions(folio.page(first), count);
        }
        table.set_run(table.slot(start), entry, count);
        self.space.add_file(count as i64);
        memory.count().faults_file.add(1);
        Ok(self.mapped(&table, found))
    }

    /// Where the folio begins, if all of it lies in the area and in the table and nothing is mapped there.
    fn whole(&self, table: &TableGuard<'_>, folio: Folio<'_>, page: usize) -> Option<VirtAddr> {
        let here = table.slot(self.address);
        let (first, pages) = (here.index().checked_sub(page)?, folio.pages());
        let start = VirtAddr::new(self.address.as_u64().checked_sub((page as u64) << mmu::PAGE_SHIFT)?);
        let fits = first + pages <= ENTRIES && self.area.covers(start, start.add_pages(pages));
        (fits && self.is_empty(table.slot(start), pages)).then_some(start)
    }

    /// What was mapped may be accessed, unless it is protected: then a write is the monitor's to allow.
    fn mapped(&self, table: &TableGuard<'_>, found: Descriptor) -> Outcome {
        if is_protected(found) && self.access == Access::Write {
            return Outcome::Again;
        }
        self.note_resolved(table);
        Outcome::Resolved
    }

    /// A copy of the file's page, which is the area's own.
    fn copy_of_file(&self, page: Pfn, fresh: FreshFolio<'a>, anon: AnonVmaId, found: Descriptor) -> Handled {
        self.memory.door.copy_pages(fresh.head(), page, 1);
        let table = self.lock_table()?;
        let slot = table.slot(self.address);
        if self.memory.door.load(slot) != found {
            return Ok(Outcome::Again);
        }
        self.space.complete_discards(self.memory);
        self.map_fresh(&table, slot, fresh, (anon, is_protected(found)));
        self.space.add_anon(1);
        self.memory.count().faults_copy.add(1);
        Ok(self.mapped(&table, found))
    }
}

/// Whether the page that takes the place of `found` is to be protected.
pub(super) fn is_protected(found: Descriptor) -> bool {
    mutant::or(Mutant::MarkerForgotten, found.is_marker(), false)
}
