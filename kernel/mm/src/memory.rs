//! The one value that holds the state of memory management.

use mmu::{Door, Fact, Operation, Pfn, Role};

use alloc::boxed::Box;
use core::ops::Range;

use crate::MAX_CPUS;
use crate::count::{Counters, SizeCounters};
use crate::deferred::DeferredSplits;
use crate::errno::Errno;
use crate::file::Files;
use crate::frame::{Frames, Orphan};
use crate::inject::Inject;
use crate::lru::Lru;
use crate::policy::{MAX_ORDER, Policy};
use crate::pressure::Pressure;
use crate::rmap::AnonVmas;
use crate::space::Asids;
use crate::swap::Swap;
use crate::swapoff::Spaces;
use crate::tlb::Flushed;

/// Sizes that folios can have: one for each order.
const SIZES: usize = MAX_ORDER as usize + 1;

/// All of memory management: frames, swap, lists, policy, counters. Used through `&Memory` by every CPU; it has no lock of its own.
#[derive(Debug)]
pub struct Memory {
    /// The door to tables, TLBs and frames.
    pub door: Door,
    /// All frames.
    pub frames: Frames,
    /// The swap device with its slots and cache.
    pub swap: Swap,
    /// The lists that reclaim takes from.
    pub lru: Lru,
    /// Folios that ought to be split.
    pub deferred: DeferredSplits,
    /// Places that can be told to fail.
    pub inject: Inject,
    /// Which areas may map which folio.
    pub anon: AnonVmas,
    /// The memory files.
    pub files: Files,
    pub(crate) asids: Asids,
    pub(crate) pressure: Pressure,
    pub(crate) spaces: Spaces,
    policy: Policy,
    counters: [Counters; MAX_CPUS],
    /// For each CPU. Apart, since the whole value passes over a small stack when it is made.
    sizes: Box<[[SizeCounters; SIZES]]>,
    zero_frame: Pfn,
    defects: mmu::Counter,
}

impl Memory {
    /// Memory management over `door`, with the frames of `usable`.
    ///
    /// # Errors
    /// `ENOMEM` if the frame array or the zero page do not fit.
    pub fn new(door: Door, usable: &[Range<Pfn>]) -> Result<Self, Errno> {
        let frames = Frames::new(usable)?;
        let asids = Asids::new(door.features().asid_bits);
        let zero = frames.alloc_table().ok_or(Errno::ENOMEM)?.frame();
        door.clear_pages(zero, 1);
        door.fact(Fact::FrameRole(zero, 1, Role::Folio));
        Ok(Self {
            door,
            frames,
            swap: Swap::new(),
            lru: Lru::new(),
            deferred: DeferredSplits::new(),
            inject: Inject::new(),
            anon: AnonVmas::new(),
            files: Files::new(),
            asids,
            pressure: Pressure::new(),
            spaces: Spaces::new(),
            policy: Policy::new(),
            counters: core::array::from_fn(|_| Counters::default()),
            sizes: (0..MAX_CPUS).map(|_| core::array::from_fn(|_| SizeCounters::default())).collect(),
            zero_frame: zero,
            defects: mmu::Counter::new(),
        })
    }

    /// The switches.
    #[inline(always)]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The counters of this CPU.
    #[inline(always)]
    pub fn count(&self) -> &Counters {
        &self.counters[self.door.cpu() % MAX_CPUS]
    }

    /// The counters of all CPUs, added up, in the order of [`Counters::NAMES`].
    pub fn count_all(&self) -> [u64; Counters::NAMES.len()] {
        sum(self.counters.iter().map(Counters::values))
    }

    /// The counters of this CPU for folios of an order.
    #[inline(always)]
    pub fn count_size(&self, order: usize) -> &SizeCounters {
        &self.sizes[self.door.cpu() % MAX_CPUS][order % SIZES]
    }

    /// Those of all CPUs, added up, in the order of [`SizeCounters::NAMES`].
    pub fn count_size_all(&self, order: usize) -> [u64; SizeCounters::NAMES.len()] {
        sum(self.sizes.iter().map(|sizes| sizes[order % SIZES].values()))
    }

    /// The frame full of zeros that reads of untouched memory see.
    pub fn zero_frame(&self) -> Pfn {
        self.zero_frame
    }

    /// Frees a folio that no CPU can reach.
    pub fn free_folio(&self, folio: Flushed<Orphan>) {
        if Door::IS_WATCHED {
            let (first, count) = self.frames.pages_of(&folio);
            self.door.fact(Fact::FrameRole(first, count, Role::Freed));
        }
        self.frames.free(folio);
    }

    /// Begins an operation: it is over when the value is dropped, and then nobody may hold what it took away.
    #[inline(always)]
    pub(crate) fn begin(&self, operation: Operation) -> Underway<'_> {
        self.door.fact(Fact::Begin(operation));
        Underway { memory: self, operation }
    }

    /// Records that something went wrong that could be mended on the spot. Tests look that there are none.
    pub(crate) fn note_defect(&self, what: &'static str) {
        self.defects.add(1);
        self.door.fact(Fact::Defect(what));
    }

    /// Defects noted so far.
    pub fn defects(&self) -> u64 {
        self.defects.get()
    }
}

/// An operation of memory management under way, for whoever watches at the door. Its flushes come before its end.
#[derive(Debug)]
#[must_use]
pub(crate) struct Underway<'m> {
    memory: &'m Memory,
    operation: Operation,
}

impl Drop for Underway<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.memory.door.fact(Fact::End(self.operation));
    }
}

/// Adds up what each CPU has.
fn sum<const N: usize>(each: impl Iterator<Item = [u64; N]>) -> [u64; N] {
    let mut sum = [0; N];
    for values in each {
        for (total, value) in sum.iter_mut().zip(values) {
            *total += value;
        }
    }
    sum
}
