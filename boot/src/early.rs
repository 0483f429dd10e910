//! The early tables: enough to turn the MMU on, reach the upper half, and read the device tree.
//!
//! [`map_early`] runs at the physical address with the MMU off. It may therefore use nothing that holds an address (no formatting, no
//! panic that is reached), and every access must be aligned: all memory is Device memory to it.

use core::arch::asm;

use aarch64_cpu::registers::{ID_AA64MMFR0_EL1, Readable};

/// The gigabyte of the upper half that is mapped early.
pub(crate) const WINDOW: u64 = 0xFFFF_8000_0000_0000;
/// Its blocks; the image is linked one block into it.
pub(crate) const BLOCK: u64 = 2 << 20;
/// The two blocks where the device tree is: it has at most 2 MiB and may start anywhere in the first.
pub(crate) const FDT_SLOT: usize = 504;
/// The block for the UART, mapped when its address is known.
pub(crate) const UART_SLOT: usize = 508;
/// Tables: levels 0 to 2 of the identity map, then of the window.
pub(crate) const EARLY_TABLES: usize = 6;
/// The first of the window's.
pub(crate) const UPPER: usize = 3;

/// Bytes, and 8-byte entries, of a table.
const TABLE: u64 = 4096;
const ENTRIES: usize = 512;
/// Valid, access flag, inner shareable, attribute 0 (Normal), UXN.
const NORMAL_BLOCK: u64 = 1 | (3 << 8) | (1 << 10) | (1 << 54);
/// AP[2]: no writes.
const READ_ONLY: u64 = 1 << 7;
/// PXN.
const NEVER_EXECUTE: u64 = 1 << 53;
/// Two halves of 48 bits, 4 KiB granules, walks in write-back inner shareable memory.
const TCR: u64 = 16 | (1 << 8) | (1 << 10) | (3 << 12) | (16 << 16) | (1 << 24) | (1 << 26) | (3 << 28) | (2 << 30);

/// Builds the early tables, at physical addresses: identity for the 2 MiB that hold head.s, and in the window the image and the device
/// tree. Returns TCR_EL1 for them.
#[unsafe(no_mangle)]
extern "C" fn map_early(tables: *mut u64, image: u64, device_tree: u64, image_blocks: u64) -> u64 {
    // SAFETY: head.s gives six table pages that nothing uses yet, and all indices are below their 512 entries each.
    unsafe {
        for entry in 0..EARLY_TABLES * ENTRIES {
            set(tables, 0, entry, 0);
        }
        link(tables, 0, (image >> 39) as usize % ENTRIES);
        link(tables, 1, (image >> 30) as usize % ENTRIES);
        // Every CPU comes through the identity map, also when the kernel runs already: executable, so not writable.
        set(tables, 2, (image >> 21) as usize % ENTRIES, NORMAL_BLOCK | READ_ONLY | image);
        link(tables, UPPER, (WINDOW >> 39) as usize % ENTRIES);
        link(tables, UPPER + 1, 0);
        for block in 0..image_blocks {
            set(tables, UPPER + 2, 1 + block as usize, NORMAL_BLOCK | (image + block * BLOCK));
        }
        for block in 0..2 {
            let address = (device_tree & !(BLOCK - 1)) + block * BLOCK;
            set(tables, UPPER + 2, FDT_SLOT + block as usize, NORMAL_BLOCK | NEVER_EXECUTE | address);
        }
        forget_cached(tables as u64);
    }
    // IPS is what the CPU has (PARange), at most 48 bits.
    TCR | (ID_AA64MMFR0_EL1.read(ID_AA64MMFR0_EL1::PARange).min(5) << 32)
}

/// # Safety
/// `tables` are the early tables, not in use.
unsafe fn set(tables: *mut u64, table: usize, index: usize, value: u64) {
    // SAFETY: the caller's promise. Volatile, so that it stays a store of eight aligned bytes.
    unsafe { tables.add(table * ENTRIES + index).write_volatile(value) };
}

/// Makes entry `index` of `table` point at the next table.
///
/// # Safety
/// As [`set`].
unsafe fn link(tables: *mut u64, table: usize, index: usize) {
    // SAFETY: the caller's promise.
    unsafe { set(tables, table, index, (tables as u64 + (table as u64 + 1) * TABLE) | 3) };
}

/// The stores went past the caches; the walker, once the MMU is on, must not find older lines there.
///
/// # Safety
/// As [`set`].
unsafe fn forget_cached(tables: u64) {
    const LINE: usize = 16; // the smallest that there is
    // SAFETY: the lines hold nothing but what was there before the tables.
    unsafe {
        asm!("dmb sy");
        for line in (tables..tables + EARLY_TABLES as u64 * TABLE).step_by(LINE) {
            asm!("dc ivac, {}", in(reg) line);
        }
        asm!("dsb sy");
    }
}
