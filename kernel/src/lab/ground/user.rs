//! Checks of the entry to EL0 and of the way back.

use alloc::string::String;
use core::arch::global_asm;

use super::ensure;
use super::space::{ABSENT, BASE, CONSTANTS, DATA, Space};
use crate::arch::user::{Access, FaultKind, Trap, UserContext, enter};
use crate::machine::machine;

global_asm!(include_str!("user.s"));

macro_rules! programs {
    ($($name:ident)+) => {
        unsafe extern "C" { $(static $name: u8;)+ }
    };
}
programs!(check_programs check_programs_end check_svc check_change_all check_brk check_undefined check_undefined_end);
programs!(check_allowed check_set check_load check_store check_jump check_exclusive check_stack);

/// The address in the space that a program has.
macro_rules! entry {
    ($name:ident) => {
        BASE + (&raw const $name as u64 - &raw const check_programs as u64)
    };
}

const STACK: u64 = DATA + 0x800;

/// A space with the programs in it.
pub(super) fn space() -> Space {
    let (start, end) = (&raw const check_programs, &raw const check_programs_end);
    // SAFETY: both are symbols of one section of constants.
    Space::new(unsafe { core::slice::from_raw_parts(start, end as usize - start as usize) })
}

fn patterned(pc: u64) -> UserContext {
    let mut context = UserContext::new(pc, STACK);
    context.x = core::array::from_fn(|index| 0x1111_0000_0000 + index as u64);
    context.v = core::array::from_fn(|index| (0x5555 << 100) + index as u128);
    context.tpidr = 0x1234_5678_9abc;
    context.fpcr = 1 << 22;
    context.fpsr = 1 << 4;
    context.pstate = 0x6000_0000;
    context
}

pub(super) fn registers() -> Result<(), String> {
    let _space = space();
    let before = patterned(entry!(check_svc));
    let mut after = before.clone();
    let trap = enter(&mut after);
    ensure!(trap == Trap::Syscall, "{trap:?}");
    ensure!(after.x == before.x && after.v == before.v, "x or v registers differ");
    ensure!((after.sp, after.pc) == (before.sp, before.pc + 4), "sp {:#x}, pc {:#x}", after.sp, after.pc);
    ensure!((after.tpidr, after.fpcr, after.fpsr) == (before.tpidr, before.fpcr, before.fpsr), "tpidr, fpcr or fpsr");
    ensure!(after.pstate & 0xf000_0000 == before.pstate, "pstate {:#x}", after.pstate);
    Ok(())
}

pub(super) fn changed_registers() -> Result<(), String> {
    let _space = space();
    let before = patterned(entry!(check_change_all));
    let mut after = before.clone();
    let trap = enter(&mut after);
    ensure!(trap == Trap::Syscall, "{trap:?}");
    for (index, (new, old)) in after.x.iter().zip(before.x).enumerate().skip(1) {
        ensure!(*new == old + index as u64 + 1, "x{index} {new:#x}");
    }
    ensure!(after.v == before.v.map(|value| !value), "v registers");
    ensure!((after.sp, after.tpidr, after.fpcr) == (before.sp - 32, before.x[0] + 1, 1 << 24), "sp, tpidr or fpcr");
    ensure!(after.pstate >> 28 == 0b0110, "pstate {:#x}", after.pstate);
    Ok(())
}

pub(super) fn traps() -> Result<(), String> {
    let _space = space();
    let mut context = patterned(entry!(check_brk));
    let trap = enter(&mut context);
    ensure!(trap == Trap::Breakpoint && context.pc == entry!(check_brk), "brk: {trap:?} at {:#x}", context.pc);
    // Everything from here to the end is not EL0's to do, semihosting and power off included.
    let code = &raw const check_undefined as u64;
    for offset in (0..&raw const check_undefined_end as u64 - code).step_by(4) {
        // SAFETY: an instruction of the programs above.
        let instruction = unsafe { ((code + offset) as *const u32).read() };
        let mut context = patterned(entry!(check_undefined) + offset);
        let trap = enter(&mut context);
        ensure!(trap == Trap::Undefined { instruction }, "{instruction:#x}: {trap:x?}");
        ensure!(context.pc == entry!(check_undefined) + offset, "pc {:#x}", context.pc);
    }
    Ok(())
}

pub(super) fn allowed() -> Result<(), String> {
    let space = space();
    let mut context = patterned(entry!(check_allowed));
    context.x[0] = DATA;
    let trap = enter(&mut context);
    ensure!(trap == Trap::Syscall, "{trap:x?} at {:#x}", context.pc);
    ensure!(context.x[2] == crate::arch::timer::frequency(), "frequency {}", context.x[2]);
    ensure!(context.x[4] & 0x10 == 0, "DC ZVA is prohibited");
    ensure!(space.bytes(2).iter().all(|&byte| byte == 0), "DC ZVA wrote something else");
    Ok(())
}

/// The instructions of FEAT_MOPS, which both EL2 (HCRX_EL2) and EL1 (SCTLR_EL1) must have let through.
pub(super) fn memory_operations() -> Result<(), String> {
    let space = space();
    let mut context = patterned(entry!(check_set));
    (context.x[0], context.x[1], context.x[2]) = (DATA, 100, 0x5a);
    let trap = enter(&mut context);
    if !machine().features.mops {
        ensure!(matches!(trap, Trap::Undefined { .. }), "{trap:x?}");
        return Ok(());
    }
    ensure!(trap == Trap::Syscall, "{trap:x?}");
    let page = space.bytes(2);
    ensure!(page[..100].iter().all(|&byte| byte == 0x5a) && page[100] == 0, "not set");
    Ok(())
}

pub(super) fn faults() -> Result<(), String> {
    use {Access::*, FaultKind::*};
    let space = space();
    let kernel = faults as *const () as u64;
    let cases = [
        (entry!(check_load), ABSENT, Read, Translation),
        (entry!(check_store), ABSENT + 8, Write, Translation),
        (entry!(check_store), CONSTANTS, Write, Permission),
        (entry!(check_store), BASE, Write, Permission),
        (entry!(check_jump), DATA, Execute, Permission),
        (entry!(check_jump), ABSENT, Execute, Translation),
        (entry!(check_load), kernel, Read, Permission),
        (entry!(check_store), mmu::LINEAR_BASE, Write, Translation),
        (entry!(check_jump), kernel, Execute, Permission),
    ];
    for (program, address, access, kind) in cases {
        let mut context = patterned(program);
        context.x[0] = address;
        let trap = enter(&mut context);
        let Trap::Fault(fault) = trap else { return Err(alloc::format!("{address:#x}, {access:?}: {trap:x?}")) };
        ensure!((fault.address, fault.access, fault.kind) == (address, access, kind), "{fault:x?}");
        ensure!(context.pc == if access == Execute { address } else { program }, "pc {:#x}", context.pc);
    }
    alignment()?;
    // After the page is there, the same context goes on.
    let mut context = patterned(entry!(check_store));
    context.x[0] = ABSENT;
    ensure!(matches!(enter(&mut context), Trap::Fault(_)), "no fault");
    space.map_absent();
    ensure!(enter(&mut context) == Trap::Syscall, "not resumed");
    ensure!(space.bytes(3)[..8] == context.x[1].to_le_bytes(), "not stored");
    space.unmap(3);
    Ok(())
}

fn alignment() -> Result<(), String> {
    let mut context = patterned(entry!(check_exclusive));
    // Over a multiple of 16: with FEAT_LSE2 what lies between two of them need not be aligned.
    context.x[0] = DATA + 13;
    let trap = enter(&mut context);
    ensure!(trap == Trap::Alignment { address: DATA + 13 }, "exclusive: {trap:x?}");
    let mut context = patterned(BASE + 2);
    let trap = enter(&mut context);
    ensure!(trap == Trap::Alignment { address: BASE + 2 }, "pc: {trap:x?}");
    let mut context = patterned(entry!(check_stack));
    context.sp = STACK + 8;
    let trap = enter(&mut context);
    // QEMU's TCG never checks the alignment of SP; hardware does.
    ensure!(trap == Trap::Alignment { address: STACK + 8 } || trap == Trap::Syscall, "sp: {trap:x?}");
    Ok(())
}
