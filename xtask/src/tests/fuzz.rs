//! Random system calls from EL0 (`user/src/bin/fuzz`), with one seed after the other, on a kernel with the checker in it: no panic, no
//! verdict, and all memory back at the end.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::case::{LIMIT, Machine, machine_of};
use crate::jobs::{self, Bench};

/// Children of one run, and the calls that each makes: with every event judged they take their time.
const CHILDREN: u64 = 2;
const STEPS: u64 = 400;
/// Machines and switches, in turn: little memory and swap, so that both run out; with huge pages that leave still less.
const WAYS: &[(Machine, &str)] = &[
    (SMALL, "swap=64M thp=64K=always unmap=gather"),
    (SMALL, "swap=32M thp=16K=always;256K=madvise unmap=folio asid_bits=4"),
    (Machine::cpu("cortex-a72"), "swap=512M thp=64K=always unmap=page"),
    (LEAST, "swap=16M,async thp=64K=always;2M=madvise unmap=gather hugepages=2M:34"),
    (Machine { cpu: "cortex-a72", ..LEAST }, "swap=8M thp=32K=always unmap=folio hugepages=64K:64,2M:32"),
    (Machine::cpu("neoverse-n1"), "swap=64M,async thp=128K=always unmap=gather contpte=off"),
];
const SMALL: Machine = Machine { memory: "256M", ..Machine::cpu("max") };
/// With less there is no room for the checker.
const LEAST: Machine = Machine { memory: "128M", ..SMALL };

/// Goes on for `time`, one run at least, with seeds from `seed` on. How many children there were.
pub fn run(bench: &Bench, mut seed: u64, time: Duration) -> Result<u64> {
    let (end, first) = (Instant::now() + time, seed);
    loop {
        let way = (seed / CHILDREN) as usize % WAYS.len();
        one(bench, seed, WAYS[way])?;
        seed += CHILDREN;
        if Instant::now() >= end || bench.interrupt.status().is_some() {
            return Ok(seed - first);
        }
    }
}

fn one(bench: &Bench, seed: u64, (machine, switches): (Machine, &str)) -> Result<()> {
    let mut words = jobs::run_words("fuzz");
    words.push(switches.to_owned());
    let arguments = [seed, CHILDREN, STEPS].map(|number| number.to_string().into());
    words.extend(jobs::argument_words(&arguments));
    let outcome = bench.quiet_boot(&machine_of(bench, &machine), &words.join(" "), LIMIT).run(bench.interrupt)?;
    let judgement = outcome.judge();
    ensure!(
        judgement.status == 0 && judgement.complaint.is_none(),
        "seed {seed}, {machine}, {switches}: status {}, {:?}\n{}",
        judgement.status,
        judgement.complaint,
        outcome.tail()
    );
    Ok(())
}
