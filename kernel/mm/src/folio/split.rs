//! Splitting a folio into smaller ones, in place: no page moves, so entries and swap slots stay as they are.
//!
//! References are frozen meanwhile: nobody gets one, and whoever meets the folio through a list or the swap cache waits or passes by.
//! That the entries are no longer folded where a smaller folio would not cover the block is for the caller to see to, under the lock
//! of each table that maps the folio.

use core::sync::atomic::Ordering;

use mmu::mutant::{self, Mutant};

use super::{Folio, FolioLock, state};
use crate::frame::MAX_ORDER;
use crate::memory::Memory;

/// Words of exclusive marks that the largest folio has.
const WORDS: usize = (1 << MAX_ORDER) / 64;

/// Splits a locked folio into folios of `order`, which may not be 1. The caller has one reference; it stays with the first part, and so
/// does the lock. `unfold` is called when nothing can go wrong any more. Returns the other parts, each with a reference for the
/// caller. Parts go to the LRU list that the folio was on, if it was on one. `None`, and nothing changed, if somebody else refers to
/// the folio.
pub(crate) fn split<'m>(
    memory: &'m Memory,
    folio: &FolioLock<'m>,
    order: usize,
    unfold: &dyn Fn(),
) -> Option<impl Iterator<Item = Folio<'m>> + use<'m>> {
    assert!(order < folio.order() && order != 1, "a folio of order {} split to {order}", folio.order());
    let refs = mutant::or(Mutant::SplitInUse, folio.expected_refs() + 1, folio.refs());
    if folio.is_writeback() || mutant::or(Mutant::SplitInUse, folio.maybe_pinned(), false) || !folio.freeze(refs) {
        return None;
    }
    unfold();
    let on_lru = memory.lru.take_out(folio.folio());
    memory.deferred.remove(folio.folio());
    let pages = folio.pages();
    divide(folio, order);
    if folio.is_swap_cache() {
        memory.swap.split(folio, pages);
    }
    let (frames, index) = (folio.frames, folio.index());
    let parts = (0..pages).step_by(1 << order).map(move |first| Folio::at(frames, index + first as u32));
    for part in parts.clone() {
        part.unfreeze(part.expected_refs() + 1);
        if on_lru && !mutant::is(Mutant::PartNotOnLru) {
            memory.lru.add(part);
        }
    }
    Some(parts.skip(1))
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
    if mutant::is(Mutant::SplitLosesExclusive) {
        return marks;
    }
    let mut index = 0;
    folio.each_word_of_all(|word| {
        marks[index] = word;
        index += 1;
    });
    marks
}
