//! mprotect: changing what a program may do in a range (reference 4.16, A19).
//!
//! Entries are changed in batches: cleared, and set again with other bits, under their table's lock. Whole folded blocks stay folded.
//! An entry becomes writable at once where its page is the program's alone, so that no fault is needed for what was just allowed.

use alloc::sync::Arc;

use mmu::mutant::{self, Mutant};
use mmu::{CONT_PTES, Cause, Depth, Descriptor, Operation, PAGE_SIZE, Protection, Slot, USER_END, VirtAddr};

use crate::contpte::BatchRules;
use crate::errno::Errno;
use crate::folio::Folio;
use crate::hugetlb;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::space::{Layout, Space};
use crate::swap::SwapEntry;
use crate::tlb::{self, Gather};
use crate::vma::{Area, Prot};
use crate::walk::for_each_table;

/// Bits that hardware ignores: a change of these alone needs no flush (reference 2.2).
const SOFTWARE: u64 = 0b1111 << 55 | 1 << 63;

impl Memory {
    /// Changes the protection of a range.
    ///
    /// # Errors
    /// As Linux: `EINVAL` for an unaligned address; `ENOMEM` for a range that is not all mapped, after what lies before the hole was
    /// changed, or when an area can not be split; `EACCES` where a file that is sealed could be written.
    pub fn mprotect(&self, space: &Arc<Space>, address: u64, length: u64, prot: Prot) -> Result<(), Errno> {
        if address % PAGE_SIZE != 0 {
            return Err(Errno::EINVAL);
        }
        let length = length.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::ENOMEM)?;
        let end = address.checked_add(length).filter(|&end| end <= USER_END).ok_or(Errno::ENOMEM)?;
        let _underway = self.begin(Operation::Protect);
        let mut layout = space.layout().write();
        let mut gather = Gather::new(self, space, Cause::Protect);
        let (start, end) = (VirtAddr::new(address), VirtAddr::new(end));
        let result = self.protect_locked(space, &mut layout, (start, end), prot, &mut gather);
        gather.finish();
        result
    }

    fn protect_locked(
        &self,
        space: &Arc<Space>,
        layout: &mut Layout,
        (start, end): (VirtAddr, VirtAddr),
        prot: Prot,
        gather: &mut Gather<'_>,
    ) -> Result<(), Errno> {
        let mut from = start;
        while from < end {
            let area = *layout.areas.find(from).ok_or(Errno::ENOMEM)?;
            let stop = area.end.min(end);
            self.check_seals(&area, prot)?;
            layout.check_borders(from, stop)?;
            let change = layout.areas.plan_change(&area, from, stop, |area| area.prot = prot);
            if !change.is_empty() {
                self.apply(space, layout, &change)?;
                let area = Area { prot, ..area };
                match area.huge() {
                    Some(size) => hugetlb::protect_range(self, space, size, (from, stop), area.protection(), gather),
                    None => Protect::new(self, space, &area, Mark::Keep).range(from, stop, gather),
                }
            }
            from = stop;
        }
        Ok(())
    }
}

/// What becomes of userfaultfd's mark on an entry (reference 4.18). One that is marked is read-only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    /// It stays as it is.
    Keep,
    /// It is put on.
    Set,
    /// It is taken off, and the page is writable again if it is the program's alone.
    Clear,
}

/// A change of protection in progress. The areas are locked for writing.
pub(crate) struct Protect<'a> {
    memory: &'a Memory,
    space: &'a Space,
    allowed: Protection,
    /// Whether the pages are those of a file, to be written by whoever maps it.
    shared: bool,
    /// Whether markers stand for pages that are not there.
    markers: bool,
    mark: Mark,
}

impl<'a> Protect<'a> {
    /// What makes entries of `area` as it allows, and marks them.
    pub(crate) fn new(memory: &'a Memory, space: &'a Space, area: &Area, mark: Mark) -> Self {
        let (shared, markers) = (area.backing.is_shared(), area.keeps_markers());
        Self { memory, space, allowed: area.protection(), shared, markers, mark }
    }

    pub(crate) fn range(&self, start: VirtAddr, end: VirtAddr, gather: &mut Gather<'_>) {
        for_each_table(self.memory, self.space, (start, end), |table, start, stop| {
            self.table(&table, start, stop, gather);
            stop
        });
    }

    fn table(&self, table: &TableGuard<'_>, start: VirtAddr, stop: VirtAddr, gather: &mut Gather<'_>) {
        let mut address = start;
        while address < stop {
            let slot = table.slot(address);
            let entry = table.get(slot);
            let left = (stop.page_number() - address.page_number()) as usize;
            let count = if entry.is_present() {
                self.run(table, slot, entry, left, gather)
            } else if entry.is_absent() {
                self.mark_absent(table, slot, entry);
                1
            } else {
                self.mark_swapped(table, slot, entry);
                1
            };
            address = address.add_pages(count);
        }
    }

    /// Where no page is, and the area keeps markers, one has the mark.
    fn mark_absent(&self, table: &TableGuard<'_>, slot: Slot, entry: Descriptor) {
        match self.mark {
            Mark::Set if mutant::or(Mutant::AbsentNotMarked, self.markers, false) && entry.is_none() => {
                table.set(slot, Descriptor::MARKER);
            }
            Mark::Clear if entry.is_marker() => table.set(slot, Descriptor::NONE),
            _ => {}
        }
    }

    /// A swap entry keeps the mark, and has no protection.
    fn mark_swapped(&self, table: &TableGuard<'_>, slot: Slot, entry: Descriptor) {
        let marks = mutant::or(Mutant::SwappedNotMarked, self.mark != Mark::Keep, false);
        if marks && SwapEntry::from_descriptor(entry).is_some() {
            table.set(slot, SwapEntry::mark_descriptor(entry, self.mark == Mark::Set));
        }
    }

    /// Changes the entries that map consecutive pages of one folio alike, at most `left`. Returns how many.
    fn run(
        &self,
        table: &TableGuard<'_>,
        slot: Slot,
        entry: Descriptor,
        left: usize,
        gather: &mut Gather<'_>,
    ) -> usize {
        let folio = (!entry.is_special()).then(|| self.memory.frames.folio_of(entry.frame()));
        let rules = BatchRules { respect_write: true, ..BatchRules::default() };
        let count = table.batch_in_folio(slot, entry, left, rules);
        if self.mark.is_on(entry) {
            return count;
        }
        if self.changes_mark_alone(entry, count, folio) {
            table.mark(slot, count, self.mark == Mark::Set);
            return count;
        }
        let old = table.clear(slot, count);
        self.set(table, slot, (old, count, entry.is_folded()), folio, gather);
        count
    }

    /// Whether no more than the mark of `count` entries changes, which hardware does not look at.
    fn changes_mark_alone(&self, entry: Descriptor, count: usize, folio: Option<Folio<'_>>) -> bool {
        let own = self.own(folio, self.mark.on(entry));
        match self.mark {
            Mark::Keep => false,
            Mark::Set => !entry.is_writable(),
            Mark::Clear => parts(own, entry, count).all(|(_, _, opens)| !opens),
        }
    }

    /// Which pages of a batch may become writable at once, if their entries have the mark of `entry`.
    fn own<'f>(&self, folio: Option<Folio<'f>>, entry: Descriptor) -> Own<'f> {
        match folio.filter(|_| self.allowed.write && !entry.is_uffd()) {
            Some(_) if self.shared => Own::All,
            Some(folio) => Own::Exclusive(folio),
            None => Own::None,
        }
    }

    /// Sets `count` entries that were just cleared; `old` is the first, with the flags of all.
    fn set(
        &self,
        table: &TableGuard<'_>,
        slot: Slot,
        (old, count, was_folded): (Descriptor, usize, bool),
        folio: Option<Folio<'_>>,
        gather: &mut Gather<'_>,
    ) {
        let plain = self.mark.on(old).with_protection(Protection { write: false, ..self.allowed });
        let own = self.own(folio, plain);
        self.sync_instructions(old, count);
        let flushed = old.is_valid() && self.changes_form(slot, old, was_folded, parts(own, old, count));
        if flushed {
            let start = table.address(slot);
            tlb::flush_range(self.memory, self.space, start, count, Depth::Leaf, Cause::Protect);
        }
        let mut changed = false;
        for (first, length, exclusive) in parts(own, old, count) {
            let entry = plain.advance(first);
            let entry = if exclusive { entry.make_writable() } else { entry };
            changed |= (entry.bits() ^ old.with_contiguous(false).advance(first).bits()) & !SOFTWARE != 0;
            table.set_run(slot.add(first), entry, length);
        }
        if old.is_valid() && changed && !flushed {
            gather.add(table.address(slot), count);
        }
    }

    /// Whether setting the parts changes the Contiguous bit of entries that a TLB may still hold: folds what was plain, or leaves plain
    /// what was folded. Then the old translations must be gone first (DDI 0487, R_NGLXZ); with BBM level 3 too, since the permission
    /// changes with it (rule MS-12).
    fn changes_form(&self, slot: Slot, old: Descriptor, was_folded: bool, parts: impl Iterator<Item = Part>) -> bool {
        if !self.allowed.read {
            return false;
        }
        let (count, blocks) = parts.fold((0, 0), |(count, blocks), (first, length, _)| {
            (count + length, blocks + whole_blocks(slot.index() + first, length))
        });
        if was_folded {
            return !self.memory.policy().contpte() || blocks != whole_blocks(slot.index(), count);
        }
        let congruent = (slot.index() as u64 ^ old.frame().as_u64()) % CONT_PTES as u64 == 0;
        congruent && blocks > 0 && self.memory.policy().contpte()
    }

    /// Instructions that were written as data must be seen by fetches before they may be fetched.
    fn sync_instructions(&self, old: Descriptor, count: usize) {
        if self.allowed.execute && !old.is_user_executable() {
            self.memory.door.sync_instructions(old.frame(), count);
        }
    }
}

impl Mark {
    /// Whether an entry is marked as it shall be, with all that this implies.
    pub(crate) const fn is_on(self, entry: Descriptor) -> bool {
        match self {
            Self::Keep => false,
            Self::Set => entry.is_uffd(),
            Self::Clear => !entry.is_uffd(),
        }
    }

    /// The entry with the mark as it shall be.
    pub(crate) const fn on(self, entry: Descriptor) -> Descriptor {
        match self {
            Self::Keep => entry,
            Self::Set => entry.make_uffd(),
            Self::Clear => entry.clear_uffd(),
        }
    }
}

/// A run inside a batch: its first entry, its length, and whether it may become writable.
type Part = (usize, usize, bool);

/// Which pages of a batch may become writable at once.
#[derive(Clone, Copy)]
enum Own<'a> {
    None,
    All,
    /// Those of the folio that are the program's alone.
    Exclusive(Folio<'a>),
}

/// The runs of `count` pages, from the one that `old` maps on, that may become writable, and that may not.
fn parts(own: Own<'_>, old: Descriptor, count: usize) -> impl Iterator<Item = Part> {
    let mut done = 0;
    core::iter::from_fn(move || {
        let left = count - done;
        if left == 0 {
            return None;
        }
        let (exclusive, length) = match own {
            Own::None => (false, left),
            Own::All => (true, left),
            Own::Exclusive(folio) => folio.exclusive_run(folio.index_of(old.frame()) + done, left),
        };
        done += length;
        Some((done - length, length, exclusive))
    })
}

/// How many aligned blocks lie whole in `length` entries from `index` on.
const fn whole_blocks(index: usize, length: usize) -> usize {
    ((index + length) / CONT_PTES).saturating_sub(index.div_ceil(CONT_PTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_lie_whole_in_a_run() {
        let counts =
            [(0, 16), (1, 16), (8, 40), (8, 24), (15, 1), (0, 512)].map(|(index, length)| whole_blocks(index, length));
        assert_eq!(counts, [1, 0, 2, 1, 0, 32]);
    }
}
