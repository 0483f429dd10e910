//! Exceptions taken from EL1: the few that are expected, and the way to the report for all others.

use core::arch::global_asm;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::syndrome::{Class, Syndrome};
use super::{semihosting, uaccess};

/// A stack lies in the upper half of a block aligned to twice its size, 64 KiB, so this bit of SP is set (linker.ld).
pub(super) const STACK_BIT: u32 = 16;

global_asm!(include_str!("vectors.s"), STACK_BIT = const STACK_BIT);

/// How an exception came in: by which vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// By an instruction.
    Synchronous,
    /// IRQ.
    Irq,
    /// FIQ.
    Fiq,
    /// System error.
    SError,
    /// A vector that no code of this kernel leads to.
    Unused,
    /// From EL0 in AArch32.
    AArch32,
    /// Any of them, with no room left on the kernel's stack.
    StackOverflow,
}

impl Kind {
    /// By the number in vectors.s.
    pub(super) const fn from_entry(number: u64) -> Self {
        match number {
            0 => Self::Synchronous,
            1 => Self::Irq,
            2 => Self::Fiq,
            3 => Self::SError,
            5 => Self::AArch32,
            6 => Self::StackOverflow,
            _ => Self::Unused,
        }
    }
}

/// The registers at an exception from EL1. Laid out for vectors.s; what is changed here is what execution goes on with.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ExceptionFrame {
    /// x0 to x30.
    pub x: [u64; 31],
    /// SP before the exception.
    pub sp: u64,
    /// Where it happened, and where execution goes on.
    pub elr: u64,
    /// PSTATE.
    pub spsr: u64,
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
}

unsafe extern "Rust" {
    /// Reports the exception and ends the machine. The floor above has it (`dev::report`), found by the linker as `kernel_main` is, so
    /// that it is there from the first instruction on.
    safe fn unexpected_exception(frame: &ExceptionFrame, kind: Kind) -> !;
}

/// What handles interrupts; set once by whoever drives the interrupt controller.
static INTERRUPT: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Installs the handler of interrupts. It acknowledges and ends the interrupt itself.
pub fn set_interrupt_handler(handler: fn()) {
    INTERRUPT.store(handler as *mut (), Ordering::Release);
}

/// Handles a pending interrupt.
pub(super) fn interrupt() {
    let handler = INTERRUPT.load(Ordering::Acquire);
    if !handler.is_null() {
        // SAFETY: only `set_interrupt_handler` stores here, and it stores a `fn()`.
        (unsafe { core::mem::transmute::<*mut (), fn()>(handler) })();
    }
}

#[unsafe(no_mangle)]
extern "C" fn exception_from_el1(frame: &mut ExceptionFrame, kind: u64) {
    let kind = Kind::from_entry(kind);
    let resolved = match kind {
        Kind::Irq => {
            interrupt();
            true
        }
        Kind::Synchronous => synchronous(frame),
        _ => false,
    };
    if !resolved {
        unexpected_exception(frame, kind);
    }
}

fn synchronous(frame: &mut ExceptionFrame) -> bool {
    let syndrome = Syndrome::new(frame.esr);
    match syndrome.class() {
        Class::DataAbort => uaccess::resolve(frame, syndrome) || probe::resolve(frame),
        Class::InstructionAbort => probe::resolve(frame),
        Class::Unknown => semihosting::resolve(frame),
        _ => false,
    }
}

pub mod probe {
    //! Accesses that are expected to fault: the kernel testing its own protection.

    use core::arch::global_asm;

    use super::ExceptionFrame;

    global_asm!(
        ".text",
        ".global probe_read",
        "probe_read: ldrb w1, [x0]",
        "mov x0, xzr",
        "ret",
        ".global probe_write",
        "probe_write: strb w1, [x0]",
        "mov x0, xzr",
        "ret",
        ".global probe_execute",
        "probe_execute: stp x29, x30, [sp, #-16]!",
        "mov x29, sp",
        ".global probe_branch",
        "probe_branch: blr x0",
        "mov x0, xzr",
        ".global probe_return",
        "probe_return: ldp x29, x30, [sp], #16",
        "ret",
    );

    unsafe extern "C" {
        fn probe_read(address: u64) -> u64;
        fn probe_write(address: u64, value: u8) -> u64;
        fn probe_execute(address: u64) -> u64;
        fn probe_branch();
        fn probe_return();
    }

    /// The syndrome of the fault that a read of one byte causes; `None` if it does not fault.
    #[must_use]
    pub fn read(address: u64) -> Option<u64> {
        // SAFETY: a fault is resolved below; a read changes nothing in memory.
        Some(unsafe { probe_read(address) }).filter(|&esr| esr != 0)
    }

    /// As [`read`], for a write of one byte.
    ///
    /// # Safety
    /// If the address can be written, nothing may depend on the byte there.
    #[must_use]
    pub unsafe fn write(address: u64, value: u8) -> Option<u64> {
        // SAFETY: the caller's promise; a fault is resolved below.
        Some(unsafe { probe_write(address, value) }).filter(|&esr| esr != 0)
    }

    /// As [`read`], for a call of the code there.
    ///
    /// # Safety
    /// If the address is executable, a RET must stand there.
    #[must_use]
    pub unsafe fn execute(address: u64) -> Option<u64> {
        // SAFETY: the caller's promise; a fault is resolved below.
        Some(unsafe { probe_execute(address) }).filter(|&esr| esr != 0)
    }

    /// If a probe faulted, makes it return the syndrome.
    pub(super) fn resolve(frame: &mut ExceptionFrame) -> bool {
        let at = |function: unsafe extern "C" fn(u64) -> u64| function as *const () as u64;
        let returned_from_branch = probe_branch as *const () as u64 + 4;
        if frame.elr == at(probe_read) || frame.elr == probe_write as *const () as u64 {
            // A leaf: its return address is still in x30.
            frame.elr = frame.x[30];
        } else if frame.x[30] == returned_from_branch && frame.elr == frame.far {
            frame.elr = probe_return as *const () as u64;
        } else {
            return false;
        }
        frame.x[0] = frame.esr;
        true
    }
}
