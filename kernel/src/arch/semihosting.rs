//! Semihosting: ending QEMU with a status, and a channel to the host's standard error that no program can write to.
//!
//! QEMU executes `HLT #0xF000` itself when it is started with `-semihosting-config enable=on,target=native,userspace=off`; without,
//! the instruction is undefined and [`resolve`] turns the call into a failure, so that all here also works without a host.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use super::exception::ExceptionFrame;

global_asm!(".text", ".global semihosting_call", "semihosting_call: hlt #0xf000", "ret",);

unsafe extern "C" {
    fn semihosting_call(operation: u64, block: *const u64) -> u64;
}

const OPEN: u64 = 0x01;
const WRITE: u64 = 0x05;
const EXIT_EXTENDED: u64 = 0x20;
/// ADP_Stopped_ApplicationExit: the program ended by itself, with the status that follows.
const APPLICATION_EXIT: u64 = 0x2_0026;
/// What a failed call returns.
const FAILED: u64 = u64::MAX;
/// fopen's "a" and its number: of the console `:tt` this is the standard error (SH_EXT_STDOUT_STDERR).
const APPEND: u64 = 8;
const NOT_OPEN: u64 = u64::MAX - 1;

static CHANNEL: AtomicU64 = AtomicU64::new(NOT_OPEN);

/// Ends QEMU with `status`. Returns only where there is no semihosting.
pub fn exit(status: u8) {
    call(EXIT_EXTENDED, &[APPLICATION_EXIT, u64::from(status)]);
}

/// Writes to the host's standard error. `false` where there is none.
pub fn write(text: &[u8]) -> bool {
    match channel() {
        FAILED => false,
        // The call returns the number of bytes not written.
        handle => call(WRITE, &[handle, text.as_ptr() as u64, text.len() as u64]) == 0,
    }
}

fn channel() -> u64 {
    let known = CHANNEL.load(Ordering::Relaxed);
    if known != NOT_OPEN {
        return known;
    }
    let name = b":tt\0";
    let handle = call(OPEN, &[name.as_ptr() as u64, APPEND, name.len() as u64 - 1]);
    CHANNEL.store(handle, Ordering::Relaxed);
    handle
}

fn call(operation: u64, block: &[u64]) -> u64 {
    // SAFETY: each operation above reads just its block and the memory that this names.
    unsafe { semihosting_call(operation, block.as_ptr()) }
}

/// If the exception is HLT of a call: there is no semihosting, and the call fails.
pub(super) fn resolve(frame: &mut ExceptionFrame) -> bool {
    let here = frame.elr == semihosting_call as *const () as u64;
    if here {
        frame.x[0] = FAILED;
        frame.elr += 4;
    }
    here
}
