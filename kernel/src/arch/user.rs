//! Running a program at EL0: [`enter`] is a call that returns at the program's next exception.

use core::arch::{asm, global_asm};

use super::exception::Kind;
pub use super::syndrome::FaultKind;
use super::syndrome::{Class, Syndrome};
use super::uaccess;
pub use mmu::Access;

global_asm!(include_str!("user.s"));

unsafe extern "C" {
    fn enter_user(context: *mut UserContext) -> u64;
}

/// Everything that a program has in registers. Laid out for user.s.
#[repr(C, align(16))]
#[derive(Clone)]
pub struct UserContext {
    /// x0 to x30.
    pub x: [u64; 31],
    /// SP_EL0.
    pub sp: u64,
    /// The next instruction.
    pub pc: u64,
    /// PSTATE, as SPSR_EL1 holds it. What is not EL0's to set is ignored.
    pub pstate: u64,
    /// TPIDR_EL0.
    pub tpidr: u64,
    /// FPCR.
    pub fpcr: u64,
    /// FPSR.
    pub fpsr: u64,
    /// v0 to v31.
    pub v: [u128; 32],
}

impl UserContext {
    /// All zero: the state in which Linux starts a program, but for `pc` and `sp`.
    pub const fn new(pc: u64, sp: u64) -> Self {
        Self { x: [0; 31], sp, pc, pstate: 0, tpidr: 0, fpcr: 0, fpsr: 0, v: [0; 32] }
    }
}

/// Why the program stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// SVC. `pc` is behind it.
    Syscall,
    /// An address that did not translate, or not for this access. `pc` is at the instruction.
    Fault(UserFault),
    /// An interrupt, which has been handled.
    Interrupt,
    /// An instruction that EL0 has not got; 0 where it could not be read.
    Undefined {
        /// The instruction.
        instruction: u32,
    },
    /// BRK.
    Breakpoint,
    /// A misaligned PC, SP or access.
    Alignment {
        /// The address.
        address: u64,
    },
    /// Anything else.
    Other {
        /// ESR_EL1.
        esr: u64,
    },
}

/// A fault of an access to user memory, by the program or on its behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserFault {
    /// The faulting address.
    pub address: u64,
    /// What was tried.
    pub access: Access,
    /// Why it failed.
    pub kind: FaultKind,
    /// ESR_EL1.
    pub esr: u64,
}

/// Bits of PSTATE that a program may choose, as on Linux: NZCV, TCO, DIT, SSBS. The others are mode, masks, and what may be invented.
const USERS: u64 = (0xf << 28) | (1 << 25) | (1 << 24) | (1 << 12);

/// Runs the program in `context` until its next exception. The address space is the caller's business.
pub fn enter(context: &mut UserContext) -> Trap {
    loop {
        context.pstate &= USERS;
        // SAFETY: `context` is ours alone and outlives the call; interrupts are masked, so nothing else runs on this CPU until
        // the program does.
        let kind = unsafe { enter_user(context) };
        if let Some(trap) = trap(Kind::from_entry(kind), context) {
            return trap;
        }
    }
}

fn trap(kind: Kind, context: &mut UserContext) -> Option<Trap> {
    match kind {
        Kind::Synchronous => synchronous(context),
        Kind::Irq | Kind::Fiq => {
            super::exception::interrupt();
            Some(Trap::Interrupt)
        }
        Kind::SError | Kind::Unused | Kind::AArch32 | Kind::StackOverflow => Some(Trap::Other { esr: esr() }),
    }
}

fn synchronous(context: &mut UserContext) -> Option<Trap> {
    let syndrome = Syndrome::new(esr());
    Some(match syndrome.class() {
        Class::Svc => Trap::Syscall,
        Class::DataAbortLower | Class::InstructionAbortLower if syndrome.fault_kind() == FaultKind::Alignment => {
            Trap::Alignment { address: far() }
        }
        Class::DataAbortLower | Class::InstructionAbortLower => Trap::Fault(UserFault {
            address: far(),
            access: syndrome.access(),
            kind: syndrome.fault_kind(),
            esr: syndrome.bits(),
        }),
        Class::PcAlignment => Trap::Alignment { address: context.pc },
        Class::SpAlignment => Trap::Alignment { address: context.sp },
        Class::Breakpoint => Trap::Breakpoint,
        Class::WaitFor => {
            // WFI or WFE. To wait for nothing in particular is to go on: there may be no tick to wake up by.
            context.pc += 4;
            return None;
        }
        Class::Unknown | Class::SystemRegister | Class::NoFp | Class::NoSve | Class::IllegalState => {
            Trap::Undefined { instruction: instruction_at(context.pc) }
        }
        _ => Trap::Other { esr: syndrome.bits() },
    })
}

fn instruction_at(pc: u64) -> u32 {
    let mut bytes = [0; 4];
    uaccess::copy_in(&mut bytes, pc).map_or(0, |()| u32::from_le_bytes(bytes))
}

/// ESR_EL1 of the last exception.
fn esr() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, esr_el1", out(reg) value, options(nostack, nomem, preserves_flags)) };
    value
}

/// FAR_EL1 of the last exception.
fn far() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, far_el1", out(reg) value, options(nostack, nomem, preserves_flags)) };
    value
}
