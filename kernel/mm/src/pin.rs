//! Pins: pages of a program whose addresses somebody keeps, to read and write them later as a device does (Linux's
//! `pin_user_pages`, FOLL_PIN; reference 4.23).
//!
//! A pinned page stays the page that its program sees: reclaim leaves it alone, fork copies it for the child, and before it is pinned it
//! is made the space's alone, also if it will only be read, unless it is a file's. Pages are pinned without a table's lock, as Linux's
//! fast way does: look at the entry, take the pin, look again (A9). Who takes entries out looks for pins afterwards, so that one of the
//! two sees the other. The areas are locked for reading, so that tables stay, and no fork is under way.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

use mmu::mutant::{self, Mutant};
use mmu::{Access, Cause, Descriptor, PAGE_SIZE, Pfn, PhysAddr, VirtAddr};

use crate::contpte;
use crate::errno::Errno;
use crate::fault::FaultError;
use crate::folio::Folio;
use crate::frame::Orphan;
use crate::memory::Memory;
use crate::space::Space;
use crate::tlb::Gather;

/// Pages of a space that stay where they are. Dropping it takes the pins off.
#[derive(Debug)]
#[must_use]
pub struct Pinned<'m> {
    memory: &'m Memory,
    space: Arc<Space>,
    frames: Vec<Pfn>,
    write: bool,
}

impl Memory {
    /// Pins `pages` pages from `address` on, to write or only to read them by their physical addresses.
    ///
    /// # Errors
    /// `EFAULT` where nothing is mapped, the program itself may not do that, or its page can not be read back; `ENOMEM`; `EINVAL` for an
    /// address inside a page. Nothing is pinned then. Huge pages of hugetlb areas are not pinned: `EFAULT`.
    pub fn pin_user_pages(
        &self,
        space: &Arc<Space>,
        address: VirtAddr,
        pages: usize,
        write: bool,
    ) -> Result<Pinned<'_>, Errno> {
        if !address.is_aligned(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let mut frames = Vec::new();
        frames.try_reserve_exact(pages).map_err(|_| Errno::ENOMEM)?;
        // Dropped on an error, it takes off what was pinned so far.
        let mut pinned = Pinned { memory: self, space: space.clone(), frames, write };
        for page in 0..pages {
            let frame = pinned.pin_page(address.add_pages(page))?;
            pinned.frames.push(frame);
        }
        Ok(pinned)
    }
}

impl<'m> Pinned<'m> {
    /// How many pages there are.
    pub fn pages(&self) -> usize {
        self.frames.len()
    }

    /// Where a page is.
    pub fn frame(&self, page: usize) -> Pfn {
        self.frames[page]
    }

    /// Reads from a page, as a device does: by its physical address.
    ///
    /// # Panics
    /// If the bytes do not lie in the page.
    pub fn read(&self, page: usize, offset: usize, bytes: &mut [u8]) {
        self.memory.door.read_bytes(self.place(page, offset, bytes.len()), bytes);
    }

    /// Writes to a page, as a device does.
    ///
    /// # Panics
    /// If the pages were pinned to be read, or the bytes do not lie in the page.
    pub fn write(&self, page: usize, offset: usize, bytes: &[u8]) {
        assert!(self.write, "pages pinned for reading are written");
        self.memory.door.write_bytes(self.place(page, offset, bytes.len()), bytes);
    }

    /// Takes the pins off.
    pub fn unpin(self) {}

    fn place(&self, page: usize, offset: usize, length: usize) -> PhysAddr {
        assert!(offset + length <= PAGE_SIZE as usize, "an access leaves its page");
        self.frames[page].start().add_bytes(offset as u64)
    }

    fn pin_page(&self, address: VirtAddr) -> Result<Pfn, Errno> {
        if self.memory.huge_size_at(&self.space, address).is_some() {
            // Their mappings alone account for the references to huge pages.
            return Err(Errno::EFAULT);
        }
        loop {
            if let Some(frame) = self.try_pin(address) {
                return Ok(frame);
            }
            let faulted = if self.write {
                self.memory.fault(&self.space, address, Access::Write)
            } else {
                self.memory.unshare(&self.space, address)
            };
            faulted.map_err(|error| if error == FaultError::OutOfMemory { Errno::ENOMEM } else { Errno::EFAULT })?;
        }
    }

    /// Pins the page at `address` if it is there, and as it has to be.
    fn try_pin(&self, address: VirtAddr) -> Option<Pfn> {
        let memory = self.memory;
        let _areas = self.space.layout().read();
        let slot = self.space.tables.find(memory, address)?.slot(address);
        let entry = contpte::get_lockless(memory, slot);
        if !entry.is_valid() || (self.write && !entry.is_writable()) {
            return None;
        }
        if entry.is_special() {
            // The zero page stays anyway.
            return Some(entry.frame());
        }
        let folio = self.take_pin(entry.frame())?;
        fence(Ordering::SeqCst);
        let same = |entry: Descriptor| entry.with_contiguous(false).make_old().make_clean();
        let is_there = mutant::or(Mutant::PinnedWithoutSecondLook, same(memory.door.load(slot)) == same(entry), true);
        let is_alone = entry.is_writable() || folio.is_file() || folio.is_exclusive(folio.index_of(entry.frame()));
        if is_there && mutant::or(Mutant::PinnedWithoutUnsharing, is_alone, true) {
            return Some(entry.frame());
        }
        self.let_go(folio, |folio| folio.unpin(1));
        None
    }

    /// A pin of the folio that has `frame`; `None` if it is on its way out, or was split or freed before the reference was there.
    fn take_pin(&self, frame: Pfn) -> Option<Folio<'m>> {
        let folio = self.memory.frames.folio_of(frame);
        if !folio.try_get() {
            return None;
        }
        let is_still = self.memory.frames.folio_of(frame) == folio;
        if is_still {
            folio.pin(1);
        }
        self.let_go(folio, |folio| folio.put(1));
        is_still.then_some(folio)
    }

    /// Gives up a pin or a reference. Where it is the last one, whoever took the mappings out has flushed.
    fn let_go(&self, folio: Folio<'_>, put: impl FnOnce(Folio<'_>) -> Option<Orphan>) {
        let mut gather = Gather::new(self.memory, &self.space, Cause::Replace);
        self.memory.swap.free_unneeded(folio);
        if let Some(orphan) = put(folio) {
            gather.orphan(orphan);
        }
        gather.finish();
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        for &frame in self.frames.iter().filter(|&&frame| frame != self.memory.zero_frame()) {
            let folio = self.memory.frames.folio_of(frame);
            if self.write {
                // What the device wrote, no entry recorded.
                folio.set_dirty(true);
            }
            self.let_go(folio, |folio| folio.unpin(1));
        }
    }
}
