//! The flush of a reclaim batch of `gather`: which runs of addresses it has taken out, of how many spaces ever.

use alloc::vec::Vec;

use mmu::mutant::{self, Mutant};
use mmu::range::Run;
use mmu::{Asid, Cause, Depth, Dsb, PAGE_SIZE, Scope, TlbOp, USER_END, VirtAddr};

use super::{free_flushed, issue, leaf_run};
use crate::frame::OrphanList;
use crate::memory::Memory;
use crate::space::Space;

/// The runs of addresses that a batch has taken out, over any number of tables and spaces: flushed with one pair of DSB, however many there
/// are. Where there is no room for all of them, more is flushed than was taken out.
#[derive(Debug)]
pub struct BatchFlush {
    runs: Vec<Run>,
    /// The run that was added to last.
    last: usize,
    /// Something was taken out that no run tells of.
    everything: bool,
    /// ASID rollovers when the first of them was added.
    rollovers: u64,
}

/// All that a space may have, as a run.
const WHOLE: usize = (USER_END / PAGE_SIZE) as usize;

impl BatchFlush {
    /// Room for `runs` runs, or for none if memory is that short.
    pub fn with_room_for(runs: usize) -> Self {
        let mut flush = Self { runs: Vec::new(), last: 0, everything: false, rollovers: 0 };
        flush.reserve(runs);
        flush
    }

    /// Room for so many more. Called before a table is locked, as nothing may be allocated afterwards.
    pub(crate) fn reserve(&mut self, runs: usize) {
        let _ = self.runs.try_reserve(runs);
    }

    /// `pages` entries from `start` on hold no translation any more.
    #[inline]
    pub fn add(&mut self, memory: &Memory, space: &Space, start: VirtAddr, pages: usize) {
        if !self.joins(self.last, space.asid(), start, pages) {
            self.add_apart(memory, space, start, pages);
        }
    }

    /// Adds what does not continue the last run.
    #[inline(never)]
    fn add_apart(&mut self, memory: &Memory, space: &Space, start: VirtAddr, pages: usize) {
        let asid = space.asid();
        // Those who share folios take turns, each in the same order for every folio.
        let next = if self.last + 1 < self.runs.len() { self.last + 1 } else { 0 };
        if self.joins(next, asid, start, pages) {
            self.last = next;
            return;
        }
        if self.runs.is_empty() && !self.everything {
            self.rollovers = memory.asid_rollovers();
        }
        if self.runs.len() == self.runs.capacity() {
            self.make_room();
        }
        if self.runs.len() == self.runs.capacity() {
            self.everything = mutant::or(Mutant::BatchOverflowForgotten, true, self.everything);
            return;
        }
        self.last = self.runs.len();
        self.runs.push(leaf_run(space, start, pages, Depth::Leaf, Scope::Broadcast));
    }

    /// Adds to the run in this place what continues it.
    #[inline(always)]
    fn joins(&mut self, place: usize, asid: Asid, start: VirtAddr, pages: usize) -> bool {
        let Some(run) = self.runs.get_mut(place) else { return false };
        let joins = run.asid == asid && run.start.add_pages(run.pages) == start;
        if joins {
            run.pages += pages;
        }
        joins
    }

    /// Flushes every run, complete on return: one planner call a run, one pair of DSB in all.
    pub fn flush(&mut self, memory: &Memory) {
        if self.runs.is_empty() && !self.everything {
            return;
        }
        self.join_neighbours();
        memory.door.dsb(Dsb::IshSt);
        if !self.everything && memory.asid_rollovers() == self.rollovers {
            self.runs.iter().for_each(|&run| issue(memory, run, Cause::Unmap));
        } else {
            // There are more than runs tell of, or their ASIDs are not those of the spaces any more.
            memory.door.invalidate(TlbOp::all(Scope::Broadcast), Cause::Unmap);
        }
        (self.last, self.everything) = (0, false);
        self.runs.clear();
        memory.door.dsb(Dsb::Ish);
    }

    /// Sorts the runs and makes one of those that touch, as the folios of a batch come in any order.
    fn join_neighbours(&mut self) {
        if self.runs.len() < 2 {
            return;
        }
        self.runs.sort_unstable_by_key(|run| (run.asid, run.start));
        self.runs.dedup_by(|next, last| {
            let end = last.start.add_pages(last.pages);
            let touches = last.asid == next.asid && next.start <= end;
            if touches {
                last.pages =
                    last.pages.max(((next.start.as_u64() - last.start.as_u64()) / PAGE_SIZE) as usize + next.pages);
            }
            touches
        });
    }

    /// Joins what touches; where that does not make much room, each space that has several runs loses all it has.
    fn make_room(&mut self) {
        self.join_neighbours();
        if self.runs.len() > self.runs.capacity() / 2 {
            self.runs.dedup_by(|next, last| {
                let same = last.asid == next.asid;
                if same {
                    (last.start, last.pages) = (VirtAddr::new(0), WHOLE);
                }
                same
            });
        }
        self.last = self.runs.len().saturating_sub(1);
    }

    /// Completes the flush, then frees what waited for it.
    pub fn free(&mut self, memory: &Memory, owed: &mut OrphanList) {
        self.flush(memory);
        free_flushed(memory, owed);
    }
}
