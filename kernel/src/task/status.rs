//! How a program ends, and the exit status that this makes.

use core::fmt;

/// A signal's number, with Linux's values.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Signal(pub u8);

#[expect(missing_docs, reason = "the names are Linux's own")]
impl Signal {
    pub const ILL: Self = Self(4);
    pub const TRAP: Self = Self(5);
    pub const ABRT: Self = Self(6);
    pub const BUS: Self = Self(7);
    pub const FPE: Self = Self(8);
    pub const KILL: Self = Self(9);
    pub const SEGV: Self = Self(11);
    pub const PIPE: Self = Self(13);
    pub const CHLD: Self = Self(17);
    pub const STOP: Self = Self(19);
}

impl Signal {
    /// The largest number.
    pub const LAST: u64 = 64;

    /// The signal with this number, if it is one.
    pub fn from_number(number: u64) -> Option<Self> {
        (1..=Self::LAST).contains(&number).then_some(Self(number as u8))
    }

    /// Its bit in a set of signals.
    pub const fn bit(self) -> u64 {
        1 << (self.0 - 1)
    }

    /// Its name without `SIG`; empty for those that have none.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 31] = [
            "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
            "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
            "WINCH", "IO", "PWR", "SYS",
        ];
        NAMES.get(usize::from(self.0) - 1).copied().unwrap_or("")
    }

    /// Whether it does nothing unless a program asks for it: CHLD, CONT, URG, WINCH.
    pub fn is_ignored_by_default(self) -> bool {
        matches!(self.0, 17 | 18 | 23 | 28)
    }

    /// Whether it would stop a program, for another to continue: STOP, TSTP, TTIN, TTOU.
    pub fn is_stop(self) -> bool {
        matches!(self.0, 19..=22)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "" => write!(out, "signal {}", self.0),
            name => write!(out, "SIG{name}"),
        }
    }
}

/// How a program ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum ExitStatus {
    /// It exited with this status.
    Exited(u8),
    /// A signal ended it.
    Killed(Signal),
    /// It was never started: there is no such program.
    NotFound,
    /// It was never started: it is no program that can run here.
    NotExecutable,
}

impl ExitStatus {
    /// The status as a shell gives it.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => 128 + signal.0,
            Self::NotFound => 127,
            Self::NotExecutable => 126,
        }
    }

    /// The status as `wait4` gives it. Nobody writes a core.
    pub fn wait_status(self) -> u32 {
        match self {
            Self::Killed(signal) => signal.0.into(),
            other => u32::from(other.code()) << 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn statuses_are_a_shells() {
        assert_eq!(ExitStatus::Exited(3).code(), 3);
        assert_eq!(ExitStatus::Killed(Signal::SEGV).code(), 139);
        assert_eq!(ExitStatus::Killed(Signal::ABRT).code(), 134);
        assert_eq!(ExitStatus::NotExecutable.code(), 126);
        assert_eq!(ExitStatus::NotFound.code(), 127);
        assert_eq!(ExitStatus::Exited(3).wait_status(), 0x300);
        assert_eq!(ExitStatus::Killed(Signal::SEGV).wait_status(), 11);
    }

    #[test]
    fn names() {
        assert_eq!(Signal::SEGV.to_string(), "SIGSEGV");
        assert_eq!(Signal(31).to_string(), "SIGSYS");
        assert_eq!(Signal(34).to_string(), "signal 34");
        assert_eq!(Signal::from_number(0), None);
        assert_eq!(Signal::from_number(65), None);
        assert_eq!(Signal(64).bit(), 1 << 63);
    }
}
