//! What is known of each CPU: the space it runs, the operation it is in, how far its stores and those that it has observed are ordered.

use super::groups::Touched;
use super::lints::Recent;
use super::snapshot::Window;
use super::tables::{NO_TABLE, TableId};
use super::tally::Tally;
use super::{MAX_CPUS, When};
use crate::addr::Asid;
use crate::fact::Operation;

/// Operations inside each other that are told apart.
const DEPTH: usize = 6;
/// Tasks that wait in the middle of an operation, that are told apart.
const WAITING: usize = 16;
/// Flushes of whole ASIDs, completed by one DSB, that are told apart.
const FLUSHES: usize = 4;

/// An operation under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    pub(super) operation: Operation,
    /// The event with which it began.
    pub(super) began: u64,
}

/// The operations of one task, each inside the one before.
#[derive(Clone, Copy, Default, Debug)]
struct Operations {
    ops: [Option<Op>; DEPTH],
    depth: usize,
}

/// One CPU.
#[derive(Clone, Debug)]
pub(super) struct Cpu {
    /// The table of level 0 in TTBR0_EL1, if it is one of ours, and the ASID beside it.
    pub(super) root: TableId,
    pub(super) asid: Asid,
    /// The last event up to which its stores are ordered before TLBI: for all CPUs, for itself.
    pub(super) ordered: u64,
    pub(super) ordered_here: u64,
    /// The event with which it last released a lock.
    pub(super) released: u64,
    /// By CPU: the last event of that one which this one has observed, by acquiring a lock.
    pub(super) observed: [u64; MAX_CPUS],
    /// The ASID in TTBR0_EL1 before, whose tables it may go on walking until an ISB.
    pub(super) leaving: Option<Asid>,
    /// What an ISB has to make effective.
    pub(super) needs_isb: Option<When>,
    /// The task that it runs, and what that has under way.
    task: u64,
    running: Operations,
    /// Tasks that wait in the middle of an operation.
    waiting: [Option<(u64, Operations)>; WAITING],
    /// ASIDs that are being flushed whole; `None` stands for all.
    flushes: [Option<Asid>; FLUSHES],
    flush_count: usize,
    pub(super) touched: Touched,
    pub(super) window: Window,
    pub(super) recent: Recent,
    pub(super) tally: Tally,
    /// It has said that no CPU raises a conflict abort, for what it does under the lock that it holds.
    pub(super) assumes_no_abort: bool,
}

impl Default for Cpu {
    fn default() -> Self {
        Self {
            root: NO_TABLE,
            asid: Asid::RESERVED,
            ordered: 0,
            ordered_here: 0,
            released: 0,
            observed: [0; MAX_CPUS],
            leaving: None,
            needs_isb: None,
            task: 0,
            running: Operations::default(),
            waiting: [None; WAITING],
            flushes: [None; FLUSHES],
            flush_count: 0,
            touched: Touched::default(),
            window: Window::default(),
            recent: Recent::default(),
            tally: Tally::default(),
            assumes_no_abort: false,
        }
    }
}

impl Cpu {
    /// Whether its stores up to `event` are ordered for the walkers of all CPUs, or `for_itself` for its own.
    pub(super) fn has_ordered(&self, event: u64, for_itself: bool) -> bool {
        event <= if for_itself { self.ordered_here.max(self.ordered) } else { self.ordered }
    }

    /// Another task runs from now on. False if there is no room for what the one before has under way.
    #[must_use]
    pub(super) fn change_task(&mut self, task: u64) -> bool {
        let left = (self.task, core::mem::take(&mut self.running));
        let resumed = self.waiting.iter_mut().find(|waiting| waiting.is_some_and(|(number, _)| number == task));
        if let Some((_, operations)) = resumed.and_then(Option::take) {
            self.running = operations;
        }
        self.task = task;
        let free = self.waiting.iter_mut().find(|waiting| waiting.is_none());
        left.1.depth == 0 || free.map(|free| *free = Some(left)).is_some()
    }

    /// An operation begins inside the others. False if there is no room for it.
    #[must_use]
    pub(super) fn begin(&mut self, op: Op) -> bool {
        let Operations { ops, depth } = &mut self.running;
        *depth += 1;
        ops.get_mut(*depth - 1).map(|free| *free = Some(op)).is_some()
    }

    /// The innermost operation ends.
    pub(super) fn end(&mut self) -> Option<Op> {
        let Operations { ops, depth } = &mut self.running;
        *depth = depth.saturating_sub(1);
        ops.get_mut(*depth)?.take()
    }

    /// The operation that it is in.
    pub(super) fn innermost(&self) -> Option<Op> {
        self.running.ops.get(self.running.depth.checked_sub(1)?).copied().flatten()
    }

    /// The operation that all others are part of.
    pub(super) fn outermost(&self) -> Option<Op> {
        self.running.ops[0]
    }

    /// Whether it is in an operation of this kind, at whatever depth.
    pub(super) fn is_in(&self, operation: Operation) -> bool {
        self.running.ops.iter().flatten().any(|op| op.operation == operation)
    }

    /// A flush of a whole ASID was issued. Where there is no room for it, all ASIDs are looked at in the end.
    pub(super) fn add_flush(&mut self, asid: Option<Asid>) {
        match self.flushes.get_mut(self.flush_count) {
            Some(free) => {
                *free = asid;
                self.flush_count += 1;
            }
            None => self.flushes[0] = None,
        }
    }

    /// The flushes that a DSB completes: an inner shareable one for good, another one on this CPU only.
    pub(super) fn flushes(&mut self, inner: bool) -> impl Iterator<Item = Option<Asid>> + use<> {
        let count = self.flush_count;
        if inner {
            self.flush_count = 0;
        }
        self.flushes.into_iter().take(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_belong_to_tasks() {
        let op = |operation, began| Op { operation, began };
        let mut cpu = Cpu::default();
        assert!(cpu.begin(op(Operation::Advise, 1)) && cpu.begin(op(Operation::Reclaim, 2)));
        assert!(cpu.change_task(7) && cpu.innermost().is_none());
        assert!(cpu.begin(op(Operation::Fault, 3)));
        assert!(cpu.change_task(0) && !cpu.is_in(Operation::Fault));
        assert_eq!(cpu.end().map(|op| op.began), Some(2));
        assert!(cpu.change_task(7));
        assert_eq!(cpu.end().map(|op| op.began), Some(3));
        // It has nothing under way, so there is nothing to keep.
        assert!(cpu.change_task(8) && cpu.change_task(0));
        assert_eq!(cpu.outermost().map(|op| op.began), Some(1));
        assert_eq!(cpu.waiting.iter().flatten().count(), 0);
    }
}
