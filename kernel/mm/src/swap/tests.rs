//! Tests of slots, counts, the cache and zero marks, through the calls that the rest of memory management makes.

extern crate std;

use std::sync::{Arc, Mutex};
use std::vec;
use std::vec::Vec;

use mmu::host::program;
use mmu::{Door, Pfn};

use super::*;
use crate::frame::FreshFolio;
use crate::frame::tests::{Random, free, machine, memory};

/// What a device was asked to do: first slot and pages of each write.
type Writes = Arc<Mutex<Vec<(usize, usize)>>>;

/// A RAM device that remembers what was written to it.
#[derive(Debug)]
struct Watched {
    ram: RamDevice,
    writes: Writes,
}

impl SwapDevice for Watched {
    fn slots(&self) -> usize {
        self.ram.slots()
    }

    fn write(&self, door: &Door, slot: usize, frame: Pfn, pages: usize) -> Result<(), SwapError> {
        self.writes.lock().unwrap().push((slot, pages));
        self.ram.write(door, slot, frame, pages)
    }

    fn read(&self, door: &Door, slot: usize, frame: Pfn, pages: usize) -> Result<(), SwapError> {
        self.ram.read(door, slot, frame, pages)
    }
}

fn with_swap(mebibytes: u64, slots: usize) -> (Memory, Writes) {
    let memory = memory(mebibytes);
    let writes = add_swap(&memory, slots);
    (memory, writes)
}

fn add_swap(memory: &Memory, slots: usize) -> Writes {
    let writes = Writes::default();
    let ram = RamDevice::new(&memory.frames, slots).unwrap();
    memory.swap.add_device(Box::new(Watched { ram, writes: writes.clone() })).unwrap();
    writes
}

/// A locked folio, as reclaim has one: its only reference is the caller's.
fn folio(memory: &Memory, order: usize) -> FolioLock<'_> {
    let folio = memory.alloc_folio(order).unwrap().publish();
    folio.set_swap_backed(true);
    folio.set_uptodate(true);
    folio.set_dirty(true);
    memory.door.clear_pages(folio.head(), folio.pages());
    folio.try_lock().unwrap()
}

fn fill(memory: &Memory, folio: &Folio<'_>, byte: u8) {
    for page in 0..folio.pages() {
        memory.door.write_bytes(folio.page(page).start(), &[byte, page as u8]);
    }
}

fn bytes(memory: &Memory, folio: &Folio<'_>, page: usize) -> [u8; 2] {
    let mut bytes = [0; 2];
    memory.door.read_bytes(folio.page(page).start(), &mut bytes);
    bytes
}

/// Swaps a folio out with `count` entries for each page. Returns its first entry.
fn swap_out(memory: &Memory, folio: FolioLock<'_>, count: usize) -> SwapEntry {
    memory.swap.alloc(memory, &folio).unwrap();
    let entry = folio.swap_entry(0);
    (0..count).for_each(|_| memory.swap.dup(&folio, 0, folio.pages()).unwrap());
    memory.swap.write_out(memory, &folio).unwrap();
    free(memory, memory.swap.detach(memory, folio).unwrap());
    entry
}

fn put(memory: &Memory, entry: SwapEntry, count: usize) {
    memory.swap.put_entries(memory, entry, count, |orphan| free(memory, orphan));
}

fn fresh(memory: &Memory, order: usize) -> FreshFolio<'_> {
    memory.alloc_folio(order).unwrap()
}

/// Reads a folio in. It stays cached and locked.
fn swap_in<'m>(memory: &'m Memory, entry: SwapEntry, order: usize) -> FolioLock<'m> {
    let folio = memory.swap.add_to_cache(memory, entry, fresh(memory, order)).unwrap();
    memory.swap.read_in(memory, &folio).unwrap();
    folio.set_uptodate(true);
    folio
}

#[test]
fn a_folio_that_gets_slots_is_cached() {
    let (memory, _) = with_swap(8, 1024);
    assert_eq!((memory.swap.total(), memory.swap.free_count()), (1023, 1023));
    for order in [4, 0, 9, 2, 4] {
        let pages = 1 << order;
        let Ok(()) = memory.swap.alloc(&memory, &folio(&memory, order)) else { continue };
        let folio = folio(&memory, order);
        if memory.swap.alloc(&memory, &folio).is_err() {
            continue;
        }
        let entry = folio.swap_entry(0);
        assert!(entry.slot != 0 && entry.slot as usize % pages == 0);
        assert!(folio.is_swap_cache());
        assert_eq!((folio.refs(), folio.expected_refs()), (1 + pages, pages));
        for page in 0..pages {
            assert_eq!(folio.swap_entry(page), entry.advance(page));
            assert_eq!(memory.swap.count(entry.advance(page)), 0);
            assert!(memory.swap.is_used(entry.advance(page)) && memory.swap.is_cached(entry.advance(page), 1));
            let found = memory.swap.lookup(&memory, entry.advance(page)).unwrap();
            assert_eq!((found, found.refs()), (folio.folio(), 2 + pages));
            assert!(found.put(1).is_none());
        }
    }
}

#[test]
fn slot_0_is_never_given_out() {
    let (memory, _) = with_swap(8, 512);
    let mut slots: Vec<u32> = Vec::new();
    loop {
        let folio = folio(&memory, 0);
        if memory.swap.alloc(&memory, &folio).is_err() {
            break;
        }
        slots.push(folio.swap_entry(0).slot);
    }
    slots.sort_unstable();
    assert!(slots.into_iter().eq(1..512));
    assert_eq!(memory.swap.free_count(), 0);
}

/// T-P-7, reference 4.8: with only odd slots free a 64K folio finds none.
#[test]
fn only_odd_slots_free_refuses_a_large_folio() {
    let (memory, _) = with_swap(16, 1024);
    let mut entries = Vec::new();
    while memory.swap.free_count() > 0 {
        entries.push(swap_out(&memory, folio(&memory, 0), 1));
    }
    for &entry in entries.iter().filter(|entry| entry.slot % 2 == 1) {
        put(&memory, entry, 1);
    }
    assert_eq!(memory.swap.free_count(), 512);
    let large = folio(&memory, 4);
    assert_eq!(memory.swap.alloc(&memory, &large), Err(SwapFull));
    assert!(!large.is_swap_cache() && large.refs() == 1);
    drop(large);
    for _ in 0..512 {
        assert_eq!(swap_out(&memory, folio(&memory, 0), 1).slot % 2, 1);
    }
    assert_eq!(memory.swap.alloc(&memory, &folio(&memory, 0)), Err(SwapFull));
}

#[test]
fn a_cluster_keeps_its_order_until_it_is_empty() {
    let (memory, _) = with_swap(16, 1024);
    let small = swap_out(&memory, folio(&memory, 0), 1);
    let large = swap_out(&memory, folio(&memory, 4), 1);
    assert_ne!(small.slot / 512, large.slot / 512);
    let page = folio(&memory, 0);
    assert_eq!(memory.swap.alloc(&memory, &folio(&memory, 2)), Err(SwapFull), "both clusters have their order");
    memory.swap.alloc(&memory, &page).unwrap();
    assert_eq!(page.swap_entry(0).slot / 512, small.slot / 512);
    put(&memory, large, 16);
    assert!(memory.swap.alloc(&memory, &folio(&memory, 2)).is_ok(), "the empty cluster takes any order");
}

#[test]
fn slots_last_through_many_turns() {
    let (memory, _) = with_swap(16, 2048);
    let mut random = Random(5);
    let mut held: Vec<(SwapEntry, usize)> = Vec::new();
    for _ in 0..4000 {
        if random.below(2) == 0 && !held.is_empty() {
            let (entry, pages) = held.swap_remove(random.below(held.len()));
            put(&memory, entry, pages);
        } else {
            let order = [0, 0, 2, 4, 4, 5][random.below(6)];
            let folio = folio(&memory, order);
            if memory.swap.alloc(&memory, &folio).is_err() {
                free(&memory, folio.unlock().put(1).unwrap());
                continue;
            }
            let entry = folio.swap_entry(0);
            memory.swap.dup(&folio, 0, 1 << order).unwrap();
            free(&memory, memory.swap.detach_clean(&memory, folio));
            held.push((entry, 1 << order));
        }
        let used: usize = held.iter().map(|&(_, pages)| pages).sum();
        assert_eq!(memory.swap.free_count(), memory.swap.total() - used);
    }
    let mut seen = 0;
    memory.swap.for_each_used(|_, count, cached| {
        assert!(count == 1 && !cached);
        seen += 1;
    });
    assert_eq!(seen, memory.swap.total() - memory.swap.free_count());
    held.into_iter().for_each(|(entry, pages)| put(&memory, entry, pages));
    assert_eq!(memory.swap.free_count(), memory.swap.total());
}

impl Swap {
    /// Detaches a folio whose contents do not matter.
    fn detach_clean<'m>(&self, memory: &'m Memory, folio: FolioLock<'m>) -> Orphan {
        folio.set_dirty(false);
        self.detach(memory, folio).unwrap()
    }
}

/// T-RB-15, reference 4.6: counts beyond what the table holds.
#[test]
fn counts_up_to_a_thousand() {
    let (memory, _) = with_swap(8, 1024);
    let entry = swap_out(&memory, folio(&memory, 4), 1);
    for count in 1..1000 {
        assert_eq!(memory.swap.count(entry), count);
        memory.swap.dup_entries(entry, 16).unwrap();
    }
    assert!((0..16).all(|page| memory.swap.count(entry.advance(page)) == 1000));
    for page in [3, 3, 15] {
        put(&memory, entry.advance(page), 1);
    }
    let counts = [2, 3, 15].map(|page| memory.swap.count(entry.advance(page)));
    assert_eq!(counts, [1000, 998, 999]);
    (0..998).for_each(|_| put(&memory, entry, 16));
    assert_eq!(memory.swap.free_count(), 1023 - 15);
    put(&memory, entry, 3);
    put(&memory, entry, 3);
    put(&memory, entry.advance(4), 11);
    put(&memory, entry.advance(4), 12);
    assert_eq!(memory.swap.free_count(), 1023);
}

#[test]
fn entries_of_free_slots_are_refused() {
    let (memory, _) = with_swap(8, 1024);
    let entry = swap_out(&memory, folio(&memory, 4), 1);
    put(&memory, entry.advance(7), 1);
    assert_eq!(memory.swap.dup_entries(entry, 16), Err(DupError::Unused));
    assert!((0..16).all(|page| memory.swap.count(entry.advance(page)) == usize::from(page != 7)));
}

/// Reference 4.9: the last count of a cached slot does not free it.
#[test]
fn a_cached_slot_outlives_its_count() {
    let (memory, _) = with_swap(8, 1024);
    let folio = folio(&memory, 4);
    memory.swap.alloc(&memory, &folio).unwrap();
    let entry = folio.swap_entry(0);
    memory.swap.dup(&folio, 0, 16).unwrap();
    memory.swap.put(&folio, 0, 16);
    assert!((0..16).all(|page| memory.swap.is_used(entry.advance(page))));
    memory.swap.dup(&folio, 4, 12).unwrap();
    folio.set_dirty(false);
    free(&memory, memory.swap.detach(&memory, folio).unwrap());
    assert!((0..16).all(|page| memory.swap.is_used(entry.advance(page)) == (page >= 4)));
    assert!(memory.swap.lookup(&memory, entry.advance(5)).is_none());
}

#[test]
fn a_folio_in_use_or_dirty_is_not_detached() {
    let (memory, _) = with_swap(8, 1024);
    let folio = folio(&memory, 4);
    memory.swap.alloc(&memory, &folio).unwrap();
    let folio = memory.swap.detach(&memory, folio).unwrap_err();
    assert!(folio.is_swap_cache() && folio.refs() == 17, "it is dirty");
    folio.set_dirty(false);
    folio.get(1);
    let folio = memory.swap.detach(&memory, folio).unwrap_err();
    assert!(folio.is_swap_cache() && folio.refs() == 18, "somebody has a reference");
    assert!(folio.put(1).is_none());
    free(&memory, memory.swap.detach(&memory, folio).unwrap());
    assert_eq!(memory.swap.free_count(), 1023);
}

/// Reference 4.9: folio_free_swap.
#[test]
fn a_folio_leaves_the_cache_when_no_entry_names_it() {
    let (memory, _) = with_swap(8, 1024);
    let folio = folio(&memory, 4);
    assert!(!memory.swap.free_if_unused(&memory, &folio), "it is not cached");
    memory.swap.alloc(&memory, &folio).unwrap();
    let entry = folio.swap_entry(0);
    memory.swap.dup(&folio, 9, 1).unwrap();
    folio.set_dirty(false);
    assert!(!memory.swap.free_if_unused(&memory, &folio), "page 9 has an entry");
    memory.swap.put(&folio, 9, 1);
    folio.set_writeback(true);
    assert!(!memory.swap.free_if_unused(&memory, &folio), "it is being written");
    folio.set_writeback(false);
    assert!(memory.swap.free_if_unused(&memory, &folio));
    assert!(folio.is_dirty() && !folio.is_swap_cache());
    assert_eq!((folio.refs(), memory.swap.free_count()), (1, 1023));
    assert!(!memory.swap.is_used(entry));
}

#[test]
fn data_comes_back() {
    let (memory, writes) = with_swap(16, 1024);
    let folio = folio(&memory, 4);
    fill(&memory, &folio, 0xa5);
    let entry = swap_out(&memory, folio, 1);
    assert_eq!(*writes.lock().unwrap(), [(entry.slot as usize, 16)]);
    assert_eq!(memory.swap.zero_run(entry, 16), Some(false));
    // Page by page, then as one.
    for page in [0, 7, 15] {
        let one = swap_in(&memory, entry.advance(page), 0);
        assert_eq!(bytes(&memory, &one, 0), [0xa5, page as u8]);
        assert!(!one.is_dirty());
        memory.swap.remove_from_cache(&one);
        assert!(one.put(1).is_none());
    }
    let all = swap_in(&memory, entry, 4);
    assert!((0..16).all(|page| bytes(&memory, &all, page) == [0xa5, page as u8]));
    memory.swap.put(&all, 0, 16);
    assert!(memory.swap.free_if_unused(&memory, &all));
    assert_eq!(memory.swap.free_count(), 1023);
}

/// T-S-24, T-I-8: nothing is written or read of a folio that is zero.
#[test]
fn a_zero_folio_is_marked_instead_of_written() {
    let (memory, writes) = with_swap(16, 1024);
    let entry = swap_out(&memory, folio(&memory, 4), 1);
    assert!(writes.lock().unwrap().is_empty());
    assert_eq!(memory.swap.zero_run(entry, 16), Some(true));
    assert_eq!(memory.count().pages_zero_marked.get(), 16);
    memory.inject.arm(Point::DeviceRead, 0, crate::inject::Times::Always);
    let fresh = fresh(&memory, 4);
    fill(&memory, &fresh, 0xff);
    let folio = memory.swap.add_to_cache(&memory, entry, fresh).unwrap();
    memory.swap.read_in(&memory, &folio).unwrap();
    assert!(memory.door.pages_are_zero(folio.head(), 16));
}

#[test]
fn one_byte_in_the_last_page_makes_a_folio_not_zero() {
    let (memory, writes) = with_swap(16, 1024);
    let folio = folio(&memory, 4);
    memory.door.write_bytes(folio.page(15).start().add_bytes(4095), &[1]);
    swap_out(&memory, folio, 1);
    assert_eq!(writes.lock().unwrap().len(), 1);
}

/// M37, reference 4.8: a zero mark does not outlive the slot's use.
#[test]
fn zero_marks_go_when_slots_are_used_again() {
    let (memory, _) = with_swap(16, 512);
    let mut starts = Vec::new();
    for byte in [0, 0xee] {
        let mut entries = Vec::new();
        while memory.swap.free_count() > 15 {
            let folio = folio(&memory, 4);
            fill(&memory, &folio, byte);
            if byte == 0 {
                memory.door.clear_pages(folio.head(), 16);
            }
            entries.push(swap_out(&memory, folio, 1));
        }
        for &entry in &entries {
            assert_eq!(memory.swap.zero_run(entry, 16), Some(byte == 0));
            let folio = swap_in(&memory, entry, 4);
            assert_eq!(bytes(&memory, &folio, 3)[0], byte);
            memory.swap.put(&folio, 0, 16);
            assert!(memory.swap.free_if_unused(&memory, &folio));
            free(&memory, folio.unlock().put(1).unwrap());
        }
        entries.sort();
        starts.push(entries);
    }
    assert_eq!(starts[0], starts[1]);
}

/// The same for a folio that kept its slots between two writes.
#[test]
fn zero_marks_follow_what_was_written_last() {
    let (memory, writes) = with_swap(16, 512);
    let folio = folio(&memory, 4);
    memory.swap.alloc(&memory, &folio).unwrap();
    let entry = folio.swap_entry(0);
    assert_eq!(memory.swap.write_out(&memory, &folio), Ok(Written::Zero));
    assert!(!folio.is_dirty());
    fill(&memory, &folio, 3);
    assert_eq!(memory.swap.write_out(&memory, &folio), Ok(Written::Device));
    assert_eq!(memory.swap.zero_run(entry, 16), Some(false));
    memory.door.clear_pages(folio.head(), 16);
    assert_eq!(memory.swap.write_out(&memory, &folio), Ok(Written::Zero));
    assert_eq!((memory.swap.zero_run(entry, 16), writes.lock().unwrap().len()), (Some(true), 1));
}

#[test]
fn marks_that_differ_are_no_run() {
    let (memory, _) = with_swap(16, 512);
    let zero = swap_out(&memory, folio(&memory, 0), 1);
    let data = folio(&memory, 0);
    fill(&memory, &data, 9);
    let data = swap_out(&memory, data, 1);
    assert_eq!(data.slot, zero.slot + 1);
    assert_eq!(memory.swap.zero_run(zero, 2), None);
    assert_eq!((memory.swap.zero_run(zero, 1), memory.swap.zero_run(data, 1)), (Some(true), Some(false)));
}

#[test]
fn a_device_that_fails_leaves_the_folio_dirty() {
    let (memory, _) = with_swap(16, 512);
    let folio = folio(&memory, 4);
    fill(&memory, &folio, 1);
    memory.swap.alloc(&memory, &folio).unwrap();
    memory.inject.fail(Point::DeviceWrite, 0);
    assert_eq!(memory.swap.write_out(&memory, &folio), Err(SwapError));
    assert!(folio.is_dirty());
    assert_eq!(memory.swap.write_out(&memory, &folio), Ok(Written::Device));
    assert!(!folio.is_dirty());
    memory.inject.fail(Point::DeviceRead, 0);
    assert_eq!(memory.swap.read_in(&memory, &folio), Err(SwapError));
}

#[test]
fn slots_that_are_refused_leave_no_trace() {
    let (memory, _) = with_swap(16, 512);
    let folio = folio(&memory, 4);
    memory.inject.fail(Point::SwapAlloc, 15);
    assert_eq!(memory.swap.alloc(&memory, &folio), Err(SwapFull));
    assert!(!folio.is_swap_cache() && folio.refs() == 1 && memory.swap.free_count() == 511);
    assert!(memory.swap.alloc(&memory, &folio).is_ok());
}

/// T-Z-3 and reference 4.11.
#[test]
fn putting_entries_frees_slots_over_clusters() {
    let (memory, _) = with_swap(16, 1536);
    let mut entries = Vec::new();
    while let Ok(folio) = {
        let folio = folio(&memory, 4);
        memory.swap.alloc(&memory, &folio).map(|()| folio)
    } {
        memory.swap.dup(&folio, 0, 16).unwrap();
        entries.push(folio.swap_entry(0));
        free(&memory, memory.swap.detach_clean(&memory, folio));
    }
    entries.sort();
    assert_eq!((entries.len(), entries[0].slot), (95, 16));
    put(&memory, entries[0], 95 * 16);
    assert_eq!(memory.swap.free_count(), 1535);
}

/// Reference 4.11: a cached folio whose last entry goes is dropped from the cache, and freed if nothing else holds it.
#[test]
fn putting_the_last_entry_drops_the_cached_folio() {
    let (memory, _) = with_swap(16, 512);
    let before = memory.frames.free_count();
    let folio = folio(&memory, 4);
    memory.swap.alloc(&memory, &folio).unwrap();
    let entry = folio.swap_entry(0);
    memory.swap.dup(&folio, 0, 16).unwrap();
    put(&memory, entry, 8);
    assert!(folio.is_swap_cache(), "it is locked, and has entries left");
    let folio = folio.unlock();
    put(&memory, entry.advance(8), 4);
    assert!(folio.is_swap_cache(), "it has entries left");
    memory.lru.add(folio);
    assert!(folio.put(1).is_none());
    put(&memory, entry.advance(12), 4);
    assert_eq!((memory.swap.free_count(), memory.frames.free_count()), (511, before));
    assert_eq!(memory.lru.size(crate::lru::LruList::InactiveAnon), (0, 0));
}

#[test]
fn a_mapped_folio_stays_cached_when_its_last_entry_goes() {
    let (memory, _) = with_swap(16, 512);
    let folio = folio(&memory, 4);
    memory.swap.alloc(&memory, &folio).unwrap();
    let entry = folio.swap_entry(0);
    memory.swap.dup(&folio, 0, 16).unwrap();
    folio.add_maps(0, 16);
    let folio = folio.unlock();
    put(&memory, entry, 16);
    assert!(folio.is_swap_cache() && memory.swap.count(entry) == 0);
}

#[test]
fn two_folios_are_never_cached_for_one_slot() {
    let (memory, _) = with_swap(16, 512);
    let entry = swap_out(&memory, folio(&memory, 4), 1);
    let before = memory.frames.free_count();
    let one = memory.swap.add_to_cache(&memory, entry.advance(6), fresh(&memory, 0)).unwrap();
    assert!(!one.is_uptodate() && one.is_locked() && one.refs() == 2);
    assert!(memory.swap.add_to_cache(&memory, entry, fresh(&memory, 4)).is_err());
    assert!(memory.swap.add_to_cache(&memory, entry.advance(6), fresh(&memory, 0)).is_err());
    assert!(memory.swap.add_to_cache(&memory, entry.advance(2), fresh(&memory, 2)).is_err(), "not aligned");
    assert!(memory.swap.add_to_cache(&memory, entry.advance(16), fresh(&memory, 0)).is_err(), "no entry names it");
    assert_eq!(memory.frames.free_count(), before - 1);
    assert!(memory.swap.is_cached(entry, 16) && !memory.swap.is_cached(entry, 6));
}

/// Reference 4.20: the parts of a cached folio have its slots in their order.
#[test]
fn parts_of_a_split_keep_their_slots() {
    let (memory, _) = with_swap(16, 1024);
    for (order, into) in [(4, 0), (4, 2), (9, 4)] {
        let pages = 1 << order;
        let folio = folio(&memory, order);
        fill(&memory, &folio, 0x40 + order as u8);
        memory.swap.alloc(&memory, &folio).unwrap();
        let entry = folio.swap_entry(0);
        memory.swap.dup(&folio, 0, pages).unwrap();
        let mut parts = vec![folio.folio()];
        let done = crate::folio::split::split(&memory, &folio, into, 1, |part| parts.push(part), |_| unreachable!());
        assert!(done && folio.unlock() == parts[0]);
        for page in 0..pages {
            let part = memory.swap.lookup(&memory, entry.advance(page)).unwrap();
            assert_eq!((part, part.order()), (parts[page >> into], into));
            assert_eq!(part.swap_entry(page % part.pages()), entry.advance(page));
            assert!(part.put(1).is_none());
        }
        // Each goes its own way.
        for (number, part) in parts.into_iter().enumerate() {
            if number > 0 {
                part.get(1);
            }
            let part = part.try_lock().unwrap();
            memory.swap.write_out(&memory, &part).unwrap();
            free(&memory, memory.swap.detach(&memory, part).unwrap());
        }
        let back = swap_in(&memory, entry, order);
        assert!((0..pages).all(|page| bytes(&memory, &back, page) == [0x40 + order as u8, page as u8]));
        memory.swap.put(&back, 0, pages);
        assert!(memory.swap.free_if_unused(&memory, &back));
        free(&memory, back.unlock().put(1).unwrap());
        assert_eq!(memory.swap.free_count(), 1023);
    }
}

#[test]
fn the_next_device_is_used_when_one_is_full() {
    let (memory, _) = with_swap(16, 64);
    add_swap(&memory, 64);
    let devices: Vec<u8> = (0..6)
        .map(|_| {
            let entry = swap_out(&memory, folio(&memory, 4), 1);
            assert_eq!(memory.swap.count(entry), 1);
            entry.device
        })
        .collect();
    assert_eq!(devices, [0, 0, 0, 1, 1, 1]);
    assert_eq!(memory.swap.alloc(&memory, &folio(&memory, 4)), Err(SwapFull));
}

#[test]
fn no_device_is_no_slot() {
    let memory = memory(4);
    assert_eq!(memory.swap.alloc(&memory, &folio(&memory, 0)), Err(SwapFull));
    assert_eq!((memory.swap.total(), memory.swap.free_count()), (0, 0));
}

#[test]
fn a_ram_device_that_does_not_fit_takes_nothing() {
    let memory = memory(4);
    let before = memory.frames.free_count();
    assert_eq!(RamDevice::new(&memory.frames, 2048).unwrap_err(), Errno::ENOMEM);
    assert_eq!(memory.frames.free_count(), before);
}

/// CPUs that swap folios out and in, share and drop entries, at the same time.
#[test]
fn cpus_swap_at_the_same_time() {
    for seed in 0..60 {
        let (machine, memory) = machine(16, 3);
        let slots = 2047;
        add_swap(&memory, slots + 1);
        let before = memory.frames.free_count();
        let work = |cpu: usize| {
            let memory = &memory;
            program(move || {
                let mut random = Random(seed * 7 + cpu as u64 + 1);
                for turn in 0..12 {
                    let order = [0, 2, 4, 4][random.below(4)];
                    let pages = 1 << order;
                    let mark = (cpu * 16 + turn) as u8 + 1;
                    let out = folio(memory, order);
                    fill(memory, &out, mark);
                    let entry = swap_out(memory, out, 2);
                    put(memory, entry, pages);
                    let back = swap_in(memory, entry, order);
                    assert!((0..pages).all(|page| bytes(memory, &back, page) == [mark, page as u8]));
                    assert!((0..pages).all(|page| memory.swap.count(entry.advance(page)) == 1));
                    memory.swap.put(&back, 0, pages);
                    assert!(memory.swap.free_if_unused(memory, &back));
                    free(memory, back.unlock().put(1).unwrap());
                }
            })
        };
        machine.run(seed, (0..3).map(work).collect());
        assert_eq!((memory.swap.free_count(), memory.frames.free_count()), (slots, before));
    }
}

/// Two CPUs fault on entries of the same slots: one reads, the other finds it, and both leave through the last count.
#[test]
fn cpus_meet_in_the_cache() {
    let mut left_over = 0;
    for seed in 0..200 {
        let (machine, memory) = machine(8, 2);
        add_swap(&memory, 512);
        let before = memory.frames.free_count();
        let out = folio(&memory, 4);
        fill(&memory, &out, 0x77);
        let entry = swap_out(&memory, out, 2);
        let work = |_| {
            let memory = &memory;
            program(move || {
                loop {
                    if let Some(found) = memory.swap.lookup(memory, entry) {
                        let found = found.lock();
                        let cached = found.is_swap_cache() && found.swap_entry(0) == entry;
                        if cached {
                            assert!(found.is_uptodate() && bytes(memory, &found, 5) == [0x77, 5]);
                        }
                        leave(memory, found.unlock());
                        if cached {
                            break;
                        }
                    } else if let Ok(read) = memory.swap.add_to_cache(memory, entry, fresh(memory, 4)) {
                        memory.swap.read_in(memory, &read).unwrap();
                        read.set_uptodate(true);
                        leave(memory, read.unlock());
                        break;
                    }
                }
                put(memory, entry, 16);
            })
        };
        machine.run(seed, (0..2).map(work).collect());
        // Who lowered the last count may have found the folio locked: it is left for reclaim then.
        if let Some(left) = memory.swap.lookup(&memory, entry) {
            left_over += 1;
            assert_eq!(memory.swap.count(entry), 0);
            let left = left.lock();
            assert!(memory.swap.free_if_unused(&memory, &left));
            leave(&memory, left.unlock());
        }
        assert_eq!((memory.swap.free_count(), memory.frames.free_count()), (511, before), "seed {seed}");
    }
    assert!(left_over < 50, "{left_over} of 200 runs left a folio behind");
}

fn leave(memory: &Memory, folio: Folio<'_>) {
    if let Some(orphan) = folio.put(1) {
        free(memory, orphan);
    }
}
