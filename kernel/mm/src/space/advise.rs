//! madvise: what a program says about a range (reference 4.12 to 4.15).

use alloc::sync::Arc;

use mmu::mutant::{self, Mutant};
use mmu::{Cause, Operation, PAGE_SHIFT, PAGE_SIZE, USER_END, VirtAddr};

use crate::errno::Errno;
use crate::hugetlb::{self, Fate};
use crate::memory::Memory;
use crate::pageout::Pageout;
use crate::space::{Layout, Populate, Space};
use crate::tlb::Gather;
use crate::vma::{Area, AreaFlags};
use crate::zap;
use crate::{cold, lazyfree};

/// The advices that are known, with Linux's numbers.
pub mod advice {
    /// Drop the pages.
    pub const DONTNEED: u32 = 4;
    /// Make a hole of it in the file that is mapped there.
    pub const REMOVE: u32 = 9;
    /// A child gets nothing of it.
    pub const DONTFORK: u32 = 10;
    /// A child gets it again.
    pub const DOFORK: u32 = 11;
    /// The contents may be dropped until the pages are written again.
    pub const FREE: u32 = 8;
    /// Large folios are welcome.
    pub const HUGEPAGE: u32 = 14;
    /// No large folios.
    pub const NOHUGEPAGE: u32 = 15;
    /// A child finds it empty.
    pub const WIPEONFORK: u32 = 18;
    /// A child finds in it what the parent has.
    pub const KEEPONFORK: u32 = 19;
    /// The pages will not be used for a while.
    pub const COLD: u32 = 20;
    /// Swap the pages out.
    pub const PAGEOUT: u32 = 21;
    /// Treat the memory as bad.
    pub const HWPOISON: u32 = 100;
    /// Make the pages readable without a fault.
    pub const POPULATE_READ: u32 = 22;
    /// Make the pages writable without a fault.
    pub const POPULATE_WRITE: u32 = 23;
}

type Range = (VirtAddr, VirtAddr);

impl Memory {
    /// Takes an advice about a range.
    ///
    /// # Errors
    /// As Linux: `EINVAL` for an unknown advice, an unaligned address, or an area that the advice does not suit; `ENOMEM` for a range
    /// that is not all mapped, after the rest was done.
    pub fn madvise(&self, space: &Arc<Space>, address: u64, length: u64, advice: u32) -> Result<(), Errno> {
        let known = [
            advice::DONTNEED,
            advice::REMOVE,
            advice::DONTFORK,
            advice::DOFORK,
            advice::FREE,
            advice::COLD,
            advice::HUGEPAGE,
            advice::NOHUGEPAGE,
            advice::WIPEONFORK,
            advice::KEEPONFORK,
            advice::PAGEOUT,
            advice::HWPOISON,
            advice::POPULATE_READ,
            advice::POPULATE_WRITE,
        ];
        if !known.contains(&advice) || address % PAGE_SIZE != 0 {
            return Err(Errno::EINVAL);
        }
        let length = length.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::EINVAL)?;
        let end = address.checked_add(length).ok_or(Errno::EINVAL)?;
        if length == 0 {
            return Ok(());
        }
        if end > USER_END {
            return Err(Errno::ENOMEM);
        }
        let _underway = self.begin(Operation::Advise);
        let range = (VirtAddr::new(address), VirtAddr::new(end));
        match advice {
            advice::DONTNEED => self.drop_pages(space, range),
            advice::REMOVE => self.remove_from_files(space, range),
            advice::FREE => self.take_away(
                space,
                range,
                Cause::Advise,
                |area| area.backing.is_anonymous(),
                |from, to, gather| {
                    lazyfree::free_range(self, space, (from, to), gather);
                },
            ),
            advice::COLD => self.take_away(
                space,
                range,
                Cause::Advise,
                |area| area.huge().is_none(),
                |from, to, gather| {
                    cold::cool_range(self, space, (from, to), gather);
                },
            ),
            advice::PAGEOUT => self.page_out(space, range),
            advice::HWPOISON => self.poison_range(space, range),
            advice::POPULATE_READ => self.populate(space, range, Populate::Readable),
            advice::POPULATE_WRITE => self.populate(space, range, Populate::Writable),
            advice::DONTFORK => self.set_flags(space, range, AreaFlags::DONTFORK, AreaFlags::empty()),
            advice::DOFORK => self.set_flags(space, range, AreaFlags::empty(), AreaFlags::DONTFORK),
            advice::WIPEONFORK => self.set_flags(space, range, AreaFlags::WIPEONFORK, AreaFlags::empty()),
            advice::KEEPONFORK => self.set_flags(space, range, AreaFlags::empty(), AreaFlags::WIPEONFORK),
            advice::HUGEPAGE => self.set_flags(space, range, AreaFlags::HUGEPAGE, AreaFlags::NOHUGEPAGE),
            _ => self.set_flags(space, range, AreaFlags::NOHUGEPAGE, AreaFlags::HUGEPAGE),
        }
    }

    /// What msync says of a range; nothing is written, as the pages of memory files are nowhere else.
    ///
    /// # Errors
    /// `EINVAL` for an unaligned address; `ENOMEM` for a range that is not all mapped.
    pub fn msync(&self, space: &Space, address: u64, length: u64) -> Result<(), Errno> {
        if address % PAGE_SIZE != 0 {
            return Err(Errno::EINVAL);
        }
        let length = length.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::ENOMEM)?;
        let end = address.checked_add(length).filter(|&end| end <= USER_END).ok_or(Errno::ENOMEM)?;
        for_areas(&space.layout().read(), (VirtAddr::new(address), VirtAddr::new(end)), |_, _, _| Ok(()))
    }

    /// MADV_DONTNEED. Of huge pages those that lie whole in the range are dropped, if it starts with one, as in Linux.
    fn drop_pages(&self, space: &Space, range: Range) -> Result<(), Errno> {
        for_areas(&space.layout().read(), range, |area, start, end| {
            let mut gather = Gather::new(self, space, Cause::Zap);
            let dropped = match area.huge() {
                _ if area.flags.contains(AreaFlags::LOCKED) => Err(Errno::EINVAL),
                None => {
                    zap::zap_range(self, space, (zap::Areas::Shared, area.rest()), (start, end), &mut gather);
                    Ok(())
                }
                Some(size) if start.is_aligned(size.bytes()) => {
                    let range = (start, end.align_down(size.bytes()));
                    hugetlb::zap_area(self, space, area, range, Fate::Emptied, &mut gather);
                    Ok(())
                }
                Some(_) => Err(Errno::EINVAL),
            };
            gather.finish();
            dropped
        })
    }

    /// MADV_REMOVE: the part of a file that a shared area maps becomes a hole.
    fn remove_from_files(&self, space: &Space, range: Range) -> Result<(), Errno> {
        for_areas(&space.layout().read(), range, |area, start, end| {
            if area.flags.contains(AreaFlags::LOCKED) {
                return Err(Errno::EINVAL);
            }
            let file = area.backing.file().ok_or(Errno::EINVAL)?;
            if !area.backing.is_shared() || !self.may_be_written(file) {
                return Err(Errno::EACCES);
            }
            let file = self.reopen_file(file).ok_or(Errno::EINVAL)?;
            file.punch(area.index_of(start) << PAGE_SHIFT, end.as_u64() - start.as_u64())
        })
    }

    /// Lets `act` take pages, or flags of their entries, out of the part of each area that lies in a range. A locked area keeps its own,
    /// and one that the advice does not suit is refused.
    fn take_away<'m>(
        &'m self,
        space: &'m Space,
        range: Range,
        cause: Cause,
        suits: impl Fn(&Area) -> bool,
        act: impl Fn(VirtAddr, VirtAddr, &mut Gather<'m>),
    ) -> Result<(), Errno> {
        for_areas(&space.layout().read(), range, |area, start, end| {
            if area.flags.contains(AreaFlags::LOCKED) || !suits(area) {
                return Err(Errno::EINVAL);
            }
            let mut gather = Gather::new(self, space, cause);
            act(start, end, &mut gather);
            gather.finish();
            Ok(())
        })
    }

    fn page_out(&self, space: &Arc<Space>, range: Range) -> Result<(), Errno> {
        let layout = space.layout().read();
        let mut out = Pageout::new(self);
        let result = for_areas(&layout, range, |area, start, end| {
            let locked = area.flags.contains(AreaFlags::LOCKED);
            if mutant::or(Mutant::LockedAreaPagedOut, locked, false) || area.huge().is_some() {
                return Err(Errno::EINVAL);
            }
            out.range(space, start, end);
            Ok(())
        });
        out.finish();
        result
    }

    /// Sets flags of the areas in a range. Those of all are set even if there are holes.
    pub(crate) fn set_flags(
        &self,
        space: &Arc<Space>,
        range: Range,
        on: AreaFlags,
        off: AreaFlags,
    ) -> Result<(), Errno> {
        let mut layout = space.layout().write();
        let (mut from, end) = range;
        let mut holes = false;
        while from < end {
            let Some(area) = layout.areas.first_from(from).filter(|area| area.start < end).copied() else {
                return Err(Errno::ENOMEM);
            };
            if off.contains(AreaFlags::WIPEONFORK) && area.flags.contains(AreaFlags::DROPPABLE) {
                return Err(Errno::EINVAL);
            }
            // A child that gets a file's pages in spite of all would not find them empty.
            if on.contains(AreaFlags::WIPEONFORK) && !area.backing.is_anonymous() {
                return Err(Errno::EINVAL);
            }
            let is_lockable = mutant::or(Mutant::DroppableLocked, area.is_lockable(), area.huge().is_none());
            let on = if is_lockable { on } else { on.difference(AreaFlags::LOCKED | AreaFlags::LOCK_ON_FAULT) };
            holes |= area.start > from;
            let (start, stop) = (area.start.max(from), area.end.min(end));
            let change = layout.areas.plan_change(&area, start, stop, |area| {
                area.flags.remove(off);
                area.flags.insert(on);
            });
            if !change.is_empty() {
                layout.check_borders(start, stop)?;
            }
            self.apply(space, &mut layout, &change)?;
            from = stop;
        }
        if holes { Err(Errno::ENOMEM) } else { Ok(()) }
    }
}

/// Calls `act` for the part of each area that lies in a range. A hole makes the result `ENOMEM`, but stops nothing; an error of `act` does.
fn for_areas(
    layout: &Layout,
    (mut from, end): Range,
    mut act: impl FnMut(&Area, VirtAddr, VirtAddr) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut holes = false;
    while from < end {
        let Some(area) = layout.areas.first_from(from).filter(|area| area.start < end) else {
            return Err(Errno::ENOMEM);
        };
        holes |= area.start > from;
        let (start, stop) = (area.start.max(from), area.end.min(end));
        act(area, start, stop)?;
        from = stop;
    }
    if holes { Err(Errno::ENOMEM) } else { Ok(()) }
}
