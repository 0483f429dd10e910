//! userfaultfd: memory that a program watches itself (reference 1.6, 4.18). The first touch of a page, or a write to one that is
//! protected, is not resolved but told to the area's monitor, who fills the page, or takes the protection away.
//!
//! A protected page is read-only and has a mark: bit 58 of its entry, bit 3 of a swap entry. The mark goes with the page to swap and
//! back. A child, and a range that mremap has moved, are watched by nobody and have no marks.

use alloc::sync::Arc;

use mmu::mutant::{self, Mutant};
use mmu::{Cause, Descriptor, Operation, PAGE_SIZE, Protection, USER_END, VirtAddr};

use crate::errno::Errno;
use crate::fault::map_fresh;
use crate::map::MIN_ADDRESS;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::protect::{Mark, Protect};
use crate::space::{Layout, Space};
use crate::tlb::Gather;
use crate::vma::{Area, AreaFlags};
pub use crate::watch::{Monitor, Notice};

/// What a page begins with that was missing.
#[derive(Clone, Copy, Debug)]
pub enum Contents<'a> {
    /// Zeros, which take no memory before they are written.
    Zero,
    /// These bytes.
    Bytes(&'a [u8; PAGE_SIZE as usize]),
    /// These bytes, and it is protected at once.
    Protected(&'a [u8; PAGE_SIZE as usize]),
}

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
    /// As Linux: `EINVAL` for a range that is not in whole pages, or begins where nothing is mapped; `EBUSY` if somebody else watches a part
    /// of it; `ENOMEM` if an area can not be split.
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
        // Anonymous memory alone: markers for what is not there are missing.
        if areas_in(&layout, (start, end)).any(|area| !area.backing.is_anonymous()) {
            return Err(Errno::EINVAL);
        }
        if areas_in(&layout, (start, end)).any(is_others) {
            return Err(Errno::EBUSY);
        }
        self.change_watch(space, &mut layout, (start, end), |_| Some(Watch { monitor: Some(monitor), modes }))
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
        Protect { memory: self, space, allowed: area.protection(), shared: false, mark }.range(start, end, &mut gather);
        gather.finish();
    }

    /// Protects the pages of a range that are there, or no longer. Pages of a folio are done together, and folded blocks stay folded.
    ///
    /// # Errors
    /// `EINVAL` for a range that is not in whole pages; `ENOENT` if it is not all watched for writes, after what lies before was done.
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
            self.uffd_mark(space, area, part, if on { Mark::Set } else { Mark::Clear });
            result = Ok(());
        }
        result
    }

    /// Fills a missing page of a watched area.
    ///
    /// # Errors
    /// As Linux: `ENOENT` if nobody watches it; `EEXIST` if it is not missing; `EINVAL` if it is to be protected where writes are not
    /// watched; `ENOMEM`.
    pub fn uffd_fill(&self, space: &Arc<Space>, address: u64, contents: Contents<'_>) -> Result<(), Errno> {
        let _underway = self.begin(Operation::Fault);
        let address = VirtAddr::new(address).page();
        loop {
            let layout = space.layout().read();
            let area = layout.areas.find(address).filter(|area| area.monitor.is_some()).ok_or(Errno::ENOENT)?;
            if matches!(contents, Contents::Protected(_)) && !area.flags.contains(AreaFlags::UFFD_WP) {
                return Err(Errno::EINVAL);
            }
            if area.anon.is_some() {
                return self.fill(space, area, address, contents);
            }
            drop(layout);
            self.give_anon_vma(space, &mut space.layout().write(), address).map_err(|_| Errno::ENOMEM)?;
        }
    }

    fn fill(&self, space: &Space, area: &Area, address: VirtAddr, contents: Contents<'_>) -> Result<(), Errno> {
        let (bytes, is_protected) = match contents {
            Contents::Zero => return self.fill_zero(&self.lock_missing(space, address)?, area, address),
            Contents::Bytes(bytes) => (bytes, false),
            Contents::Protected(bytes) => (bytes, true),
        };
        let folio = self.alloc_folio(0).ok_or(Errno::ENOMEM)?;
        self.count().folios_allocated.add(1);
        self.door.write_bytes(folio.head().start(), bytes);
        let table = self.lock_missing(space, address)?;
        let entry = Descriptor::user_page(folio.head(), area.protection()).make_young().make_dirty();
        let entry = if is_protected { entry.write_protect().make_uffd() } else { entry };
        let anon = area.anon.ok_or(Errno::ENOMEM)?;
        map_fresh(self, &table, table.slot(address), folio, entry, (anon, area));
        space.add_anon(1);
        Ok(())
    }

    fn fill_zero(&self, table: &TableGuard<'_>, area: &Area, address: VirtAddr) -> Result<(), Errno> {
        let protection = Protection { write: false, ..area.protection() };
        let zero = Descriptor::user_page(self.zero_frame(), protection).make_special().make_young();
        table.set(table.slot(address), zero);
        Ok(())
    }

    /// The table of a page that is missing, locked, and with nothing of the page in any TLB.
    fn lock_missing<'a>(&'a self, space: &'a Space, address: VirtAddr) -> Result<TableGuard<'a>, Errno> {
        let table = space.lock_new_table(self, address)?;
        if !table.get(table.slot(address)).is_none() {
            return Err(Errno::EEXIST);
        }
        space.complete_discards(self);
        Ok(table)
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
