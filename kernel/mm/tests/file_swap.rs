//! Memory files in swap under several CPUs: faults, calls, reclaim, cuts and swapoff that meet each other, in any interleaving.

mod common;

use std::sync::Arc;

use common::{BASE, Bench, RW, run};
use mm::fault::{Access, FaultError};
use mm::frame::{FreshFolio, Shortage};
use mm::inject::{Point, Times};
use mm::map::{MapFlags, MapRequest};
use mm::space::advice::PAGEOUT;
use mm::swap::{Drive, RamDevice};
use mm::{OpenFile, Space};
use mmu::host::{Config, Machine, program};

const PAGES: u64 = 16;
/// Bytes of a machine that has 4 MiB beside its swap device.
const SMALL: u64 = (32 << 20) + (4 << 20);
/// Frames that are left at most where memory is about to be short.
const SPARE: usize = 64;
const WAYS: [&str; 3] = ["page", "folio", "gather"];

fn bench(cpus: usize, seed: u64) -> Bench {
    let bench = Bench::on(Config { cpus, seed, adversary: true, ..Config::default() }, "64K=always");
    bench.memory.policy().parse("unmap", WAYS[seed as usize % 3]).unwrap();
    bench
}

fn request(pages: u64, kind: MapFlags) -> MapRequest {
    MapRequest { address: BASE, length: pages * 4096, prot: RW, flags: kind | MapFlags::FIXED }
}

/// A file, mapped in the bench's space, filled, and paged out.
fn swapped(bench: &Bench, pages: u64) -> OpenFile<'_> {
    let file = bench.memory.open_file(pages * 4096).unwrap();
    bench.memory.mmap_file(&bench.space, request(pages, MapFlags::SHARED), &file, 0).unwrap();
    bench.fill(0, pages);
    bench.advise(0, pages, PAGEOUT).unwrap();
    file
}

/// The word at the beginning of a page.
fn word(file: &OpenFile<'_>, page: u64) -> u64 {
    let mut bytes = [0; 8];
    assert_eq!(file.read(page * 4096, &mut bytes), Ok(8));
    u64::from_le_bytes(bytes)
}

#[test]
fn two_faults_bring_one_folio_back() {
    for seed in 0..60 {
        let bench = bench(2, seed);
        let file = swapped(&bench, PAGES);
        assert_eq!(file.swapped_pages(), 16);
        let other = bench.memory.create_space().unwrap();
        bench.memory.mmap_file(&other, request(PAGES, MapFlags::SHARED), &file, 0).unwrap();
        let touch = |space: &Arc<Space>, page: u64| {
            let (bench, space) = (&bench, space.clone());
            move || bench.memory.fault(&space, bench.at(page), Access::Write).unwrap()
        };
        let works = vec![(&bench.space, program(touch(&bench.space, 3))), (&other, program(touch(&other, 9)))];
        run(&bench, seed, works);
        assert_eq!((file.swapped_pages(), file.filled_pages()), (0, 16), "seed {seed}");
        assert_eq!((bench.count("pages_swapped_in"), bench.folio(3).0.mapcount()), (16, 32), "seed {seed}");
        bench.memory.destroy_space(&other);
        bench.audit();
    }
}

/// Calls read and write, a program stores, and reclaim takes what it finds, again and again: nothing is lost.
#[test]
fn no_write_is_lost_to_reclaim() {
    for seed in 0..120 {
        let bench = bench(3, seed);
        let file = swapped(&bench, 2 * PAGES);
        let call = || {
            for page in (1..PAGES).step_by(3) {
                assert_eq!(file.write(page * 4096, &(7 * page).to_le_bytes()), Ok(8));
                assert_eq!(word(&file, page), 7 * page);
            }
        };
        let store = || (0..2 * PAGES).step_by(3).for_each(|page| bench.write(page, 9 * page).unwrap());
        let reclaim = || {
            for _ in 0..6 {
                bench.memory.shrink(16);
            }
        };
        let works =
            vec![(&bench.space, program(call)), (&bench.space, program(store)), (&bench.space, program(reclaim))];
        run(&bench, seed, works);
        bench.audit();
        for page in 0..2 * PAGES {
            let wanted = match page % 3 {
                0 => 9 * page,
                1 if page < PAGES => 7 * page,
                _ => page ^ 0xABCD,
            };
            assert_eq!((bench.read(page), word(&file, page)), (Ok(wanted), wanted), "page {page}, seed {seed}");
        }
    }
}

#[test]
fn cuts_race_with_pages_that_come_back() {
    for seed in 0..120 {
        let bench = bench(3, seed);
        let start = bench.stock();
        let file = swapped(&bench, 2 * PAGES);
        let load = || {
            for page in 0..2 * PAGES {
                let word = bench.read(page);
                let is_right = matches!(word, Err(FaultError::BeyondEnd)) || word == Ok(0) || word == Ok(page ^ 0xABCD);
                assert!(is_right, "page {page} has {word:?}");
            }
        };
        let cut = || {
            for pages in [20, 5, 32] {
                file.resize(pages * 4096).unwrap();
            }
        };
        let out = || bench.advise(0, 2 * PAGES, PAGEOUT).unwrap();
        let works = vec![(&bench.space, program(load)), (&bench.space, program(cut)), (&bench.space, program(out))];
        run(&bench, seed, works);
        bench.audit();
        bench.verify(0, 5);
        (5..2 * PAGES).for_each(|page| assert_eq!(bench.read(page), Ok(0), "page {page}, seed {seed}"));
        bench.unmap(0, 2 * PAGES);
        drop(file);
        assert_eq!(bench.stock(), start, "seed {seed}");
    }
}

#[test]
fn swapoff_races_with_faults_and_reclaim() {
    for seed in 0..90 {
        let bench = bench(3, seed);
        let file = swapped(&bench, 3 * PAGES);
        let load = || (0..3 * PAGES).step_by(5).for_each(|page| assert_eq!(bench.read(page), Ok(page ^ 0xABCD)));
        let works = vec![
            (&bench.space, program(load)),
            (&bench.space, program(|| bench.memory.swapoff(0).unwrap())),
            (&bench.space, program(|| assert!(bench.memory.shrink(32).pages() < 512))),
        ];
        run(&bench, seed, works);
        assert_eq!((file.swapped_pages(), bench.memory.files.swapped()), (0, 0), "seed {seed}");
        bench.audit();
        bench.memory.swapon(0).unwrap();
        bench.verify(0, 3 * PAGES);
    }
}

/// A device that takes its time completes on one CPU, while others bring back, write, cut and page out.
#[test]
fn writes_complete_while_pages_come_back() {
    for seed in 0..120 {
        let config = Config { cpus: 3, seed, adversary: true, ..Config::default() };
        let machine = Machine::new(config);
        let (memory, drive) = common_memory(&machine, config);
        memory.policy().parse("unmap", WAYS[seed as usize % 3]).unwrap();
        let space = memory.create_space().unwrap();
        memory.activate(&space);
        let bench = Bench { machine, memory, space };
        let start = bench.stock();
        let file = swapped(&bench, 2 * PAGES);
        drive.set_latency(2);
        let complete = || {
            for _ in 0..8 {
                drive.tick();
                bench.memory.run_completions();
            }
        };
        let work = || {
            for round in 1..4 {
                (0..PAGES).step_by(5).for_each(|page| bench.write(page, round * page).unwrap());
                bench.advise(0, 2 * PAGES, PAGEOUT).unwrap();
            }
        };
        let cut = || file.resize((PAGES + 3) * 4096 + 5).unwrap();
        let works =
            vec![(&bench.space, program(complete)), (&bench.space, program(work)), (&bench.space, program(cut))];
        run(&bench, seed, works);
        bench.audit();
        while drive.pending() > 0 {
            complete();
        }
        bench.audit();
        drive.set_latency(0);
        for page in 0..PAGES + 3 {
            let wanted = if page < PAGES && page % 5 == 0 { 3 * page } else { page ^ 0xABCD };
            assert_eq!((bench.read(page), word(&file, page)), (Ok(wanted), wanted), "page {page}, seed {seed}");
        }
        bench.unmap(0, 2 * PAGES);
        drop(file);
        assert_eq!(bench.stock(), start, "seed {seed}");
    }
}

/// A private page is written whose page of the file is in swap, where the folio that comes back for it makes memory short, and to take that
/// folio out again ends the shortage. Whoever begins anew takes it out by getting the page for the copy, and reads it for ever.
#[test]
fn a_private_write_ends_where_memory_is_short() {
    for (way, spare) in WAYS.into_iter().flat_map(|way| (0..SPARE).step_by(4).map(move |spare| (way, spare))) {
        let bench = Bench::on(Config { ram_bytes: SMALL, ..Config::default() }, "64K=always");
        bench.memory.policy().parse("unmap", way).unwrap();
        let file = swapped(&bench, PAGES);
        bench.memory.mmap_file(&bench.space, request(PAGES, MapFlags::PRIVATE), &file, 0).unwrap();
        // A page that can be got back: after a search that finds nothing there is none for a while.
        bench.map(PAGES, 1, RW);
        bench.fill(PAGES, 1);
        let taken = leave_few(&bench, spare);
        // Looks at how much is free, and finds the page.
        bench.memory.balance();
        let reads = bench.count("faults_swap_major");
        // Instead of for ever.
        bench.memory.inject.arm(Point::DeviceRead, 4 * PAGES as usize, Times::Always);
        assert_eq!(bench.write(5, 7), Ok(()), "{way}, {spare} frames");
        bench.memory.inject.clear();
        assert_eq!(bench.count("faults_swap_major") - reads, 1, "{way}, {spare} frames");
        drop(taken);
        bench.audit();
        assert_eq!(bench.read(5), Ok(7), "{way}, {spare} frames");
        bench.verify(6, PAGES - 5);
    }
}

/// A hole begins and ends inside pages in swap, where memory is so short that to bring one of them in takes the other out.
#[test]
fn a_hole_is_punched_where_memory_is_short() {
    for way in WAYS {
        let bench = Bench::on(Config { ram_bytes: SMALL, ..Config::default() }, "64K=never");
        bench.memory.policy().parse("unmap", way).unwrap();
        let file = swapped(&bench, PAGES);
        // A page that can be got back: after a search that finds nothing there is none for a while.
        bench.map(PAGES, 1, RW);
        bench.fill(PAGES, 1);
        let taken = leave_few(&bench, 0);
        let reads = bench.count("pages_swapped_in");
        // Instead of for ever.
        bench.memory.inject.arm(Point::DeviceRead, 20, Times::Always);
        assert_eq!(file.punch(3 * 4096 + 100, 7 * 4096), Ok(()), "{way}");
        bench.memory.inject.clear();
        assert_eq!(bench.count("pages_swapped_in") - reads, 2, "{way}");
        drop(taken);
        bench.audit();
        assert_eq!((word(&file, 3), word(&file, 4), word(&file, 10)), (3 ^ 0xABCD, 0, 0), "{way}");
    }
}

/// Takes all frames but those that make memory short, and `spare`.
fn leave_few(bench: &Bench, spare: usize) -> Vec<FreshFolio<'_>> {
    let is_short = || bench.memory.shortage() == Shortage::Min;
    let take = || if is_short() { None } else { bench.memory.frames.alloc(0) };
    let mut taken: Vec<_> = std::iter::from_fn(take).collect();
    taken.truncate(taken.len() - spare);
    taken
}

/// As `Bench` has it, with a hold of the device.
fn common_memory(machine: &Machine, config: Config) -> (mm::Memory, Arc<Drive>) {
    use mmu::{Door, Pfn};
    let first = Pfn::new(config.ram_start.as_u64() >> 12);
    let last = Pfn::new((config.ram_start.as_u64() + config.ram_bytes) >> 12);
    let memory = mm::Memory::new(Door::simulated(machine), &[first..last]).expect("memory");
    let drive = Arc::new(Drive::new(RamDevice::new(&memory.frames, 8192).expect("a device")));
    memory.swap.add_device(Box::new(drive.clone())).expect("a place for the device");
    memory.policy().parse("thp", "64K=always").expect("sizes");
    (memory, drive)
}
