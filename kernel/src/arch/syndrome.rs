//! ESR_EL1 in words (DDI 0487, "ESR_EL1, Exception Syndrome Register").

use core::fmt;

use mmu::Access;

/// The exception class: bits 31:26.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Unknown reason: mostly an undefined instruction.
    Unknown,
    /// WFI or WFE.
    WaitFor,
    /// FP or SIMD while it is off.
    NoFp,
    /// SVE while it is off.
    NoSve,
    /// PSTATE.IL was set.
    IllegalState,
    /// SVC.
    Svc,
    /// MSR, MRS or a system instruction that traps.
    SystemRegister,
    /// Instruction abort from EL0.
    InstructionAbortLower,
    /// Instruction abort from EL1.
    InstructionAbort,
    /// Misaligned PC.
    PcAlignment,
    /// Data abort from EL0.
    DataAbortLower,
    /// Data abort from EL1.
    DataAbort,
    /// Misaligned SP.
    SpAlignment,
    /// BRK.
    Breakpoint,
    /// Any other, by its number.
    Other(u8),
}

/// Why an access failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// No valid descriptor at this level.
    Translation,
    /// The access flag is clear.
    AccessFlag,
    /// The descriptor does not allow the access.
    Permission,
    /// The address is not a multiple of the access's size.
    Alignment,
    /// Anything else, such as an external abort or a TLB conflict.
    Other,
}

/// A value of ESR_EL1.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Syndrome(u64);

impl Syndrome {
    /// The syndrome with these bits.
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The exception class.
    pub const fn class(self) -> Class {
        match (self.0 >> 26) as u8 & 0x3f {
            0x00 => Class::Unknown,
            0x01 => Class::WaitFor,
            0x07 => Class::NoFp,
            0x0e => Class::IllegalState,
            0x15 => Class::Svc,
            0x18 => Class::SystemRegister,
            0x19 => Class::NoSve,
            0x20 => Class::InstructionAbortLower,
            0x21 => Class::InstructionAbort,
            0x22 => Class::PcAlignment,
            0x24 => Class::DataAbortLower,
            0x25 => Class::DataAbort,
            0x26 => Class::SpAlignment,
            0x3c => Class::Breakpoint,
            other => Class::Other(other),
        }
    }

    /// Whether it is an abort, for which FAR_EL1 and the fault's kind mean something.
    pub const fn is_abort(self) -> bool {
        use Class::{DataAbort, DataAbortLower, InstructionAbort, InstructionAbortLower};
        matches!(self.class(), InstructionAbortLower | InstructionAbort | DataAbortLower | DataAbort)
    }

    /// Of an abort: what was tried. Cache maintenance (CM) reports as a write, but only needs to read.
    pub const fn access(self) -> Access {
        const WRITE: u64 = 1 << 6;
        const CACHE_MAINTENANCE: u64 = 1 << 8;
        match self.class() {
            Class::InstructionAbortLower | Class::InstructionAbort => Access::Execute,
            _ if self.0 & (WRITE | CACHE_MAINTENANCE) == WRITE => Access::Write,
            _ => Access::Read,
        }
    }

    /// Of an abort: why it failed.
    pub const fn fault_kind(self) -> FaultKind {
        match self.0 & 0x3f {
            0x04..=0x07 => FaultKind::Translation,
            0x08..=0x0b => FaultKind::AccessFlag,
            0x0c..=0x0f => FaultKind::Permission,
            0x21 => FaultKind::Alignment,
            _ => FaultKind::Other,
        }
    }

    /// Of a translation, access flag or permission fault: the level of the lookup.
    pub const fn level(self) -> u8 {
        self.0 as u8 & 3
    }
}

impl fmt::Display for Syndrome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.class() {
            Class::Unknown => "undefined instruction",
            Class::WaitFor => "WFI or WFE",
            Class::NoFp => "FP or SIMD is off",
            Class::NoSve => "SVE is off",
            Class::IllegalState => "illegal execution state",
            Class::Svc => "SVC",
            Class::SystemRegister => "system register access",
            Class::InstructionAbortLower | Class::InstructionAbort => "instruction abort",
            Class::DataAbortLower | Class::DataAbort => "data abort",
            Class::PcAlignment => "misaligned PC",
            Class::SpAlignment => "misaligned SP",
            Class::Breakpoint => "BRK",
            Class::Other(class) => return write!(out, "exception class {class:#x}"),
        };
        write!(out, "{what}")?;
        if !self.is_abort() {
            return Ok(());
        }
        let access = match self.access() {
            Access::Read => "read",
            Access::Write => "write",
            Access::Execute => "fetch",
        };
        match self.fault_kind() {
            FaultKind::Translation => write!(out, ", {access}: translation fault, level {}", self.level()),
            FaultKind::AccessFlag => write!(out, ", {access}: access flag fault, level {}", self.level()),
            FaultKind::Permission => write!(out, ", {access}: permission fault, level {}", self.level()),
            FaultKind::Alignment => write!(out, ", {access}: alignment fault"),
            FaultKind::Other => write!(out, ", {access}: fault status {:#x}", self.0 & 0x3f),
        }
    }
}
