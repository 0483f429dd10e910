//! Checks of the access to user memory.

use alloc::string::String;
use alloc::vec;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use mmu::USER_END;

use super::ensure;
use super::space::{ABSENT, BASE, CONSTANTS, DATA, Space};
use super::user::space;
use crate::arch::exception::probe;
use crate::arch::uaccess::{self, Fault};
use crate::arch::user::UserFault;
use crate::machine::machine;

/// Every length up to a few turns of the loops, from every alignment.
pub(super) fn lengths() -> Result<(), String> {
    let space = space();
    for length in 0..100_usize {
        for offset in 0..16_usize {
            let (at, place) = (DATA + offset as u64, offset..offset + length);
            let bytes: vec::Vec<u8> = (0..length).map(|index| (index + length) as u8 | 1).collect();
            ensure!(uaccess::zero(DATA, 256) == Ok(()), "zero");
            ensure!(uaccess::copy_out(at, &bytes) == Ok(()), "copy_out");
            let page = space.bytes(2);
            ensure!(page[place.clone()] == bytes[..], "copy_out, {length} bytes at {offset}");
            let rest = page[..offset].iter().chain(&page[place.end..256]);
            ensure!(rest.clone().all(|&byte| byte == 0), "copy_out beside {length} bytes at {offset}");
            let mut back = vec![0; length];
            ensure!(uaccess::copy_in(&mut back, at) == Ok(()) && back == bytes, "copy_in, {length} at {offset}");
            ensure!(uaccess::zero(at, length) == Ok(()), "zero");
            ensure!(space.bytes(2)[..256].iter().all(|&byte| byte == 0), "zero, {length} bytes at {offset}");
        }
    }
    Ok(())
}

pub(super) fn refusals() -> Result<(), String> {
    let _space = space();
    let kernel = refusals as *const () as u64;
    let mut buffer = [0; 64];
    for address in [0, ABSENT, ABSENT - 8, USER_END - 8, USER_END, kernel, u64::MAX - 8, u64::MAX] {
        ensure!(uaccess::copy_in(&mut buffer, address) == Err(Fault), "copy_in from {address:#x}");
        ensure!(uaccess::copy_out(address, &buffer) == Err(Fault), "copy_out to {address:#x}");
        ensure!(uaccess::zero(address, 64) == Err(Fault), "zero at {address:#x}");
    }
    for address in [BASE, CONSTANTS] {
        ensure!(uaccess::copy_in(&mut buffer, address) == Ok(()), "copy_in from {address:#x}");
        ensure!(uaccess::copy_out(address, &buffer) == Err(Fault), "copy_out to {address:#x}");
    }
    ensure!(uaccess::copy_in(&mut [], ABSENT) == Ok(()), "nothing to copy");
    Ok(())
}

static SPACE: AtomicPtr<Space> = AtomicPtr::new(core::ptr::null_mut());
static ASKED: AtomicU64 = AtomicU64::new(0);

/// Maps the page that is absent, once.
fn resolve(fault: UserFault) -> bool {
    ASKED.store(fault.address, Ordering::Relaxed);
    // SAFETY: `hook` below keeps the space alive as long as this can be called.
    let space = unsafe { &*SPACE.load(Ordering::Relaxed) };
    let absent = fault.address & !0xfff == ABSENT;
    if absent {
        space.map_absent();
    }
    absent
}

pub(super) fn hook() -> Result<(), String> {
    let mut space = space();
    SPACE.store(&raw mut space, Ordering::Relaxed);
    let before = uaccess::replace_fault_hook(Some(resolve));
    let outcome = hooked(&space);
    uaccess::replace_fault_hook(before);
    space.unmap(3);
    outcome
}

fn hooked(space: &Space) -> Result<(), String> {
    let bytes: [u8; 100] = core::array::from_fn(|index| index as u8 + 1);
    // Into the mapped page, over its end, into the absent one.
    ensure!(uaccess::copy_out(ABSENT - 37, &bytes) == Ok(()), "not resolved");
    ensure!(ASKED.load(Ordering::Relaxed) & !0xfff == ABSENT, "asked about {:#x}", ASKED.load(Ordering::Relaxed));
    ensure!(space.bytes(2)[4096 - 37..] == bytes[..37] && space.bytes(3)[..63] == bytes[37..], "wrong bytes");
    ASKED.store(0, Ordering::Relaxed);
    ensure!(uaccess::zero(USER_END, 8) == Err(Fault), "an upper address");
    ensure!(ASKED.load(Ordering::Relaxed) == 0, "asked about an upper address");
    ensure!(uaccess::zero(CONSTANTS, 8) == Err(Fault), "read-only");
    ensure!(ASKED.load(Ordering::Relaxed) == CONSTANTS, "not asked about a permission");
    Ok(())
}

pub(super) fn pan() -> Result<(), String> {
    let _space = space();
    let outcome = probe::read(DATA);
    let refused = outcome.is_some();
    ensure!(refused == (machine().features.pan >= 1), "plain read: {outcome:x?}");
    Ok(())
}
