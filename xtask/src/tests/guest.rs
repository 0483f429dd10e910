//! The kernel testing itself, on each CPU that matters: one record for each test.

use anyhow::{Result, bail};

use super::case::{LIMIT, Machine, machine_of};
use super::{Tally, Test};
use crate::jobs::Bench;

/// The machines: CPUs that differ in range TLBI, hardware access flags, LSE; the way in through EL2; and more than one CPU, where PSCI is
/// reached by HVC, and by SMC with every CPU entered at EL2.
const MACHINES: &[Machine] = &[
    Machine::cpu("max"),
    Machine::cpu("cortex-a72"),
    Machine::cpu("neoverse-n1"),
    Machine { el2: true, ..Machine::cpu("max") },
    Machine { smp: 4, ..Machine::cpu("max") },
    Machine { smp: 4, el2: true, ..Machine::cpu("cortex-a72") },
];

/// Runs them all.
pub fn run(bench: &Bench, tally: &Tally) {
    run_on(bench, tally, "guest", MACHINES);
}

/// Runs every test of the guest on each of `machines`; `what` begins the names.
pub fn run_on(bench: &Bench, tally: &Tally, what: &str, machines: &[Machine]) {
    let tests = machines.iter().map(|machine| {
        let label = format!("{what}: {machine}");
        let test: Test = (format!("{label}: runs to its end"), Box::new(move || one(bench, machine, &label, tally)));
        test
    });
    tally.run_all(tests.collect());
}

/// Boots one machine with `job=test`; each record is a test of its own.
fn one(bench: &Bench, machine: &Machine, label: &str, tally: &Tally) -> Result<()> {
    let options = machine_of(bench, machine);
    let outcome = bench.quiet_boot(&options, "job=test log=uart swap=512M", LIMIT).run(bench.interrupt)?;
    let mut passed = 0;
    let mut failed = 0;
    for record in outcome.log.of_kind("test") {
        if record["ok"] == true {
            passed += 1;
        } else {
            failed += 1;
            let name = record["name"].as_str().unwrap_or("(no name)");
            tally.failed(&format!("{label}: {name}"), record["message"].as_str().unwrap_or("(no message)"));
        }
    }
    tally.passed_many(label, passed);
    let judgement = outcome.judge();
    // Failed tests are counted already; what must not happen besides is that the guest dies or stays silent.
    match judgement.complaint {
        None if failed > 0 && judgement.status == 1 => Ok(()),
        None if failed == 0 && judgement.status == 0 && passed > 0 => Ok(()),
        Some(_) if failed > 0 && judgement.status == 1 => Ok(()),
        complaint => {
            let tail = outcome.tail();
            bail!("{} tests passed, {failed} failed, status {}, {complaint:?}\n{tail}", passed, judgement.status)
        }
    }
}
