//! Where descriptors live: table pages, their entries, and the aligned blocks that the Contiguous bit may join.

use crate::addr::{ENTRIES, PhysAddr, VirtAddr};

/// Entries of a contiguous block of last-level entries with 4 KiB granules: 64 KiB (DDI 0487, D8.7.1).
pub const CONT_PTES: usize = 16;

/// A table page of levels 0 to 3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    address: PhysAddr,
    level: u8,
}

impl Table {
    /// The table of `level` that fills the frame at `address`.
    pub const fn new(address: PhysAddr, level: u8) -> Self {
        debug_assert!(level <= 3 && address.as_u64() & 0xfff == 0);
        Self { address, level }
    }

    /// The address of its first entry.
    pub const fn address(self) -> PhysAddr {
        self.address
    }

    /// Its level of lookup, 0 to 3.
    pub const fn level(self) -> u8 {
        self.level
    }

    /// Its entry for `address`; the table is of level 0 to 2.
    pub const fn upper_slot(self, address: VirtAddr) -> UpperSlot {
        debug_assert!(self.level < 3);
        UpperSlot { address: self.address.add_bytes(8 * address.index(self.level) as u64), level: self.level }
    }

    /// Its entry for `address`; the table is of level 3.
    pub const fn slot(self, address: VirtAddr) -> Slot {
        debug_assert!(self.level == 3);
        Slot(self.address.add_bytes(8 * address.index(3) as u64))
    }
}

/// An entry of a table of levels 0 to 2: it holds a table descriptor, a block, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpperSlot {
    address: PhysAddr,
    level: u8,
}

impl UpperSlot {
    /// Where the entry is.
    pub const fn address(self) -> PhysAddr {
        self.address
    }

    /// The level of the table that holds it.
    pub const fn level(self) -> u8 {
        self.level
    }
}

/// An entry of a last-level table: what Linux calls a `pte_t *`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(transparent)]
pub struct Slot(PhysAddr);

impl Slot {
    /// Where the entry is.
    pub const fn address(self) -> PhysAddr {
        self.0
    }

    /// Its index in the table, 0 to 511.
    pub const fn index(self) -> usize {
        (self.0.as_u64() as usize >> 3) & (ENTRIES - 1)
    }

    /// The entry `count` on, in the same table.
    pub const fn add(self, count: usize) -> Self {
        debug_assert!(self.index() + count <= ENTRIES);
        Self(self.0.add_bytes(8 * count as u64))
    }

    /// The entry `count` before, if the table starts no later.
    pub const fn sub(self, count: usize) -> Option<Self> {
        if count > self.index() { None } else { Some(Self(PhysAddr::new(self.0.as_u64() - 8 * count as u64))) }
    }

    /// The contiguous block it belongs to.
    pub const fn block(self) -> ContBlock {
        ContBlock(Self(PhysAddr::new(self.0.as_u64() & !(8 * CONT_PTES as u64 - 1))))
    }

    /// Its place in its block, 0 to 15.
    pub const fn index_in_block(self) -> usize {
        self.index() & (CONT_PTES - 1)
    }

    /// Entries from it to the end of the table.
    pub const fn left_in_table(self) -> usize {
        ENTRIES - self.index()
    }
}

/// Sixteen last-level entries, aligned to sixteen by construction. Holding one says nothing about what the entries hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContBlock(Slot);

impl ContBlock {
    /// Its first entry.
    pub const fn first(self) -> Slot {
        self.0
    }

    /// Its last entry.
    pub const fn last(self) -> Slot {
        self.0.add(CONT_PTES - 1)
    }
}
