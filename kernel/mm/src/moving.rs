//! Moving entries to other addresses of their space: what mremap does to the tables (reference 4.17).
//!
//! A page keeps its frame, its references, its counts and its flags; only where it is found changes. So everybody who looks for it
//! must find it at one address or the other:
//! 1. The areas are locked for writing, which keeps faults and calls away.
//! 2. Every anon_vma that the pages may belong to, and the file's place among the reverse maps, is held for writing over each step,
//!    which keeps reclaim away: it comes from the folio, not through the areas. Both the old and the new area have extents there by
//!    then.
//! 3. The old addresses are flushed before these locks and those of the tables are given up: whoever finds an entry at its new
//!    address next may take it for the only way to the page (rule MS-42).
//!
//! Where both ranges start at a multiple of 2 MiB whole tables move by their one entry of level 2; Linux does so for those of level 1
//! too, which is not done here. A mark of userfaultfd stays on its entry; whoever moves a watched area takes them off afterwards.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mmu::mutant::{self, Mutant};
use mmu::{Cause, Descriptor, Fact, Slot, TABLE_SPAN, VirtAddr};

use crate::contpte::BatchRules;
use crate::errno::Errno;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::rmap::{AnonVma, Members};
use crate::space::Space;
use crate::sync::WriteGuard;
use crate::tlb::Gather;
use crate::vma::Area;

/// Moves what the tables hold for `length` bytes from `from` on to `to`, where they hold nothing; the ranges do not overlap. `area` has
/// the anon_vma and the file of both areas.
///
/// # Errors
/// `ENOMEM` if a table page can not be had. Then everything is where it was.
pub(crate) fn move_entries(
    memory: &Memory,
    space: &Space,
    area: &Area,
    (from, to, length): (VirtAddr, VirtAddr, u64),
) -> Result<(), Errno> {
    let family = memory.anon.family(area, &memory.files)?;
    let mut held = Vec::new();
    held.try_reserve_exact(family.len()).map_err(|_| Errno::ENOMEM)?;
    let mut mover = Mover { memory, space, family: &family, held };
    let mut gather = Gather::new(memory, space, Cause::Move);
    let mut done = 0;
    let mut result = Ok(());
    while done < length && result.is_ok() {
        let step = Step::at(from, to, done, length);
        result = mover.make_tables(step);
        if result.is_ok() {
            mover.step(step, &mut gather);
            done += step.bytes;
        }
    }
    if result.is_err() {
        mover.move_back((from, to, done), &mut gather);
    }
    gather.finish();
    result
}

/// A part of the range that one table translates before, and one afterwards.
#[derive(Clone, Copy)]
struct Step {
    from: VirtAddr,
    to: VirtAddr,
    bytes: u64,
}

impl Step {
    /// The part that begins `done` bytes behind the start.
    fn at(from: VirtAddr, to: VirtAddr, done: u64, length: u64) -> Self {
        let (from, to) = (from.add_bytes(done), to.add_bytes(done));
        let left_in_table = |address: VirtAddr| TABLE_SPAN - address.as_u64() % TABLE_SPAN;
        Self { from, to, bytes: (length - done).min(left_in_table(from)).min(left_in_table(to)) }
    }

    /// Whether it is all that a table translates.
    const fn is_table(self) -> bool {
        self.bytes == TABLE_SPAN
    }

    /// The way back.
    const fn back(self) -> Self {
        Self { from: self.to, to: self.from, bytes: self.bytes }
    }
}

/// A move in progress.
struct Mover<'a> {
    memory: &'a Memory,
    space: &'a Space,
    family: &'a [Arc<AnonVma>],
    /// Empty between two steps; it has room for the whole family.
    held: Vec<WriteGuard<'a, Members>>,
}

impl Mover<'_> {
    /// Allocates the tables that a step needs, before any lock of a table is taken.
    fn make_tables(&self, step: Step) -> Result<(), Errno> {
        let (memory, tables) = (self.memory, &self.space.tables);
        if tables.find(memory, step.from).is_none() {
            return Ok(());
        }
        if step.is_table() {
            return tables.ensure_above(memory, step.to);
        }
        tables.ensure(memory, step.to).map(drop)
    }

    /// Moves back what was moved. The tables that it came from are all still there.
    fn move_back(&mut self, (from, to, length): (VirtAddr, VirtAddr, u64), gather: &mut Gather<'_>) {
        let mut done = 0;
        while done < length {
            let step = Step::at(from, to, done, length);
            self.step(step.back(), gather);
            done += step.bytes;
        }
    }

    /// Moves one part, if there is a table on either side.
    fn step(&mut self, step: Step, gather: &mut Gather<'_>) {
        if !mutant::is(Mutant::TableMovedUnlocked) {
            self.held.extend(self.family.iter().map(|anon| anon.hold()));
        }
        if !(step.is_table() && self.move_table(step, gather)) {
            self.move_one_by_one(step, gather);
        }
        self.held.clear();
    }

    /// Moves a table by the entry that leads to it. The entries are not looked at, and their blocks stay as they are. False if that
    /// can not be done.
    fn move_table(&self, step: Step, gather: &Gather<'_>) -> bool {
        self.space.tlb.flush(self.memory, self.space);
        let moved = self.space.tables.move_table(self.memory, step.from, step.to);
        if moved {
            self.memory.count().tables_moved.add(1);
            gather.flush_moved_table(step.from, step.from.add_bytes(step.bytes));
        }
        moved
    }

    fn move_one_by_one(&self, step: Step, gather: &mut Gather<'_>) {
        let Some(pair) = Pair::lock(self.memory, self.space, step) else { return };
        self.space.tlb.flush(self.memory, self.space);
        let pages = (step.bytes / mmu::PAGE_SIZE) as usize;
        let mut done = 0;
        while done < pages {
            let slots = (pair.from.slot(step.from.add_pages(done)), pair.to().slot(step.to.add_pages(done)));
            done += pair.move_run(slots, pages - done, gather);
        }
        if !mutant::is(Mutant::MoveFlushedLate) {
            gather.flush_now();
        }
    }
}

/// The tables that entries move from and to, both locked. No order is needed between the two locks: whoever takes two of one space has
/// its areas locked for writing.
struct Pair<'a> {
    from: TableGuard<'a>,
    /// None where it is one and the same.
    to: Option<TableGuard<'a>>,
}

impl<'a> Pair<'a> {
    /// `None` if one of them is missing: there is nothing to move then.
    fn lock(memory: &'a Memory, space: &'a Space, step: Step) -> Option<Self> {
        space.tables.find(memory, step.to)?;
        let from = space.lock_table(memory, step.from)?;
        let is_same = step.from.align_down(TABLE_SPAN) == step.to.align_down(TABLE_SPAN);
        let to = if is_same { None } else { Some(space.lock_table(memory, step.to)?) };
        Some(Self { from, to })
    }

    fn to(&self) -> &TableGuard<'a> {
        self.to.as_ref().unwrap_or(&self.from)
    }

    /// Moves the entries that map consecutive pages of one folio alike, at most `left`, or one that maps nothing. Returns how many.
    fn move_run(&self, (slot, new_slot): (Slot, Slot), left: usize, gather: &mut Gather<'_>) -> usize {
        let entry = self.from.get(slot);
        if entry.is_none() {
            return 1;
        }
        // One permission for all: the run gets that of its first entry.
        let rules =
            BatchRules { respect_write: mutant::or(Mutant::MoveIgnoresWrite, true, false), ..BatchRules::default() };
        let count = if entry.is_present() { self.from.batch_in_folio(slot, entry, left, rules) } else { 1 };
        self.from.memory.door.fact(Fact::Batch(slot, count));
        let old = self.from.clear(slot, count);
        if old.is_valid() {
            gather.add(self.from.address(slot), count);
        }
        self.set(new_slot, old, count);
        count
    }

    /// Sets what was taken out at its new place. Blocks are folded where the addresses are congruent to the frames, else plain.
    fn set(&self, slot: Slot, old: Descriptor, count: usize) {
        let entry = mutant::or(Mutant::DirtyLostOnMove, old, old.make_clean());
        if mutant::or(Mutant::ContiguousKeptOnMove, false, old.is_folded()) {
            return self.from.memory.door.store_run(slot, entry, count);
        }
        self.to().set_run(slot, entry, count);
    }
}
