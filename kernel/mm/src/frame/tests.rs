//! Tests of the frame array and the free lists, against a model that knows each page by itself; and what other tests of this crate
//! need to have a `Memory`.

extern crate std;

use std::collections::BTreeMap;
use std::vec::Vec;

use mmu::host::{Config, Machine};
use mmu::{Door, PAGE_SIZE};

use super::*;
use crate::tlb::Deferred;

/// Numbers that look random and are the same in each run.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Memory management over a simulated machine with this much memory.
pub(crate) fn memory(mebibytes: u64) -> Memory {
    machine(mebibytes, 1).1
}

/// The same where entries are broken on purpose, and no rule of the TLB's shall stop that.
pub(crate) fn memory_to_break(mebibytes: u64) -> Memory {
    build(Config { ram_bytes: mebibytes << 20, strict: false, ..Config::default() }).1
}

/// The same with several CPUs.
pub(crate) fn machine(mebibytes: u64, cpus: usize) -> (Machine, Memory) {
    build(Config { ram_bytes: mebibytes << 20, cpus, ..Config::default() })
}

fn build(config: Config) -> (Machine, Memory) {
    let start = config.ram_start.frame();
    let usable = start..start.add((config.ram_bytes / PAGE_SIZE) as usize);
    let machine = Machine::new(config);
    let memory = Memory::new(Door::simulated(&machine), &[usable]).unwrap();
    (machine, memory)
}

/// Frees a folio that lost its last reference, as nobody has a translation of it.
pub(crate) fn free(memory: &Memory, orphan: Orphan) {
    let mut list = OrphanList::new();
    list.push(memory, orphan);
    Deferred::new().free(memory, &mut list);
}

fn range(start: u64, end: u64) -> Range<Pfn> {
    Pfn::new(start)..Pfn::new(end)
}

fn blocks(counts: &[(usize, usize)]) -> [usize; MAX_ORDER + 1] {
    let mut blocks = [0; MAX_ORDER + 1];
    counts.iter().for_each(|&(order, count)| blocks[order] = count);
    blocks
}

#[test]
fn a_page_costs_32_bytes() {
    assert_eq!(size_of::<Frame>(), 32);
    let frames = Frames::new(&[range(0x40000, 0x44000)]).unwrap();
    assert_eq!(size_of_val(&*frames.frames), 32 * (frames.total() + PADDING));
}

#[test]
fn ranges_are_divided_into_the_largest_aligned_blocks() {
    let frames = Frames::new(&[range(0x40003, 0x40800), range(0x40a00, 0x40a11), range(5, 5)]).unwrap();
    assert_eq!(frames.total(), 0x7fd + 0x11);
    assert_eq!(frames.free_count(), frames.total());
    // From 0x40003: 1, 4, 8, 16, 32, 64, 128, 256 pages, then three whole blocks; and 16 + 1 pages after the hole.
    let expected = blocks(&[(0, 2), (2, 1), (3, 1), (4, 2), (5, 1), (6, 1), (7, 1), (8, 1), (9, 3)]);
    assert_eq!(frames.free_blocks(), expected);
    assert!(frames.contains(Pfn::new(0x40a10)) && !frames.contains(Pfn::new(0x40c00)));
}

#[test]
fn memory_that_starts_at_0_is_divided_too() {
    let frames = Frames::new(&[range(0, 1024)]).unwrap();
    assert_eq!(frames.free_blocks(), blocks(&[(9, 2)]));
}

#[test]
fn a_block_is_split_for_a_folio_and_merged_again() {
    let frames = Frames::new(&[range(0x40000, 0x40200)]).unwrap();
    let folio = frames.alloc(4).unwrap();
    assert_eq!(frames.free_blocks(), blocks(&[(4, 1), (5, 1), (6, 1), (7, 1), (8, 1)]));
    assert_eq!(frames.free_count(), 512 - 16);
    drop(folio);
    assert_eq!(frames.free_blocks(), blocks(&[(9, 1)]));
}

#[test]
fn blocks_do_not_merge_beyond_their_range() {
    let frames = Frames::new(&[range(0x40000, 0x40018)]).unwrap();
    let folios = [frames.alloc(3).unwrap(), frames.alloc(4).unwrap()];
    assert!(frames.alloc(0).is_none());
    drop(folios);
    assert_eq!(frames.free_blocks(), blocks(&[(3, 1), (4, 1)]));
}

#[test]
fn memory_can_be_used_up_page_by_page() {
    let frames = Frames::new(&[range(0x40000, 0x40417)]).unwrap();
    let whole = frames.free_blocks();
    let mut folios = Vec::new();
    while let Some(folio) = frames.alloc(0) {
        folios.push(folio);
    }
    let mut heads: Vec<_> = folios.iter().map(|folio| folio.head().as_u64()).collect();
    heads.sort_unstable();
    assert!(heads.into_iter().eq(0x40000..0x40417));
    assert_eq!(frames.free_count(), 0);
    assert!(frames.alloc(0).is_none() && frames.alloc_table().is_none() && frames.alloc(4).is_none());
    drop(folios);
    assert_eq!(frames.free_blocks(), whole);
}

#[test]
fn what_a_cpu_keeps_is_there_for_large_folios() {
    let frames = Frames::new(&[range(0x40000, 0x40200)]).unwrap();
    drop(frames.alloc(0).unwrap());
    let kept: usize = frames.caches.iter().map(|cache| cache.lock().pages()).sum();
    assert!(kept > 0, "the test needs pages that a CPU keeps");
    let all = frames.alloc(MAX_ORDER).unwrap();
    assert!(frames.alloc(0).is_none());
    drop(all);
    assert!(frames.alloc(0).is_some());
}

#[test]
#[should_panic(expected = "order 1")]
fn there_is_no_folio_of_order_1() {
    let frames = Frames::new(&[range(0x40000, 0x40200)]).unwrap();
    let _ = frames.alloc(1);
}

#[test]
fn every_page_knows_its_folio() {
    let frames = Frames::new(&[range(0x40000, 0x40600)]).unwrap();
    for order in [0, 2, 3, 4, 6, 9] {
        let folio = frames.alloc(order).unwrap();
        assert_eq!((folio.order(), folio.pages(), folio.refs()), (order, 1 << order, 1));
        assert!(folio.head().is_aligned(1 << order));
        for page in 0..folio.pages() {
            assert_eq!(frames.folio_of(folio.page(page)), *folio);
            assert_eq!(folio.index_of(folio.page(page)), page);
        }
        assert!(!folio.contains(folio.head().add(1 << order)) && !folio.contains(Pfn::new(folio.head().as_u64() - 1)));
    }
}

#[test]
fn a_folio_is_as_new_whatever_its_frames_were() {
    let memory = memory(4);
    for order in [9, 4, 0, 6, 2, 9] {
        let folio = memory.alloc_folio(order).unwrap().publish();
        assert_eq!((folio.refs(), folio.mapcount(), folio.mapped_pages()), (1, 0, 0));
        assert_eq!(folio.exclusive_run(0, folio.pages()), (false, folio.pages()));
        assert!(folio.mapping().is_none() && !folio.maybe_pinned() && !folio.is_dirty() && !folio.is_swap_cache());
        folio.set_mapping(crate::rmap::AnonVmaId::from_number(7), 0x123);
        folio.set_exclusive(0, folio.pages());
        folio.set_dirty(true);
        folio.set_active(true);
        folio.add_maps(0, folio.pages());
        folio.remove_maps(0, folio.pages());
        free(&memory, folio.put(1).unwrap());
    }
}

#[test]
fn a_table_has_its_lock_and_comes_back() {
    let memory = memory(2);
    let before = memory.frames.free_count();
    let address = memory.alloc_table().unwrap();
    let word = memory.frames.lock_word(address.frame());
    assert_eq!(word.load(Ordering::Relaxed), 0);
    word.store(1, Ordering::Relaxed);
    word.store(0, Ordering::Relaxed);
    assert_eq!(memory.frames.free_count(), before - 1);
    let mut tables = OrphanList::new();
    tables.push_table(&memory, Table::new(address, 2));
    assert!(!tables.is_empty());
    let back = tables.pop_table(&memory).unwrap();
    assert_eq!(back.address(), address);
    assert!(tables.is_empty() && tables.pop_table(&memory).is_none());
    memory.frames.free_table(Flushed::never_linked(&memory, back));
    assert_eq!(memory.frames.free_count(), before);
}

#[test]
fn orphans_wait_in_a_list_and_leave_the_lru() {
    let memory = memory(4);
    let before = memory.frames.free_count();
    let mut list = OrphanList::new();
    for order in [0, 4, 0, 6] {
        let folio = memory.alloc_folio(order).unwrap().publish();
        folio.set_swap_backed(true);
        memory.lru.add(folio);
        list.push(&memory, folio.put(1).unwrap());
    }
    assert_eq!(memory.lru.size(crate::lru::LruList::InactiveAnon), (0, 0));
    assert_eq!(memory.frames.free_count(), before - 82);
    Deferred::new().free(&memory, &mut list);
    assert_eq!(memory.frames.free_count(), before);
}

#[test]
fn points_of_failure_are_struck() {
    let memory = memory(4);
    memory.inject.fail(Point::LargeFolioAlloc, 0);
    assert!(memory.alloc_folio(0).is_some());
    assert!(memory.alloc_folio(4).is_none());
    assert!(memory.alloc_folio(4).is_some());
    memory.inject.fail(Point::TableAlloc, 0);
    assert!(memory.alloc_table().is_none());
    memory.inject.fail(Point::FolioAlloc, 0);
    assert!(memory.alloc_folio(0).is_none());
}

/// Random allocation and freeing: folios never overlap, are aligned and within the ranges, the free count is exact, and in the end
/// everything has merged again.
#[test]
fn random_allocation_against_a_model() {
    for seed in 1..=20 {
        let usable = [range(0x40001, 0x40a03), range(0x40c10, 0x41000)];
        let frames = Frames::new(&usable).unwrap();
        let whole = frames.free_blocks();
        let mut random = Random(seed * 0x9e37_79b9);
        let mut held: Vec<FreshFolio<'_>> = Vec::new();
        let mut owners: BTreeMap<u64, u64> = BTreeMap::new();
        for _ in 0..3000 {
            let freeing = random.below(100) < if held.len() > 300 { 60 } else { 40 };
            if freeing && !held.is_empty() {
                let folio = held.swap_remove(random.below(held.len()));
                for page in 0..folio.pages() {
                    owners.remove(&folio.page(page).as_u64());
                }
                continue;
            }
            let order = [0, 0, 0, 2, 3, 4, 4, 5, 6, 7, 8, 9][random.below(12)];
            let Some(folio) = frames.alloc(order) else {
                let largest = frames.free_blocks().iter().rposition(|&count| count > 0);
                assert!(largest.is_none_or(|largest| largest < order), "order {order} refused, {largest:?} is free");
                continue;
            };
            assert!(folio.head().is_aligned(1 << order));
            for page in 0..folio.pages() {
                let frame = folio.page(page);
                assert!(usable.iter().any(|range| range.contains(&frame)), "{frame} is not usable");
                assert_eq!(owners.insert(frame.as_u64(), folio.head().as_u64()), None, "{frame} given out twice");
            }
            held.push(folio);
            assert_eq!(frames.free_count(), frames.total() - owners.len());
        }
        held.clear();
        assert_eq!(frames.free_count(), frames.total());
        assert_eq!(frames.free_blocks(), whole);
    }
}

/// CPUs that allocate and free at the same time, each keeping a few for itself.
#[test]
fn cpus_allocate_at_the_same_time() {
    for seed in 0..40 {
        let (machine, memory) = machine(4, 3);
        let before = memory.frames.free_count();
        let work = |cpu: usize| {
            let memory = &memory;
            mmu::host::program(move || {
                let mut random = Random(seed * 3 + cpu as u64 + 1);
                let mut held: Vec<FreshFolio<'_>> = Vec::new();
                for _ in 0..150 {
                    if random.below(2) == 0 && !held.is_empty() {
                        drop(held.swap_remove(random.below(held.len())));
                    } else if let Some(folio) = memory.alloc_folio([0, 0, 2, 3, 4, 6][random.below(6)]) {
                        assert_eq!(folio.refs(), 1);
                        folio.add_maps(0, folio.pages());
                        assert_eq!(folio.mapcount(), folio.pages(), "somebody else has the same folio");
                        folio.remove_maps(0, folio.pages());
                        held.push(folio);
                    }
                }
            })
        };
        machine.run(seed, (0..3).map(work).collect());
        assert_eq!(memory.frames.free_count(), before);
    }
}
