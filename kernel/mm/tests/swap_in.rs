//! Swap-in on the simulated machine, named by the cases of the reference (5.7).

mod common;

use common::{Bench, RW, swapped};
use mm::fault::{Access, FaultError};
use mm::inject::{Point, Times};
use mm::space::advice::{DONTNEED, PAGEOUT};
use mm::swap::SwapEntry;
use mmu::host::{Config, Event, Schedule, program};

#[test]
fn t_i_2_a_write_makes_the_batch_dirty() {
    let bench = swapped("64K=always", 16);
    bench.write(5, 99).unwrap();
    assert!((0..16).all(|page| bench.entry(page).is_dirty()));
    assert_eq!((bench.read(5), bench.read(6)), (Ok(99), Ok(6 ^ 0xABCD)));
    assert_eq!(bench.count("faults_swap_major"), 1);
}

#[test]
fn t_i_5_a_folio_still_in_the_cache_is_mapped_again_without_a_read() {
    for (access, dirty) in [(Access::Read, false), (Access::Write, true)] {
        let bench = Bench::new("64K=always");
        bench.map(0, 16, RW);
        bench.fill(0, 16);
        let (frame, start) = (bench.frame(0), bench.memory.swap.free_count());
        // The write fails, so the folio stays in the cache with nothing mapping it.
        bench.memory.inject.arm(Point::DeviceWrite, 0, Times::Always);
        bench.advise(0, 16, PAGEOUT).unwrap();
        bench.memory.inject.arm(Point::DeviceRead, 0, Times::Always);
        assert_eq!(bench.shape(0, 16), [0, 0, 16, 0]);
        bench.memory.fault(&bench.space, bench.at(7), access).unwrap();
        assert_eq!((bench.count("faults_swap_minor"), bench.count("faults_swap_major")), (1, 0));
        assert_eq!((bench.frame(0), bench.shape(0, 16)), (frame, [16, 0, 0, 0]));
        assert_eq!((bench.memory.swap.free_count(), bench.entry(3).is_dirty()), (start, dirty));
        assert_eq!(bench.folio(0).0.exclusive_run(0, 16), (true, 16));
        bench.verify(0, 16);
        bench.audit();
    }
}

/// With one page of the folio taken out of the area, only single pages of the cached folio fit; they stay one folio.
#[test]
fn pages_of_a_cached_folio_can_be_mapped_one_by_one() {
    let bench = Bench::new("64K=always");
    bench.map(0, 16, RW);
    bench.fill(0, 16);
    let frame = bench.frame(0);
    bench.memory.inject.arm(Point::DeviceWrite, 0, Times::Always);
    bench.advise(0, 16, PAGEOUT).unwrap();
    bench.advise(15, 1, DONTNEED).unwrap();
    bench.verify(0, 15);
    assert_eq!((bench.count("faults_swap_minor"), bench.frame(0)), (15, frame));
    assert_eq!((bench.shape(0, 16), bench.folio(3).0.order()), ([0, 15, 0, 1], 4));
    assert_eq!(bench.read(15), Ok(0));
    bench.audit();
    bench.fill(0, 16);
    bench.verify(0, 16);
}

#[test]
fn a_cached_neighbour_makes_the_others_come_one_by_one() {
    let bench = swapped("64K=always", 16);
    let (memory, entry) = (&bench.memory, SwapEntry::from_descriptor(bench.entry(5)).unwrap().entry);
    // As a fault does that is between its read and its mapping.
    let locked = memory.swap.add_to_cache(memory, entry, memory.alloc_folio(0).unwrap()).unwrap();
    memory.swap.read_in(memory, &locked).unwrap();
    locked.set_swap_backed(true);
    locked.set_uptodate(true);
    memory.lru.add(locked.folio());
    let folio = locked.unlock();
    bench.verify(3, 1);
    assert_eq!((bench.shape(0, 16), bench.folio(3).0.order()), ([0, 1, 15, 0], 0));
    assert!(folio.put(1).is_none(), "the cache has it");
    bench.verify(0, 16);
    assert_eq!((bench.count("faults_swap_minor"), bench.folio(5).0), (1, folio));
    bench.audit();
}

/// As fork leaves the entries, but for the other space.
#[test]
fn t_i_6_what_was_not_exclusive_comes_back_read_only() {
    let bench = swapped("64K=always", 16);
    let table = bench.space.lock_table(&bench.memory, bench.at(0)).unwrap();
    for page in 0..16 {
        let slot = table.slot(bench.at(page));
        bench.memory.door.store(slot, SwapEntry::share_descriptor(bench.entry(page)));
    }
    drop(table);
    bench.read(5).unwrap();
    assert_eq!(bench.shape(0, 16), [16, 0, 0, 0]);
    let (folio, _) = bench.folio(0);
    assert_eq!((folio.exclusive_run(0, 16), bench.entry(5).is_writable()), ((false, 16), false));
    // Nobody has it but this space, which the first write finds out.
    bench.write(5, 1).unwrap();
    assert_eq!((bench.count("faults_reuse"), bench.count("faults_copy"), bench.count("unfolds")), (1, 0, 1));
    assert_eq!((bench.folio(5).0, folio.exclusive_run(0, 16), folio.is_exclusive(5)), (folio, (false, 5), true));
    // A pin, say, keeps the page where it is; the space gets a copy.
    folio.get(1);
    bench.write(6, 2).unwrap();
    assert_eq!((bench.count("faults_copy"), folio.mapped_pages()), (1, 15));
    assert!(folio.put(1).is_none());
    assert_eq!((bench.read(5), bench.read(6)), (Ok(1), Ok(2)));
    bench.verify(7, 9);
    bench.audit();
}

/// A write fault on a page that was shared maps it read-only first, then looks again.
#[test]
fn a_write_to_a_shared_swapped_page_resolves() {
    let bench = swapped("64K=never", 1);
    let table = bench.space.lock_table(&bench.memory, bench.at(0)).unwrap();
    bench.memory.door.store(table.slot(bench.at(0)), SwapEntry::share_descriptor(bench.entry(0)));
    drop(table);
    bench.memory.fault(&bench.space, bench.at(0), Access::Write).unwrap();
    assert!(bench.entry(0).is_writable() && bench.folio(0).0.is_exclusive(0));
    assert_eq!((bench.count("faults_swap_major"), bench.count("faults_reuse")), (1, 1));
}

/// A read fault on page `fault` of 16 swapped pages, during whose read of the device page `gone` is dropped by another CPU.
fn fault_while_dropped(thp: &str, fault: u64, gone: u64) -> Bench {
    let bench = Bench::on(Config { cpus: 2, ..Config::default() }, thp);
    bench.map(0, 16, RW);
    bench.fill(0, 16);
    bench.advise(0, 16, PAGEOUT).unwrap();
    let enter = |work: &dyn Fn()| {
        bench.memory.activate(&bench.space);
        work();
        bench.memory.deactivate();
    };
    let faulting = program(|| enter(&|| bench.memory.fault(&bench.space, bench.at(fault), Access::Read).unwrap()));
    let dropping = program(|| enter(&|| bench.advise(gone, 1, DONTNEED).unwrap()));
    let schedule = Schedule::in_turn().window(0, 1, |event| matches!(event, Event::CopyPages(..)), 1);
    bench.machine.run_by(schedule, vec![faulting, dropping]).unwrap();
    bench.memory.activate(&bench.space);
    bench
}

/// The folio was read for sixteen entries of which one is gone when it is to be mapped: it is dropped, and pages come one by one.
#[test]
fn a_folio_read_for_entries_that_changed_is_dropped() {
    let bench = fault_while_dropped("64K=always", 5, 9);
    assert_eq!((bench.shape(0, 16), bench.folio(5).0.order()), ([0, 1, 14, 1], 0));
    bench.verify(0, 9);
    bench.verify(10, 6);
    assert_eq!(bench.read(9), Ok(0));
    bench.audit();
}

/// The same for a single page: what was read is of no use any more.
#[test]
fn a_page_read_for_an_entry_that_is_gone_is_not_mapped() {
    let bench = fault_while_dropped("64K=never", 5, 5);
    assert_eq!((bench.read(5), bench.count("faults_swap_major")), (Ok(0), 0));
    bench.verify(0, 5);
    bench.audit();
}

#[test]
fn t_i_7_where_no_large_folio_can_be_had_one_page_comes() {
    let bench = swapped("64K=always", 16);
    bench.memory.inject.fail(Point::LargeFolioAlloc, 0);
    bench.read(5).unwrap();
    assert_eq!(bench.shape(0, 16), [0, 1, 15, 0]);
    assert_eq!(bench.count("folio_fallbacks"), 1);
    bench.verify(0, 16);
    bench.audit();
}

#[test]
fn t_i_8_zero_marked_pages_are_not_read() {
    let bench = Bench::new("64K=always");
    bench.map(0, 16, RW);
    bench.write(0, 0).unwrap();
    bench.advise(0, 16, PAGEOUT).unwrap();
    assert_eq!(bench.count("pages_zero_marked"), 16);
    bench.memory.inject.arm(Point::DeviceRead, 0, Times::Always);
    assert_eq!(bench.read(5), Ok(0));
    assert_eq!(bench.shape(0, 16), [16, 0, 0, 0]);
}

#[test]
fn swapin_by_page_brings_one_page() {
    let bench = swapped("64K=always", 16);
    bench.memory.policy().parse("swapin", "page").unwrap();
    bench.verify(0, 16);
    assert_eq!(bench.count("faults_swap_major"), 16);
}

#[test]
fn a_page_that_can_not_be_read_stays_swapped() {
    let bench = swapped("64K=always", 16);
    let before = bench.stock();
    bench.memory.inject.arm(Point::DeviceRead, 0, Times::Always);
    assert_eq!(bench.read(5), Err(FaultError::SwapRead));
    assert_eq!((bench.shape(0, 16), bench.stock()), ([0, 0, 16, 0], before));
    bench.memory.inject.clear();
    bench.verify(0, 16);
}

#[test]
fn folios_of_every_size_come_back_right() {
    for (thp, pages) in
        [("64K=never", 64), ("16K=always", 64), ("128K=always", 64), ("256K=always", 128), ("2M=always", 1024)]
    {
        for way in ["page", "folio", "gather"] {
            let bench = Bench::new(thp);
            bench.memory.policy().parse("unmap", way).unwrap();
            bench.map(0, pages, RW);
            let start = bench.stock();
            bench.fill(0, pages);
            bench.advise(0, pages, PAGEOUT).unwrap();
            assert_eq!(bench.shape(0, pages)[2] as u64, pages, "{thp} {way}");
            bench.verify(0, pages);
            bench.audit();
            bench.advise(0, pages, DONTNEED).unwrap();
            let tables = start.0 - bench.stock().0;
            assert!(tables <= 4 && bench.stock().1 == start.1, "{thp} {way}: leaks");
        }
    }
}
