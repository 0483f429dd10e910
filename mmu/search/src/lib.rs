//! Exhaustive search of small scenarios: the kernel changes one contiguous block on CPU 0, and a program uses it on CPU 1, whose TLB is
//! as stale as the architecture allows. Every interleaving is tried and every choice that the architecture leaves open.
//!
//! 1. The judge knows harms, not rules ([`Hazard`]): a read of a freed frame, a lost write. So the search can say whether a rule is
//!    needed, and whether a checker of rules is right.
//! 2. The kernel's side is plain data ([`Program`]): correct ones, and each known defect as an edit of a correct one ([`Defect`]).
//! 3. The machine is made of the adversary's choices and nothing else: A1, a walker that caches anything cacheable at any time; A2,
//!    nothing evicted, and nothing that must be cached; A3, a contiguous entry cached as the block or as a page; A4, stores seen late;
//!    A5, invalidations without effect until their DSB, and undone by walks that see late stores; A6, a table cached above the leaves;
//!    A7, overlapping translations.
//! 4. `tests/model` plays the same programs to the checker of rules, [`mmu::model`], through the door: its verdicts have to agree.
//! 5. It shares no code with that checker, only the names of features, barriers, depths and scopes.
//!
//! What is left out: accesses of the kernel itself, faults that read a page back, a second table, a third CPU.
#![forbid(unsafe_code)]

mod adversary;
mod bfs;
mod defect;
mod entry;
mod hazard;
mod machine;
mod program;
mod report;
mod tlb;

pub use adversary::{Access, Action, Meets, Visit};
pub use bfs::{Outcome, search};
pub use defect::Defect;
pub use entry::{Entry, Visible};
pub use hazard::Hazard;
pub use machine::{Machine, State};
pub use program::{Kind, New, Program, Step, Tlbi};
pub use report::{BBM_LEVELS, BLOCKS, Line, features, programs, report};
pub use tlb::{Cached, Reach, Tlb};

/// The longest block.
pub const MAX_PAGES: u8 = 4;
