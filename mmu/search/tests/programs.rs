//! The correct programs reach no hazard.

use search::{BLOCKS, Kind, Machine, features, search};

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
