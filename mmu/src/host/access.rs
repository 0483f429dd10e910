//! What a program at EL0 does: loads, stores and fetches, through the TLB of its CPU. Here stale data is really read, and written.
//!
//! Translation and access are one event: a TLBI with its DSB waits for accesses that are under way (DDI 0487, D8.16.5). The access
//! flag and the dirty state are updated as the features say (FEAT_HAFDBS).

use std::panic::Location;
use std::sync::atomic::Ordering;

use super::event::{Event, Seen};
use super::machine::Machine;
use super::tlb::{Tlb, mask};
use super::walk::{Walk, walk};
use crate::addr::{Asid, PAGE_SIZE, PhysAddr, USER_END, VirtAddr};
use crate::descriptor::Descriptor;

/// What a program does with an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

/// Why an access faulted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// No valid descriptor.
    Translation,
    /// The access flag is clear, and hardware does not set it.
    AccessFlag,
    /// Valid, but not for this access.
    Permission,
}

/// An access that did not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Why.
    pub kind: FaultKind,
    /// The address that was accessed.
    pub address: VirtAddr,
}

/// What the attributes of a translation say to an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Yes,
    No,
    /// A store to a clean writable page: hardware records it in the descriptor first.
    RecordWrite,
}

impl Seen for Result<(), Fault> {
    fn seen(&self) -> u64 {
        if self.is_ok() { 0 } else { u64::MAX }
    }
}

impl Machine {
    /// Accesses one address as EL0 on this thread's CPU, without moving data. Returns where it went.
    #[track_caller]
    pub fn access(&self, address: VirtAddr, access: Access) -> Result<PhysAddr, Fault> {
        let location = Location::caller();
        self.step(Event::Access(address, access), || self.translate(address, access, location))
    }

    /// Loads bytes as EL0; each page is one access.
    #[track_caller]
    pub fn user_read(&self, from: VirtAddr, buffer: &mut [u8]) -> Result<(), Fault> {
        let location = Location::caller();
        let mut at = from;
        let mut rest = buffer;
        while !rest.is_empty() {
            let count = ((PAGE_SIZE - at.as_u64() % PAGE_SIZE) as usize).min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            self.step(Event::Access(at, Access::Read), || {
                let physical = self.translate(at, Access::Read, location)?;
                self.0.memory.read(physical, now);
                Ok(())
            })?;
            rest = later;
            at = at.add_bytes(count as u64);
        }
        Ok(())
    }

    /// Stores bytes as EL0; each page is one access.
    #[track_caller]
    pub fn user_write(&self, to: VirtAddr, bytes: &[u8]) -> Result<(), Fault> {
        let location = Location::caller();
        let mut at = to;
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = ((PAGE_SIZE - at.as_u64() % PAGE_SIZE) as usize).min(rest.len());
            let (now, later) = rest.split_at(count);
            self.step(Event::Access(at, Access::Write), || {
                let physical = self.translate(at, Access::Write, location)?;
                self.0.memory.write(physical, now);
                Ok(())
            })?;
            rest = later;
            at = at.add_bytes(count as u64);
        }
        Ok(())
    }

    /// Loads a 64-bit word as EL0.
    #[track_caller]
    pub fn user_read_u64(&self, from: VirtAddr) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        self.user_read(from, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Stores a 64-bit word as EL0.
    #[track_caller]
    pub fn user_write_u64(&self, to: VirtAddr, value: u64) -> Result<(), Fault> {
        self.user_write(to, &value.to_le_bytes())
    }

    /// Walks the active tables of this CPU for `address`, past its TLB and without a trace. `None` where no table is active.
    pub fn walk(&self, address: VirtAddr) -> Option<Walk> {
        let (root, _) = self.this_cpu().root()?;
        Some(walk(&self.0.memory, root, 0, address))
    }

    fn translate(&self, address: VirtAddr, access: Access, at: &'static Location<'static>) -> Result<PhysAddr, Fault> {
        let fault = |kind| Fault { kind, address };
        let cpu = self.this_cpu();
        let root = cpu.root().filter(|_| address.as_u64() < USER_END);
        let (root, asid) = root.ok_or(fault(FaultKind::Translation))?;
        let asid = mask(asid, self.0.features);
        cpu.with_tlb(|tlb| {
            if let Some((key, entry)) = tlb.lookup(asid, address) {
                match self.answer(entry.descriptor, access) {
                    Answer::Yes => return Ok(entry.output(address)),
                    Answer::No => return Err(fault(FaultKind::Permission)),
                    Answer::RecordWrite => tlb.remove(key),
                }
            }
            self.fill(tlb, root, asid, address, access, at).map_err(fault)
        })
    }

    /// Walks, updates the descriptor as hardware does, and keeps the result in the TLB.
    fn fill(
        &self,
        tlb: &mut Tlb,
        root: PhysAddr,
        asid: Asid,
        address: VirtAddr,
        access: Access,
        at: &'static Location<'static>,
    ) -> Result<PhysAddr, FaultKind> {
        loop {
            let (table, level) = tlb.table(asid, address).map_or((root, 0), |table| (table, 3));
            let mut found = walk(&self.0.memory, table, level, address);
            tlb.fill_table(asid, address, &found);
            if !found.is_mapped() {
                return Err(FaultKind::Translation);
            }
            if !found.descriptor.is_young() && !self.0.features.hardware_access {
                return Err(FaultKind::AccessFlag);
            }
            let old = found.descriptor;
            found.descriptor = old.make_young();
            if self.answer(old, access) == Answer::RecordWrite {
                found.descriptor = found.descriptor.record_write();
            }
            if found.descriptor != old && !self.update(&found, old, at) {
                continue; // software was faster
            }
            tlb.fill(asid, address, &found);
            return match self.answer(found.descriptor, access) {
                Answer::Yes => {
                    let offset = address.as_u64() & ((1 << crate::addr::level_shift(found.level)) - 1);
                    Ok(found.descriptor.address().add_bytes(offset))
                }
                _ => Err(FaultKind::Permission),
            };
        }
    }

    fn update(&self, found: &Walk, old: Descriptor, at: &'static Location<'static>) -> bool {
        let word = self.0.memory.word(found.address);
        let new = found.descriptor.bits();
        let done = word.compare_exchange(old.bits(), new, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if done {
            self.record(Event::HardwareUpdate(found.address, new), old.bits(), at);
        }
        done
    }

    /// Stage 1 permissions of EL0 (DDI 0487, D8.4).
    fn answer(&self, descriptor: Descriptor, access: Access) -> Answer {
        let yes = match access {
            Access::Execute => descriptor.is_user_executable(),
            Access::Read => descriptor.is_user(),
            Access::Write => descriptor.is_user() && !descriptor.is_read_only(),
        };
        let dirty_by_hardware = access == Access::Write && self.0.features.hardware_dirty && descriptor.is_writable();
        if yes {
            Answer::Yes
        } else if dirty_by_hardware && descriptor.is_user() {
            Answer::RecordWrite
        } else {
            Answer::No
        }
    }
}
