//! Splits of folios that another CPU is at: whatever comes in between, contents, counts and the queue are right afterwards.

mod common;

use common::{BASE, Bench, RW};
use mm::fault::Access;
use mm::space::advice::{COLD, DONTNEED, PAGEOUT};
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

/// What others come to while an advice splits a folio: the folio's own table, in which another CPU's reclaim has just unmapped a
/// neighbour and not flushed it yet; and that of a child, who has the folio's other half. A split looks only at entries of a folio that
/// it has locked, which reclaim of others does not touch; whoever goes on after it completes what is owed by then (rule MS-41,
/// reference 3.6).
fn beside_a_page_out(with_child: bool) {
    for (way, seed) in ["page", "folio"].into_iter().flat_map(|way| (1..=3 * SEEDS).map(move |seed| (way, seed))) {
        let bench = Bench::on(Config { cpus: 2, seed, ..Config::default() }, "64K=always");
        bench.memory.policy().parse("unmap", way).unwrap();
        bench.map(0, 3 * PAGES, RW);
        bench.fill(0, PAGES);
        let child = with_child.then(|| bench.memory.fork_space(&bench.space).unwrap());
        let other = child.as_ref().unwrap_or(&bench.space);
        if with_child {
            // Each has a half, so that there is one mapping for each page.
            bench.memory.madvise(other, BASE, 8 * 4096, DONTNEED).unwrap();
            bench.advise(8, 8, DONTNEED).unwrap();
        }
        for page in PAGES..3 * PAGES {
            bench.memory.fault(other, bench.at(page), Access::Write).unwrap();
        }
        let advise = |pages: u64, advice: u32| {
            let range = if advice == PAGEOUT { (PAGES, pages) } else { (0, pages) };
            let space = if advice == PAGEOUT { other } else { &bench.space };
            bench.memory.madvise(space, BASE + range.0 * 4096, range.1 * 4096, advice).unwrap();
        };
        let pages_out = || {
            bench.memory.activate(other);
            advise(2 * PAGES, PAGEOUT);
            bench.memory.deactivate();
        };
        let works = vec![program(|| advise(8, COLD)), program(pages_out)];
        let report = bench.machine.run_by(Schedule::seeded(seed).one_in(3), works);
        report.unwrap_or_else(|failure| panic!("{way}, seed {seed}: {failure}"));
        assert_eq!(bench.count("split"), u64::from(!with_child), "{way}, seed {seed}");
        bench.verify(0, 8);
        child.iter().for_each(|child| bench.memory.destroy_space(child));
    }
}

#[test]
fn an_advice_that_splits_meets_page_out_of_a_neighbour() {
    beside_a_page_out(false);
}

#[test]
fn an_advice_that_would_split_meets_page_out_in_a_child() {
    beside_a_page_out(true);
}
