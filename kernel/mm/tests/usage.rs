//! What programs see of their memory through files: sums of areas, words of pagemap, and the counters for each folio size.

mod common;

use common::{BASE, Bench, RW, swapped};
use mm::count::SizeCounters;
use mm::inject::Point;
use mm::map::{MapFlags, MapRequest};
use mm::space::advice;
use mm::usage::Usage;
use mm::vma::Area;
use mmu::VirtAddr;

fn usage(bench: &Bench, page: u64, pages: u64) -> Usage {
    bench.memory.usage(&bench.space, bench.at(page), bench.at(page + pages))
}

fn words(bench: &Bench, page: u64, pages: usize) -> Vec<u64> {
    let mut words = vec![1; pages];
    bench.memory.pagemap(&bench.space, VirtAddr::new(BASE + page * 4096), &mut words);
    words
}

fn of_size(bench: &Bench, order: usize, name: &str) -> u64 {
    let index = SizeCounters::NAMES.iter().position(|&known| known == name).expect("a counter");
    bench.memory.count_size_all(order)[index]
}

const WHOLE: u64 = 4096 << 12;

#[test]
fn sums_are_those_of_the_entries() {
    let bench = Bench::new("64K=always");
    bench.map(0, 64, RW);
    bench.fill(0, 32);
    bench.read(40).unwrap();
    let expected = Usage {
        resident: 32,
        anonymous: 32,
        proportional: 32 * WHOLE,
        proportional_dirty: 32 * WHOLE,
        private_dirty: 32,
        referenced: 32,
        ..Usage::default()
    };
    assert_eq!(usage(&bench, 0, 64), expected);
    bench.advise(0, 16, advice::PAGEOUT).unwrap();
    let now = usage(&bench, 0, 64);
    assert_eq!((now.resident, now.swapped, now.swapped_proportional), (16, 16, 16 * WHOLE));
    assert_eq!(usage(&bench, 16, 3).resident, 3);
}

/// T-P-3: what VmRSS and VmSwap say is what a walk finds.
#[test]
fn t_p_3_accounts_equal_a_recount() {
    let bench = Bench::new("64K=always");
    bench.map(0, 600, RW);
    let check = || {
        let now = usage(&bench, 0, 600);
        assert_eq!(now.resident as i64, bench.space.anon_pages());
        assert_eq!(now.swapped as i64, bench.space.swap_entries());
        assert_eq!(now.shared_clean + now.shared_dirty + now.private_clean + now.private_dirty, now.resident);
    };
    bench.fill(0, 600);
    check();
    bench.advise(100, 300, advice::PAGEOUT).unwrap();
    check();
    bench.advise(90, 40, advice::DONTNEED).unwrap();
    bench.read(200).unwrap();
    check();
    let child = bench.memory.fork_space(&bench.space).unwrap();
    check();
    assert_eq!(usage(&bench, 0, 50).proportional, 25 * WHOLE);
    bench.advise(420, 64, advice::FREE).unwrap();
    bench.unmap(300, 111);
    check();
    bench.memory.destroy_space(&child);
    check();
}

#[test]
fn pagemap_words() {
    let bench = swapped("64K=always", 16);
    let entry = bench.entry(3);
    let slot = entry.bits() >> 12 & 0xFFFF_FFFF;
    assert_eq!(words(&bench, 3, 1), [1 << 62 | slot << 5]);
    bench.read(3).unwrap();
    let frame = bench.frame(3).frame().as_u64();
    assert_eq!(words(&bench, 2, 3), [frame - 1, frame, frame + 1].map(|frame| 1 << 63 | 1 << 56 | frame));
    let child = bench.memory.fork_space(&bench.space).unwrap();
    assert_eq!(words(&bench, 3, 1), [1 << 63 | frame]);
    bench.memory.destroy_space(&child);
    bench.advise(0, 16, advice::DONTNEED).unwrap();
    assert_eq!(words(&bench, 0, 1024), [0; 1024]);
    bench.read(0).unwrap();
    assert_eq!(words(&bench, 0, 1), [1 << 63 | bench.memory.zero_frame().as_u64()]);
}

/// smaps of a memory file: what is in swap counts wherever it is shared, and where no copy hides it; mincore sees what nothing maps.
#[test]
fn pages_of_files_are_seen_where_they_are() {
    let bench = Bench::new("64K=always");
    let file = bench.memory.open_file(64 * 4096).unwrap();
    let map = |page: u64, kind: MapFlags| {
        let address = BASE + page * 4096;
        let request = MapRequest { address, length: 64 * 4096, prot: RW, flags: kind | MapFlags::FIXED };
        bench.memory.mmap_file(&bench.space, request, &file, 0).unwrap();
        *bench.space.layout().read().areas.find(VirtAddr::new(address)).unwrap()
    };
    let (shared, private) = (map(0, MapFlags::SHARED), map(512, MapFlags::PRIVATE));
    bench.fill(0, 48);
    bench.advise(0, 32, advice::PAGEOUT).unwrap();
    bench.advise(32, 16, advice::DONTNEED).unwrap();
    bench.write(512 + 33, 1).unwrap();
    let resident = |area: &Area, page: u64| {
        let mut pages = [9; 64];
        bench.memory.resident_of(&bench.space, area, bench.at(page), &mut pages);
        pages
    };
    let wanted: [u8; 64] = std::array::from_fn(|page| u8::from((32..48).contains(&page)));
    assert_eq!((resident(&shared, 0), resident(&private, 512)), (wanted, wanted));
    assert_eq!(words(&bench, 0, 32), [0; 32], "pagemap does not know where a file has its pages");
    // A copy of a page that the file has in swap afterwards.
    bench.write(512 + 3, 1).unwrap();
    bench.verify(0, 1);
    bench.advise(0, 32, advice::PAGEOUT).unwrap();
    let of = |area| bench.memory.usage_of(&bench.space, &area);
    let (of_shared, of_private) = (of(shared), of(private));
    assert_eq!((of_shared.swapped, of_shared.swapped_proportional, of_shared.resident), (32, 0, 0));
    assert_eq!((of_private.swapped, of_private.anonymous), (31, 2));
    assert_eq!((bench.space.swap_entries(), bench.memory.files.swapped()), (0, 32));
}

/// Bad memory is on its way from nowhere, and hides what the file has.
#[test]
fn bad_memory_is_seen() {
    let bench = Bench::new("64K=never");
    let file = bench.memory.open_file(2 * 4096).unwrap();
    let request = MapRequest { address: BASE, length: 2 * 4096, prot: RW, flags: MapFlags::PRIVATE | MapFlags::FIXED };
    bench.memory.mmap_file(&bench.space, request, &file, 0).unwrap();
    file.write(0, &[1; 2 * 4096]).unwrap();
    bench.write(0, 7).unwrap();
    let frame = bench.frame(0).frame();
    bench.advise(0, 1, advice::HWPOISON).unwrap();
    // Linux's number for bad memory in place of a device's, and the frame as the slot.
    assert_eq!(words(&bench, 0, 2), [1 << 62 | frame.as_u64() << 5 | 24, 0]);
    bench.memory.shrink(2);
    assert_eq!(file.swapped_pages(), 2);
    let area = *bench.space.layout().read().areas.find(bench.at(0)).unwrap();
    let mut pages = [9; 2];
    bench.memory.resident_of(&bench.space, &area, bench.at(0), &mut pages);
    assert_eq!((pages, bench.memory.usage_of(&bench.space, &area).swapped), ([1, 0], 1));
}

#[test]
fn a_look_changes_nothing_in_tables_and_flushes_nothing() {
    let bench = Bench::new("64K=always");
    bench.map(0, 64, RW);
    bench.fill(0, 64);
    let before = bench.shape(0, 64);
    let events = bench.memory.door.events();
    let changes =
        || [&events.swaps, &events.stores, &events.exchanges, &events.dsb[0], &events.dsb[1]].map(|it| it.get());
    let counted = changes();
    let _ = (usage(&bench, 0, 64), words(&bench, 0, 64));
    assert_eq!((changes(), bench.shape(0, 64)), (counted, before));
}

/// T-P-2: the counters for each size move as they should.
#[test]
fn t_p_2_counters_of_sizes() {
    let bench = Bench::new("64K=always");
    let order = 4;
    let anonymous = || bench.memory.lru.census(&bench.memory.frames).folios[order];
    bench.map(0, 256, RW);
    bench.fill(0, 64);
    assert_eq!((of_size(&bench, order, "anon_fault_alloc"), anonymous()), (4, 4));
    bench.memory.inject.fail(Point::LargeFolioAlloc, 0);
    bench.fill(64, 1);
    assert_eq!(of_size(&bench, order, "anon_fault_fallback"), 1);
    bench.advise(0, 32, advice::PAGEOUT).unwrap();
    assert_eq!((of_size(&bench, order, "swpout"), anonymous()), (2, 2));
    bench.read(0).unwrap();
    assert_eq!((of_size(&bench, order, "swpin"), anonymous()), (1, 3));
    bench.memory.inject.fail(Point::LargeFolioAlloc, 0);
    bench.read(16).unwrap();
    assert_eq!(of_size(&bench, order, "swpin_fallback"), 1);
    // A hole makes a folio mapped in part, which waits to be split; page-out splits it at once, and what is left goes page by page.
    let splits = || {
        let waiting = bench.memory.deferred.of_order(&bench.memory.frames, order);
        (of_size(&bench, order, "split_deferred"), waiting, of_size(&bench, order, "split"))
    };
    assert_eq!((splits(), anonymous()), ((0, 0, 0), 3));
    bench.advise(32, 4, advice::DONTNEED).unwrap();
    assert_eq!((splits(), anonymous()), ((1, 1, 0), 3));
    bench.advise(32, 16, advice::PAGEOUT).unwrap();
    assert_eq!((splits(), anonymous()), ((1, 0, 1), 2));
    assert_eq!((of_size(&bench, order, "swpout"), of_size(&bench, 0, "swpout")), (2, 12));
    bench.memory.inject.fail(Point::SwapAlloc, 0);
    bench.advise(48, 16, advice::PAGEOUT).unwrap();
    assert_eq!((of_size(&bench, order, "swpout_fallback"), splits(), anonymous()), (1, (1, 0, 2), 1));
    let all = SizeCounters::NAMES.iter().map(|name| of_size(&bench, order, name)).collect::<Vec<_>>();
    assert_eq!(all, [4, 1, 2, 1, 1, 1, 2, 0, 1], "{:?}", SizeCounters::NAMES);
    bench.audit();
}
