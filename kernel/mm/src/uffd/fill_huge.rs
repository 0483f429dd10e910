//! Filling huge pages that are missing: whole ones, from their pool. Who fills one may fault in between, so it is written with nothing
//! locked, before its area is looked at again.

use alloc::boxed::Box;
use alloc::sync::Arc;

use mmu::mutant::{self, Mutant};
use mmu::{Descriptor, Operation, PAGE_SIZE, VirtAddr};

use crate::errno::Errno;
use crate::frame::HugeSize;
use crate::hugetlb::HugeSlot;
use crate::memory::Memory;
use crate::rmap::AnonVmaId;
use crate::space::Space;
use crate::vma::{Area, AreaFlags};

/// What is known of a huge page before its area is unlocked while it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
struct HugePlace {
    size: HugeSize,
    reserves: bool,
    anon: AnonVmaId,
}

impl Memory {
    /// How much is filled at a time at an address.
    pub fn uffd_unit(&self, space: &Space, address: u64) -> u64 {
        self.huge_size_at(space, VirtAddr::new(address)).map_or(PAGE_SIZE, HugeSize::bytes)
    }

    /// Fills a missing huge page of a watched area: `write` makes what each page of it begins with, and is called with nothing locked.
    ///
    /// # Errors
    /// As [`uffd_fill`](Self::uffd_fill), with `EINVAL` for a page that is no huge one, `ENOMEM` if the pool has none, and `EAGAIN` if
    /// the area was another one afterwards; or those of `write`.
    pub fn uffd_fill_huge(
        &self,
        space: &Arc<Space>,
        address: u64,
        is_protected: bool,
        mut write: impl FnMut(usize, &mut [u8; PAGE_SIZE as usize]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let address = VirtAddr::new(address);
        let place = self.huge_place(space, address, is_protected)?;
        let folio = self.alloc_huge(place.size, place.reserves).ok_or(Errno::ENOMEM)?;
        let mut bytes = Box::new([0; PAGE_SIZE as usize]);
        for page in 0..place.size.pages() {
            write(page, &mut bytes)?;
            self.door.write_bytes(folio.head().add(page).start(), &bytes[..]);
        }
        let _underway = self.begin(Operation::Fault);
        let layout = space.layout().read();
        let area = layout.areas.find(address).ok_or(Errno::ENOENT)?;
        if HugePlace::of(area, address, is_protected)? != Some(place) {
            return Err(Errno::EAGAIN);
        }
        let slot = HugeSlot::lock_new(self, space, place.size, address)?;
        if !slot.get().is_absent() {
            return Err(Errno::EEXIST);
        }
        let entry = Descriptor::user_page(folio.head(), area.protection()).make_young().make_dirty();
        let closes = mutant::or(Mutant::FilledOpen, is_protected, false);
        let entry = if closes { entry.write_protect().make_uffd() } else { entry };
        slot.map(folio, entry, (place.anon, area.index_of(address)));
        Ok(())
    }

    fn huge_place(&self, space: &Arc<Space>, address: VirtAddr, is_protected: bool) -> Result<HugePlace, Errno> {
        loop {
            let layout = space.layout().read();
            let area = layout.areas.find(address).ok_or(Errno::ENOENT)?;
            if let Some(place) = HugePlace::of(area, address, is_protected)? {
                let slot = HugeSlot::lock(self, space, place.size, address);
                let is_there = slot.is_some_and(|slot| !slot.get().is_absent());
                return if is_there { Err(Errno::EEXIST) } else { Ok(place) };
            }
            drop(layout);
            self.give_anon_vma(space, &mut space.layout().write(), address).map_err(|_| Errno::ENOMEM)?;
        }
    }
}

impl HugePlace {
    /// `None` if the area needs an anon_vma first.
    fn of(area: &Area, address: VirtAddr, is_protected: bool) -> Result<Option<Self>, Errno> {
        if area.monitor.is_none() {
            return Err(Errno::ENOENT);
        }
        let size = area.huge().filter(|size| address.is_aligned(size.bytes())).ok_or(Errno::EINVAL)?;
        if is_protected && !area.flags.contains(AreaFlags::UFFD_WP) {
            return Err(Errno::EINVAL);
        }
        Ok(area.anon.map(|anon| Self { size, reserves: area.reserves(), anon }))
    }
}
