//! The end: the report of an exception that nobody expected.

use core::fmt::Write;

use mmu::VirtAddr;

use super::log;
use crate::arch::exception::{ExceptionFrame, Kind};
use crate::arch::syndrome::{Class, Syndrome};
use crate::arch::{backtrace, tables};

/// Reports the exception and ends the machine with the status of a panic. `arch::exception` calls it.
#[unsafe(no_mangle)]
fn unexpected_exception(frame: &ExceptionFrame, kind: Kind) -> ! {
    log::dying();
    let mut frame = *frame;
    if kind == Kind::StackOverflow {
        // vectors.s kept the SP that went over; the frame lies on another stack.
        sp_that_overflowed(&mut frame.sp);
    }
    let out = &mut log::Urgent::new();
    let syndrome = Syndrome::new(frame.esr);
    let _ = match kind {
        Kind::Synchronous => writeln!(out, "\nunexpected exception: {syndrome}"),
        Kind::StackOverflow => {
            writeln!(out, "\nkernel stack overflow: SP was {:#x}; what lies below is the stack's guard", frame.sp)
        }
        _ => writeln!(out, "\nunexpected exception: {kind:?}"),
    };
    registers(out, &frame);
    if kind != Kind::StackOverflow && syndrome.is_abort() || syndrome.class() == Class::PcAlignment {
        let _ = write!(out, "{}", tables::walk(VirtAddr::new(frame.far)));
    }
    backtrace::print(out, frame.elr, frame.x[29]);
    log::die()
}

fn sp_that_overflowed(sp: &mut u64) {
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mrs {}, tpidrro_el0", out(reg) * sp, options(nostack, nomem, preserves_flags)) };
}

fn registers(out: &mut dyn Write, frame: &ExceptionFrame) {
    let _ = writeln!(out, "  pc {:#018x}  sp {:#018x}", frame.elr, frame.sp);
    let _ = writeln!(out, "  ESR_EL1 {:#010x}  FAR_EL1 {:#018x}  SPSR_EL1 {:#010x}", frame.esr, frame.far, frame.spsr);
    for (row, values) in frame.x.chunks(4).enumerate() {
        let _ = write!(out, " ");
        for (column, value) in values.iter().enumerate() {
            let _ = write!(out, " x{:<2} {value:016x}", 4 * row + column);
        }
        let _ = writeln!(out);
    }
}
