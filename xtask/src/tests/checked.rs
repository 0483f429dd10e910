//! The kernel with the checker in it (`--check`): its own tests, a program, and the whole main job, without a verdict of the model.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{LIMIT, Machine, machine_of};
use super::{Tally, fuzz, guest};
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
const RANDOM: &str = "checked: random system calls";
/// How long random system calls are made.
const FUZZ: Duration = Duration::from_secs(30);
const FUZZ_IN_SOAK: Duration = Duration::from_secs(3600);
const MAIN_JOB: &str = "job=table log=uart swap=512M";

/// Runs them all.
pub fn run(bench: &Bench, toolchain: &Toolchain, tally: &Tally) {
    let runs = MACHINES.iter().map(|machine| format!("{NAME}: {machine}: runs to its end"));
    if !runs.chain([NAME, RANDOM].map(str::to_owned)).any(|name| tally.wants(&name)) {
        return;
    }
    let build = match build::build(toolchain, &["check"]) {
        Ok(build) => build,
        Err(error) => return tally.failed("checked: the kernel builds", &format!("{error:#}")),
    };
    let checked = Bench { build: &build, ..*bench };
    guest::run_on(&checked, tally, NAME, MACHINES);
    tally.run("checked: the whole main job", || clean(&checked, MAIN_JOB));
    tally.run("checked: a program", || clean(&checked, &program()));
    tally.run("checked: processes", || clean(&checked, &processes()));
    tally.run("checked: threads", || clean(&checked, &threads()));
    tally.run("checked: pinned pages", || clean(&checked, &pins()));
    tally.run(RANDOM, || fuzz::run(&checked, 1, FUZZ).map(drop));
}

/// One of the machines, by the number of the round, the main job, and an hour of random system calls: for long runs.
pub fn soak(bench: &Bench, tally: &Tally, round: u64) {
    let machine = MACHINES[round as usize % MACHINES.len()];
    guest::run_on(bench, tally, &format!("round {round}"), &[machine]);
    tally.run(&format!("round {round}: the whole main job"), || clean(bench, MAIN_JOB));
    let seed = 1 + (round << 32);
    tally.run(&format!("round {round}: random system calls"), || fuzz::run(bench, seed, FUZZ_IN_SOAK).map(drop));
}

/// Pages out, comes back, drops and protects.
fn program() -> String {
    let mut words = jobs::run_words("touch");
    words.push("swap=512M thp=64K=always".to_owned());
    let actions =
        ["1M", "write", "pageout", "check", "protect-read:0-7", "protect-write", "write", "drop:3-12", "check:16-31"];
    words.extend(jobs::argument_words(&actions.map(Into::into)));
    words.join(" ")
}

/// Several programs at once, whose ASIDs run out again and again.
fn processes() -> String {
    let mut words = jobs::run_words("procs");
    words.push("swap=512M thp=64K=always unmap=gather asid_bits=4".to_owned());
    words.join(" ")
}

/// Several threads of one program, while one of them changes its maps.
fn threads() -> String {
    let mut words = jobs::run_words("threads");
    words.push("swap=512M thp=64K=always unmap=gather".to_owned());
    words.join(" ")
}

/// Pages that a device writes to, whatever becomes of their mappings.
fn pins() -> String {
    let mut words = jobs::run_words("pins");
    words.push("swap=512M thp=64K=always unmap=gather".to_owned());
    words.join(" ")
}

/// A run that ends well, with a verdict of the checker that says pass.
fn clean(bench: &Bench, words: &str) -> Result<()> {
    let outcome = bench.quiet_boot(&machine_of(bench, &MACHINES[0]), words, LIMIT).run(bench.interrupt)?;
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
