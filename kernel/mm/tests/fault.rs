//! Faults and populating on the simulated machine, named by the cases of the reference (5.1).

mod common;

use common::{BASE, Bench, RW};
use mm::Errno;
use mm::fault::{Access, FaultError};
use mm::inject::{Point, Times};
use mm::map::{MapFlags, MapRequest};
use mm::space::advice::{DONTNEED, PAGEOUT};
use mm::vma::Prot;
use mmu::VirtAddr;

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
    bench.audit();
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
    bench.audit();
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
    bench.forget();
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
    bench.audit();
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
