//! What becomes of a program at an exception that is no system call: its memory is made to fit, or the exception is a bug of the
//! program, and has a signal.

use mm::fault::FaultError;
use mmu::USER_END;

use super::process::Process;
use super::signals::Info;
use super::stack::{STACK_GUARD, STACK_SIZE, STACK_TOP};
use super::status::Signal;
use super::userfault;
use crate::arch::user::{Access, FaultKind, Trap, UserFault};

/// A signal with its `si_code`.
type Kind = (Signal, i32);
const ILLEGAL: Kind = (Signal::ILL, 1);
const BREAKPOINT: Kind = (Signal::TRAP, 1);
const MISALIGNED: Kind = (Signal::BUS, 1);
const BAD_MEMORY: Kind = (Signal::BUS, 2);
/// BUS_MCEERR_AR: memory that is needed now is bad.
const LOST_MEMORY: Kind = (Signal::BUS, 4);
const NOT_MAPPED: Kind = (Signal::SEGV, 1);
const DENIED: Kind = (Signal::SEGV, 2);
/// From the kernel itself.
const NO_MEMORY: Kind = (Signal::KILL, 0x80);

/// A bug of the program.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    kind: Kind,
    /// What is wrong, in words.
    pub what: &'static str,
    /// The access and its address, if it is about one.
    pub access: Option<(&'static str, u64)>,
    /// The instruction, if it is about that.
    pub instruction: Option<u32>,
    /// log2 of the bytes that are lost, if memory is.
    lost: u32,
}

impl Bug {
    const fn new(kind: Kind, what: &'static str) -> Self {
        Self { kind, what, access: None, instruction: None, lost: 0 }
    }

    const fn at(kind: Kind, what: &'static str, access: &'static str, address: u64) -> Self {
        Self { access: Some((access, address)), ..Self::new(kind, what) }
    }

    /// The signal that Linux has for it.
    pub const fn signal(&self) -> Signal {
        self.kind.0
    }

    /// What a handler of that signal is told; `pc` is where the program is.
    pub fn info(&self, pc: u64) -> Info {
        let value = self.access.map_or(pc, |(_, address)| address);
        // `si_addr_lsb` lies where another signal has a child's status.
        Info { signal: self.kind.0, code: self.kind.1, value, status: self.lost as i32 }
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
            ..Bug::new(ILLEGAL, "an instruction that does not exist, or not for programs")
        }),
        Trap::Breakpoint => Err(Bug::new(BREAKPOINT, "a breakpoint, and no debugger")),
        Trap::Alignment { address } if address == process.context.pc && address % 4 != 0 => {
            Err(Bug::at(MISALIGNED, "the program counter is not a multiple of 4", "execute", address))
        }
        Trap::Alignment { address } => {
            Err(Bug::at(MISALIGNED, "the address is not aligned as it must be", "access", address))
        }
        Trap::Other { .. } => Err(Bug::new(BAD_MEMORY, "an exception that is not expected from a program")),
    }
}

fn memory_fault(process: &Process, fault: UserFault) -> Result<(), Bug> {
    let access = match fault.access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Execute => "execute",
    };
    let bug = |kind, what| Err(Bug::at(kind, what, access, fault.address));
    if matches!(fault.kind, FaultKind::Alignment | FaultKind::Other) {
        return bug(BAD_MEMORY, "the memory system refused the access");
    }
    if fault.address >= USER_END {
        return bug(NOT_MAPPED, "the address is not in a program's half of the addresses");
    }
    match process.space.fault(fault.address, fault.access) {
        Ok(()) => Ok(()),
        Err(_) if is_stack_guard(fault.address) => bug(DENIED, "the stack is full: 8 MiB are used"),
        Err(FaultError::NotMapped) => bug(NOT_MAPPED, "nothing is mapped there"),
        Err(FaultError::Denied) => bug(DENIED, "what is mapped there does not allow it"),
        Err(FaultError::OutOfMemory) => {
            bug(NO_MEMORY, "memory is used up: give the machine more (--mem), or swap (--swap)")
        }
        Err(FaultError::BeyondEnd) => bug(BAD_MEMORY, "the file that is mapped there ends before it"),
        Err(FaultError::NoHugePage) => bug(BAD_MEMORY, "no huge page is free for it: set more aside (--hugepages)"),
        Err(FaultError::Poisoned(lost)) => {
            Err(Bug { lost, ..Bug::at(LOST_MEMORY, "the memory that was there is bad", access, fault.address) })
        }
        Err(FaultError::SwapRead) => bug(BAD_MEMORY, "the page could not be read back from the swap device"),
        Err(FaultError::Watched(notice)) => {
            userfault::ask(process, notice);
            Ok(())
        }
    }
}

fn is_stack_guard(address: u64) -> bool {
    let bottom = STACK_TOP - STACK_SIZE;
    (bottom - STACK_GUARD..bottom).contains(&address)
}
