//! The audit is seen to fail: each test breaks one thing, and the finding names it. The space never runs, so no TLB minds.

extern crate std;

use alloc::boxed::Box;

use mmu::{CONT_PTES, Descriptor, PAGE_SIZE, Pfn, Slot, VirtAddr};

use super::*;
use crate::fault::Access;
use crate::frame::tests::memory_to_break;
use crate::inject::Point;
use crate::map::{MapFlags, MapRequest};
use crate::rmap;
use crate::space::advice::PAGEOUT;
use crate::swap::RamDevice;
use crate::vma::Prot;

const BASE: VirtAddr = VirtAddr::new(0x55_0080_0000);
/// Two folios of 64 KiB.
const PAGES: usize = 32;
const RW: Prot = Prot::READ.union(Prot::WRITE);
const CONTIGUOUS: u64 = 1 << 52;

/// A space with two folios, folded, every page written; behind them is nothing.
struct Ground {
    memory: Memory,
    space: Arc<Space>,
}

impl Ground {
    fn new() -> Self {
        let memory = memory_to_break(8);
        memory.swap.add_device(Box::new(RamDevice::new(&memory.frames, 512).unwrap())).unwrap();
        memory.policy().parse("thp", "64K=always").unwrap();
        let space = memory.create_space().unwrap();
        let ground = Self { memory, space };
        ground.map(0, PAGES);
        (0..PAGES).step_by(CONT_PTES).for_each(|page| ground.touch(page));
        assert_eq!(ground.audit(), Ok(()));
        ground
    }

    /// The same with the first folio paged out.
    fn swapped() -> Self {
        let ground = Self::new();
        ground.page_out();
        assert_eq!(ground.audit(), Ok(()));
        ground
    }

    /// The same, but the folio is still in the swap cache.
    fn cached() -> Self {
        let ground = Self::new();
        // An empty page would be marked and not written.
        ground.memory.door.write_bytes(ground.folio(0).head().start(), &[1]);
        ground.memory.inject.fail(Point::DeviceWrite, 0);
        ground.page_out();
        assert!(ground.cached_folio().is_swap_cache() && ground.entry(0).is_swap());
        assert_eq!(ground.audit(), Ok(()));
        ground
    }

    fn map(&self, page: usize, pages: usize) {
        let flags = MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED;
        let request = MapRequest { address: at(page).as_u64(), length: pages as u64 * PAGE_SIZE, prot: RW, flags };
        self.memory.mmap(&self.space, request).unwrap();
    }

    fn touch(&self, page: usize) {
        self.memory.fault(&self.space, at(page), Access::Write).unwrap();
    }

    fn page_out(&self) {
        self.memory.madvise(&self.space, BASE.as_u64(), CONT_PTES as u64 * PAGE_SIZE, PAGEOUT).unwrap();
    }

    fn slot(&self, page: usize) -> Slot {
        self.space.tables.find(&self.memory, at(page)).unwrap().slot(at(page))
    }

    fn entry(&self, page: usize) -> Descriptor {
        self.memory.door.load(self.slot(page))
    }

    /// Changes bits of an entry.
    fn change(&self, page: usize, change: impl FnOnce(u64) -> u64) {
        let slot = self.slot(page);
        let entry = self.memory.door.load(slot);
        self.memory.door.swap(slot, Descriptor::from_bits(change(entry.bits())));
    }

    fn folio(&self, page: usize) -> Folio<'_> {
        self.memory.frames.folio_of(self.entry(page).frame())
    }

    /// The slot that the entry of a page names.
    fn named(&self, page: usize) -> SwapEntry {
        SwapEntry::from_descriptor(self.entry(page)).unwrap().entry
    }

    /// The folio that is cached for the first page.
    fn cached_folio(&self) -> Folio<'_> {
        let folio = self.memory.swap.lookup(&self.memory, self.named(0)).unwrap();
        assert!(folio.put(1).is_none());
        folio
    }

    fn audit(&self) -> Result<(), Finding> {
        recount(&self.memory, core::slice::from_ref(&self.space))
    }

    /// The audit finds this broken: the two numbers come with it.
    #[track_caller]
    fn must_find(&self, rule: Rule, what: &str, found: u64, right: u64) {
        let finding = self.audit().expect_err("nothing was found");
        assert_eq!((finding.rule, finding.what, finding.found, finding.right), (rule, what, found, right), "{finding}");
    }
}

fn at(page: usize) -> VirtAddr {
    BASE.add_pages(page)
}

#[test]
fn a_block_that_is_folded_in_part() {
    let ground = Ground::new();
    ground.change(19, |bits| bits & !CONTIGUOUS);
    ground.must_find(Rule::I1, "contiguous entries of a block", 15, 16);
    assert_eq!(ground.audit().unwrap_err().place, Place::Entry(ground.space.id(), at(16)));
}

#[test]
fn a_folded_block_whose_entries_differ() {
    let ground = Ground::new();
    let software = 1 << 58;
    ground.change(5, |bits| bits ^ software);
    let right = ground.entry(5).bits() ^ software;
    let may_differ = 1 << 10 | 1 << 55 | 1 << 7;
    ground.must_find(Rule::I2, "an entry of a contiguous block", (right ^ software) & !may_differ, right & !may_differ);
}

#[test]
fn a_folded_block_that_is_not_aligned() {
    let ground = Ground::new();
    (0..CONT_PTES).for_each(|page| ground.change(page, |bits| bits + PAGE_SIZE));
    ground.must_find(Rule::I2, "a contiguous block is aligned", 0, 1);
}

#[test]
fn a_contiguous_entry_that_is_not_valid() {
    let ground = Ground::new();
    ground.change(7, |bits| bits & !1);
    ground.must_find(Rule::I3, "valid entries of a contiguous block", 15, 16);
}

#[test]
fn a_folded_block_over_several_folios() {
    let ground = Ground::new();
    ground.memory.policy().parse("thp", "64K=never").unwrap();
    ground.map(PAGES, CONT_PTES);
    ground.touch(PAGES);
    let head = Pfn::new(ground.entry(PAGES).frame().as_u64() & !(CONT_PTES as u64 - 1));
    let like = ground.entry(0).bits() & !(0xffff_ffff_f000);
    (0..CONT_PTES).for_each(|page| ground.change(PAGES + page, |_| like | head.add(page).start().as_u64()));
    ground.must_find(Rule::Ms16, "entries of a contiguous block in one folio", 1, 16);
}

#[test]
fn a_swap_entry_with_a_bit_too_many() {
    let ground = Ground::swapped();
    ground.change(3, |bits| bits | 1 << 4 | 1 << 62);
    ground.must_find(Rule::I6, "bits that a swap entry has not", 1 << 4 | 1 << 62, 0);
}

#[test]
fn an_entry_that_is_nothing() {
    let ground = Ground::swapped();
    // Slot 0 is never used.
    ground.change(3, |_| 1 << 6);
    ground.must_find(Rule::Entry, "no swap entry either", 1 << 6, 0);
}

#[test]
fn an_entry_outside_of_any_area() {
    let ground = Ground::new();
    ground.change(PAGES, |_| 1 << 12);
    ground.must_find(Rule::Entry, "outside of any area", 1 << 12, 0);
}

#[test]
fn entries_that_do_not_suit_their_area() {
    let ground = Ground::new();
    let protect = |prot| ground.memory.mprotect(&ground.space, BASE.as_u64(), PAGE_SIZE, prot).unwrap();
    protect(Prot::READ);
    assert_eq!(ground.audit(), Ok(()));
    ground.change(0, |bits| Descriptor::from_bits(bits).make_writable().bits());
    ground.must_find(Rule::Entry, "writable where the area is not", 1, 0);
    protect(RW);
    let read_only = Descriptor::from_bits(ground.entry(0).bits());
    protect(Prot::empty());
    assert_eq!(ground.audit(), Ok(()));
    ground.change(0, |_| read_only.write_protect().bits());
    ground.must_find(Rule::Entry, "valid as the area allows access", 1, 0);
}

#[test]
fn zero_pages_that_are_none() {
    let ground = Ground::new();
    ground.memory.policy().parse("thp", "64K=never").unwrap();
    ground.map(PAGES, 1);
    ground.memory.fault(&ground.space, at(PAGES), Access::Read).unwrap();
    assert!(ground.entry(PAGES).is_special());
    assert_eq!(ground.audit(), Ok(()));
    ground.change(PAGES, |bits| bits + PAGE_SIZE);
    let zero = ground.memory.zero_frame().as_u64();
    ground.must_find(Rule::Entry, "the zero page", zero + 1, zero);
    ground.change(PAGES, |bits| Descriptor::from_bits(bits - PAGE_SIZE).make_writable().bits());
    ground.must_find(Rule::Entry, "writable zero page", 1, 0);
}

#[test]
fn a_frame_that_is_not_memory() {
    let ground = Ground::new();
    ground.map(PAGES, 1);
    ground.change(PAGES, |_| ground.entry(0).bits() & !CONTIGUOUS | 1 << 47);
    ground.must_find(Rule::Entry, "a frame under management", 0, 1);
}

#[test]
fn a_page_that_is_not_where_the_reverse_map_says() {
    let ground = Ground::new();
    let (anon, offset) = ground.folio(0).mapping().unwrap();
    ground.folio(0).set_mapping(anon, offset + 1);
    ground.must_find(Rule::Entry, "page offset in the reverse map", offset + 1, offset);
    let other = rmap::create(&ground.memory).unwrap();
    ground.folio(0).set_mapping(other, offset);
    ground.must_find(Rule::Entry, "found through the reverse map of its page", 0, 1);
}

#[test]
fn exclusive_marks_that_entries_contradict() {
    let ground = Ground::new();
    ground.folio(0).clear_exclusive(4, 1);
    ground.must_find(Rule::Entry, "a writable page is exclusive", 0, 1);
    ground.folio(0).set_exclusive(4, 1);
    let mut maps = alloc::vec![1; CONT_PTES];
    maps[4] = 2;
    let twice = SeenFolio { maps, cached: 0, filed: 0 };
    ground.folio(0).add_maps(4, 1);
    let mut seen = Seen::default();
    seen.folios.insert(ground.folio(0).head(), twice);
    let finding = folios::recount(&ground.memory, &seen).unwrap_err();
    assert_eq!((finding.rule, finding.what), (Rule::Entry, "exclusive and mapped more than once"));
    assert_eq!(finding.place, Place::Page(ground.folio(0).head(), 4));
}

#[test]
fn accounts_of_a_space() {
    let ground = Ground::new();
    ground.space.add_anon(-1);
    ground.must_find(Rule::Ms43, "present pages (ANONPAGES)", 31, 32);
    ground.space.add_anon(1);
    ground.space.add_swap(2);
    ground.must_find(Rule::Ms43, "swap entries (SWAPENTS)", 2, 0);
    assert_eq!(ground.audit().unwrap_err().place, Place::Space(ground.space.id()));
}

#[test]
fn a_space_with_swap_entries_that_swapoff_would_miss() {
    let ground = Ground::swapped();
    let other = ground.memory.create_space().unwrap();
    let flags = MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED;
    let request = MapRequest { address: BASE.as_u64(), length: PAGE_SIZE, prot: RW, flags };
    ground.memory.mmap(&other, request).unwrap();
    other.tables.ensure(&ground.memory, BASE).unwrap();
    let table = other.lock_table(&ground.memory, BASE).unwrap();
    ground.memory.door.store(table.slot(BASE), ground.entry(0));
    drop(table);
    other.add_swap(1);
    let finding = recount(&ground.memory, &[ground.space.clone(), other]).unwrap_err();
    assert_eq!((finding.rule, finding.what), (Rule::Ms43, "on the list for swapoff"));
}

#[test]
fn map_counts() {
    let ground = Ground::new();
    let folio = ground.folio(16);
    folio.add_maps(3, 1);
    ground.must_find(Rule::Ms43, "mapcount", 17, 16);
    folio.remove_maps(5, 1);
    // The sum is right again, and the numbers of single pages are not.
    ground.must_find(Rule::Ms43, "mapped pages", 15, 16);
    folio.add_maps(5, 1);
    folio.remove_maps(3, 1);
    assert_eq!(ground.audit(), Ok(()));
}

#[test]
fn the_map_count_of_a_page() {
    let ground = Ground::new();
    let folio = ground.folio(0);
    let mut maps = alloc::vec![1; CONT_PTES];
    (maps[1], maps[2]) = (2, 2);
    folio.add_maps(1, 1);
    folio.add_maps(3, 1);
    folio.clear_exclusive(0, CONT_PTES);
    let mut seen = Seen::default();
    seen.folios.insert(folio.head(), SeenFolio { maps, cached: 0, filed: 0 });
    let finding = folios::recount(&ground.memory, &seen).unwrap_err();
    assert_eq!((finding.rule, finding.what, finding.found), (Rule::Ms43, "mapcount of a page", 1));
    assert_eq!(finding.place, Place::Page(folio.head(), 2));
}

#[test]
fn references() {
    let ground = Ground::new();
    ground.folio(0).get(1);
    ground.must_find(Rule::Ms43, "references", 17, 16);
}

#[test]
fn references_of_a_cached_folio() {
    let ground = Ground::cached();
    ground.cached_folio().get(1);
    ground.must_find(Rule::Ms43, "references", 17, 16);
}

#[test]
fn swap_counts() {
    let ground = Ground::swapped();
    ground.memory.swap.dup_entries(ground.named(6), 1).unwrap();
    ground.must_find(Rule::Ms43, "swap count", 2, 1);
    assert_eq!(ground.audit().unwrap_err().place, Place::Slot(ground.named(6)));
}

#[test]
fn a_slot_that_leaks() {
    let ground = Ground::swapped();
    let slot = ground.named(6);
    ground.change(6, |_| 0);
    ground.space.add_swap(-1);
    ground.must_find(Rule::Ms43, "swap count", 1, 0);
    assert_eq!(ground.audit().unwrap_err().place, Place::Slot(slot));
}

#[test]
fn a_slot_in_use_for_nobody() {
    let ground = Ground::new();
    ground.memory.swap.spoil(SwapEntry { device: 0, slot: 40 });
    ground.must_find(Rule::Ms43, "in use for an entry or the cache", 0, 1);
}

#[test]
fn an_entry_that_names_a_free_slot() {
    let ground = Ground::swapped();
    let slot = ground.named(9);
    ground.memory.swap.put_entries(&ground.memory, slot, 1, |_| ());
    ground.must_find(Rule::Ms43, "entries of a free slot", 1, 0);
    assert_eq!(ground.audit().unwrap_err().place, Place::Slot(slot));
}

#[test]
fn a_cache_that_its_folio_does_not_know() {
    let ground = Ground::cached();
    let (folio, first) = (ground.cached_folio(), ground.named(0));
    folio.leave_swap_cache();
    ground.must_find(Rule::Ms43, "its folio is in the swap cache", 0, 1);
    folio.enter_swap_cache(first.advance(16));
    let slot = u64::from(first.slot);
    ground.must_find(Rule::Ms43, "the slot that its folio knows", slot + 16, slot);
}

#[test]
fn a_folio_that_thinks_it_is_cached() {
    let ground = Ground::new();
    ground.folio(0).enter_swap_cache(SwapEntry { device: 0, slot: 32 });
    ground.must_find(Rule::Ms43, "slots of a folio in the swap cache", 0, 16);
}

#[test]
fn a_mark_that_an_unmap_forgot() {
    let ground = Ground::cached();
    ground.cached_folio().set_exclusive(2, 1);
    ground.must_find(Rule::Ms45, "marked exclusive while swapped out", 1, 0);
    assert_eq!(ground.audit().unwrap_err().place, Place::Slot(ground.named(2)));
}

#[test]
fn an_exclusive_entry_that_is_not_alone() {
    let ground = Ground::swapped();
    ground.map(PAGES, 1);
    ground.change(PAGES, |_| ground.entry(0).bits());
    ground.memory.swap.dup_entries(ground.named(0), 1).unwrap();
    ground.space.add_swap(1);
    ground.must_find(Rule::Ms45, "entries of an exclusive page", 2, 1);
}

#[test]
fn an_exclusive_entry_of_a_page_that_is_mapped_too() {
    let ground = Ground::cached();
    ground.cached_folio().add_maps(0, 1);
    ground.must_find(Rule::Ms45, "mappings of a page whose swap entry is exclusive", 1, 0);
}

#[test]
fn a_folio_at_rest() {
    let ground = Ground::new();
    assert!(ground.memory.lru.isolate(ground.folio(16)));
    assert!(ground.folio(16).put(1).is_none());
    ground.must_find(Rule::Rest, "on an LRU list", 0, 1);
    // Locked by another CPU: this one could not lock the areas to audit.
    let forgotten = || core::mem::forget(ground.folio(0).lock());
    std::thread::scope(|scope| scope.spawn(forgotten).join()).unwrap();
    ground.must_find(Rule::Rest, "locked", 1, 0);
}

#[test]
fn lazily_freed_folios() {
    let ground = Ground::new();
    ground.folio(0).set_swap_backed(false);
    ground.must_find(Rule::Rest, "on the list of lazily freed memory", 0, 1);
    ground.memory.lru.refile(ground.folio(0));
    assert_eq!(ground.audit(), Ok(()));
    ground.folio(0).set_swap_backed(true);
    ground.must_find(Rule::Rest, "on the list of lazily freed memory", 1, 0);
    let ground = Ground::cached();
    ground.cached_folio().set_swap_backed(false);
    ground.must_find(Rule::Ms43, "lazily freed and in the swap cache", 1, 0);
}
