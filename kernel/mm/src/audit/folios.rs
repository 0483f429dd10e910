//! Folios that entries map, or the swap cache or a file holds: map counts, references, exclusive marks, and the queue of those to be split.

use super::{Finding, Place, Rule, Seen, SeenFolio, is, same};
use crate::deferred::DeferredSplits;
use crate::folio::Folio;
use crate::lru::LruList;
use crate::memory::Memory;

/// Compares every folio that was seen with what was seen of it.
pub(super) fn recount(memory: &Memory, seen: &Seen) -> Result<(), Finding> {
    seen.folios.iter().try_for_each(|(&head, folio)| check(&memory.frames.folio_of(head), folio))?;
    check_queue(memory, seen)
}

/// What is on the queue was seen: together with `check` that makes it exactly the folios that belong there. One that lost the rest of
/// its mappings stays there as long as it is pinned.
fn check_queue(memory: &Memory, seen: &Seen) -> Result<(), Finding> {
    let mut result = Ok(());
    memory.deferred.for_each(&memory.frames, |folio| {
        let is_known = seen.folios.contains_key(&folio.head()) || folio.maybe_pinned();
        let in_use = is_known && folio.is_partially_mapped();
        let place = Place::Folio(folio.head());
        result = result.and_then(|()| is(Rule::Rest, "on the queue for a split and in use", place, in_use, true));
    });
    result
}

fn check(folio: &Folio<'_>, seen: &SeenFolio) -> Result<(), Finding> {
    let place = Place::Folio(folio.head());
    let maps: u64 = seen.maps.iter().sum();
    let mapped = seen.maps.iter().filter(|&&count| count > 0).count() as u64;
    same(Rule::Ms43, "mapcount", place, folio.mapcount() as u64, maps)?;
    same(Rule::Ms43, "mapped pages", place, folio.mapped_pages() as u64, mapped)?;
    for (page, &count) in seen.maps.iter().enumerate() {
        let place = Place::Page(folio.head(), page);
        same(Rule::Ms43, "mapcount of a page", place, folio.page_maps(page) as u64, count)?;
        // Of a page that was zapped the mark says nothing any more.
        is(Rule::Entry, "exclusive and mapped more than once", place, folio.is_exclusive(page) && count > 1, false)?;
    }
    let cached = if folio.is_swap_cache() { folio.pages() as u64 } else { 0 };
    same(Rule::Ms43, "slots of a folio in the swap cache", place, seen.cached, cached)?;
    let filed = if folio.is_file() { folio.pages() as u64 } else { 0 };
    same(Rule::Ms43, "pages of a folio that a file has", place, seen.filed, filed)?;
    same(Rule::Ms43, "references", place, folio.refs() as u64, maps + cached + filed + folio.pin_refs() as u64)?;
    let wanted = DeferredSplits::has_place_for(folio);
    is(Rule::Rest, "on the queue for a split", place, folio.is_partially_mapped(), wanted)?;
    is(Rule::Rest, "locked", place, folio.is_locked(), false)?;
    is(Rule::Rest, "on an LRU list", place, folio.is_on_lru(), !folio.is_huge())?;
    if folio.is_huge() {
        return Ok(());
    }
    // Whether it is dirty says nothing: who writes through a reference says so, and leaves the decision to reclaim.
    let lazily_freed = !folio.is_swap_backed();
    is(Rule::Ms43, "lazily freed and in the swap cache", place, lazily_freed && folio.is_swap_cache(), false)?;
    let listed = folio.lru_list() == Some(LruList::LazyFree as usize);
    is(Rule::Rest, "on the list of lazily freed memory", place, listed, lazily_freed && !folio.is_unevictable())
}
