//! The same binary, QEMU and CPU give the same figures twice, to the byte.

use anyhow::{Result, ensure};

use super::Tally;
use super::case::{self, LIMIT};
use crate::jobs::Bench;

/// Runs a smaller main job twice.
pub fn run(bench: &Bench, tally: &Tally) {
    tally.run("figures are the same twice", || {
        let first = once(bench)?;
        ensure!(!first.0.is_empty(), "the main job printed nothing");
        let second = once(bench)?;
        if first == second {
            return Ok(());
        }
        let pairs = first.0.lines().zip(second.0.lines()).chain(first.1.lines().zip(second.1.lines()));
        let differing: Vec<_> =
            pairs.filter(|(one, two)| one != two).map(|(one, two)| format!("- {one}\n+ {two}")).collect();
        ensure!(false, "the two runs differ:\n{}", differing.join("\n"));
        Ok(())
    });
}

/// What one run printed, and its records.
fn once(bench: &Bench) -> Result<(String, String)> {
    let options = case::machine(bench, "max");
    let words = "job=table log=uart quick=on verify=on swap=512M";
    let outcome = bench.quiet_boot(&options, words, LIMIT).run(bench.interrupt)?;
    let judgement = outcome.judge();
    ensure!(judgement.status == 0, "status {}, {:?}\n{}", judgement.status, judgement.complaint, outcome.tail());
    let records: Vec<_> = outcome.log.records.iter().map(ToString::to_string).collect();
    Ok((String::from_utf8_lossy(&outcome.output).into_owned(), records.join("\n")))
}
