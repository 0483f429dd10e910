//! The list of known defects by itself.

use super::*;
use std::collections::BTreeSet;

#[test]
fn names_and_numbers_are_distinct() {
    let about: std::vec::Vec<About> = Mutant::ALL.iter().map(|mutant| mutant.about()).collect();
    let names: BTreeSet<_> = about.iter().map(|about| about.name).collect();
    let numbers: std::vec::Vec<_> =
        about.iter().map(|about| about.number).filter(|number| !number.is_empty()).collect();
    assert_eq!(names.len(), about.len());
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len());
    assert!(about.len() < usize::from(u8::MAX));
}

#[test]
fn rules_are_rules() {
    let is_known = |code: &str| crate::model::Rule::ALL.iter().any(|rule| rule.code() == code);
    for about in Mutant::ALL.iter().map(|mutant| mutant.about()).filter(|about| !about.rule.is_empty()) {
        assert!(is_known(about.rule), "{}: no rule {}", about.name, about.rule);
    }
}

#[test]
fn the_list_of_names_is_that_of_the_mutants() {
    assert!(Mutant::NAMES.split(", ").eq(Mutant::ALL.iter().map(|mutant| mutant.about().name)));
    assert_eq!(Mutant::named("short-range"), Some(Mutant::ShortRange));
    assert_eq!(Mutant::named("short-rang"), None);
}
