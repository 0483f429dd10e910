//! Addresses: virtual, physical, frame numbers and ASIDs, each a type of its own, so that one is never taken for another.
//!
//! The granule is 4 KiB with 48-bit addresses and four levels of lookup (DDI 0487, D8.2).

use core::fmt;

/// log2 of the granule.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes of a page: the 4 KiB granule.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;
/// Entries of a table page.
pub const ENTRIES: usize = 512;
/// Bytes that one last-level table maps: 2 MiB.
pub const TABLE_SPAN: u64 = PAGE_SIZE * ENTRIES as u64;
/// Where the linear map of physical memory starts: a physical address or'ed with this is its kernel address.
pub const LINEAR_BASE: u64 = 0xFFFF_0000_0000_0000;
/// One past the last user address: TTBR0 translates 48 bits.
pub const USER_END: u64 = 1 << 48;

/// A virtual address, of EL0 or of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct VirtAddr(u64);

impl VirtAddr {
    /// The address with this value.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// Its value.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The address of the page that holds it.
    pub const fn page(self) -> Self {
        self.align_down(PAGE_SIZE)
    }

    /// Its page number: the address in units of 4 KiB.
    pub const fn page_number(self) -> u64 {
        self.0 >> PAGE_SHIFT
    }

    /// Rounded down to a multiple of `size`, a power of two.
    pub const fn align_down(self, size: u64) -> Self {
        Self(self.0 & !(size - 1))
    }

    /// Whether it is a multiple of `size`, a power of two.
    pub const fn is_aligned(self, size: u64) -> bool {
        self.0 & (size - 1) == 0
    }

    /// One past the addresses that the same last-level table translates.
    pub const fn table_end(self) -> Self {
        self.align_down(TABLE_SPAN).add_bytes(TABLE_SPAN)
    }

    /// The address `count` pages on.
    pub const fn add_pages(self, count: usize) -> Self {
        Self(self.0 + ((count as u64) << PAGE_SHIFT))
    }

    /// The address `bytes` on.
    pub const fn add_bytes(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }

    /// Which entry of a table of `level` (0 to 3) translates it.
    pub const fn index(self, level: u8) -> usize {
        (self.0 >> level_shift(level)) as usize & (ENTRIES - 1)
    }
}

/// log2 of the bytes that one entry of a table of `level` maps: 39, 30, 21, 12.
pub const fn level_shift(level: u8) -> u32 {
    PAGE_SHIFT + 9 * (3 - level as u32)
}

/// A physical address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct PhysAddr(u64);

impl PhysAddr {
    /// The address with this value.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// Its value.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The frame that holds it.
    pub const fn frame(self) -> Pfn {
        Pfn(self.0 >> PAGE_SHIFT)
    }

    /// The address `bytes` on.
    pub const fn add_bytes(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

/// A page frame number: a physical address in units of 4 KiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Pfn(u64);

impl Pfn {
    /// The frame with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The address of its first byte.
    pub const fn start(self) -> PhysAddr {
        PhysAddr(self.0 << PAGE_SHIFT)
    }

    /// The frame `count` on.
    pub const fn add(self, count: usize) -> Self {
        Self(self.0 + count as u64)
    }

    /// Whether its number is a multiple of `count`, a power of two.
    pub const fn is_aligned(self, count: usize) -> bool {
        self.0 & (count as u64 - 1) == 0
    }
}

/// An address space identifier. 0 is kept for the time between two spaces.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Asid(u16);

impl Asid {
    /// The identifier that no space uses.
    pub const RESERVED: Self = Self(0);

    /// The identifier with this value.
    pub const fn new(value: u16) -> Self {
        Self(value)
    }

    /// Its value.
    pub const fn as_u16(self) -> u16 {
        self.0
    }
}

macro_rules! hexadecimal {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{:#x}", self.0)
            }
        }
    )*};
}
hexadecimal!(VirtAddr, PhysAddr, Pfn, Asid);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_of_the_four_levels() {
        let address = VirtAddr::new((3 << 39) | (5 << 30) | (7 << 21) | (9 << 12) | 0x123);
        assert_eq!([0, 1, 2, 3].map(|level| address.index(level)), [3, 5, 7, 9]);
        assert_eq!(address.page().as_u64() & 0xfff, 0);
    }
}
