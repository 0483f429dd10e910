//! Every program, correct and defective, on every machine: what was searched and what was found.

use std::fmt;

use mmu::Features;

use crate::bfs::{Outcome, search};
use crate::defect::Defect;
use crate::machine::Machine;
use crate::program::{Kind, Program};

/// The levels of ID_AA64MMFR2_EL1.BBM that differ for these programs.
pub const BBM_LEVELS: [u8; 3] = [0, 2, 3];

/// Lengths of a block, and how many of its pages the program on CPU 1 uses.
pub const BLOCKS: [(u8, u32); 2] = [(2, 2), (4, 1)];

/// One search.
#[derive(Clone, Debug)]
pub struct Line {
    /// The operation.
    pub kind: Kind,
    /// What is wrong with it.
    pub defect: Option<Defect>,
    /// Entries in the block.
    pub pages: u8,
    /// The machine.
    pub features: Features,
    /// What was found.
    pub outcome: Outcome,
}

/// CPUs with this BBM level, on which hardware manages access flag and dirty state or software does.
pub fn features(bbm_level: u8, hardware_access: bool, hardware_dirty: bool) -> Features {
    Features { bbm_level, hardware_access, hardware_dirty, ..Features::default() }
}

/// Every program for a block of `pages`: each operation as it should be, and with each defect that it can have.
pub fn programs(pages: u8) -> impl Iterator<Item = (Kind, Option<Defect>, Program)> {
    Kind::ALL.into_iter().flat_map(move |kind| {
        let wrong =
            Defect::ALL.into_iter().filter_map(move |defect| Some((kind, Some(defect), defect.program(kind, pages)?)));
        std::iter::once((kind, None, kind.program(pages))).chain(wrong)
    })
}

/// Searches all of them, on machines of every BBM level, with hardware management of flags and without.
pub fn report() -> Vec<Line> {
    let mut lines = Vec::new();
    for (pages, used) in BLOCKS {
        for (kind, defect, program) in programs(pages) {
            for (level, hardware) in BBM_LEVELS.into_iter().flat_map(|level| [(level, false), (level, true)]) {
                let machine =
                    Machine { program: program.clone(), pages, features: features(level, hardware, hardware) };
                let outcome = search(&machine, used);
                lines.push(Line { kind, defect, pages, features: machine.features, outcome });
            }
        }
    }
    lines
}

/// One line; in the alternate form a line more for each step to the hazard.
impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.features.hardware_dirty { "hardware" } else { "software" };
        write!(out, "{} pages, BBM level {}, {flags} flags, {:?}", self.pages, self.features.bbm_level, self.kind)?;
        if let Some(defect) = self.defect {
            write!(out, " with {defect:?} ({})", defect.rule())?;
        }
        match &self.outcome.found {
            None => write!(out, ": {} states, no hazard", self.outcome.states),
            Some((hazard, way)) => {
                write!(out, ": {hazard} in {} steps, {} states", way.len(), self.outcome.states)?;
                let told = if out.alternate() { &way[..] } else { &[] };
                told.iter().try_for_each(|action| write!(out, "\n    {action}"))
            }
        }
    }
}
