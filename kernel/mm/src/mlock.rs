//! Areas whose pages stay in memory: mlock and its kin (reference 4.24).
//!
//! That an area is locked is what counts: an unmap that meets it leaves its entries alone (`unmap::locked`). That a folio is marked, and
//! on the list of those that reclaim passes over, only saves the look. So a mark may be missing, or be taken off too early, as where
//! two spaces lock one folio: the next look sets it again.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bitflags::bitflags;
use mmu::mutant::{self, Mutant};
use mmu::{Operation, PAGE_SIZE, USER_END, VirtAddr};

use crate::contpte::BatchRules;
use crate::errno::Errno;
use crate::folio::Folio;
use crate::memory::Memory;
use crate::space::{Populate, Space};
use crate::vma::AreaFlags;
use crate::walk::for_each_table_as_is;

bitflags! {
    /// What mlockall locks, with Linux's numbers.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct LockAll: u32 {
        /// MCL_CURRENT: what is mapped now.
        const CURRENT = 1;
        /// MCL_FUTURE: what will be mapped.
        const FUTURE = 2;
        /// MCL_ONFAULT: without populating it.
        const ON_FAULT = 4;
    }
}

/// The flags of an area that is locked, and whose pages come as they are touched.
const BOTH: AreaFlags = AreaFlags::LOCKED.union(AreaFlags::LOCK_ON_FAULT);

type Range = (VirtAddr, VirtAddr);

impl Memory {
    /// Locks what is mapped in a range, and brings its pages in unless they shall come as they are touched.
    ///
    /// # Errors
    /// `ENOMEM` for a range that is not all mapped, or can not be all brought in; `EINVAL` for one that ends beyond all addresses.
    pub fn mlock(&self, space: &Arc<Space>, address: u64, length: u64, on_fault: bool) -> Result<(), Errno> {
        let range = whole_pages(address, length)?;
        let flags = if on_fault { BOTH } else { AreaFlags::LOCKED };
        let _underway = self.begin(Operation::Advise);
        self.set_flags(space, range, flags, BOTH.difference(flags))?;
        if on_fault { self.mark_range(space, range) } else { self.bring_in(space, range) }
    }

    /// Unlocks what is mapped in a range.
    ///
    /// # Errors
    /// `ENOMEM` for a range that is not all mapped, `EINVAL` for one that ends beyond all addresses.
    pub fn munlock(&self, space: &Arc<Space>, address: u64, length: u64) -> Result<(), Errno> {
        let range = whole_pages(address, length)?;
        let _underway = self.begin(Operation::Advise);
        let result = self.set_flags(space, range, AreaFlags::empty(), BOTH);
        if !mutant::is(Mutant::UnlockedStays) {
            self.unmark_range(space, range);
        }
        result
    }

    /// Locks all that is mapped, or will be.
    ///
    /// # Errors
    /// `ENOMEM` if an area would have to be split and can not.
    pub fn mlockall(&self, space: &Arc<Space>, what: LockAll) -> Result<(), Errno> {
        let flags = if what.contains(LockAll::ON_FAULT) { BOTH } else { AreaFlags::LOCKED };
        let _underway = self.begin(Operation::Advise);
        let is_future = what.contains(LockAll::FUTURE);
        space.layout().write().future = if is_future { flags } else { AreaFlags::empty() };
        if what.contains(LockAll::CURRENT) {
            let all = self.set_flags_of_all(space, flags, BOTH.difference(flags));
            // As on Linux, what can not be brought in is locked all the same.
            for range in all? {
                let _ = if what.contains(LockAll::ON_FAULT) {
                    self.mark_range(space, range)
                } else {
                    self.bring_in(space, range)
                };
            }
        }
        Ok(())
    }

    /// Unlocks all that is mapped, and what will be.
    ///
    /// # Errors
    /// `ENOMEM` if the list of areas could not be changed.
    pub fn munlockall(&self, space: &Arc<Space>) -> Result<(), Errno> {
        let _underway = self.begin(Operation::Advise);
        space.layout().write().future = AreaFlags::empty();
        for range in self.set_flags_of_all(space, AreaFlags::empty(), BOTH)? {
            self.unmark_range(space, range);
        }
        Ok(())
    }

    /// Sets flags of all areas; their ranges.
    fn set_flags_of_all(&self, space: &Arc<Space>, on: AreaFlags, off: AreaFlags) -> Result<Vec<Range>, Errno> {
        let mut ranges = Vec::new();
        let layout = space.layout().read();
        ranges.try_reserve_exact(layout.areas.len()).map_err(|_| Errno::ENOMEM)?;
        ranges.extend(layout.areas.iter().map(|area| (area.start, area.end)));
        drop(layout);
        ranges.iter().try_for_each(|&range| self.set_flags(space, range, on, off))?;
        Ok(ranges)
    }

    /// Brings in the pages of locked areas.
    fn bring_in(&self, space: &Arc<Space>, range: Range) -> Result<(), Errno> {
        self.populate(space, range, Populate::AsMapped).map_err(|_| Errno::ENOMEM)?;
        self.mark_range(space, range)
    }

    /// Marks the folios that lie whole in the locked areas of a range: not all areas can be locked.
    fn mark_range(&self, space: &Space, (start, end): Range) -> Result<(), Errno> {
        let layout = space.layout().read();
        let mut from = start;
        while let Some(area) = layout.areas.first_from(from).filter(|area| area.start < end) {
            if area.flags.contains(AreaFlags::LOCKED) {
                self.for_each_folio(space, (area.start.max(start), area.end.min(end)), |folio, count| {
                    if count == folio.pages() {
                        self.mark(folio, true);
                    }
                });
            }
            from = area.end;
        }
        Ok(())
    }

    /// Takes the marks off the folios of a range, of which some part was locked.
    pub(crate) fn unmark_range(&self, space: &Space, range: Range) {
        self.for_each_folio(space, range, |folio, _| self.mark(folio, false));
    }

    /// Marks a folio as one that stays, or as any other, and files it. Huge pages stay in any case, and are on no list.
    pub(crate) fn mark(&self, folio: Folio<'_>, stays: bool) {
        if folio.is_mlocked() != stays && !folio.is_huge() {
            folio.set_mlocked(stays);
            folio.set_unevictable(stays);
            self.lru.refile(folio);
        }
    }

    /// Shows `see` the folios of a range, with how many entries in a row map each.
    fn for_each_folio(&self, space: &Space, range: Range, mut see: impl FnMut(Folio<'_>, usize)) {
        for_each_table_as_is(self, space, range, |table, mut address, stop| {
            while address < stop {
                let slot = table.slot(address);
                let entry = table.get(slot);
                let mut count = 1;
                if entry.is_present() && !entry.is_special() {
                    let left = (stop.page_number() - address.page_number()) as usize;
                    count = table.batch_in_folio(slot, entry, left, BatchRules::default());
                    see(self.frames.folio_of(entry.frame()), count);
                }
                address = address.add_pages(count);
            }
            stop
        });
    }
}

/// The pages that a range touches.
fn whole_pages(address: u64, length: u64) -> Result<Range, Errno> {
    let start = address & !(PAGE_SIZE - 1);
    let end = address.checked_add(length).and_then(|end| end.checked_next_multiple_of(PAGE_SIZE));
    let end = end.ok_or(Errno::EINVAL)?;
    if end > USER_END && end > start { Err(Errno::ENOMEM) } else { Ok((VirtAddr::new(start), VirtAddr::new(end))) }
}
