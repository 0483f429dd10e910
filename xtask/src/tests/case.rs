//! A case: a machine, something to run in it, and what must come of it.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;

use super::files::FileKind;
use crate::cli::Options;
use crate::guest::Outcome;
use crate::initrd::Program;
use crate::jobs::{self, Bench};

/// After so long a run counts as one that hangs: many times what the longest takes, so that a slow machine is no failure.
pub const LIMIT: Duration = Duration::from_secs(300);

/// A machine of QEMU's.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// CPU.
    pub cpu: &'static str,
    /// Entered at EL2.
    pub el2: bool,
    /// Memory.
    pub memory: &'static str,
    /// How many CPUs it has.
    pub smp: u32,
}

impl Machine {
    /// The usual machine, with this CPU.
    pub const fn cpu(cpu: &'static str) -> Self {
        Self { cpu, el2: false, memory: "1G", smp: 1 }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.cpu, if self.el2 { " at EL2" } else { "" })?;
        if self.smp != 1 {
            write!(out, ", {} CPUs", self.smp)?;
        }
        if self.memory != "1G" { write!(out, " with {}", self.memory) } else { Ok(()) }
    }
}

/// What is run.
#[derive(Debug, Clone, Copy)]
pub enum Subject {
    /// One of our programs, with its arguments.
    Ours(&'static [&'static str]),
    /// A file made for the purpose.
    File(FileKind),
    /// A name that the initrd does not have.
    Absent,
    /// No program: a job of the kernel's.
    Job(&'static str),
}

/// One case.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Where.
    pub machine: Machine,
    /// Size of the swap device.
    pub swap: &'static str,
    /// More words for the kernel's command line.
    pub words: &'static str,
    /// What.
    pub subject: Subject,
    /// The exit status.
    pub status: u8,
    /// The UART carried exactly this; otherwise see `output`.
    pub exactly: Option<&'static str>,
    /// Each of these stands in the UART's output.
    pub output: &'static [&'static str],
    /// Each of these stands in the kernel's messages.
    pub messages: &'static [&'static str],
    /// Counts of what the program measures: the name of the step, and keys of its record with their values, as in `tlbi_range=1`.
    pub counts: &'static [(&'static str, &'static str)],
    /// What the kernel failed at is what was to be shown.
    pub kernel_fails: bool,
}

impl Case {
    /// A case that must end with status 0.
    pub const fn new(name: &'static str, subject: Subject) -> Self {
        Self {
            name,
            machine: Machine::cpu("max"),
            swap: "512M",
            words: "",
            subject,
            status: 0,
            exactly: None,
            output: &[],
            messages: &[],
            counts: &[],
            kernel_fails: false,
        }
    }

    /// Runs it and compares.
    pub fn run(&self, bench: &Bench) -> Result<()> {
        let (words, extra) = self.command_line()?;
        let options = machine_of(bench, &self.machine);
        let mut boot = bench.quiet_boot(&options, &words, LIMIT);
        boot.programs.extend(extra);
        let outcome = boot.run(bench.interrupt)?;
        let wrong = self.wrong(&outcome);
        if wrong.is_empty() {
            return Ok(());
        }
        bail!("{}\n{}", wrong.join("\n"), outcome.tail())
    }

    fn command_line(&self) -> Result<(String, Option<Program>)> {
        let mut extra = None;
        let mut arguments: &[&str] = &[];
        let mut words = match self.subject {
            Subject::Ours([name, rest @ ..]) => {
                arguments = rest;
                jobs::run_words(name)
            }
            Subject::Ours([]) => bail!("a case without a program"),
            Subject::File(kind) => {
                extra = Some(Program { name: "file".to_owned(), data: kind.bytes() });
                jobs::run_words("file")
            }
            Subject::Absent => jobs::run_words("absent"),
            Subject::Job(job) => vec![format!("job={job}"), "log=host".to_owned()],
        };
        words.push(format!("swap={}", self.swap));
        words.extend(self.words.split_whitespace().map(str::to_owned));
        words.extend(jobs::argument_words(&arguments.iter().map(Into::into).collect::<Vec<_>>()));
        Ok((words.join(" "), extra))
    }

    /// What is not as it must be.
    fn wrong(&self, outcome: &Outcome) -> Vec<String> {
        let mut wrong = Vec::new();
        let judgement = outcome.judge();
        if judgement.status != self.status {
            wrong.push(format!("exit status {}, must be {}", judgement.status, self.status));
        }
        if judgement.complaint.is_some() != self.kernel_fails {
            wrong.push(format!("the run itself: {:?}", judgement.complaint));
        }
        let output = String::from_utf8_lossy(&outcome.output).replace("\r\n", "\n");
        if self.exactly.is_some_and(|text| text != output) {
            wrong.push(format!("the output must be {:?}", self.exactly.unwrap_or_default()));
        }
        let messages = outcome.log.messages.join("\n");
        let missing = |text: &str, parts: &[&str]| {
            parts.iter().filter(|part| !text.contains(**part)).map(ToString::to_string).collect::<Vec<_>>()
        };
        wrong.extend(missing(&output, self.output).iter().map(|part| format!("the output lacks {part:?}")));
        wrong.extend(missing(&messages, self.messages).iter().map(|part| format!("the messages lack {part:?}")));
        wrong.extend(self.counts.iter().filter_map(|(step, counts)| wrong_counts(outcome, step, counts)));
        wrong
    }
}

/// How the counts of a step differ from `wanted`.
fn wrong_counts(outcome: &Outcome, step: &str, wanted: &str) -> Option<String> {
    let name = format!(": {step}");
    let ends = |record: &&Value| record["name"].as_str().is_some_and(|full| full.ends_with(&name));
    let Some(record) = outcome.log.of_kind("interval").find(ends) else {
        return Some(format!("there is no step {step:?}"));
    };
    let differs = |word: &&str| {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        record[key].as_u64().unwrap_or(0).to_string() != value
    };
    let wrong: Vec<_> = wanted.split_whitespace().filter(differs).collect();
    (!wrong.is_empty()).then(|| format!("{step:?} is not {}: {record}", wrong.join(" ")))
}

/// The options for a machine with this CPU, whatever the command line says of it.
pub fn machine(bench: &Bench, cpu: &str) -> Options {
    Options { cpu: cpu.to_owned(), smp: 1, mem: "1G".to_owned(), el2: false, gdb: false, ..bench.options.clone() }
}

/// The options for a machine.
pub fn machine_of(bench: &Bench, wanted: &Machine) -> Options {
    let mem = wanted.memory.to_owned();
    Options { el2: wanted.el2, mem, smp: wanted.smp, ..machine(bench, wanted.cpu) }
}
