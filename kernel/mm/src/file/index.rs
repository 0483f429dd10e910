//! Where a file has its pages, by page index: runs in memory or in swap, sorted, in chunks, so that a change moves little and every
//! allocation can fail cleanly.

use alloc::vec::Vec;

use mmu::Pfn;

use crate::budget::{Budget, ITEM};
use crate::errno::Errno;
use crate::swap::SwapEntry;

/// Runs in a chunk, at most: as many as fit into a page.
const CHUNK: usize = 4096 / size_of::<Packed>();
/// What the budget has a chunk for.
const CHUNK_ITEMS: usize = (CHUNK * size_of::<Packed>()).div_ceil(ITEM);

/// Where a page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In this frame.
    Memory(Pfn),
    /// In this slot, for which the file has one count.
    Swap(SwapEntry),
}

impl Place {
    /// Where the page `count` on is, in the same run.
    pub(crate) const fn advance(self, count: usize) -> Self {
        match self {
            Self::Memory(frame) => Self::Memory(frame.add(count)),
            Self::Swap(entry) => Self::Swap(entry.advance(count)),
        }
    }
}

/// A run of pages of a file that follow each other in memory, where they may be of several folios, or in swap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    /// The index of its first page in the file.
    pub(crate) first: u64,
    /// Its pages.
    pub(crate) pages: usize,
    /// Where its first page is.
    pub(crate) place: Place,
}

impl Part {
    /// One past the index of its last page.
    pub(crate) const fn end(&self) -> u64 {
        self.first + self.pages as u64
    }

    /// Where the page of this index is, which is one of the run.
    pub(crate) const fn place_of(&self, index: u64) -> Place {
        self.place.advance((index - self.first) as usize)
    }

    /// The frame of a page of the run, if it is in memory.
    pub(crate) const fn frame_of(&self, index: u64) -> Option<Pfn> {
        match self.place_of(index) {
            Place::Memory(frame) => Some(frame),
            Place::Swap(_) => None,
        }
    }

    /// The pages `first..end` of the run; `None` if there is no such page.
    pub(crate) fn piece(&self, first: u64, end: u64) -> Option<Self> {
        let (first, end) = (first.max(self.first), end.min(self.end()));
        (first < end).then(|| Self { first, pages: (end - first) as usize, place: self.place_of(first) })
    }
}

/// A run in two words: a file that comes back from swap page by page has one for each page.
#[derive(Clone, Copy, Debug)]
struct Packed {
    /// The index of its first page, and how many there are.
    pages: u64,
    /// Where the first is.
    place: u64,
}

/// Where the number of pages begins, above the index of the first.
const PAGES_SHIFT: u32 = 36;
/// Of a place: it is in swap.
const IN_SWAP: u64 = 1 << 63;
/// Pages of a run, at most.
const MAX_PAGES: usize = (1 << (u64::BITS - PAGES_SHIFT)) - 1;

impl Packed {
    const fn of(part: Part) -> Self {
        debug_assert!(part.first >> PAGES_SHIFT == 0 && part.pages <= MAX_PAGES);
        let place = match part.place {
            Place::Memory(frame) => frame.as_u64(),
            Place::Swap(entry) => IN_SWAP | entry.to_word() as u64,
        };
        Self { pages: (part.pages as u64) << PAGES_SHIFT | part.first, place }
    }

    const fn part(self) -> Part {
        let place = if self.place & IN_SWAP == 0 {
            Place::Memory(Pfn::new(self.place))
        } else {
            Place::Swap(SwapEntry::from_word(self.place as u32))
        };
        Part { first: self.first(), pages: (self.pages >> PAGES_SHIFT) as usize, place }
    }

    const fn first(self) -> u64 {
        self.pages & ((1 << PAGES_SHIFT) - 1)
    }

    const fn end(self) -> u64 {
        self.first() + (self.pages >> PAGES_SHIFT)
    }

    /// Both as one run, if `next` goes on where this one ends.
    fn join(self, next: Self) -> Option<Self> {
        let (part, next) = (self.part(), next.part());
        let fits = part.end() == next.first && part.place.advance(part.pages) == next.place;
        let pages = part.pages + next.pages;
        (fits && pages <= MAX_PAGES).then(|| Self::of(Part { pages, ..part }))
    }
}

/// The runs of a file. None overlap; what lies between them are holes.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Never an empty one; each allocated at full size.
    chunks: Vec<Vec<Packed>>,
}

impl Index {
    /// Nothing yet.
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    /// The run that has the page of this index.
    pub(super) fn find(&self, index: u64) -> Option<Part> {
        self.first_from(index).filter(|part| part.first <= index)
    }

    /// Whether no run has any of `pages` pages from `first` on.
    pub(super) fn is_hole(&self, first: u64, pages: usize) -> bool {
        self.first_from(first).is_none_or(|part| part.first >= first + pages as u64)
    }

    /// All, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Part> {
        self.chunks.iter().flatten().map(|part| part.part())
    }

    /// The last run that begins before page `index`.
    pub(super) fn last_before(&self, index: u64) -> Option<Part> {
        let chunk = self.chunks.partition_point(|chunk| chunk.first().is_some_and(|part| part.first() < index));
        let chunk = self.chunks.get(chunk.checked_sub(1)?)?;
        chunk.get(chunk.partition_point(|part| part.first() < index).checked_sub(1)?).map(|part| part.part())
    }

    /// Adds a run where there is a hole.
    ///
    /// # Errors
    /// `ENOMEM`, with nothing changed, also where the budget says so.
    pub(super) fn insert(&mut self, part: Part, budget: &Budget) -> Result<(), Errno> {
        let at = self.chunk_of(part.first).min(self.chunks.len().saturating_sub(1));
        match self.chunks.get(at) {
            // The last of all: a file that is written from its start on has full chunks.
            Some(chunk) if chunk.len() == CHUNK && chunk.last().is_some_and(|last| last.first() < part.first) => {
                self.add_chunk(at, CHUNK, budget)?;
            }
            Some(chunk) if chunk.len() == CHUNK => self.add_chunk(at, CHUNK / 2, budget)?,
            Some(_) => {}
            None => self.add_chunk(0, 0, budget)?,
        }
        let chunk = self.chunk_of(part.first).min(self.chunks.len() - 1);
        let chunk = &mut self.chunks[chunk];
        let at = chunk.partition_point(|other| other.first() < part.first);
        chunk.insert(at, Packed::of(part));
        join_around(chunk, at, 1);
        Ok(())
    }

    /// Says that the pages of `part`, which all are of one run, are where it says; a hole, if `stays` is false. The rest of the run stays.
    ///
    /// # Errors
    /// `ENOMEM`, with nothing changed: where the run falls into more pieces. Never where a run loses its beginning, its end or all of it.
    pub(super) fn change(&mut self, part: Part, stays: bool, budget: &Budget) -> Result<(), Errno> {
        let Some(old) = self.find(part.first).filter(|old| part.end() <= old.end()) else { return Err(Errno::ENOMEM) };
        let pieces = [old.piece(old.first, part.first), stays.then_some(part), old.piece(part.end(), old.end())];
        let count = pieces.iter().flatten().count();
        let mut chunk = self.chunk_of(part.first);
        if self.chunks[chunk].len() + count > CHUNK + 1 {
            if !self.move_to_the_one_before(chunk, part.first) {
                self.add_chunk(chunk, CHUNK / 2, budget)?;
            }
            chunk = self.chunk_of(part.first);
        }
        let parts = &mut self.chunks[chunk];
        let at = parts.partition_point(|other| other.end() <= part.first);
        parts.remove(at);
        for piece in pieces.into_iter().rev().flatten() {
            parts.insert(at, Packed::of(piece));
        }
        join_around(parts, at, count);
        if parts.is_empty() {
            self.chunks.remove(chunk);
            // Less is always granted.
            let _ = budget.change(CHUNK_ITEMS, 0);
        }
        Ok(())
    }

    /// The first run that ends after page `index`.
    pub(super) fn first_from(&self, index: u64) -> Option<Part> {
        let chunk = self.chunks.get(self.chunk_of(index))?;
        chunk.get(chunk.partition_point(|part| part.end() <= index)).map(|part| part.part())
    }

    /// The first chunk with a folio that ends after `index`; one past the last if there is none.
    fn chunk_of(&self, index: u64) -> usize {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|part| part.end() <= index))
    }

    /// Moves runs that end before page `index` from a full chunk to the one before, as far as there is room. Whether they were enough
    /// for one that falls into three.
    fn move_to_the_one_before(&mut self, chunk: usize, index: u64) -> bool {
        let (before, full) = self.chunks.split_at_mut(chunk);
        let (Some(before), Some(full)) = (before.last_mut(), full.first_mut()) else { return false };
        let count = full.partition_point(|part| part.end() <= index).min(CHUNK - before.len());
        before.extend(full.drain(..count));
        count > 1
    }

    /// A new chunk behind another, with what that has from the place `from` on. Where that is nothing the caller fills it: no chunk stays
    /// empty.
    fn add_chunk(&mut self, at: usize, from: usize, budget: &Budget) -> Result<(), Errno> {
        let mut upper = Vec::new();
        self.chunks.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        upper.try_reserve_exact(CHUNK).map_err(|_| Errno::ENOMEM)?;
        budget.change(0, CHUNK_ITEMS)?;
        if let Some(chunk) = self.chunks.get_mut(at) {
            upper.extend(chunk.drain(from..));
        }
        self.chunks.insert(self.chunks.len().min(at + 1), upper);
        Ok(())
    }
}

/// Joins runs that go on where the one before ends: `count` from the place `at` on, and their neighbours in the chunk.
fn join_around(chunk: &mut Vec<Packed>, at: usize, count: usize) {
    for next in (at..at + count + 1).rev() {
        let Some(before) = next.checked_sub(1).filter(|_| next < chunk.len()) else { continue };
        if let Some(both) = chunk[before].join(chunk[next]) {
            chunk[before] = both;
            chunk.remove(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(first: u64, pages: usize) -> Part {
        Part { first, pages, place: Place::Memory(Pfn::new(2 * first + 1000)) }
    }

    /// Makes a hole of all from a page on.
    fn drop_from(index: &mut Index, from: u64, budget: &Budget) {
        while let Some(part) = index.last_before(u64::MAX).and_then(|part| part.piece(from, u64::MAX)) {
            index.change(part, false, budget).unwrap();
        }
    }

    #[test]
    fn what_is_inserted_is_found_by_each_of_its_pages() {
        let (mut index, budget) = (Index::new(), Budget::new());
        for first in [32, 0, 64, 16] {
            index.insert(part(first, 16), &budget).unwrap();
        }
        index.insert(part(50, 1), &budget).unwrap();
        let found = |at| index.find(at).map(|part: Part| part.first);
        assert_eq!(
            [0, 15, 16, 47, 48, 50, 51, 79, 80].map(found),
            [Some(0), Some(0), Some(16), Some(32), None, Some(50), None, Some(64), None]
        );
        assert!(index.is_hole(48, 2) && !index.is_hole(48, 3) && index.is_hole(51, 13) && index.is_hole(80, 1000));
    }

    #[test]
    fn many_stay_sorted_in_whatever_order_they_come() {
        let (mut index, budget) = (Index::new(), Budget::new());
        let count = 3000_u64;
        for step in 0..count {
            index.insert(part(step * 1009 % count * 2, 1), &budget).unwrap();
        }
        assert!(index.iter().map(|part| part.first).eq((0..count).map(|step| 2 * step)));
        assert!((0..2 * count).all(|at| index.find(at).is_some() == (at % 2 == 0)));
        drop_from(&mut index, 0, &budget);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_file_that_is_written_from_its_start_has_full_chunks() {
        let (mut index, budget) = (Index::new(), Budget::new());
        budget.limit_to(3 * CHUNK_ITEMS * ITEM);
        let full = 3 * CHUNK as u64;
        (0..full).for_each(|at| index.insert(part(at, 1), &budget).unwrap());
        assert_eq!((index.insert(part(full, 1), &budget), index.iter().count()), (Err(Errno::ENOMEM), full as usize));
        drop_from(&mut index, full - 1, &budget);
        assert!(index.insert(part(full, 1), &budget).is_ok());
        assert!((0..full - 1).all(|at| index.find(at) == Some(part(at, 1))));
    }

    #[test]
    fn a_cut_takes_the_end_of_a_run_without_room() {
        let (mut index, budget) = (Index::new(), Budget::new());
        (0..10).for_each(|at| index.insert(part(16 * at, 16), &budget).unwrap());
        budget.limit_to(0);
        drop_from(&mut index, 24, &budget);
        assert!(index.iter().eq([part(0, 16), part(16, 8)]));
        drop_from(&mut index, 0, &budget);
        assert_eq!((index.last_before(100), budget.used()), (None, 0));
    }

    #[test]
    fn a_piece_of_a_run_moves_and_the_rest_stays_where_it_is() {
        let (mut index, budget) = (Index::new(), Budget::new());
        let slot = |slot| Place::Swap(SwapEntry { device: 0, slot });
        index.insert(Part { first: 32, pages: 16, place: slot(512) }, &budget).unwrap();
        index.change(Part { first: 37, pages: 1, place: Place::Memory(Pfn::new(9)) }, true, &budget).unwrap();
        let place = |at| index.find(at).map(|part: Part| part.place_of(at));
        assert_eq!(
            [32, 36, 37, 38, 47].map(place),
            [512, 516, 0, 518, 527].map(|at| match at {
                0 => Some(Place::Memory(Pfn::new(9))),
                at => Some(slot(at)),
            })
        );
        index.change(Part { first: 40, pages: 4, place: slot(520) }, false, &budget).unwrap();
        assert!(index.is_hole(40, 4) && !index.is_hole(39, 1) && !index.is_hole(44, 1));
        // Not of one run.
        assert_eq!(index.change(Part { first: 36, pages: 2, place: slot(1) }, true, &budget), Err(Errno::ENOMEM));
        assert_eq!(
            index.iter().map(|part| (part.first, part.pages)).collect::<Vec<_>>(),
            [(32, 5), (37, 1), (38, 2), (44, 4)]
        );
    }

    #[test]
    fn runs_that_go_on_are_one() {
        let (mut index, budget) = (Index::new(), Budget::new());
        let at = |first: u64, pages| Part {
            first,
            pages,
            place: Place::Swap(SwapEntry { device: 1, slot: 100 + first as u32 }),
        };
        [8, 0, 4].into_iter().for_each(|first| index.insert(at(first, 4), &budget).unwrap());
        assert!(index.iter().eq([at(0, 12)]));
        index.change(Part { place: Place::Memory(Pfn::new(7)), ..at(5, 1) }, true, &budget).unwrap();
        index.change(Part { place: Place::Memory(Pfn::new(8)), ..at(6, 1) }, true, &budget).unwrap();
        assert!(index.iter().eq([at(0, 5), Part { place: Place::Memory(Pfn::new(7)), ..at(5, 2) }, at(7, 5)]));
        index.change(at(5, 2), true, &budget).unwrap();
        assert!(index.iter().eq([at(0, 12)]));
    }

    #[test]
    fn a_file_whose_runs_fall_into_pages_from_its_start_has_full_chunks() {
        let (mut index, budget) = (Index::new(), Budget::new());
        let runs = 2 * CHUNK as u64;
        (0..runs).for_each(|at| index.insert(part(16 * at, 16), &budget).unwrap());
        for at in 0..16 * runs {
            index
                .change(
                    Part { place: Place::Swap(SwapEntry { device: 0, slot: 1 + 2 * at as u32 }), ..part(at, 1) },
                    true,
                    &budget,
                )
                .unwrap();
        }
        assert_eq!(index.iter().count() as u64, 16 * runs);
        assert!(budget.used() <= 34 * CHUNK_ITEMS, "{} chunks", budget.used() / CHUNK_ITEMS);
    }

    #[test]
    fn what_needs_room_that_is_not_there_changes_nothing() {
        let (mut index, budget) = (Index::new(), Budget::new());
        (0..CHUNK as u64).for_each(|at| index.insert(part(16 * at, 16), &budget).unwrap());
        budget.limit_to(CHUNK_ITEMS * ITEM);
        let before: Vec<Part> = index.iter().collect();
        assert_eq!(index.change(part(20, 1), false, &budget), Err(Errno::ENOMEM));
        assert!(index.iter().eq(before));
        // The whole run, and its beginning, need none.
        assert_eq!(
            (index.change(part(16, 16), true, &budget), index.change(part(32, 8), false, &budget)),
            (Ok(()), Ok(()))
        );
        budget.limit_to(2 * CHUNK_ITEMS * ITEM);
        assert_eq!(index.change(part(100, 1), false, &budget), Ok(()));
        assert!(index.is_hole(100, 1) && (101..16 * CHUNK as u64).all(|at| index.find(at).is_some()));
    }
}
