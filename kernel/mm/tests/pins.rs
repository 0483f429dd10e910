//! Pins that are taken while another CPU takes pages away: whoever pins looks again, and reclaim looks for pins.

mod common;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use common::ground::{BASE, EMPTY, Ground, PAGES, WAYS, ground};
use mm::fault::Access;
use mm::map::{MapFlags, MapRequest};
use mm::vma::Prot;
use mmu::host::{Event, Schedule, program};
use mmu::{Fact, PAGE_SIZE};

/// A device pins a page on what its entry said before reclaim took the page away and gave its frame to another: it must look again.
#[test]
fn a_pin_comes_too_late() {
    const FOLIOS: usize = 8;
    let ground = ground("folio");
    let place = |folio: usize| EMPTY.add_pages(folio * PAGES as usize);
    let request = MapRequest {
        address: EMPTY.as_u64(),
        length: FOLIOS as u64 * PAGES * PAGE_SIZE,
        prot: Prot::READ | Prot::WRITE,
        flags: MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED,
    };
    ground.memory.mmap(&ground.space, request).unwrap();
    // The area has its anon_vma from now on: to give it one takes the areas' lock, which a pinner holds.
    ground.memory.fault(&ground.space, EMPTY, Access::Write).unwrap();
    let slot = ground.space.lock_table(&ground.memory, BASE).unwrap().slot(BASE);
    let before = ground.memory.door.load(slot).frame();
    let pins = || {
        let pinned = ground.memory.pin_user_pages(&ground.space, BASE, 1, true).unwrap();
        pinned.write(0, 0, &777u64.to_le_bytes());
    };
    let takes = || {
        ground.page_out();
        let taken = (1..FOLIOS).any(|folio| {
            ground.memory.fault(&ground.space, place(folio), Access::Write).unwrap();
            let slot = ground.space.lock_table(&ground.memory, place(folio)).unwrap().slot(place(folio));
            ground.memory.door.load(slot).frame() == before
        });
        assert!(taken, "the frame has not found another user");
    };
    let schedule = Schedule::in_turn().window(0, 1, |event| matches!(event, Event::Fact(Fact::SnapshotEnd(..))), 1);
    ground.machine.run_by(schedule, vec![program(pins), program(takes)]).unwrap();
    assert_eq!(ground.read(0), 777);
    for folio in 0..FOLIOS {
        if let Ok(value) = ground.machine.user_read_u64(place(folio)) {
            assert_eq!(value, 0, "a device writes to another's page");
        }
    }
}

/// A pin that is taken when the entry is gone already, and before the pinner looks again: reclaim finds it and puts the page back.
fn pin_between(way: &str) {
    let ground = ground(way);
    let slot = ground.space.lock_table(&ground.memory, BASE).unwrap().slot(BASE);
    let frame = ground.memory.door.load(slot).frame();
    let pins = || {
        let pinned = ground.memory.pin_user_pages(&ground.space, BASE, 1, true).unwrap();
        assert_eq!(pinned.frame(0), frame);
        pinned.write(0, 0, &777u64.to_le_bytes());
        ground.page_out();
    };
    // The entry is read once for itself and once as a part of its block before the pin is taken, and again afterwards.
    let schedule = Schedule::in_turn()
        .window(0, 1, |event| matches!(event, Event::Fact(Fact::SnapshotEnd(..))), 1)
        .window(1, 2, |event| matches!(event, Event::Swap(..)), 0)
        .window(0, 3, move |event| matches!(event, Event::Load(address) if *address == slot.address()), 1);
    ground.machine.run_by(schedule, vec![program(pins), program(|| ground.page_out())]).unwrap();
    assert_eq!(ground.count("unmap_failures"), 1, "{way}");
    assert_eq!(ground.memory.door.load(slot).frame(), frame, "{way}");
    assert_eq!(ground.read(0), 777);
    (1..PAGES).for_each(|page| assert_eq!(ground.read(page), page));
}

#[test]
fn a_pin_between_clearing_and_sharing_puts_the_page_back() {
    WAYS.into_iter().for_each(pin_between);
}

/// A device writes through pins while another CPU pages out: its program sees each write, at once and later.
#[test]
fn what_a_device_writes_is_not_lost() {
    for way in WAYS {
        let mut met = 0;
        for seed in 1..=20 {
            let ground = ground(way);
            let done = AtomicBool::new(false);
            let report = ground.machine.run_by(
                Schedule::seeded(seed).one_in(20),
                vec![
                    program(|| {
                        while !done.load(SeqCst) {
                            ground.page_out();
                            mmu::relax();
                        }
                    }),
                    program(|| {
                        ground.memory.activate(&ground.space);
                        for turn in 1..100 {
                            let page = turn * 7 % PAGES;
                            let address = Ground::address(page);
                            let pinned = ground.memory.pin_user_pages(&ground.space, address, 1, true).unwrap();
                            pinned.write(0, 0, &(turn << 8).to_le_bytes());
                            assert_eq!(ground.read(page), turn << 8, "{way}, seed {seed}, turn {turn}");
                            pinned.unpin();
                            assert_eq!(ground.read(page), turn << 8, "{way}, seed {seed}, turn {turn}");
                        }
                        done.store(true, SeqCst);
                    }),
                ],
            );
            report.unwrap_or_else(|failure| panic!("{way}, seed {seed}: {failure:?}"));
            assert_eq!(ground.memory.defects(), 0);
            met += ground.count("pages_swapped_in");
        }
        assert!(met > 300, "{way}: the two hardly met: {met} pages came back");
    }
}
