//! The bench that cases run on: one `Memory`, a way for programs to access it, and the switches, which it puts back afterwards.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;

use mm::policy::{Enabled, KEYS, MAX_ORDER, MIN_ORDER};
use mm::swap::Drive;
use mm::{HugeSize, Memory, Space, audit};

use crate::check::{Outcome, failed, same, within};
use crate::columns::Columns;
use crate::cpu::Cpu;
use crate::field::{Field, Size};

/// What cases run on.
pub struct Bench<'m> {
    memory: &'m Memory,
    cpu: &'m dyn Cpu,
    megabytes: usize,
    drive: Option<&'m Drive>,
    spaces: RefCell<Vec<Arc<Space>>>,
}

/// The three ways to unmap, as the policy names them.
pub const WAYS: [&str; 3] = ["page", "folio", "gather"];

impl<'m> Bench<'m> {
    /// A bench over `memory`, whose programs access it through `cpu`. Cases that take as much memory as they can get take
    /// `megabytes`, of memory and of swap.
    pub fn new(memory: &'m Memory, cpu: &'m dyn Cpu, megabytes: usize) -> Self {
        Self { memory, cpu, megabytes, drive: None, spaces: RefCell::new(Vec::new()) }
    }

    /// The same with a hold of the swap device.
    pub fn with_drive(self, drive: Option<&'m Drive>) -> Self {
        Self { drive, ..self }
    }

    /// The swap device.
    ///
    /// # Errors
    /// If the bench has no hold of it.
    pub fn drive(&self) -> Result<&'m Drive, String> {
        self.drive.ok_or_else(|| "the bench has no hold of a swap device".into())
    }

    /// Time goes on until the swap device has completed everything.
    pub fn complete(&self) {
        let Some(drive) = self.drive else { return };
        while drive.pending() > 0 {
            drive.tick();
            self.memory.run_completions();
        }
    }

    /// What is tested.
    pub fn memory(&self) -> &'m Memory {
        self.memory
    }

    /// How programs access memory.
    pub fn cpu(&self) -> &'m dyn Cpu {
        self.cpu
    }

    /// How large a large case may be, in MiB.
    pub fn megabytes(&self) -> usize {
        self.megabytes
    }

    /// Whether the CPU, and the policy now, have TLB invalidation by range.
    pub fn has_range(&self) -> bool {
        self.memory.door.features().range_tlbi && self.memory.policy().tlbi() == mm::policy::Tlbi::Range
    }

    /// Whether blocks are folded.
    pub fn folds(&self) -> bool {
        self.memory.policy().contpte()
    }

    /// Sets switches, in the words of the command line: `"unmap=page tlbi=single"`.
    ///
    /// # Errors
    /// If there is no such switch or value: the case is wrong.
    pub fn set(&self, words: &str) -> Outcome {
        for word in words.split_whitespace() {
            let (key, value) = word.split_once('=').ok_or_else(|| format!("{word} is not key=value"))?;
            self.memory.policy().parse(key, value).map_err(|error| format!("{error}"))?;
        }
        Ok(())
    }

    /// Does `step` in each of the [`WAYS`].
    ///
    /// # Errors
    /// What the first that fails finds, with the way's name.
    pub fn each_way(&self, mut step: impl FnMut(&'static str) -> Outcome) -> Outcome {
        WAYS.into_iter().try_for_each(|way| {
            self.set(&format!("unmap={way}"))?;
            within(way, step(way))
        })
    }

    /// Lets anonymous memory have folios of one size only; those of 4 KiB are always there to fall back to.
    pub fn set_size(&self, size: Size) {
        self.set_sizes(&[size]);
    }

    /// Lets anonymous memory have folios of these sizes.
    pub fn set_sizes(&self, sizes: &[Size]) {
        let all = self.memory.policy().sizes();
        for order in MIN_ORDER..=MAX_ORDER {
            let enabled = sizes.iter().any(|size| size.order() == order);
            all.set(order, if enabled { Enabled::Always } else { Enabled::Never });
        }
    }

    /// A new space, which the bench audits and destroys when the case is over.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn space(&self) -> Result<Arc<Space>, String> {
        let space = self.memory.create_space().map_err(failed("a space"))?;
        self.spaces.borrow_mut().push(space.clone());
        self.cpu.enter(self.memory, &space);
        Ok(space)
    }

    /// A child of a space, which the bench audits and destroys as well.
    ///
    /// # Errors
    /// If it can not be made.
    pub fn fork(&self, space: &Arc<Space>) -> Result<Arc<Space>, String> {
        let child = self.memory.fork_space(space).map_err(failed("fork"))?;
        self.spaces.borrow_mut().push(child.clone());
        Ok(child)
    }

    /// Destroys a space before the case is over, as a program's exit does.
    pub fn exit(&self, space: &Arc<Space>) {
        self.cpu.leave(self.memory);
        self.spaces.borrow_mut().retain(|other| !Arc::ptr_eq(other, space));
        self.memory.destroy_space(space);
    }

    /// A new space with one area of `pages` pages at the usual place, for folios of one size.
    ///
    /// # Errors
    /// If it can not be made.
    pub fn field(&self, size: Size, pages: usize) -> Result<Field<'_, 'm>, String> {
        self.set_size(size);
        Field::new(self, self.space()?, Field::BASE, pages)
    }

    /// [`field`](Self::field) with every page written: each byte tells its place.
    ///
    /// # Errors
    /// If it can not be made or filled.
    pub fn filled(&self, size: Size, pages: usize) -> Result<Field<'_, 'm>, String> {
        let field = self.field(size, pages)?;
        field.fill(0, pages)?;
        Ok(field)
    }

    /// Does `action`, and returns what it cost.
    pub fn measure<R>(&self, action: impl FnOnce() -> R) -> (R, Columns) {
        let before = Columns::now(self.memory);
        let result = action();
        (result, Columns::now(self.memory).since(before))
    }

    /// Counts everything again, in every space of the case.
    ///
    /// # Errors
    /// What does not add up.
    pub fn audit(&self) -> Outcome {
        audit::recount(self.memory, &self.spaces.borrow()).map_err(|finding| format!("{finding}"))
    }

    /// Runs a case: nothing of it may remain.
    ///
    /// # Errors
    /// What the case found, or what it left behind.
    pub fn run(&self, case: fn(&Bench<'m>) -> Outcome) -> Outcome {
        let policy = self.policy();
        let before = self.stock();
        let latency = self.drive.map_or(0, Drive::latency);
        let pools = HugeSize::ALL.map(|size| self.memory.frames.huge_counts(size).total);
        let found = case(self);
        self.memory.inject.clear();
        self.complete();
        self.restore_drive(latency);
        self.restore(&policy);
        let audited = within("audit", self.audit());
        self.cpu.leave(self.memory);
        let spaces = self.spaces.take();
        // Where something does not add up the spaces stay: to take them apart could stop the machine.
        found.and(audited)?;
        spaces.iter().for_each(|space| self.memory.destroy_space(space));
        for (size, total) in HugeSize::ALL.into_iter().zip(pools) {
            self.memory.frames.resize_huge(size, total);
        }
        same("frames, swap slots, anon_vmas, areas and extents, defects afterwards", self.stock(), before)
    }

    /// What a case must leave as it was: frames that are free, or bad by now, free swap slots, anon_vmas, areas and extents, defects.
    fn stock(&self) -> [usize; 5] {
        let memory = self.memory;
        let anon = &memory.anon;
        let frames = memory.frames.free_count() + memory.frames.bad_count();
        let defects = memory.defects() as usize;
        [frames, memory.swap.free_count(), anon.len(), anon.budget.used(), defects]
    }

    fn restore_drive(&self, latency: u64) {
        if let Some(drive) = self.drive {
            drive.set_latency(latency);
            drive.set_unreadable(0..0);
            drive.set_unwritable(0..0);
        }
    }

    fn policy(&self) -> Policy {
        let policy = self.memory.policy();
        let mut words = Vec::new();
        for (key, _) in KEYS.iter().filter(|(key, _)| !key.starts_with("thp")) {
            let mut value = String::new();
            // Writing to a string does not fail.
            let _ = policy.show(key, &mut value);
            words.push((*key, value));
        }
        let sizes = (MIN_ORDER..=MAX_ORDER).map(|order| policy.sizes().get(order)).collect();
        Policy { words, sizes }
    }

    fn restore(&self, saved: &Policy) {
        for (key, value) in &saved.words {
            // What was shown is a right value.
            let _ = self.memory.policy().parse(key, value);
        }
        for (order, state) in (MIN_ORDER..=MAX_ORDER).zip(&saved.sizes) {
            self.memory.policy().sizes().set(order, *state);
        }
    }
}

/// The switches as a case found them.
struct Policy {
    words: Vec<(&'static str, String)>,
    sizes: Vec<Enabled>,
}
