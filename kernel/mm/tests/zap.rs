//! Zap, munmap and mprotect on the simulated machine, named by the cases of the reference (5.8, T-U-19, T-T-1).

mod common;

use common::{Bench, Counts, RW};
use mm::fault::FaultError;
use mm::inject::{Point, Times};
use mm::space::advice::{DONTNEED, PAGEOUT};
use mm::vma::Prot;
use mmu::Dsb;
use mmu::host::Event;

#[test]
fn t_z_1_a_whole_block_goes_by_one_flush() {
    let bench = Bench::new("64K=always");
    bench.map(0, 512, RW);
    bench.fill(0, 16);
    let free = bench.memory.frames.free_count();
    let cost = bench.cost(|| bench.advise(0, 16, DONTNEED).unwrap());
    assert_eq!(cost, Counts { swaps: 16, tlbi: 1, ishst: 1, ish: 1, ..Counts::default() });
    assert_eq!(bench.memory.frames.free_count(), free + 16);
    bench.audit();
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
