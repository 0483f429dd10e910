//! The PL011 UART (Arm DDI 0183): polled output and input. What a program prints goes here, and so does the log unless it goes to the
//! host.

use core::sync::atomic::{AtomicU64, Ordering};

use boot::Uart;
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::register_bitfields;
use tock_registers::register_structs;
use tock_registers::registers::{ReadOnly, ReadWrite};

register_bitfields![u32,
    FLAGS [
        /// Receive FIFO empty.
        RXFE OFFSET(4) NUMBITS(1) [],
        /// Transmit FIFO full.
        TXFF OFFSET(5) NUMBITS(1) []
    ]
];

register_structs! {
    Registers {
        (0x00 => data: ReadWrite<u32>),
        (0x04 => _reserved),
        (0x18 => flags: ReadOnly<u32, FLAGS::Register>),
        (0x1c => @END),
    }
}

static BASE: AtomicU64 = AtomicU64::new(0);

/// Says where the UART is. Firmware or QEMU has set its line parameters; they stay.
pub fn init(uart: Uart) {
    BASE.store(boot::device_address(uart.registers.start), Ordering::Relaxed);
}

/// Whether [`init`] has been called.
pub fn is_ready() -> bool {
    BASE.load(Ordering::Relaxed) != 0
}

fn registers() -> Option<&'static Registers> {
    let base = BASE.load(Ordering::Relaxed) as *const Registers;
    // SAFETY: 0, or the registers that boot has mapped for ever.
    unsafe { base.as_ref() }
}

/// Writes bytes as they are.
pub fn write(bytes: &[u8]) {
    let Some(registers) = registers() else { return };
    for &byte in bytes {
        while registers.flags.is_set(FLAGS::TXFF) {
            crate::arch::cpu::yield_now();
        }
        registers.data.set(u32::from(byte));
    }
}

/// The next byte that has come in, if there is one.
pub fn read() -> Option<u8> {
    let registers = registers()?;
    (!registers.flags.is_set(FLAGS::RXFE)).then(|| registers.data.get() as u8)
}
