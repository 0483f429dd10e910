//! A CPU of the simulated machine.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{Asid, PhysAddr, VirtAddr};
use crate::events::Events;

const ASID_SHIFT: u32 = 48;
/// TTBR0_EL1 before the first activation: no table.
const NO_TABLE: u64 = u64::MAX;

/// A CPU: its counters, TTBR0_EL1, and where its program was last. Its TLB is in the model.
#[derive(Debug)]
#[repr(align(128))] // counters of two CPUs never share a cache line
pub(super) struct Cpu {
    pub(super) events: Events,
    ttbr0: AtomicU64,
    /// Events that it has told the model.
    pub(super) told: AtomicU64,
    last_access: AtomicU64,
}

impl Cpu {
    pub(super) fn new() -> Self {
        Self {
            events: Events::new(),
            ttbr0: AtomicU64::new(NO_TABLE),
            told: AtomicU64::new(0),
            last_access: AtomicU64::new(0),
        }
    }

    /// The root of the user tables and the ASID, once there is one.
    pub(super) fn root(&self) -> Option<(PhysAddr, Asid)> {
        let value = self.ttbr0.load(Ordering::Relaxed);
        let root = PhysAddr::new(value & ((1 << ASID_SHIFT) - 1));
        (value != NO_TABLE).then_some((root, Asid::new((value >> ASID_SHIFT) as u16)))
    }

    /// It runs in other tables from now on.
    pub(super) fn set_root(&self, root: PhysAddr, asid: Asid) {
        let value = (u64::from(asid.as_u16()) << ASID_SHIFT) | root.as_u64();
        self.ttbr0.store(value, Ordering::Relaxed);
        self.note_access(VirtAddr::default());
    }

    /// The address that its program accessed last, in the space that it runs.
    pub(super) fn last_access(&self) -> Option<VirtAddr> {
        Some(self.last_access.load(Ordering::Relaxed)).filter(|&address| address != 0).map(VirtAddr::new)
    }

    pub(super) fn note_access(&self, address: VirtAddr) {
        self.last_access.store(address.as_u64(), Ordering::Relaxed);
    }
}
