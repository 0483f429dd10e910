//! SIGBUS, noted: pages that can not be read, told apart from those that can.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::process;
use crate::sys::Error;

const SIGBUS: u64 = 7;
/// The handler wants all three arguments.
const SA_SIGINFO: u64 = 4;
/// Where the `siginfo` of a fault has the address, and its `ucontext` the program counter.
const SI_ADDR: usize = 16;
const UC_PC: usize = 176 + 8 + 32 * 8;

/// SIGBUS so far, and `si_code` and `si_addr` of the last one.
static COUNT: AtomicU64 = AtomicU64::new(0);
static CODE: AtomicU64 = AtomicU64::new(0);
static ADDRESS: AtomicU64 = AtomicU64::new(0);

/// From here on SIGBUS is noted, and the program goes on behind the instruction.
pub fn note() -> Result<(), Error> {
    process::handle(SIGBUS, on_sigbus as *const () as usize as u64, SA_SIGINFO).map(|_| ())
}

/// Whether a load from the address raises SIGBUS.
pub fn is_bad(address: u64) -> bool {
    let before = COUNT.load(Relaxed);
    // SAFETY: a load from a map; the handler goes on behind it if it fails, and x9 is not used then.
    unsafe { asm!("ldrb w9, [{}]", in(reg) address, out("x9") _, options(nostack)) };
    COUNT.load(Relaxed) != before
}

/// `si_code` and `si_addr` of the last one.
pub fn last() -> (u64, u64) {
    (CODE.load(Relaxed), ADDRESS.load(Relaxed))
}

/// Notes the signal, and has the program go on behind the instruction.
extern "C" fn on_sigbus(_signal: i32, info: *const u8, context: *mut u8) {
    // SAFETY: what the kernel gives a handler: a `siginfo` and a `ucontext`, which is read back when it returns.
    unsafe {
        CODE.store(info.add(8).cast::<u32>().read().into(), Relaxed);
        ADDRESS.store(info.add(SI_ADDR).cast::<u64>().read(), Relaxed);
        let pc = context.add(UC_PC).cast::<u64>();
        pc.write(pc.read() + 4);
    }
    COUNT.fetch_add(1, Relaxed);
}
