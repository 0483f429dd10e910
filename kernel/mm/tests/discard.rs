//! Lazily freed folios that reclaim takes while another CPU is at them: what is written is kept, what is dropped is gone for all.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use common::ground::{Ground, PAGES, WAYS, ground};
use mmu::host::{Event, Schedule, program};
use mmu::{Cause, Dsb, Fact, Scope, TlbOp};

/// Pages that were given up are paged out, and before an event of that which `matches` another CPU writes one of them. Whatever becomes
/// of the folio, the write is there.
fn write_during_discard(way: &str, matches: impl Fn(&Event) -> bool + Send + 'static) -> Ground {
    let ground = ground(way);
    ground.free();
    // An entry that nobody has used since is in no TLB.
    (0..PAGES).for_each(|page| assert_eq!(ground.read(page), page));
    let writes = || {
        ground.memory.activate(&ground.space);
        ground.write(3, 0x33);
    };
    let schedule = Schedule::in_turn().window(0, 1, matches, 1);
    ground.machine.run_by(schedule, vec![program(|| ground.page_out()), program(writes)]).unwrap();
    assert_eq!(ground.read(3), 0x33, "{way}");
    ground
}

/// The entry says so, and all pages keep what they had.
#[test]
fn a_write_before_a_discard_keeps_the_folio() {
    for way in WAYS {
        let ground = write_during_discard(way, |event| matches!(event, Event::Swap(..)));
        assert_eq!((ground.read(9), ground.count("pglazyfreed")), (9, 0), "{way}");
    }
}

/// The write faults, waits for the table's lock, and gets a page of zeros.
#[test]
fn a_write_after_the_entries_are_cleared_finds_a_new_page() {
    for way in WAYS {
        let ground = write_during_discard(way, |event| matches!(event, Event::Fact(Fact::Discard(..))));
        assert_eq!((ground.read(9), ground.count("pglazyfreed")), (0, PAGES), "{way}");
    }
}

/// When the entries are empty and the TLBI for them is not complete, a CPU could still hold a translation to the old page: the new one is
/// not mapped before.
#[test]
fn a_first_touch_after_a_discard_waits_for_its_flush() {
    for way in WAYS {
        let ground = write_during_discard(way, |event| matches!(event, Event::Dsb(Dsb::Ish)));
        assert_eq!((ground.read(9), ground.count("pglazyfreed")), (0, PAGES), "{way}");
    }
}

/// A reference that is got while the entries are being cleared keeps the folio. It is not swap-backed, as nobody wrote, and goes the
/// next time.
#[test]
fn a_reference_before_the_decision_keeps_the_folio() {
    for way in WAYS {
        let ground = ground(way);
        ground.free();
        let folio = ground.memory.frames.folio_of(ground.entry(0).frame());
        let schedule = Schedule::in_turn().window(0, PAGES as usize, |event| matches!(event, Event::Swap(..)), 1);
        let refers = || assert!(folio.try_get());
        ground.machine.run_by(schedule, vec![program(|| ground.page_out()), program(refers)]).unwrap();
        assert!(!folio.is_swap_backed() && ground.entry(9).is_folded(), "{way}");
        assert!(folio.put(1).is_none());
        ground.page_out();
        assert_eq!((ground.read(9), ground.count("pglazyfreed")), (0, PAGES), "{way}");
    }
}

/// Somebody who refers to the folio writes to it by its physical address, says that it is dirty, and lets go, all while reclaim looks.
/// Who looks at the dirty flag first, and at the references then, may miss the one and the other (reference 4.28).
#[test]
fn a_write_through_a_reference_is_not_discarded() {
    for (way, seed) in WAYS.iter().flat_map(|way| (1..=120).map(move |seed| (way, seed))) {
        let ground = ground(way);
        ground.free();
        let folio = ground.memory.frames.folio_of(ground.entry(0).frame());
        folio.get(1);
        let bytes = 1 + seed % 8;
        let writes = || {
            while !ground.entry(PAGES - 1).is_none() {
                mmu::relax();
            }
            // Byte by byte, and not always as many, so that the end of it falls anywhere into what reclaim does meanwhile.
            (0..bytes).for_each(|byte| ground.memory.door.write_bytes(folio.page(5).start().add_bytes(byte), &[0x55]));
            folio.set_dirty(true);
            assert!(folio.put(1).is_none());
        };
        let schedule = Schedule::seeded(seed).one_in(3);
        let report = ground.machine.run_by(schedule, vec![program(|| ground.page_out()), program(writes)]);
        report.unwrap_or_else(|failure| panic!("{way}, seed {seed}: {failure}"));
        let written = ground.read(5).to_le_bytes()[..bytes as usize].iter().all(|&byte| byte == 0x55);
        assert!(written, "{way}, seed {seed}");
    }
}

/// A program writes while another CPU gives its pages up and pages them out, again and again. What it wrote it finds, or zero: never
/// anything older. And what it wrote since the pages were given up last, it finds.
fn no_later_store_is_lost(way: &str, lazyfree: &str) {
    let mut discarded = 0;
    for seed in 1..=20 {
        let ground = ground(way);
        ground.memory.policy().parse("lazyfree", lazyfree).unwrap();
        let done = AtomicBool::new(false);
        // Odd while the pages are being given up.
        let given_up = AtomicU64::new(0);
        let gives_up = || {
            while !done.load(SeqCst) {
                given_up.fetch_add(1, SeqCst);
                ground.free();
                given_up.fetch_add(1, SeqCst);
                (0..3).for_each(|_| ground.page_out());
                mmu::relax();
            }
        };
        let writes = || {
            ground.memory.activate(&ground.space);
            let mut last: [(u64, u64); PAGES as usize] = std::array::from_fn(|page| (page as u64, 1));
            for turn in 1..400 {
                let page = turn * 7 % PAGES;
                let before = given_up.load(SeqCst);
                ground.write(page, turn << 8);
                last[page as usize] = (turn << 8, before);
                if turn % 5 == 0 {
                    ground.memory.door.invalidate(TlbOp::all(Scope::Local), Cause::Test);
                }
                let other = turn * 3 % PAGES;
                let found = ground.read(other);
                let (stored, since) = last[other as usize];
                let kept = since % 2 == 0 && given_up.load(SeqCst) == since;
                assert!(found == stored || (found == 0 && !kept), "{way}, seed {seed}, turn {turn}: {found:#x}");
                last[other as usize].0 = found;
            }
            done.store(true, SeqCst);
        };
        let schedule = Schedule::seeded(seed).one_in(30);
        let report = ground.machine.run_by(schedule, vec![program(gives_up), program(writes)]);
        report.unwrap_or_else(|failure| panic!("{way}, {lazyfree}, seed {seed}: {failure}"));
        assert_eq!(ground.memory.defects(), 0);
        discarded += ground.count("pglazyfreed");
    }
    assert!(discarded > 300, "the two hardly met: {discarded} pages were discarded");
}

#[test]
fn no_later_store_is_lost_page_by_page() {
    no_later_store_is_lost("page", "page");
}

#[test]
fn no_later_store_is_lost_folio_by_folio() {
    no_later_store_is_lost("folio", "folio");
}

#[test]
fn no_later_store_is_lost_in_a_batch() {
    no_later_store_is_lost("gather", "folio");
}
