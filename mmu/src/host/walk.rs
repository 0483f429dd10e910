//! The table walk of four levels (DDI 0487, D8.2).

use std::sync::atomic::Ordering;

use super::memory::Memory;
use crate::addr::{PhysAddr, VirtAddr};
use crate::descriptor::Descriptor;

/// Where a walk ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Walk {
    /// The level of the last table it read, 0 to 3.
    pub level: u8,
    /// That table.
    pub table: PhysAddr,
    /// The address of the entry there.
    pub address: PhysAddr,
    /// What the entry holds.
    pub descriptor: Descriptor,
}

impl Walk {
    /// Whether it ended at a page or block.
    pub const fn is_mapped(&self) -> bool {
        // 0b01 is a block at levels 1 and 2 and reserved elsewhere; 0b11 is a page at level 3.
        self.descriptor.is_valid() && (self.descriptor.is_table() == (self.level == 3)) && self.level > 0
    }
}

/// Walks from `table` of `level` on.
pub(super) fn walk(memory: &Memory, mut table: PhysAddr, mut level: u8, address: VirtAddr) -> Walk {
    loop {
        let slot = table.add_bytes(8 * address.index(level) as u64);
        let descriptor = Descriptor::from_bits(memory.word(slot).load(Ordering::Acquire));
        if level == 3 || !descriptor.is_table() {
            return Walk { level, table, address: slot, descriptor };
        }
        table = descriptor.address();
        level += 1;
    }
}
