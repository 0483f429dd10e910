//! Known ways to get a program wrong, each as an edit of a correct one, and the rule that it breaks (the rules are the project's, named
//! as its checker names them).

use mmu::{Depth, Dsb, Scope};

use crate::entry::Entry;
use crate::program::{Kind, New, Program, Step, Tlbi};

/// A way to get it wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Defect {
    /// No DSB between the stores and the TLBI.
    NoBarrierBefore,
    /// No DSB after the TLBI.
    NoBarrierAfter,
    /// A DSB for stores only after the TLBI.
    StoreBarrierAfter,
    /// No TLBI.
    NoInvalidation,
    /// A TLBI for the CPU that executes it only.
    Local,
    /// A TLBI for another ASID.
    WrongAsid,
    /// A TLBI of the first page where the block is meant.
    FirstPageOnly,
    /// A TLBI of leaf entries where a table goes.
    LeafOnly,
    /// The table is taken out of the level above between the barrier and the TLBI.
    UnlinkedLate,
    /// Frames are freed before the flush is complete.
    FreedBeforeFlush,
    /// Frames are copied to the device before the flush is complete.
    CopiedBeforeFlush,
    /// Entries are read, not cleared, before they are made anew.
    NoBreak,
    /// A block is converted without a flush between break and make: what BBM level 3 permits.
    ConvertedWithoutFlush,
    /// Part of a block is mapped again in another form while the flush is under way.
    RestoredWithoutFlush,
    /// One page of a folded block is unmapped, and the others stay contiguous.
    NotUnfolded,
    /// Only the first entry's dirty state is gathered; the others are overwritten.
    SiblingsNotGathered,
    /// A block is unfolded, and what was gathered is forgotten.
    FlagsForgotten,
    /// A block is unfolded in place, and each entry keeps its own dirty state.
    SplitInPlace,
    /// Entries are write-protected by a load and a store.
    NotAtomic,
    /// An operation relies on the entries while another's flush is under way.
    PendingIgnored,
    /// The fault handler believes the gathered access flag and dirty state.
    GatheredBelieved,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::NoBarrierBefore,
        Self::NoBarrierAfter,
        Self::StoreBarrierAfter,
        Self::NoInvalidation,
        Self::Local,
        Self::WrongAsid,
        Self::FirstPageOnly,
        Self::LeafOnly,
        Self::UnlinkedLate,
        Self::FreedBeforeFlush,
        Self::CopiedBeforeFlush,
        Self::NoBreak,
        Self::ConvertedWithoutFlush,
        Self::RestoredWithoutFlush,
        Self::NotUnfolded,
        Self::SiblingsNotGathered,
        Self::FlagsForgotten,
        Self::SplitInPlace,
        Self::NotAtomic,
        Self::PendingIgnored,
        Self::GatheredBelieved,
    ];

    /// The rule that it breaks.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::NoBarrierBefore | Self::UnlinkedLate => "MS-20",
            Self::NoBarrierAfter | Self::StoreBarrierAfter => "MS-21",
            Self::NoInvalidation => "MS-07",
            Self::Local => "MS-22",
            Self::WrongAsid => "MS-23",
            Self::FirstPageOnly => "MS-14",
            Self::LeafOnly => "MS-26",
            Self::FreedBeforeFlush => "MS-40",
            Self::CopiedBeforeFlush => "MS-42",
            Self::NoBreak => "MS-11",
            Self::ConvertedWithoutFlush => "MS-12",
            Self::RestoredWithoutFlush => "MS-04",
            Self::NotUnfolded => "MS-13",
            Self::SiblingsNotGathered | Self::FlagsForgotten | Self::SplitInPlace => "MS-15",
            Self::NotAtomic => "MS-06",
            Self::PendingIgnored => "MS-41",
            Self::GatheredBelieved => "MS-08",
        }
    }

    /// The program for a block of `pages` with this defect; `None` if it has nothing that could be got wrong so.
    pub fn program(self, kind: Kind, pages: u8) -> Option<Program> {
        let right = kind.program(pages);
        let mut wrong = right.clone();
        self.edit(&mut wrong);
        (wrong != right).then_some(wrong)
    }

    fn edit(self, program: &mut Program) {
        let steps = &mut program.steps;
        match self {
            Self::NoBarrierBefore => steps.retain(|&step| step != Step::Dsb(Dsb::IshSt)),
            Self::NoBarrierAfter => steps.retain(|&step| step != Step::Dsb(Dsb::Ish)),
            Self::StoreBarrierAfter => each_completion(steps, Step::Dsb(Dsb::IshSt)),
            Self::NoInvalidation => steps.retain(|step| !matches!(step, Step::Tlbi(_))),
            Self::Local => each_tlbi(steps, |op| op.scope = Scope::Local),
            Self::WrongAsid => each_tlbi(steps, |op| op.right_asid = false),
            Self::FirstPageOnly => each_tlbi(steps, |op| op.pages = 1),
            Self::LeafOnly => each_tlbi(steps, |op| op.depth = Depth::Leaf),
            Self::UnlinkedLate => unlink_late(steps),
            Self::FreedBeforeFlush => free_early(steps),
            Self::CopiedBeforeFlush => copy_early(steps),
            Self::NoBreak => each_clear(steps, |page, _| vec![Step::Load(page)]),
            Self::ConvertedWithoutFlush => convert_without_flush(steps),
            Self::RestoredWithoutFlush => restore_without_flush(steps),
            Self::NotUnfolded => leave_folded(steps),
            Self::SiblingsNotGathered => each_clear(steps, overwrite),
            Self::FlagsForgotten => forget_flags(steps),
            Self::SplitInPlace => split_in_place(steps),
            Self::NotAtomic => protect_by_store(steps),
            Self::PendingIgnored => ignore_pending(steps),
            Self::GatheredBelieved => program.trusts_gathered = true,
        }
    }
}

fn each_tlbi(steps: &mut [Step], change: impl Fn(&mut Tlbi)) {
    for step in steps {
        if let Step::Tlbi(op) = step {
            change(op);
        }
    }
}

fn replace_each(steps: &mut Vec<Step>, with: impl Fn(Step) -> Vec<Step>) {
    *steps = steps.iter().flat_map(|&step| with(step)).collect();
}

fn each_clear(steps: &mut Vec<Step>, with: impl Fn(u8, Entry) -> Vec<Step>) {
    replace_each(steps, |step| match step {
        Step::Swap(page, entry) => with(page, entry),
        other => vec![other],
    });
}

fn overwrite(page: u8, entry: Entry) -> Vec<Step> {
    match (page, entry) {
        (0, _) => vec![Step::Swap(page, entry)],
        (_, Entry::SWAP) => vec![Step::Store(page, New::Swap)],
        _ => vec![Step::Store(page, New::None)],
    }
}

fn forget_flags(steps: &mut Vec<Step>) {
    replace_each(steps, |step| match step {
        Step::Store(page, New::Plain) => vec![Step::Store(page, New::Clean)],
        other => vec![other],
    });
}

fn protect_by_store(steps: &mut Vec<Step>) {
    replace_each(steps, |step| match step {
        Step::Protect(page) => vec![Step::Load(page), Step::Store(page, New::ReadOnly)],
        other => vec![other],
    });
}

fn each_completion(steps: &mut Vec<Step>, with: Step) {
    replace_each(steps, |step| vec![if step == Step::Dsb(Dsb::Ish) { with } else { step }]);
}

/// Where the last entry is cleared before a flush and the making of `new` ones: the middle of break-before-make, which starts behind
/// the lock.
fn last_break(steps: &[Step], is_new: impl Fn(New) -> bool) -> Option<usize> {
    steps.windows(5).position(|five| match five {
        [Step::Swap(..), Step::Dsb(_), Step::Tlbi(_), Step::Dsb(_), Step::Store(_, new)] => is_new(*new),
        _ => false,
    })
}

fn convert_without_flush(steps: &mut Vec<Step>) {
    if let Some(pages) = last_break(steps, |_| true) {
        steps.drain(pages + 1..pages + 4);
    }
}

/// Each entry is changed where it would be cleared, and the flush comes behind.
fn split_in_place(steps: &mut Vec<Step>) {
    if let Some(pages) = last_break(steps, |new| new == New::Plain) {
        steps.drain(pages + 4..pages + 4 + pages);
        for (page, step) in steps[1..=pages].iter_mut().enumerate() {
            *step = Step::Split(page as u8);
        }
    }
}

/// Behind the barrier that should order it.
fn unlink_late(steps: &mut [Step]) {
    if let Some(unlinked) = steps.iter().position(|&step| step == Step::Unlink) {
        steps.swap(unlinked, unlinked + 1);
    }
}

/// Where the flush is completed that frames are freed after.
fn completion_before_free(steps: &[Step]) -> Option<usize> {
    let freed = steps.iter().position(|step| matches!(step, Step::Free(_)))?;
    steps[..freed].iter().rposition(|&step| step == Step::Dsb(Dsb::Ish))
}

/// Copies that stand between go with them.
fn free_early(steps: &mut [Step]) {
    let last = steps.iter().rposition(|step| matches!(step, Step::Free(_)));
    if let (Some(completion), Some(last)) = (completion_before_free(steps), last) {
        steps[completion..=last].rotate_left(1);
    }
}

fn copy_early(steps: &mut [Step]) {
    if let Some(completion) = completion_before_free(steps) {
        let copies = steps[completion..].iter().filter(|step| matches!(step, Step::Copy(_))).count();
        steps[completion..=completion + copies].rotate_left(1);
    }
}

/// The barrier between the last swap entry and the first page that is mapped again.
fn restore_without_flush(steps: &mut Vec<Step>) {
    let is_restore = |three: &[Step]| matches!(three, [Step::Store(..), Step::Dsb(Dsb::Ish), Step::Store(..)]);
    if let Some(start) = steps.windows(3).position(is_restore) {
        steps.remove(start + 1);
    }
}

fn leave_folded(steps: &mut Vec<Step>) {
    let is_unfolded = |two: &[Step]| matches!(two, [Step::Store(_, New::Plain), Step::Swap(..)]);
    if let Some(last) = steps.windows(2).position(is_unfolded) {
        steps.drain(1..=last);
    }
}

/// What the other operation does between taking the lock and giving it back.
fn ignore_pending(steps: &mut Vec<Step>) {
    let is_other = |three: &[Step]| matches!(three, [Step::Unlock, Step::Lock, Step::Dsb(_)]);
    if let Some(start) = steps.windows(3).position(is_other) {
        steps.drain(start + 2..start + 5);
    }
}
