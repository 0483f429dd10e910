//! Programs on several CPUs of one space, faulting while another CPU pages out, protects and unmaps: whatever the interleaving, no store
//! is lost, no access faults for ever, and nothing leaks.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Bench, RW};
use mm::fault::{Access, FaultError};
use mm::vma::Prot;
use mm::{Memory, Space};
use mmu::host::{self, Config, Machine, program};
use mmu::{Features, VirtAddr};

const PAGES: u64 = 48;
const PAGEOUT: u32 = 21;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// One CPU's program: its own word in each page, and what it last stored there.
struct Worker<'a> {
    machine: &'a Machine,
    memory: &'a Memory,
    space: &'a Arc<Space>,
    base: VirtAddr,
    word: u64,
    random: Random,
    stored: Vec<u64>,
}

impl<'a> Worker<'a> {
    fn new(bench: &'a Bench, cpu: u64, seed: u64) -> Self {
        Self {
            machine: &bench.machine,
            memory: &bench.memory,
            space: &bench.space,
            base: bench.at(0),
            word: cpu,
            random: Random((seed * 8 + cpu).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            stored: vec![0; PAGES as usize],
        }
    }

    fn attempt<R>(&self, page: u64, access: Access, act: impl Fn(VirtAddr) -> Result<R, host::Fault>) -> R {
        let address = self.base.add_pages(page as usize).add_bytes(8 * self.word);
        for _ in 0..10_000 {
            if let Ok(result) = act(address) {
                return result;
            }
            match self.memory.fault(self.space, address, access) {
                Ok(()) => {}
                // Another CPU has the page read-only for a while.
                Err(FaultError::Denied) => mmu::relax(),
                Err(error) => panic!("page {page}: {error}"),
            }
        }
        panic!("page {page} faults for ever");
    }

    fn work(&mut self, steps: u64) {
        for step in 1..=steps {
            let page = self.random.below(PAGES);
            if self.random.below(2) == 0 {
                self.attempt(page, Access::Write, |at| self.machine.user_write_u64(at, step));
                self.stored[page as usize] = step;
            } else {
                let found = self.attempt(page, Access::Read, |at| self.machine.user_read_u64(at));
                assert_eq!(found, self.stored[page as usize], "page {page} of CPU {}", self.word);
            }
        }
    }

    fn verify(&self) {
        for page in 0..PAGES {
            let found = self.attempt(page, Access::Read, |at| self.machine.user_read_u64(at));
            assert_eq!(found, self.stored[page as usize], "page {page} of CPU {} in the end", self.word);
        }
    }
}

/// Disturbs the others: pages out, makes read-only and writable again, unfolds, splits areas.
fn disturb(bench: &Bench, seed: u64, steps: u64) {
    let mut random = Random(seed.wrapping_mul(0xD134_2543_DE82_EF95) | 1);
    for _ in 0..steps {
        let first = random.below(PAGES);
        let count = 1 + random.below((PAGES - first).min(24));
        match random.below(4) {
            0 => {
                bench.protect(first, count, Prot::READ).unwrap();
                bench.protect(first, count, RW).unwrap();
            }
            1 => bench.advise(first, count, 14 + random.below(2) as u32).unwrap(),
            _ => bench.advise(first, count, PAGEOUT).unwrap(),
        }
    }
}

/// Runs programs in the bench's space, one on each CPU.
fn run<'a>(bench: &'a Bench, seed: u64, works: Vec<Box<dyn FnOnce() + Send + 'a>>) {
    let enter = |work: Box<dyn FnOnce() + Send + 'a>| {
        program(move || {
            bench.memory.activate(&bench.space);
            work();
            bench.memory.deactivate();
        })
    };
    bench.machine.run(seed, works.into_iter().map(enter).collect());
    bench.memory.activate(&bench.space);
}

fn config(cpus: usize, seed: u64) -> Config {
    let simple = Features { asid_bits: 8, ..Features::default() };
    let features = if seed % 4 == 3 { simple } else { Config::default().features };
    Config { cpus, seed, features, ..Config::default() }
}

fn workers_and_a_disturber(thp: &str, way: &str, seed: u64) {
    let bench = Bench::on(config(3, seed), thp);
    bench.memory.policy().parse("unmap", way).unwrap();
    let start = bench.stock();
    bench.map(0, PAGES, RW);
    let mut workers = [0, 1].map(|cpu| Worker::new(&bench, cpu, seed));
    {
        let [first, second] = &mut workers;
        let programs =
            vec![program(|| first.work(60)), program(|| second.work(60)), program(|| disturb(&bench, seed, 12))];
        run(&bench, seed, programs);
    }
    workers.iter().for_each(Worker::verify);
    bench.audit();
    bench.unmap(0, PAGES);
    assert_eq!(bench.stock(), start, "{thp} {way} seed {seed}: something leaked");
}

#[test]
fn no_store_is_lost_whatever_the_interleaving() {
    for (number, thp) in (0..).zip(["64K=never", "64K=always", "16K=always;128K=always"]) {
        for (offset, way) in (0..).zip(["page", "folio", "gather"]) {
            for round in 0..12 {
                workers_and_a_disturber(thp, way, 1 + number * 100 + offset * 30 + round);
            }
        }
    }
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
        run(&bench, seed, vec![program(touch(3)), program(touch(9))]);
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
        run(&bench, seed, vec![program(touch(3, Access::Read)), program(touch(9, Access::Write))]);
        assert_eq!((bench.count("pages_swapped_in"), bench.shape(0, 16)), (16, [16, 0, 0, 0]), "seed {seed}");
        bench.verify(0, 16);
        bench.audit();
    }
}

fn faults_race_with_dontneed(thp: &str) {
    const DONTNEED: u32 = 4;
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
        run(&bench, seed, vec![program(touch(5)), program(drop_some), program(touch(6))]);
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

#[test]
fn faults_race_with_munmap() {
    for seed in 0..60 {
        let bench = Bench::on(config(3, seed), "64K=always;16K=always");
        let start = bench.stock();
        let done = AtomicUsize::new(0);
        let toucher = |cpu: u64| {
            let (bench, done) = (&bench, &done);
            move || {
                let mut random = Random(seed * 2 + cpu + 1);
                while done.load(Ordering::Relaxed) == 0 {
                    let page = random.below(64);
                    let address = bench.at(page);
                    if bench.machine.user_write_u64(address, page).is_err() {
                        let result = bench.memory.fault(&bench.space, address, Access::Write);
                        assert!(matches!(result, Ok(()) | Err(FaultError::NotMapped)), "{result:?}");
                    }
                    mmu::switch_point();
                }
            }
        };
        let mapper = || {
            let mut random = Random(seed + 77);
            for _ in 0..20 {
                let first = random.below(60);
                let count = 1 + random.below(64 - first);
                match random.below(3) {
                    0 => bench.unmap(first, count),
                    1 => drop(bench.advise(first, count, PAGEOUT)),
                    _ => drop(bench.map(first, count, RW)),
                }
            }
            bench.unmap(0, 64);
            done.store(1, Ordering::Relaxed);
        };
        run(&bench, seed, vec![program(mapper), program(toucher(1)), program(toucher(2))]);
        assert_eq!(bench.stock(), start, "seed {seed}: something leaked");
        bench.audit();
    }
}
