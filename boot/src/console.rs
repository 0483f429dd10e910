//! Output before the kernel's own log: polled characters to the UART, or semihosting while none is known.

use core::arch::asm;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// The mapped registers of the PL011; 0 while there are none.
static UART: AtomicU64 = AtomicU64::new(0);

/// Offsets of a PL011's data and flag registers.
const DATA: u64 = 0x00;
const FLAGS: u64 = 0x18;
/// Transmit FIFO full.
const FULL: u32 = 1 << 5;

/// Says where the UART's registers are mapped.
pub(crate) fn set(address: u64) {
    UART.store(address, Ordering::Relaxed);
}

/// Writes to the UART, or nowhere while there is none. Used until the kernel has its own log, and by what goes wrong before.
pub struct Early;

impl fmt::Write for Early {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let base = UART.load(Ordering::Relaxed);
        if base != 0 {
            text.bytes().for_each(|byte| put(base, byte));
        }
        Ok(())
    }
}

fn put(base: u64, byte: u8) {
    // SAFETY: `set` is only called with mapped registers of a PL011.
    unsafe {
        while ((base + FLAGS) as *const u32).read_volatile() & FULL != 0 {}
        ((base + DATA) as *mut u32).write_volatile(u32::from(byte));
    }
}

/// Ends a boot that can not go on: the message (which ends with a zero byte for semihosting) and a failure status. Without
/// semihosting HLT is an exception, and the CPU ends up in the kernel's vectors.
pub(crate) fn stop(message: &str) -> ! {
    const WRITE0: u64 = 0x04;
    const EXIT_EXTENDED: u64 = 0x20;
    const APPLICATION_EXIT: u64 = 0x20026;
    const FAILURE: u64 = 101;
    let mut buffer = [0_u8; 128];
    let length = message.len().min(buffer.len() - 1);
    buffer[..length].copy_from_slice(&message.as_bytes()[..length]);
    let block = [APPLICATION_EXIT, FAILURE];
    let _ = fmt::Write::write_str(&mut Early, message);
    // SAFETY: semihosting reads the string and the block, nothing else.
    unsafe {
        asm!("hlt #0xf000", inout("x0") WRITE0 => _, in("x1") buffer.as_ptr());
        asm!("hlt #0xf000", inout("x0") EXIT_EXTENDED => _, in("x1") block.as_ptr());
    }
    loop {
        core::sync::atomic::compiler_fence(Ordering::SeqCst);
    }
}
