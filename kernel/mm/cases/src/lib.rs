//! The test cases of the reference for memory management, as functions that run anywhere: on the host over a simulated machine, in
//! the kernel over real page tables. Constants of the reference stand here and nowhere else.
//!
//! 1. A case gets a [`Bench`], makes its own spaces, and says what is wrong. After it the bench recounts everything and looks that
//!    nothing is left.
//! 2. Counts are exact. Where the CPU lacks what a row needs, the case takes the row for CPUs without it.
//! 3. A case is named by its number in the reference, so that one can be run alone.
#![cfg_attr(target_os = "none", no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod bench;
mod check;
mod columns;
mod cpu;
mod family;
mod field;
mod handwork;
mod hoard;
mod unmapping;

pub use bench::{Bench, WAYS};
pub use check::Outcome;
pub use columns::Columns;
pub use cpu::{Cpu, TableWalk, by_hardware, output};
pub use field::{Field, Size};

/// One test.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its number in the reference, and what it is about.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&Bench<'_>) -> Outcome,
}

/// Every case, family by family.
pub fn all() -> impl Iterator<Item = &'static Case> {
    family::FAMILIES.iter().copied().flatten()
}
