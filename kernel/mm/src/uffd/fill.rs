//! Filling pages that are missing (UFFDIO_COPY, UFFDIO_ZEROPAGE): with a page of the area's own, or, where a file is mapped shared, with a
//! page of the file, which it gets and maps in one step, so that nobody can write it first. Huge pages
//! have a way of their own (`fill_huge`).

use alloc::sync::Arc;

use mmu::mutant::{self, Mutant};
use mmu::{Descriptor, Operation, PAGE_SIZE, Protection, VirtAddr};

use crate::errno::Errno;
use crate::fault::map_fresh;
use crate::file::MemoryFile;
use crate::folio::Folio;
use crate::frame::FreshFolio;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::space::Space;
use crate::vma::{Area, AreaFlags};

/// What a page begins with that was missing.
#[derive(Clone, Copy, Debug)]
pub enum Contents<'a> {
    /// Zeros, which take no memory before they are written, but in a file.
    Zero,
    /// These bytes.
    Bytes(&'a [u8; PAGE_SIZE as usize]),
    /// These bytes, and it is protected at once.
    Protected(&'a [u8; PAGE_SIZE as usize]),
}

impl Contents<'_> {
    /// A page with them; `None` if there is no memory.
    fn in_a_page(self, memory: &Memory) -> Option<FreshFolio<'_>> {
        let folio = memory.alloc_folio(0)?;
        match self {
            Self::Zero => memory.door.clear_pages(folio.head(), 1),
            Self::Bytes(bytes) | Self::Protected(bytes) => memory.door.write_bytes(folio.head().start(), bytes),
        }
        Some(folio)
    }
}

impl Memory {
    /// Fills a missing page of a watched area.
    ///
    /// # Errors
    /// As Linux: `ENOENT` if nobody watches it; `EEXIST` if it is not missing; `EINVAL` if it is a huge one, or to be protected where
    /// writes are not watched; `EFAULT` if the area's file ends before it; `ENOMEM`.
    pub fn uffd_fill(&self, space: &Arc<Space>, address: u64, contents: Contents<'_>) -> Result<(), Errno> {
        let _underway = self.begin(Operation::Fault);
        let address = VirtAddr::new(address).page();
        loop {
            let layout = space.layout().read();
            let area = layout.areas.find(address).filter(|area| area.monitor.is_some()).ok_or(Errno::ENOENT)?;
            let may_protect = area.flags.contains(AreaFlags::UFFD_WP);
            if area.huge().is_some() || (matches!(contents, Contents::Protected(_)) && !may_protect) {
                return Err(Errno::EINVAL);
            }
            // Allocated before the file or the table is locked.
            space.tables.ensure(self, address)?;
            let fill = Fill { memory: self, space, area, address };
            let file = area.backing.file().and_then(|id| self.files.get(id));
            match &file {
                Some(file) if area.backing.is_shared() => return fill.page_of_file(file, contents),
                _ if area.anon.is_some() => return fill.own_page(file.as_deref(), contents),
                _ => drop(layout),
            }
            self.give_anon_vma(space, &mut space.layout().write(), address).map_err(|_| Errno::ENOMEM)?;
        }
    }
}

/// A page that is about to be filled, in an area that stays what it is.
struct Fill<'a> {
    memory: &'a Memory,
    space: &'a Space,
    area: &'a Area,
    address: VirtAddr,
}

impl<'a> Fill<'a> {
    /// The area's own page, or the page of zeros.
    fn own_page(&self, file: Option<&MemoryFile>, contents: Contents<'_>) -> Result<(), Errno> {
        let fresh = match contents {
            Contents::Zero => None,
            _ => Some(contents.in_a_page(self.memory).ok_or(Errno::ENOMEM)?),
        };
        // A file whose contents are locked is not cut off.
        let of_file = file.map(MemoryFile::contents);
        if of_file.as_ref().is_some_and(|of_file| self.area.index_of(self.address) >= of_file.pages()) {
            return Err(Errno::EFAULT);
        }
        let table = self.lock_missing()?;
        let slot = table.slot(self.address);
        let Some((folio, anon)) = fresh.zip(self.area.anon) else {
            let protection = Protection { write: false, ..self.area.protection() };
            let zero = Descriptor::user_page(self.memory.zero_frame(), protection).make_special().make_young();
            table.set(slot, zero);
            return Ok(());
        };
        let entry = self.entry(folio.head(), contents);
        map_fresh(self.memory, &table, slot, folio, entry, (anon, self.area));
        self.space.add_anon(1);
        self.memory.count().folios_allocated.add(1);
        Ok(())
    }

    /// A page that the file gets.
    fn page_of_file(&self, file: &MemoryFile, contents: Contents<'_>) -> Result<(), Errno> {
        let fresh = contents.in_a_page(self.memory).ok_or(Errno::ENOMEM)?;
        file.add_page(self.memory, self.area.index_of(self.address), fresh, |folio| self.map(folio, contents))
    }

    /// Maps the page that the file has just got.
    fn map(&self, folio: Folio<'_>, contents: Contents<'_>) {
        let Ok(table) = self.lock_missing() else { return };
        let entry = self.entry(folio.head(), contents);
        folio.get(1);
        folio.add_maps(0, 1);
        if entry.is_user_executable() {
            self.memory.door.sync_instructions(folio.head(), 1);
        }
        table.set(table.slot(self.address), entry);
        self.space.add_file(1);
        self.memory.count().folios_filed.add(1);
    }

    fn entry(&self, frame: mmu::Pfn, contents: Contents<'_>) -> Descriptor {
        let entry = Descriptor::user_page(frame, self.area.protection()).make_young().make_dirty();
        let is_protected = matches!(contents, Contents::Protected(_));
        if mutant::or(Mutant::FilledOpen, is_protected, false) { entry.write_protect().make_uffd() } else { entry }
    }

    /// The table of the page, locked, if the page is missing, and with nothing of the page in any TLB. A marker makes way.
    fn lock_missing(&self) -> Result<TableGuard<'a>, Errno> {
        let table = self.space.lock_new_table(self.memory, self.address)?;
        let is_missing = table.get(table.slot(self.address)).is_absent();
        if mutant::or(Mutant::FilledOver, !is_missing, false) {
            return Err(Errno::EEXIST);
        }
        self.space.complete_discards(self.memory);
        Ok(table)
    }
}
