//! What happens at the door and in the machine, as values: what a schedule looks at, what the log keeps, what a model is fed with.
//!
//! An event says what is asked for. What came of it stands in [`Record::seen`]. A run of n descriptors is n events here, since other
//! CPUs and table walks may come between any two of them.

use std::panic::Location;

use super::access::Fault;
use crate::addr::{Asid, Pfn, PhysAddr, VirtAddr};
use crate::door::{Mark, Run};
use crate::events::Dsb;
use crate::fact::{Access, Fact};
use crate::tlb_op::TlbOp;

/// Something that a CPU does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Loads a descriptor.
    Load(PhysAddr),
    /// Stores this value over a descriptor.
    Store(PhysAddr, u64),
    /// Swaps a descriptor for this value.
    Swap(PhysAddr, u64),
    /// Compares a descriptor with the first value and, if equal, swaps it for the second.
    CompareExchange(PhysAddr, u64, u64),
    /// Writes TTBR0_EL1.
    Activate(PhysAddr, Asid),
    /// Issues a TLB invalidation.
    Tlbi(TlbOp),
    /// Issues a DSB.
    Dsb(Dsb),
    /// Issues an ISB.
    Isb,
    /// Marks a point of its work.
    Mark(Mark),
    /// Tells a fact.
    Fact(Fact),
    /// The kernel fills frames with zero.
    ClearPages(Pfn, usize),
    /// The kernel copies frames: to, from, how many.
    CopyPages(Pfn, Pfn, usize),
    /// A device copies frames: to, from, how many.
    TransferPages(Pfn, Pfn, usize),
    /// The kernel looks whether frames are zero.
    ScanPages(Pfn, usize),
    /// The kernel reads bytes.
    ReadBytes(PhysAddr, usize),
    /// The kernel writes bytes.
    WriteBytes(PhysAddr, usize),
    /// Cleans data caches for instruction fetches.
    CleanToUnification(Pfn, usize),
    /// Invalidates instruction caches.
    InvalidateInstructions,
    /// A program accesses memory.
    Access(VirtAddr, Access),
    /// The walk of an access sets the access flag or the dirty state of a descriptor: only in the log, since it can not be apart
    /// from the access.
    HardwareUpdate(PhysAddr, u64),
}

impl Event {
    /// Whether it changes something that another CPU could be waiting for.
    pub(super) const fn is_progress(self) -> bool {
        !matches!(
            self,
            Self::Load(_) | Self::ScanPages(..) | Self::ReadBytes(..) | Self::Mark(_) | Self::Isb | Self::Dsb(_)
        )
    }
}

/// An event that has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// On which CPU.
    pub cpu: usize,
    /// What it was.
    pub event: Event,
    /// What it returned: the old descriptor, the physical address of an access, 1 for yes; 0 where nothing is returned, and
    /// `u64::MAX` for a fault.
    pub seen: u64,
    /// The line of the source that went through the door.
    pub location: &'static Location<'static>,
}

/// Results that fit a record.
pub(super) trait Seen {
    fn seen(&self) -> u64;
}

impl Seen for () {
    fn seen(&self) -> u64 {
        0
    }
}

impl Seen for u64 {
    fn seen(&self) -> u64 {
        *self
    }
}

impl Seen for bool {
    fn seen(&self) -> u64 {
        u64::from(*self)
    }
}

impl Seen for Run {
    fn seen(&self) -> u64 {
        self.first
    }
}

impl Seen for Result<u64, u64> {
    fn seen(&self) -> u64 {
        match self {
            Ok(value) | Err(value) => *value,
        }
    }
}

impl Seen for Result<PhysAddr, Fault> {
    fn seen(&self) -> u64 {
        self.as_ref().map_or(u64::MAX, |address| address.as_u64())
    }
}
