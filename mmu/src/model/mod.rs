//! The model: a translation cache as stale as the architecture allows, and the rules that are held against it.
//!
//! It is told every event of the door, in the order in which they happen, and keeps what any CPU could still hold: for each entry of
//! a table in use its value; for each value that was replaced, who may have it cached, and how far its invalidation has come. The
//! adversary is always at its worst:
//!
//! | | it may | so the model |
//! |---|---|---|
//! | A1 | walk at any time, also for addresses never touched | takes every valid entry with its access flag set for cached, by every CPU that ran the space |
//! | A2 | keep what it has | forgets only what a completed invalidation covers |
//! | A3 | hold a contiguous block as one entry or as sixteen | asks each page to be covered, and no member to come back before all are |
//! | A4 | see a store late | lets every CPU that walks before the DSB have the old value |
//! | A5 | put an old value back | lets a TLBI before the DSB of the store have done nothing |
//! | A6 | walk from a cached table entry | lets leaf operations leave it alone |
//! | A7 | hit two entries at once | calls a translation that differs from one that may be held a breach |
//!
//! The union of all that any CPU may hold is kept, not one possible TLB: a breach is reported when *some* choice of the adversary
//! would go wrong. What it needs grows with what was replaced since the last completed invalidation, and is bounded from the start:
//! if the bound is met the verdict is "unknown", never "pass" (MS-51).
//!
//! Only the half of TTBR0 is modelled. The kernel's own map is made by `boot` before there is a door, and does not change.

extern crate alloc;

mod barriers;
mod breaches;
mod contexts;
mod cpu;
mod entry;
mod facts;
mod frames;
mod groups;
mod links;
mod lints;
#[cfg(test)]
mod naive;
mod rule;
mod snapshot;
mod spaces;
mod stale;
mod stores;
mod tables;
mod tally;
mod verdict;
#[cfg(not(target_os = "none"))]
mod view;
#[cfg_attr(target_os = "none", expect(dead_code, reason = "on the hardware programs access memory without asking"))]
mod weak;

pub use rule::{Level, Rule};
pub use stores::{Means, Write};
pub use verdict::{Breach, Held, Verdict, When};

use alloc::boxed::Box;
use alloc::vec;
use core::panic::Location;

use crate::addr::Pfn;
use crate::features::Features;
use contexts::Contexts;
use cpu::Cpu;
use frames::Frames;
use lints::Lints;
use stale::StaleList;
use tables::Tables;
use weak::WeakRing;

/// CPUs that the model has room for.
pub const MAX_CPUS: usize = 8;

/// A line of the source.
pub type Line = &'static Location<'static>;

/// What became of an event: nothing, or a breach.
pub type Judged = Result<(), Breach>;

/// A set of CPUs, one bit each.
pub(crate) type CpuSet = u8;

/// The set of one.
pub(crate) const fn one(cpu: usize) -> CpuSet {
    1 << cpu
}

/// What is modelled, and how much room there is for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// BBM level, hardware updates, TTL, ranges, bits of an ASID.
    pub features: Features,
    /// How many CPUs there are.
    pub cpus: usize,
    /// The first frame of memory.
    pub first_frame: Pfn,
    /// How many frames there are.
    pub frames: usize,
    /// Entries that the Contiguous bit joins: 16 with 4 KiB granules, fewer in small scenarios.
    pub block: usize,
    /// Table pages at a time.
    pub tables: usize,
    /// Runs of replaced entries that wait for their invalidation.
    pub stale: usize,
}

impl Config {
    /// Runs of replaced entries that are room enough for whatever memory management leaves to one flush.
    pub const STALE: usize = 1 << 14;
}

/// The model of one machine.
#[derive(Debug)]
pub struct Model {
    config: Config,
    /// Events so far.
    now: u64,
    /// The line of the event that is judged.
    line: Line,
    frames: Frames,
    tables: Tables,
    contexts: Contexts,
    stale: StaleList,
    weak: WeakRing,
    cpus: Box<[Cpu]>,
    lints: Lints,
    warnings: [Option<Breach>; WARNINGS],
    verdict: Verdict,
    assumes_no_abort: bool,
}

/// Warnings that are kept, the first ones.
const WARNINGS: usize = 8;

impl Model {
    /// A machine whose tables are all still to be made. Everything that it will ever need is allocated here.
    pub fn new(config: Config) -> Self {
        assert!((1..=MAX_CPUS).contains(&config.cpus), "a model of {} CPUs", config.cpus);
        assert!(config.block.is_power_of_two() && config.block <= crate::CONT_PTES, "blocks of {}", config.block);
        Self {
            now: 0,
            line: Location::caller(),
            frames: Frames::new(config.first_frame, config.frames),
            tables: Tables::new(config.tables),
            contexts: Contexts::new(config.features.asid_bits),
            stale: StaleList::new(config.stale),
            weak: WeakRing::new(),
            cpus: vec![Cpu::default(); config.cpus].into_boxed_slice(),
            lints: Lints::default(),
            warnings: [None; WARNINGS],
            verdict: Verdict::Pass,
            assumes_no_abort: false,
            config,
        }
    }

    /// What is held of everything so far. After the first breach nothing more is judged.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Warnings so far: those that were kept.
    pub fn warnings(&self) -> impl Iterator<Item = &Breach> {
        self.warnings.iter().flatten()
    }

    /// How often each cost lint struck.
    pub fn lints(&self) -> impl Iterator<Item = (Rule, u64)> {
        self.lints.counts()
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.now
    }

    /// Whether some verdict rests on the assumption that no CPU raises a TLB conflict abort (MS-12).
    pub fn assumes_no_abort(&self) -> bool {
        self.assumes_no_abort
    }

    /// Says that an event was lost, so that nothing can be said any more (MS-51).
    pub fn lose(&mut self, why: &'static str) {
        if self.has_seen_all() {
            self.verdict = Verdict::Unknown(why);
        }
    }

    /// Whether nothing was lost or found yet.
    fn has_seen_all(&self) -> bool {
        matches!(self.verdict, Verdict::Pass)
    }

    /// One event, by the door's own numbers: takes its time, judges it, and keeps what is found. Returns a breach that the caller has
    /// not been told yet; a warning goes on to count as the run's, but does not end it.
    pub(crate) fn judge(
        &mut self,
        cpu: usize,
        number: u64,
        line: Line,
        work: impl FnOnce(&mut Self) -> Judged,
    ) -> Option<Breach> {
        self.number(cpu, number);
        if !self.has_seen_all() {
            return None;
        }
        self.now += 1;
        self.line = line;
        let breach = work(self).err()?;
        if breach.rule.level() == Level::Warning {
            if let Some(free) = self.warnings.iter_mut().find(|warning| warning.is_none()) {
                *free = Some(breach);
            }
        } else {
            self.verdict = Verdict::Breach(breach);
        }
        Some(breach)
    }

    /// This moment, on `cpu`.
    fn when(&self, cpu: usize) -> When {
        When { event: self.now, cpu: cpu as u8, line: self.line }
    }

    fn all_cpus(&self) -> CpuSet {
        ((1u16 << self.config.cpus) - 1) as CpuSet
    }
}
