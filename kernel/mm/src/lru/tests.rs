//! Tests of the lists.

extern crate std;

use std::vec::Vec;

use super::*;
use crate::frame::tests::{free, memory};
use crate::memory::Memory;

fn folio(memory: &Memory, order: usize) -> Folio<'_> {
    let folio = memory.alloc_folio(order).unwrap().publish();
    folio.set_swap_backed(true);
    folio
}

#[test]
fn a_list_keeps_its_order() {
    let memory = memory(4);
    let folios: Vec<_> = [0, 4, 2, 0].map(|order| folio(&memory, order)).into();
    let mut list = FolioList::new();
    assert!(list.is_empty() && list.pop_front(&memory.frames).is_none());
    folios.iter().for_each(|&folio| list.push_back(folio));
    assert_eq!((list.len(), list.pages()), (4, 22));
    assert!(list.iter(&memory.frames).eq(folios.iter().copied()));
    list.remove(folios[1]);
    list.remove(folios[3]);
    assert_eq!(list.pop_front(&memory.frames), Some(folios[0]));
    list.push_back(folios[3]);
    assert_eq!(list.pop_front(&memory.frames), Some(folios[2]));
    list.remove(folios[3]);
    assert!(list.is_empty() && list.pages() == 0 && list.iter(&memory.frames).next().is_none());
}

#[test]
fn isolation_takes_a_reference_and_putback_gives_it_up() {
    let memory = memory(4);
    let folio = folio(&memory, 4);
    memory.lru.add(folio);
    assert!(folio.is_on_lru());
    assert!(memory.lru.isolate(folio));
    assert_eq!((folio.refs(), folio.is_on_lru()), (2, false));
    assert!(!memory.lru.isolate(folio), "it is isolated already");
    assert!(memory.lru.putback(folio).is_none());
    assert_eq!((folio.refs(), folio.is_on_lru()), (1, true));
}

#[test]
fn the_last_reference_may_be_that_of_isolation() {
    let memory = memory(4);
    let before = memory.frames.free_count();
    let folio = folio(&memory, 4);
    memory.lru.add(folio);
    assert!(memory.lru.isolate(folio));
    assert!(folio.put(1).is_none());
    let orphan = memory.lru.putback(folio).unwrap();
    assert!(!memory.lru.isolate(folio), "nobody isolates what is about to be freed");
    free(&memory, orphan);
    assert_eq!(memory.frames.free_count(), before);
    assert_eq!(memory.lru.size(LruList::InactiveAnon), (0, 0));
}

#[test]
fn flags_choose_the_list_and_a_change_moves_nothing() {
    let memory = memory(4);
    let folios: Vec<_> = (0..4).map(|_| folio(&memory, 4)).collect();
    folios[1].set_active(true);
    folios[2].set_swap_backed(false);
    folios[3].set_unevictable(true);
    folios.iter().for_each(|&folio| memory.lru.add(folio));
    let sizes = || {
        [LruList::InactiveAnon, LruList::ActiveAnon, LruList::LazyFree, LruList::Unevictable]
            .map(|list| memory.lru.size(list))
    };
    assert_eq!(sizes(), [(1, 16); 4]);
    folios[0].set_active(true);
    assert_eq!(sizes(), [(1, 16); 4]);
    memory.lru.refile(folios[0]);
    assert_eq!(sizes(), [(0, 0), (2, 32), (1, 16), (1, 16)]);
    folios[2].set_swap_backed(true);
    assert!(memory.lru.isolate(folios[2]));
    assert_eq!(sizes(), [(0, 0), (2, 32), (0, 0), (1, 16)]);
}

#[test]
fn a_run_is_isolated_from_the_front() {
    let memory = memory(4);
    let folios: Vec<_> = (0..6).map(|_| folio(&memory, 4)).collect();
    folios.iter().for_each(|&folio| memory.lru.add(folio));
    let mut taken = memory.lru.isolate_front(&memory.frames, LruList::InactiveAnon, 40);
    assert_eq!((taken.len(), taken.pages()), (3, 48));
    assert_eq!(memory.lru.size(LruList::InactiveAnon), (3, 48));
    for &expected in &folios[..3] {
        let folio = taken.pop_front(&memory.frames).unwrap();
        assert_eq!((folio, folio.refs()), (expected, 2));
    }
}
