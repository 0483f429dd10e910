//! userfaultfd: memory that a program watches itself (reference 1.6, 4.18). The first touch of a page, or a write to one that is
//! protected, is not resolved but told to the area's monitor, who fills the page (`fill`), or takes the protection away.
//!
//! A protected page is read-only and has a mark: bit 58 of its entry, bit 3 of a swap entry. The mark goes with the page to swap and
//! back; where a page of a file is not mapped, a [marker](crate::marker) keeps it. A child, and a range that mremap has moved, are watched
//! by nobody and have no marks.

mod fill;
mod fill_huge;

use alloc::sync::Arc;

use mmu::mutant::{self, Mutant};
use mmu::{Cause, Operation, PAGE_SIZE, USER_END, VirtAddr};

use crate::errno::Errno;
use crate::frame::HugeSize;
use crate::hugetlb;
use crate::map::MIN_ADDRESS;
use crate::memory::Memory;
use crate::protect::{Mark, Protect};
use crate::space::{Layout, Space};
use crate::tlb::Gather;
use crate::vma::{Area, AreaFlags};
pub use crate::watch::{Monitor, Notice, set_ask};
pub use fill::Contents;

type Range = (VirtAddr, VirtAddr);

/// How an area is watched.
#[derive(Clone, Copy)]
struct Watch {
    monitor: Option<Monitor>,
    modes: AreaFlags,
}

const NOBODY: Watch = Watch { monitor: None, modes: AreaFlags::empty() };

impl Memory {
    /// Has `monitor` watch a range from now on, in these `modes` alone.
    ///
    /// # Errors
    /// As Linux: `EINVAL` for a range that is not in whole pages, huge ones where they are, or begins where nothing is mapped; `EBUSY`
    /// if somebody else watches a part of it; `ENOMEM` if an area can not be split.
    pub fn uffd_register(
        &self,
        space: &Arc<Space>,
        (address, length): (u64, u64),
        monitor: Monitor,
        modes: AreaFlags,
    ) -> Result<(), Errno> {
        let (start, end) = whole_pages(address, length)?;
        let _underway = self.begin(Operation::Protect);
        let mut layout = space.layout().write();
        let is_others = |area: &Area| area.monitor.is_some_and(|other| other != monitor);
        if layout.areas.find(start).is_none() || modes.is_empty() {
            return Err(Errno::EINVAL);
        }
        layout.check_borders(start, end)?;
        if areas_in(&layout, (start, end)).any(is_others) {
            return Err(Errno::EBUSY);
        }
        self.change_watch(space, &mut layout, (start, end), |_| Some(Watch { monitor: Some(monitor), modes }))
    }

    /// Whether any pages of a range are huge.
    pub fn uffd_meets_huge(&self, space: &Space, (address, length): (u64, u64)) -> bool {
        let range = (VirtAddr::new(address), VirtAddr::new(address.saturating_add(length)));
        areas_in(&space.layout().read(), range).any(|area| area.huge().is_some())
    }

    /// Has `monitor` watch a range no longer.
    ///
    /// # Errors
    /// As [`uffd_register`](Self::uffd_register), with `EINVAL` for what somebody else watches.
    pub fn uffd_unregister(
        &self,
        space: &Arc<Space>,
        (address, length): (u64, u64),
        monitor: Monitor,
    ) -> Result<(), Errno> {
        let range = whole_pages(address, length)?;
        let _underway = self.begin(Operation::Protect);
        let mut layout = space.layout().write();
        layout.check_borders(range.0, range.1)?;
        if areas_in(&layout, range).any(|area| area.monitor.is_some_and(|other| other != monitor)) {
            return Err(Errno::EINVAL);
        }
        self.change_watch(space, &mut layout, range, |area| area.monitor.map(|_| NOBODY))
    }

    /// Has `monitor` watch nothing of the space any more.
    pub fn uffd_release(&self, space: &Arc<Space>, monitor: Monitor) {
        let _underway = self.begin(Operation::Protect);
        let all = (VirtAddr::new(0), VirtAddr::new(USER_END));
        let mine = |area: &Area| (area.monitor == Some(monitor)).then_some(NOBODY);
        if self.change_watch(space, &mut space.layout().write(), all, mine).is_err() {
            self.note_defect("a change that splits no area failed");
        }
    }

    /// Watches each area of a range as `choose` says, if it does.
    fn change_watch(
        &self,
        space: &Arc<Space>,
        layout: &mut Layout,
        (start, end): Range,
        choose: impl Fn(&Area) -> Option<Watch>,
    ) -> Result<(), Errno> {
        let mut from = start;
        // What was changed may be one area with what lies behind it by then: the end alone says where to stop.
        while from < end {
            let Some(area) = layout.areas.first_from(from).filter(|area| area.start < end).copied() else { break };
            let (first, last) = (area.start.max(from), area.end.min(end));
            if let Some(Watch { monitor, modes }) = choose(&area) {
                let change = layout.areas.plan_change(&area, first, last, |area| {
                    *area = Area { monitor, flags: area.flags.difference(AreaFlags::UFFD) | modes, ..*area };
                });
                self.apply(space, layout, &change)?;
                if mutant::or(Mutant::MarksOutliveWatch, !modes.contains(AreaFlags::UFFD_WP), false) {
                    self.uffd_unmark(space, &area, (first, last));
                }
            }
            from = last;
        }
        Ok(())
    }

    /// Takes the marks off that are in a range because `area` was watched for writes.
    pub(crate) fn uffd_unmark(&self, space: &Space, area: &Area, range: Range) {
        if area.flags.contains(AreaFlags::UFFD_WP) {
            self.uffd_mark(space, area, range, Mark::Clear);
        }
    }

    fn uffd_mark(&self, space: &Space, area: &Area, (start, end): Range, mark: Mark) {
        let mut gather = Gather::new(self, space, Cause::Protect);
        match area.huge() {
            Some(size) => hugetlb::mark_range(self, space, area, size, ((start, end), mark), &mut gather),
            None => Protect::new(self, space, area, mark).range(start, end, &mut gather),
        }
        gather.finish();
    }

    /// The tables in which markers will be.
    fn make_room_for_markers(&self, space: &Space, area: &Area, (start, end): Range) -> Result<(), Errno> {
        let tables = core::iter::successors(Some(start), |address| Some(address.table_end()));
        let mut tables = tables.take_while(|&address| area.keeps_markers() && address < end);
        tables.try_for_each(|address| match area.huge() {
            Some(HugeSize::Block) => space.tables.ensure_above(self, address),
            _ => space.tables.ensure(self, address).map(drop),
        })
    }

    /// Protects the pages of a range, or no longer: those that are there, and in areas with a file the others too. Pages of a folio are
    /// done together, and folded blocks stay folded.
    ///
    /// # Errors
    /// `EINVAL` for a range that is not in whole pages, huge ones where they are; `ENOENT` if it is not all watched for writes, and
    /// `ENOMEM` if there is no memory for markers, after what lies before was done.
    pub fn uffd_protect(&self, space: &Arc<Space>, (address, length): (u64, u64), on: bool) -> Result<(), Errno> {
        let range = whole_pages(address, length)?;
        let _underway = self.begin(Operation::Protect);
        // Alone, so that nobody copies a page while a CPU may still write it by an older translation.
        let layout = space.layout().write();
        let mut result = Err(Errno::ENOENT);
        for area in areas_in(&layout, range) {
            if !area.flags.contains(AreaFlags::UFFD_WP) {
                return Err(Errno::ENOENT);
            }
            let part = (area.start.max(range.0), area.end.min(range.1));
            layout.check_borders(part.0, part.1)?;
            if on {
                self.make_room_for_markers(space, area, part)?;
            }
            self.uffd_mark(space, area, part, if on { Mark::Set } else { Mark::Clear });
            result = Ok(());
        }
        result
    }
}

/// The areas that lie in a range, in whole or in part.
fn areas_in(layout: &Layout, (start, end): Range) -> impl Iterator<Item = &Area> {
    let next = move |area: &&Area| layout.areas.first_from(area.end);
    core::iter::successors(layout.areas.first_from(start), next).take_while(move |area| area.start < end)
}

fn whole_pages(address: u64, length: u64) -> Result<Range, Errno> {
    let end = address.checked_add(length).filter(|&end| end <= USER_END).ok_or(Errno::EINVAL)?;
    if (address | length) % PAGE_SIZE != 0 || length == 0 || address < MIN_ADDRESS {
        return Err(Errno::EINVAL);
    }
    Ok((VirtAddr::new(address), VirtAddr::new(end)))
}
