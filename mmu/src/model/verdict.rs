//! Verdicts: what was found, where, and what some CPU may still hold.

use core::fmt;

use super::rule::{Level, Rule};
use super::{CpuSet, Line, MAX_CPUS, one};
use crate::addr::{Asid, PAGE_SHIFT, VirtAddr};
use crate::descriptor::Descriptor;

/// A moment in the life of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct When {
    /// The number of the event.
    pub event: u64,
    /// The CPU that did it.
    pub cpu: u8,
    /// The line of the source that went through the door.
    pub line: Line,
}

/// An entry that some CPU may still hold, although it is no longer in its table, or not as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// The entry as it was.
    pub entry: Descriptor,
    /// The CPUs that may hold it, one bit each.
    pub cpus: CpuSet,
    /// When it was replaced.
    pub replaced: When,
    /// The TLBI that came nearest to covering it.
    pub near: Option<(u64, Line)>,
}

/// A rule that was broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Breach {
    /// Which.
    pub rule: Rule,
    /// In a few words, what happened.
    pub what: &'static str,
    /// The event that broke it.
    pub when: When,
    /// The address concerned; 0 where none is.
    pub address: VirtAddr,
    /// Whose address it is.
    pub asid: Asid,
    /// What some CPU may still hold.
    pub held: Option<Held>,
}

/// What is held of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing was found, and nothing escaped.
    Pass,
    /// A rule was broken; nothing after that was judged.
    Breach(Breach),
    /// Something escaped, so nothing can be said (MS-51).
    Unknown(&'static str),
}

impl fmt::Display for When {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CPU {}, event {}, {}:{}", self.cpu, self.event, self.line.file(), self.line.line())
    }
}

/// CPUs as in `CPUs 0, 2`.
struct Names(CpuSet);

impl fmt::Display for Names {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.0.count_ones() == 1 { "CPU" } else { "CPUs" };
        out.write_str(word)?;
        let mut mark = " ";
        for cpu in (0..MAX_CPUS).filter(|&cpu| self.0 & one(cpu) != 0) {
            write!(out, "{mark}{cpu}")?;
            mark = ", ";
        }
        Ok(())
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.rule.level() {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Cost => "cost",
        };
        writeln!(out, "{} {level}: {}", self.rule, self.what)?;
        writeln!(out, "  rule:    {}", self.rule.text())?;
        if self.address != VirtAddr::default() || self.asid != Asid::RESERVED {
            let page = self.address.as_u64() >> PAGE_SHIFT << PAGE_SHIFT;
            writeln!(out, "  address: {page:#x} of ASID {}", self.asid.as_u16())?;
        }
        write!(out, "  event:   {}", self.when)?;
        let Some(held) = &self.held else { return Ok(()) };
        write!(out, "\n  entry:   {} may still be held by {}", held.entry, Names(held.cpus))?;
        write!(out, "\n  since:   {}", held.replaced)?;
        if let Some((event, line)) = held.near {
            write!(out, "\n  nearest: the TLBI of event {event}, {}:{}", line.file(), line.line())?;
        }
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => write!(out, "pass"),
            Self::Breach(breach) => write!(out, "{breach}"),
            Self::Unknown(why) => write!(out, "unknown (MS-51): {why}"),
        }
    }
}
