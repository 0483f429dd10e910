//! Memory files that a program watches, under several CPUs: whatever takes entries out meanwhile, each first write to a protected page
//! comes to the monitor, and each missing page is filled once.

mod common;

use std::sync::Mutex;

use std::num::NonZeroU32;

use common::{BASE, Bench, RW, run_in_one};
use mm::fault::FaultError;
use mm::map::{MapFlags, MapRequest};
use mm::space::advice::{DONTNEED, PAGEOUT};
use mm::uffd::{Contents, Monitor};
use mm::vma::AreaFlags;
use mm::{Errno, OpenFile};
use mmu::Features;
use mmu::host::{Config, program};

const PAGES: u64 = 16;
const BYTES: u64 = PAGES * 4096;
const MONITOR: Monitor = Monitor(NonZeroU32::MIN);

/// A bench with CPUs of one kind or the other, and files of large folios or of single pages: these are unmapped whatever their neighbours
/// are.
fn bench(cpus: usize, seed: u64) -> Bench {
    let simple = Features { asid_bits: 8, ..Features::default() };
    let features = if seed % 4 == 3 { simple } else { Config::default().features };
    let sizes = if seed / 6 % 2 == 0 { "64K=always" } else { "64K=never" };
    Bench::on(Config { cpus, seed, features, adversary: true, ..Config::default() }, sizes)
}

/// A file, mapped at the usual place and watched.
fn watched(bench: &Bench, kind: MapFlags, modes: AreaFlags) -> OpenFile<'_> {
    let file = bench.memory.open_file(BYTES).unwrap();
    let request = MapRequest { address: BASE, length: BYTES, prot: RW, flags: kind | MapFlags::FIXED };
    bench.memory.mmap_file(&bench.space, request, &file, 0).unwrap();
    bench.memory.uffd_register(&bench.space, (BASE, BYTES), MONITOR, modes).unwrap();
    file
}

/// One CPU writes every page and is its own monitor; the others page out and drop.
fn writes_race(kind: MapFlags) {
    for seed in 0..90 {
        let bench = bench(3, seed);
        let (memory, space) = (&bench.memory, &bench.space);
        memory.policy().parse("unmap", ["page", "folio", "gather"][seed as usize % 3]).unwrap();
        memory.policy().parse("uffd_batch", if seed % 2 == 0 { "on" } else { "off" }).unwrap();
        let file = watched(&bench, kind, AreaFlags::UFFD_WP);
        (0..PAGES).for_each(|page| assert_eq!(file.write(page * 4096, &[7; 4096]), Ok(4096)));
        (0..PAGES / 2).for_each(|page| assert_ne!(bench.read(page), Ok(0)));
        memory.uffd_protect(space, (BASE, BYTES), true).unwrap();
        let told = Mutex::new(Vec::new());
        let write = || {
            for page in 0..PAGES {
                while let Err(error) = bench.write(page, page) {
                    let FaultError::Watched(notice) = error else { panic!("page {page}: {error:?}") };
                    assert!(notice.is_protected && notice.address == bench.at(page), "page {page}: {notice:?}");
                    told.lock().unwrap().push(page);
                    memory.uffd_protect(space, (notice.address.as_u64(), 4096), false).unwrap();
                }
            }
        };
        let advise = |advice| move || (0..4).for_each(|_| memory.madvise(space, BASE, BYTES, advice).unwrap());
        run_in_one(&bench, seed, vec![program(write), program(advise(PAGEOUT)), program(advise(DONTNEED))]);
        bench.audit();
        assert!(told.into_inner().unwrap().into_iter().eq(0..PAGES), "seed {seed}");
        // Private copies go with DONTNEED, and what the file has comes back.
        let of_file = u64::from_le_bytes([7; 8]);
        for page in 0..PAGES {
            let word = bench.read(page).unwrap();
            assert!(
                word == page || (kind == MapFlags::PRIVATE && word == of_file),
                "page {page}: {word:#x}, seed {seed}"
            );
        }
    }
}

#[test]
fn each_write_to_a_shared_page_is_told() {
    writes_race(MapFlags::SHARED);
}

#[test]
fn each_write_to_a_private_page_is_told() {
    writes_race(MapFlags::PRIVATE);
}

/// Two monitors fill the same pages, while the program reads them and somebody pages out.
#[test]
fn each_missing_page_is_filled_once() {
    for seed in 0..60 {
        let bench = bench(3, seed);
        let (memory, space) = (&bench.memory, &bench.space);
        let file = watched(&bench, MapFlags::SHARED, AreaFlags::UFFD);
        let filled = Mutex::new(vec![0; PAGES as usize]);
        let fill = |value: u8| {
            let filled = &filled;
            move || {
                for page in 0..PAGES {
                    match memory.uffd_fill(space, BASE + page * 4096, Contents::Protected(&[value; 4096])) {
                        Ok(()) => filled.lock().unwrap()[page as usize] += value,
                        Err(error) => assert_eq!(error, Errno::EEXIST),
                    }
                }
            }
        };
        let page_out = || (0..3).for_each(|_| memory.madvise(space, BASE, BYTES, PAGEOUT).unwrap());
        run_in_one(&bench, seed, vec![program(fill(1)), program(fill(2)), program(page_out)]);
        bench.audit();
        assert_eq!(file.filled_pages(), PAGES as usize);
        for (page, value) in (0..).zip(filled.into_inner().unwrap()) {
            assert_eq!(bench.read(page).unwrap(), u64::from_le_bytes([value; 8]), "page {page}, seed {seed}");
            assert!(matches!(bench.write(page, 0), Err(FaultError::Watched(_))), "page {page}, seed {seed}");
        }
    }
}
