//! What becomes of a program at an exception that is no system call: its memory is made to fit, or the exception is a bug of the
//! program, and has a signal.

use mm::FaultError;
use mmu::USER_END;

use super::load::{STACK_GUARD, STACK_SIZE, STACK_TOP};
use super::process::Process;
use super::status::Signal;
use crate::arch::user::{Access, FaultKind, Trap, UserFault};

/// A bug of the program.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    /// The signal that Linux has for it.
    pub signal: Signal,
    /// What is wrong, in words.
    pub what: &'static str,
    /// The access and its address, if it is about one.
    pub access: Option<(&'static str, u64)>,
    /// The instruction, if it is about that.
    pub instruction: Option<u32>,
}

impl Bug {
    const fn new(signal: Signal, what: &'static str) -> Self {
        Self { signal, what, access: None, instruction: None }
    }

    const fn at(signal: Signal, what: &'static str, access: &'static str, address: u64) -> Self {
        Self { access: Some((access, address)), ..Self::new(signal, what) }
    }
}

/// Handles an exception of `process`.
///
/// # Errors
/// When it is a bug of the program, or there is no memory left for it.
pub fn handle(process: &Process, trap: Trap) -> Result<(), Bug> {
    match trap {
        Trap::Syscall | Trap::Interrupt => Ok(()),
        Trap::Fault(fault) => memory_fault(process, fault),
        Trap::Undefined { instruction } => Err(Bug {
            instruction: Some(instruction),
            ..Bug::new(Signal::ILL, "an instruction that does not exist, or not for programs")
        }),
        Trap::Breakpoint => Err(Bug::new(Signal::TRAP, "a breakpoint, and no debugger")),
        Trap::Alignment { address } if address == process.context.pc && address % 4 != 0 => {
            Err(Bug::at(Signal::BUS, "the program counter is not a multiple of 4", "execute", address))
        }
        Trap::Alignment { address } => {
            Err(Bug::at(Signal::BUS, "the address is not aligned as it must be", "access", address))
        }
        Trap::Other { .. } => Err(Bug::new(Signal::BUS, "an exception that is not expected from a program")),
    }
}

fn memory_fault(process: &Process, fault: UserFault) -> Result<(), Bug> {
    let access = match fault.access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Execute => "execute",
    };
    let bug = |signal, what| Err(Bug::at(signal, what, access, fault.address));
    if matches!(fault.kind, FaultKind::Alignment | FaultKind::Other) {
        return bug(Signal::BUS, "the memory system refused the access");
    }
    if fault.address >= USER_END {
        return bug(Signal::SEGV, "the address is not in a program's half of the addresses");
    }
    match process.space.fault(fault.address, fault.access) {
        Ok(()) => Ok(()),
        Err(_) if is_stack_guard(fault.address) => bug(Signal::SEGV, "the stack is full: 8 MiB are used"),
        Err(FaultError::NotMapped) => bug(Signal::SEGV, "nothing is mapped there"),
        Err(FaultError::Denied) => bug(Signal::SEGV, "what is mapped there does not allow it"),
        Err(FaultError::OutOfMemory) => {
            bug(Signal::KILL, "memory is used up: give the machine more (--mem), or swap (--swap)")
        }
        Err(FaultError::SwapRead) => bug(Signal::BUS, "the page could not be read back from the swap device"),
    }
}

fn is_stack_guard(address: u64) -> bool {
    let bottom = STACK_TOP - STACK_SIZE;
    (bottom - STACK_GUARD..bottom).contains(&address)
}
