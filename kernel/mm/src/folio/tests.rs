//! Tests of references, map counts, exclusive marks, pins, locks and splitting.

extern crate std;

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::frame::tests::{Random, free, memory};
use crate::memory::Memory;

fn folio(memory: &Memory, order: usize) -> Folio<'_> {
    let folio = memory.alloc_folio(order).unwrap().publish();
    folio.set_swap_backed(true);
    folio.set_uptodate(true);
    folio
}

#[test]
fn the_last_reference_makes_an_orphan() {
    let memory = memory(4);
    let before = memory.frames.free_count();
    let folio = folio(&memory, 4);
    folio.get(15);
    assert_eq!(folio.refs(), 16);
    assert!(folio.put(15).is_none());
    let orphan = folio.put(1).unwrap();
    assert!(!folio.try_get(), "nobody gets a reference to a folio that has none");
    assert_eq!(memory.frames.free_count(), before - 16, "an orphan is not free before a flush");
    free(&memory, orphan);
    assert_eq!(memory.frames.free_count(), before);
}

#[test]
fn references_are_frozen_only_as_expected() {
    let memory = memory(4);
    let folio = folio(&memory, 4);
    folio.get(16);
    assert!(!folio.freeze(16) && !folio.freeze(18));
    assert_eq!(folio.refs(), 17);
    assert!(folio.freeze(17));
    assert!(!folio.try_get());
    folio.unfreeze(17);
    assert!(folio.try_get());
    assert_eq!(folio.refs(), 18);
}

#[test]
fn mappings_and_references_that_are_expected() {
    let memory = memory(4);
    let folio = folio(&memory, 4);
    assert_eq!(folio.expected_refs(), 0);
    folio.add_maps(0, 16);
    folio.add_maps(3, 2);
    assert_eq!(folio.expected_refs(), 18);
}

/// Map counts of a folio of one page and of larger ones, mapped and unmapped in random runs, against counts of each page.
#[test]
fn map_counts_against_a_recount() {
    let memory = memory(16);
    for (seed, order) in (1..).zip([0, 2, 3, 4, 4, 5, 6, 9]) {
        let folio = folio(&memory, order);
        let pages = folio.pages();
        let mut random = Random(seed * 77777);
        // Each mapper maps some run of pages, as a space does.
        let mut mappers: Vec<(usize, usize)> = Vec::new();
        let mut maps = vec![0usize; pages];
        for _ in 0..2000 {
            let first = if random.below(3) > 0 { 0 } else { random.below(pages) };
            let count = if first == 0 && random.below(2) > 0 { pages } else { 1 + random.below(pages - first) };
            if mappers.len() < 6 && random.below(2) > 0 {
                let fresh = maps[first..first + count].iter().filter(|&&maps| maps == 0).count();
                assert_eq!(folio.add_maps(first, count), fresh);
                maps[first..first + count].iter_mut().for_each(|maps| *maps += 1);
                mappers.push((first, count));
            } else if !mappers.is_empty() {
                // All of what a mapper has, or its first pages alone.
                let which = random.below(mappers.len());
                let (first, have) = mappers[which];
                let count = if random.below(2) > 0 { have } else { 1 + random.below(have) };
                maps[first..first + count].iter_mut().for_each(|maps| *maps -= 1);
                let gone = maps[first..first + count].iter().filter(|&&maps| maps == 0).count();
                let left = maps.iter().any(|&maps| maps > 0);
                let expected = Unmapped { pages: gone, partially_mapped: gone > 0 && left };
                assert_eq!(folio.remove_maps(first, count), expected);
                if count == have {
                    mappers.swap_remove(which);
                } else {
                    mappers[which] = (first + count, have - count);
                }
            }
            check_maps(&folio, &maps);
        }
        while let Some((first, count)) = mappers.pop() {
            folio.remove_maps(first, count);
        }
        check_maps(&folio, &vec![0; pages]);
        free(&memory, folio.put(1).unwrap());
    }
}

fn check_maps(folio: &Folio<'_>, maps: &[usize]) {
    let seen: Vec<_> = (0..folio.pages()).map(|page| folio.page_maps(page)).collect();
    assert_eq!(seen, maps);
    assert_eq!(folio.mapcount(), maps.iter().sum());
    assert_eq!(folio.mapped_pages(), maps.iter().filter(|&&maps| maps > 0).count());
    assert_eq!(folio.is_mapped(), maps.iter().any(|&maps| maps > 0));
}

/// The way of an unmap page by page: mapped at once, unmapped one by one.
#[test]
fn a_folio_mapped_as_a_whole_is_unmapped_page_by_page() {
    let memory = memory(4);
    let folio = folio(&memory, 4);
    assert_eq!(folio.add_maps(0, 16), 16);
    for page in 0..16 {
        assert_eq!(folio.mapped_pages(), 16 - page);
        assert_eq!(folio.remove_maps(page, 1), Unmapped { pages: 1, partially_mapped: page < 15 });
    }
    assert!(!folio.is_mapped());
}

#[test]
#[should_panic(expected = "nothing maps")]
fn a_page_that_nothing_maps_is_not_unmapped() {
    let memory = memory(4);
    let folio = folio(&memory, 4);
    folio.add_maps(0, 4);
    folio.remove_maps(4, 4);
}

#[test]
fn exclusive_marks_against_a_model() {
    let memory = memory(16);
    for (seed, order) in (1..).zip([0, 2, 4, 5, 6, 7, 9]) {
        let folio = folio(&memory, order);
        let pages = folio.pages();
        let mut random = Random(seed * 31337);
        let mut model = vec![false; pages];
        for _ in 0..1000 {
            let first = random.below(pages);
            let count = 1 + random.below(pages - first);
            let value = random.below(2) > 0;
            model[first..first + count].fill(value);
            if value {
                folio.set_exclusive(first, count)
            } else {
                folio.clear_exclusive(first, count)
            }
            let from = random.below(pages);
            let max = 1 + random.below(pages - from);
            let length = model[from..from + max].iter().take_while(|&&mark| mark == model[from]).count();
            assert_eq!(folio.exclusive_run(from, max), (model[from], length));
            assert_eq!(folio.is_exclusive(from), model[from]);
        }
        free(&memory, folio.put(1).unwrap());
    }
}

/// T-S-16: a folio whose pages alternate makes runs of one.
#[test]
fn t_s_16_alternating_marks_make_runs_of_one() {
    let memory = memory(4);
    let folio = folio(&memory, 4);
    (0..16).step_by(2).for_each(|page| folio.set_exclusive(page, 1));
    for page in 0..16 {
        assert_eq!(folio.exclusive_run(page, 16 - page), (page % 2 == 0, 1));
    }
}

#[test]
fn pins_of_a_large_folio_are_exact() {
    let memory = memory(4);
    let folio = folio(&memory, 4);
    folio.get(3000);
    assert!(!folio.maybe_pinned(), "many references are no pin");
    folio.pin(1);
    assert!(folio.maybe_pinned());
    assert!(folio.unpin(1).is_none());
    assert!(!folio.maybe_pinned());
    assert_eq!(folio.refs(), 3001);
}

#[test]
fn pins_of_a_page_are_many_references() {
    let memory = memory(4);
    let folio = folio(&memory, 0);
    folio.pin(2);
    assert!(folio.maybe_pinned());
    assert_eq!(folio.refs(), 1 + 2 * PIN_REFS);
    assert!(folio.unpin(2).is_none() && !folio.maybe_pinned());
    folio.get(PIN_REFS);
    assert!(folio.maybe_pinned(), "that many references can not be told from a pin");
}

#[test]
fn the_lock_is_for_one() {
    let memory = memory(4);
    let folio = folio(&memory, 4);
    let lock = folio.try_lock().unwrap();
    assert!(folio.is_locked() && folio.try_lock().is_none());
    let folio = lock.unlock();
    assert!(!folio.is_locked());
    drop(folio.lock());
    assert!(!folio.is_locked());
}

#[test]
fn flags_do_not_disturb_each_other() {
    let memory = memory(4);
    let folio = folio(&memory, 9);
    let _lock = folio.try_lock().unwrap();
    folio.set_dirty(true);
    folio.set_active(true);
    folio.set_referenced(true);
    folio.set_dirty(false);
    assert!(folio.is_active() && folio.is_referenced() && folio.is_uptodate() && folio.is_swap_backed());
    assert!(!folio.is_dirty() && !folio.is_unevictable() && !folio.is_mlocked() && !folio.is_writeback());
    assert!(folio.is_locked() && folio.order() == 9);
}

#[test]
fn where_a_folio_is_mapped() {
    let memory = memory(4);
    let folio = folio(&memory, 0);
    assert_eq!(folio.mapping(), None);
    for (id, index) in [(0, 0), (5, (1 << 36) - 1), ((1 << 28) - 2, 0x7_1234_5678)] {
        folio.set_mapping(AnonVmaId::from_number(id), index);
        assert_eq!(folio.mapping(), Some((AnonVmaId::from_number(id), index)));
    }
    assert!(std::format!("{folio:?}").contains(&folio.head().to_string()));
}

/// Splits and returns the parts beside the first that are in use, and how many were not. The caller's reference stays.
fn split_up(memory: &Memory, folio: Folio<'_>, order: usize) -> Option<(usize, usize)> {
    let lock = folio.try_lock().unwrap();
    let parts: Vec<_> = split::split(memory, &lock, order, &|| {})?.collect();
    let count = parts.len();
    let orphans: Vec<_> = parts.into_iter().filter_map(|part| part.put(1)).collect();
    let unused = orphans.len();
    orphans.into_iter().for_each(|orphan| free(memory, orphan));
    Some((count - unused, unused))
}

#[test]
fn parts_of_a_split_have_what_the_whole_had() {
    let memory = memory(8);
    for (order, into) in [(4, 0), (4, 2), (9, 4), (9, 0), (6, 5), (2, 0), (9, 8)] {
        let before = memory.frames.free_count();
        let folio = folio(&memory, order);
        let pages = folio.pages();
        folio.set_mapping(AnonVmaId::from_number(3), 1000);
        folio.set_dirty(true);
        folio.get(pages + pages / 2);
        folio.add_maps(0, pages);
        folio.add_maps(0, pages / 2);
        folio.set_exclusive(pages / 2, pages / 2);
        memory.lru.add(folio);
        assert_eq!(split_up(&memory, folio, into), Some(((pages >> into) - 1, 0)));
        assert_eq!(memory.lru.size(crate::lru::LruList::InactiveAnon), (pages >> into, pages));
        for page in 0..pages {
            let part = memory.frames.folio_of(folio.page(page));
            assert_eq!((part.order(), part.head()), (into, folio.page(page & !((1 << into) - 1))));
            let place = page % part.pages();
            assert_eq!(part.page_maps(place), if page < pages / 2 { 2 } else { 1 });
            assert_eq!(part.is_exclusive(place), page >= pages / 2);
            let first = (page - place) as u64;
            assert_eq!(part.mapping(), Some((AnonVmaId::from_number(3), 1000 + first)));
            assert_eq!(part.refs(), part.mapcount() + usize::from(first == 0));
            assert!(
                part.is_dirty() && part.is_swap_backed() && part.is_uptodate() && part.is_on_lru() && !part.is_locked()
            );
        }
        for page in (0..pages).step_by(1 << into) {
            let part = memory.frames.folio_of(folio.page(page));
            let maps = part.mapcount();
            part.remove_maps(0, part.pages());
            if part.is_mapped() {
                part.remove_maps(0, part.mapcount());
            }
            free(&memory, part.put(maps + usize::from(part == folio)).unwrap());
        }
        assert_eq!(memory.frames.free_count(), before);
        assert_eq!(memory.lru.size(crate::lru::LruList::InactiveAnon), (0, 0));
    }
}

/// T-P-8: pages that nothing maps are free after a split.
#[test]
fn t_p_8_a_split_frees_what_nothing_maps() {
    let memory = memory(4);
    let before = memory.frames.free_count();
    let folio = folio(&memory, 4);
    folio.get(16);
    folio.add_maps(0, 16);
    folio.remove_maps(8, 8);
    assert!(folio.put(8).is_none());
    assert_eq!(split_up(&memory, folio, 0), Some((7, 8)));
    assert_eq!(memory.frames.free_count(), before - 8);
}

#[test]
fn a_folio_in_use_is_not_split() {
    let memory = memory(4);
    let folio = folio(&memory, 4);
    folio.get(16);
    folio.add_maps(0, 16);
    folio.get(1);
    assert!(split_up(&memory, folio, 0).is_none(), "somebody else has a reference");
    assert!(folio.put(1).is_none());
    folio.pin(1);
    assert!(split_up(&memory, folio, 0).is_none(), "it is pinned");
    assert!(folio.unpin(1).is_none());
    assert_eq!((folio.order(), folio.refs(), folio.mapcount()), (4, 17, 16));
    assert!(split_up(&memory, folio, 0).is_some());
}
