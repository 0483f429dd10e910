//! The list of the areas that a space keeps: sorted and in chunks, so that a change moves little and every allocation can fail cleanly.
//!
//! A change is planned first, as the areas that go and those that come, neighbours merged; the reverse map is told the same plan.

use alloc::vec::Vec;

use mmu::VirtAddr;

use super::Area;
use crate::errno::Errno;

/// Areas that a space may have: Linux's default of `vm.max_map_count`. On a small machine there may be fewer.
pub const MAX_AREAS: usize = 65_530;
/// Frames of memory that each area of a space may rely on: what an area, its anon_vma and its extents take of the kernel's heap stays
/// below half of it.
const FRAMES_PER_AREA: usize = 4;

/// Up to three areas, next to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Few {
    areas: [Area; 3],
    count: usize,
}

impl Few {
    fn of(areas: impl IntoIterator<Item = Option<Area>>) -> Self {
        let mut few = Self::default();
        for area in areas.into_iter().flatten() {
            few.areas[few.count] = area;
            few.count += 1;
        }
        few
    }

    fn as_slice(&self) -> &[Area] {
        &self.areas[..self.count]
    }
}

/// A planned change: these areas go, those come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Change {
    removed: Few,
    added: Few,
}

impl Change {
    /// The areas that go; the list has them now.
    pub fn removed(&self) -> &[Area] {
        self.removed.as_slice()
    }

    /// The areas that come.
    pub fn added(&self) -> &[Area] {
        self.added.as_slice()
    }

    /// What undoes it.
    pub(crate) const fn reversed(&self) -> Self {
        Self { removed: self.added, added: self.removed }
    }

    /// Whether nothing changes.
    pub const fn is_empty(&self) -> bool {
        self.removed.count == 0 && self.added.count == 0
    }
}

/// Areas in a chunk, at most.
const CHUNK: usize = 64;
/// Areas that one change can add beyond those it removes, at most.
const GROWTH: usize = 2;

/// The areas of a space, sorted, none overlapping.
#[derive(Debug)]
pub struct Areas {
    /// Never an empty one; each allocated at full size.
    chunks: Vec<Vec<Area>>,
    count: usize,
    limit: usize,
}

impl Default for Areas {
    fn default() -> Self {
        Self::new()
    }
}

/// A place in the list, valid until it changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    chunk: usize,
    index: usize,
}

impl Areas {
    /// None yet, and at most [`MAX_AREAS`].
    pub const fn new() -> Self {
        Self { chunks: Vec::new(), count: 0, limit: MAX_AREAS }
    }

    /// None yet, and no more than a machine with `frames` frames has room for.
    pub fn for_memory(frames: usize) -> Self {
        Self { limit: MAX_AREAS.min(frames / FRAMES_PER_AREA), ..Self::new() }
    }

    /// How many there may be.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Area> {
        self.chunks.iter().flatten()
    }

    /// The area that holds `address`.
    #[inline]
    pub fn find(&self, address: VirtAddr) -> Option<&Area> {
        self.first_from(address).filter(|area| area.start <= address)
    }

    /// The first area that ends after `address`.
    pub fn first_from(&self, address: VirtAddr) -> Option<&Area> {
        self.at(self.place(address))
    }

    /// The last area that starts before `address`.
    pub fn last_before(&self, address: VirtAddr) -> Option<&Area> {
        let place = self.place(address);
        self.at(place).filter(|area| area.start < address).or_else(|| self.before(place))
    }

    /// Whether no area overlaps a range.
    pub fn is_free(&self, start: VirtAddr, end: VirtAddr) -> bool {
        self.first_from(start).is_none_or(|area| area.start >= end)
    }

    /// The highest aligned address for `length` bytes that no area overlaps, with all of them in `low..high`.
    pub fn find_gap(&self, length: u64, align: u64, low: VirtAddr, high: VirtAddr) -> Option<VirtAddr> {
        let fits = |bottom: VirtAddr, top: VirtAddr| {
            let start = VirtAddr::new(top.as_u64().checked_sub(length)?).align_down(align);
            (start >= bottom).then_some(start)
        };
        let mut top = high;
        for area in self.iter().rev().skip_while(|area| area.start >= high) {
            if let Some(start) = fits(area.end.max(low), top) {
                return Some(start);
            }
            top = area.start;
            if top <= low {
                return None;
            }
        }
        fits(low, top)
    }

    /// A new area where there is none, merged with its neighbours.
    pub fn plan_insert(&self, area: Area) -> Change {
        let place = self.place(area.start);
        let next = self.at(place).copied();
        debug_assert!(next.is_none_or(|next| next.start >= area.end), "an area is there");
        self.merged(self.before(place).copied(), next, None, [None, None], area)
    }

    /// The part `start..end` of `area` changed by `change`, merged with what it then matches.
    pub fn plan_change(&self, area: &Area, start: VirtAddr, end: VirtAddr, change: impl FnOnce(&mut Area)) -> Change {
        let (left, right) = rest(area, start, end);
        let part = area.part(start, end);
        let mut middle = part;
        change(&mut middle);
        if middle == part {
            return Change::default();
        }
        let place = self.place(area.start);
        let before = self.before(place).filter(|_| left.is_none()).copied();
        let after = self.after(place).filter(|_| right.is_none()).copied();
        self.merged(before, after, Some(*area), [left, right], middle)
    }

    fn merged(
        &self,
        before: Option<Area>,
        after: Option<Area>,
        old: Option<Area>,
        [left, right]: [Option<Area>; 2],
        middle: Area,
    ) -> Change {
        let mut middle = middle;
        let before = before.filter(|before| before.join(&middle).map(|joined| middle = joined).is_some());
        let after = after.filter(|after| middle.join(after).map(|joined| middle = joined).is_some());
        Change { removed: Few::of([before, old, after]), added: Few::of([left, Some(middle), right]) }
    }

    /// `area` made two at an address inside it. They differ in nothing, so a change beside the border may merge them again.
    pub fn plan_split(&self, area: &Area, at: VirtAddr) -> Change {
        let parts = [area.part(area.start, at), area.part(at, area.end)];
        Change { removed: Few::of([Some(*area)]), added: Few::of(parts.map(Some)) }
    }

    /// A new area where there is none, not merged with its neighbours, so that it can be taken away again without memory.
    pub fn plan_insert_alone(&self, area: Area) -> Change {
        Change { removed: Few::default(), added: Few::of([Some(area)]) }
    }

    /// `area` merged with those of its neighbours from which nothing tells it apart.
    pub fn plan_merge(&self, area: &Area) -> Change {
        let place = self.place(area.start);
        let change =
            self.merged(self.before(place).copied(), self.after(place).copied(), Some(*area), [None, None], *area);
        if change.removed().len() > 1 { change } else { Change::default() }
    }

    /// The part `start..end` of `area` taken away.
    pub fn plan_remove(&self, area: &Area, start: VirtAddr, end: VirtAddr) -> Change {
        let (left, right) = rest(area, start, end);
        Change { removed: Few::of([Some(*area)]), added: Few::of([left, right]) }
    }

    /// Does what was planned.
    ///
    /// # Errors
    /// ENOMEM, with nothing changed, if there are too many areas or there is no memory for one more.
    pub fn apply(&mut self, change: &Change) -> Result<(), Errno> {
        let (old, new) = (change.removed(), change.added());
        let Some(first) = old.first().or(new.first()) else { return Ok(()) };
        if new.len() > old.len() {
            // What is added follows the last that goes, if any does: it must fit into the same chunk.
            let chunk = old.last().map_or_else(|| self.chunk_for(first.start), |last| self.place(last.start).chunk);
            self.make_room(chunk, new.len() - old.len())?;
        }
        let kept = old.len().min(new.len());
        // From the last to the first: an area that grows over its successor must not hide it from the search.
        for was in old[kept..].iter().rev() {
            self.take_out(was.start);
        }
        for (was, now) in old.iter().zip(new).rev() {
            let place = self.place(was.start);
            debug_assert_eq!(self.at(place), Some(was), "the plan is out of date");
            self.chunks[place.chunk][place.index] = *now;
        }
        for area in &new[kept..] {
            self.put_in(*area);
        }
        Ok(())
    }

    /// Where the first area that ends after `address` is, or would be.
    fn place(&self, address: VirtAddr) -> Place {
        let ends_by = |area: &Area| area.end <= address;
        let chunk = self.chunks.partition_point(|chunk| chunk.last().is_some_and(ends_by));
        let index = self.chunks.get(chunk).map_or(0, |chunk| chunk.partition_point(ends_by));
        Place { chunk, index }
    }

    fn at(&self, place: Place) -> Option<&Area> {
        self.chunks.get(place.chunk)?.get(place.index)
    }

    fn before(&self, place: Place) -> Option<&Area> {
        match place.index.checked_sub(1) {
            Some(index) => self.at(Place { index, ..place }),
            None => self.chunks.get(place.chunk.checked_sub(1)?)?.last(),
        }
    }

    fn after(&self, place: Place) -> Option<&Area> {
        let index = place.index + 1;
        self.at(Place { index, ..place }).or_else(|| self.chunks.get(place.chunk + 1)?.first())
    }

    /// Which chunk takes an area that starts at `address`: that of the area before it, if there is one.
    fn chunk_for(&self, address: VirtAddr) -> usize {
        let place = self.place(address);
        if place.index == 0 { place.chunk.saturating_sub(1) } else { place.chunk }
    }

    /// Makes sure that `count` more areas fit into a chunk, without allocating later.
    fn make_room(&mut self, chunk: usize, count: usize) -> Result<(), Errno> {
        if self.count + count > self.limit {
            return Err(Errno::ENOMEM);
        }
        let upper = match self.chunks.get_mut(chunk) {
            Some(chunk) if chunk.len() + GROWTH <= CHUNK => return Ok(()),
            full => {
                let mut upper = Vec::new();
                upper.try_reserve_exact(CHUNK).map_err(|_| Errno::ENOMEM)?;
                if let Some(full) = full {
                    upper.extend(full.drain(CHUNK / 2..));
                }
                upper
            }
        };
        if let Err(upper) = self.insert_chunk(chunk + 1, upper) {
            self.chunks[chunk].extend(upper);
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    fn insert_chunk(&mut self, at: usize, chunk: Vec<Area>) -> Result<(), Vec<Area>> {
        if self.chunks.try_reserve(1).is_err() {
            return Err(chunk);
        }
        self.chunks.insert(at.min(self.chunks.len()), chunk);
        Ok(())
    }

    fn take_out(&mut self, start: VirtAddr) {
        let place = self.place(start);
        let chunk = &mut self.chunks[place.chunk];
        chunk.remove(place.index);
        if chunk.is_empty() {
            self.chunks.remove(place.chunk);
        } else {
            self.join_with_neighbour(place.chunk);
        }
        self.count -= 1;
    }

    /// Makes one of a chunk and the one before or behind it, if that has room for another change then. So chunks are about half full, as the
    /// budget takes them for, however many areas have gone.
    fn join_with_neighbour(&mut self, chunk: usize) {
        let fits = |first: &usize| {
            let pair = self.chunks.get(*first..first + 2);
            pair.is_some_and(|pair| pair[0].len() + pair[1].len() + GROWTH <= CHUNK)
        };
        if let Some(first) = [chunk.saturating_sub(1), chunk].into_iter().find(fits) {
            let second = self.chunks.remove(first + 1);
            self.chunks[first].extend(second);
        }
    }

    fn put_in(&mut self, area: Area) {
        let chunk = self.chunk_for(area.start);
        let chunk = &mut self.chunks[chunk];
        debug_assert!(chunk.len() < CHUNK);
        let index = chunk.partition_point(|other| other.end <= area.start);
        chunk.insert(index, area);
        self.count += 1;
    }
}

/// What is left of `area` on both sides of `start..end`.
fn rest(area: &Area, start: VirtAddr, end: VirtAddr) -> (Option<Area>, Option<Area>) {
    debug_assert!(area.covers(start, end) && start < end);
    let left = (area.start < start).then(|| area.part(area.start, start));
    let right = (end < area.end).then(|| area.part(end, area.end));
    (left, right)
}

#[cfg(test)]
mod tests;
