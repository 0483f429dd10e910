//! What is done to a range of huge pages: munmap, MADV_DONTNEED, exit, mprotect, fork.

use mmu::mutant::{self, Mutant};
use mmu::{Cause, Descriptor, Protection, VirtAddr};

use super::HugeSlot;
use crate::errno::Errno;
use crate::folio::Folio;
use crate::frame::HugeSize;
use crate::memory::Memory;
use crate::protect::Mark;
use crate::rmap::Extent;
use crate::space::Space;
use crate::tlb::Gather;
use crate::vma::Area;

type Range = (VirtAddr, VirtAddr);

/// The first addresses of the huge pages of a range, whose ends are borders of such.
fn starts((start, end): Range, size: HugeSize) -> impl Iterator<Item = VirtAddr> {
    (start.as_u64()..end.as_u64()).step_by(size.bytes() as usize).map(VirtAddr::new)
}

/// What becomes of the addresses of a range that is emptied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// They go with their area, which is locked for writing: what it reserved is given up, and one flush at the end is enough.
    Unmapped,
    /// They stay, and what was reserved for them is reserved again. The areas are locked for reading, so each page is flushed before
    /// its table's lock is released.
    Emptied,
}

/// Takes the huge pages of a part of an area out, for good.
pub(crate) fn zap_area<'m>(
    memory: &'m Memory,
    space: &Space,
    area: &Area,
    range: Range,
    fate: Fate,
    gather: &mut Gather<'m>,
) {
    let Some(size) = area.huge() else { return };
    let mut zap = Zap { memory, space, area, size, fate, gather, unused: 0 };
    starts(range, size).for_each(|start| zap.page(start));
    if fate == Fate::Unmapped && mutant::or(Mutant::ReservationKept, area.reserves(), false) {
        memory.frames.unreserve_huge(size, zap.unused);
    }
}

struct Zap<'a, 'g, 'm> {
    memory: &'m Memory,
    space: &'a Space,
    area: &'a Area,
    size: HugeSize,
    fate: Fate,
    gather: &'g mut Gather<'m>,
    /// Places where nothing was mapped.
    unused: usize,
}

/// Whether a page can be taken out.
enum Step {
    Done,
    /// Not before other spaces have given this page up, to which there is a reference now.
    Shared,
}

impl<'m> Zap<'_, '_, 'm> {
    fn page(&mut self, start: VirtAddr) {
        loop {
            let Some(slot) = HugeSlot::lock(self.memory, self.space, self.size, start) else {
                self.unused += 1;
                return;
            };
            let entry = slot.get();
            if entry.is_absent() {
                self.unused += 1;
                if entry.is_marker() && !self.keeps_markers() {
                    slot.clear();
                }
                return;
            }
            if !entry.is_present() {
                return self.lost(&slot);
            }
            let folio = self.memory.frames.folio_of(entry.frame());
            match self.present(&slot, start, folio) {
                Step::Done => return,
                Step::Shared => {
                    drop(slot);
                    take_from_others(self.memory, self.space, folio, self.size);
                    if let Some(last) = folio.put(1) {
                        self.gather.orphan(last);
                    }
                }
            }
        }
    }

    fn present(&mut self, slot: &HugeSlot<'_>, start: VirtAddr, folio: Folio<'m>) -> Step {
        let reserves = mutant::or(Mutant::NotReservedAgain, self.area.reserves(), false);
        if self.fate == Fate::Emptied && reserves {
            // The page's own reservation, if it is free afterwards; else another one.
            if folio.refs() == 1 {
                folio.set_reserved_for(true);
            } else if !self.memory.frames.reserve_huge(self.size, 1) {
                folio.get(1);
                return Step::Shared;
            }
        }
        let old = slot.clear();
        if old.is_valid() {
            self.gather.add_huge(start, self.size);
        }
        if old.is_uffd() && mutant::or(Mutant::MarkerNotLeftByZap, self.keeps_markers(), false) {
            slot.set(Descriptor::MARKER);
        }
        slot.count_unmap(folio);
        self.gather.put(folio, 1);
        if self.fate == Fate::Emptied {
            self.gather.flush_now();
        }
        Step::Done
    }

    /// Whether what userfaultfd protects stays so. An area of huge pages is never anonymous in this respect, as in Linux.
    fn keeps_markers(&self) -> bool {
        let outlives = mutant::is(Mutant::MarkerOutlivesArea);
        (self.fate == Fate::Emptied || outlives) && self.area.keeps_markers()
    }

    /// An entry in place of bad memory, or of what went to another space, where nothing is reserved. It stays where a page is reserved
    /// for each place that is empty, and there is none.
    fn lost(&mut self, slot: &HugeSlot<'_>) {
        let needs_page = self.fate == Fate::Emptied && self.area.reserves();
        if !needs_page || self.memory.frames.reserve_huge(self.size, 1) {
            slot.clear();
        }
    }
}

/// Takes a huge page, to which the caller has a reference, away from all other spaces: they share it with the one that reserved it, and
/// there is no other left (Linux's `unmap_ref_private`). They must not find zeros in its place later, as if these were what they had: a
/// touch is an error from now on, until the address is emptied or mapped anew. Linux marks the whole area so.
pub(crate) fn take_from_others(memory: &Memory, space: &Space, folio: Folio<'_>, size: HugeSize) {
    let Some((anon, index)) = folio.mapping() else { return };
    let Some(anon) = memory.anon.get(anon) else { return };
    let extents = anon.extents();
    let is_other = |extent: &Extent| !core::ptr::eq(&*extent.space, space);
    for (extent, (start, _)) in extents.at(index, folio.pages()).filter(|(extent, _)| is_other(extent)) {
        let Some(slot) = HugeSlot::lock(memory, &extent.space, size, start) else { continue };
        if slot.maps(&folio) {
            slot.clear();
            slot.flush(Cause::Replace);
            slot.set(mutant::or(Mutant::LostPageEmpty, Descriptor::LOST, Descriptor::NONE));
            slot.count_unmap(folio);
            let last = folio.put(1);
            debug_assert!(last.is_none(), "a huge page that the caller refers to lost its last reference");
        }
    }
}

/// Changes what a program may do in a part of an area.
pub(crate) fn protect_range(
    memory: &Memory,
    space: &Space,
    size: HugeSize,
    range: Range,
    allowed: Protection,
    gather: &mut Gather<'_>,
) {
    for start in starts(range, size) {
        let Some(slot) = HugeSlot::lock(memory, space, size, start) else { continue };
        let entry = slot.get();
        if !entry.is_present() {
            continue;
        }
        if allowed.execute && !entry.is_user_executable() {
            memory.door.sync_instructions(entry.frame(), size.pages());
        }
        // What userfaultfd protects is its monitor's to open.
        let is_alone = slot.folio(entry).is_exclusive(0) && !entry.is_uffd();
        let plain = |old: Descriptor| old.with_protection(Protection { write: false, ..allowed });
        let writable = allowed.write && is_alone;
        let change = |old| if writable { plain(old).make_writable().make_dirty() } else { plain(old) };
        if slot.change(change).is_valid() {
            gather.add_huge(start, size);
        }
    }
}

/// Puts userfaultfd's mark on the huge pages of a part of an area, or takes it off, whether they are there or not. The tables are there for
/// a mark that is put on.
pub(crate) fn mark_range(
    memory: &Memory,
    space: &Space,
    area: &Area,
    size: HugeSize,
    (range, mark): (Range, Mark),
    gather: &mut Gather<'_>,
) {
    for start in starts(range, size) {
        let Some(slot) = HugeSlot::lock(memory, space, size, start) else { continue };
        let entry = slot.get();
        match mark {
            Mark::Set if mutant::or(Mutant::AbsentNotMarked, entry.is_none(), false) => slot.set(Descriptor::MARKER),
            Mark::Clear if entry.is_marker() => {
                slot.clear();
            }
            _ if !entry.is_present() || mark.is_on(entry) => {}
            _ => {
                let is_open = mark == Mark::Clear && area.protection().write && slot.folio(entry).is_exclusive(0);
                let change = |old| {
                    let closed = mark.on(old).write_protect();
                    if is_open { closed.make_writable().make_dirty() } else { closed }
                };
                if slot.change(change).is_valid() {
                    gather.add_huge(start, size);
                }
            }
        }
    }
}

/// Gives a child what its parent has in `area`, shared and read-only. The parent's flush is the caller's.
///
/// # Errors
/// `ENOMEM` if a table page can not be had.
pub(crate) fn copy_area(memory: &Memory, parent: &Space, child: &Space, area: &Area) -> Result<(), Errno> {
    let Some(size) = area.huge() else { return Ok(()) };
    for start in starts((area.start, area.end), size) {
        // Nobody watches the child, so it has no markers.
        let has_entry = |slot: HugeSlot<'_>| !slot.get().is_absent();
        if !HugeSlot::lock(memory, parent, size, start).is_some_and(has_entry) {
            continue;
        }
        // The child's tables are made with no lock held; the child is nobody's yet, and the parent's areas are locked.
        drop(HugeSlot::lock_new(memory, child, size, start)?);
        let Some(from) = HugeSlot::lock(memory, parent, size, start) else { continue };
        let Some(to) = HugeSlot::lock(memory, child, size, start) else { continue };
        let entry = from.get();
        if entry.is_present() {
            share(&from, &to, entry);
        } else if !entry.is_absent() {
            to.set(entry);
        }
    }
    Ok(())
}

fn share(from: &HugeSlot<'_>, to: &HugeSlot<'_>, entry: Descriptor) {
    let folio = from.folio(entry);
    folio.clear_exclusive(0, 1);
    let stays = mutant::is(Mutant::ForkLeavesHugeWritable);
    let entry = if entry.is_writable() && !stays {
        from.change(Descriptor::write_protect);
        entry.write_protect()
    } else {
        entry
    };
    folio.get(1);
    to.count_map(folio);
    to.set(mutant::or(Mutant::MarksKeptByChild, entry.clear_uffd(), entry));
}
