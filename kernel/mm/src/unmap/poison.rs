//! Unmapping folios whose memory is bad: every entry that maps one becomes an entry that says so, and whoever touches it is told
//! (Linux's TTU_HWPOISON). Which way is taken follows from the folio's kind before anything is looked at, so that the ways of reclaim
//! know nothing of huge pages (reference 1.3).
//!
//! A batch is one entry here (1.9), as its frame stands in it. A mark of userfaultfd is lost, which does no harm: nobody reads the
//! page any more (1.13 R8).

use mmu::{Cause, Fact};

use super::start_flush;
use super::walk::FolioWalk;
use crate::folio::FolioLock;
use crate::frame::HugeSize;
use crate::hugetlb::HugeSlot;
use crate::inject::Point;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::rmap::Extent;
use crate::swap::bad_memory;
use crate::tlb::Deferred;

/// Takes a folio out of every space that maps it.
pub(super) fn unmap_poisoned(memory: &Memory, folio: &FolioLock<'_>, deferred: &mut Deferred) {
    let Some((id, index)) = folio.mapping() else { return };
    let Some(anon) = memory.anon.get(id) else { return };
    let size = HugeSize::ALL.into_iter().find(|size| folio.is_huge() && size.order() == folio.order());
    for (extent, (start, end)) in anon.extents().at(index, folio.pages()) {
        let done = match size {
            Some(size) => unmap_huge(memory, folio, extent, size, start),
            None => {
                unmap_pages(memory, folio, extent, FolioWalk::new(memory, extent, folio, start, end), deferred);
                true
            }
        };
        if !done || !folio.is_mapped() {
            return;
        }
    }
}

/// Unmaps a huge page from one area, which lies in it whole: the walk gives its one entry, that of the head, and never one that is not
/// present. One clearing, one flush, one reference (reference 1.3). False if it could not be done; then nothing was.
fn unmap_huge(memory: &Memory, folio: &FolioLock<'_>, extent: &Extent, size: HugeSize, start: mmu::VirtAddr) -> bool {
    let counters = memory.count();
    counters.walk_turns.add(1);
    if memory.inject.strikes(Point::HugeUnmap, 1) {
        // Linux tries for the area's lock here, and says so if it has none (R2).
        counters.unmap_failures.add(1);
        return false;
    }
    let Some(slot) = HugeSlot::lock(memory, &extent.space, size, start) else { return true };
    counters.getters.add(1);
    if !slot.maps(folio) {
        return true;
    }
    let old = slot.clear();
    slot.flush(Cause::Unmap);
    if old.is_dirty() {
        folio.set_dirty(true);
    }
    slot.set(bad_memory(folio.head()));
    slot.count_unmap(folio.folio());
    drop_reference(memory, folio);
    true
}

/// Unmaps small pages from one area, one by one.
fn unmap_pages(
    memory: &Memory,
    folio: &FolioLock<'_>,
    extent: &Extent,
    mut walk: FolioWalk<'_>,
    deferred: &mut Deferred,
) {
    while let Some((table, slot, _)) = walk.next(deferred) {
        unmap_page(memory, folio, extent, table, slot, deferred);
    }
    walk.leave_table(deferred);
}

fn unmap_page(
    memory: &Memory,
    folio: &FolioLock<'_>,
    extent: &Extent,
    table: &TableGuard<'_>,
    slot: mmu::Slot,
    deferred: &mut Deferred,
) {
    let page = folio.index_of(table.get(slot).frame());
    memory.door.fact(Fact::Batch(slot, 1));
    let old = table.clear(slot, 1);
    if old.is_valid() || extent.space.tlb.is_pending() {
        start_flush(memory, extent, table, slot, 1, deferred);
    }
    if old.is_dirty() {
        folio.set_dirty(true);
    }
    table.space.add_anon(-1);
    memory.count().space_counts.add(1);
    table.set(slot, bad_memory(folio.page(page)));
    folio.clear_exclusive(page, 1);
    folio.remove_maps(page, 1);
    drop_reference(memory, folio);
}

fn drop_reference(memory: &Memory, folio: &FolioLock<'_>) {
    memory.count().ref_drops.add(1);
    let orphan = folio.put(1);
    debug_assert!(orphan.is_none(), "a folio that its unmapper refers to lost its last reference");
}
