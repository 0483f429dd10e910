//! Builds the kernel's own map: image, linear map of all memory, device registers.
//!
//! The tables are not in use while they are built, so they are written plainly; once they are active only the door touches them.
//! Each piece uses the biggest blocks that fit, and the Contiguous bit for each aligned group of sixteen (DDI 0487, "The Contiguous bit").

use mmu::{Descriptor, ENTRIES, PAGE_SIZE, PhysAddr, STAGE1, VirtAddr, level_shift};
use tock_registers::fields::FieldValue;

use crate::memory::PhysRange;

/// Where device registers are mapped: their physical address or'ed with this.
pub const DEVICE_BASE: u64 = 0xFFFF_9000_0000_0000;

/// The kernel's address of a device register, once its page is mapped.
pub const fn device_address(physical: u64) -> u64 {
    DEVICE_BASE | physical
}

/// Entries that one Contiguous bit joins, at every level of the 4 KiB granule.
const GROUP: u64 = 16;

/// A page of descriptors.
#[derive(Clone, Copy)]
#[repr(C, align(4096))]
pub struct TablePage(pub [Descriptor; ENTRIES]);

impl TablePage {
    /// A table without entries.
    pub const EMPTY: Self = Self([Descriptor::NONE; ENTRIES]);
}

/// What a piece of the map is for, which says who may do what with it. Nothing of it is for EL0, nothing writable is executable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Instructions: read and execute.
    Text,
    /// Constants: read.
    Constants,
    /// Memory: read and write.
    Data,
    /// Device registers: read and write, Device-nGnRE.
    Device,
}

impl Use {
    /// The descriptor of a page at physical address 0.
    fn descriptor(self) -> u64 {
        let memory = STAGE1::VALID::SET + STAGE1::ACCESS::SET + STAGE1::UXN::SET;
        let memory = match self {
            Self::Device => memory + STAGE1::ATTR_INDEX::Device,
            _ => memory + STAGE1::ATTR_INDEX::Normal + STAGE1::SHAREABILITY::Inner,
        };
        let access: FieldValue<u64, STAGE1::Register> = match self {
            Self::Text => memory + STAGE1::READ_ONLY::SET,
            Self::Constants => memory + STAGE1::READ_ONLY::SET + STAGE1::PXN::SET,
            Self::Data | Self::Device => memory + STAGE1::PXN::SET,
        };
        access.value
    }
}

/// The pool of table pages is used up: the memory map is more broken up than foreseen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolEmpty;

/// A map under construction. The first page of the pool is the level 0 table.
pub struct KernelMap<'a> {
    pool: &'a mut [TablePage],
    pool_address: PhysAddr,
    used: usize,
}

impl<'a> KernelMap<'a> {
    /// An empty map, with tables from `pool`, which lies at the physical address `pool_address`.
    pub fn new(pool: &'a mut [TablePage], pool_address: PhysAddr) -> Self {
        pool[0] = TablePage::EMPTY;
        Self { pool, pool_address, used: 1 }
    }

    /// The level 0 table.
    pub const fn root(&self) -> PhysAddr {
        self.pool_address
    }

    /// Table pages used so far.
    pub const fn used(&self) -> usize {
        self.used
    }

    /// Maps `physical` at `address`. Neither overlaps anything mapped before, and both are whole pages.
    ///
    /// # Errors
    /// [`PoolEmpty`].
    pub fn map(&mut self, address: VirtAddr, physical: PhysRange, usage: Use) -> Result<(), PoolEmpty> {
        let mut done = 0;
        while done < physical.size() {
            let (at, to) = (address.as_u64() + done, physical.start + done);
            let (level, count) = biggest(at | to, physical.size() - done);
            self.fill(VirtAddr::new(at), to, level, count, usage)?;
            done += count << level_shift(level);
        }
        Ok(())
    }

    /// Writes `count` neighbouring entries of `level`: one, or a contiguous group.
    fn fill(&mut self, address: VirtAddr, physical: u64, level: u8, count: u64, usage: Use) -> Result<(), PoolEmpty> {
        let page = if level == 3 { STAGE1::TABLE_OR_PAGE::SET.value } else { 0 };
        let table = self.table(address, level)?;
        let first = address.index(level);
        for index in 0..count {
            let bits = usage.descriptor() | page | (physical + (index << level_shift(level)));
            let entry = &mut self.pool[table].0[first + index as usize];
            debug_assert!(entry.is_none(), "kernel map overlaps at {address}");
            *entry = Descriptor::from_bits(bits).with_contiguous(count == GROUP);
        }
        Ok(())
    }

    /// The pool index of the table of `level` for `address`, made if it is not there.
    fn table(&mut self, address: VirtAddr, level: u8) -> Result<usize, PoolEmpty> {
        let mut table = 0;
        for above in 0..level {
            let entry = self.pool[table].0[address.index(above)];
            debug_assert!(entry.is_none() || entry.is_table());
            table = if entry.is_none() { self.link(table, address.index(above))? } else { self.index_of(entry) };
        }
        Ok(table)
    }

    fn link(&mut self, table: usize, index: usize) -> Result<usize, PoolEmpty> {
        let fresh = self.used;
        *self.pool.get_mut(fresh).ok_or(PoolEmpty)? = TablePage::EMPTY;
        self.used += 1;
        let address = self.pool_address.add_bytes(fresh as u64 * PAGE_SIZE);
        self.pool[table].0[index] = Descriptor::table(address);
        Ok(fresh)
    }

    fn index_of(&self, entry: Descriptor) -> usize {
        ((entry.address().as_u64() - self.pool_address.as_u64()) / PAGE_SIZE) as usize
    }
}

/// The level of the biggest entries that fit both the alignment (bits of both addresses or'ed) and the size, and how many: a
/// contiguous group if one fits.
fn biggest(addresses: u64, size: u64) -> (u8, u64) {
    let fits = |bytes: u64| addresses & (bytes - 1) == 0 && size >= bytes;
    for level in 1..=3 {
        let block = 1 << level_shift(level);
        if fits(GROUP * block) {
            return (level, GROUP);
        }
        if fits(block) {
            return (level, 1);
        }
    }
    (3, 1)
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
