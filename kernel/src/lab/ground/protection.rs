//! Checks of the kernel's own map.

use alloc::string::String;

use mmu::{LINEAR_BASE, PAGE_SIZE, VirtAddr};

use super::ensure;
use crate::arch::cpus;
use crate::arch::exception::probe;
use crate::arch::syndrome::{FaultKind, Syndrome};
use crate::arch::tables::{self, Half};
use crate::machine::machine;

unsafe extern "C" {
    static _image_start: u8;
    static _text_end: u8;
    static _rodata_end: u8;
    static _boot_stack_guard: u8;
    static _boot_stack_bottom: u8;
    static _emergency_stack_guard: u8;
    static _emergency_stack_bottom: u8;
}

/// RET, in a page that can be written.
static mut CODE_IN_DATA: u32 = 0xd65f_03c0;

/// Addresses of one byte each in text, at its end, in constants and at their end.
fn constant_addresses() -> [u64; 4] {
    let (text_end, end) = (&raw const _text_end as u64, &raw const _rodata_end as u64);
    [&raw const _image_start as u64, text_end - 1, text_end, end - 1]
}

/// The linear address of a byte of the image.
fn alias(address: u64) -> u64 {
    LINEAR_BASE | (address - &raw const _image_start as u64 + machine().info.image.start)
}

fn write_is_refused(address: u64) -> Result<(), String> {
    // SAFETY: the byte is written with the value it has.
    let outcome = unsafe { probe::write(address, (address as *const u8).read_volatile()) };
    let refused = outcome.is_some_and(|esr| Syndrome::new(esr).fault_kind() == FaultKind::Permission);
    ensure!(refused, "a write at {address:#x} was not refused: {outcome:x?}");
    Ok(())
}

pub(super) fn text_is_read_only() -> Result<(), String> {
    constant_addresses().into_iter().try_for_each(write_is_refused)
}

pub(super) fn alias_is_read_only() -> Result<(), String> {
    for address in constant_addresses() {
        // SAFETY: both are mapped for reading: otherwise this faults, and the check has failed too.
        let same = unsafe { (address as *const u8).read_volatile() == (alias(address) as *const u8).read_volatile() };
        ensure!(same, "{:#x} is not the alias of {address:#x}", alias(address));
        write_is_refused(alias(address))?;
    }
    Ok(())
}

pub(super) fn data_is_not_executable() -> Result<(), String> {
    let code = &raw mut CODE_IN_DATA as u64;
    let text = super::protection::text_is_read_only as *const () as u64;
    let heap = alloc::boxed::Box::new(0xd65f_03c0_u32);
    for address in [code, alias(code), alias(text), &raw const *heap as u64] {
        // SAFETY: a RET stands there, or, at the alias of text, a function that may run.
        let outcome = unsafe { probe::execute(address) };
        let refused = outcome.is_some_and(|esr| Syndrome::new(esr).fault_kind() == FaultKind::Permission);
        ensure!(refused, "{address:#x} was executed: {outcome:x?}");
    }
    Ok(())
}

pub(super) fn nothing_is_writable_and_executable() -> Result<(), String> {
    let mut bad = None;
    tables::for_each_leaf(Half::Kernel, &mut |address, entry| {
        let (read_only, pxn, uxn) = (entry.bits() >> 7 & 1, entry.bits() >> 53 & 1, entry.bits() >> 54 & 1);
        if (read_only == 0 && pxn == 0) || uxn == 0 || entry.is_user() {
            bad.get_or_insert((address, entry));
        }
    });
    ensure!(bad.is_none(), "writable and executable, or open to EL0: {bad:x?}");
    Ok(())
}

pub(super) fn guards_fault() -> Result<(), String> {
    let first = (&raw const _boot_stack_guard as u64, &raw const _boot_stack_bottom as u64);
    // Each CPU's stack is as long as its guard, and the next one's guard follows.
    let block = 2 * (first.1 - first.0);
    let stacks = (0..cpus::count() as u64).map(|cpu| (first.0 + cpu * block, first.1 + cpu * block));
    let emergency = (&raw const _emergency_stack_guard as u64, &raw const _emergency_stack_bottom as u64);
    for (start, end) in stacks.chain([emergency]) {
        for address in [start, end - 1] {
            ensure!(probe::read(address).is_some(), "the guard can be read at {address:#x}");
        }
        ensure!(probe::read(end).is_none(), "the stack can not be read at {end:#x}");
    }
    Ok(())
}

pub(super) fn linear_map_is_whole() -> Result<(), String> {
    for range in machine().info.machine.memory.as_slice() {
        let middle = range.start + range.size() / 2;
        for physical in [range.start, middle, range.end - PAGE_SIZE] {
            let walk = tables::walk(VirtAddr::new(LINEAR_BASE | physical));
            ensure!(walk.physical().is_some_and(|at| at.as_u64() == physical), "{walk}");
        }
    }
    Ok(())
}

pub(super) fn lower_half_is_empty() -> Result<(), String> {
    let root = Half::User.root().address();
    if root != machine().info.empty_table() {
        return Ok(());
    }
    let mut found = None;
    tables::for_each_leaf(Half::User, &mut |address, entry| found = Some((address, entry)));
    ensure!(found.is_none(), "{found:x?}");
    Ok(())
}
