//! TLBI and the barriers around it: what each operation reaches, and what a DSB completes.

use super::rule::Rule;
use super::stale::{Kind, Near, Order, Stale};
use super::verdict::Breach;
use super::{CpuSet, Judged, Model, one};
use crate::addr::{VirtAddr, level_shift};
use crate::events::Dsb;
use crate::tlb_op::{Depth, Form, Scope, TlbOp};

/// How an operation meets a replaced entry.
enum Reach {
    /// Not at all.
    Not,
    /// It would, but for what this rule says.
    Misses(Rule),
    /// It covers these pages of it.
    Pages(u64, u64),
    /// It covers all of it.
    All,
}

/// The granule in TTL hints and in TG: 4 KiB.
const GRANULE: u64 = 0b01;

impl Model {
    /// A TLBI. It is complete after a DSB of the same CPU.
    pub(crate) fn tlbi(&mut self, cpu: usize, op: TlbOp) -> Judged {
        self.count_tlbi(cpu, op);
        self.check_operand(cpu, op)?;
        let targets = if op.scope == Scope::Local { one(cpu) } else { self.all_cpus() };
        let mut covered = false;
        let mut index = 0;
        while index < self.stale.len() {
            covered |= self.meet(cpu, op, targets, index)?;
            index += 1;
        }
        if let Form::Asid | Form::All = op.form {
            let asid = (op.form == Form::Asid).then(|| op.operand_asid());
            self.contexts.begin_flush(asid, cpu, targets);
            self.cpus[cpu].add_flush(asid);
        }
        self.weak.forget(op, targets, &self.contexts);
        self.lint_tlbi(cpu, op, covered);
        Ok(())
    }

    /// What an operation does to one replaced run. Whether it covers some of it.
    fn meet(&mut self, cpu: usize, op: TlbOp, targets: CpuSet, index: usize) -> Result<bool, Breach> {
        let stale = self.stale.get(index);
        let (mine, page) = (usize::from(stale.stored.cpu) == cpu, stale.first);
        match self.reach(op, stale) {
            Reach::Not => return Ok(false),
            Reach::Misses(rule) => {
                if mine {
                    let near = Near { rule, event: self.now, line: self.line };
                    self.stale.get_mut(index).near = Some(near);
                }
                return Ok(false);
            }
            Reach::Pages(first, end) => {
                if !self.isolate(index, first, end) {
                    return Ok(true);
                }
            }
            Reach::All => {}
        }
        let stale = self.stale.get(index);
        let mut targets = targets;
        if !self.is_ordered(stale.last, cpu, op.scope) {
            if mine && !stale.aged {
                let what = "a TLBI may overtake the store before it";
                return Err(self.breach_exactly(cpu, Rule::UnorderedTlbi, what, stale, page));
            }
            // Another CPU's store that was not handed over is not what this operation is meant for; and yet a CPU that does not run the
            // space can not walk it again, nor can the one that stored, where it is ordered for that.
            let Order { by, event } = stale.last;
            let orders = if self.cpus[by].has_ordered(event, true) { one(by) } else { 0 };
            targets &= if stale.is_global() { 0 } else { orders | !self.contexts.get(stale.asid).active };
        }
        let walkers = if stale.behind_walk && !reaches_walks(op) { self.stale.walkers_of(stale) } else { 0 };
        let (event, line) = (self.now, self.line);
        let stale = self.stale.get_mut(index);
        stale.issued[cpu] |= targets & !walkers;
        if mine {
            let rule = match () {
                () if stale.holders & walkers != 0 => Rule::LeafOnly,
                () if stale.holders & !targets != 0 => Rule::LocalTlbi,
                () => Rule::IncompleteTlbi,
            };
            stale.near = Some(Near { rule, event, line });
        }
        Ok(true)
    }

    fn reach(&self, op: TlbOp, stale: &Stale) -> Reach {
        let asid = self.contexts.mask(op.operand_asid());
        match op.form {
            Form::All => return Reach::All,
            Form::Asid if stale.asid == asid && !stale.is_global() => return Reach::All,
            Form::Asid => return Reach::Misses(Rule::WrongAsid),
            Form::Page | Form::Range | Form::PageAnyAsid => {}
        }
        let Some((start, pages)) = op.pages() else { return Reach::Not };
        let (first, pages) = (start.page_number(), pages as u64);
        if !stale.overlaps(first, pages) {
            return self.nearly(op, stale, first, first + pages);
        }
        if op.form != Form::PageAnyAsid && !stale.is_of(asid) {
            return Reach::Misses(Rule::WrongAsid);
        }
        if stale.kind == Kind::Walk {
            return if reaches_walks(op) { Reach::All } else { Reach::Misses(Rule::LeafOnly) };
        }
        let hint = level_hint(op);
        // A range that begins in the middle of what it names covers nothing for certain (C5.5).
        let begins_inside = op.form == Form::Range && !start.is_aligned(1 << level_shift(hint));
        if hint != 0 && (hint != stale.level || begins_inside) {
            return Reach::Misses(Rule::WrongLevel);
        }
        // A block is one entry: whichever of its pages is named, all of it goes.
        if stale.level < 3 { Reach::All } else { Reach::Pages(first, first + pages) }
    }

    /// An operation beside the run: does it name a part of the same block, or end right before it?
    fn nearly(&self, op: TlbOp, stale: &Stale, first: u64, end: u64) -> Reach {
        let block = self.config.block as u64;
        let group = stale.first & !(block - 1)..(stale.end() + block - 1) & !(block - 1);
        if stale.level == 3 && stale.entry.is_folded() && first < group.end && group.start < end {
            return Reach::Misses(Rule::PartlyFlushedGroup);
        }
        if op.form == Form::Range && (end == stale.first || first == stale.end()) {
            return Reach::Misses(Rule::ShortRange);
        }
        Reach::Not
    }

    /// Whether a store is ordered before a TLBI that `cpu` issues. A non-shareable DSB orders it for the CPU that stored alone.
    fn is_ordered(&self, Order { by, event }: Order, cpu: usize, scope: Scope) -> bool {
        self.cpus[by].has_ordered(event, scope == Scope::Local && by == cpu)
    }

    fn check_operand(&self, cpu: usize, op: TlbOp) -> Judged {
        let fail = |rule, what| {
            let (address, _) = op.pages().unwrap_or((VirtAddr::default(), 0));
            Err(Breach { rule, what, when: self.when(cpu), address, asid: op.operand_asid(), held: None })
        };
        match op.form {
            Form::Range if (op.operand >> 46) & 3 != GRANULE => fail(Rule::ShortRange, "TG is not the granule in use"),
            Form::PageAnyAsid if op.operand >> 48 != 0 => {
                fail(Rule::UnmaskedOperand, "bits of the address are in the ASID field")
            }
            Form::Page | Form::PageAnyAsid => match (op.operand >> 44) & 0xf {
                0 => Ok(()),
                hint if hint >> 2 != GRANULE => fail(Rule::UnmaskedOperand, "bits of the address are in the TTL field"),
                _ if !self.config.features.level_hint => {
                    fail(Rule::WrongLevel, "a level hint on a CPU without FEAT_TTL")
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// A DSB: orders what this CPU has stored or observed, and completes what it has issued.
    pub(crate) fn dsb(&mut self, cpu: usize, kind: Dsb) -> Judged {
        self.cpus[cpu].tally.dsb[kind as usize] += 1;
        self.cpus[cpu].ordered_here = self.now;
        let inner = matches!(kind, Dsb::Ish | Dsb::IshSt);
        if inner {
            let observed = self.cpus[cpu].observed;
            for (other, event) in self.cpus.iter_mut().zip(observed) {
                other.ordered = other.ordered.max(event);
            }
            self.cpus[cpu].ordered = self.now;
        }
        if matches!(kind, Dsb::Ish | Dsb::Nsh) {
            let reach = if inner { self.all_cpus() } else { one(cpu) };
            let Self { stale, frames, contexts, cpus, tables, .. } = self;
            stale.complete(cpu, reach, |gone| {
                let Order { by, event } = gone.last;
                if !cpus[by].has_ordered(event, false) {
                    tables.note_unheld(contexts.get(gone.asid).root, by, event);
                }
                match gone.kind {
                    Kind::Leaf => frames.add_held(gone.entry.frame(), gone.pages as usize, -1),
                    Kind::Walk => tables.forget_walk(frames.table(gone.entry.frame())),
                }
            });
            cpus[cpu].flushes(inner).for_each(|asid| contexts.end_flush(asid, cpu, reach));
        }
        self.check_touched_groups(cpu)
    }

    /// An ISB.
    pub(crate) fn isb(&mut self, cpu: usize) -> Judged {
        self.cpus[cpu].tally.isb += 1;
        self.cpus[cpu].needs_isb = None;
        self.leave_last(cpu);
        Ok(())
    }

    /// Something relies on what an ISB makes effective.
    pub(super) fn relies_on_isb(&mut self, cpu: usize) -> Judged {
        let Some(_) = self.cpus[cpu].needs_isb.take() else { return Ok(()) };
        self.leave_last(cpu);
        let asid = self.cpus[cpu].asid;
        let what = "no ISB since TTBR0_EL1 was written, or instructions were invalidated";
        let when = self.when(cpu);
        Err(Breach { rule: Rule::MissingIsb, what, when, address: VirtAddr::default(), asid, held: None })
    }
}

/// Whether it takes cached table entries away too.
fn reaches_walks(op: TlbOp) -> bool {
    match op.form {
        Form::Asid | Form::All => true,
        Form::Page | Form::Range | Form::PageAnyAsid => op.depth == Depth::WalkCaches && level_hint(op) == 0,
    }
}

/// The level that an operation names, 0 for none.
fn level_hint(op: TlbOp) -> u8 {
    let field = match op.form {
        Form::Range => op.operand >> 37,
        _ if (op.operand >> 46) & 3 != 0 => op.operand >> 44,
        _ => 0,
    };
    (field & 3) as u8
}
