//! Mutants in the guest: the case that is to fail runs in a kernel to which `mutant=` was given.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use percent_encoding::percent_encode;

use super::list::{Mutant, Subject};
use crate::cli::Options;
use crate::guest::{Outcome, TIMED_OUT};
use crate::jobs::{Bench, PLAIN};

/// The CPUs that are tried until one shows a defect: with everything, and one that leaves access flags to software.
const CPUS: [&str; 2] = ["max", "cortex-a72"];
/// A case that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(90);
/// All tests take longer, above all with the checker.
const LIMIT_OF_ALL: Duration = Duration::from_secs(600);

/// What a case says where nothing but a count is wrong.
const COUNTS: &str = "counts differ";

/// How a defect showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A rule was broken, and named.
    Rule(String),
    /// A test found wrong contents or a wrong state.
    Fails,
    /// A test found wrong counts, and nothing else.
    Counts,
    /// The kernel stopped.
    Stops,
    /// It ran into the time limit.
    Hangs,
    /// Everything passed.
    Not,
    /// It takes several CPUs, or what only the host can arrange.
    CannotOccur,
}

impl fmt::Display for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Rule(rule) => rule,
            Self::Fails => "shown",
            Self::Counts => "shown by counts alone",
            Self::Stops => "shown (stops)",
            Self::Hangs => "shown (hangs)",
            Self::Not => "not shown",
            Self::CannotOccur => "-",
        })
    }
}

impl Shown {
    /// What a failed test's text says: `rule`, if it is among those that are named.
    pub fn of_text(text: &str, rule: &str) -> Self {
        let named: Vec<&str> = rules_in(text).collect();
        match named.iter().find(|&&named| named == rule).or(named.first()) {
            Some(rule) => Self::Rule((*rule).to_owned()),
            None if text.contains(COUNTS) => Self::Counts,
            None => Self::Fails,
        }
    }
}

/// The rules that a text names.
fn rules_in(text: &str) -> impl Iterator<Item = &str> {
    let is_code = |code: &&str| code[3..].bytes().all(|byte| byte.is_ascii_digit());
    text.match_indices("MS-").filter_map(|(at, _)| text.get(at..at + 5)).filter(is_code)
}

/// A kernel with every defect in it.
#[derive(Debug)]
pub struct Guest<'a> {
    /// What it runs on.
    pub bench: &'a Bench<'a>,
}

impl Guest<'_> {
    /// Without a defect every test passes.
    pub fn sound(&self) -> Result<()> {
        let outcome = self.boot(CPUS[0], "", LIMIT_OF_ALL)?;
        let judgement = outcome.judge();
        ensure!(judgement.status == 0, "status {}, {:?}\n{}", judgement.status, judgement.complaint, outcome.tail());
        Ok(())
    }

    /// Runs the case that a mutant must fail, if it is one that the guest has.
    pub fn run(&self, mutant: &Mutant) -> Result<Shown> {
        let Subject::Case(case) = &mutant.test else { return Ok(Shown::CannotOccur) };
        let mut seen = Shown::Not;
        for cpu in CPUS {
            let shown = self.run_on(cpu, mutant, case)?;
            if mutant.is_caught(&shown) {
                return Ok(shown);
            }
            if seen == Shown::Not {
                seen = shown;
            }
        }
        Ok(seen)
    }

    fn run_on(&self, cpu: &str, mutant: &Mutant, case: &str) -> Result<Shown> {
        let name = format!("case/{case}");
        let tests = percent_encode(name.as_bytes(), PLAIN);
        let outcome = self.boot(cpu, &format!("mutant={} tests={tests}", mutant.name), LIMIT)?;
        let shown = shown(&outcome, &mutant.rule);
        ensure!(shown != Shown::Not || outcome.log.of_kind("test").next().is_some(), "no test {name}");
        Ok(shown)
    }

    fn boot(&self, cpu: &str, words: &str, limit: Duration) -> Result<Outcome> {
        let options = Options { cpu: cpu.to_owned(), ..self.bench.options.clone() };
        let words = format!("job=test log=uart swap=512M {words}");
        self.bench.quiet_boot(&options, &words, limit).run(self.bench.interrupt)
    }
}

fn shown(outcome: &Outcome, rule: &str) -> Shown {
    let judgement = outcome.judge();
    if judgement.status == 0 {
        return Shown::Not;
    }
    // A run that goes well tells of rules too, of those about costs: so only what the checker says of breaches counts.
    let breaches = outcome.log.of_kind("breach").map(|record| &record["rule"]);
    let verdicts = outcome.log.of_kind("check").map(|record| &record["verdict"]);
    let said: Vec<_> = breaches.chain(verdicts).filter_map(|text| text.as_str()).collect();
    let mut failed = outcome.log.of_kind("test").filter(|record| record["ok"] == false).peekable();
    match Shown::of_text(&said.join("\n"), rule) {
        Shown::Rule(rule) => Shown::Rule(rule),
        _ if judgement.status == TIMED_OUT => Shown::Hangs,
        _ if failed.peek().is_none() => Shown::Stops,
        _ if failed.all(|record| record["message"].as_str().is_some_and(|text| text.contains(COUNTS))) => Shown::Counts,
        _ => Shown::Fails,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_found_in_texts() {
        assert_eq!(rules_in("MS-20 error, (MS-51), MS-x1 and MS-4").collect::<Vec<_>>(), ["MS-20", "MS-51"]);
        assert_eq!(Shown::of_text("MS-50 and MS-06", "MS-06"), Shown::Rule("MS-06".to_owned()));
        assert_eq!(Shown::of_text("MS-50", "MS-06"), Shown::Rule("MS-50".to_owned()));
        assert_eq!(Shown::of_text("counts differ: T=1", ""), Shown::Counts);
        assert_eq!(Shown::of_text("page 3 byte 0", ""), Shown::Fails);
    }
}
