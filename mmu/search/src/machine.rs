//! The machine: its state, and what each step of the kernel on CPU 0 does to it. What CPU 1 and its walker may do is in
//! [`adversary`](crate::adversary).

use mmu::{Dsb, Features, Scope};

use crate::MAX_PAGES;
use crate::entry::{Entry, Visible};
use crate::hazard::Hazard;
use crate::program::{New, Program, Step, Tlbi};
use crate::tlb::Tlb;

/// All that the next step can depend on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// The next step of the program on CPU 0.
    pub(crate) step: u8,
    /// The entries in memory: what atomic updates work on.
    pub(crate) entries: [Entry; MAX_PAGES as usize],
    /// What CPU 1's walker may read there: also what older stores have left, up to the last DSB (A4).
    pub(crate) visible: [Visible; MAX_PAGES as usize],
    /// Whether the level above has the table.
    pub(crate) linked: bool,
    /// Whether CPU 1's walker may still find it there.
    pub(crate) seen_linked: bool,
    pub(crate) tlb: Tlb,
    /// The access flag and dirty state that the kernel has gathered.
    pub(crate) gathered: Entry,
    pub(crate) folio_dirty: bool,
    /// Frames, a bit each, with contents newer than the device's.
    pub(crate) unsaved: u8,
    /// Frames that have a new owner.
    pub(crate) freed: u8,
    pub(crate) table_freed: bool,
    /// Pages that the program on CPU 1 uses.
    pub(crate) used: u8,
}

/// What stays the same during a search.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What CPU 0 runs.
    pub program: Program,
    /// Entries in the block.
    pub pages: u8,
    /// BBM level and hardware management of access flag and dirty state; the rest does not matter.
    pub features: Features,
}

impl Machine {
    /// How it starts, when the program on CPU 1 uses the pages of `used`.
    pub fn start(&self, used: u8) -> State {
        let mut entries = [Entry::NONE; MAX_PAGES as usize];
        entries[..self.pages as usize].fill(Entry::PAGE.with_contiguous(self.program.folded));
        State {
            step: 0,
            entries,
            visible: entries.map(Visible::only),
            linked: true,
            seen_linked: true,
            tlb: Tlb::with_table(),
            gathered: Entry::NONE,
            folio_dirty: false,
            unsaved: 0,
            freed: 0,
            table_freed: false,
            used,
        }
    }

    fn done_steps(&self, state: &State) -> &[Step] {
        &self.program.steps[..state.step as usize]
    }

    /// Whether the program on CPU 0 holds the table's lock.
    pub(crate) fn is_locked(&self, state: &State) -> bool {
        self.done_steps(state).iter().rev().find(|step| matches!(step, Step::Lock | Step::Unlock)) == Some(&Step::Lock)
    }

    /// Whether the entries are binding.
    pub(crate) fn is_declared(&self, state: &State) -> bool {
        self.is_finished(state) || self.done_steps(state).contains(&Step::Declare)
    }

    /// Whether CPU 0 has nothing left to do.
    pub(crate) fn is_finished(&self, state: &State) -> bool {
        state.step as usize == self.program.steps.len()
    }

    /// The kernel's next step, and what it leads to.
    pub(crate) fn kernel_step(&self, state: &State) -> Option<(Step, Result<State, Hazard>)> {
        let step = *self.program.steps.get(state.step as usize)?;
        let mut next = *state;
        next.step += 1;
        Some((step, next.apply(step).map(|()| next)))
    }
}

impl State {
    fn apply(&mut self, step: Step) -> Result<(), Hazard> {
        match step {
            Step::Lock | Step::Unlock | Step::Declare => {}
            Step::Load(page) => self.gather(page),
            Step::Swap(page, entry) => {
                self.gather(page);
                self.write(page, entry);
            }
            Step::Store(page, new) => self.write(page, self.made(new)),
            Step::Protect(page) => self.write(page, self.entries[page as usize].write_protect()),
            Step::Split(page) => self.write(page, self.entries[page as usize].with_contiguous(false)),
            Step::Age(page) => self.write(page, self.entries[page as usize].make_old()),
            Step::Touch(page) => self.update(page, self.entries[page as usize].make_young()),
            Step::Unlink => self.linked = false,
            Step::Dsb(kind) => self.barrier(kind),
            Step::Tlbi(op) => self.invalidate(op),
            Step::MarkDirty => self.folio_dirty |= self.gathered.is_dirty(),
            Step::Copy(page) if self.folio_dirty => self.unsaved &= !(1 << page),
            Step::Copy(_) => {}
            Step::Free(page) => return self.free(page),
            Step::FreeTable => self.table_freed = true,
        }
        Ok(())
    }

    fn gather(&mut self, page: u8) {
        self.gathered = self.gathered.gather(self.entries[page as usize]);
    }

    fn made(&self, new: New) -> Entry {
        match new {
            New::None => Entry::NONE,
            New::Swap => Entry::SWAP,
            New::Folded => self.gathered.with_contiguous(true),
            New::Plain => self.gathered.with_contiguous(false),
            New::Clean => Entry::PAGE,
            New::ReadOnly => self.gathered.write_protect(),
        }
    }

    /// CPU 0 stores an entry: until the next DSB walks may read this or what was there.
    fn write(&mut self, page: u8, entry: Entry) {
        self.entries[page as usize] = entry;
        self.visible[page as usize].add(entry);
    }

    /// Hardware, or CPU 1, updates an entry: CPU 1's walker does not read the old one again.
    pub(crate) fn update(&mut self, page: u8, entry: Entry) {
        self.visible[page as usize].replace(self.entries[page as usize], entry);
        self.entries[page as usize] = entry;
    }

    fn barrier(&mut self, kind: Dsb) {
        self.visible = self.entries.map(Visible::only);
        self.seen_linked = self.linked;
        // A barrier for stores alone does not wait for invalidations.
        if kind == Dsb::Ish {
            self.tlb.complete();
        }
    }

    fn invalidate(&mut self, op: Tlbi) {
        if op.scope == Scope::Broadcast && op.right_asid {
            self.tlb.invalidate(op);
        }
    }

    /// A page whose entry says "on the device" is read from there the next time.
    fn free(&mut self, page: u8) -> Result<(), Hazard> {
        let is_newer = self.unsaved & (1 << page) != 0;
        if is_newer && self.entries[page as usize] == Entry::SWAP {
            return Err(Hazard::LostWrite);
        }
        self.freed |= 1 << page;
        Ok(())
    }
}
