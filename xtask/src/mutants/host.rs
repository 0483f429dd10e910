//! Mutants on the host: the test that is to fail runs in a process of its own, where the variable UNFOLD_MUTANT chooses the defect.

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::guest::Shown;
use super::list::{Mutant, Subject};
use crate::build;
use crate::command;
use crate::toolchain;

/// A test that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(120);
/// How often a waiting thread looks again.
const PAUSE: Duration = Duration::from_millis(20);
/// The test program that has the cases, and its tests of them.
const CASES: &str = "host";
const CASE_TESTS: &str = "on_";
/// What they say of a name that no case has (`kernel/mm/cases/tests/host/main.rs`).
const NO_CASE: &str = "no case has a name with";
/// What every test program says where no test has the name that was asked for.
const NO_TEST: &str = "running 0 tests";
/// The other test programs that mutants name.
const PROGRAMS: [&str; 10] =
    [CASES, "discard", "file_swap", "files", "interleaving", "moving", "pins", "races", "spaces", "splitting"];

/// The test programs with every defect in them.
#[derive(Debug)]
pub struct Tests {
    programs: BTreeMap<String, PathBuf>,
}

/// How a test program ended.
struct Ended {
    status: Option<ExitStatus>,
    text: String,
}

impl Tests {
    /// Builds them.
    pub fn build() -> Result<Self> {
        let mut cargo = Command::new(toolchain::cargo_here());
        cargo.args(["test", "--quiet", "--no-run", "--message-format=json-render-diagnostics"]);
        cargo.args(["--package", "mm", "--package", "cases", "--features", "cases/mutants"]).current_dir(crate::root());
        let programs: BTreeMap<_, _> = build::run_for_executables(&mut cargo)?.into_iter().collect();
        for name in PROGRAMS {
            ensure!(programs.contains_key(name), "the build made no test program {name}");
        }
        Ok(Self { programs })
    }

    /// Without a defect every test passes.
    pub fn sound(&self) -> Result<()> {
        for name in PROGRAMS {
            let ended = self.start(name, |_| ())?;
            ensure!(ended.status.is_some_and(|status| status.success()), "{name} fails:\n{}", ended.text);
        }
        Ok(())
    }

    /// Runs the test that a mutant must fail, on machines with this seed.
    pub fn run(&self, mutant: &Mutant, seed: u64) -> Result<Shown> {
        let defective = |command: &mut Command| {
            command.env("UNFOLD_MUTANT", &mutant.name).env("UNFOLD_SEED", seed.to_string());
        };
        let ended = match &mutant.test {
            Subject::Case(name) | Subject::HostCase(name) => self.start(CASES, |command| {
                defective(command.args(["--test-threads=1", CASE_TESTS]).env("CASE", name));
            }),
            Subject::Test(file, name) => self.start(file, |command| {
                defective(command.args(["--exact", name]));
            }),
        }?;
        // Neither is caught nor escapes: its test has another name now.
        let is_missing = [NO_CASE, NO_TEST].iter().any(|&said| ended.text.contains(said));
        ensure!(!is_missing, "{}: there is no test {}", mutant.name, mutant.killers());
        Ok(match ended.status {
            None => Shown::Hangs,
            Some(status) if status.success() => Shown::Not,
            Some(_) => Shown::of_text(&ended.text, &mutant.rule),
        })
    }

    fn start(&self, program: &str, arguments: impl FnOnce(&mut Command)) -> Result<Ended> {
        let file = self.programs.get(program).with_context(|| format!("no test program {program}"))?;
        // A file, since nobody reads a pipe while this waits.
        let mut output = tempfile::tempfile()?;
        let mut command = Command::new(file);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?).env("RUST_BACKTRACE", "0");
        command::die_with_parent(&mut command);
        arguments(&mut command);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", command::quote(&command)))?;
        let start = Instant::now();
        let status = loop {
            match child.try_wait()? {
                Some(status) => break Some(status),
                None if start.elapsed() < LIMIT => std::thread::sleep(PAUSE),
                None => {
                    child.kill()?;
                    child.wait()?;
                    break None;
                }
            }
        };
        let mut bytes = Vec::new();
        output.rewind()?;
        output.read_to_end(&mut bytes)?;
        Ok(Ended { status, text: String::from_utf8_lossy(&bytes).into_owned() })
    }
}
