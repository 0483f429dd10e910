//! A program's loads and stores, as cases make them: through the tables by a walk in software, so that the same case runs where no
//! program does. On the host the machine's own CPUs, with their TLBs, take the place of it.

use alloc::sync::Arc;

use mm::{Memory, Space};
use mmu::{Descriptor, PhysAddr, STAGE1, VirtAddr, level_shift};

/// What a CPU does when a program accesses memory.
pub trait Cpu {
    /// The physical address behind `address`, with access flag and dirty state set where this CPU does that by itself; `None` if the
    /// access faults.
    fn access(&self, memory: &Memory, space: &Arc<Space>, address: VirtAddr, write: bool) -> Option<PhysAddr>;

    /// Runs in `space` from now on, where that makes a difference.
    fn enter(&self, _memory: &Memory, _space: &Arc<Space>) {}

    /// Runs in no space from now on.
    fn leave(&self, _memory: &Memory) {}
}

/// Walks the tables for every access. It knows no TLB.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableWalk;

impl Cpu for TableWalk {
    fn access(&self, memory: &Memory, space: &Arc<Space>, address: VirtAddr, write: bool) -> Option<PhysAddr> {
        let features = memory.door.features();
        let (entry, level) = space.tables.look(memory, address);
        if !entry.is_valid() || !entry.is_user() || (write && !entry.is_writable()) {
            return None;
        }
        let found = output(entry, level, address);
        if level < 3 {
            // A block has its flags from the start.
            return Some(found);
        }
        let slot = space.tables.find(memory, address)?.slot(address);
        let needs_flag = !entry.is_young();
        let needs_dirty = write && entry.is_read_only();
        if (needs_flag && !features.hardware_access) || (needs_dirty && !features.hardware_dirty) {
            return None;
        }
        if needs_flag || needs_dirty {
            memory.door.update(slot, |now| by_hardware(now, write));
        }
        Some(found)
    }
}

/// Where an entry of a table of `level` puts an address.
pub fn output(entry: Descriptor, level: u8, address: VirtAddr) -> PhysAddr {
    entry.address().add_bytes(address.as_u64() & ((1 << level_shift(level)) - 1))
}

/// What FEAT_HAFDBS makes of an entry that is accessed: this one alone, not its siblings in a folded block (DDI 0487, D8.5.5).
pub fn by_hardware(entry: Descriptor, write: bool) -> Descriptor {
    let young = entry.make_young();
    let read_only = STAGE1::READ_ONLY.mask << STAGE1::READ_ONLY.shift;
    if write { Descriptor::from_bits(young.bits() & !read_only) } else { young }
}
