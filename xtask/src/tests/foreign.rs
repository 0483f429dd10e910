//! Programs that are not ours: C programs, built with the distribution's cross compiler where it is installed.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::case;
use super::{Tally, Test};
use crate::command;
use crate::initrd::Program;
use crate::jobs::{self, Bench};

/// Debian's name for it (package gcc-aarch64-linux-gnu); the project itself does not need it.
const COMPILER: &str = "aarch64-linux-gnu-gcc";
const SOURCE: &str = include_str!("../../programs/pageout.c");

/// How the program is linked, and for which CPU it is run.
const WAYS: &[(&str, &str, &str)] = &[
    ("static", "-static", "max"),
    ("static-pie", "-static-pie", "max"),
    ("static", "-static", "cortex-a72"),
    ("static", "-static", "neoverse-n1"),
];

/// Runs it in each way.
pub fn run(bench: &Bench, tally: &Tally) {
    if command::find(COMPILER).is_none() {
        println!("skip  C programs: {COMPILER} is not installed");
        return;
    }
    let tests = WAYS.iter().map(|&(name, link, cpu)| {
        let test: Test = (format!("C program, {name}, {cpu}"), Box::new(move || one(bench, link, cpu)));
        test
    });
    tally.run_all(tests.collect());
}

fn one(bench: &Bench, link: &str, cpu: &str) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("pageout");
    compile(link, &file)?;
    let mut words = jobs::run_words("pageout");
    words.push("swap=512M".to_owned());
    let options = case::machine(bench, cpu);
    let mut boot = bench.quiet_boot(&options, &words.join(" "), case::LONG);
    boot.programs.push(Program { name: "pageout".to_owned(), data: std::fs::read(&file)? });
    let outcome = boot.run(bench.interrupt)?;
    let judgement = outcome.judge();
    let output = String::from_utf8_lossy(&outcome.output).replace("\r\n", "\n");
    let wanted = "16 MiB paged out and in again, a page cost something\n";
    let good = judgement.status == 0 && judgement.complaint.is_none() && output == wanted;
    ensure!(good, "status {}, {:?}\n{}", judgement.status, judgement.complaint, outcome.tail());
    Ok(())
}

fn compile(link: &str, file: &Path) -> Result<()> {
    let source = file.with_extension("c");
    std::fs::write(&source, SOURCE)?;
    command::run(Command::new(COMPILER).args(["-O2", link, "-o"]).arg(file).arg(&source))
}
