//! Swap entries for a batch of cleared entries: by runs of equal exclusivity, each accounted for as it is done, everything not done
//! put back when a step fails (reference 1.9, A8).

use core::sync::atomic::{Ordering, fence};

use mmu::mutant::{self, Mutant};
use mmu::{Descriptor, Slot};

use crate::count::Counters;
use crate::folio::{Folio, FolioLock};
use crate::inject::Point;
use crate::memory::Memory;
use crate::pgtable::TableGuard;

/// A step failed, and what was not done yet is in the table again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PutBack;

/// Writes swap entries over `count` entries that were just cleared: they mapped the pages from `first` on, and `old` is the first of
/// them with the flags of all.
pub(super) fn replace(
    memory: &Memory,
    folio: &FolioLock<'_>,
    table: &TableGuard<'_>,
    first: usize,
    slot: Slot,
    old: Descriptor,
    count: usize,
) -> Result<(), PutBack> {
    let mut done = 0;
    while done < count {
        let (exclusive, length) = folio.exclusive_run(first + done, count - done);
        if !prepare(memory, folio, table.count, first + done, length, exclusive) {
            let rest = mutant::or(Mutant::RestoreFailingRunOnly, count - done, length);
            let at = mutant::or(Mutant::RestoreFromStart, done, 0);
            let frame = mutant::or(Mutant::RestoreFirstFrame, at, 0);
            put_back(table, slot.add(at), old.advance(frame), rest);
            if mutant::is(Mutant::ReferencesDropped) {
                let _ = folio.put(rest);
            }
            if mutant::is(Mutant::AccountedEarly) {
                account(table, length);
            }
            return Err(PutBack);
        }
        account(table, length);
        let exclusive = mutant::or(Mutant::ExclusiveBitOmitted, exclusive, false);
        let uffd = mutant::or(Mutant::UffdBitLost, old.is_uffd(), false);
        let entry = folio.swap_entry(first + done).to_descriptor(exclusive, uffd);
        for index in 0..length {
            table.set(slot.add(done + index), entry.advance(index));
        }
        leave(table.count, folio, first + done, length);
        done += length;
    }
    Ok(())
}

/// Raises the swap counts and, for exclusive pages, shares them with the swap entries to come. All or nothing.
fn prepare(
    memory: &Memory,
    folio: &FolioLock<'_>,
    counters: &Counters,
    first: usize,
    count: usize,
    exclusive: bool,
) -> bool {
    if !raise_swap_counts(memory, folio, counters, first, count) {
        return false;
    }
    if exclusive && !share(memory, folio, counters, first, count) {
        if !mutant::is(Mutant::CountsNotUndone) {
            memory.swap.put(folio, first, count);
        }
        return false;
    }
    true
}

/// One more swap entry for each of `count` pages. All or nothing.
pub(super) fn raise_swap_counts(
    memory: &Memory,
    folio: &FolioLock<'_>,
    counters: &Counters,
    first: usize,
    count: usize,
) -> bool {
    counters.swap_dups.add(1);
    !memory.inject.strikes(Point::SwapDup, count) && memory.swap.dup(folio, first, count).is_ok()
}

/// Takes the exclusive mark off pages whose entries are gone, unless the folio is pinned. The barriers pair with a pinner that takes
/// its pin, then reads the entry again, and for a read-only entry the mark (reference 4.28).
pub(crate) fn share(memory: &Memory, folio: &Folio<'_>, counters: &Counters, first: usize, count: usize) -> bool {
    assert!(count > 0, "nothing to share");
    counters.full_barriers.add(1);
    fence(Ordering::SeqCst);
    if memory.inject.strikes(Point::Share, count) || folio.maybe_pinned() {
        return false;
    }
    if !mutant::is(Mutant::ExclusiveMarkKept) {
        folio.clear_exclusive(first, count);
    }
    counters.full_barriers.add(1);
    fence(Ordering::SeqCst);
    !mutant::is(Mutant::FailAfterShare)
}

/// Moves `count` pages from the space's resident pages to its swapped ones. The space is listed for swapoff before the first entry.
pub(super) fn account(table: &TableGuard<'_>, count: usize) {
    let space = table.space;
    space.prepare_for_swap();
    space.add_anon(-(count as i64));
    space.add_swap(count as i64);
    table.count.space_counts.add(2);
}

/// The mappings and references of `count` pages go.
pub(super) fn leave(counters: &Counters, folio: &FolioLock<'_>, first: usize, count: usize) {
    folio.remove_maps(first, count);
    counters.ref_drops.add(1);
    let orphan = folio.put(mutant::greatest(Mutant::LengthNotReset, count));
    debug_assert!(orphan.is_none(), "a folio that reclaim refers to lost its last reference");
}

/// Puts entries back as they were, but for the flags that the batch shares. Whole blocks are folded again; where a part of one comes
/// back, what was issued for it completes first.
pub(super) fn put_back(table: &TableGuard<'_>, slot: Slot, old: Descriptor, count: usize) {
    table.complete_before_restore(slot, old, count);
    let old = mutant::or(Mutant::RestoreReadOnly, old, old.write_protect());
    let old = mutant::or(Mutant::RestoreUnmarked, old, old.clear_uffd());
    table.set_run(slot, old, count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::memory;

    /// T-RB-13: a loop over the pages that counts down would not end. It is refused before anything is done.
    #[test]
    #[should_panic(expected = "nothing to share")]
    fn a_run_of_nothing_is_not_shared() {
        let memory = memory(4);
        let folio = memory.alloc_folio(4).unwrap().publish();
        share(&memory, &folio, memory.count(), 3, 0);
    }
}
