//! Discarding lazily freed folios: pages that MADV_FREE gave up or that lie in a droppable area leave their entries empty and take no
//! swap slot (reference 1.4, 4.14).
//!
//! | written since? | area droppable? | anybody else at it? | the entries |
//! |---|---|---|---|
//! | yes | no | | come back, and the folio is swap-backed again |
//! | yes | yes | no | stay empty |
//! | no | | no | stay empty |
//! | | | yes | come back |
//!
//! An empty entry keeps nobody waiting: a fault would map another page where a CPU may still hold the old one (rule MS-04). So what was
//! cleared is flushed before its table's lock is released, or else the space knows that a first touch has to flush.

use core::sync::atomic::{Ordering, fence};

use mmu::mutant::{self, Mutant};
use mmu::{Cause, Fact, Slot};

use crate::folio::FolioLock;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::rmap::Extent;
use crate::space::Space;
use crate::tlb;
use crate::vma::AreaFlags;

use super::swap_out::leave;

/// Discards the pages from `first` on, whose `count` entries were just cleared and flags kept. False if the entries have to come back.
pub(super) fn discard(
    memory: &Memory,
    folio: &FolioLock<'_>,
    extent: &Extent,
    table: &TableGuard<'_>,
    slot: Slot,
    (first, count): (usize, usize),
) -> bool {
    let droppable = extent.flags.contains(AreaFlags::DROPPABLE);
    if !may_discard(folio, table, droppable) {
        return false;
    }
    memory.door.fact(Fact::Discard(slot, count, droppable));
    table.space.add_anon(-(count as i64));
    table.count.space_counts.add(1);
    leave(table.count, folio, first, count);
    true
}

/// Whether nobody needs the contents. The full barrier pairs with a pinner, who takes its reference and then reads the entry again.
/// References are read before the dirty flag: who writes through a reference says so before giving it up (reference 4.28).
fn may_discard(folio: &FolioLock<'_>, table: &TableGuard<'_>, droppable: bool) -> bool {
    table.count.full_barriers.add(1);
    fence(Ordering::SeqCst);
    let early = mutant::is(Mutant::DirtyBeforeReferences).then(|| folio.is_dirty());
    mmu::switch_point();
    // The one reference beside those of the mappings is reclaim's own.
    let alone = folio.refs() == 1 + folio.mapcount();
    fence(Ordering::Acquire);
    mmu::switch_point();
    let dirty = mutant::or(Mutant::DiscardDirty, early.unwrap_or_else(|| folio.is_dirty()), false);
    let alone = mutant::or(Mutant::DiscardReferenced, alone, true);
    if dirty && !droppable || mutant::is(Mutant::SwapBackedByReference) && !alone {
        folio.set_swap_backed(true);
        return false;
    }
    alone
}

impl Space {
    /// Completes the flush of entries that were emptied, if one is under way. Called with a table locked, before an empty entry of it is
    /// filled.
    pub(crate) fn complete_discards(&self, memory: &Memory) {
        if mutant::or(Mutant::DiscardNotAwaited, self.discarding.load(Ordering::Acquire) > 0, false) {
            memory.count().pending_flushes.add(1);
            tlb::flush_space(memory, self, Cause::Pending);
        }
    }

    /// A batch has emptied entries of the space and will flush them later. Said under the lock of their table.
    pub(super) fn begin_discard(&self) {
        self.discarding.fetch_add(1, Ordering::Release);
    }

    /// The batch's flush is complete.
    pub(super) fn end_discard(&self) {
        self.discarding.fetch_sub(1, Ordering::Release);
    }
}
