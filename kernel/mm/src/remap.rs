//! mremap: growing, shrinking and moving what a program has mapped (reference 4.17). This is about areas; `moving` is about entries.
//!
//! An area that moves keeps the index of its first page, since its pages keep theirs: that is how reclaim finds them at the new
//! address. One without a page begins anew, as it can be merged with more neighbours then, unless a file says which pages are whose.
//! An old length of 0 leaves a shared map where it is, and maps the same pages a second time.
//!
//! A move is of one area. Linux 7 also takes a range of several that moves to a fixed address in one size; here, as in Linux before,
//! that is EFAULT.

use alloc::sync::Arc;

use bitflags::bitflags;
use mmu::mutant::{self, Mutant};
use mmu::{Cause, Operation, PAGE_SIZE, TABLE_SPAN, USER_END, VirtAddr};

use crate::errno::Errno;
use crate::frame::HugeSize;
use crate::hugetlb;
use crate::map::{BLOCK, MIN_ADDRESS, place_congruent, place_hinted};
use crate::memory::Memory;
use crate::moving;
use crate::space::{Layout, Populate, Space};
use crate::tlb::Gather;
use crate::vma::{Area, AreaFlags, Areas};

bitflags! {
    /// How to move, with Linux's numbers. Others are refused.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct MoveFlags: u64 {
        /// MREMAP_MAYMOVE: to another address, if need be.
        const MAYMOVE = 1;
        /// MREMAP_FIXED: to this address, in place of what is there.
        const FIXED = 2;
        /// MREMAP_DONTUNMAP: the old addresses stay mapped, and empty.
        const DONTUNMAP = 4;
        const _ = !0;
    }
}

/// What is asked of mremap.
#[derive(Clone, Copy, Debug)]
pub struct MoveRequest {
    /// Where the range is.
    pub old: u64,
    /// How many bytes it has; rounded up to pages.
    pub old_length: u64,
    /// How many it is to have; rounded up to pages.
    pub new_length: u64,
    /// How.
    pub flags: MoveFlags,
    /// Where to, with MREMAP_FIXED; where it would be liked, with MREMAP_DONTUNMAP alone.
    pub new_address: u64,
}

/// Areas that a move may add for a while: the new one, and what is left of the old one on both sides.
const GROWTH: usize = 3;

impl MoveRequest {
    /// With lengths in whole pages, and everything right that can be judged without a look at the areas.
    fn checked(self) -> Result<Self, Errno> {
        let known = MoveFlags::MAYMOVE | MoveFlags::FIXED | MoveFlags::DONTUNMAP;
        let pages = |length: u64| length.checked_next_multiple_of(PAGE_SIZE).unwrap_or(0);
        let request = Self { old_length: pages(self.old_length), new_length: pages(self.new_length), ..self };
        let fits = request.new_length > 0 && request.new_length <= USER_END;
        if !(known.contains(self.flags) && self.old % PAGE_SIZE == 0 && fits) {
            return Err(Errno::EINVAL);
        }
        if request.names_place() { request.checked_place() } else { Ok(request) }
    }

    fn checked_place(self) -> Result<Self, Errno> {
        let new_end = self.new_address.checked_add(self.new_length).filter(|&end| end <= USER_END);
        let new_end = new_end.ok_or(Errno::EINVAL)?;
        let resizes = self.old_length != self.new_length;
        let overlaps = self.old < new_end && self.new_address < self.old.saturating_add(self.old_length);
        let right = self.new_address % PAGE_SIZE == 0
            && self.flags.contains(MoveFlags::MAYMOVE)
            && !(self.flags.contains(MoveFlags::DONTUNMAP) && resizes)
            && !overlaps;
        if right { Ok(self) } else { Err(Errno::EINVAL) }
    }

    /// The same where the pages are huge: lengths in whole pages, and at their borders only. A range does not grow, as nothing is reserved
    /// for more of it, and leaves nothing behind.
    fn of_huge_pages(self, size: HugeSize) -> Result<Self, Errno> {
        let whole = |length: u64| length.next_multiple_of(size.bytes());
        let request = Self { old_length: whole(self.old_length), new_length: whole(self.new_length), ..self };
        let at_border = |address: u64| address % size.bytes() == 0;
        let right = at_border(self.old)
            && (!self.names_place() || at_border(self.new_address))
            && request.new_length <= request.old_length
            && !self.flags.contains(MoveFlags::DONTUNMAP);
        if right { Ok(request) } else { Err(Errno::EINVAL) }
    }

    /// Whether the range moves in any case, so that the new address says something.
    const fn names_place(&self) -> bool {
        self.flags.intersects(MoveFlags::FIXED.union(MoveFlags::DONTUNMAP))
    }

    fn start(&self) -> VirtAddr {
        VirtAddr::new(self.old)
    }

    /// The range to be moved: where it starts, and one past its end.
    fn kept(&self) -> (VirtAddr, VirtAddr) {
        (self.start(), self.start().add_bytes(self.old_length.min(self.new_length)))
    }
}

impl Memory {
    /// Moves or resizes a range. Returns where it is now.
    ///
    /// # Errors
    /// As Linux: `EINVAL` for unaligned addresses, unknown flags or such as do not go together, a length of 0, or ranges that overlap;
    /// `EFAULT` for a range that is not all in one area; `EPERM` below the lowest address; `ENOMEM` where addresses, areas or
    /// tables run out. Where tables do, what lay at a fixed address may be gone, and what was cut off; all else is as before.
    pub fn mremap(&self, space: &Arc<Space>, request: MoveRequest) -> Result<u64, Errno> {
        let request = request.checked()?;
        let _underway = self.begin(Operation::Move);
        let mut layout = space.layout().write();
        let new = self.mremap_locked(space, &mut layout, &request)?;
        let populates = |area: &&Area| area.flags & (AreaFlags::LOCKED | AreaFlags::LOCK_ON_FAULT) == AreaFlags::LOCKED;
        let locked = layout.areas.find(new).filter(populates).is_some();
        drop(layout);
        if locked && request.new_length > request.old_length {
            let (from, to) = (new.add_bytes(request.old_length), new.add_bytes(request.new_length));
            // Linux too resizes whatever became of populating it.
            let _ = self.populate(space, (from, to), Populate::AsMapped);
        }
        Ok(new.as_u64())
    }

    fn mremap_locked(&self, space: &Arc<Space>, layout: &mut Layout, request: &MoveRequest) -> Result<VirtAddr, Errno> {
        let area = *layout.areas.find(request.start()).ok_or(Errno::EFAULT)?;
        let request = &match area.huge() {
            Some(size) => request.of_huge_pages(size)?,
            None => *request,
        };
        if !request.names_place() && request.new_length <= request.old_length {
            self.cut(space, layout, request)?;
            return Ok(request.start());
        }
        if request.old_length == 0 && !area.backing.is_shared() {
            return Err(Errno::EINVAL);
        }
        if request.old_length > area.end.as_u64() - request.old {
            return Err(Errno::EFAULT);
        }
        if request.names_place() {
            return self.move_to_place(space, layout, &area, request);
        }
        if self.grow(space, layout, &area, request).is_ok() {
            return Ok(request.start());
        }
        if !request.flags.contains(MoveFlags::MAYMOVE) {
            return Err(Errno::ENOMEM);
        }
        has_room(&layout.areas)?;
        let to = place(&layout.areas, request).ok_or(Errno::ENOMEM)?;
        self.move_area(space, layout, request, to)
    }

    /// Takes away what is beyond the new length.
    fn cut(&self, space: &Arc<Space>, layout: &mut Layout, request: &MoveRequest) -> Result<(), Errno> {
        let end = request.old.checked_add(request.old_length).filter(|&end| end <= USER_END).ok_or(Errno::EINVAL)?;
        if request.new_length >= request.old_length {
            return Ok(());
        }
        self.unmap_locked(space, layout, request.start().add_bytes(request.new_length), VirtAddr::new(end))
    }

    /// Makes an area longer where it is.
    fn grow(&self, space: &Arc<Space>, layout: &mut Layout, area: &Area, request: &MoveRequest) -> Result<(), Errno> {
        let end = request.old.checked_add(request.new_length).filter(|&end| end <= USER_END).ok_or(Errno::ENOMEM)?;
        let end = VirtAddr::new(end);
        let ends_there = request.old + request.old_length == area.end.as_u64();
        if !ends_there || !layout.areas.is_free(area.end, end) {
            return Err(Errno::ENOMEM);
        }
        let more = Area { start: area.end, end, pgoff: area.index_of(area.end), ..*area };
        let change = layout.areas.plan_insert(more);
        self.apply(space, layout, &change)
    }

    /// Moves to the address that is named, or for MREMAP_DONTUNMAP alone to one that is found.
    fn move_to_place(
        &self,
        space: &Arc<Space>,
        layout: &mut Layout,
        area: &Area,
        request: &MoveRequest,
    ) -> Result<VirtAddr, Errno> {
        has_room(&layout.areas)?;
        let is_fixed = request.flags.contains(MoveFlags::FIXED);
        if is_fixed {
            if request.new_address < MIN_ADDRESS {
                return Err(Errno::EPERM);
            }
            let to = VirtAddr::new(request.new_address);
            let extents = self.anon.family(area, &self.files)?.len();
            let kept = self.anon.budget.keep(GROWTH * (1 + extents))?;
            self.unmap_locked(space, layout, to, to.add_bytes(request.new_length))?;
            drop(kept);
        }
        self.cut(space, layout, request)?;
        let to = if is_fixed { Some(VirtAddr::new(request.new_address)) } else { place(&layout.areas, request) };
        self.move_area(space, layout, request, to.ok_or(Errno::ENOMEM)?)
    }

    /// Moves the range to `to`, where nothing is mapped. The range is made an area of its own first, so that either it or the new one
    /// can be taken away afterwards without memory.
    fn move_area(
        &self,
        space: &Arc<Space>,
        layout: &mut Layout,
        request: &MoveRequest,
        to: VirtAddr,
    ) -> Result<VirtAddr, Errno> {
        let (start, end) = request.kept();
        if start == end {
            return self.map_again(space, layout, request, to);
        }
        let moved = self.set_apart(space, layout, (start, end)).and_then(|area| {
            let new = moved_area(&area, to, request.new_length);
            // Of the two areas one has the reservations of huge pages: the one that stays.
            let change = layout.areas.plan_insert_alone(without_reservations(new));
            self.apply(space, layout, &change)?;
            let range = (start, to, end.as_u64() - start.as_u64());
            let result = match area.huge() {
                Some(_) => hugetlb::move_pages(self, space, &area, range),
                None => moving::move_entries(self, space, &area, range),
            };
            if mutant::or(Mutant::MarksKeptOnMove, result.is_ok(), false) {
                self.uffd_unmark(space, &area, (new.start, new.end));
            }
            let keeps = result.is_ok() && request.flags.contains(MoveFlags::DONTUNMAP);
            match result {
                Ok(()) if keeps => self.unlock_area(space, layout, &area),
                Ok(()) => {
                    self.exchange(space, layout, &area, without_reservations(area));
                    self.exchange(space, layout, &without_reservations(new), new);
                    self.take_out(space, layout, &area);
                }
                Err(_) => self.take_out(space, layout, &new),
            }
            result
        });
        for address in [start, end, to] {
            self.merge_at(space, layout, address);
        }
        moved.map(|()| to)
    }

    /// Maps the pages of a shared map at `to` too.
    fn map_again(
        &self,
        space: &Arc<Space>,
        layout: &mut Layout,
        request: &MoveRequest,
        to: VirtAddr,
    ) -> Result<VirtAddr, Errno> {
        let area = *layout.areas.find(request.start()).ok_or(Errno::EFAULT)?;
        let pgoff = area.index_of(request.start());
        let again = Area { start: to, end: to.add_bytes(request.new_length), pgoff, anon: None, ..area }.unwatched();
        let change = layout.areas.plan_insert(again);
        self.apply(space, layout, &change)?;
        Ok(to)
    }

    /// Splits the areas at both ends of a range that lies in one. Returns what is in between.
    fn set_apart(
        &self,
        space: &Arc<Space>,
        layout: &mut Layout,
        (start, end): (VirtAddr, VirtAddr),
    ) -> Result<Area, Errno> {
        for border in [start, end] {
            if let Some(area) = layout.areas.find(border).filter(|area| area.start < border).copied() {
                self.split(space, layout, &area, border)?;
            }
        }
        layout.areas.find(start).copied().ok_or(Errno::EFAULT)
    }

    /// Takes an area away with what its entries still hold and the tables that are then unused.
    fn take_out(&self, space: &Arc<Space>, layout: &mut Layout, area: &Area) {
        let mut gather = Gather::new(self, space, Cause::Move);
        self.remove_areas(space, layout, (area.start, area.end), &mut gather);
        gather.finish();
    }

    /// What MREMAP_DONTUNMAP leaves behind is not locked any more.
    fn unlock_area(&self, space: &Arc<Space>, layout: &mut Layout, area: &Area) {
        let change = layout.areas.plan_change(area, area.start, area.end, |area| {
            area.flags.remove(AreaFlags::LOCKED | AreaFlags::LOCK_ON_FAULT);
        });
        self.apply_smaller(space, layout, &change);
    }

    /// Puts an area with other flags in place of one.
    fn exchange(&self, space: &Arc<Space>, layout: &mut Layout, old: &Area, new: Area) {
        let change = layout.areas.plan_change(old, old.start, old.end, |area| area.flags = new.flags);
        self.apply_smaller(space, layout, &change);
    }

    fn merge_at(&self, space: &Arc<Space>, layout: &mut Layout, address: VirtAddr) {
        if let Some(area) = layout.areas.find(address).copied() {
            let change = layout.areas.plan_merge(&area);
            self.apply_smaller(space, layout, &change);
        }
    }

    /// Carries out a change after which there are no more areas than before, which can not fail.
    fn apply_smaller(&self, space: &Arc<Space>, layout: &mut Layout, change: &crate::vma::Change) {
        if self.apply(space, layout, change).is_err() {
            self.note_defect("a change that adds no area failed");
        }
    }
}

/// What `area` is at its new address. Nobody watches it there: its monitor is not told of the move.
fn moved_area(area: &Area, to: VirtAddr, length: u64) -> Area {
    let keeps = area.anon.is_some() || !area.backing.is_anonymous();
    let keeps = mutant::or(Mutant::IndexRecomputed, keeps, false);
    let pgoff = if keeps { area.pgoff } else { to.page_number() };
    Area { start: to, end: to.add_bytes(length), pgoff, ..*area }.unwatched()
}

/// The same area without reservations of huge pages, if it has such.
fn without_reservations(area: Area) -> Area {
    let off = if area.reserves() { AreaFlags::NORESERVE } else { AreaFlags::empty() };
    Area { flags: area.flags | off, ..area }
}

/// As Linux: refused early, rather than in the middle.
fn has_room(areas: &Areas) -> Result<(), Errno> {
    if areas.len() + GROWTH >= areas.limit() { Err(Errno::ENOMEM) } else { Ok(()) }
}

/// Where a range goes that is not told: to the address that would be liked; else where its tables can move whole, or its blocks stay
/// folded, since the new address equals the old one modulo 2 MiB or 64 KiB; else anywhere. Linux looks at the length alone, as mmap
/// does: a multiple of 2 MiB begins at one.
fn place(areas: &Areas, request: &MoveRequest) -> Option<VirtAddr> {
    let length = request.new_length;
    let hint = if request.names_place() { place_hinted(areas, request.new_address, length) } else { None };
    let congruent = |align: u64| place_congruent(areas, length, request.start(), align);
    let tables = || if length >= TABLE_SPAN { congruent(TABLE_SPAN) } else { None };
    hint.or_else(tables).or_else(|| congruent(BLOCK)).or_else(|| congruent(PAGE_SIZE))
}
