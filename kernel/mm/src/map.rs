//! mmap, munmap and brk: which addresses a program has.

use alloc::sync::Arc;

use bitflags::bitflags;
use mmu::mutant::{self, Mutant};
use mmu::{CONT_PTES, Cause, Operation, PAGE_SHIFT, PAGE_SIZE, TABLE_SPAN, USER_END, VirtAddr};

use crate::errno::Errno;
use crate::file::{Backing, MAX_SIZE, OpenFile};
use crate::hugetlb::{self, Fate};
use crate::marker::Rest;
use crate::memory::Memory;
use crate::rmap;
use crate::space::{Layout, Populate, Space};
use crate::tlb::Gather;
use crate::vma::{Area, AreaFlags, Areas, Change, Prot};
use crate::zap;

bitflags! {
    /// How to map, with Linux's numbers.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct MapFlags: u32 {
        /// MAP_SHARED.
        const SHARED = 0x1;
        /// MAP_PRIVATE.
        const PRIVATE = 0x2;
        /// MAP_SHARED_VALIDATE: shared, and flags that are not known are refused by files that ask for it, which those here do not.
        const SHARED_VALIDATE = 0x3;
        /// MAP_DROPPABLE: private, and memory pressure may take the pages, even written ones; a child gets none of them.
        const DROPPABLE = 0x8;
        /// MAP_FIXED: here, in place of what is there.
        const FIXED = 0x10;
        /// MAP_ANONYMOUS.
        const ANONYMOUS = 0x20;
        /// MAP_GROWSDOWN; taken as an ordinary map.
        const GROWSDOWN = 0x100;
        /// MAP_LOCKED.
        const LOCKED = 0x2000;
        /// MAP_NORESERVE.
        const NORESERVE = 0x4000;
        /// MAP_POPULATE.
        const POPULATE = 0x8000;
        /// MAP_NONBLOCK: with MAP_POPULATE, do not populate.
        const NONBLOCK = 0x1_0000;
        /// MAP_STACK.
        const STACK = 0x2_0000;
        /// MAP_HUGETLB.
        const HUGETLB = 0x4_0000;
        /// MAP_FIXED_NOREPLACE: here, or not at all.
        const FIXED_NOREPLACE = 0x10_0000;
        // Others are ignored, as Linux does.
        const _ = !0;
    }
}

/// What is asked of mmap, but for the file.
#[derive(Clone, Copy, Debug)]
pub struct MapRequest {
    /// Where: exactly, or as a hint; 0 for anywhere.
    pub address: u64,
    /// How many bytes; rounded up to pages.
    pub length: u64,
    /// What the program may do there.
    pub prot: Prot,
    /// How.
    pub flags: MapFlags,
}

/// The lowest address that a program may map: Linux's `vm.mmap_min_addr` as distributions set it.
pub const MIN_ADDRESS: u64 = 0x1_0000;
/// Where the search for free addresses starts, downwards: below the room for a stack, as Linux without randomization.
pub const MAP_TOP: u64 = USER_END - 0x800_0000;
/// Bytes of a block that may be folded.
pub(crate) const BLOCK: u64 = CONT_PTES as u64 * PAGE_SIZE;
/// The flags of which MAP_PRIVATE and MAP_SHARED are values.
const TYPE_MASK: u32 = 0xf;

impl Memory {
    /// Maps anonymous memory; where it is to be shared, a file without a name. Nothing is allocated before it is touched, except with
    /// MAP_POPULATE.
    ///
    /// # Errors
    /// As Linux: `EINVAL` for a length of 0, an unaligned fixed address or an unknown kind of map; `ENOMEM` where addresses, areas or
    /// memory run out; `EPERM` below the lowest address; `EEXIST` where MAP_FIXED_NOREPLACE finds something; `EBADF` without
    /// MAP_ANONYMOUS.
    pub fn mmap(&self, space: &Arc<Space>, request: MapRequest) -> Result<u64, Errno> {
        if !request.flags.contains(MapFlags::ANONYMOUS) {
            return Err(Errno::EBADF);
        }
        if let Some(size) = hugetlb::size_asked(request.flags)? {
            let length = aligned_length(request.length, size.bytes())?;
            let is_private = kind_of(request.flags)? == Kind::Private;
            let backing = Backing::HugeTlb(size);
            return if is_private { self.map_area(space, request, length, (backing, 0)) } else { Err(Errno::EINVAL) };
        }
        let length = aligned_length(request.length, PAGE_SIZE)?;
        if kind_of(request.flags)? == Kind::Shared {
            let file = self.open_file(length)?;
            return self.map_area(space, request, length, (Backing::Shared(file.id()), 0));
        }
        self.map_area(space, request, length, (Backing::Anonymous, 0))
    }

    /// Maps a file from the byte at `offset` on. An access beyond its end is an error of the access, not of the map.
    ///
    /// # Errors
    /// As [`mmap`](Self::mmap), and `EINVAL` for an offset inside a page, or where the pages may be dropped; `EPERM` where a sealed
    /// file could be written; `EOVERFLOW` for a range that no file can have.
    pub fn mmap_file(
        &self,
        space: &Arc<Space>,
        request: MapRequest,
        file: &OpenFile<'_>,
        offset: u64,
    ) -> Result<u64, Errno> {
        let length = aligned_length(request.length, PAGE_SIZE)?;
        if offset % PAGE_SIZE != 0 {
            return Err(Errno::EINVAL);
        }
        if offset.checked_add(length).is_none_or(|end| end > MAX_SIZE) {
            return Err(Errno::EOVERFLOW);
        }
        let backing = match kind_of(request.flags)? {
            Kind::Private => Backing::Private(file.id()),
            Kind::Shared => Backing::Shared(file.id()),
            Kind::Droppable => return Err(Errno::EINVAL),
        };
        let _underway =
            if backing.is_shared() { file.begin_shared_map(request.prot.contains(Prot::WRITE))? } else { None };
        self.map_area(space, request, length, (backing, offset))
    }

    fn map_area(
        &self,
        space: &Arc<Space>,
        request: MapRequest,
        length: u64,
        (backing, offset): (Backing, u64),
    ) -> Result<u64, Errno> {
        let _underway = self.begin(Operation::Map);
        let flags = area_flags(request.flags)?;
        let mut layout = space.layout().write();
        let is_lockable = Area { flags, backing, ..Area::default() }.is_lockable();
        let is_locked = mutant::or(Mutant::FutureNotLocked, is_lockable, false);
        let flags = flags | if is_locked { layout.future } else { AreaFlags::empty() };
        let start = place(&layout, &request, length, (backing, offset))?;
        let end = start.add_bytes(length);
        // Nothing may be unmapped for a map that then does not fit.
        let splits = layout.areas.find(start).is_some_and(|area| area.start < start && end < area.end);
        if layout.areas.len() + 1 + usize::from(splits) > layout.areas.limit() {
            return Err(Errno::ENOMEM);
        }
        let pgoff = if backing.file().is_none() { start.page_number() } else { offset >> PAGE_SHIFT };
        let area = Area { start, end, prot: request.prot, flags, backing, pgoff, ..Area::default() };
        self.reserve_area(&area)?;
        let made = self.put_area(space, &mut layout, area, request.flags.contains(MapFlags::FIXED));
        if let Err(error) = made {
            self.unreserve_area(&area);
            return Err(error);
        }
        drop(layout);
        let locked = flags & (AreaFlags::LOCKED | AreaFlags::LOCK_ON_FAULT) == AreaFlags::LOCKED;
        let populate = request.flags.contains(MapFlags::POPULATE) && !request.flags.contains(MapFlags::NONBLOCK);
        if locked || populate {
            // Linux too maps whatever became of populating it.
            let _ = self.populate(space, (start, end), Populate::AsMapped);
        }
        Ok(start.as_u64())
    }

    /// Enters an area, in place of what is there or where nothing is.
    fn put_area(&self, space: &Arc<Space>, layout: &mut Layout, area: Area, replaces: bool) -> Result<(), Errno> {
        if replaces {
            // An area and its extent: what is there goes only if they fit.
            let kept = self.anon.budget.keep(2)?;
            self.unmap_locked(space, layout, area.start, area.end)?;
            drop(kept);
        }
        let change = layout.areas.plan_insert(area);
        self.apply(space, layout, &change)
    }

    /// Unmaps whatever is mapped in a range.
    ///
    /// # Errors
    /// `EINVAL` for an unaligned address, a length of 0, an end inside a huge page, or a range beyond user addresses; `ENOMEM` if an
    /// area would have to be split and can not; nothing has changed then.
    pub fn munmap(&self, space: &Arc<Space>, address: u64, length: u64) -> Result<(), Errno> {
        let _underway = self.begin(Operation::Unmap);
        let length = aligned_length(length, PAGE_SIZE).map_err(|_| Errno::EINVAL)?;
        let end = address.checked_add(length).filter(|&end| end <= USER_END).ok_or(Errno::EINVAL)?;
        if address % PAGE_SIZE != 0 {
            return Err(Errno::EINVAL);
        }
        self.unmap_locked(space, &mut space.layout().write(), VirtAddr::new(address), VirtAddr::new(end))
    }

    /// Says where the heap starts: behind the program's data.
    pub fn set_brk_start(&self, space: &Space, address: u64) {
        let mut layout = space.layout().write();
        layout.brk_start = address;
        layout.brk = address;
    }

    /// Moves the end of the heap. Returns where it is now: where it was, if it could not be moved.
    pub fn brk(&self, space: &Arc<Space>, address: u64) -> u64 {
        let _underway = self.begin(Operation::Map);
        let mut layout = space.layout().write();
        if address >= layout.brk_start && address <= MAP_TOP && self.move_brk(space, &mut layout, address).is_ok() {
            layout.brk = address;
        }
        layout.brk
    }

    fn move_brk(&self, space: &Arc<Space>, layout: &mut Layout, address: u64) -> Result<(), Errno> {
        let page_end = |address: u64| VirtAddr::new(address + PAGE_SIZE - 1).page();
        let (old, new) = (page_end(layout.brk), page_end(address));
        if new < old {
            return self.unmap_locked(space, layout, new, old);
        }
        if new == old {
            return Ok(());
        }
        // One page is kept free between the heap and what follows.
        if !layout.areas.is_free(old, new.add_pages(1)) {
            return Err(Errno::ENOMEM);
        }
        let prot = Prot::READ | Prot::WRITE;
        let flags = layout.future;
        let area = Area { start: old, end: new, prot, flags, pgoff: old.page_number(), ..Area::default() };
        let change = layout.areas.plan_insert(area);
        self.apply(space, layout, &change)
    }

    /// Carries a planned change out: in the reverse map, then in the list.
    pub(crate) fn apply(&self, space: &Arc<Space>, layout: &mut Layout, change: &Change) -> Result<(), Errno> {
        rmap::replace(self, space, change)?;
        let areas = self.change_areas(layout, change);
        // The list fails only where it grows, and extents that are fewer again need no memory.
        if areas.is_err() && rmap::replace(self, space, &change.reversed()).is_err() {
            self.note_defect("extents could not be taken back");
        }
        areas
    }

    fn change_areas(&self, layout: &mut Layout, change: &Change) -> Result<(), Errno> {
        let (old, new) = (change.removed().len(), change.added().len());
        self.anon.budget.change(old, new)?;
        let applied = layout.areas.apply(change);
        if applied.is_err() {
            self.anon.budget.change(new, old)?;
        }
        applied
    }

    /// Unmaps whatever is mapped in a range, with the areas locked.
    pub(crate) fn unmap_locked(
        &self,
        space: &Arc<Space>,
        layout: &mut Layout,
        start: VirtAddr,
        end: VirtAddr,
    ) -> Result<(), Errno> {
        if layout.areas.is_free(start, end) {
            return Ok(());
        }
        layout.check_borders(start, end)?;
        // A hole in one area makes two of it: the only case that needs memory, tried before anything is taken away.
        if let Some(area) = layout.areas.find(start).filter(|area| area.start < start && end < area.end).copied() {
            self.split(space, layout, &area, start)?;
        }
        let mut gather = Gather::new(self, space, Cause::Zap);
        self.remove_areas(space, layout, (start, end), &mut gather);
        gather.finish();
        Ok(())
    }

    /// Makes two areas of one.
    pub(crate) fn split(
        &self,
        space: &Arc<Space>,
        layout: &mut Layout,
        area: &Area,
        at: VirtAddr,
    ) -> Result<(), Errno> {
        let change = layout.areas.plan_split(area, at);
        self.apply(space, layout, &change)
    }

    /// Takes everything out of a range that starts or ends inside no single area: pages, areas, extents, and the tables that are then
    /// unused. In this order: an extent must outlive the pages found through it, and reclaim must not find a table about to go.
    pub(crate) fn remove_areas<'m>(
        &'m self,
        space: &Arc<Space>,
        layout: &mut Layout,
        (start, end): (VirtAddr, VirtAddr),
        gather: &mut Gather<'m>,
    ) {
        while let Some(area) = layout.areas.first_from(start).filter(|area| area.start < end).copied() {
            let (first, last) = (area.start.max(start), area.end.min(end));
            if area.flags.contains(AreaFlags::LOCKED) {
                self.unmark_range(space, (first, last));
            }
            match area.huge() {
                Some(_) => hugetlb::zap_area(self, space, &area, (first, last), Fate::Unmapped, gather),
                None => {
                    let rest = mutant::or(Mutant::MarkerOutlivesArea, Rest::Nothing, area.rest());
                    zap::zap_range(self, space, (zap::Areas::Alone, rest), (first, last), gather);
                }
            }
            let change = layout.areas.plan_remove(&area, first, last);
            if self.apply(space, layout, &change).is_err() {
                self.note_defect("an area could not be made smaller");
                return;
            }
        }
        let floor = layout.areas.last_before(start).map_or(VirtAddr::new(0), |area| area.end);
        let ceiling = layout.areas.first_from(end).map_or(VirtAddr::new(USER_END), |area| area.start);
        space.tables.free_range(self, (start, end), (floor, ceiling), gather);
    }
}

/// Rounds a length up to pages.
fn aligned_length(length: u64, page: u64) -> Result<u64, Errno> {
    match length.checked_next_multiple_of(page) {
        Some(0) => Err(Errno::EINVAL),
        Some(length) if length <= USER_END => Ok(length),
        _ => Err(Errno::ENOMEM),
    }
}

/// Who sees what is written to a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Private,
    Shared,
    /// Who wrote it, until memory is short.
    Droppable,
}

fn kind_of(flags: MapFlags) -> Result<Kind, Errno> {
    match MapFlags::from_bits_retain(flags.bits() & TYPE_MASK) {
        MapFlags::PRIVATE => Ok(Kind::Private),
        MapFlags::SHARED | MapFlags::SHARED_VALIDATE => Ok(Kind::Shared),
        MapFlags::DROPPABLE => Ok(Kind::Droppable),
        _ => Err(Errno::EINVAL),
    }
}

/// What is kept of the flags of a map.
fn area_flags(flags: MapFlags) -> Result<AreaFlags, Errno> {
    let mut kept = AreaFlags::empty();
    if kind_of(flags)? == Kind::Droppable {
        // A locked area makes no sense to be droppable.
        if flags.intersects(MapFlags::LOCKED | MapFlags::GROWSDOWN | MapFlags::HUGETLB) {
            return Err(Errno::EINVAL);
        }
        kept = AreaFlags::DROPPABLE | AreaFlags::WIPEONFORK | AreaFlags::NORESERVE;
    }
    // Huge pages stay where they are in any case (reference 1.3).
    kept.set(AreaFlags::LOCKED, flags.contains(MapFlags::LOCKED) && !flags.contains(MapFlags::HUGETLB));
    if flags.contains(MapFlags::NORESERVE) {
        kept |= AreaFlags::NORESERVE;
    }
    Ok(kept)
}

/// Chooses the addresses of a map.
fn place(
    layout: &Layout,
    request: &MapRequest,
    length: u64,
    (backing, offset): (Backing, u64),
) -> Result<VirtAddr, Errno> {
    let huge = backing.huge();
    let is_fixed = request.flags.intersects(MapFlags::FIXED | MapFlags::FIXED_NOREPLACE);
    if is_fixed {
        let start = place_fixed(layout, request, length)?;
        return if huge.is_none_or(|size| start.is_aligned(size.bytes())) { Ok(start) } else { Err(Errno::EINVAL) };
    }
    if let Some(size) = huge {
        return place_congruent(&layout.areas, length, VirtAddr::new(0), size.bytes()).ok_or(Errno::ENOMEM);
    }
    // A length that large folios fill is aligned for them, where there is room; a map of a file so that blocks of its can be folded.
    let (like, align) = match length % TABLE_SPAN {
        0 => (offset % TABLE_SPAN, TABLE_SPAN),
        _ if backing.is_anonymous() => (0, PAGE_SIZE),
        _ => (offset % BLOCK, BLOCK),
    };
    place_hinted(&layout.areas, request.address, length)
        .or_else(|| place_congruent(&layout.areas, length, VirtAddr::new(like), align))
        .or_else(|| place_congruent(&layout.areas, length, VirtAddr::new(0), PAGE_SIZE))
        .ok_or(Errno::ENOMEM)
}

/// The addresses that a program would like, if it said so and they are free.
pub(crate) fn place_hinted(areas: &Areas, address: u64, length: u64) -> Option<VirtAddr> {
    let start = address.max(MIN_ADDRESS).checked_next_multiple_of(PAGE_SIZE)?;
    let end = start.checked_add(length).filter(|&end| address != 0 && end <= USER_END)?;
    areas.is_free(VirtAddr::new(start), VirtAddr::new(end)).then(|| VirtAddr::new(start))
}

/// The highest free addresses whose start equals `like` modulo `align`.
pub(crate) fn place_congruent(areas: &Areas, length: u64, like: VirtAddr, align: u64) -> Option<VirtAddr> {
    let offset = like.as_u64() % align;
    let start = areas.find_gap(length + offset, align, VirtAddr::new(MIN_ADDRESS), VirtAddr::new(MAP_TOP))?;
    Some(start.add_bytes(offset))
}

fn place_fixed(layout: &Layout, request: &MapRequest, length: u64) -> Result<VirtAddr, Errno> {
    let start = request.address;
    let end = start.checked_add(length).filter(|&end| end <= USER_END).ok_or(Errno::ENOMEM)?;
    if start % PAGE_SIZE != 0 {
        return Err(Errno::EINVAL);
    }
    if start < MIN_ADDRESS {
        return Err(Errno::EPERM);
    }
    let (start, end) = (VirtAddr::new(start), VirtAddr::new(end));
    if request.flags.contains(MapFlags::FIXED_NOREPLACE) && !layout.areas.is_free(start, end) {
        return Err(Errno::EEXIST);
    }
    Ok(start)
}
