//! Forgetting translations: flushing runs and spaces, what an operation gathers before it frees, and the flush that reclaim defers.
//!
//! The template is always the same (reference 3.1): DSB ISHST, so that walkers see the changed descriptors; the TLBI; DSB ISH, which
//! completes them on every CPU. User addresses need no ISB: the return to EL0 synchronizes.

mod batch;
mod gather;

use core::mem;
use core::sync::atomic::{AtomicU32, Ordering};

use mmu::mutant::{self, Mutant};
use mmu::range::{self, Means, Run, plan};
use mmu::{Cause, Depth, Dsb, Scope, Table, TlbOp, VirtAddr};

use crate::frame::{HugeSize, OrphanList};
use crate::memory::Memory;
use crate::policy::Tlbi;
use crate::space::Space;

pub use batch::BatchFlush;
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
    // The same as the plan, which is all pages, or blocks, one by one: the loop that CPUs without range operations spend their time in.
    for page in (0..run.pages).step_by(run.stride()) {
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
    flush_run(memory, leaf_run(space, start, pages, depth, Scope::Broadcast), cause);
}

#[inline(always)]
fn flush_run(memory: &Memory, run: Run, cause: Cause) {
    memory.door.dsb(Dsb::IshSt);
    issue(memory, run, cause);
    memory.door.dsb(Dsb::Ish);
}

/// What invalidates the huge page at `start`.
fn huge_run(space: &Space, size: HugeSize, start: VirtAddr, scope: Scope) -> Run {
    Run { level: size.level(), ..leaf_run(space, start, size.pages(), Depth::Leaf, scope) }
}

/// Flushes a huge page, complete on return.
pub(crate) fn flush_huge(memory: &Memory, space: &Space, size: HugeSize, start: VirtAddr, cause: Cause) {
    flush_run(memory, huge_run(space, size, start, Scope::Broadcast), cause);
}

/// Flushes a huge page on this CPU alone, as [`flush_local`] does.
pub(crate) fn flush_huge_local(memory: &Memory, space: &Space, size: HugeSize, start: VirtAddr) {
    memory.door.dsb(Dsb::NshSt);
    issue(memory, huge_run(space, size, start, Scope::Local), Cause::Access);
    memory.door.dsb(Dsb::Nsh);
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
