//! `test`: every test there is, and one line at the end: `N passed, M failed`.

mod busybox;
mod case;
pub mod checked;
mod clean;
mod determinism;
mod door;
mod files;
mod foreign;
mod fuzz;
mod guest;
mod host;
mod programs;
mod tally;

use anyhow::{Error, Result};

use crate::interrupt::Interrupt;
use crate::jobs::Bench;
use crate::plugin::Plugin;
use crate::toolchain::Toolchain;
use crate::verify;

pub use tally::{Tally, Test};

/// Runs everything whose name contains `filter`; 1 if anything failed.
pub fn run(bench: &Bench, toolchain: &Toolchain, filter: Option<&str>) -> Result<u8> {
    let tally = Tally::new(filter.unwrap_or_default(), bench.interrupt);
    let steps: [&dyn Fn(&Tally); 10] = [
        &|tally| host::run(toolchain, tally),
        &|tally| clean::run(bench, tally),
        &|tally| guest::run(bench, tally),
        &|tally| checked::run(bench, toolchain, tally),
        &|tally| programs::run(bench, tally),
        &|tally| foreign::run(bench, tally),
        &|tally| busybox::run(bench, tally),
        &|tally| door::run(bench, tally),
        &|tally| determinism::run(bench, tally),
        &|tally| counts(bench, tally),
    ];
    for step in steps {
        step(&tally);
    }
    if let Some(status) = bench.interrupt.status() {
        println!("interrupted");
        tally.close();
        return Ok(status);
    }
    Ok(u8::from(!tally.close()))
}

/// Where the kernel does not build: that is one failure, and what needs no guest still runs.
pub fn run_without_guest(error: &Error, toolchain: &Toolchain, interrupt: &Interrupt, filter: Option<&str>) -> u8 {
    let tally = Tally::new(filter.unwrap_or_default(), interrupt);
    tally.failed("the kernel builds", &format!("{error:#}"));
    host::run(toolchain, &tally);
    tally.close();
    interrupt.status().unwrap_or(1)
}

/// The kernel's counts against the plugin's: the whole main job, a smaller one on CPUs without range TLBI, and the cases of memory
/// management, which have faults, changes by compare-and-swap and freed tables. Of the CPUs, `cortex-a72` has no LSE.
fn counts(bench: &Bench, tally: &Tally) {
    let jobs = [
        ("max", "the whole main job", "job=table"),
        ("cortex-a72", "a smaller one", "job=table quick=on"),
        ("neoverse-n1", "a smaller one", "job=table quick=on"),
        ("max", "each case", "job=test tests=case/T-"),
        ("cortex-a72", "each case", "job=test tests=case/T-"),
    ];
    for (cpu, what, words) in jobs {
        tally.run(&format!("counts agree with the plugin's: {cpu}, {what}"), || {
            let options = case::machine(bench, cpu);
            let words = format!("{words} log=uart verify=on swap=512M");
            let boot = bench.quiet_boot(&options, &words, case::LIMIT);
            let comparison = verify::verify(boot, &Plugin::build(bench.qemu)?, cpu, bench.interrupt)?;
            anyhow::ensure!(comparison.is_good(), "{}\n{}", comparison.table, comparison.differences.join("\n"));
            Ok(())
        });
    }
}
