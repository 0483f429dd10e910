//! mmap, munmap, mprotect, madvise and brk against a model that knows each page by itself, with random sequences.

mod common;

use std::collections::BTreeMap;

use common::{BASE, Bench, FIXED, PRIVATE, RW};
use mm::Errno;
use mm::fault::{Access, FaultError};
use mm::map::{MAP_TOP, MIN_ADDRESS, MapFlags, MapRequest};
use mm::vma::Prot;
use mmu::{TABLE_SPAN, VirtAddr};

const PAGES: u64 = 1100;

/// What a page should be: what may be done with it, and what it holds.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Page {
    prot: Prot,
    value: u64,
}

type Model = BTreeMap<u64, Page>;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn range(&mut self) -> (u64, u64) {
        let longest = [3, 20, 100, 600][self.below(4) as usize];
        let first = self.below(PAGES - 1);
        (first, (1 + self.below(longest)).min(PAGES - first))
    }

    fn prot(&mut self) -> Prot {
        [RW, RW, Prot::READ, Prot::empty()][self.below(4) as usize]
    }
}

fn step(bench: &Bench, model: &mut Model, random: &mut Random, stamp: u64) -> String {
    let (first, count) = random.range();
    let numbers = first..first + count;
    let whole = numbers.clone().all(|number| model.contains_key(&number));
    let holes = if whole { Ok(()) } else { Err(Errno::ENOMEM) };
    match random.below(12) {
        0 => {
            let prot = random.prot();
            bench.map(first, count, prot);
            model.extend(numbers.map(|number| (number, Page { prot, value: 0 })));
            format!("map {first}+{count} {prot:?}")
        }
        1 => {
            bench.unmap(first, count);
            model.retain(|number, _| !numbers.contains(number));
            format!("unmap {first}+{count}")
        }
        2 | 3 => {
            let prot = random.prot();
            let result = bench.protect(first, count, prot);
            assert_eq!(result, holes, "mprotect {first}+{count}");
            // What lies before a hole was changed.
            numbers.map_while(|number| model.get_mut(&number).map(|_| number)).collect::<Vec<_>>().iter().for_each(
                |number| {
                    model.get_mut(number).unwrap().prot = prot;
                },
            );
            format!("protect {first}+{count} {prot:?}")
        }
        4 => {
            assert_eq!(bench.advise(first, count, 4), holes);
            model.range_mut(numbers).for_each(|(_, page)| page.value = 0);
            format!("dontneed {first}+{count}")
        }
        5 | 6 => {
            assert_eq!(bench.advise(first, count, 21), holes);
            format!("pageout {first}+{count}")
        }
        7 => {
            assert_eq!(bench.advise(first, count, 14 + random.below(2) as u32), holes);
            format!("advice {first}+{count}")
        }
        8 | 9 => {
            for number in numbers {
                assert_eq!(bench.read(number), expected(model, number, Access::Read), "read of {number}");
            }
            format!("read {first}+{count}")
        }
        _ => {
            for number in numbers {
                let value = stamp << 16 | number;
                let result = bench.write(number, value);
                assert_eq!(result.map(|()| 0), expected(model, number, Access::Write).map(|_| 0), "write of {number}");
                if result.is_ok() {
                    model.get_mut(&number).unwrap().value = value;
                }
            }
            format!("write {first}+{count}")
        }
    }
}

fn expected(model: &Model, number: u64, access: Access) -> Result<u64, FaultError> {
    let page = model.get(&number).ok_or(FaultError::NotMapped)?;
    let needed = if access == Access::Write { Prot::WRITE } else { Prot::READ };
    if page.prot.contains(needed) { Ok(page.value) } else { Err(FaultError::Denied) }
}

/// The areas say what the model says, entries agree with areas, and accounts with entries.
fn check(bench: &Bench, model: &Model) {
    let layout = bench.space.layout().read();
    for number in 0..PAGES {
        let area = layout.areas.find(bench.at(number));
        assert_eq!(area.map(|area| area.prot), model.get(&number).map(|page| page.prot), "page {number}");
        let entry = bench.entry(number);
        let Some(area) = area else {
            assert!(entry.is_none(), "page {number}: {entry} outside of any area");
            continue;
        };
        assert!(!entry.is_writable() || area.prot.contains(Prot::WRITE), "page {number}: {entry}");
        assert!(!entry.is_present() || entry.is_valid() != area.prot.is_empty(), "page {number}: {entry}");
    }
    drop(layout);
    bench.audit();
}

fn random_run(thp: &str, way: &str, seed: u64, steps: u64) {
    let bench = if seed % 3 == 0 { Bench::simple(thp) } else { Bench::new(thp) };
    bench.memory.policy().parse("unmap", way).unwrap();
    let start = bench.stock();
    let (mut model, mut random) = (Model::new(), Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1));
    let mut steps_done = Vec::new();
    for stamp in 1..=steps {
        steps_done.push(step(&bench, &mut model, &mut random, stamp));
        if stamp % 10 == 0 {
            check(&bench, &model);
        }
    }
    for number in 0..PAGES {
        assert_eq!(bench.read(number), expected(&model, number, Access::Read), "{number} at the end");
    }
    bench.unmap(0, PAGES);
    assert_eq!(bench.stock(), start, "{thp} {way} seed {seed}: something leaked");
}

#[test]
fn random_operations_agree_with_a_model_of_pages() {
    let sizes = ["64K=never", "64K=always", "16K-2M=always", "32K=always;128K=madvise"];
    for (number, thp) in (1..).zip(sizes) {
        for (offset, way) in ["page", "folio", "gather"].into_iter().enumerate() {
            random_run(thp, way, number * 10 + offset as u64, 150);
        }
    }
}

fn request(address: u64, pages: u64, flags: MapFlags) -> MapRequest {
    MapRequest { address, length: pages * 4096, prot: RW, flags }
}

#[test]
fn maps_go_where_linux_puts_them() {
    let bench = Bench::new("64K=always");
    let map = |address, pages, flags| bench.memory.mmap(&bench.space, request(address, pages, flags));
    let first = map(0, 3, PRIVATE).unwrap();
    assert_eq!(first, MAP_TOP - 3 * 4096);
    assert_eq!(map(0, 1, PRIVATE), Ok(first - 4096));
    let large = map(0, 512, PRIVATE).unwrap();
    assert!(large % TABLE_SPAN == 0 && large < first);
    assert_eq!(map(0, 1024, PRIVATE), Ok(large - 2 * TABLE_SPAN));
    assert_eq!(map(BASE, 4, PRIVATE), Ok(BASE));
    assert_eq!(map(BASE + 4 * 4096 - 5, 1, PRIVATE), Ok(BASE + 4 * 4096), "a hint is rounded up");
    let elsewhere = map(BASE, 1, PRIVATE).unwrap();
    assert!(elsewhere > BASE + 0x1_0000, "a hint that is taken is only a hint");
    assert_eq!(map(1, 1, PRIVATE), Ok(MIN_ADDRESS), "a hint below the lowest address");
}

#[test]
fn wrong_maps_are_refused_as_linux_does() {
    let bench = Bench::new("64K=always");
    let map = |address, length, flags| bench.memory.mmap(&bench.space, MapRequest { address, length, prot: RW, flags });
    assert_eq!(map(0, 0, PRIVATE), Err(Errno::EINVAL));
    assert_eq!(map(0, 1 << 48, PRIVATE), Err(Errno::ENOMEM));
    assert_eq!(map(0, u64::MAX, PRIVATE), Err(Errno::ENOMEM));
    assert_eq!(map(BASE + 1, 4096, FIXED), Err(Errno::EINVAL));
    assert_eq!(map(0x1000, 4096, FIXED), Err(Errno::EPERM));
    assert_eq!(map(0xffff_ffff_f000, 8192, FIXED), Err(Errno::ENOMEM));
    assert_eq!(map(u64::MAX - 4095, 8192, FIXED), Err(Errno::ENOMEM));
    assert_eq!(map(0, 4096, MapFlags::ANONYMOUS), Err(Errno::EINVAL));
    assert_eq!(map(0, 4096, MapFlags::PRIVATE), Err(Errno::EBADF));
    assert_eq!(map(0, 4096, MapFlags::SHARED | MapFlags::ANONYMOUS), Err(Errno::ENODEV));
    let here = PRIVATE | MapFlags::FIXED_NOREPLACE;
    assert_eq!(map(BASE, 8192, here), Ok(BASE));
    assert_eq!(map(BASE + 4096, 8192, here), Err(Errno::EEXIST));
    let munmap = |address, length| bench.memory.munmap(&bench.space, address, length);
    assert_eq!(munmap(BASE + 1, 4096), Err(Errno::EINVAL));
    assert_eq!(munmap(BASE, 0), Err(Errno::EINVAL));
    assert_eq!(munmap(BASE, u64::MAX), Err(Errno::EINVAL));
    assert_eq!(munmap(1 << 47, 4096), Ok(()));
    let protect = |address, length| bench.memory.mprotect(&bench.space, address, length, RW);
    assert_eq!(protect(BASE + 1, 4096), Err(Errno::EINVAL));
    assert_eq!(protect(BASE, 0), Ok(()));
    assert_eq!(protect(BASE, 3 * 4096), Err(Errno::ENOMEM));
    assert_eq!(protect(BASE, u64::MAX), Err(Errno::ENOMEM));
}

#[test]
fn the_heap_grows_shrinks_and_stops_at_its_neighbour() {
    let bench = Bench::new("64K=always");
    let brk = |address| bench.memory.brk(&bench.space, address);
    bench.memory.set_brk_start(&bench.space, BASE + 100);
    assert_eq!(brk(0), BASE + 100);
    assert_eq!(brk(BASE + 99), BASE + 100, "below its start");
    assert_eq!(brk(BASE + 0x5000), BASE + 0x5000);
    bench.fill(1, 4);
    assert_eq!(bench.read(0), Err(FaultError::NotMapped), "the first page belongs to the program's data");
    bench.map(10, 1, RW);
    assert_eq!(brk(BASE + 0xa000), BASE + 0x5000, "a page is kept free");
    assert_eq!(brk(BASE + 0x9000), BASE + 0x9000);
    assert_eq!(bench.space.layout().read().areas.len(), 2);
    assert_eq!(brk(BASE + 0x2001), BASE + 0x2001);
    bench.verify(1, 2);
    assert_eq!(bench.read(3), Err(FaultError::NotMapped));
    assert_eq!(brk(u64::MAX), BASE + 0x2001);
}

#[test]
fn tables_go_with_their_last_area() {
    let bench = Bench::new("64K=always");
    let empty = bench.stock();
    bench.map(0, 1024, RW);
    bench.write(0, 1).unwrap();
    bench.write(600, 1).unwrap();
    let tables = |pages: usize| empty.0 - bench.stock().0 - pages;
    assert_eq!(tables(32), 4);
    let cost = bench.cost(|| bench.unmap(0, 512));
    assert_eq!((tables(16), cost.tlbi), (3, 1));
    bench.unmap(600, 424);
    assert_eq!(tables(16), 3, "an area still needs the table, and a page of the folio is mapped");
    bench.unmap(512, 88);
    assert_eq!(bench.stock(), empty);
    assert!(bench.space.tables.find(&bench.memory, VirtAddr::new(BASE)).is_none());
}

#[test]
fn an_area_that_can_not_be_split_loses_nothing() {
    let bench = Bench::new("64K=never");
    bench.map(0, 3, RW);
    bench.fill(0, 3);
    // As many areas as a machine of this size allows.
    let limit = bench.space.layout().read().areas.limit() as u64;
    assert!(limit < mm::vma::MAX_AREAS as u64, "the machine is small");
    for number in 0..limit - 1 {
        let flags = if number % 2 == 0 { FIXED } else { FIXED | MapFlags::NORESERVE };
        let request = MapRequest { address: 0x100_0000_0000 + number * 4096, length: 4096, prot: RW, flags };
        bench.memory.mmap(&bench.space, request).unwrap();
    }
    assert_eq!(bench.memory.munmap(&bench.space, BASE + 4096, 4096), Err(Errno::ENOMEM));
    assert_eq!(bench.protect(1, 1, Prot::READ), Err(Errno::ENOMEM));
    assert_eq!(bench.memory.mmap(&bench.space, request(BASE + 0x10_0000, 1, PRIVATE)), Err(Errno::ENOMEM));
    bench.verify(0, 3);
    bench.unmap(0, 1);
    bench.verify(1, 2);
}
