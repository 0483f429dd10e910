//! The flush of a reclaim batch: one pair of DSB for everything that it has taken out.

use alloc::vec::Vec;

use mmu::range::Run;
use mmu::{Cause, Depth, Dsb, Scope, TlbOp, VirtAddr};

use super::{flush_range, free_flushed, issue, leaf_run};
use crate::frame::OrphanList;
use crate::memory::Memory;
use crate::space::Space;

/// The runs of addresses that a batch has taken out, over any number of tables and spaces: flushed with one pair of DSB.
#[derive(Debug)]
pub struct BatchFlush {
    runs: Vec<Run>,
    /// ASID rollovers when the first of them was added.
    rollovers: u64,
}

impl BatchFlush {
    /// Room for `runs` runs, or for none if memory is that short: then each is flushed by itself.
    pub fn with_room_for(runs: usize) -> Self {
        let mut list = Vec::new();
        let _ = list.try_reserve_exact(runs);
        Self { runs: list, rollovers: 0 }
    }

    /// `pages` entries from `start` on hold no translation any more. Joined to the run before where it continues it. When there is no
    /// room, what there is gets flushed, since nothing may be allocated under a table's lock.
    pub fn add(&mut self, memory: &Memory, space: &Space, start: VirtAddr, pages: usize) {
        let asid = space.asid();
        if let Some(last) = self.runs.last_mut() {
            if last.asid == asid && last.start.add_pages(last.pages) == start {
                last.pages += pages;
                return;
            }
        }
        if self.runs.len() == self.runs.capacity() {
            self.flush(memory);
        }
        if self.runs.is_empty() {
            self.rollovers = memory.asid_rollovers();
        }
        if self.runs.capacity() == 0 {
            return flush_range(memory, space, start, pages, Depth::Leaf, Cause::Unmap);
        }
        self.runs.push(leaf_run(space, start, pages, Depth::Leaf, Scope::Broadcast));
    }

    /// Flushes every run, complete on return: one planner call a run, one pair of DSB in all.
    pub fn flush(&mut self, memory: &Memory) {
        if self.runs.is_empty() {
            return;
        }
        self.join_neighbours();
        memory.door.dsb(Dsb::IshSt);
        if memory.asid_rollovers() == self.rollovers {
            self.runs.iter().for_each(|&run| issue(memory, run, Cause::Unmap));
        } else {
            // The ASIDs of the runs are not those of the spaces any more.
            memory.door.invalidate(TlbOp::all(Scope::Broadcast), Cause::Unmap);
        }
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
            let touches = last.asid == next.asid && last.start.add_pages(last.pages) == next.start;
            if touches {
                last.pages += next.pages;
            }
            touches
        });
    }

    /// Completes the flush, then frees what waited for it.
    pub fn free(&mut self, memory: &Memory, owed: &mut OrphanList) {
        self.flush(memory);
        free_flushed(memory, owed);
    }
}
