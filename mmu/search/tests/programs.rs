//! The correct programs reach no hazard.

use mmu::{Depth, Dsb, Scope};
use search::{BLOCKS, Hazard, Kind, Machine, Program, Step, Tlbi, features, search};

/// On every machine. The higher BBM levels only take conflicts away, so level 0 stands for all.
fn assert_harmless(kind: Kind, pages: u8, used: u32) {
    for (access, dirty) in [(false, false), (true, false), (true, true)] {
        let machine = Machine { program: kind.program(pages), pages, features: features(0, access, dirty) };
        let outcome = search(&machine, used);
        println!(
            "{kind:?}, {used} of {pages} pages, hardware access {access}, dirty {dirty}: {} states",
            outcome.states
        );
        assert!(outcome.found.is_none(), "{kind:?} of {pages} pages: {outcome:?}");
    }
}

#[test]
fn correct_programs_do_no_harm() {
    for (pages, used) in BLOCKS {
        for kind in Kind::ALL {
            assert_harmless(kind, pages, used);
        }
    }
}

#[test]
fn nor_to_a_program_that_uses_two_pages_of_four() {
    for kind in Kind::ALL {
        assert_harmless(kind, 4, 2);
    }
}

/// An entry whose access flag is clear is not cached, so taking the flag away is a break as good as any; unless hardware sets it again.
#[test]
fn old_entries_are_a_break_where_software_sets_the_access_flag() {
    let op = Tlbi { first: 0, pages: 2, depth: Depth::Leaf, scope: Scope::Broadcast, right_asid: true };
    let flush = [Step::Dsb(Dsb::IshSt), Step::Tlbi(op), Step::Dsb(Dsb::Ish)];
    let steps =
        [&[Step::Lock, Step::Age(0), Step::Age(1)][..], &flush, &[Step::Split(0), Step::Split(1), Step::Unlock]];
    let program = Program { steps: steps.concat(), folded: true, trusts_gathered: false };
    let found = |hardware| {
        let machine = Machine { program: program.clone(), pages: 2, features: features(0, hardware, false) };
        search(&machine, 2).found.map(|(hazard, _)| hazard)
    };
    assert_eq!((found(false), found(true)), (None, Some(Hazard::Poison)));
}
