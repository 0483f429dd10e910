//! Forgetting translations: flushing runs and spaces, what an operation gathers before it frees, and the flush that reclaim defers.
//!
//! The template is always the same (reference 3.1): DSB ISHST, so that walkers see the changed descriptors; the TLBI; DSB ISH, which
//! completes them on every CPU. User addresses need no ISB: the return to EL0 synchronizes.

use alloc::vec::Vec;
use core::mem;
use core::sync::atomic::{AtomicU32, Ordering};

use mmu::mutant::{self, Mutant};
use mmu::range::{self, Means, Run, plan};
use mmu::{Cause, Depth, Dsb, Scope, Table, TlbOp, VirtAddr};

use crate::frame::OrphanList;
use crate::memory::Memory;
use crate::policy::Tlbi;
use crate::space::Space;

mod gather;

pub use gather::Gather;

/// Something that no CPU can reach by a translation any more, so that its frames may be used again. Only this module makes one.
///
/// A frame can not be freed without it:
/// ```compile_fail
/// fn free_at_once(memory: &mm::Memory, orphan: mm::Orphan) {
///     memory.free_folio(orphan); // takes a Flushed<Orphan>
/// }
/// ```
/// and nobody else can make one:
/// ```compile_fail
/// fn forge(orphan: mm::Orphan) -> mm::Flushed<mm::Orphan> {
///     mm::Flushed(orphan) // the field is private
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Flushed<T>(T);

impl<T> Flushed<T> {
    /// What was flushed.
    pub fn into_inner(self) -> T {
        self.0
    }

    /// The same, looked at.
    pub fn get(&self) -> &T {
        &self.0
    }
}

impl Flushed<Table> {
    /// A table that was never linked, so that no walk can have cached anything of it.
    pub(crate) fn never_linked(memory: &Memory, table: Table) -> Self {
        memory.door.free_table(table);
        Self(table)
    }
}

/// A run of pages of a space, mapped at the last level.
#[inline]
fn leaf_run(space: &Space, start: VirtAddr, pages: usize, depth: Depth, scope: Scope) -> Run {
    Run { asid: space.asid(), start, pages, level: if depth as u8 == Depth::Leaf as u8 { 3 } else { 0 }, depth, scope }
}

/// What CPU and policy allow.
#[inline]
fn means(memory: &Memory) -> Means {
    let features = memory.door.features();
    Means { range: features.range_tlbi && memory.policy().tlbi() == Tlbi::Range, level_hint: features.level_hint }
}

/// Issues the TLBI of `run` without barriers, except where it is so long that the whole ASID is flushed, complete in itself.
#[inline(always)]
fn issue(memory: &Memory, run: Run, cause: Cause) {
    if run.pages == 1 {
        // All that `page` ever has: where depth and scope are constants, this becomes the one instruction.
        memory.door.invalidate(range::page(run, means(memory)), cause);
    } else {
        issue_planned(memory, run, cause);
    }
}

#[inline(never)]
fn issue_planned(memory: &Memory, run: Run, cause: Cause) {
    let means = means(memory);
    let plan = plan(run, means);
    let planned = mutant::or(Mutant::FlushEachPage, means.range, false);
    if planned || mutant::or(Mutant::NoWholeAsid, plan.is_whole_asid(), false) {
        return plan.for_each(|op| memory.door.invalidate(op, cause));
    }
    // The same as the plan, which is all pages one by one: the loop that CPUs without range operations spend their time in.
    for page in 0..run.pages {
        let one = Run { start: run.start.add_pages(page), ..run };
        memory.door.invalidate(range::page(one, means), cause);
    }
}

/// Orders the descriptor stores, then issues the TLBI of `pages` pages from `start` on, leaf entries only, for every CPU. It is not
/// complete before a DSB ISH.
pub fn flush_leaf_no_sync(memory: &Memory, space: &Space, start: VirtAddr, pages: usize, cause: Cause) {
    memory.door.dsb(Dsb::IshSt);
    // The ASID is read after the barrier: who gets a new one from then on walks the changed descriptors.
    let run = leaf_run(space, start, pages, Depth::Leaf, Scope::Broadcast);
    issue(memory, run, cause);
    if pages > 1 && plan(run, means(memory)).is_whole_asid() {
        memory.door.dsb(Dsb::Ish);
    }
}

/// Flushes a run, complete on return.
pub fn flush_range(memory: &Memory, space: &Space, start: VirtAddr, pages: usize, depth: Depth, cause: Cause) {
    memory.door.dsb(Dsb::IshSt);
    issue(memory, leaf_run(space, start, pages, depth, Scope::Broadcast), cause);
    memory.door.dsb(Dsb::Ish);
}

/// Flushes a run of leaf entries on this CPU alone: enough where a permission was relaxed, as other CPUs take a spurious fault.
pub fn flush_local(memory: &Memory, space: &Space, start: VirtAddr, pages: usize) {
    memory.door.dsb(Dsb::NshSt);
    issue(memory, leaf_run(space, start, pages, Depth::Leaf, Scope::Local), Cause::Access);
    memory.door.dsb(Dsb::Nsh);
}

/// Flushes all that a space has, complete on return.
pub fn flush_space(memory: &Memory, space: &Space, cause: Cause) {
    memory.door.dsb(Dsb::IshSt);
    memory.door.invalidate(TlbOp::asid(space.asid(), Scope::Broadcast), cause);
    memory.door.dsb(Dsb::Ish);
}

/// Whether a space has invalidations that were issued and perhaps not completed: two generations, of what was deferred and of what
/// was flushed since (reference 3.5). Low 15 bits: pending; bits 16 to 30: flushed.
#[derive(Debug, Default)]
pub struct PendingFlush(AtomicU32);

const GENERATION: u32 = 0x7fff;
const FLUSHED_SHIFT: u32 = 16;

impl PendingFlush {
    /// Nothing pending.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// [`add`](Self::add) for a batch that will complete its own flush, and keeps in `own` whether it is alone.
    pub(crate) fn add_own(&self, memory: &Memory, own: &mut OwnDeferral) {
        let before = self.0.load(Ordering::Acquire);
        own.alone &= match own.last {
            Some(last) => last == before,
            None => !Self::owes(before),
        };
        self.add(memory);
        let after = self.0.load(Ordering::Acquire);
        own.alone &= after == before + 1;
        own.last = Some(after);
    }

    /// The batch's flush is complete: if nobody else has deferred anything meanwhile, nothing is owed.
    pub(crate) fn settle_own(&self, own: OwnDeferral) {
        if let OwnDeferral { last: Some(word), alone: true } = own {
            self.settle(word);
        }
    }

    /// One more deferral. Called under the table's lock, after the descriptors changed. When the pending half has used half its room,
    /// both restart at 1 and 0, which still differ (T-T-2).
    pub fn add(&self, memory: &Memory) {
        if mutant::is(Mutant::NoGeneration) {
            return;
        }
        memory.count().generations.add(1);
        let next = |word: u32| {
            let pending = word & GENERATION;
            if pending > GENERATION / 2 { 1 } else { word + 1 }
        };
        let mut word = self.0.load(Ordering::Relaxed);
        while let Err(now) = self.0.compare_exchange_weak(word, next(word), Ordering::Release, Ordering::Relaxed) {
            word = now;
        }
    }

    /// Whether a deferral may be incomplete.
    pub fn is_pending(&self) -> bool {
        Self::owes(self.0.load(Ordering::Acquire))
    }

    fn owes(word: u32) -> bool {
        word & GENERATION != word >> FLUSHED_SHIFT
    }

    /// Completes what was deferred: every operation that relies on "not present means not cached" calls this right after taking a
    /// table's lock (reference 3.6). A DSB here would not complete another CPU's TLBI, hence a flush of our own.
    pub fn flush(&self, memory: &Memory, space: &Space) {
        let word = self.0.load(Ordering::Acquire);
        if !Self::owes(word) {
            return;
        }
        memory.count().pending_flushes.add(1);
        flush_space(memory, space, Cause::Pending);
        self.settle(word);
    }

    /// Records that all that was pending at `word` is complete. If somebody has deferred more since, it stays owed.
    fn settle(&self, word: u32) {
        let pending = word & GENERATION;
        let settled = pending | (pending << FLUSHED_SHIFT);
        // A lost race leaves the flush owed, which costs time and nothing else.
        let _ = self.0.compare_exchange(word, settled, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// The deferrals that one batch has added to a space.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnDeferral {
    last: Option<u32>,
    alone: bool,
}

impl OwnDeferral {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self { last: None, alone: true }
    }
}

/// The flush that one reclaim task owes: TLBI were issued for it at once, their DSB comes later (reference 3.5).
#[derive(Debug, Default)]
pub struct Deferred {
    required: bool,
}

impl Deferred {
    /// Nothing owed.
    pub fn new() -> Self {
        Self::default()
    }

    /// `pages` entries from `start` on were cleared under the table's lock.
    pub fn add(&mut self, memory: &Memory, space: &Space, start: VirtAddr, pages: usize) {
        flush_leaf_no_sync(memory, space, start, pages, Cause::Unmap);
        space.tlb.add(memory);
        self.required = true;
    }

    /// Completes the flush.
    pub fn flush(&mut self, memory: &Memory) {
        if mem::take(&mut self.required) {
            memory.door.dsb(Dsb::Ish);
        }
    }

    /// Completes the flush, then frees what waited for it.
    pub fn free(&mut self, memory: &Memory, owed: &mut OrphanList) {
        self.flush(memory);
        free_flushed(memory, owed);
    }
}

/// Frees folios after the flush that their last user has just completed.
fn free_flushed(memory: &Memory, owed: &mut OrphanList) {
    while let Some(orphan) = owed.pop(memory) {
        memory.free_folio(Flushed(orphan));
    }
}

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
