//! The list of mutants, as the `mmu` crate prints it.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::guest::Shown;
use crate::command;
use crate::toolchain;

/// A known defect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// Its name.
    pub name: String,
    /// Its number in the reference, or nothing.
    pub number: String,
    /// The rule that must be named, or nothing.
    pub rule: String,
    /// The test that must fail.
    pub test: Subject,
}

/// A test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Of the cases, by the beginning of its name: it runs in the guest too.
    Case(String),
    /// The same on the host alone.
    HostCase(String),
    /// A file of `kernel/mm/tests` and a function in it: on the host alone.
    Test(String, String),
}

impl Mutant {
    fn parse(line: &str) -> Result<Self> {
        let fields: Vec<_> = line.split('\t').collect();
        let [name, number, rule, test, _text] = fields[..] else { anyhow::bail!("`{line}` is not a mutant") };
        // Numbers are prefixes of each other; the names behind them are not.
        let case = |name: &str| if name.contains(' ') { name.to_owned() } else { format!("{name} ") };
        let test = match (test.split_once("::"), test.strip_prefix("host:")) {
            (Some((file, function)), _) => Subject::Test(file.to_owned(), function.to_owned()),
            (None, Some(name)) => Subject::HostCase(case(name)),
            (None, None) => Subject::Case(case(test)),
        };
        Ok(Self { name: name.to_owned(), number: number.to_owned(), rule: rule.to_owned(), test })
    }

    /// Rule and test that must catch it.
    pub fn killers(&self) -> String {
        let test = match &self.test {
            Subject::Case(name) | Subject::HostCase(name) => name.trim(),
            Subject::Test(_, name) => name,
        };
        if self.rule.is_empty() { test.to_owned() } else { format!("{}, {test}", self.rule) }
    }

    /// Whether this is how it must be caught: by its rule, or by any failure where it breaks none.
    pub fn is_caught(&self, shown: &Shown) -> bool {
        match shown {
            Shown::Rule(rule) => self.rule.is_empty() || *rule == self.rule,
            Shown::Fails | Shown::Counts | Shown::Stops | Shown::Hangs => self.rule.is_empty(),
            Shown::Not | Shown::CannotOccur => false,
        }
    }
}

/// Reads the list.
pub fn read() -> Result<Vec<Mutant>> {
    let mut cargo = Command::new(toolchain::cargo_here());
    cargo.args(["run", "--quiet", "--package", "mmu", "--features", "mutants", "--example", "mutants"]);
    let text = command::output(cargo.current_dir(crate::root()));
    let text = text.with_context(|| format!("no list of mutants: {}", command::quote(&cargo)))?;
    let mutants: Vec<_> = text.lines().map(Mutant::parse).collect::<Result<_>>()?;
    ensure!(!mutants.is_empty(), "the list of mutants is empty");
    Ok(mutants)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(rule: &str, test: &str) -> Mutant {
        Mutant::parse(&format!("a-b\tM1\t{rule}\t{test}\tText.")).unwrap()
    }

    #[test]
    fn lines_are_taken_apart() {
        assert_eq!(mutant("", "T-U-1").test, Subject::Case("T-U-1 ".to_owned()));
        assert_eq!(mutant("", "T-S-18 two").test, Subject::Case("T-S-18 two".to_owned()));
        assert_eq!(mutant("", "host:T-U-1").test, Subject::HostCase("T-U-1 ".to_owned()));
        assert_eq!(mutant("", "a::b").test, Subject::Test("a".to_owned(), "b".to_owned()));
        assert_eq!(mutant("MS-20", "a::b").killers(), "MS-20, b");
        assert!(Mutant::parse("a\tb").is_err());
    }

    #[test]
    fn only_the_right_rule_catches() {
        let (with_rule, without) = (mutant("MS-20", "T-U-1"), mutant("", "T-U-1"));
        assert!(with_rule.is_caught(&Shown::Rule("MS-20".to_owned())));
        assert!(!with_rule.is_caught(&Shown::Rule("MS-21".to_owned())) && !with_rule.is_caught(&Shown::Hangs));
        assert!(without.is_caught(&Shown::Counts) && !without.is_caught(&Shown::Not));
    }
}
