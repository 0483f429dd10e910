//! The steps of memory with data in it: what each costs in the three ways, beside Linux.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mmu::PAGE_SIZE;

use super::conditions::Conditions;
use super::grid::{Figure, Grid, Grouped, Quotient};
use super::interval::{self, Interval};
use super::linux;
use super::program::{self, LARGE, WAYS, mib_and_pages};
use crate::command_line::Options;
use crate::machine::machine;
use crate::task::ExitStatus;

const OPERATIONS: [Figure<Interval>; 6] = [
    ("TLBI", |step| step.counts.sum("tlbi_")),
    ("DSB", |step| step.counts.sum("dsb_")),
    ("descriptor writes", |step| step.counts.get("swaps") + step.counts.get("stores") + step.counts.get("exchanges")),
    ("unfolds", |step| step.counts.get("unfolds")),
    ("faults", |step| step.counts.sum("faults_")),
    ("swap-count calls", |step| step.counts.get("swap_dups")),
];

/// Runs the program `steps` in the three ways and prints its table. Whether all went well.
pub fn run(options: &Options) -> bool {
    let bytes = program::bytes(options);
    let conditions = Conditions::new(crate::memory(), options);
    conditions.record();
    log::info!("");
    let mut runs = Vec::new();
    for (number, way) in WAYS.into_iter().enumerate() {
        log::info!(
            "[{}/{}] {} folios, pattern-filled, unmap={}",
            number + 1,
            WAYS.len(),
            program::folio_name(LARGE),
            way.word()
        );
        match steps(way.word(), bytes) {
            Ok(steps) => runs.push(steps),
            Err(message) => {
                log::error!("{message}");
                return false;
            }
        }
    }
    log::info!("");
    table(&runs, bytes, &conditions).lines().iter().for_each(|line| log::info!("{line}"));
    log::info!("");
    true
}

/// Every step that was measured on Linux takes a third of its instructions a page at most, in each way; swap-in takes one fault a folio
/// and unfolds nothing; fork unfolds nothing either, and flushes once. Linux was measured on `max`, which has LSE: without it an exchange
/// of an entry takes three instructions more, so a CPU like that is not held to it.
///
/// # Errors
/// What takes more.
pub fn check() -> Result<(), String> {
    // So many that what a fork costs whatever its size, most of it the process's, weighs as little as in Linux's figure.
    const BYTES: u64 = 128 << 20;
    const PART: u64 = 3;
    let pages = |bytes: u64| bytes / PAGE_SIZE;
    for way in WAYS {
        for step in steps(way.word(), BYTES)? {
            let Some(linux) = linux::step(&step.name) else { continue };
            if machine().features.lse && step.instructions * PART * pages(linux::BYTES) > linux * pages(BYTES) {
                let page = step.instructions / pages(BYTES);
                return Err(format!(
                    "{}, unmap={}: {page} instructions a page, Linux {}",
                    step.name,
                    way.word(),
                    linux / pages(linux::BYTES)
                ));
            }
            let (unfolds, flushes) = (step.counts.get("unfolds"), step.counts.get("tlbi_asid"));
            if step.name == "fork" && (unfolds, flushes, step.counts.sum("tlbi_")) != (0, 1, 1) {
                return Err(format!("{}: {unfolds} unfolds, {flushes} flushes of the ASID", step.name));
            }
            let faults = step.counts.sum("faults_");
            if step.name.starts_with("swap-in") && (faults, unfolds) != (pages(BYTES) >> LARGE, 0) {
                return Err(format!("{}: {faults} faults, {unfolds} unfolds", step.name));
            }
        }
    }
    Ok(())
}

/// The steps of one way, in their order.
fn steps(way: &str, bytes: u64) -> Result<Vec<Interval>, String> {
    let memory = crate::memory();
    program::set_policy(memory, "unmap", way);
    program::use_folios_of(memory, LARGE);
    let _earlier = interval::take();
    let status = program::run("bin/steps", &[&format!("{}K", bytes >> 10)]);
    let mut steps = interval::take();
    if status != ExitStatus::Exited(0) {
        return Err(format!("steps, unmap={way}: exit status {}", status.code()));
    }
    interval::record(&steps, way);
    steps.retain(|step| !step.name.is_empty());
    let room =
        steps.iter().all(|step| step.name != "page-out" || step.counts.get("pages_swapped_out") == bytes / PAGE_SIZE);
    if !room {
        return Err(program::too_little_swap(bytes));
    }
    Ok(steps)
}

fn table(runs: &[Vec<Interval>], bytes: u64, conditions: &Conditions) -> Grid {
    let compares = bytes == linux::BYTES && conditions.cpu_of_linux() == "max";
    let title = format!("{} folios with data in every page: {}", program::folio_name(LARGE), mib_and_pages(bytes));
    let heads: Vec<&str> = WAYS.iter().map(|way| way.word()).chain(["Linux 7.3.4", "Linux / gather"]).collect();
    let mut grid = Grid::new(&title, &heads[..if compares { 5 } else { 3 }]);
    let counts_instructions = runs.iter().flatten().any(|step| step.instructions != 0);
    if counts_instructions {
        grid.part("instructions");
        rows(&mut grid, runs, |step| step.instructions, compares);
    }
    for (heading, figure) in OPERATIONS {
        grid.part(heading);
        rows(&mut grid, runs, figure, false);
    }
    grid.note("From \"page-out, shared with a parent\" on: an eighth of it. What came back was compared byte by byte, and was right.");
    grid.note(&conditions.line());
    if compares {
        grid.note("Linux: a RAM disk as swap, otherwise as with the main table (`./qemu-run.sh`).");
    }
    grid
}

/// A row for each step that has something of `figure` in some way.
fn rows(grid: &mut Grid, runs: &[Vec<Interval>], figure: impl Fn(&Interval) -> u64, compares: bool) {
    for (index, step) in runs[0].iter().enumerate() {
        let values: Vec<u64> = runs.iter().map(|run| figure(&run[index])).collect();
        if values.iter().all(|&value| value == 0) {
            continue;
        }
        let mut cells: Vec<String> = values.iter().map(|&value| Grouped(value).to_string()).collect();
        if let (true, Some(of), Some(&by)) = (compares, linux::step(&step.name), values.last()) {
            cells.push(Grouped(of).to_string());
            cells.push(Quotient { of, by, decimals: 2 }.to_string());
        }
        grid.row(&step.name, cells);
    }
}
