//! MADV_HWPOISON: memory is treated as bad, to see what becomes of a program whose memory is (Linux's `memory_failure`).
//!
//! The page is taken out of every space that maps it, and an entry put in its place that says so: who touches it next is told. A
//! large folio is split first, so that one page is lost; if it can not be, all of it is. A huge page is lost as a whole. Frames of bad
//! memory are given to nobody any more; the rest of a huge page is. Pages of files stay as they are: EBUSY.
//!
//! Linux also sends SIGBUS to the caller at once if the page is dirty. Here a touch is what is answered.

use alloc::sync::Arc;

use mmu::mutant::{self, Mutant};
use mmu::{Cause, Descriptor, Operation, PAGE_SIZE, Pfn, VirtAddr};

use crate::errno::Errno;
use crate::fault::{Access, FaultError};
use crate::folio::{Folio, FolioLock};
use crate::hugetlb::HugeSlot;
use crate::memory::Memory;
use crate::space::Space;
use crate::split;
use crate::tlb::{Deferred, Gather};
use crate::unmap;
use crate::zap;

/// A page that is about to be lost, with a reference to its folio.
struct Found<'m> {
    folio: Folio<'m>,
    frame: Pfn,
}

impl Memory {
    /// Treats the memory of each folio in a range as bad, the one page of it that the range has first.
    ///
    /// # Errors
    /// `EBUSY` where there is nothing of the program's own, or something in use that can not be taken away; `EHWPOISON` where the memory
    /// is bad already; `EFAULT` or `ENOMEM` where the program could not touch it either. What lies before is done.
    pub(crate) fn poison_range(&self, space: &Arc<Space>, (start, end): (VirtAddr, VirtAddr)) -> Result<(), Errno> {
        // Reclaim's work, whoever asks for it: a page is taken out by what its folio says, and nothing depends on what others owe the table
        // of other folios (rule MS-41).
        let _underway = self.begin(Operation::Reclaim);
        let mut address = start;
        while address < end {
            let found = self.find_to_poison(space, address)?;
            let size = found.folio.pages() as u64 * PAGE_SIZE;
            self.poison_found(space, address, found)?;
            // As Linux: as far on as the folio is long, wherever in it the page was.
            address = address.add_bytes(size);
        }
        Ok(())
    }

    /// The page at an address, faulted in if need be.
    fn find_to_poison(&self, space: &Arc<Space>, address: VirtAddr) -> Result<Found<'_>, Errno> {
        loop {
            if let Some(found) = self.look_for(space, address)? {
                return Ok(found);
            }
            self.fault(space, address, Access::Read).map_err(|error| match error {
                FaultError::OutOfMemory | FaultError::NotMapped => Errno::ENOMEM,
                FaultError::Poisoned(_) => Errno::EHWPOISON,
                _ => Errno::EFAULT,
            })?;
        }
    }

    /// The page that is mapped at an address now, if there is one.
    fn look_for(&self, space: &Arc<Space>, address: VirtAddr) -> Result<Option<Found<'_>>, Errno> {
        if let Some(size) = self.huge_size_at(space, address) {
            let start = address.align_down(size.bytes());
            let Some(slot) = HugeSlot::lock(self, space, size, start) else { return Ok(None) };
            let inside = (address.page_number() - start.page_number()) as usize;
            return self.found(slot.get(), inside);
        }
        let Some(table) = space.lock_table(self, address) else { return Ok(None) };
        self.found(table.get(table.slot(address)), 0)
    }

    /// The page `inside` behind the one that an entry of a locked table maps. The zero page is everybody's.
    fn found(&self, entry: Descriptor, inside: usize) -> Result<Option<Found<'_>>, Errno> {
        if !entry.is_present() {
            return Ok(None);
        }
        if !entry.is_valid() {
            return Err(Errno::EFAULT);
        }
        if entry.is_special() {
            return Err(Errno::EBUSY);
        }
        let frame = entry.frame().add(inside);
        let folio = self.frames.folio_of(frame);
        folio.get(1);
        Ok(Some(Found { folio, frame }))
    }

    fn poison_found(&self, space: &Arc<Space>, address: VirtAddr, found: Found<'_>) -> Result<(), Errno> {
        let mut found = found;
        if found.folio.is_large() && !found.folio.is_huge() {
            // The reference goes with the attempt, whatever comes of it.
            let _ = split::split_found(self, found.folio);
            found = self.find_to_poison(space, address)?;
        }
        let locked = found.folio.lock();
        let poisoned = self.poison_folio(&locked, found.frame);
        let folio = locked.unlock();
        let mut gather = Gather::new(self, space, Cause::Unmap);
        zap::release(self, folio, 1, &mut gather);
        gather.finish();
        poisoned
    }

    /// Takes a folio out of every space, with its lock and a reference to it held.
    fn poison_folio(&self, folio: &FolioLock<'_>, frame: Pfn) -> Result<(), Errno> {
        if folio.is_poisoned() {
            return Err(Errno::EHWPOISON);
        }
        if folio.is_file() {
            return Err(Errno::EBUSY);
        }
        // What is on the swap device too, some swap entry stands for: it would be read back.
        if folio.is_swap_cache() && !self.swap.free_if_unused(folio) {
            return Err(Errno::EBUSY);
        }
        let page = folio.index_of(frame);
        folio.mark_bad(page, true);
        let mut deferred = Deferred::new();
        let gone = unmap::try_to_unmap(self, folio, &mut deferred);
        deferred.flush(self);
        if mutant::or(Mutant::HugeUnmapSaysDone, !gone, false) {
            folio.mark_bad(page, false);
            return Err(Errno::EBUSY);
        }
        Ok(())
    }
}
