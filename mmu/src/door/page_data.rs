//! Page contents: clear, copy, and the scan for zero pages. The one place where the kernel uses SIMD registers: each routine saves
//! those it uses, since a program's values live in them.
//!
//! Where the CPU has them on (CPACR_EL1.FPEN is 3 from boot on). Copy moves 128 bytes a turn with LD1 and ST1 of four registers;
//! the scan ors a KiB into one value before it looks, so a page with data ends it early.

use core::arch::global_asm;

use crate::addr::PAGE_SIZE;

global_asm!(include_str!("page_data.S"), options(raw));

unsafe extern "C" {
    fn unfold_copy_pages(to: *mut u8, from: *const u8, bytes: u64);
    fn unfold_is_zero(from: *const u8, bytes: u64) -> u64;
    fn unfold_clear_pages(to: *mut u8, bytes: u64);
}

/// Fills `count` pages with zero.
///
/// # Safety
/// `to` is the start of `count` mapped, writable pages that the caller owns.
pub(super) unsafe fn clear(to: *mut u8, count: usize) {
    // SAFETY: passed on.
    unsafe { unfold_clear_pages(to, count as u64 * PAGE_SIZE) };
}

/// Copies `count` pages.
///
/// # Safety
/// Both are the start of `count` mapped pages, the first writable and the caller's; they do not overlap.
pub(super) unsafe fn copy(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: passed on.
    unsafe { unfold_copy_pages(to, from, count as u64 * PAGE_SIZE) };
}

/// Whether `count` pages hold only zero bytes.
///
/// # Safety
/// `from` is the start of `count` mapped pages.
pub(super) unsafe fn is_zero(from: *const u8, count: usize) -> bool {
    // SAFETY: passed on.
    unsafe { unfold_is_zero(from, count as u64 * PAGE_SIZE) != 0 }
}
