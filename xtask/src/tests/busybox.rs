//! busybox, unchanged: what people type to look at memory.

use anyhow::{Result, ensure};

use super::case::{LIMIT, Machine, machine_of};
use super::{Tally, Test};
use crate::busybox;
use crate::initrd::Program;
use crate::jobs::{self, Bench};

/// What is typed, and what must be in the output.
const TYPED: &[(&[&str], &[&str])] = &[
    (&["free"], &["total", "Mem:", "Swap:        524284"]),
    (&["cat", "/proc/self/smaps"], &["[heap]", "[stack]", "Rss: ", "VmFlags: rd wr", "THPeligible:"]),
    (&["sh", "-c", "cat /proc/meminfo | grep Mem"], &["MemTotal: ", "MemFree: ", "MemAvailable: "]),
    (&["sh", "-c", "grep -c VmFlags < /proc/$$/smaps; echo $?"], &["0\n"]),
    (&["ps"], &["PID", "busybox ps"]),
    (&["ls", "/proc"], &["100\n", "meminfo\n", "self\n"]),
    (&["ls", "-l", "/proc/self/exe"], &["/proc/self/exe -> /bin/busybox"]),
    (
        &["sh", "-c", "cd /sys/kernel/mm/transparent_hugepage/hugepages-64kB && echo madvise > enabled && cat enabled"],
        &["always inherit [madvise] never\n"],
    ),
    (
        &["sh", "-c", "echo gather > /sys/kernel/unfold/policy/unmap; cat /sys/kernel/unfold/policy/unmap"],
        &["gather\n"],
    ),
    (&["dd", "if=/dev/zero", "of=/dev/null", "bs=64k", "count=16"], &[]),
    (&["wc", "-c", "/bin/hello"], &["/bin/hello"]),
];

/// Runs all of it.
pub fn run(bench: &Bench, tally: &Tally) {
    let name = |typed: &[&str]| format!("busybox: {}", typed.join(" "));
    if !TYPED.iter().any(|(typed, _)| tally.wants(&name(typed))) {
        return;
    }
    let program = match busybox::get() {
        Ok(data) => Program { name: "busybox".to_owned(), data },
        Err(error) => return println!("skip  busybox: {error:#}"),
    };
    let tests = TYPED.iter().map(|&(typed, wanted)| {
        let program = program.clone();
        let test: Test = (name(typed), Box::new(move || one(bench, program, typed, wanted)));
        test
    });
    tally.run_all(tests.collect());
}

fn one(bench: &Bench, program: Program, typed: &[&str], wanted: &[&str]) -> Result<()> {
    let mut words = jobs::run_words("busybox");
    words.push("swap=512M".to_owned());
    words.extend(jobs::argument_words(&typed.iter().map(Into::into).collect::<Vec<_>>()));
    let options = machine_of(bench, &Machine::cpu("max"));
    let mut boot = bench.quiet_boot(&options, &words.join(" "), LIMIT);
    boot.programs.push(program);
    let outcome = boot.run(bench.interrupt)?;
    let judgement = outcome.judge();
    let output = String::from_utf8_lossy(&outcome.output).replace("\r\n", "\n");
    let lacks: Vec<_> = wanted.iter().filter(|part| !output.contains(**part)).collect();
    ensure!(
        judgement.status == 0 && judgement.complaint.is_none() && lacks.is_empty(),
        "status {}, {:?}, lacks {lacks:?}\n{output}\n{}",
        judgement.status,
        judgement.complaint,
        outcome.tail()
    );
    Ok(())
}
