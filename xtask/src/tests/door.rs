//! The door itself: this program, called as a person calls it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::case::LIMIT;
use super::{Tally, Test};
use crate::command;
use crate::jobs::Bench;

/// Arguments, and what must come of them.
struct Call {
    name: &'static str,
    arguments: &'static [&'static str],
    status: i32,
    /// Each stands on standard output.
    output: &'static [&'static str],
    /// Each stands on standard error.
    errors: &'static [&'static str],
}

const CALLS: &[Call] = &[
    Call {
        name: "help",
        arguments: &["help"],
        status: 0,
        output: &["verify-counts", "--policy", "--timeout"],
        errors: &[],
    },
    Call {
        name: "wrong option",
        arguments: &["--bogus"],
        status: 2,
        output: &[],
        errors: &["--bogus", "--cpu", "--policy", "--timeout"],
    },
    Call { name: "wrong verb", arguments: &["hello"], status: 2, output: &[], errors: &["run hello"] },
    Call { name: "wrong size", arguments: &["--swap", "many"], status: 2, output: &[], errors: &["512M"] },
    Call {
        name: "wrong CPU",
        arguments: &["--cpu", "bogus", "run", "hello"],
        status: 2,
        output: &[],
        errors: &["bogus", "cortex-a72"],
    },
    Call {
        name: "wrong policy",
        arguments: &["--policy", "unmap=bogus", "run", "hello"],
        status: 2,
        output: &[],
        errors: &["bogus", "page", "folio", "gather"],
    },
    Call {
        name: "no such program",
        arguments: &["run", "no-such-program"],
        status: 127,
        output: &[],
        errors: &["no-such-program", "hello"],
    },
    Call {
        name: "a program and its arguments",
        arguments: &["run", "--counters", "hello", "--cpu", "x y"],
        status: 0,
        output: &["hello from EL0\n--cpu\nx y\n"],
        errors: &["tlbi"],
    },
    Call {
        name: "the machine starts anew",
        arguments: &["--qemu", "-no-reboot", "--timeout", "20s", "--append", "job=reset"],
        status: 125,
        output: &["unfold"],
        errors: &["no verdict"],
    },
    Call { name: "a program's status", arguments: &["run", "bad", "status"], status: 77, output: &[], errors: &[] },
    Call {
        name: "time limit and debugger",
        arguments: &["--gdb", "--gdb-port", "21234", "--timeout", "2s", "run", "hello"],
        status: 124,
        output: &[],
        errors: &["target remote :21234", "time limit"],
    },
    Call {
        name: "arguments for QEMU",
        arguments: &["--qemu", "-name unfold-test", "--qemu", "-no-such-option", "run", "hello"],
        status: 125,
        output: &[],
        errors: &["no-such-option"],
    },
];

/// Makes all calls.
pub fn run(bench: &Bench, tally: &Tally) {
    let mut tests: Vec<Test> = Vec::new();
    for call in CALLS {
        tests.push((format!("door: {}", call.name), Box::new(|| call.check())));
    }
    tests.push(("door: JSON".to_owned(), Box::new(json)));
    tests.push(("door: the kernel is silent about itself unless asked".to_owned(), Box::new(quiet)));
    tests.push(("door: a file of the host".to_owned(), Box::new(|| host_file(bench))));
    tally.run_all(tests);
}

impl Call {
    fn check(&self) -> Result<()> {
        let (status, output, errors) = call(self.arguments)?;
        let lacking =
            |text: &str, parts: &[&str]| parts.iter().find(|part| !text.contains(**part)).map(ToString::to_string);
        let wrong = if status != Some(self.status) {
            format!("status {status:?}, must be {}", self.status)
        } else if let Some(part) = lacking(&output, self.output) {
            format!("standard output lacks {part:?}")
        } else if let Some(part) = lacking(&errors, self.errors) {
            format!("standard error lacks {part:?}")
        } else {
            return Ok(());
        };
        bail!("{wrong}\n--- standard output\n{output}\n--- standard error\n{errors}")
    }
}

/// Status, standard output and standard error of a call of this program.
fn call(arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    command::die_with_parent(&mut command);
    if !arguments.contains(&"--timeout") {
        command.args(["--timeout", &LIMIT.as_secs().to_string()]);
    }
    let output = command.args(arguments).stdin(Stdio::null()).output().context("cannot call myself")?;
    let text = |bytes| String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

fn quiet() -> Result<()> {
    let calls: [(&[&str], bool); 2] = [(&["run", "hello"], false), (&["run", "-v", "hello"], true)];
    for (arguments, has_banner) in calls {
        let (status, output, errors) = call(arguments)?;
        let shown = errors.contains("command line: ");
        if (status, output.as_str(), shown) != (Some(0), "hello from EL0\n", has_banner) {
            bail!("{arguments:?}: status {status:?}\n{output}\n{errors}");
        }
    }
    Ok(())
}

fn json() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("counts.json");
    let name = file.to_string_lossy();
    let (status, _, errors) = call(&["run", "--json", &name, "hello"])?;
    if status != Some(0) {
        bail!("status {status:?}\n{errors}");
    }
    let value: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let records = value["records"].as_array().context("no records")?;
    if value["status"] != 0 || !records.iter().any(|record| record["kind"] == "counters") {
        bail!("no status or no counters in {value}");
    }
    Ok(())
}

fn host_file(bench: &Bench) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("a program");
    let hello = bench.build.programs.iter().find(|program| program.name == "hello").context("no hello")?;
    std::fs::write(&file, &hello.data)?;
    let (status, output, errors) = call(&["run", &file.to_string_lossy(), "x"])?;
    if (status, output.as_str()) != (Some(0), "hello from EL0\nx\n") {
        bail!("status {status:?}\n{output}\n{errors}");
    }
    let gone = Path::new("/no/such/directory/prog").to_string_lossy().into_owned();
    let (status, _, errors) = call(&["run", &gone])?;
    if status != Some(127) || !errors.contains(&gone) {
        bail!("a missing file: status {status:?}\n{errors}");
    }
    Ok(())
}
