//! The Contiguous bit: the only code that knows it. Sixteen aligned entries that map one aligned 64 KiB of a folio may carry it, and
//! then a TLB may keep one entry for all of them ("folded"). Everyone else gets and sets entries as if the bit did not exist.
//!
//! Rules kept here (reference 2.3 to 2.8): all sixteen carry the bit or none; it is never on an invalid entry; access flag and dirty
//! state of a folded block are the union over its entries, since hardware may set them in any; and the bit changes only through
//! break-before-make, as without BBM level 3 an inconsistent group may raise a TLB conflict abort (DDI 0487, R_NGLXZ).

use mmu::mutant::{self, Mutant};
use mmu::{CONT_PTES, Cause, ContBlock, Descriptor, Dsb, Fact, Slot};

use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::policy::Getter;
use crate::tlb;

/// What a batch of entries may not mix (Linux's FPB flags). Access flags may always differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BatchRules {
    /// Dirty state is equal in all.
    pub respect_dirty: bool,
    /// All are writable, or none.
    pub respect_write: bool,
}

impl BatchRules {
    fn normalise(self, entry: Descriptor) -> Descriptor {
        let mut same = entry.make_old();
        if !self.respect_write {
            same = same.write_protect();
        }
        if !self.respect_dirty {
            same = same.make_clean();
        }
        mutant::or(Mutant::MarkIgnoredInBatch, same, same.clear_uffd())
    }
}

impl TableGuard<'_> {
    /// The entry, with the access flag and dirty state of its whole block. CONTIGUOUS is left in; setters strip it.
    #[inline]
    pub fn get(&self, slot: Slot) -> Descriptor {
        self.count.getters.add(1);
        let entry = self.memory.door.load(slot);
        if !entry.is_folded() {
            return entry;
        }
        match self.memory.policy().getter() {
            Getter::Early => self.gather_early(slot.block(), entry),
            Getter::Full => self.gather_full(slot.block(), entry),
        }
    }

    /// Reads members until both flags were seen.
    fn gather_early(&self, block: ContBlock, entry: Descriptor) -> Descriptor {
        let door = &self.memory.door;
        let either = |_, member: Descriptor| member.is_dirty() || member.is_young();
        let Some((index, member)) = door.find(block.first(), CONT_PTES, either) else { return entry };
        // A member that has the one may have the other too, so it is looked at again only where that is asked of it.
        if member.is_dirty() {
            let young = door.find(block.first().add(index), CONT_PTES - index, |_, later| later.is_young()).is_some();
            return if young { entry.make_dirty().make_young() } else { entry.make_dirty() };
        }
        let rest = CONT_PTES - 1 - index;
        let dirty = door.find(block.first().add(index + 1), rest, |_, later| later.is_dirty()).is_some();
        if dirty { entry.make_young().make_dirty() } else { entry.make_young() }
    }

    /// Reads all sixteen, as Linux 6.12 does.
    fn gather_full(&self, block: ContBlock, entry: Descriptor) -> Descriptor {
        (0..CONT_PTES).fold(entry, |sum, index| sum.gather(self.memory.door.load(block.first().add(index))))
    }

    /// Sets one entry, whatever was there. A folded block around it is unfolded first; if the entry is the last of a block that could
    /// be folded, it is.
    #[inline]
    pub fn set(&self, slot: Slot, entry: Descriptor) {
        let entry = if entry.is_valid() { entry.with_contiguous(false) } else { entry };
        self.unfold_around(slot);
        self.memory.door.store(slot, entry);
        let last =
            slot.index_in_block() == CONT_PTES - 1 && entry.frame().as_u64() as usize % CONT_PTES == CONT_PTES - 1;
        if last && entry.is_valid() && !entry.is_special() && self.memory.policy().contpte() {
            self.try_fold(slot, entry);
        }
    }

    /// Sets `count` entries that hold no translation now to `first` and the pages after it. Each aligned run of sixteen whose frames
    /// are aligned too is stored folded: nothing was valid before, so no invalidation is needed.
    ///
    /// # Panics
    /// If `first` maps nothing and `count` is above one: CONTIGUOUS in a swap entry would be part of its offset (reference 1.14, H1).
    pub fn set_run(&self, slot: Slot, first: Descriptor, count: usize) {
        if count == 1 {
            return self.set(slot, first);
        }
        assert!(first.is_present(), "a run of entries that map nothing");
        let plain = first.with_contiguous(false);
        if mutant::or(Mutant::ContiguousWithoutAccess, !plain.is_valid(), false) || !self.memory.policy().contpte() {
            return self.memory.door.store_run(slot, plain, count);
        }
        let mut done = 0;
        while done < count {
            let at = slot.add(done);
            let entry = plain.advance(done);
            let place = at.index() % mutant::or(Mutant::FoldAlignedToFour, CONT_PTES, CONT_PTES / 4);
            let chunk = (CONT_PTES - place).min(count - done);
            let aligned = mutant::or(Mutant::FoldMisaligned, entry.frame().is_aligned(CONT_PTES), true);
            let whole = chunk == CONT_PTES && aligned;
            self.memory.door.store_run(at, entry.with_contiguous(whole), chunk);
            done += chunk;
        }
    }

    /// Clears `count` entries. Returns the first with the access flag and dirty state of all. Whole folded blocks are cleared as they
    /// are; one that an end of the run cuts is unfolded first.
    #[inline]
    pub fn clear(&self, slot: Slot, count: usize) -> Descriptor {
        if count == 1 {
            self.unfold_around(slot);
            return self.memory.door.swap(slot, Descriptor::NONE);
        }
        self.unfold_cut_blocks(slot, mutant::or(Mutant::UnfoldToUnmap, count, 1));
        self.memory.door.clear_run(slot, count)
    }

    /// Write-protects `count` entries; a write that hardware recorded moves to the software bit. Whole blocks stay folded.
    pub fn write_protect(&self, slot: Slot, count: usize) {
        if count == 1 {
            self.unfold_around(slot);
        } else {
            self.unfold_cut_blocks(slot, count);
        }
        self.memory.door.update_run(slot, count, Descriptor::write_protect);
    }

    /// Puts userfaultfd's mark on `count` entries, or takes it off. Whole blocks stay folded.
    pub fn mark(&self, slot: Slot, count: usize, on: bool) {
        self.unfold_cut_blocks(slot, count);
        let change = if on { Descriptor::make_uffd } else { Descriptor::clear_uffd };
        self.memory.door.update_run(slot, count, change);
    }

    /// Takes the access flag away. Folded blocks at the ends are taken whole, as their flag is one. Whether any was young.
    pub fn test_and_clear_young(&self, slot: Slot, count: usize) -> bool {
        let (slot, count) = self.widened(slot, count);
        self.memory.door.update_run(slot, count, Descriptor::make_old).is_young()
    }

    /// The same, and issues the invalidation that makes the next access visible, without waiting for it: a page that looks old for a
    /// little longer harms nobody.
    pub fn clear_flush_young(&self, slot: Slot, count: usize) -> bool {
        let (slot, count) = self.widened(slot, count);
        let young = self.memory.door.update_run(slot, count, Descriptor::make_old).is_young();
        if young {
            tlb::flush_leaf_no_sync(self.memory, self.space, self.address(slot), count, Cause::Access);
        }
        young
    }

    /// Makes entries old and clean, CONTIGUOUS kept, widened as [`test_and_clear_young`](Self::test_and_clear_young).
    pub fn clear_young_dirty(&self, slot: Slot, count: usize) {
        let (slot, count) = self.widened(slot, count);
        self.memory.door.update_run(slot, count, |entry| entry.make_old().make_clean());
    }

    /// Gives an entry the access flag, dirty state and write permission of `wanted`. In a folded block all sixteen get the flags, since
    /// hardware without FEAT_HAFDBS looks at the entry it walked, not at its siblings (rule MS-08); a change of the write permission
    /// unfolds. `flush` drops this CPU's old translation. Whether anything changed.
    pub fn set_access_flags(&self, slot: Slot, wanted: Descriptor, flush: bool) -> bool {
        let door = &self.memory.door;
        let entry = door.load(slot);
        if !entry.is_folded() {
            return !entry.same_access(wanted) && self.raise(slot, wanted, 1, flush);
        }
        let first = slot.block().first();
        if door.find(first, CONT_PTES, |_, member| !member.same_access(wanted)).is_none() {
            return false;
        }
        if mutant::is(Mutant::GatheredFlagsHideEntry) && self.get(slot).same_access(wanted) {
            return false;
        }
        if entry.is_writable() == wanted.is_writable() {
            let (first, count) = mutant::or(Mutant::FlagsOfOneEntry, (first, CONT_PTES), (slot, 1));
            return self.raise(first, wanted, count, flush);
        }
        self.unfold(slot.block());
        self.raise(slot, wanted, 1, flush)
    }

    fn raise(&self, slot: Slot, wanted: Descriptor, count: usize, flush: bool) -> bool {
        self.memory.door.update_run(slot, count, |entry| entry.raise(wanted));
        if flush {
            tlb::flush_local(self.memory, self.space, self.address(slot), count);
        }
        true
    }

    /// How many entries from `slot` on a folded block lets one treat alike without looking.
    #[inline]
    pub fn batch_hint(&self, slot: Slot, entry: Descriptor) -> usize {
        if entry.is_folded() { CONT_PTES - slot.index_in_block() } else { 1 }
    }

    /// How many entries from `slot` on, at most `max`, map consecutive pages alike, as `rules` understand it; `entry` is the first.
    /// Returns them merged: with the access flag, dirty state and write permission that any of them has. CONTIGUOUS counts as a
    /// difference, so a folded run and a plain one are two batches.
    #[inline]
    pub fn batch(&self, slot: Slot, entry: Descriptor, max: usize, rules: BatchRules) -> (usize, Descriptor) {
        let alike = self.batch_hint(slot, entry);
        if alike >= max { (max, entry) } else { self.batch_beyond(alike, slot, entry, max, rules) }
    }

    /// The same where the first `count` are known to be alike.
    fn batch_beyond(
        &self,
        mut count: usize,
        slot: Slot,
        entry: Descriptor,
        max: usize,
        rules: BatchRules,
    ) -> (usize, Descriptor) {
        let mut merged = entry;
        while count < max {
            let next = self.get(slot.add(count));
            if rules.normalise(next) != rules.normalise(entry).advance(count) {
                break;
            }
            merged = merged.gather(next);
            if next.is_writable() {
                merged = merged.make_writable();
            }
            count += self.batch_hint(slot.add(count), next);
        }
        (count.min(max), merged)
    }

    /// How many entries from `slot` on, at most `max`, map consecutive pages of one folio alike; `entry`, the first, is present.
    pub fn batch_in_folio(&self, slot: Slot, entry: Descriptor, max: usize, rules: BatchRules) -> usize {
        if entry.is_special() {
            return 1;
        }
        let folio = self.memory.frames.folio_of(entry.frame());
        self.batch(slot, entry, max.min(folio.pages() - folio.index_of(entry.frame())), rules).0
    }

    /// As [`batch`](Self::batch) for entries about to be swapped, whose flags the swaps will tell: looks at one member of each folded
    /// block, by raw reads. Entries agree in all but access flag and dirty state.
    #[inline]
    pub fn run(&self, slot: Slot, entry: Descriptor, max: usize) -> usize {
        let like = entry.make_old().make_clean();
        let mut count = self.batch_hint(slot, entry);
        while count < max {
            let next = self.memory.door.load(slot.add(count));
            if next.make_old().make_clean() != like.advance(count) {
                break;
            }
            count += self.batch_hint(slot.add(count), next);
        }
        count.min(max)
    }

    /// Unfolds the block around `slot` if it is folded.
    #[inline]
    pub fn unfold_around(&self, slot: Slot) {
        if self.memory.door.load(slot).is_folded() {
            self.unfold(slot.block());
        }
    }

    /// Unfolds the folded blocks that an end of `count` entries from `slot` on cuts.
    #[inline]
    pub fn unfold_cut_blocks(&self, slot: Slot, count: usize) {
        if slot.index_in_block() != 0 || count < CONT_PTES {
            self.unfold_around(slot);
        }
        if mutant::or(Mutant::EndNotUnfolded, (slot.index() + count) % CONT_PTES != 0, false) {
            self.unfold_around(slot.add(count - 1));
        }
    }

    // Out of line, as is `try_fold`: most calls of the functions above do not come here, and need not save registers for it.
    #[inline(never)]
    fn unfold(&self, block: ContBlock) {
        self.count.unfolds.add(1);
        self.convert(block, false);
    }

    /// Folds the block whose last entry was just set, if the folio covers it and all sixteen entries agree but for their flags.
    #[inline(never)]
    fn try_fold(&self, last: Slot, entry: Descriptor) {
        let block = last.block();
        let folio = self.memory.frames.folio_of(entry.frame());
        let index = (entry.frame().as_u64() - folio.head().as_u64()) as usize;
        // The last entry maps page `index` of the folio, so the folio covers the block if fifteen pages lie before that one. Its end
        // needs no look: the block ends with this page.
        if mutant::or(Mutant::FoldAcrossFolios, index + 1 < CONT_PTES, false) {
            return;
        }
        let plain = |entry: Descriptor| entry.make_old().make_clean();
        let plain = |entry| mutant::or(Mutant::FoldUnlike, plain(entry), plain(entry).write_protect());
        let like = plain(entry);
        let is_other = |place, member| plain(member).advance(CONT_PTES - 1 - place) != like;
        if self.memory.door.find(block.first(), CONT_PTES, is_other).is_some() {
            return;
        }
        self.count.folds.add(1);
        self.convert(block, true);
    }

    /// Rewrites a block with or without CONTIGUOUS by break-before-make (DDI 0487, R_DDMVT). Between the swaps and the stores another
    /// CPU that touches the block faults, waits for the lock, and finds the entry valid again. BBM level 3 spares the flush in the
    /// middle: the old translations are right until the caller's own flush, and no conflict abort can occur.
    fn convert(&self, block: ContBlock, contiguous: bool) {
        let memory = self.memory;
        let entry = memory.door.clear_run(block.first(), CONT_PTES);
        if memory.policy().elide(&memory.door.features()) {
            memory.door.fact(Fact::NoAbort);
        } else {
            let start = self.address(block.first());
            tlb::flush_range(memory, self.space, start, CONT_PTES, mmu::Depth::Leaf, Cause::Convert);
        }
        memory.door.store_run(block.first(), entry.with_contiguous(contiguous), CONT_PTES);
        if mutant::is(Mutant::ContiguousLeftBehind) {
            memory.door.update(block.last(), |entry| entry.with_contiguous(true));
        }
    }

    /// `count` entries from `slot` on, with the folded blocks at both ends taken whole. Costs a raw read an end.
    fn widened(&self, slot: Slot, count: usize) -> (Slot, usize) {
        let is_folded = |at: Slot| self.memory.door.load(at).is_folded();
        let last = slot.add(count - 1);
        let start = if is_folded(slot) { slot.block().first() } else { slot };
        let end = if is_folded(last) { last.block().last() } else { last };
        let (start, end) = mutant::or(Mutant::YoungOfOneEntry, (start, end), (slot, last));
        (start, end.index() - start.index() + 1)
    }

    /// Completes what this CPU's invalidations of the block have started, where a part of it is about to be made valid again in
    /// another form (reference 1.14, H4).
    pub fn complete_before_restore(&self, slot: Slot, old: Descriptor, count: usize) {
        let whole = slot.index_in_block() == 0 && count % CONT_PTES == 0;
        let same_form = whole && old.is_folded() && self.memory.policy().contpte();
        if mutant::or(Mutant::RestoreWithoutDsb, same_form, true) {
            return;
        }
        if self.memory.policy().elide(&self.memory.door.features()) {
            self.memory.door.fact(Fact::NoAbort);
        } else {
            self.memory.door.dsb(Dsb::Ish);
        }
    }
}

/// An entry read without its table's lock, with the access flag and dirty state of its block. A block may be in the middle of a
/// conversion, so every member has to agree with the entry; where one does not, the read begins anew (reference 2.8, rule MS-17).
pub fn get_lockless(memory: &Memory, slot: Slot) -> Descriptor {
    let door = &memory.door;
    door.fact(Fact::SnapshotBegin(slot));
    let value = loop {
        let entry = door.load(slot);
        if !entry.is_folded() {
            break entry;
        }
        if let Some(gathered) = gather_whole(memory, slot, entry) {
            break gathered;
        }
        mmu::relax();
    };
    door.fact(Fact::SnapshotEnd(slot, value));
    value
}

/// `entry` with the flags of all its block; `None` if a member is not what it has to be beside it.
fn gather_whole(memory: &Memory, slot: Slot, entry: Descriptor) -> Option<Descriptor> {
    let same = |entry: Descriptor| entry.make_old().make_clean();
    let before = slot.index_in_block();
    let mut sum = entry;
    for index in 0..CONT_PTES {
        let member = memory.door.load(slot.block().first().add(index));
        if same(member).advance(before) != same(entry).advance(index) {
            return None;
        }
        sum = sum.gather(member);
    }
    Some(sum)
}
