//! What views of the three ways must have in common: everything, but after an injected failure in the middle of a folio.
//!
//! A failure hits one page. `page` has taken the pages before it out by then, each for itself. `folio` takes a run of equally
//! exclusive ones out together, and puts the whole run back, so those before the run are out. `gather` does the same where a swap
//! count fails; for pins it looks once, after all the entries are out, so where that fails those before the first exclusive page are
//! out (DESIGN 5). So which pages are out in `page` foretells to the page which are out in the other two. From then on the folio
//! differs, and would lead to other folios and slots: its pages are emptied, and everything has to be equal again.
//!
//! One more difference comes of `gather` alone: it isolates what a page-out covers in several tables and areas before it asks for the
//! first slot, where the others reclaim at the end of each (DESIGN 5). Isolating splits a folio that lies in the range in part, and a
//! page split off lets go of its slot where the whole folio could not. So if there are no slots for a folio, `gather` may find some to
//! take back, which `page` does not have yet: it splits the folio, or keeps a single page. See [`ran_ahead`].

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::ops::Range;

use mm::inject::Point;
use mm::space::advice::PAGEOUT;
use mmu::TABLE_SPAN;

use crate::operation::{Operation, Pages, WAYS};
use crate::view::{Counted, Entry, FolioView, Part, SpaceView, View};
use crate::world::{FIELD, SPACES, at};

/// Where an unmap fails.
const UNMAP_POINTS: [Point; 2] = [Point::SwapDup, Point::Share];

/// A page of a space: the space, and the page.
pub type Place = (usize, usize);

/// Finds the first thing in which two views differ.
pub fn equal(left: &View, right: &View) -> Result<(), String> {
    for (space, (left, right)) in left.spaces.iter().zip(&right.spaces).enumerate() {
        for (page, (left, right)) in left.pages.iter().zip(&right.pages).enumerate() {
            same(|| format!("page {page} of space {space}"), left, right)?;
        }
        same(|| format!("areas of space {space}"), &left.areas, &right.areas)?;
        let accounts = |space: &SpaceView| (space.anon_pages, space.swap_entries);
        same(|| format!("present and swapped pages of space {space}"), &accounts(left), &accounts(right))?;
    }
    for (folio, (left, right)) in left.folios.iter().zip(&right.folios).enumerate() {
        same(|| format!("folio {folio}"), left, right)?;
    }
    same(|| "folios".into(), &left.folios.len(), &right.folios.len())?;
    same(|| "sums".into(), &left.sums, &right.sums)
}

fn same<T: PartialEq + Debug>(what: impl FnOnce() -> String, left: &T, right: &T) -> Result<(), String> {
    if left == right { Ok(()) } else { Err(format!("{}: {left:?} or {right:?}", what())) }
}

/// Contents and areas, which are the same whatever is in memory; but for pages that `may_go`, as their programs have said.
pub fn same_contents(views: &[View; 3], may_go: impl Fn(Place) -> bool) -> Result<(), String> {
    for (way, view) in WAYS.iter().zip(views).skip(1) {
        for (space, (left, right)) in views[0].spaces.iter().zip(&view.spaces).enumerate() {
            same(|| format!("areas of space {space} in {way}"), &left.areas, &right.areas)?;
            for (page, (left, right)) in left.pages.iter().zip(&right.pages).enumerate() {
                if !may_go((space, page)) {
                    same(|| format!("page {page} of space {space} in {way}"), &left.words, &right.words)?;
                }
            }
        }
    }
    Ok(())
}

/// Pages that are not the same in all views, with all others of their folios.
pub fn differing(views: &[View; 3]) -> Vec<Place> {
    let mut found = BTreeSet::new();
    for (space, page) in (0..SPACES).flat_map(|space| FIELD.map(move |page| (space, page))) {
        let seen = views.each_ref().map(|view| seen_alone(view, (space, page)));
        if seen.iter().any(|one| *one != seen[0]) {
            found.insert((space, page));
            for view in views {
                let folio = view.spaces[space].pages.get(page).and_then(|page| part(&page.entry));
                found.extend(folio.into_iter().flat_map(|part| places(view, part.folio)));
            }
        }
    }
    found.into_iter().collect()
}

/// What is to be seen of a page, without the numbers of folio and slot, which depend on all pages before it.
fn seen_alone(view: &View, (space, page): Place) -> Option<(Entry, Option<FolioView>)> {
    let entry = view.spaces[space].pages.get(page)?.entry;
    let part = part(&entry);
    let index = part.map_or(0, |part| part.page);
    let folio = part.map(|part| view.folios[part.folio]);
    let alone = match without_slots(entry) {
        Entry::Present { valid, writable, uffd, exclusive, maps, .. } => {
            Entry::Present { valid, writable, uffd, exclusive, maps, part: Part { folio: 0, page: index } }
        }
        Entry::Swapped { exclusive, uffd, count, zero, .. } => Entry::Swapped {
            exclusive,
            uffd,
            slot: 0,
            count,
            zero,
            cached: part.map(|_| Part { folio: 0, page: index }),
        },
        other => other,
    };
    Some((alone, folio))
}

/// Where a folio was partly taken out, by a failure that came between the views `before` and those `after` of the three ways: looks that
/// each way has taken the right part out. Returns the pages of the folio if these parts differ. (A folio that was split
/// first is single pages by then, of which all ways take out the same.)
pub fn taken_apart(before: &View, after: &[View; 3]) -> Result<Vec<Place>, String> {
    let failed =
        |point: &Point| after[0].sums.counted.failures[*point as usize] > before.sums.counted.failures[*point as usize];
    let Some(point) = UNMAP_POINTS.into_iter().find(|point| failed(point)) else { return Ok(Vec::new()) };
    let mut folio = None;
    for (space, view) in before.spaces.iter().enumerate() {
        for run in runs(view) {
            let outs = after.each_ref().map(|view| out(&view.spaces[space], run.clone()));
            if outs.iter().all(|out| *out == outs[0]) {
                continue;
            }
            let hit = part(&view.pages[run.start].entry).map(|part| part.folio);
            let counts = outs.each_ref().map(|out| first_true(out));
            let right = counts[0].map(|page| foretell(view, &run, page, point).map(Some));
            if right != Some(counts) || folio.is_some_and(|_| folio != hit) {
                let what = format!("space {space}, pages {run:?}, {point:?} failed");
                return Err(format!("{what}: {WAYS:?} take {counts:?} out instead of {right:?}"));
            }
            folio = hit;
        }
    }
    Ok(folio.map_or(Vec::new(), |folio| places(before, folio)))
}

/// Whether `gather` may have had more to take back when there were no slots: `Point::SwapAlloc` failed between the views, in a page-out
/// of the space `running` that covers more than one table or area.
pub fn ran_ahead(before: &View, after: &View, running: usize, operation: &Operation) -> bool {
    let point = Point::SwapAlloc as usize;
    let failed = after.sums.counted.failures[point] > before.sums.counted.failures[point];
    match *operation {
        Operation::Advise(pages, PAGEOUT) => failed && is_in_pieces(&before.spaces[running], pages),
        _ => false,
    }
}

/// Whether an unmap came upon a locked area, between the views, that the folio's mark had said nothing of: `page` has the folio's slots
/// back for the next one by then, `gather` after all have theirs.
pub fn found_locked(before: &View, after: &View) -> bool {
    let (before, after) = (&before.sums.counted, &after.sums.counted);
    let injected = |counted: &Counted| UNMAP_POINTS.map(|point| counted.failures[point as usize]).iter().sum::<u64>();
    after.count("unmap_failures") - before.count("unmap_failures") > injected(after) - injected(before)
}

/// Whether a border of tables or areas lies inside these pages.
fn is_in_pieces(space: &SpaceView, pages: Pages) -> bool {
    let is_border = |page| {
        let start = at(page, 0).page();
        start.is_aligned(TABLE_SPAN) || space.areas.iter().any(|area| area.start == start.as_u64())
    };
    pages.iter().skip(1).any(is_border)
}

/// Finds the first thing in which a view of `gather` that ran ahead differs from one of `page` as it may not: contents, areas, and
/// every entry must be equal, but for folios, slots and what the cache holds, and for one page that `page` found no slot for.
pub fn equal_but_slots(page: &View, gather: &View) -> Result<(), String> {
    let mut kept = None;
    for (space, (left, right)) in page.spaces.iter().zip(&gather.spaces).enumerate() {
        same(|| format!("areas of space {space}"), &left.areas, &right.areas)?;
        for (number, (left, right)) in left.pages.iter().zip(&right.pages).enumerate() {
            let what = || format!("page {number} of space {space}");
            same(what, &left.words, &right.words)?;
            let stayed = matches!((left.entry, right.entry), (Entry::Present { .. }, Entry::Swapped { .. }));
            if stayed && kept.is_none() {
                kept = Some(number);
            } else {
                same(what, &without_slots(left.entry), &without_slots(right.entry))?;
            }
        }
    }
    same(|| "failures".into(), &page.sums.counted.failures, &gather.sums.counted.failures)
}

/// An entry without the folio and the slot that it has.
fn without_slots(entry: Entry) -> Entry {
    let part = Part { folio: 0, page: 0 };
    match entry {
        Entry::Present { valid, writable, uffd, exclusive, maps, .. } => {
            Entry::Present { valid, writable, uffd, exclusive, maps, part }
        }
        Entry::Swapped { exclusive, uffd, count, zero, .. } => {
            Entry::Swapped { exclusive, uffd, slot: 0, count, zero, cached: None }
        }
        other => other,
    }
}

/// All pages that a folio has or holds in the swap cache.
fn places(view: &View, folio: usize) -> Vec<Place> {
    let all = view.spaces.iter().enumerate().flat_map(|(space, view)| {
        let pages = view.pages.iter().enumerate();
        pages.map(move |(page, view)| (space, page, part(&view.entry)))
    });
    all.filter(|(.., part)| part.is_some_and(|part| part.folio == folio))
        .map(|(space, page, _)| (space, page))
        .collect()
}

fn part(entry: &Entry) -> Option<Part> {
    match *entry {
        Entry::Present { part, .. } => Some(part),
        Entry::Swapped { cached, .. } => cached,
        Entry::None | Entry::Marker | Entry::Bad | Entry::Lost | Entry::ZeroPage { .. } => None,
    }
}

/// Runs of present pages that are taken out together if they are all alike in exclusivity: neighbours in a folio, a table, an area.
fn runs(space: &SpaceView) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for page in (0..space.pages.len()).filter(|&page| matches!(space.pages[page].entry, Entry::Present { .. })) {
        match runs.last_mut() {
            Some(run) if run.end == page && goes_on(space, page) => run.end += 1,
            _ => runs.push(page..page + 1),
        }
    }
    runs
}

/// Whether a present page goes on what the present page before it began.
fn goes_on(space: &SpaceView, page: usize) -> bool {
    let start = at(page, 0).page();
    if start.is_aligned(TABLE_SPAN) || space.areas.iter().any(|area| area.start == start.as_u64()) {
        return false;
    }
    match (space.pages[page - 1].entry, space.pages[page].entry) {
        (
            Entry::Present { valid, writable, uffd, part, .. },
            Entry::Present { valid: valid2, writable: writable2, uffd: uffd2, part: part2, .. },
        ) => {
            let next = Part { page: part.page + 1, ..part };
            (valid, writable, uffd, next) == (valid2, writable2, uffd2, part2)
        }
        _ => false,
    }
}

/// Which pages of a run are swapped out.
fn out(space: &SpaceView, run: Range<usize>) -> Vec<bool> {
    run.map(|page| matches!(space.pages[page].entry, Entry::Swapped { .. })).collect()
}

/// How many there are of the first that are true; `None` if others are.
fn first_true(all: &[bool]) -> Option<usize> {
    let count = all.iter().take_while(|&&it| it).count();
    (!all[count..].contains(&true)).then_some(count)
}

/// How many pages of a run each way has taken out if `page` has taken out so many.
fn foretell(space: &SpaceView, run: &Range<usize>, out: usize, point: Point) -> [usize; 3] {
    let exclusive = |index: usize| {
        let entry = space.pages[run.start + index].entry;
        matches!(entry, Entry::Present { exclusive: true, .. })
    };
    if out == run.len() {
        return [out; 3];
    }
    let alike = (0..out).rev().take_while(|&index| exclusive(index) == exclusive(out)).count();
    let folio = out - alike;
    let first_exclusive = (0..run.len()).find(|&index| exclusive(index)).unwrap_or(run.len());
    // A run that was not reached has no page out.
    let gather = if point == Point::Share && out >= first_exclusive { first_exclusive } else { folio };
    [out, folio, gather]
}
