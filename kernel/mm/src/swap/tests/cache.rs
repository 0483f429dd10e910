//! Entering and leaving the cache, and what becomes of slots and folios then.

use super::*;

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
    assert!(!memory.swap.free_if_unused(&folio), "it is not cached");
    memory.swap.alloc(&memory, &folio).unwrap();
    let entry = folio.swap_entry(0);
    memory.swap.dup(&folio, 9, 1).unwrap();
    folio.set_dirty(false);
    assert!(!memory.swap.free_if_unused(&folio), "page 9 has an entry");
    memory.swap.put(&folio, 9, 1);
    folio.set_writeback(true);
    assert!(!memory.swap.free_if_unused(&folio), "it is being written");
    folio.set_writeback(false);
    assert!(memory.swap.free_if_unused(&folio));
    assert!(folio.is_dirty() && !folio.is_swap_cache());
    assert_eq!((folio.refs(), memory.swap.free_count()), (1, 1023));
    assert!(!memory.swap.is_used(entry));
}

/// T-Z-3 and reference 4.11.
#[test]
fn t_z_3_putting_entries_frees_slots_over_clusters() {
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
        parts.extend(crate::folio::split::split(&memory, &folio, into, &|| {}).unwrap());
        assert!(folio.unlock() == parts[0]);
        for page in 0..pages {
            let part = memory.swap.lookup(&memory, entry.advance(page)).unwrap();
            assert_eq!((part, part.order()), (parts[page >> into], into));
            assert_eq!(part.swap_entry(page % part.pages()), entry.advance(page));
            assert!(part.put(1).is_none());
        }
        // Each goes its own way.
        for part in parts {
            let part = part.try_lock().unwrap();
            memory.swap.write_out(&memory, &part).unwrap();
            free(&memory, memory.swap.detach(&memory, part).unwrap());
        }
        let back = swap_in(&memory, entry, order);
        assert!((0..pages).all(|page| bytes(&memory, &back, page) == [0x40 + order as u8, page as u8]));
        memory.swap.put(&back, 0, pages);
        assert!(memory.swap.free_if_unused(&back));
        free(&memory, back.unlock().put(1).unwrap());
        assert_eq!(memory.swap.free_count(), 1023);
    }
}

/// A page that was zapped while its folio was cached has no entry left that could lead to it: it goes when the folio is split.
#[test]
fn parts_that_nothing_needs_leave_the_cache_with_the_split() {
    let (memory, _) = with_swap(16, 512);
    let free_frames = memory.frames.free_count();
    let folio = folio(&memory, 4);
    memory.swap.alloc(&memory, &folio).unwrap();
    let entry = folio.swap_entry(0);
    memory.swap.dup(&folio, 4, 2).unwrap();
    folio.add_maps(8, 2);
    folio.get(2);
    let parts = crate::folio::split::split(&memory, &folio, 0, &|| {}).unwrap();
    let (mut kept, mut orphans) = (Vec::new(), Vec::new());
    for part in parts {
        memory.swap.free_unneeded(part);
        match part.put(1) {
            Some(orphan) => orphans.push(orphan),
            None => kept.push((part.index() - folio.index(), part.refs())),
        }
    }
    assert!(memory.swap.free_if_unused(&folio) && folio.refs() == 1);
    assert_eq!(kept, [(4, 1), (5, 1), (8, 2), (9, 2)]);
    for page in 0..16 {
        let in_use = [4, 5, 8, 9].contains(&page);
        assert_eq!(memory.swap.is_used(entry.advance(page)), in_use, "page {page}");
    }
    assert_eq!(orphans.len(), 11);
    orphans.into_iter().for_each(|orphan| free(&memory, orphan));
    free(&memory, folio.unlock().put(1).unwrap());
    assert_eq!(memory.frames.free_count(), free_frames - 4);
}
