//! A handler for SIGBUS that lets a program look at memory which may not be there.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::process;
use crate::sys::Error;

const SIGBUS: u64 = 7;
/// The handler wants all three arguments.
const SA_SIGINFO: u64 = 4;
/// Where the `siginfo` of a fault has `si_code`, `si_addr` and `si_addr_lsb`, and its `ucontext` the program counter.
const SI_CODE: usize = 8;
const SI_ADDR: usize = 16;
const SI_ADDR_LSB: usize = 24;
const UC_PC: usize = 176 + 8 + 32 * 8;

/// SIGBUS so far, and what the last one told.
static COUNT: AtomicU64 = AtomicU64::new(0);
static CODE: AtomicU64 = AtomicU64::new(0);
static ADDRESS: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);

/// What a SIGBUS told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// `si_code`.
    pub code: u64,
    /// `si_addr`.
    pub address: u64,
    /// `si_addr_lsb`: log2 of the bytes that are lost, where memory is.
    pub lost: u64,
}

/// Has SIGBUS handled from now on.
pub fn handle() -> Result<(), Error> {
    process::handle(SIGBUS, on_sigbus as *const () as usize as u64, SA_SIGINFO).map(|_| ())
}

/// What a load from an address of the program's maps raises, if it raises SIGBUS.
pub fn load(address: u64) -> Option<Told> {
    let before = COUNT.load(Relaxed);
    // SAFETY: a load; the handler goes on behind it if it fails, and x9 is not used then.
    unsafe { asm!("ldrb w9, [{}]", in(reg) address, out("x9") _, options(nostack)) };
    let told = Told { code: CODE.load(Relaxed), address: ADDRESS.load(Relaxed), lost: LOST.load(Relaxed) };
    (COUNT.load(Relaxed) != before).then_some(told)
}

/// Notes the signal, and has the program go on behind the instruction.
extern "C" fn on_sigbus(_signal: i32, info: *const u8, context: *mut u8) {
    // SAFETY: what the kernel gives a handler: a `siginfo` and a `ucontext`, which is read back when it returns.
    unsafe {
        CODE.store(info.add(SI_CODE).cast::<u32>().read().into(), Relaxed);
        ADDRESS.store(info.add(SI_ADDR).cast::<u64>().read(), Relaxed);
        LOST.store(info.add(SI_ADDR_LSB).cast::<u16>().read().into(), Relaxed);
        let pc = context.add(UC_PC).cast::<u64>();
        pc.write(pc.read() + 4);
    }
    COUNT.fetch_add(1, Relaxed);
}
