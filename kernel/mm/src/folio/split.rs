//! Splitting a folio into smaller ones, in place: no page moves, so entries and swap slots stay as they are.
//!
//! References are frozen meanwhile: nobody gets one, and whoever meets the folio through a list or the swap cache waits or passes by.
//! That the entries are no longer folded where a smaller folio would not cover the block is for the caller to see to, under the lock
//! of each table that maps the folio.

use core::sync::atomic::Ordering;

use super::{Folio, FolioLock, state};
use crate::frame::{MAX_ORDER, Orphan};
use crate::memory::Memory;

/// Words of exclusive marks that the largest folio has.
const WORDS: usize = (1 << MAX_ORDER) / 64;

/// Splits a locked folio into folios of `order`, which may not be 1. `extra` is the references that the caller has; they stay with the
/// first part, and so does the lock. `part` is given each of the other parts that is in use; parts that nothing maps and no swap entry
/// needs in the cache become orphans. Parts go to the LRU list that the folio was on, if it was on one. False, and nothing changed, if
/// somebody else refers to the folio.
pub(crate) fn split<'m>(
    memory: &'m Memory,
    folio: &FolioLock<'m>,
    order: usize,
    extra: usize,
    mut part: impl FnMut(Folio<'m>),
    mut orphan: impl FnMut(Orphan),
) -> bool {
    assert!(order < folio.order() && order != 1, "a folio of order {} split to {order}", folio.order());
    if folio.is_writeback() || folio.maybe_pinned() || !folio.freeze(folio.expected_refs() + extra) {
        return false;
    }
    let on_lru = memory.lru.take_out(folio.folio());
    let pages = folio.pages();
    divide(folio, order);
    if folio.is_swap_cache() {
        memory.swap.split(folio, pages);
    }
    let step = 1 << order;
    for first in (0..pages).step_by(step) {
        let piece = Folio::at(folio.frames, folio.index() + first as u32);
        memory.swap.forget_unused(&piece);
        let refs = piece.expected_refs() + if first == 0 { extra } else { 0 };
        if refs == 0 {
            orphan(Orphan::new(piece.index()));
            continue;
        }
        piece.unfreeze(refs);
        if on_lru {
            memory.lru.add(piece);
        }
        if first > 0 {
            part(piece);
        }
    }
    true
}

/// Makes folios of `order` of the frames of a larger one. All have no reference yet.
fn divide(folio: &Folio<'_>, order: usize) {
    let pages = folio.pages();
    let marks = exclusive_marks(folio);
    let inherited = folio.state() & state::INHERITED;
    let mapping = folio.head_frame().mapping.load(Ordering::Relaxed);
    let swap = folio.head_frame().swap.load(Ordering::Relaxed);
    folio.spread_maps();
    // The last part comes first: the head's state and the words in its tails are overwritten when all is known.
    for first in (0..pages).step_by(1 << order).rev() {
        let piece = Folio::at(folio.frames, folio.index() + first as u32);
        for place in 1..1 << order {
            piece.page_frame(place).state.store(state::tail(place), Ordering::Relaxed);
        }
        let locked = if first == 0 { state::LOCKED } else { 0 };
        let head = piece.head_frame();
        head.refs.store(0, Ordering::Relaxed);
        head.mapping.store(if mapping == 0 { 0 } else { mapping + first as u64 }, Ordering::Relaxed);
        head.swap.store(if inherited & state::SWAP_CACHE != 0 { swap + first as u32 } else { 0 }, Ordering::Relaxed);
        head.state.store(state::folio(order) | inherited | locked, Ordering::Release);
        if order > 0 {
            piece.pins().store(0, Ordering::Relaxed);
            piece.each_word(0, 1 << order, |word, _| word.store(0, Ordering::Relaxed));
        }
        piece.collect_maps();
        for page in (0..1 << order).filter(|page| marks[(first + page) / 64] >> ((first + page) % 64) & 1 != 0) {
            piece.set_exclusive(page, 1);
        }
    }
}

fn exclusive_marks(folio: &Folio<'_>) -> [u64; WORDS] {
    let mut marks = [0; WORDS];
    let mut index = 0;
    folio.each_word_of_all(|word| {
        marks[index] = word;
        index += 1;
    });
    marks
}
