//! Programs that are not ours: C programs, built with the distribution's cross compiler where it is installed.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::case;
use super::{Tally, Test};
use crate::command;
use crate::initrd::Program;
use crate::jobs::{self, Bench};

/// Debian's name for it; the project itself does not need it.
const COMPILER: &str = "aarch64-linux-gnu-gcc";
/// What brings it, and what it links with.
const PACKAGES: &str = "gcc-aarch64-linux-gnu libc6-dev-arm64-cross";

/// A C program: its name, its source, and what it prints.
struct Source {
    name: &'static str,
    text: &'static str,
    prints: &'static str,
}

const PAGEOUT: Source = Source {
    name: "pageout",
    text: include_str!("../../programs/pageout.c"),
    prints: "16 MiB paged out and in again, a page cost something\n",
};
const PAGEMAP: Source = Source {
    name: "pagemap",
    text: include_str!("../../programs/pagemap.c"),
    prints: "96 pages, 64 of them paged out: pagemap, smaps and mincore agree\n",
};
const PTHREADS: Source = Source {
    name: "pthreads",
    text: include_str!("../../programs/pthreads.c"),
    prints: "4 threads, 2000 turns each, and memory paged out under them\n",
};

/// Which program is linked how, and for which CPU it is run.
const WAYS: &[(&Source, &str, &str)] = &[
    (&PAGEOUT, "-static", "max"),
    (&PAGEOUT, "-static-pie", "max"),
    (&PAGEOUT, "-static", "cortex-a72"),
    (&PAGEOUT, "-static", "neoverse-n1"),
    (&PAGEMAP, "-static", "max"),
    (&PAGEMAP, "-static-pie", "cortex-a72"),
    (&PTHREADS, "-static", "max"),
    (&PTHREADS, "-static-pie", "cortex-a72"),
];

/// Runs it in each way.
pub fn run(bench: &Bench, tally: &Tally) {
    if command::find(COMPILER).is_none() {
        println!("skip  C programs: {COMPILER} is not installed: apt-get install {PACKAGES}");
        return;
    }
    let tests = WAYS.iter().map(|&(source, link, cpu)| {
        let name = format!("C program {}, {}, {cpu}", source.name, link.trim_start_matches('-'));
        let test: Test = (name, Box::new(move || one(bench, source, link, cpu)));
        test
    });
    tally.run_all(tests.collect());
}

fn one(bench: &Bench, program: &Source, link: &str, cpu: &str) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join(program.name);
    compile(program.text, link, &file)?;
    let mut words = jobs::run_words(program.name);
    words.push("swap=512M".to_owned());
    let options = case::machine(bench, cpu);
    let mut boot = bench.quiet_boot(&options, &words.join(" "), case::LIMIT);
    boot.programs.push(Program { name: program.name.to_owned(), data: std::fs::read(&file)? });
    let outcome = boot.run(bench.interrupt)?;
    let judgement = outcome.judge();
    let output = String::from_utf8_lossy(&outcome.output).replace("\r\n", "\n");
    let good = judgement.status == 0 && judgement.complaint.is_none() && output == program.prints;
    ensure!(good, "status {}, {:?}\n{}", judgement.status, judgement.complaint, outcome.tail());
    Ok(())
}

fn compile(text: &str, link: &str, file: &Path) -> Result<()> {
    let source = file.with_extension("c");
    std::fs::write(&source, text)?;
    command::run(Command::new(COMPILER).args(["-O2", link, "-o"]).arg(file).arg(&source))
}
