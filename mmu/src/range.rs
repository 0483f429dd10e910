//! The range planner: which TLBI instructions invalidate a run of pages (reference 3.4). A pure function of run and CPU.

use crate::addr::{Asid, ENTRIES, VirtAddr};
use crate::tlb_op::{Depth, Scope, TlbOp};

/// A run of pages to invalidate, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Whose translations.
    pub asid: Asid,
    /// The first page.
    pub start: VirtAddr,
    /// How many pages.
    pub pages: usize,
    /// The level they were mapped at, as a hint: 1 to 3, or 0 where it is not known. At level 2 all of them lie in blocks, one of which
    /// goes as a whole with any of its pages.
    pub level: u8,
    /// Leaf entries alone, or walk caches too.
    pub depth: Depth,
    /// For whom.
    pub scope: Scope,
}

/// What the CPU, and the policy, allow the planner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Means {
    /// Range operations may be used.
    pub range: bool,
    /// The page form takes a level hint (FEAT_TTL). Range operands always have the field.
    pub level_hint: bool,
}

/// Pages from which on one ASIDE1 replaces single operations: a table's worth, Linux's MAX_DVM_OPS.
const SINGLE_LIMIT: usize = ENTRIES;
/// The most that one range operation covers: (31 + 1) << (5 * 3 + 1) pages.
const RANGE_LIMIT: usize = 32 << 16;

/// The instructions for one run, in the order to issue them.
#[derive(Clone, Debug)]
pub struct Plan {
    run: Run,
    means: Means,
    scale: i8,
    whole_asid: bool,
}

impl Run {
    /// The pages that go with one operation by page.
    pub const fn stride(&self) -> usize {
        if self.level == 2 { ENTRIES } else { 1 }
    }
}

/// Plans the invalidation of `run`.
pub const fn plan(run: Run, means: Means) -> Plan {
    let whole_asid = if means.range { run.pages > RANGE_LIMIT } else { run.pages / run.stride() >= SINGLE_LIMIT };
    Plan { run, means, scale: 3, whole_asid }
}

/// The plan for a run of one page, which every kind of CPU invalidates alike.
#[inline(always)]
pub const fn page(run: Run, means: Means) -> TlbOp {
    let level = if means.level_hint { run.level } else { 0 };
    TlbOp::page(run.asid, run.start, level, run.depth, run.scope)
}

impl Plan {
    /// Whether the run is so long that everything of the ASID goes. Such a flush is complete in itself, with both barriers, even
    /// where the caller defers (reference 3.4).
    pub const fn is_whole_asid(&self) -> bool {
        self.whole_asid
    }

    fn take(&mut self, pages: usize) -> VirtAddr {
        let start = self.run.start;
        self.run.start = start.add_pages(pages);
        self.run.pages -= pages;
        start
    }

    fn single(&mut self) -> TlbOp {
        let op = page(self.run, self.means);
        self.take(self.run.stride());
        op
    }
}

impl Iterator for Plan {
    type Item = TlbOp;

    #[inline]
    fn next(&mut self) -> Option<TlbOp> {
        if self.run.pages == 0 {
            return None;
        }
        if self.whole_asid {
            self.run.pages = 0;
            return Some(TlbOp::asid(self.run.asid, self.run.scope));
        }
        if !self.means.range || self.run.pages == 1 {
            return Some(self.single());
        }
        loop {
            let unit = 5 * self.scale as u32 + 1;
            let scale = self.scale as u8;
            let count = self.run.pages >> unit;
            self.scale -= 1;
            if count > 0 {
                // At the largest scale the limit keeps `count` within 32; below it, what is left is less than one unit above.
                let (asid, level) = (self.run.asid, self.run.level);
                let start = self.take(count << unit);
                let num = (count - 1) as u8;
                return Some(TlbOp::range(asid, start, scale, num, level, self.run.depth, self.run.scope));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlb_op::Form;
    use std::vec::Vec;

    const RANGE: Means = Means { range: true, level_hint: true };
    const SINGLE: Means = Means { range: false, level_hint: true };

    fn run(pages: usize) -> Run {
        let start = VirtAddr::new(0x55_0080_0000);
        Run { asid: Asid::new(1), start, pages, level: 3, depth: Depth::Leaf, scope: Scope::Broadcast }
    }

    fn shapes(pages: usize, means: Means) -> Vec<(Form, u64, u64)> {
        plan(run(pages), means).map(|op| (op.form, (op.operand >> 44) & 3, (op.operand >> 39) & 31)).collect()
    }

    fn range(scale: u64, num: u64) -> (Form, u64, u64) {
        (Form::Range, scale, num)
    }

    /// Reference 3.4, the table (T-T-3).
    #[test]
    fn vectors_of_the_reference() {
        let single = |list: &[(Form, u64, u64)]| list.last().unwrap().0 == Form::Page;
        assert!(single(&shapes(1, RANGE)));
        assert_eq!(shapes(2, RANGE), [range(0, 0)]);
        for (pages, num) in [(3, 0), (15, 6), (17, 7), (63, 30)] {
            let list = shapes(pages, RANGE);
            assert_eq!((list.len(), list[0]), (2, range(0, num)), "{pages} pages");
            assert!(single(&list));
        }
        assert_eq!(shapes(16, RANGE), [range(0, 7)]);
        assert_eq!(shapes(32, RANGE), [range(0, 15)]);
        assert_eq!(shapes(64, RANGE), [range(1, 0)]);
        assert_eq!(shapes(65, RANGE)[0], range(1, 0));
        assert!(single(&shapes(65, RANGE)));
        assert_eq!(shapes(66, RANGE), [range(1, 0), range(0, 0)]);
        assert_eq!(shapes(512, RANGE), [range(1, 7)]);
        assert_eq!(shapes(2048, RANGE), [range(2, 0)]);
        assert_eq!(shapes(1 << 21, RANGE), [range(3, 31)]);
        assert_eq!(shapes((1 << 21) + 1, RANGE), [(Form::Asid, 0, 0)]);
        assert_eq!(shapes(511, SINGLE).len(), 511);
        assert_eq!(shapes(512, SINGLE), [(Form::Asid, 0, 0)]);
    }

    /// Blocks of level 2: one operation each where there is no range, as Linux's stride of PMD_SIZE.
    #[test]
    fn a_block_is_one_operation() {
        let blocks = |count: usize| Run { level: 2, ..run(count * ENTRIES) };
        for means in [RANGE, SINGLE] {
            let ops: Vec<_> = plan(blocks(1), means).collect();
            assert_eq!(ops.len(), 1, "{ops:?}");
            assert_eq!(plan(blocks(2), means).next().unwrap().pages().unwrap().0, run(1).start);
        }
        let ops: Vec<_> = plan(blocks(3), SINGLE).map(|op| op.pages().unwrap()).collect();
        assert_eq!(ops, [0, 1, 2].map(|block| (run(1).start.add_pages(block * ENTRIES), 1)));
        assert_eq!(plan(blocks(ENTRIES), SINGLE).next().unwrap().form, Form::Asid);
    }

    #[test]
    fn one_page_is_planned_alike_by_both() {
        for means in [RANGE, SINGLE, Means { range: true, level_hint: false }] {
            assert_eq!(plan(run(1), means).collect::<Vec<_>>(), [page(run(1), means)]);
        }
    }

    /// Every plan covers its run exactly, page after page, in at most five operations.
    #[test]
    fn plans_cover_their_runs() {
        for pages in (1..5000).chain([65535, 65536, 131_071, 1 << 20, (1 << 21) - 1, 1 << 21]) {
            let mut next = run(pages).start;
            let mut ops = 0;
            for op in plan(run(pages), RANGE) {
                let (start, count) = op.pages().unwrap();
                assert_eq!(start, next);
                next = next.add_pages(count);
                ops += 1;
            }
            assert_eq!(next, run(pages).start.add_pages(pages));
            assert!(ops <= 5);
        }
    }
}
