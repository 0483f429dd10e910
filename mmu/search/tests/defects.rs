//! Each defect reaches a hazard: which one, in which programs and on which machines.

use Defect::*;
use Hazard::*;
use Kind::*;
use search::{Defect, Hazard, Kind, Line, Machine, features, report, search};

/// The hazard of overlapping translations, where the BBM level has one.
fn overlap(line: &Line) -> Option<Hazard> {
    match line.features.bbm_level {
        0 => Some(Poison),
        2 => Some(Conflict),
        _ => None,
    }
}

/// What is nearest in each program when CPU 1 keeps old translations of the whole block.
fn stale(line: &Line) -> Option<Hazard> {
    match line.kind {
        Fold | Unfold => overlap(line),
        PartialRestore | PageOutOne => overlap(line).or(Some(UseAfterFree)),
        PageOut | PageOutInOnePass | Unlink => Some(UseAfterFree),
        Protect | PageOutMet => Some(StalePermission),
        // The entries are again what they were.
        Restore | Age => None,
    }
}

fn expected(line: &Line) -> Option<Hazard> {
    let hardware = line.features.hardware_dirty;
    match (line.defect?, line.kind) {
        (NoBarrierBefore | NoBarrierAfter | StoreBarrierAfter | NoInvalidation | Local | WrongAsid, _) => stale(line),
        // What stays is a page of the block as it was: of the same size and right, until it is unmapped and flushed by itself.
        (FirstPageOnly, Unfold | PageOutOne) => None,
        // The first half of two pages is the first page.
        (FirstPageOnly, PartialRestore) => (line.pages > 2).then_some(UseAfterFree),
        (FirstPageOnly, _) => stale(line),
        (LeafOnly | UnlinkedLate, Unlink) => Some(FreedTable),
        // The barrier that is moved is one that nothing waits for any more.
        (FreedBeforeFlush | CopiedBeforeFlush, PartialRestore | PageOutMet) => None,
        (FreedBeforeFlush, _) => Some(UseAfterFree),
        (CopiedBeforeFlush, _) => Some(LostWrite),
        (NoBreak, Fold | Unfold | PageOutOne) => overlap(line).or(not_atomic(line)),
        (NoBreak, PartialRestore) if !hardware => overlap(line).or(Some(UseAfterFree)),
        (NoBreak, PageOutInOnePass | Unlink) => Some(UseAfterFree),
        (NoBreak, _) => not_atomic(line),
        (ConvertedWithoutFlush | RestoredWithoutFlush, _) => overlap(line),
        (SplitInPlace, _) => overlap(line).or(hardware.then_some(LostDirty)),
        (FlagsForgotten, Unfold) => Some(LostDirty),
        // The folio is dirty all the same.
        (FlagsForgotten, _) => None,
        (NotUnfolded, _) => Some(UseAfterFree),
        (SiblingsNotGathered, Fold) => Some(LostDirty),
        (SiblingsNotGathered | NotAtomic, _) => hardware.then_some(LostDirty),
        (PendingIgnored, _) => Some(StalePermission),
        (GatheredBelieved, Age) => (!hardware).then_some(NoProgress),
        // No table goes; no entry differs from its siblings in a way that matters.
        (LeafOnly | UnlinkedLate | GatheredBelieved, _) => None,
    }
}

/// Entries that are read and stored: hardware's record of a write in between is overwritten.
fn not_atomic(line: &Line) -> Option<Hazard> {
    if line.features.hardware_dirty {
        return Some(LostDirty);
    }
    matches!(line.kind, PageOut | PageOutOne).then_some(UseAfterFree)
}

#[test]
fn each_does_its_harm_and_no_other() {
    let lines = report();
    let mut wrong = Vec::new();
    for line in &lines {
        println!("{line:#}");
        if line.outcome.found.as_ref().map(|found| found.0) != expected(line) {
            wrong.push(format!("{line}, expected {:?}", expected(line)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for defect in Defect::ALL {
        assert!(lines.iter().any(|line| line.defect == Some(defect) && line.outcome.found.is_some()), "{defect:?}");
    }
}

/// The page is gone, but a walk of its neighbour still brings the whole block back.
#[test]
fn the_way_to_a_harm_is_told_in_words() {
    let program = NotUnfolded.program(PageOutOne, 2).expect("a program that unfolds");
    let machine = Machine { program, pages: 2, features: features(3, false, false) };
    let (hazard, way) = search(&machine, 2).found.expect("a hazard");
    let words: Vec<_> = way.iter().map(ToString::to_string).collect();
    assert_eq!((hazard, words.len()), (UseAfterFree, 11));
    let last = [
        "CPU 0 gives frame 1 to a new owner",
        "CPU 1 walks to entry 0 and caches the block (writable, clean, contiguous)",
        "CPU 1 reads page 1 by its cached block (writable, clean, contiguous)",
    ];
    assert_eq!(words[8..], last);
}
