//! Faults of several CPUs that meet on one folio, and faults and page-outs that meet MADV_DONTNEED: whatever the interleaving, there is
//! one folio, it is read once, and nothing leaks. Programs that are disturbed at random are in `random`.

mod common;

use common::{Bench, RW, run_in_one};
use mm::fault::Access;
use mm::inject::Point;
use mm::space::advice::{DONTNEED, HWPOISON, PAGEOUT};
use mmu::Features;
use mmu::host::{Config, Event, Schedule, program};

fn config(cpus: usize, seed: u64) -> Config {
    let simple = Features { asid_bits: 8, ..Features::default() };
    let features = if seed % 4 == 3 { simple } else { Config::default().features };
    Config { cpus, seed, features, adversary: true, ..Config::default() }
}

#[test]
fn two_first_touches_make_one_folio() {
    for seed in 0..60 {
        let bench = Bench::on(config(2, seed), "64K=always");
        let start = bench.stock();
        bench.map(0, 16, RW);
        let touch = |page: u64| {
            let bench = &bench;
            move || {
                bench.memory.fault(&bench.space, bench.at(page), Access::Write).unwrap();
            }
        };
        run_in_one(&bench, seed, vec![program(touch(3)), program(touch(9))]);
        assert_eq!((bench.shape(0, 16), bench.count("faults_anonymous")), ([16, 0, 0, 0], 1), "seed {seed}");
        bench.audit();
        bench.unmap(0, 16);
        assert_eq!(bench.stock(), start, "seed {seed}");
    }
}

#[test]
fn two_faults_on_swapped_pages_read_them_once() {
    for seed in 0..60 {
        let bench = Bench::on(config(2, seed), "64K=always");
        bench.map(0, 16, RW);
        bench.fill(0, 16);
        bench.advise(0, 16, PAGEOUT).unwrap();
        let touch = |page: u64, access: Access| {
            let bench = &bench;
            move || {
                bench.memory.fault(&bench.space, bench.at(page), access).unwrap();
            }
        };
        run_in_one(&bench, seed, vec![program(touch(3, Access::Read)), program(touch(9, Access::Write))]);
        assert_eq!((bench.count("pages_swapped_in"), bench.shape(0, 16)), (16, [16, 0, 0, 0]), "seed {seed}");
        bench.verify(0, 16);
        bench.audit();
    }
}

fn faults_race_with_dontneed(thp: &str) {
    for seed in 0..200 {
        let bench = Bench::on(config(3, seed), thp);
        let start = bench.stock();
        bench.map(0, 16, RW);
        bench.fill(0, 16);
        bench.advise(0, 16, PAGEOUT).unwrap();
        let touch = |page: u64| {
            let bench = &bench;
            move || bench.memory.fault(&bench.space, bench.at(page), Access::Read).unwrap()
        };
        let drop_some = || bench.advise(4, 8, DONTNEED).unwrap();
        run_in_one(&bench, seed, vec![program(touch(5)), program(drop_some), program(touch(6))]);
        bench.audit();
        bench.verify(0, 4);
        bench.verify(12, 4);
        for page in 4..12 {
            assert_eq!(bench.read(page), Ok(0), "seed {seed}, page {page} was dropped");
        }
        bench.unmap(0, 16);
        assert_eq!(bench.stock(), start, "{thp} seed {seed}: something leaked");
    }
}

#[test]
fn faults_race_with_dontneed_on_swapped_folios() {
    faults_race_with_dontneed("64K=always");
}

/// The fault holds the lock of what it has read, so DONTNEED leaves it in the swap cache: the fault, which finds its entry gone, takes
/// it out.
#[test]
fn faults_race_with_dontneed_on_swapped_pages() {
    faults_race_with_dontneed("64K=never");
}

/// While the folio is on its way to the device, locked, its entries go; then the device refuses it. Reclaim keeps it for nobody.
#[test]
fn a_page_out_that_fails_meets_dontneed() {
    for way in ["page", "folio", "gather"] {
        let bench = Bench::on(config(2, 0), "64K=always");
        bench.memory.policy().parse("unmap", way).unwrap();
        let start = bench.stock();
        bench.map(0, 16, RW);
        bench.fill(0, 16);
        bench.memory.inject.fail(Point::DeviceWrite, 0);
        let before_the_write = |event: &Event| matches!(event, Event::ScanPages(..));
        let schedule = Schedule::in_turn().window(0, 1, before_the_write, 1);
        let page_out = || bench.advise(0, 16, PAGEOUT).unwrap();
        let drop_all = || bench.advise(0, 16, DONTNEED).unwrap();
        bench.machine.run_by(schedule, vec![program(page_out), program(drop_all)]).unwrap();
        assert_eq!(bench.memory.inject.failures(Point::DeviceWrite), 1);
        bench.audit();
        bench.unmap(0, 16);
        assert_eq!(bench.stock(), start, "{way}: something leaked");
    }
}

/// Each takes a page of one table out while the other's flush may be deferred. None relies on what is not present, as each knows its page
/// by its folio.
#[test]
fn memory_goes_bad_on_two_cpus() {
    for seed in 0..60 {
        let bench = Bench::on(config(2, seed), "64K=never");
        bench.map(0, 16, RW);
        bench.fill(0, 16);
        let poison = |page: u64| {
            let bench = &bench;
            move || bench.advise(page, 1, HWPOISON).unwrap()
        };
        run_in_one(&bench, seed, vec![program(poison(3)), program(poison(9))]);
        assert_eq!((bench.shape(0, 16), bench.memory.frames.bad_count()), ([0, 14, 2, 0], 2), "seed {seed}");
        bench.verify(4, 5);
        bench.audit();
    }
}
