//! What a program asked for and this kernel does not have: listed when the program ends, so that nobody has to guess.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::fmt;

/// Things asked for in vain, with how often.
#[derive(Default, Debug)]
pub struct Missing(BTreeMap<String, u64>);

impl Missing {
    /// Notes one more request, cut to 128 characters. Past 64 different ones, only those known already are counted.
    pub fn note(&mut self, what: &str) {
        const MOST: usize = 64;
        const LONGEST: usize = 128;
        let what: String = what.chars().take(LONGEST).collect();
        if self.0.len() < MOST || self.0.contains_key(&what) {
            *self.0.entry(what).or_default() += 1;
        }
    }
}

impl fmt::Display for Missing {
    /// One line for each; nothing if nothing was missing.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        writeln!(out, "it asked for what is missing here:")?;
        for (what, count) in &self.0 {
            writeln!(out, "  {count:>6} x  {what}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn counts_and_stays_small() {
        let mut missing = Missing::default();
        assert_eq!(missing.to_string(), "");
        for number in 0..100 {
            missing.note(&format!("system call {number}"));
        }
        missing.note("system call 0");
        missing.note("system call 99");
        let text = missing.to_string();
        assert_eq!(text.lines().count(), 65);
        assert!(text.contains("     2 x  system call 0\n"));
    }

    #[test]
    fn what_is_long_is_cut() {
        let mut missing = Missing::default();
        missing.note(&"ä".repeat(5000));
        assert!(missing.to_string().ends_with(&format!("  {}\n", "ä".repeat(128))));
    }
}
