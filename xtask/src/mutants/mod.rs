//! `mutants`: known defects are switched on one at a time, and each must be caught: on the host by the rule or the test that it was
//! made for, in the guest by the checker. A third column says whether plain QEMU shows it, which for most it does not.
//!
//! The list is the `mmu` crate's (`src/mutant.rs`). The host's tests and each kernel are built once, and first run without a defect:
//! a test that fails by itself proves nothing.

mod guest;
mod host;
mod list;

use std::sync::Mutex;

use anyhow::{Result, ensure};

use crate::build;
use crate::cli::Options;
use crate::interrupt::Interrupt;
use crate::jobs::Bench;
use crate::qemu::Qemu;
use crate::tests::{Tally, Test};
use crate::toolchain::Toolchain;

use guest::{Guest, Shown};
use list::Mutant;

/// What became of one mutant.
#[derive(Debug)]
struct Row {
    place: usize,
    host: Shown,
    checker: Shown,
    plain: Shown,
}

/// Runs the mutants whose name contains `filter`; 1 if one escapes.
pub fn run(
    options: &Options,
    qemu: &Qemu,
    toolchain: &Toolchain,
    interrupt: &Interrupt,
    filter: Option<&str>,
) -> Result<u8> {
    let mutants = list::read()?;
    let filter = filter.unwrap_or_default();
    ensure!(mutants.iter().any(|mutant| mutant.name.contains(filter)), "no known defect's name contains `{filter}`");
    println!("building the host's tests and the kernels with every defect in them");
    let tests = host::Tests::build()?;
    let plain = build::build(toolchain, &["mutants"])?;
    let checked = build::build(toolchain, &["check", "mutants"])?;
    let bench = |build| Bench { options, qemu, build, compiler: &toolchain.version, interrupt };
    let (plain, checked) = (bench(&plain), bench(&checked));
    let (plain, checked) = (Guest { bench: &plain }, Guest { bench: &checked });
    let tally = Tally::new(filter, interrupt);
    if !sound(&tests, &plain, &checked, interrupt) {
        println!("the tests fail without any defect, so what they say of defects is worth nothing");
        return Ok(1);
    }
    let rows = Mutex::new(Vec::new());
    let one = |place: usize, mutant: &Mutant| -> Result<()> {
        let host = tests.run(mutant, 0)?;
        let row = Row { place, host, checker: checked.run(mutant)?, plain: plain.run(mutant)? };
        let judged = judge(mutant, &row);
        rows.lock().unwrap_or_else(|poison| poison.into_inner()).push(row);
        judged
    };
    let one = &one;
    let all = mutants.iter().enumerate().map(|(place, mutant)| {
        let test: Test = (mutant.name.clone(), Box::new(move || one(place, mutant)));
        test
    });
    tally.run_all(all.collect());
    let mut rows = rows.into_inner().unwrap_or_else(|poison| poison.into_inner());
    rows.sort_by_key(|row| row.place);
    print(&mutants, &rows);
    let good = tally.close();
    Ok(interrupt.status().unwrap_or(u8::from(!good)))
}

/// The host's part alone, for long runs.
#[derive(Debug)]
pub struct OnHost {
    mutants: Vec<Mutant>,
    tests: host::Tests,
}

impl OnHost {
    /// Builds the tests with every defect in them.
    pub fn build() -> Result<Self> {
        Ok(Self { mutants: list::read()?, tests: host::Tests::build()? })
    }

    /// Switches each defect on, on machines with this seed. Returns how many there are: all must be caught.
    pub fn all(&self, seed: u64) -> Result<usize> {
        for mutant in &self.mutants {
            let shown = self.tests.run(mutant, seed)?;
            ensure!(mutant.is_caught(&shown), "{}: {shown}; {} had to catch it", mutant.name, mutant.killers());
        }
        Ok(self.mutants.len())
    }
}

/// Runs everything without a defect. Whether all is well.
fn sound(tests: &host::Tests, plain: &Guest, checked: &Guest, interrupt: &Interrupt) -> bool {
    let tally = Tally::new("", interrupt);
    tally.run_all(vec![
        ("no defect: the guest with its checker".to_owned(), Box::new(|| checked.sound())),
        ("no defect: the guest".to_owned(), Box::new(|| plain.sound())),
        ("no defect: the host".to_owned(), Box::new(|| tests.sound())),
    ]);
    tally.close()
}

/// A mutant passes when it was caught as it had to be.
fn judge(mutant: &Mutant, row: &Row) -> Result<()> {
    ensure!(mutant.is_caught(&row.host), "on the host: {}; {} had to catch it", row.host, mutant.killers());
    let must_be_seen = !mutant.rule.is_empty() && row.checker != Shown::CannotOccur;
    ensure!(!must_be_seen || mutant.is_caught(&row.checker), "by the checker in the guest: {}", row.checker);
    Ok(())
}

/// The table. What catches a mutant on the host stands there by its name.
fn print(mutants: &[Mutant], rows: &[Row]) {
    let head = ["defect", "", "caught on the host by", "checker in the guest", "plain QEMU"];
    let mut lines = vec![head.map(str::to_owned)];
    for row in rows {
        let mutant = &mutants[row.place];
        let host = if mutant.is_caught(&row.host) { mutant.killers() } else { row.host.to_string() };
        let (checker, plain) = (row.checker.to_string(), row.plain.to_string());
        lines.push([mutant.name.clone(), mutant.number.clone(), host, checker, plain]);
    }
    let widths: [usize; 5] =
        std::array::from_fn(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0));
    println!();
    for line in &lines {
        let cells: Vec<_> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
    println!();
}
