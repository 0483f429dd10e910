//! `soak`: the long random runs. A round is a million random operations on the model in each form, the one that holds the three ways
//! against each other among them; the meetings of few CPUs as often as the reference asks; every known defect with ten more seeds; and the
//! guest with its checker, an hour of random system calls among it. It is done in stages, no two with the same seed. How far it has
//! come is kept in a file after each, so that the next call goes on from there.

use std::fs;
use std::path::{Path, PathBuf};
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

/// Stages of a round before the last, which is the guest's.
const STAGES: u64 = 10;
/// Random operations of a stage in each form, roughly: a million in a round at least.
const OPERATIONS: u64 = 110_000;
/// The forms, each the beginning of the names of its tests.
const FORMS: [&str; 3] = ["alone", "together", "differential"];

/// Tests that do a tenth of what the reference asks of them in each stage (T-T-6, T-G-5), more than fits into every run.
const MEETINGS: [&str; 2] = ["no_store_is_lost", "a_read_without_the_lock"];

/// What all rounds together have done.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Progress {
    /// Rounds that are complete.
    rounds: u64,
    /// Stages of the next that are.
    stages: u64,
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

    /// The stage is over.
    fn pass(&mut self, failures: usize) {
        self.failures += failures;
        self.stages += 1;
        if self.stages > STAGES {
            (self.rounds, self.stages) = (self.rounds + 1, 0);
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
    println!("building; {} rounds and {} stages are done already", progress.rounds, progress.stages);
    let mutants = OnHost::build()?;
    let programs = Programs::build()?;
    let build = build::build(toolchain, &["check"])?;
    let bench = Bench { options, qemu, build: &build, compiler: &toolchain.version, interrupt };
    let tally = Tally::new("", interrupt);
    loop {
        let (round, failed) = (progress.rounds + 1, tally.failures());
        if progress.stages < STAGES {
            on_host(&mut progress, &tally, &programs, &mutants);
        } else {
            checked::soak(&bench, &tally, round);
        }
        if interrupt.status().is_some() {
            break;
        }
        progress.pass(tally.failures() - failed);
        progress.keep()?;
        if progress.stages == 0 && Instant::now() >= end {
            break;
        }
    }
    let Progress { rounds, operations, mutants, failures, .. } = progress;
    println!(
        "in {rounds} rounds: {operations} random operations, {mutants} times a defect was caught, {failures} failures"
    );
    let good = tally.close();
    Ok(interrupt.status().unwrap_or(u8::from(!good)))
}

/// A stage on the host: random operations in each form, and every defect once. Its number is its seed.
fn on_host(progress: &mut Progress, tally: &Tally, programs: &Programs, mutants: &OnHost) {
    let stage = progress.rounds * STAGES + progress.stages + 1;
    for form in FORMS {
        tally.run(&format!("stage {stage}: {OPERATIONS} random operations, {form}"), || {
            progress.operations += operate(&programs.random, form, stage)?;
            Ok(())
        });
    }
    for test in MEETINGS {
        tally.run(&format!("stage {stage}: {test}"), || meet(&programs.interleaving, test, stage));
    }
    tally.run(&format!("stage {stage}: every known defect"), || {
        progress.mutants += mutants.all(stage)?;
        Ok(())
    });
}

/// Test programs of `mm`.
struct Programs {
    /// That of random operations.
    random: PathBuf,
    /// That in which few CPUs meet.
    interleaving: PathBuf,
}

impl Programs {
    fn build() -> Result<Self> {
        let mut cargo = Command::new(toolchain::cargo_here());
        cargo.args(["test", "--quiet", "--no-run", "--message-format=json-render-diagnostics", "--package", "mm"]);
        cargo.args(["--test", "random", "--test", "interleaving"]).current_dir(crate::root());
        let programs = build::run_for_executables(&mut cargo)?;
        let path = |name: &str| {
            let found = programs.iter().find(|(program, _)| program == name);
            found.map(|(_, path)| path.clone()).with_context(|| format!("the build made no program `{name}`"))
        };
        Ok(Self { random: path("random")?, interleaving: path("interleaving")? })
    }
}

/// Runs the tests whose names begin so, with the seeds of the stage.
fn meet(program: &Path, test: &str, stage: u64) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(test).env("UNFOLD_STAGE", stage.to_string()).stdin(Stdio::null());
    succeed(&mut command).map(drop)
}

/// Runs a test program; what it printed, or the error with all of it.
fn succeed(command: &mut Command) -> Result<String> {
    let output =
        command.output().with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text.into_owned())
}

/// Runs its tests of a form; returns how many operations they did.
fn operate(program: &Path, form: &str, seed: u64) -> Result<u64> {
    let mut command = Command::new(program);
    command.arg(form);
    command.env("UNFOLD_STEPS", OPERATIONS.to_string()).env("UNFOLD_SEED", seed.to_string()).stdin(Stdio::null());
    let text = succeed(&mut command)?;
    // Each of its tests says `NAME: N operations in T s`.
    let counts =
        text.lines().filter_map(|line| line.split_once(": ")?.1.split_once(" operations")?.0.parse::<u64>().ok());
    Ok(counts.sum())
}
