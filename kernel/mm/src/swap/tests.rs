//! Tests of slots, counts, the cache and zero marks, through the calls that the rest of memory management makes.

mod cache;
mod cpus;
mod zero;

extern crate std;

use std::sync::{Arc, Mutex};
use std::vec;
use std::vec::Vec;

use mmu::{Door, Pfn};

use super::*;
use crate::frame::FreshFolio;
use crate::frame::tests::{Random, free, memory};

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

    fn write(&self, door: &Door, slot: usize, frame: Pfn, pages: usize) -> Result<Completion, SwapError> {
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
fn t_p_7_only_odd_slots_free_refuses_a_large_folio() {
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
    memory.swap.for_each_used(|slot| {
        assert!(slot.count == 1 && slot.cached.is_none());
        seen += 1;
    });
    assert_eq!(seen, memory.swap.total() - memory.swap.free_count());
    held.into_iter().for_each(|(entry, pages)| put(&memory, entry, pages));
    assert_eq!(memory.swap.free_count(), memory.swap.total());
}

impl Swap {
    /// Takes a slot into use for nobody, as a defect would.
    pub(crate) fn spoil(&self, entry: SwapEntry) {
        let (mut cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        cluster.spoil(at, 1);
    }

    /// Detaches a folio whose contents do not matter.
    fn detach_clean<'m>(&self, memory: &'m Memory, folio: FolioLock<'m>) -> Orphan {
        folio.set_dirty(false);
        self.detach(memory, folio).unwrap()
    }
}

/// T-RB-15, reference 4.6: counts beyond what the table holds.
#[test]
fn t_rb_15_counts_up_to_a_thousand() {
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

#[test]
fn slots_that_are_refused_leave_no_trace() {
    let (memory, _) = with_swap(16, 512);
    let folio = folio(&memory, 4);
    memory.inject.fail(Point::SwapAlloc, 15);
    assert_eq!(memory.swap.alloc(&memory, &folio), Err(SwapFull));
    assert!(!folio.is_swap_cache() && folio.refs() == 1 && memory.swap.free_count() == 511);
    assert!(memory.swap.alloc(&memory, &folio).is_ok());
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
