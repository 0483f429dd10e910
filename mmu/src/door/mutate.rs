//! What becomes of an operation at the door where a known defect was chosen (`mutant`): left out, or another one than was meant. In a
//! build without mutants nothing of this is left.

use super::{Door, Run};
use crate::descriptor::Descriptor;
use crate::events::Dsb;
use crate::mutant::{Mutant, is, or};
use crate::slot::Slot;
use crate::tlb_op::{Cause, Depth, Form, Scope, TlbOp};

/// Where the fields of an operand are.
const LEVEL_HINT: u32 = 44;
const RANGE_LEVEL: u32 = 37;
const RANGE_NUM: u32 = 39;
const ASID: u32 = 48;
/// Bits of the page number in the operand of a range.
const RANGE_PAGE: u64 = (1 << RANGE_LEVEL) - 1;

/// The causes whose operations can be left out, and the defect that does.
const LEFT_OUT: [(Cause, Mutant); 11] = [
    (Cause::Convert, Mutant::UnflushedConvert),
    (Cause::Unmap, Mutant::UnflushedUnmap),
    (Cause::Zap, Mutant::UnflushedZap),
    (Cause::Protect, Mutant::UnflushedProtect),
    (Cause::Move, Mutant::UnflushedMove),
    (Cause::Fork, Mutant::UnflushedFork),
    (Cause::Access, Mutant::UnflushedAccess),
    (Cause::Advise, Mutant::UnflushedAdvise),
    (Cause::Replace, Mutant::UnflushedReplace),
    (Cause::Rollover, Mutant::UnflushedRollover),
    (Cause::Pending, Mutant::UnflushedPending),
];

/// The TLBI to issue, if any.
#[inline(always)]
pub(super) fn tlbi(op: TlbOp, cause: Cause) -> Option<TlbOp> {
    if LEFT_OUT.iter().any(|&(left_out, mutant)| is(mutant) && cause == left_out) {
        return None;
    }
    let scope = or(Mutant::LocalTlbi, op.scope, Scope::Local);
    let depth = or(Mutant::LeafOnly, op.depth, Depth::Leaf);
    Some(operand(TlbOp { scope, depth, ..op }))
}

#[inline(always)]
fn operand(op: TlbOp) -> TlbOp {
    match op.form {
        Form::Page | Form::Range | Form::Asid if is(Mutant::WrongAsid) => {
            TlbOp { operand: op.operand ^ 1 << ASID, ..op }
        }
        Form::Page if is(Mutant::UnmaskedOperand) => TlbOp { operand: op.operand | u64::MAX << LEVEL_HINT, ..op },
        Form::Page if is(Mutant::WrongLevel) => TlbOp { operand: wrong_level(op.operand, LEVEL_HINT), ..op },
        Form::Range if is(Mutant::WrongLevel) => TlbOp { operand: wrong_level(op.operand, RANGE_LEVEL), ..op },
        Form::Range if is(Mutant::ShortRange) => TlbOp { operand: one_less(op.operand), ..op },
        Form::Range if is(Mutant::FirstPageOnly) => {
            TlbOp { form: Form::Page, operand: op.operand & (u64::MAX << ASID | RANGE_PAGE), ..op }
        }
        _ => op,
    }
}

/// Level 2 where an operand names level 3.
#[inline(always)]
const fn wrong_level(operand: u64, shift: u32) -> u64 {
    if (operand >> shift) & 3 == 3 { operand & !(1 << shift) } else { operand }
}

/// NUM less one, where it is not 0.
#[inline(always)]
const fn one_less(operand: u64) -> u64 {
    if (operand >> RANGE_NUM) & 31 == 0 { operand } else { operand - (1 << RANGE_NUM) }
}

/// Whether a DSB is issued.
#[inline(always)]
pub(super) fn dsb(kind: Dsb) -> bool {
    match kind {
        Dsb::IshSt | Dsb::NshSt => !is(Mutant::NoDsbBeforeTlbi),
        Dsb::Ish | Dsb::Nsh => !is(Mutant::NoDsbAfterTlbi),
    }
}

/// Whether an ISB is issued.
#[inline(always)]
pub(super) fn isb() -> bool {
    !is(Mutant::NoIsb)
}

/// Loads and stores, where hardware may write in between.
#[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
pub(super) fn update_plainly(door: &Door, slot: Slot, count: usize, change: impl Fn(Descriptor) -> Descriptor) -> Run {
    let first = door.load(slot);
    door.store(slot, change(first));
    let mut run = Run::of(first.bits());
    for index in 1..count {
        let old = door.load(slot.add(index));
        door.store(slot.add(index), change(old));
        run.add(old.bits());
    }
    run
}

/// What a TLBI adds to its counter.
#[inline(always)]
pub(super) fn tlbi_count() -> u64 {
    or(Mutant::UncountedTlbi, 1, 0)
}

/// Whether event `number` of a CPU is told to whoever judges it.
#[cfg(any(not(target_os = "none"), feature = "check"))]
#[inline(always)]
pub(crate) fn is_told(number: u64) -> bool {
    const ONE_IN: u64 = 64;
    !is(Mutant::LostEvent) || number % ONE_IN != 0
}
