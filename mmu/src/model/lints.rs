//! What is right and dearer than it need be: MS-18, MS-29 and MS-46, counted and never fatal.

use super::entry::{follows, has_contiguous};
use super::rule::Rule;
use super::stores::At;
use super::tables::TableId;
use super::{MAX_CPUS, Model};
use crate::addr::{Asid, VirtAddr};
use crate::descriptor::Descriptor;
use crate::tlb_op::{Form, Scope, TlbOp};

/// The lints, in the order of their counts.
const RULES: [Rule; 3] = [Rule::UnfoldToUnmap, Rule::NeedlessTlbi, Rule::SplitBatch];

/// How often each struck.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Lints {
    counts: [u64; RULES.len()],
}

impl Lints {
    pub(super) fn counts(&self) -> impl Iterator<Item = (Rule, u64)> {
        RULES.into_iter().zip(self.counts)
    }

    fn strike(&mut self, rule: Rule) {
        if let Some(place) = RULES.iter().position(|&known| known == rule) {
            self.counts[place] += 1;
        }
    }
}

/// What a CPU did last, as far as it could have been done together with what comes next.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Recent {
    /// The last entry that was cleared, and whether a TLBI followed.
    cleared: Option<(Asid, u64, Descriptor)>,
    flushed: bool,
    /// The page that the last TLBI by page named.
    tlbi: Option<(Asid, VirtAddr)>,
    /// The block that was unfolded last, and how many of its entries were cleared since.
    unfolded: Option<(TableId, usize)>,
    gone: usize,
}

const _: () = assert!(MAX_CPUS <= u8::BITS as usize);

impl Model {
    /// A TLBI, and whether it covered anything.
    pub(super) fn lint_tlbi(&mut self, cpu: usize, op: TlbOp, covered: bool) {
        let recent = &mut self.cpus[cpu].recent;
        recent.flushed = true;
        let page = op.pages().filter(|_| op.form == Form::Page).map(|(start, _)| (op.operand_asid(), start));
        let before = core::mem::replace(&mut recent.tlbi, page);
        let continues =
            matches!((before, page), (Some((was, last)), Some((is, next))) if was == is && last.add_pages(1) == next);
        if op.scope == Scope::Broadcast && (!covered || (continues && self.config.features.range_tlbi)) {
            self.lints.strike(Rule::NeedlessTlbi);
        }
    }

    /// A last-level entry was stored.
    pub(super) fn lint_write(&mut self, at: &At, old: Descriptor, new: Descriptor) {
        let group = (at.table, at.index & !(self.config.block - 1));
        let unfolds = has_contiguous(self.tables.taken(at.table, at.index)) && new.is_valid() && !new.is_folded();
        let recent = &mut self.cpus[at.cpu].recent;
        if unfolds && recent.unfolded != Some(group) {
            (recent.unfolded, recent.gone) = (Some(group), 0);
        }
        if !old.is_valid() || new.is_valid() {
            return;
        }
        let page = at.address.page_number();
        let joined = recent.cleared.is_some_and(|(asid, last, entry)| {
            asid == at.asid && last + 1 == page && follows(entry.with_contiguous(false), old.with_contiguous(false), 1)
        });
        let split = joined && recent.flushed;
        (recent.cleared, recent.flushed) = (Some((at.asid, page, old)), false);
        recent.gone += usize::from(recent.unfolded == Some(group));
        let unfolded_in_vain = recent.unfolded == Some(group) && recent.gone == self.config.block;
        if unfolded_in_vain {
            recent.unfolded = None;
            self.lints.strike(Rule::UnfoldToUnmap);
        }
        if split {
            self.lints.strike(Rule::SplitBatch);
        }
    }
}
