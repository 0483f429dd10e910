//! The kernel with the checker in it (`--check`): its own tests, a program, and the whole main job, without a verdict of the model.

use anyhow::{Result, ensure};

use super::case::{LONG, Machine, machine_of};
use super::{Tally, guest};
use crate::build;
use crate::jobs::{self, Bench};
use crate::toolchain::Toolchain;

/// The machines: CPUs that differ in what the rules depend on; and more than one CPU, so that others may hold what one replaces.
const MACHINES: &[Machine] = &[
    Machine::cpu("max"),
    Machine::cpu("cortex-a72"),
    Machine::cpu("neoverse-n1"),
    Machine { smp: 4, ..Machine::cpu("max") },
];
const NAME: &str = "checked";

/// Runs them all.
pub fn run(bench: &Bench, toolchain: &Toolchain, tally: &Tally) {
    if !tally.wants(NAME) && !MACHINES.iter().any(|machine| tally.wants(&format!("{NAME}: {machine}: runs to its end")))
    {
        return;
    }
    let build = match build::build(toolchain, &["check"]) {
        Ok(build) => build,
        Err(error) => return tally.failed("checked: the kernel builds", &format!("{error:#}")),
    };
    let checked = Bench { build: &build, ..*bench };
    guest::run_on(&checked, tally, NAME, MACHINES);
    tally.run("checked: the whole main job", || clean(&checked, "job=table log=uart swap=512M"));
    tally.run("checked: a program", || clean(&checked, &format!("{} swap=512M", jobs::run_words("touch").join(" "))));
}

/// A run that ends well, with a verdict of the checker that says pass.
fn clean(bench: &Bench, words: &str) -> Result<()> {
    let outcome = bench.quiet_boot(&machine_of(bench, &MACHINES[0]), words, LONG).run(bench.interrupt)?;
    let judgement = outcome.judge();
    let verdict = outcome.log.of_kind("check").next().map(|record| record["verdict"].to_string()).unwrap_or_default();
    ensure!(
        judgement.status == 0 && judgement.complaint.is_none() && verdict == "\"pass\"",
        "status {}, {:?}, verdict {verdict}\n{}",
        judgement.status,
        judgement.complaint,
        outcome.tail()
    );
    Ok(())
}
