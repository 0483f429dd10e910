//! What passes through the door, counted: every descriptor access, TLB invalidation and barrier, for each CPU.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::tlb_op::{Cause, KINDS};

/// A counter that one CPU raises and anyone reads.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Raises it by `count`. Not an atomic addition: only the CPU that owns the counter calls this.
    #[inline(always)]
    pub fn add(&self, count: u64) {
        if cfg!(feature = "counters") {
            self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
        }
    }

    /// Its value.
    #[inline(always)]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The kinds of data synchronization barrier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Dsb {
    /// Inner shareable, stores only: orders descriptor stores before a broadcast TLBI.
    IshSt,
    /// Inner shareable: completes broadcast TLBI.
    Ish,
    /// This CPU, stores only.
    NshSt,
    /// This CPU.
    Nsh,
}

impl Dsb {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// Their names, in order.
    pub const NAMES: [&str; Self::COUNT] = ["ishst", "ish", "nshst", "nsh"];
}

/// The door's counters of one CPU.
#[derive(Debug)]
pub struct Events {
    /// Loads of last-level descriptors.
    pub reads: Counter,
    /// Atomic swaps of last-level descriptors.
    pub swaps: Counter,
    /// Stores of last-level descriptors.
    pub stores: Counter,
    /// Compare-and-swaps of last-level descriptors.
    pub exchanges: Counter,
    /// Loads of last-level descriptors from which a compare-and-swap begins; they are not in `reads`.
    pub update_reads: Counter,
    /// Loads of descriptors of levels 0 to 2.
    pub table_reads: Counter,
    /// Stores and swaps of descriptors of levels 0 to 2.
    pub table_stores: Counter,
    /// TLBI by [`TlbOp::kind`](crate::tlb_op::TlbOp::kind).
    pub tlbi: [Counter; KINDS],
    /// The same TLBI by [`Cause`].
    pub tlbi_causes: [Counter; Cause::COUNT],
    /// DSB by [`Dsb`].
    pub dsb: [Counter; Dsb::COUNT],
    /// ISB.
    pub isb: Counter,
}

impl Events {
    /// All at zero.
    pub const fn new() -> Self {
        Self {
            reads: Counter::new(),
            swaps: Counter::new(),
            stores: Counter::new(),
            exchanges: Counter::new(),
            update_reads: Counter::new(),
            table_reads: Counter::new(),
            table_stores: Counter::new(),
            tlbi: [const { Counter::new() }; KINDS],
            tlbi_causes: [const { Counter::new() }; Cause::COUNT],
            dsb: [const { Counter::new() }; Dsb::COUNT],
            isb: Counter::new(),
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}
