//! What a file has, by page index: its folios, sorted, in chunks, so that a change moves little and every allocation can fail cleanly.

use alloc::vec::Vec;

use mmu::Pfn;

use crate::budget::{Budget, ITEM};
use crate::errno::Errno;

/// Folios in a chunk, at most: as many as fit into a page.
const CHUNK: usize = 170;
/// What the budget has a chunk for.
const CHUNK_ITEMS: usize = (CHUNK * size_of::<Part>()).div_ceil(ITEM);

/// A folio of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    /// The index of its first page in the file.
    pub(crate) first: u64,
    /// Its pages.
    pub(crate) pages: usize,
    /// Its first frame.
    pub(crate) head: Pfn,
}

impl Part {
    /// One past the index of its last page.
    pub(crate) const fn end(&self) -> u64 {
        self.first + self.pages as u64
    }
}

/// The folios of a file. None overlap; what lies between them are holes.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Never an empty one; each allocated at full size.
    chunks: Vec<Vec<Part>>,
}

impl Index {
    /// Nothing yet.
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    /// The folio that has the page of this index.
    pub(super) fn find(&self, index: u64) -> Option<Part> {
        self.first_from(index).filter(|part| part.first <= index)
    }

    /// Whether no folio has any of `pages` pages from `first` on.
    pub(super) fn is_hole(&self, first: u64, pages: usize) -> bool {
        self.first_from(first).is_none_or(|part| part.first >= first + pages as u64)
    }

    /// All, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Part> {
        self.chunks.iter().flatten().copied()
    }

    /// Adds a folio where there is a hole.
    ///
    /// # Errors
    /// `ENOMEM`, with nothing changed, also where the budget says so.
    pub(super) fn insert(&mut self, part: Part, budget: &Budget) -> Result<(), Errno> {
        let chunk = self.chunk_of(part.first).min(self.chunks.len().saturating_sub(1));
        if self.chunks.get(chunk).is_none_or(|chunk| chunk.len() == CHUNK) {
            self.make_room(chunk, part.first, budget)?;
        }
        let chunk = self.chunk_of(part.first).min(self.chunks.len() - 1);
        let chunk = &mut self.chunks[chunk];
        chunk.insert(chunk.partition_point(|other| other.first < part.first), part);
        Ok(())
    }

    /// Takes out the last folio, if none of its pages has an index below `from`.
    pub(super) fn pop_from(&mut self, from: u64, budget: &Budget) -> Option<Part> {
        let chunk = self.chunks.last_mut()?;
        let part = if chunk.last()?.first >= from { chunk.pop() } else { None };
        if chunk.is_empty() {
            self.chunks.pop();
            // Less is always granted.
            let _ = budget.change(CHUNK_ITEMS, 0);
        }
        part
    }

    fn first_from(&self, index: u64) -> Option<Part> {
        let chunk = self.chunks.get(self.chunk_of(index))?;
        chunk.get(chunk.partition_point(|part| part.end() <= index)).copied()
    }

    /// The first chunk with a folio that ends after `index`; one past the last if there is none.
    fn chunk_of(&self, index: u64) -> usize {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|part| part.end() <= index))
    }

    /// A new chunk with the upper half of a full one; or with nothing yet, where the folio for page `first` will be the last of all, as in
    /// a file that is written from its start on.
    fn make_room(&mut self, full: usize, first: u64, budget: &Budget) -> Result<(), Errno> {
        let mut upper = Vec::new();
        self.chunks.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        upper.try_reserve_exact(CHUNK).map_err(|_| Errno::ENOMEM)?;
        budget.change(0, CHUNK_ITEMS)?;
        match self.chunks.get_mut(full) {
            Some(chunk) if chunk.last().is_some_and(|last| first < last.first) => {
                upper.extend(chunk.drain(CHUNK / 2..));
                self.chunks.insert(full + 1, upper);
            }
            // Never left empty: the caller fills it.
            _ => self.chunks.push(upper),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(first: u64, pages: usize) -> Part {
        Part { first, pages, head: Pfn::new(first + 1000) }
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
        while index.pop_from(0, &budget).is_some() {}
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_file_that_is_written_from_its_start_has_full_chunks() {
        let (mut index, budget) = (Index::new(), Budget::new());
        budget.limit_to(3 * CHUNK_ITEMS * ITEM);
        let full = 3 * CHUNK as u64;
        (0..full).for_each(|at| index.insert(part(at, 1), &budget).unwrap());
        assert_eq!((index.insert(part(full, 1), &budget), index.iter().count()), (Err(Errno::ENOMEM), full as usize));
        assert!(index.pop_from(full - 1, &budget).is_some() && index.insert(part(full, 1), &budget).is_ok());
        assert!((0..full - 1).all(|at| index.find(at) == Some(part(at, 1))));
    }

    #[test]
    fn a_cut_takes_what_lies_behind_it_and_leaves_what_straddles() {
        let (mut index, budget) = (Index::new(), Budget::new());
        (0..10).for_each(|at| index.insert(part(16 * at, 16), &budget).unwrap());
        let mut gone = Vec::new();
        while let Some(part) = index.pop_from(24, &budget) {
            gone.push(part.first);
        }
        assert_eq!((gone.len(), gone.last()), (8, Some(&32)));
        assert_eq!(index.iter().last(), Some(part(16, 16)));
        assert!(
            index.pop_from(17, &budget).is_none()
                && index.pop_from(16, &budget).is_some()
                && index.pop_from(0, &budget).is_some()
        );
        assert!(index.pop_from(0, &budget).is_none() && index.is_hole(0, 1));
    }
}
