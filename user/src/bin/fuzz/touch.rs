//! Touches of memory that may not be there: what is not is passed over.

use user::process::{self, signal};
use user::sys::Error;
use user::thread;

core::arch::global_asm!(
    "fuzz_read:", // a byte from the address in x0
    "ldrb w0, [x0]",
    "ret",
    "fuzz_write:", // the byte in w1 to the address in x0
    "strb w1, [x0]",
    "ret",
);

unsafe extern "C" {
    fn fuzz_read(from: u64) -> u8;
    fn fuzz_write(to: u64, byte: u8);
}

/// Reads a byte.
pub fn read(from: u64) -> Result<u64, Error> {
    // SAFETY: a byte of any map is as good as another; where there is none, `pass` goes on behind the load.
    Ok(unsafe { fuzz_read(from) }.into())
}

/// Writes one.
pub fn write(to: u64) -> Result<u64, Error> {
    // SAFETY: nothing of the program's own is in its maps; where there is none, `pass` goes on behind the store.
    unsafe { fuzz_write(to, to as u8) };
    Ok(1)
}

/// Has touches go on behind what is not there. Anything else that is not there ends its thread, without a report.
pub fn survive() {
    let handler = pass as extern "C" fn(u64, u64, *mut u64) as usize as u64;
    for signal in [signal::BUS, signal::SEGV] {
        let _ = process::handle(signal, handler, process::INFO);
    }
}

extern "C" fn pass(signal: u64, _information: u64, context: *mut u64) {
    /// Where the PC is in Linux's `ucontext`, in words.
    const PC: usize = 440 / 8;
    let touches = [
        fuzz_read as unsafe extern "C" fn(u64) -> u8 as usize as u64,
        fuzz_write as unsafe extern "C" fn(u64, u8) as usize as u64,
    ];
    // SAFETY: the kernel has put the context there for this handler.
    let pc = unsafe { &mut *context.add(PC) };
    if !touches.contains(pc) {
        thread::exit(128 + signal as u8);
    }
    *pc += 4;
}
