//! Splits of folios that another CPU is at: whatever comes in between, contents, counts and the queue are right afterwards.

mod common;

use common::{Bench, RW};
use mm::fault::Access;
use mm::space::advice::{DONTNEED, PAGEOUT};
use mm::vma::Prot;
use mmu::host::{Config, Event, Schedule, program};
use mmu::{Dsb, Fact, Operation};

/// Seeds of the schedule that each pair of operations is tried with.
const SEEDS: u64 = 40;
const PAGES: u64 = 16;

/// One CPU splits a folio of which the last four pages are gone, another does `work` meanwhile. Pages 0 to 7 must keep their contents.
/// Returns how many of the splits were done and how many found the folio in use.
fn while_splitting(split: impl Fn(&Bench) + Sync, work: impl Fn(&Bench) + Sync) -> (u64, u64) {
    let mut splits = (0, 0);
    for seed in 1..=SEEDS {
        let bench = Bench::on(Config { cpus: 2, seed, adversary: true, ..Config::default() }, "64K=always");
        bench.map(0, PAGES, RW);
        bench.fill(0, PAGES);
        bench.advise(12, 4, DONTNEED).unwrap();
        let report = bench.machine.run_by(
            Schedule::seeded(seed).one_in(4),
            vec![
                program(|| split(&bench)),
                program(|| {
                    bench.memory.activate(&bench.space);
                    work(&bench);
                    bench.memory.deactivate();
                }),
            ],
        );
        report.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        bench.audit();
        bench.verify(0, 8);
        splits.0 += bench.count("split");
        splits.1 += bench.count("split_failed");
    }
    assert!(splits.0 > 0, "none was split: {splits:?}");
    splits
}

fn shrink(bench: &Bench) {
    bench.memory.shrink_deferred_splits(usize::MAX);
}

#[test]
fn a_split_meets_dontneed() {
    while_splitting(shrink, |bench| bench.advise(8, 4, DONTNEED).unwrap());
}

#[test]
fn a_split_meets_munmap() {
    while_splitting(shrink, |bench| bench.unmap(8, 4));
}

/// What munmap took out may still be in a TLB until its flush: a split in between would free it too early.
#[test]
fn no_split_between_munmap_and_its_flush() {
    let bench = Bench::on(Config { cpus: 2, ..Config::default() }, "64K=always");
    bench.map(0, PAGES, RW);
    bench.fill(0, PAGES);
    bench.advise(12, 4, DONTNEED).unwrap();
    let before_flush = |event: &Event| matches!(event, Event::Dsb(Dsb::IshSt));
    let works = vec![program(|| bench.unmap(8, 4)), program(|| shrink(&bench))];
    bench.machine.run_by(Schedule::in_turn().window(0, 1, before_flush, 1), works).unwrap();
    assert_eq!((bench.count("split"), bench.count("split_failed")), (0, 1));
    bench.audit();
    assert_eq!(bench.memory.shrink_deferred_splits(usize::MAX), 8);
    bench.verify(0, 8);
}

#[test]
fn a_split_meets_mprotect() {
    while_splitting(shrink, |bench| {
        bench.protect(0, PAGES, Prot::READ).unwrap();
        bench.protect(0, PAGES, RW).unwrap();
    });
}

#[test]
fn a_split_meets_faults() {
    while_splitting(shrink, |bench| {
        (0..PAGES).for_each(|page| bench.memory.fault(&bench.space, bench.at(page), Access::Write).unwrap());
        bench.verify(0, 8);
    });
}

#[test]
fn a_split_meets_page_out() {
    for way in ["page", "folio", "gather"] {
        while_splitting(shrink, |bench| {
            bench.memory.policy().parse("unmap", way).unwrap();
            bench.advise(0, PAGES, PAGEOUT).unwrap();
            bench.verify(0, 8);
        });
    }
}

#[test]
fn page_out_of_a_part_meets_dontneed_and_another_page_out() {
    let first_half = |bench: &Bench| bench.advise(0, 8, PAGEOUT).unwrap();
    while_splitting(first_half, |bench| bench.advise(8, 4, DONTNEED).unwrap());
    while_splitting(first_half, |bench| bench.advise(4, 8, PAGEOUT).unwrap());
}

#[test]
fn two_splits_meet() {
    while_splitting(shrink, shrink);
}

/// Between isolation and reclaim a part of the folio goes: reclaim splits it, and writes only what is mapped.
#[test]
fn reclaim_splits_what_was_unmapped_in_part_since_isolation() {
    for way in ["page", "folio", "gather"] {
        let bench = Bench::on(Config { cpus: 2, ..Config::default() }, "64K=always");
        bench.memory.policy().parse("unmap", way).unwrap();
        bench.map(0, 2 * PAGES, RW);
        bench.fill(0, 2 * PAGES);
        let begins = |event: &Event| matches!(event, Event::Fact(Fact::Begin(Operation::Reclaim)));
        let works = vec![
            program(|| bench.advise(0, 2 * PAGES, PAGEOUT).unwrap()),
            program(|| bench.advise(0, 8, DONTNEED).unwrap()),
        ];
        bench.machine.run_by(Schedule::in_turn().window(0, 1, begins, 1), works).unwrap();
        bench.audit();
        assert_eq!(bench.shape(0, 2 * PAGES), [0, 0, 24, 8], "{way}");
        assert_eq!((bench.count("split"), bench.count("pages_swapped_out")), (1, 24), "{way}");
        bench.verify(8, 24);
    }
}
