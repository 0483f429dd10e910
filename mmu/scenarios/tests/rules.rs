//! Every scenario has the verdict that is recorded, and every rule a good and a bad one.

use std::collections::BTreeSet;
use std::path::Path;

use mmu::model::Rule;
use scenarios::{AUDITED, Scenario, all};

#[test]
fn every_verdict_is_as_recorded() {
    let mut wrong = Vec::new();
    for scenario in all("").unwrap() {
        let outcome = scenario.play().unwrap();
        if outcome != scenario.recorded {
            wrong.push(format!("{}: {outcome:#?}\nrecorded: {:#?}", scenario.name, scenario.recorded));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A good one passes, and a bad one breaks its own rule and no other.
#[test]
fn every_verdict_suits_its_name() {
    for scenario in all("").unwrap() {
        let outcome = scenario.play().unwrap();
        assert!(scenario.suits(&outcome), "{}: {outcome:#?}", scenario.name);
    }
}

#[test]
fn every_rule_has_a_good_and_a_bad_one() {
    let scenarios = all("").unwrap();
    let with =
        |good| scenarios.iter().filter(|scenario| scenario.is_good == good).map(|scenario| scenario.rule).collect();
    let audited: BTreeSet<Rule> = AUDITED.iter().map(|(rule, _)| *rule).collect();
    for (kind, rules) in [("good", with(true)), ("bad", with(false))] {
        let rules: BTreeSet<Rule> = rules;
        let missing: Vec<_> =
            Rule::ALL.iter().filter(|rule| !rules.contains(rule) && !audited.contains(rule)).collect();
        assert!(missing.is_empty(), "no {kind} scenario for {missing:?}");
        assert!(rules.is_disjoint(&audited), "a rule that is audited has a scenario all the same");
    }
}

#[test]
fn comments_are_short_and_say_something() {
    for scenario in all("").unwrap() {
        let lines = scenario.text.lines().take_while(|line| line.starts_with('#')).count();
        assert!((1..=3).contains(&lines) && scenario.comment.len() > 40, "{}", scenario.name);
        assert!(scenario.text.is_ascii(), "{}", scenario.name);
    }
}

fn mistake(text: &str) -> String {
    let read = Scenario::parse(Path::new("ms-20-bad.txt"), &format!("# A comment.\n{text}"));
    match read.and_then(|scenario| scenario.play()) {
        Ok(outcome) => panic!("`{text}` was played: {outcome:?}"),
        Err(mistake) => mistake.to_string(),
    }
}

#[test]
fn a_mistake_names_the_file_the_line_and_what_would_be_right() {
    for (text, expected) in [
        ("jump 5", "ms-20-bad.txt:2: `jump` is no verb; the verbs are space, run"),
        ("space 1\ndsb all", "ms-20-bad.txt:3: `all` is none of ishst, ish, nshst, nsh"),
        ("space 1 now", "`now` is one word too many"),
        ("cpu 1: isb", "there is no CPU 1; `cpus 2` at the top makes it"),
        ("cpu 0 isb", "a colon follows the number of the CPU: `cpu 1: isb`"),
        ("space 1\ncpus 2", "ms-20-bad.txt:3: the machine is described before the first event"),
        ("features bbm=7", "bbm is 0, 1, 2 or 3"),
        ("features colour=on", "`colour` is none of bbm, hafdbs, range, ttl, asid"),
        ("run space 3", "there is no space 3; `space 3` makes it"),
        ("store 5 = none in table 4", "`in` is one word too many"),
        ("store 5 in table 4 = none", "there is no table 4; `space 4` or `new table 4` makes it"),
        ("store 511-512 = none", "a table has entries 0 to 511"),
        ("store 5 = frame 7 young", "`young` is none of rw, ro, rx, rwx, no-access"),
        ("store 5", "the line ends where `=` should follow"),
        ("tlbi vale9is 5", "`vale9is` is none of vale1is, vae1is, rvale1is"),
        ("tlbi vale1is 0-3", "`vale1is` names one page; for several there is rvale1is"),
        ("tlbi rvale1is 0-2", "a range operation covers (NUM + 1) * 2^(5 * SCALE + 1) pages"),
        ("features range=off\ntlbi rvale1is 0-1", "these CPUs have no TLBI by range"),
        ("free frame 9-3", "`9-3` ends before it begins"),
        ("zero frame x", "`x` is no number"),
    ] {
        let told = mistake(text);
        assert!(told.contains(expected), "{text}: {told}");
    }
    let nameless = Scenario::parse(Path::new("other.txt"), "# A comment.\n").err().unwrap().to_string();
    assert!(nameless.contains("those are like ms-20-good"), "{nameless}");
    let silent = Scenario::parse(Path::new("ms-20-bad.txt"), "isb\n").err().unwrap().to_string();
    assert!(silent.contains("the file begins with a comment"), "{silent}");
}
