//! swapoff: all that a device keeps comes back into memory, and nothing goes there any more (reference 4.30); and swapon.
//!
//! Spaces are listed from their beginning to their end, and one that may have swap entries says so before its first is written
//! (`Space::prepare_for_swap`). They are looked through, table by table, until no slot of the device is in use: while that goes on, a
//! fork may copy entries, and a reclaim that had its slots already may write some. So are the memory files, each by its index.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use mmu::mutant::{self, Mutant};
use mmu::{TABLE_SPAN, VirtAddr};

use crate::errno::Errno;
use crate::frame::OrphanList;
use crate::memory::Memory;
use crate::policy::Advice;
use crate::space::Space;
use crate::swap::SwapEntry;
use crate::sync::{Lock, Rank, give_way};
use crate::tlb::Deferred;
use crate::vma::Area;

/// Rounds over all spaces in which nothing comes back, before it is given up.
const TRIES: usize = 16;

/// All spaces.
#[derive(Debug)]
pub(crate) struct Spaces {
    list: Lock<Vec<Weak<Space>>>,
}

impl Spaces {
    pub(crate) const fn new() -> Self {
        Self { list: Lock::new(Rank::Lru, Vec::new()) }
    }

    /// Lists a space.
    pub(crate) fn enter(&self, space: &Arc<Space>) -> Result<(), Errno> {
        let mut list = self.list.lock();
        list.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        list.push(Arc::downgrade(space));
        Ok(())
    }

    /// The space is about to end.
    pub(crate) fn leave(&self, space: &Arc<Space>) {
        self.list.lock().retain(|other| !core::ptr::eq(other.as_ptr(), Arc::as_ptr(space)));
    }

    /// Those that may have swap entries.
    fn that_may_swap(&self) -> Result<Vec<Arc<Space>>, Errno> {
        let list = self.list.lock();
        let mut found = Vec::new();
        found.try_reserve_exact(list.len()).map_err(|_| Errno::ENOMEM)?;
        found.extend(list.iter().filter_map(Weak::upgrade).filter(|space| space.may_swap()));
        Ok(found)
    }
}

impl Memory {
    /// Takes a swap device out of use.
    ///
    /// # Errors
    /// `EINVAL` if there is no such device in use; `ENOMEM` if memory has no room for what it keeps, `EIO` if it does not give a page back,
    /// `EBUSY` if what it is writing does not end: then it is in use as before.
    pub fn swapoff(&self, device: u8) -> Result<(), Errno> {
        if !self.swap.set_in_use(device, false) {
            return Err(Errno::EINVAL);
        }
        let result = self.take_back(device);
        if result.is_err() && !mutant::is(Mutant::SwapoffStaysOff) {
            self.swap.set_in_use(device, true);
        }
        result
    }

    /// Takes a swap device into use again.
    ///
    /// # Errors
    /// `EBUSY` if it is in use, `EINVAL` if there is no such device.
    pub fn swapon(&self, device: u8) -> Result<(), Errno> {
        match self.swap.is_in_use(device) {
            None => Err(Errno::EINVAL),
            Some(true) => Err(Errno::EBUSY),
            Some(false) => {
                self.swap.set_in_use(device, true);
                Ok(())
            }
        }
    }

    fn take_back(&self, device: u8) -> Result<(), Errno> {
        let mut left = self.swap.used(device);
        let mut fruitless = 0;
        while left > 0 {
            if !mutant::is(Mutant::SwapoffSkipsFiles) {
                let orders = self.policy().sizes().orders(Advice::None);
                self.files.all()?.iter().try_for_each(|file| file.take_back(self, device, orders))?;
            }
            for space in self.spaces.that_may_swap()? {
                let layout = space.layout().read();
                layout.areas.iter().try_for_each(|area| self.take_area_back(&space, area, device))?;
            }
            let mut orphans = OrphanList::new();
            self.swap.free_cached(self, |orphan| orphans.push(self, orphan));
            // Whoever took their last entries out has flushed before.
            Deferred::new().free(self, &mut orphans);
            let before = core::mem::replace(&mut left, self.swap.used(device));
            fruitless = if left < before { 0 } else { fruitless + 1 };
            if left > 0 && !self.wait_for_writes() {
                if fruitless == TRIES {
                    return Err(Errno::EBUSY);
                }
                give_way();
            }
        }
        Ok(())
    }

    /// Brings back what the device keeps of an area, as faults would. A page that could not be brought back just now is left for the next
    /// pass, of which there is an end.
    fn take_area_back(&self, space: &Arc<Space>, area: &Area, device: u8) -> Result<(), Errno> {
        if mutant::is(Mutant::SwapoffSkipsNoAccess) && area.prot.is_empty() {
            return Ok(());
        }
        let mut address = area.start;
        while let Some(found) = self.next_swapped(space, (address, area.end), device) {
            self.bring_back(space, area, found)?;
            address = found.add_pages(1);
        }
        Ok(())
    }

    /// The first address of a range whose page the device keeps.
    fn next_swapped(&self, space: &Space, (start, end): (VirtAddr, VirtAddr), device: u8) -> Option<VirtAddr> {
        let mut address = start;
        while address < end {
            let stop = end.min(address.align_down(TABLE_SPAN).add_bytes(TABLE_SPAN));
            if let Some(table) = space.lock_table(self, address) {
                let entry = |&at: &VirtAddr| SwapEntry::from_descriptor(self.door.load(table.slot(at)));
                let pages = (stop.page_number() - address.page_number()) as usize;
                let mut addresses = (0..pages).map(|page| address.add_pages(page));
                let found = addresses.find(|at| entry(at).is_some_and(|swapped| swapped.entry.device == device));
                if found.is_some() {
                    return found;
                }
            }
            address = stop;
        }
        None
    }
}
