//! What a program at EL0 does: loads, stores and fetches. An access uses what its CPU may hold for the address, by the seed: an entry
//! that was replaced and not invalidated for certain, or the one that a walk finds now. Here stale data is really read, and written.
//!
//! Translation and access are one event: a TLBI with its DSB waits for accesses that are under way (DDI 0487, D8.16.5). The access
//! flag and the dirty state are updated as the features say (FEAT_HAFDBS).

use std::panic::Location;
use std::sync::atomic::Ordering;
use std::vec::Vec;

use super::event::{Event, Seen};
use super::machine::Machine;
use super::walk::{Walk, walk};
use crate::addr::{PAGE_SIZE, PhysAddr, USER_END, VirtAddr, level_shift};
use crate::descriptor::Descriptor;
use crate::fact::Access;
use crate::model::Line;

/// Why an access faulted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
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
        let line = Location::caller();
        self.step(line, Event::Access(address, access), || self.translate(self.cpu(), address, access, line))
    }

    /// Loads bytes as EL0; each page is one access.
    #[track_caller]
    pub fn user_read(&self, from: VirtAddr, buffer: &mut [u8]) -> Result<(), Fault> {
        let line = Location::caller();
        let mut done = 0;
        self.by_page(from, buffer.len(), Access::Read, line, |physical, count| {
            self.0.memory.read(physical, &mut buffer[done..done + count]);
            done += count;
        })
    }

    /// Stores bytes as EL0; each page is one access.
    #[track_caller]
    pub fn user_write(&self, to: VirtAddr, bytes: &[u8]) -> Result<(), Fault> {
        let line = Location::caller();
        let mut done = 0;
        self.by_page(to, bytes.len(), Access::Write, line, |physical, count| {
            self.0.memory.write(physical, &bytes[done..done + count]);
            done += count;
        })
    }

    /// Moves `length` bytes, a page at a time: `transfer` gets the physical address and how many bytes follow it in the page.
    fn by_page(
        &self,
        start: VirtAddr,
        length: usize,
        access: Access,
        line: Line,
        mut transfer: impl FnMut(PhysAddr, usize),
    ) -> Result<(), Fault> {
        let end = start.add_bytes(length as u64);
        let mut at = start;
        while at < end {
            let next = at.page().add_pages(1).min(end);
            let count = (next.as_u64() - at.as_u64()) as usize;
            debug_assert!(count as u64 <= PAGE_SIZE);
            self.step(line, Event::Access(at, access), || {
                transfer(self.translate(self.cpu(), at, access, line)?, count);
                Ok(())
            })?;
            at = next;
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

    /// What a walker may do to a space at any time, and a program by a store that changes nothing: the access flag of a page of the space
    /// that `cpu` runs is set, and with `dirty` its dirty state.
    pub(super) fn disturb(&self, cpu: usize, dirty: bool, line: Line) {
        if let Some(address) = self.cpu_at(cpu).last_access() {
            let _ = self.translate(cpu, address, if dirty { Access::Write } else { Access::Read }, line);
        }
    }

    fn translate(&self, cpu: usize, address: VirtAddr, access: Access, line: Line) -> Result<PhysAddr, Fault> {
        let fault = |kind| Fault { kind, address };
        self.tell(line, |model, _| model.accessed(cpu));
        let this = self.cpu_at(cpu);
        this.note_access(address);
        let root = this.root().filter(|_| address.as_u64() < USER_END);
        let (root, _) = root.ok_or(fault(FaultKind::Translation))?;
        if let Some(held) = self.choose_held(cpu, address) {
            match self.answer(held, access) {
                Answer::Yes => return Ok(output(held, 3, address)),
                Answer::No => return Err(fault(FaultKind::Permission)),
                // The descriptor has to be updated first, so the walk decides.
                Answer::RecordWrite => {}
            }
        }
        self.fetch(cpu, root, address, access, line).map_err(fault)
    }

    /// One of the translations that the CPU may hold beside the one in the table, or none of them.
    fn choose_held(&self, cpu: usize, address: VirtAddr) -> Option<Descriptor> {
        let mut held = Vec::new();
        self.with_model(|model| model.for_each_held(cpu, address, self.0.adversary, |entry| held.push(entry)));
        if held.is_empty() {
            return None;
        }
        held.get(self.random(held.len() + 1)).copied()
    }

    /// Walks, from the root or from a table that the walk cache may still have, and updates the descriptor as hardware does.
    fn fetch(
        &self,
        cpu: usize,
        root: PhysAddr,
        address: VirtAddr,
        access: Access,
        line: Line,
    ) -> Result<PhysAddr, FaultKind> {
        let cached = self.with_model(|model| model.cached_table(cpu, address)).filter(|_| self.random(2) == 0);
        loop {
            let (table, level) = cached.map_or((root, 0), |table| (table, 3));
            let found = walk(&self.0.memory, table, level, address);
            if !found.is_mapped() {
                return Err(FaultKind::Translation);
            }
            if !found.descriptor.is_young() && !self.0.features.hardware_access {
                return Err(FaultKind::AccessFlag);
            }
            let mut new = found.descriptor.make_young();
            if self.answer(found.descriptor, access) == Answer::RecordWrite {
                new = new.record_write();
            }
            if new != found.descriptor && !self.update(&found, new, line) {
                continue; // software was faster
            }
            return match self.answer(new, access) {
                Answer::Yes => Ok(output(new, found.level, address)),
                _ => Err(FaultKind::Permission),
            };
        }
    }

    fn update(&self, found: &Walk, new: Descriptor, line: Line) -> bool {
        let word = self.0.memory.word(found.address);
        let old = found.descriptor.bits();
        let done = word.compare_exchange(old, new.bits(), Ordering::AcqRel, Ordering::Acquire).is_ok();
        if done {
            self.tell(line, |model, cpu| model.hardware_update(cpu, found.address, new));
            self.record(Event::HardwareUpdate(found.address, new.bits()), old, line);
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

/// Where an entry of `level` puts an address.
fn output(entry: Descriptor, level: u8, address: VirtAddr) -> PhysAddr {
    entry.address().add_bytes(address.as_u64() & ((1 << level_shift(level)) - 1))
}
