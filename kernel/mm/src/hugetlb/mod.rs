//! Areas of huge pages (Linux's hugetlb, reference 4.22): private memory that comes from the pools of `frame`, reserved when the area is
//! made, mapped by folded runs of sixteen entries or by blocks of level 2, and never swapped, split or merged.
//!
//! They keep to themselves: an area is one of huge pages as a whole, and everything that walks over areas hands it over to this module,
//! so that no other walk over tables ever meets a block. Its borders lie at multiples of its page size.
//!
//! Reservations are not kept in lists. An area that reserves ([`Area::reserves`]) has one for each place where nothing is mapped: its
//! first touch uses it up, MADV_DONTNEED brings it back, munmap gives it up. A child's area reserves nothing (as in Linux): it shares
//! what its parent has, and gets a copy when it writes, if there is a page to be had. If there is none when the parent writes, the child
//! loses the page: who reserved keeps.

mod move_pages;
mod range;
mod slot;

use mmu::VirtAddr;

use crate::errno::Errno;
use crate::frame::HugeSize;
use crate::map::MapFlags;
use crate::memory::Memory;
use crate::space::{Layout, Space};
use crate::vma::{Area, AreaFlags};

pub(crate) use move_pages::move_pages;
pub(crate) use range::{Fate, copy_area, mark_range, protect_range, take_from_others, zap_area};
pub(crate) use slot::HugeSlot;

/// Where the flags of mmap have log2 of the size of huge pages (MAP_HUGE_SHIFT), and how many bits it may have.
const SIZE_SHIFT: u32 = 26;
const SIZE_MASK: u32 = 0x3f;

/// The size of the huge pages that mmap is asked for, if it is.
///
/// # Errors
/// `EINVAL` for a size that does not exist.
pub(crate) fn size_asked(flags: MapFlags) -> Result<Option<HugeSize>, Errno> {
    if !flags.contains(MapFlags::HUGETLB) {
        return Ok(None);
    }
    match flags.bits() >> SIZE_SHIFT & SIZE_MASK {
        0 => Ok(Some(HugeSize::DEFAULT)),
        shift => HugeSize::from_bytes(1 << shift).map(Some).ok_or(Errno::EINVAL),
    }
}

impl Area {
    /// The size of its pages, if they are huge pages.
    pub const fn huge(&self) -> Option<HugeSize> {
        self.backing.huge()
    }

    /// Whether a huge page is reserved for each place where it has none.
    pub(crate) const fn reserves(&self) -> bool {
        self.huge().is_some() && !self.flags.contains(AreaFlags::NORESERVE)
    }

    /// Whether `address` may be one of its borders.
    pub(crate) fn may_split_at(&self, address: VirtAddr) -> bool {
        self.huge().is_none_or(|size| address.is_aligned(size.bytes()))
    }
}

impl Layout {
    /// Both ends of a range may become borders of areas.
    ///
    /// # Errors
    /// `EINVAL` if one lies inside a huge page.
    pub(crate) fn check_borders(&self, start: VirtAddr, end: VirtAddr) -> Result<(), Errno> {
        let allows = |address| self.areas.find(address).is_none_or(|area| area.may_split_at(address));
        if allows(start) && allows(end) { Ok(()) } else { Err(Errno::EINVAL) }
    }
}

impl Memory {
    /// The size of the huge pages of the area at `address`, if it has such.
    pub(crate) fn huge_size_at(&self, space: &Space, address: VirtAddr) -> Option<HugeSize> {
        space.layout().read().areas.find(address)?.huge()
    }

    /// Reserves the pages of a new area.
    ///
    /// # Errors
    /// `ENOMEM` if the pool has not as many.
    pub(crate) fn reserve_area(&self, area: &Area) -> Result<(), Errno> {
        match area.huge().filter(|_| area.reserves()) {
            Some(size) if !self.frames.reserve_huge(size, huge_pages(area, size)) => Err(Errno::ENOMEM),
            _ => Ok(()),
        }
    }

    /// Gives up what was reserved for an area that was not made after all.
    pub(crate) fn unreserve_area(&self, area: &Area) {
        if let Some(size) = area.huge().filter(|_| area.reserves()) {
            self.frames.unreserve_huge(size, huge_pages(area, size));
        }
    }
}

/// How many huge pages an area has room for.
const fn huge_pages(area: &Area, size: HugeSize) -> usize {
    area.pages() as usize / size.pages()
}
