//! Scenarios: short sequences of events in plain words, right and wrong ones for every rule, played through the real door on the
//! simulated machine, each with the verdict that the model gives.
//!
//! A scenario is a text file in `rules/`, with one event a line; `#` begins a comment. The machine comes first, if it is not one CPU with
//! every feature but BBM level 3: `cpus 2`, `features bbm=0 hafdbs=off range=off ttl=off asid=8`. Events are those of CPU 0, or begin
//! with `cpu 1:`. Pages, frames, spaces and tables have numbers; `0-15` are sixteen in a row. The last-level table of space n is table n,
//! and where a line names no table it is table 1.
//!
//! | | |
//! |---|---|
//! | `space 1`, `space 2 asid 7` | makes a space; its ASID is its number, if no other is given |
//! | `run space 1`, `run space 2 asid 1`, `run space 1 without isb` | writes TTBR0_EL1 |
//! | `load 5`, `load 5 in table 2` | reads an entry |
//! | `store 5 = frame 7 rw young`, `swap 0-15 = none` | changes entries; of a run each maps the next frame |
//! | `update 5 clean` | compare-and-swap: young, old, dirty, clean, read-only, writable, uffd |
//! | `poke 5 = frame 7 rw` | changes an entry past the door |
//! | `new table 2`, `link table 2 in space 1`, `link block in space 1 = frame 512 rw young`, `unlink table of space 1`, `free table 1` | tables |
//! | `tlbi vale1is 5`, `tlbi rvale1is 0-15 level 3`, `tlbi aside1is asid 2`, `tlbi vaae1is operand 0x1234` | invalidations, by the manual's names; for ASID 1 if no other is given |
//! | `dsb ishst`, `dsb ish`, `dsb nsh`, `isb` | barriers |
//! | `read 5`, `write 5`, `execute 5` | a program's access |
//! | `new frame 7`, `free frame 7`, `zero frame 7`, `copy frame 7 to 9`, `write out frame 7`, `device copies frame 7 to 9` | frames: given out, given back, written, copied, looked at to be written to a device, written by it |
//! | `begin munmap`, `end munmap`; `lock`, `unlock`; `batch 0-7`; `resolved 5 write`; `assume no abort`; `snapshot 5 begins`, `snapshot 5 returns frame 7 rw` | what memory management says of itself |
//! | `miscount tlbi vale1is 5`, `lose an event` | a checker that is cheated |
//!
//! Entries are `none`, `swapped`, or `frame N` with rw, ro, rx, rwx or no-access, and then young, dirty, cont, device, global, uffd.

mod entry;
mod outcome;
mod scenario;
mod stage;
mod verb;
mod words;

pub use scenario::{Mistake, Scenario};

use std::path::{Path, PathBuf};

use mmu::model::Rule;

/// Rules that speak of folios and slots, which the model does not know: memory management audits them, and these tests of its show both
/// sides.
pub const AUDITED: [(Rule, &str); 2] = [
    (Rule::FoldedAcrossFolios, "mm: audit::tests::a_folded_block_over_several_folios"),
    (Rule::Accounts, "mm: audit::tests::map_counts"),
];

/// Where the scenarios are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")
}

/// All scenarios whose name contains `filter`, by name.
///
/// # Errors
/// The first mistake in a file.
pub fn all(filter: &str) -> Result<Vec<Scenario>, Box<dyn std::error::Error>> {
    let mut paths = Vec::new();
    for file in std::fs::read_dir(directory())? {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".txt") && name.contains(filter) {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| Ok(Scenario::read(path)?)).collect()
}
