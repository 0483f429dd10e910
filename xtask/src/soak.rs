//! `soak`: the long random runs. A round is a million random operations on the model, every known defect with ten more seeds, and the guest
//! with its checker; no two have the same seed. How far it has come is kept in a file, so that the next call goes on from there.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::build;
use crate::cli::Options;
use crate::interrupt::Interrupt;
use crate::jobs::Bench;
use crate::mutants::OnHost;
use crate::qemu::Qemu;
use crate::tests::{Tally, checked};
use crate::toolchain::{self, Toolchain};

/// Random operations of one round, roughly: a million at least.
const OPERATIONS: u64 = 1_100_000;
/// Seeds with which each defect has to be caught, in one round.
const SEEDS: u64 = 10;

/// What all rounds together have done.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// The number of the last round that is complete; also its seed.
    rounds: u64,
    /// Random operations on simulated machines.
    operations: u64,
    /// Times that a defect was switched on and caught.
    mutants: usize,
    /// Times that a part of a round failed.
    failures: usize,
}

impl Progress {
    fn file() -> PathBuf {
        crate::root().join("target/soak.json")
    }

    /// What was kept; from the start where nothing was.
    fn resume() -> Result<Self> {
        let file = Self::file();
        match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is not what soak wrote; remove it to begin anew", file.display())),
            Err(_) => Ok(Self::default()),
        }
    }

    fn keep(&self) -> Result<()> {
        let file = Self::file();
        fs::write(&file, serde_json::to_vec_pretty(self)?).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Goes on for `hours`, a whole round at least; 1 if anything failed.
pub fn run(options: &Options, qemu: &Qemu, toolchain: &Toolchain, interrupt: &Interrupt, hours: f64) -> Result<u8> {
    let end = Instant::now() + Duration::from_secs_f64(hours * 3600.0);
    let mut progress = Progress::resume()?;
    println!("building; {} rounds are done already", progress.rounds);
    let mutants = OnHost::build()?;
    let random = random_operations()?;
    let build = build::build(toolchain, &["check"])?;
    let bench = Bench { options, qemu, build: &build, compiler: &toolchain.version, interrupt };
    let tally = Tally::new("", interrupt);
    loop {
        let seed = progress.rounds + 1;
        let failed = tally.failures();
        tally.run(&format!("round {seed}: {OPERATIONS} random operations"), || {
            progress.operations += operate(&random, seed)?;
            Ok(())
        });
        tally.run(&format!("round {seed}: every known defect, with {SEEDS} seeds"), || {
            for number in 0..SEEDS {
                progress.mutants += mutants.all(seed * SEEDS + number)?;
            }
            Ok(())
        });
        checked::soak(&bench, &tally, seed);
        if interrupt.status().is_some() {
            break;
        }
        progress.rounds = seed;
        progress.failures += tally.failures() - failed;
        progress.keep()?;
        if Instant::now() >= end {
            break;
        }
    }
    let Progress { rounds, operations, mutants, failures } = progress;
    println!(
        "in {rounds} rounds: {operations} random operations, {mutants} times a defect was caught, {failures} failures"
    );
    let good = tally.close();
    Ok(interrupt.status().unwrap_or(u8::from(!good)))
}

/// Builds the test program of random operations.
fn random_operations() -> Result<PathBuf> {
    const NAME: &str = "random";
    let mut cargo = Command::new(toolchain::cargo_here());
    cargo.args(["test", "--quiet", "--no-run", "--message-format=json-render-diagnostics", "--package", "mm"]);
    let programs = build::run_for_executables(cargo.args(["--test", NAME]).current_dir(crate::root()))?;
    let found = programs.into_iter().find(|(name, _)| name == NAME);
    Ok(found.context("the build made no program of random operations")?.1)
}

/// Runs it; returns how many operations it did.
fn operate(program: &PathBuf, seed: u64) -> Result<u64> {
    let mut command = Command::new(program);
    command.env("UNFOLD_STEPS", OPERATIONS.to_string()).env("UNFOLD_SEED", seed.to_string()).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot start {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    // Each of its tests says `NAME: N operations in T s`.
    let counts =
        text.lines().filter_map(|line| line.split_once(": ")?.1.split_once(" operations")?.0.parse::<u64>().ok());
    Ok(counts.sum())
}
