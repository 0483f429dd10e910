//! Memory files under several CPUs: faults that meet each other, a cut, a page-out and the end of the file, in any interleaving.

mod common;

use std::sync::Arc;

use common::{BASE, Bench, RW, run};
use mm::fault::{Access, FaultError};
use mm::inject::{Point, Times};
use mm::map::{MapFlags, MapRequest};
use mm::space::advice::PAGEOUT;
use mm::{Errno, OpenFile, Space};
use mmu::Features;
use mmu::host::{Config, program};

const PAGES: u64 = 16;

fn config(cpus: usize, seed: u64) -> Config {
    let simple = Features { asid_bits: 8, ..Features::default() };
    let features = if seed % 4 == 3 { simple } else { Config::default().features };
    Config { cpus, seed, features, adversary: true, ..Config::default() }
}

fn request(pages: u64, kind: MapFlags) -> MapRequest {
    MapRequest { address: BASE, length: pages * 4096, prot: RW, flags: kind | MapFlags::FIXED }
}

/// A file, mapped in the bench's space.
fn mapped(bench: &Bench, pages: u64, kind: MapFlags) -> OpenFile<'_> {
    let file = bench.memory.open_file(pages * 4096).unwrap();
    bench.memory.mmap_file(&bench.space, request(pages, kind), &file, 0).unwrap();
    file
}

fn audit(bench: &Bench, other: &Arc<Space>) {
    if let Err(finding) = mm::audit::recount(&bench.memory, &[bench.space.clone(), other.clone()]) {
        panic!("{finding}");
    }
    assert_eq!(bench.memory.defects(), 0);
}

#[test]
fn two_first_touches_find_one_folio() {
    for seed in 0..60 {
        let bench = Bench::on(config(2, seed), "64K=always");
        let file = mapped(&bench, PAGES, MapFlags::SHARED);
        let other = bench.memory.create_space().unwrap();
        bench.memory.mmap_file(&other, request(PAGES, MapFlags::SHARED), &file, 0).unwrap();
        let touch = |space: &Arc<Space>, page: u64| {
            let (bench, space) = (&bench, space.clone());
            move || bench.memory.fault(&space, bench.at(page), Access::Write).unwrap()
        };
        let works = vec![(&bench.space, program(touch(&bench.space, 3))), (&other, program(touch(&other, 9)))];
        run(&bench, seed, works);
        assert_eq!(file.filled_pages(), 16, "seed {seed}");
        assert_eq!((bench.folio(3).0.mapcount(), other.file_pages()), (32, 16), "seed {seed}");
        audit(&bench, &other);
        bench.memory.destroy_space(&other);
    }
}

/// One CPU stores, the other cuts and lengthens the file; a store succeeds or is told that the file ends before it.
fn stores_race_with_cuts(thp: &str, kind: MapFlags) {
    for seed in 0..120 {
        let bench = Bench::on(config(3, seed), thp);
        let start = bench.stock();
        let file = mapped(&bench, 2 * PAGES, kind);
        let store = |from: u64| {
            let bench = &bench;
            move || {
                for page in from..from + PAGES {
                    let done = bench.write(page, page);
                    assert!(matches!(done, Ok(()) | Err(FaultError::BeyondEnd)), "page {page}: {done:?}");
                }
            }
        };
        let cut = || {
            for pages in [20, 5, 32, 0, 32] {
                file.resize(pages * 4096).unwrap();
            }
        };
        let works = vec![
            (&bench.space, program(store(0))),
            (&bench.space, program(store(PAGES))),
            (&bench.space, program(cut)),
        ];
        run(&bench, seed, works);
        bench.audit();
        for page in 0..2 * PAGES {
            let word = bench.read(page).unwrap();
            assert!(word == 0 || word == page, "page {page} has {word}, seed {seed}");
        }
        bench.unmap(0, 2 * PAGES);
        drop(file);
        assert_eq!(bench.stock(), start, "seed {seed}");
    }
}

#[test]
fn stores_to_large_folios_race_with_cuts() {
    stores_race_with_cuts("64K=always", MapFlags::SHARED);
}

#[test]
fn stores_to_single_pages_race_with_cuts() {
    stores_race_with_cuts("64K=never", MapFlags::SHARED);
}

#[test]
fn private_stores_race_with_cuts() {
    stores_race_with_cuts("64K=always", MapFlags::PRIVATE);
}

#[test]
fn no_store_is_lost_to_a_page_out() {
    for seed in 0..90 {
        let bench = Bench::on(config(3, seed), "64K=always");
        bench.memory.policy().parse("unmap", ["page", "folio", "gather"][seed as usize % 3]).unwrap();
        let file = mapped(&bench, PAGES, MapFlags::SHARED);
        bench.fill(0, PAGES);
        let store = |from: u64| {
            let bench = &bench;
            move || (from..from + 4).for_each(|page| bench.write(page, 7 * page).unwrap())
        };
        let works = vec![
            (&bench.space, program(store(2))),
            (&bench.space, program(store(9))),
            (&bench.space, program(|| bench.advise(0, PAGES, PAGEOUT).unwrap())),
        ];
        run(&bench, seed, works);
        bench.audit();
        for page in 0..PAGES {
            let stored = (2..6).contains(&page) || (9..13).contains(&page);
            let wanted = if stored { 7 * page } else { page ^ 0xABCD };
            let mut word = [0; 8];
            assert_eq!(file.read(page * 4096, &mut word), Ok(8));
            assert_eq!((bench.read(page), u64::from_le_bytes(word)), (Ok(wanted), wanted), "page {page}, seed {seed}");
        }
    }
}

#[test]
fn a_page_out_races_with_a_cut() {
    for seed in 0..90 {
        let bench = Bench::on(config(2, seed), "64K=always");
        bench.memory.policy().parse("unmap", ["page", "folio", "gather"][seed as usize % 3]).unwrap();
        let start = bench.stock();
        let file = mapped(&bench, 2 * PAGES, MapFlags::SHARED);
        bench.fill(0, 2 * PAGES);
        let works = vec![
            (&bench.space, program(|| bench.advise(0, 2 * PAGES, PAGEOUT).unwrap())),
            (&bench.space, program(|| file.resize(PAGES * 4096).unwrap())),
        ];
        run(&bench, seed, works);
        bench.audit();
        bench.verify(0, PAGES);
        assert_eq!((bench.read(PAGES), file.filled_pages()), (Err(FaultError::BeyondEnd), 16), "seed {seed}");
        bench.unmap(0, 2 * PAGES);
        drop(file);
        assert_eq!(bench.stock(), start, "seed {seed}");
    }
}

#[test]
fn where_memory_runs_out_what_was_there_stays() {
    let bench = Bench::new("64K=always");
    let file = mapped(&bench, 2 * PAGES, MapFlags::SHARED);
    bench.fill(0, PAGES);
    bench.memory.inject.arm(Point::LargeFolioAlloc, 0, Times::Always);
    bench.memory.inject.arm(Point::FolioAlloc, 1, Times::Always);
    assert_eq!(file.write(PAGES * 4096, &[1; 3 * 4096]), Ok(4096));
    assert_eq!(file.write(20 * 4096, &[1; 4096]), Err(Errno::ENOMEM));
    assert_eq!(bench.write(20, 1), Err(FaultError::OutOfMemory));
    bench.memory.inject.clear();
    bench.verify(0, PAGES);
    assert_eq!((bench.read(PAGES + 1), bench.count("folio_fallbacks")), (Ok(0), 1));
    bench.audit();
}

#[test]
fn a_file_lives_as_long_as_it_is_open_or_mapped() {
    let bench = Bench::new("64K=always");
    let start = bench.stock();
    let file = mapped(&bench, PAGES, MapFlags::SHARED);
    bench.fill(0, PAGES);
    let (id, anon) = (file.id(), bench.memory.anon.len());
    bench.unmap(0, PAGES);
    let mut bytes = [0; 8];
    assert_eq!((file.read(0, &mut bytes), u64::from_le_bytes(bytes)), (Ok(8), 0xABCD));
    bench.memory.mmap_file(&bench.space, request(PAGES, MapFlags::PRIVATE), &file, 0).unwrap();
    drop(file);
    assert_eq!((bench.read(3), bench.memory.files.get(id).is_some()), (Ok(3 ^ 0xABCD), true));
    bench.unmap(4, 4);
    bench.verify(8, 8);
    bench.unmap(0, PAGES);
    assert!(bench.memory.files.get(id).is_none() && bench.memory.anon.len() < anon);
    assert_eq!((bench.stock(), bench.memory.files.pages()), (start, 0));
}

#[test]
fn maps_of_a_file_that_can_not_be() {
    let bench = Bench::new("64K=always");
    let file = bench.memory.open_file(0).unwrap();
    let map = |kind, offset| bench.memory.mmap_file(&bench.space, request(1, kind), &file, offset);
    assert_eq!(map(MapFlags::SHARED, 1), Err(Errno::EINVAL));
    assert_eq!(map(MapFlags::empty(), 0), Err(Errno::EINVAL));
    assert_eq!(map(MapFlags::DROPPABLE, 0), Err(Errno::EINVAL));
    assert_eq!(map(MapFlags::SHARED, mm::file::MAX_SIZE), Err(Errno::EOVERFLOW));
    assert_eq!(map(MapFlags::SHARED, u64::MAX - 4095), Err(Errno::EOVERFLOW));
    assert_eq!(map(MapFlags::SHARED_VALIDATE, 1 << 40), Ok(BASE));
    assert_eq!(bench.read(0), Err(FaultError::BeyondEnd));
    file.resize((1 << 40) + 1).unwrap();
    assert_eq!((bench.read(0), file.filled_pages()), (Ok(0), 1));
    bench.audit();
}
