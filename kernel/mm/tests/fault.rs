//! Faults, swap-in, zap and mprotect on the simulated machine, named by the cases of the reference (5.1, 5.7, 5.8).

mod common;

use common::{BASE, Bench, Counts, RW};
use mm::Errno;
use mm::fault::{Access, FaultError};
use mm::inject::{Point, Times};
use mm::map::{MapFlags, MapRequest};
use mm::space::advice::{DONTNEED, PAGEOUT};
use mm::swap::SwapEntry;
use mm::vma::Prot;
use mmu::host::{Config, Event, Schedule, program};
use mmu::{Descriptor, Dsb, VirtAddr};

#[test]
fn t_f_1_a_write_to_an_empty_area_maps_a_folded_folio() {
    let bench = Bench::new("64K=always");
    bench.map(0, 16, RW);
    let cost = bench.cost(|| bench.write(0, 7).unwrap());
    assert_eq!(cost, Counts { stores: 16, ..Counts::default() });
    assert_eq!(bench.shape(0, 16), [16, 0, 0, 0]);
    for page in 0..16 {
        let entry = bench.entry(page);
        assert!(entry.is_young() && entry.is_dirty() && entry.is_writable() && entry.is_valid());
        assert_eq!(bench.folio(page).1 as u64, page);
    }
    let (folio, _) = bench.folio(0);
    assert_eq!((folio.order(), folio.refs(), folio.mapcount()), (4, 16, 16));
    assert_eq!(folio.exclusive_run(0, 16), (true, 16));
    assert_eq!(bench.count("faults_anonymous"), 1);
    bench.recount(16);
}

#[test]
fn t_f_2_an_area_off_the_line_gets_no_folio_that_leaves_it() {
    let bench = Bench::new("64K=always;16K=always");
    bench.map(1, 16, RW);
    bench.fill(1, 16);
    assert_eq!(bench.shape(1, 16), [0, 16, 0, 0]);
    let orders: Vec<usize> = (1..17).map(|page| bench.folio(page).0.order()).collect();
    assert_eq!(orders, [0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0]);
    bench.verify(1, 16);
}

#[test]
fn t_f_3_folios_of_32k_are_never_folded() {
    let bench = Bench::new("32K=always");
    bench.map(0, 16, RW);
    bench.write(0, 1).unwrap();
    assert_eq!(bench.shape(0, 16), [0, 8, 0, 8]);
}

#[test]
fn t_f_4_a_folio_of_128k_makes_two_blocks() {
    let bench = Bench::new("128K=always");
    bench.map(0, 32, RW);
    bench.write(20, 1).unwrap();
    assert_eq!(bench.shape(0, 32), [32, 0, 0, 0]);
    assert_eq!(bench.folio(0).0, bench.folio(31).0);
}

#[test]
fn t_f_5_an_entry_in_use_makes_the_folio_smaller() {
    let bench = Bench::new("64K=always;16K=always");
    bench.map(0, 16, RW);
    bench.memory.inject.arm(Point::LargeFolioAlloc, 0, Times::Always);
    bench.write(7, 7).unwrap();
    bench.memory.inject.clear();
    bench.write(0, 0).unwrap();
    assert_eq!((bench.folio(0).0.order(), bench.folio(7).0.order()), (2, 0));
    bench.write(5, 5).unwrap();
    assert_eq!(bench.folio(5).0.order(), 0);
    assert_eq!(bench.count("folio_fallbacks"), 2);
}

#[test]
fn t_f_6_a_read_maps_the_zero_page_and_a_write_then_copies() {
    let bench = Bench::new("64K=always");
    bench.map(0, 16, RW);
    assert_eq!(bench.read(0), Ok(0));
    assert!(bench.entry(0).is_special() && !bench.entry(0).is_writable());
    assert_eq!((bench.frame(0).frame(), bench.space.anon_pages()), (bench.memory.zero_frame(), 0));
    bench.write(0, 5).unwrap();
    assert_eq!((bench.folio(0).0.order(), bench.space.anon_pages()), (0, 1));
    bench.write(1, 6).unwrap();
    assert_eq!(bench.folio(1).0.order(), 0);
    assert_eq!((bench.count("faults_zero_page"), bench.count("faults_copy")), (1, 1));
    bench.recount(16);
}

#[test]
fn t_f_7_pages_of_different_folios_never_fold() {
    let bench = Bench::new("64K=never");
    bench.map(0, 64, RW);
    bench.fill(0, 64);
    assert_eq!(bench.shape(0, 64), [0, 64, 0, 0]);
    assert_eq!(bench.count("folds"), 0);
}

#[test]
fn t_f_8_to_10_only_a_rewrite_of_the_last_entry_folds() {
    let bench = Bench::new("64K=always");
    bench.map(0, 16, RW);
    bench.fill(0, 16);
    let rewrite = |page: u64, change: fn(Descriptor) -> Descriptor| {
        let table = bench.space.lock_table(&bench.memory, bench.at(page)).unwrap();
        let slot = table.slot(bench.at(page));
        bench.cost(|| table.set(slot, change(table.get(slot))))
    };
    let cost = rewrite(5, |entry| entry);
    assert_eq!((cost.unfolds, cost.folds), (1, 0));
    assert_eq!(bench.shape(0, 16), [0, 16, 0, 0]);
    let cost = rewrite(15, |entry| entry);
    assert_eq!(cost, Counts { swaps: 16, stores: 17, tlbi: 1, ishst: 1, ish: 1, unfolds: 0, folds: 1 });
    assert_eq!(bench.shape(0, 16), [16, 0, 0, 0]);
    rewrite(3, Descriptor::write_protect);
    assert_eq!(rewrite(15, |entry| entry).folds, 0);
    assert_eq!(bench.shape(0, 16), [0, 16, 0, 0]);
}

#[test]
fn t_f_11_a_folio_of_2m_is_32_blocks() {
    let bench = Bench::new("2M=always");
    bench.map(0, 512, RW);
    let cost = bench.cost(|| bench.write(300, 1).unwrap());
    assert_eq!(cost, Counts { stores: 512, ..Counts::default() });
    assert_eq!(bench.shape(0, 512), [512, 0, 0, 0]);
}

#[test]
fn t_f_13_the_zero_page_is_never_folded() {
    let bench = Bench::new("64K=always");
    bench.map(0, 16, RW);
    (0..16).for_each(|page| assert_eq!(bench.read(page), Ok(0)));
    assert_eq!(bench.shape(0, 16), [0, 16, 0, 0]);
    assert_eq!(bench.count("faults_zero_page"), 16);
}

#[test]
fn accesses_that_no_area_allows_are_refused() {
    let bench = Bench::new("64K=always");
    bench.map(0, 1, Prot::READ);
    bench.map(1, 1, Prot::empty());
    assert_eq!(bench.write(0, 1), Err(FaultError::Denied));
    assert_eq!(bench.read(1), Err(FaultError::Denied));
    assert_eq!(bench.read(2), Err(FaultError::NotMapped));
    let fetch = |page| bench.memory.fault(&bench.space, bench.at(page), Access::Execute);
    assert_eq!(fetch(0), Err(FaultError::Denied));
    let wild = bench.memory.fault(&bench.space, VirtAddr::new(0xffff_0000_0000_0000), Access::Read);
    assert_eq!(wild, Err(FaultError::NotMapped));
}

#[test]
fn memory_that_runs_out_is_an_error_and_costs_nothing() {
    for point in [Point::FolioAlloc, Point::TableAlloc] {
        let bench = Bench::new("64K=never");
        bench.map(0, 1, RW);
        let before = bench.stock();
        bench.memory.inject.fail(point, 0);
        assert_eq!(bench.write(0, 1), Err(FaultError::OutOfMemory), "{point:?}");
        if point == Point::TableAlloc {
            assert_eq!(bench.stock(), before);
        }
        bench.write(0, 1).unwrap();
    }
}

#[test]
fn real_exhaustion_is_an_error_and_all_comes_back() {
    let bench = Bench::new("64K=always");
    bench.map(0, 20_000, RW);
    let before = bench.memory.frames.free_count();
    let failed = (0..20_000).find(|&page| bench.write(page, 1).is_err()).expect("memory must run out");
    assert!(failed > 7000, "{failed} pages of {before} free ones");
    assert!(bench.count("folio_fallbacks") > 0);
    bench.recount(20_000);
    bench.unmap(0, 20_000);
    assert_eq!(bench.memory.frames.free_count(), before);
}

#[test]
fn software_sets_access_flag_and_dirty_state_of_the_whole_block() {
    let bench = Bench::simple("64K=always");
    bench.map(0, 16, RW);
    bench.fill(0, 16);
    let table = bench.space.lock_table(&bench.memory, bench.at(0)).unwrap();
    table.clear_young_dirty(table.slot(bench.at(3)), 1);
    drop(table);
    bench.memory.door.invalidate(mmu::TlbOp::all(mmu::Scope::Broadcast), mmu::Cause::Test);
    assert!((0..16).all(|page| !bench.entry(page).is_young() && !bench.entry(page).is_dirty()));
    bench.read(3).unwrap();
    assert!((0..16).all(|page| bench.entry(page).is_young() && !bench.entry(page).is_dirty()));
    bench.write(9, 1).unwrap();
    assert!((0..16).all(|page| bench.entry(page).is_dirty()));
    assert_eq!((bench.count("faults_flags"), bench.count("unfolds")), (2, 0));
    assert_eq!(bench.shape(0, 16), [16, 0, 0, 0]);
}

#[test]
fn a_fault_that_finds_nothing_to_do_is_spurious() {
    let bench = Bench::new("64K=always");
    bench.map(0, 16, RW);
    bench.fill(0, 16);
    for access in [Access::Read, Access::Write] {
        bench.memory.fault(&bench.space, bench.at(3), access).unwrap();
    }
    assert_eq!(bench.count("faults_spurious"), 2);
}

/// A filled 64K folio, paged out.
fn swapped(thp: &str, pages: u64) -> Bench {
    let bench = Bench::new(thp);
    bench.map(0, pages, RW);
    bench.fill(0, pages);
    bench.advise(0, pages, PAGEOUT).unwrap();
    assert_eq!(bench.shape(0, pages), [0, 0, pages as usize, 0]);
    bench.recount(pages);
    bench
}

#[test]
fn t_i_1_a_folio_comes_back_whole_by_one_fault() {
    let bench = swapped("64K=always", 16);
    let free = bench.memory.swap.free_count();
    bench.read(5).unwrap();
    assert_eq!((bench.count("faults_swap_major"), bench.count("pages_swapped_in")), (1, 16));
    assert_eq!(bench.shape(0, 16), [16, 0, 0, 0]);
    let (folio, _) = bench.folio(0);
    assert_eq!((folio.exclusive_run(0, 16), folio.refs(), folio.mapcount()), ((true, 16), 16, 16));
    assert!((0..16).all(|page| bench.entry(page).is_writable() && !bench.entry(page).is_dirty()));
    assert_eq!((bench.memory.swap.free_count(), bench.space.swap_entries()), (free + 16, 0));
    bench.verify(0, 16);
    assert_eq!(bench.count("faults_swap_major"), 1);
    bench.recount(16);
}

#[test]
fn t_i_2_a_write_makes_the_batch_dirty() {
    let bench = swapped("64K=always", 16);
    bench.write(5, 99).unwrap();
    assert!((0..16).all(|page| bench.entry(page).is_dirty()));
    assert_eq!((bench.read(5), bench.read(6)), (Ok(99), Ok(6 ^ 0xABCD)));
    assert_eq!(bench.count("faults_swap_major"), 1);
}

#[test]
fn t_i_3_a_hole_makes_the_others_come_one_by_one() {
    let bench = swapped("64K=always", 16);
    bench.advise(8, 1, DONTNEED).unwrap();
    assert_eq!(bench.shape(0, 16), [0, 0, 15, 1]);
    bench.verify(0, 8);
    bench.verify(9, 7);
    assert_eq!(bench.read(8), Ok(0));
    assert_eq!((bench.count("faults_swap_major"), bench.count("pages_swapped_in")), (15, 15));
    assert_eq!(bench.folio(3).0.order(), 0);
    bench.recount(16);
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
        bench.recount(16);
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
    bench.recount(16);
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
    bench.recount(16);
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
    bench.recount(16);
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

/// The folio was read for sixteen entries of which one is gone when it is to be mapped: it is dropped, and pages come one by one.
#[test]
fn a_folio_read_for_entries_that_changed_is_dropped() {
    let bench = Bench::on(Config { cpus: 2, ..Config::default() }, "64K=always");
    bench.map(0, 16, RW);
    bench.fill(0, 16);
    bench.advise(0, 16, PAGEOUT).unwrap();
    let enter = |work: &dyn Fn()| {
        bench.memory.activate(&bench.space);
        work();
        bench.memory.deactivate();
    };
    let fault = program(|| enter(&|| bench.memory.fault(&bench.space, bench.at(5), Access::Read).unwrap()));
    let drop_one = program(|| enter(&|| bench.advise(9, 1, DONTNEED).unwrap()));
    let schedule = Schedule::in_turn().window(0, 1, |event| matches!(event, Event::CopyPages(..)), 1);
    bench.machine.run_by(schedule, vec![fault, drop_one]).unwrap();
    bench.memory.activate(&bench.space);
    assert_eq!((bench.shape(0, 16), bench.folio(5).0.order()), ([0, 1, 14, 1], 0));
    bench.verify(0, 9);
    bench.verify(10, 6);
    assert_eq!(bench.read(9), Ok(0));
    bench.recount(16);
}

#[test]
fn t_i_7_where_no_large_folio_can_be_had_one_page_comes() {
    let bench = swapped("64K=always", 16);
    bench.memory.inject.fail(Point::LargeFolioAlloc, 0);
    bench.read(5).unwrap();
    assert_eq!(bench.shape(0, 16), [0, 1, 15, 0]);
    assert_eq!(bench.count("folio_fallbacks"), 1);
    bench.verify(0, 16);
    bench.recount(16);
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
    bench.memory.inject.fail(Point::DeviceRead, 0);
    assert_eq!(bench.read(5), Err(FaultError::SwapRead));
    assert_eq!((bench.shape(0, 16), bench.stock()), ([0, 0, 16, 0], before));
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
            bench.recount(pages);
            bench.advise(0, pages, DONTNEED).unwrap();
            let tables = start.0 - bench.stock().0;
            assert!(tables <= 4 && bench.stock().1 == start.1, "{thp} {way}: leaks");
        }
    }
}

#[test]
fn t_z_1_a_whole_block_goes_by_one_flush() {
    let bench = Bench::new("64K=always");
    bench.map(0, 512, RW);
    bench.fill(0, 16);
    let free = bench.memory.frames.free_count();
    let cost = bench.cost(|| bench.advise(0, 16, DONTNEED).unwrap());
    assert_eq!(cost, Counts { swaps: 16, tlbi: 1, ishst: 1, ish: 1, ..Counts::default() });
    assert_eq!(bench.memory.frames.free_count(), free + 16);
    bench.recount(16);
}

#[test]
fn t_z_2_a_part_of_a_block_unfolds_it_once() {
    let bench = Bench::new("64K=always");
    bench.map(0, 16, RW);
    bench.fill(0, 16);
    let cost = bench.cost(|| bench.advise(3, 10, DONTNEED).unwrap());
    assert_eq!(cost.unfolds, 1);
    assert_eq!(bench.shape(0, 16), [0, 6, 0, 10]);
    assert_eq!(bench.folio(0).0.mapped_pages(), 6);
    bench.verify(0, 3);
    bench.verify(13, 3);
    bench.recount(16);
}

#[test]
fn t_z_3_unmapping_swap_entries_frees_their_slots() {
    let bench = swapped("64K=always", 16);
    let free = bench.memory.swap.free_count();
    bench.unmap(0, 16);
    assert_eq!((bench.memory.swap.free_count(), bench.space.swap_entries()), (free + 16, 0));
}

#[test]
fn t_z_4_exit_costs_one_flush_of_the_asid() {
    let bench = Bench::new("64K=always");
    let empty = bench.stock();
    let space = bench.memory.create_space().unwrap();
    let request = MapRequest { address: BASE, length: 64 << 12, prot: RW, flags: common::FIXED };
    bench.memory.mmap(&space, request).unwrap();
    for page in 0..40 {
        bench.memory.fault(&space, bench.at(page), Access::Write).unwrap();
    }
    let cost = bench.cost(|| bench.memory.destroy_space(&space));
    assert_eq!((cost.tlbi, cost.ishst, cost.ish, cost.unfolds), (1, 1, 1, 0));
    assert_eq!((bench.stock(), space.anon_pages()), (empty, 0));
}

#[test]
fn t_z_5_read_only_and_back_keeps_the_block() {
    let bench = Bench::new("64K=always");
    bench.map(0, 16, RW);
    bench.fill(0, 16);
    let cost = bench.cost(|| bench.protect(0, 16, Prot::READ).unwrap());
    assert_eq!(cost, Counts { swaps: 16, stores: 16, tlbi: 1, ishst: 1, ish: 1, ..Counts::default() });
    assert_eq!((bench.shape(0, 16), bench.entry(4).is_writable()), ([16, 0, 0, 0], false));
    assert_eq!(bench.write(4, 1), Err(FaultError::Denied));
    bench.protect(0, 16, RW).unwrap();
    let faults = bench.count("faults_reuse") + bench.count("faults_flags");
    bench.fill(0, 16);
    assert_eq!(bench.shape(0, 16), [16, 0, 0, 0]);
    assert_eq!((bench.count("faults_reuse") + bench.count("faults_flags"), bench.count("unfolds")), (faults, 0));
    bench.verify(0, 16);
}

#[test]
fn t_z_6_a_part_made_read_only_unfolds() {
    let bench = Bench::new("64K=always");
    bench.map(0, 16, RW);
    bench.fill(0, 16);
    let cost = bench.cost(|| bench.protect(0, 1, Prot::READ).unwrap());
    assert_eq!(cost.unfolds, 1);
    assert_eq!(bench.shape(0, 16), [0, 16, 0, 0]);
    assert_eq!((bench.entry(0).is_writable(), bench.entry(1).is_writable()), (false, true));
}

#[test]
fn t_z_7_only_exclusive_pages_become_writable() {
    let bench = Bench::new("64K=always");
    bench.map(0, 16, RW);
    bench.fill(0, 16);
    bench.protect(0, 16, Prot::READ).unwrap();
    bench.folio(0).0.clear_exclusive(8, 8);
    bench.machine.log_on();
    let cost = bench.cost(|| bench.protect(0, 16, RW).unwrap());
    let log = bench.machine.take_log();
    let writable: Vec<bool> = (0..16).map(|page| bench.entry(page).is_writable()).collect();
    assert_eq!(writable, [vec![true; 8], vec![false; 8]].concat());
    assert_eq!(bench.shape(0, 16), [0, 16, 0, 0]);
    // The block's form changes, so the flush comes before the stores, and none after them.
    assert_eq!((cost.tlbi, cost.ish), (1, 1));
    let place = |wanted: fn(&Event) -> bool| log.iter().position(|record| wanted(&record.event)).unwrap();
    let flushed = place(|event| matches!(event, Event::Dsb(Dsb::Ish)));
    assert!(place(|event| matches!(event, Event::Tlbi(_))) < flushed);
    assert!(flushed < place(|event| matches!(event, Event::Store(..))));
    // Nobody else maps page 9: the write finds that out and keeps the page.
    let frame = bench.frame(9);
    bench.write(9, 5).unwrap();
    assert_eq!((bench.frame(9), bench.count("faults_reuse"), bench.count("faults_copy")), (frame, 1, 0));
    assert!(bench.folio(9).0.is_exclusive(9) && !bench.folio(10).0.is_exclusive(10));
}

#[test]
fn t_u_19_no_access_leaves_no_contiguous_bit_and_comes_back_folded() {
    let bench = Bench::new("64K=always");
    bench.map(0, 16, RW);
    bench.fill(0, 16);
    bench.protect(0, 16, Prot::empty()).unwrap();
    for page in 0..16 {
        let entry = bench.entry(page);
        assert!(entry.is_present() && !entry.is_valid() && entry == entry.with_contiguous(false));
    }
    assert_eq!(bench.read(3), Err(FaultError::Denied));
    bench.protect(0, 16, RW).unwrap();
    assert_eq!(bench.shape(0, 16), [16, 0, 0, 0]);
    bench.verify(0, 16);
    bench.write(3, 1).unwrap();
    assert_eq!(bench.count("faults_copy"), 0);
}

/// Entries that were made plain one by one fold again when they are set as a run; their old translations go first.
#[test]
fn folding_by_mprotect_flushes_before_it_stores() {
    let bench = Bench::new("64K=always");
    bench.map(0, 16, RW);
    bench.fill(0, 16);
    bench.protect(0, 1, Prot::READ).unwrap();
    bench.protect(0, 1, RW).unwrap();
    assert_eq!(bench.shape(0, 16), [0, 16, 0, 0]);
    bench.machine.log_on();
    bench.protect(0, 16, Prot::READ).unwrap();
    let log = bench.machine.take_log();
    assert_eq!(bench.shape(0, 16), [16, 0, 0, 0]);
    let place = |wanted: fn(&Event) -> bool| log.iter().position(|record| wanted(&record.event)).unwrap();
    let flushed = place(|event| matches!(event, Event::Dsb(Dsb::Ish)));
    assert!(place(|event| matches!(event, Event::Tlbi(_))) < flushed);
    assert!(flushed < place(|event| matches!(event, Event::Store(..))));
    bench.verify(0, 16);
}

#[test]
fn t_t_1_what_reclaim_deferred_is_flushed_first_and_once() {
    let bench = Bench::new("64K=always");
    bench.map(0, 64, RW);
    bench.fill(0, 64);
    let protect = || bench.protect(0, 16, Prot::READ).unwrap();
    let drop_pages = || bench.advise(16, 16, DONTNEED).unwrap();
    let unmap = || bench.unmap(32, 16);
    for action in [&protect as &dyn Fn(), &drop_pages, &unmap] {
        bench.space.tlb.add(&bench.memory);
        let flushes = bench.count("pending_flushes");
        bench.machine.log_on();
        action();
        let log = bench.machine.take_log();
        assert_eq!(bench.count("pending_flushes"), flushes + 1);
        assert!(!bench.space.tlb.is_pending());
        let asid = mmu::TlbOp::asid(bench.space.asid(), mmu::Scope::Broadcast);
        let first = |wanted: &dyn Fn(&Event) -> bool| log.iter().position(|record| wanted(&record.event)).unwrap();
        assert!(first(&|event| *event == Event::Tlbi(asid)) < first(&|event| matches!(event, Event::Swap(..))));
    }
    protect();
    assert_eq!(bench.count("pending_flushes"), 3, "nothing is owed any more");
}

/// The swap entries go first, then the last mapping: the cache may not keep what nobody can reach.
#[test]
fn a_cached_folio_goes_with_its_last_mapping() {
    let bench = Bench::new("64K=always");
    bench.map(0, 16, RW);
    bench.write(0, 1).unwrap();
    bench.unmap(0, 16);
    bench.map(0, 16, RW);
    let start = bench.stock();
    bench.fill(0, 16);
    bench.memory.inject.arm(Point::DeviceWrite, 0, Times::Always);
    bench.advise(0, 16, PAGEOUT).unwrap();
    bench.advise(15, 1, DONTNEED).unwrap();
    bench.verify(0, 8);
    bench.advise(8, 7, DONTNEED).unwrap();
    bench.advise(0, 8, DONTNEED).unwrap();
    assert_eq!(bench.shape(0, 16), [0, 0, 0, 16]);
    bench.unmap(0, 16);
    assert_eq!(bench.stock(), start);
}

#[test]
fn a_page_somebody_else_refers_to_is_copied() {
    let bench = Bench::new("64K=always");
    bench.map(0, 16, RW);
    bench.fill(0, 16);
    bench.protect(0, 16, Prot::READ).unwrap();
    let (folio, _) = bench.folio(0);
    folio.clear_exclusive(0, 16);
    folio.get(1);
    bench.protect(0, 16, RW).unwrap();
    let old = bench.frame(4);
    bench.write(4, 77).unwrap();
    assert_ne!(bench.frame(4), old);
    assert_eq!((bench.count("faults_copy"), bench.count("unfolds"), folio.mapped_pages()), (1, 1, 15));
    assert_eq!(bench.read(4), Ok(77));
    bench.verify(5, 11);
    assert!(folio.put(1).is_none());
    bench.recount(16);
}

#[test]
fn t_p_5_arguments_of_madvise() {
    let bench = Bench::new("64K=always");
    bench.map(0, 16, RW);
    bench.map(32, 16, RW);
    bench.fill(0, 16);
    bench.fill(32, 16);
    let raw = |address, length, advice| bench.memory.madvise(&bench.space, address, length, advice);
    assert_eq!(raw(BASE + 1, 4096, PAGEOUT), Err(Errno::EINVAL));
    assert_eq!(raw(BASE, 4096, 999), Err(Errno::EINVAL));
    assert_eq!(raw(BASE, 0, PAGEOUT), Ok(()));
    assert_eq!(raw(BASE, u64::MAX, PAGEOUT), Err(Errno::EINVAL));
    assert_eq!(bench.advise(0, 48, PAGEOUT), Err(Errno::ENOMEM));
    assert_eq!((bench.shape(0, 16), bench.shape(32, 16)), ([0, 0, 16, 0], [0, 0, 16, 0]));
    assert_eq!(bench.advise(0, 48, DONTNEED), Err(Errno::ENOMEM));
    assert_eq!((bench.shape(0, 16), bench.shape(32, 16)), ([0, 0, 0, 16], [0, 0, 0, 16]));
}

#[test]
fn locked_memory_is_there_at_once_and_stays() {
    let bench = Bench::new("64K=always");
    let flags = common::FIXED | MapFlags::LOCKED;
    bench.memory.mmap(&bench.space, MapRequest { address: BASE, length: 16 << 12, prot: RW, flags }).unwrap();
    assert_eq!(bench.shape(0, 16), [16, 0, 0, 0]);
    assert_eq!(bench.advise(0, 16, PAGEOUT), Err(Errno::EINVAL));
    assert_eq!(bench.advise(0, 16, DONTNEED), Err(Errno::EINVAL));
    assert_eq!(bench.shape(0, 16), [16, 0, 0, 0]);
}

#[test]
fn populate_maps_everything_and_names_what_it_can_not() {
    const READ: u32 = 22;
    const WRITE: u32 = 23;
    let bench = Bench::new("64K=always");
    bench.map(0, 40, RW);
    bench.map(40, 4, Prot::READ);
    assert_eq!(bench.advise(0, 40, WRITE), Ok(()));
    assert_eq!((bench.shape(0, 40), bench.count("faults_anonymous")), ([32, 8, 0, 0], 10));
    assert_eq!(bench.advise(38, 6, WRITE), Err(Errno::EINVAL));
    assert_eq!(bench.advise(40, 4, READ), Ok(()));
    assert_eq!(bench.count("faults_zero_page"), 4);
    assert_eq!(bench.advise(40, 5, READ), Err(Errno::ENOMEM));
    assert_eq!(bench.count("faults_spurious"), 0);
}

#[test]
fn advice_about_sizes_decides_and_splits_areas() {
    let bench = Bench::new("64K=madvise");
    bench.map(0, 64, RW);
    bench.advise(16, 16, 14).unwrap();
    assert_eq!(bench.space.layout().read().areas.len(), 3);
    bench.write(0, 1).unwrap();
    bench.write(16, 1).unwrap();
    assert_eq!((bench.folio(0).0.order(), bench.folio(16).0.order()), (0, 4));
    bench.advise(0, 64, 14).unwrap();
    // The first two got pages, and so anon_vmas of their own, while their flags differed: they stay apart, as in Linux.
    assert_eq!(bench.space.layout().read().areas.len(), 2);
    bench.write(32, 1).unwrap();
    assert_eq!(bench.folio(32).0.order(), 4);
    bench.advise(0, 64, 15).unwrap();
    bench.write(48, 1).unwrap();
    assert_eq!(bench.folio(48).0.order(), 0);
}
