//! Unmapping folios for reclaim: every entry that maps an anonymous folio becomes a swap entry, or stays empty where the folio was
//! lazily freed (`discard.rs`). The entries of a file's folio stay empty: the file still has it. A folio whose memory is bad has a way
//! of its own, as have huge pages, which nobody else unmaps (`poison.rs`).
//!
//! | way | unit of clearing | flush |
//! |---|---|---|
//! | `page` | one entry, as Linux 7.3 does for swap-backed anonymous folios | a TLBI a page at once, a DSB before write-out |
//! | `folio` | all entries of the folio in one table, as the series proposes | a TLBI a run at once, a DSB before write-out |
//! | `gather` | all entries of a reclaim batch (`gather.rs`) | a TLBI a run of addresses and one pair of DSB for the batch |
//!
//! `page` and `folio` are one routine with another limit on the batch length; for lazily freed folios `lazyfree` alone sets it, and
//! those of files are taken out whole in every way, as Linux does since 7.2. A swap-backed folio is locked and in the swap cache
//! throughout, so a fault on a page that is already out waits for the lock.

mod discard;
mod gather;
mod locked;
mod poison;
mod swap_out;
mod walk;

pub use gather::unmap_batch;
pub(crate) use swap_out::share;

use mmu::mutant::{self, Mutant};
use mmu::{Fact, Mark, Slot, VirtAddr};

use crate::contpte::BatchRules;
use crate::folio::FolioLock;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::policy::{Unit, Unmap};
use crate::rmap::Extent;
use crate::tlb::{self, Deferred};
use crate::vma::AreaFlags;

use walk::FolioWalk;

/// Takes `folio` out of every space that maps it, page by page or whole as the policy says. Invalidations are issued, and owed to
/// `deferred` for completion. Whether no mapping is left.
///
/// A swap-backed folio has its swap slots, another one needs none. On failure the pages done so far stay out, and all others are as
/// before but for the access and dirty flags, which the batch shares.
pub fn try_to_unmap(memory: &Memory, folio: &FolioLock<'_>, deferred: &mut Deferred) -> bool {
    let began = memory.door.mark(Mark::Unmap);
    if folio.is_poisoned() {
        poison::unmap_poisoned(memory, folio, deferred);
    } else {
        unmap_everywhere(memory, folio, deferred);
    }
    let ended = memory.door.mark(Mark::Other);
    memory.count().instructions_unmap.add(u64::from(ended.wrapping_sub(began)));
    !folio.is_mapped()
}

fn unmap_everywhere(memory: &Memory, folio: &FolioLock<'_>, deferred: &mut Deferred) {
    let Some((id, index)) = folio.mapping() else { return };
    let Some(anon) = memory.anon.get(id) else { return };
    for (extent, range) in anon.extents().at(index, folio.pages()) {
        if !unmap_in_range(memory, folio, extent, range, deferred) || !folio.is_mapped() {
            return;
        }
    }
}

/// Unmaps the folio from the addresses where one area may map it. False as [`unmap_one`]. A function of its own, so that the loop over
/// entries has all registers.
#[inline(never)]
fn unmap_in_range(
    memory: &Memory,
    folio: &FolioLock<'_>,
    extent: &Extent,
    (start, end): (VirtAddr, VirtAddr),
    deferred: &mut Deferred,
) -> bool {
    let mut walk = FolioWalk::new(memory, extent, folio, start, end);
    let done = unmap_one(memory, folio, extent, &mut walk, deferred);
    walk.leave_table(deferred);
    done
}

/// Unmaps the folio from one area. False if something was put back, or the area is locked, which ends the whole walk.
fn unmap_one(
    memory: &Memory,
    folio: &FolioLock<'_>,
    extent: &Extent,
    walk: &mut FolioWalk<'_>,
    deferred: &mut Deferred,
) -> bool {
    if is_locked(extent) {
        return !locked::keeps(memory, folio, walk, deferred);
    }
    while let Some((table, slot, left)) = walk.next(deferred) {
        // Local to the turn: a length that survived it would drop the next entry's references too often (reference 1.2).
        let count = unmap_run(memory, folio, extent, table, slot, left, deferred);
        match count {
            Ok(count) if count == folio.pages() => return true,
            Ok(_) => {}
            Err(swap_out::PutBack) => {
                memory.count().unmap_failures.add(1);
                return false;
            }
        }
    }
    true
}

/// Clears one batch of entries, starts its invalidation, and writes swap entries in their place. Returns the length of the batch.
fn unmap_run(
    memory: &Memory,
    folio: &FolioLock<'_>,
    extent: &Extent,
    table: &TableGuard<'_>,
    slot: Slot,
    left: usize,
    deferred: &mut Deferred,
) -> Result<usize, swap_out::PutBack> {
    let entry = table.get(slot);
    let first = folio.index_of(entry.frame());
    let is_single = is_by_page(memory, folio, extent) || !entry.is_present();
    let most = if is_single { 1 } else { left.min(folio.pages() - first) };
    let count = batch_length(table, slot, entry, most);
    memory.door.fact(Fact::Batch(slot, count));
    let old = table.clear(slot, count);
    if old.is_valid() || extent.space.tlb.is_pending() {
        start_flush(memory, extent, table, slot, count, deferred);
    }
    if old.is_dirty() {
        folio.set_dirty(true);
    }
    // Before it is known whether a swap entry takes their place, which has the mark itself, or the old ones come back (reference 1.5).
    table.leave_markers(slot, old, count, mutant::or(Mutant::MarkerNotLeftByUnmap, extent.keeps_markers(), false));
    if folio.is_file() {
        forget(folio, table, slot, (first, count));
        return Ok(count);
    }
    let refused = is_refused(memory, folio);
    if !refused && folio.is_swap_backed() {
        swap_out::replace(memory, folio, table, first, slot, old, count)?;
    } else if refused || !discard::discard(memory, folio, extent, table, slot, (first, count)) {
        swap_out::put_back(table, slot, old, count);
        return Err(swap_out::PutBack);
    }
    Ok(count)
}

/// The entries of pages of a file stay empty, or markers (reference A7): a fault finds the pages in the file.
fn forget(folio: &FolioLock<'_>, table: &TableGuard<'_>, slot: Slot, (first, count): (usize, usize)) {
    table.memory.door.fact(Fact::Discard(slot, count, true));
    table.space.add_file(-(count as i64));
    table.count.space_counts.add(1);
    swap_out::leave(table.count, folio, first, count);
}

/// Whether entries are cleared one by one: by the policy of the folio's kind, or that of areas in which writes are watched (reference
/// 1.6).
fn is_by_page(memory: &Memory, folio: &FolioLock<'_>, extent: &Extent) -> bool {
    let policy = memory.policy();
    let of_kind = if folio.is_file() {
        false
    } else if folio.is_swap_backed() {
        policy.unmap() == Unmap::Page
    } else {
        policy.lazyfree() == Unit::Page
    };
    of_kind || (extent.flags.contains(AreaFlags::UFFD_WP) && !policy.uffd_batch())
}

/// A swap-backed folio without slots has nowhere to go, and one with slots would be lost if it were discarded: neither can be, and
/// neither is unmapped (reference 1.9).
fn is_refused(memory: &Memory, folio: &FolioLock<'_>) -> bool {
    let refused = folio.is_swap_backed() != folio.is_swap_cache();
    memory.count().unmap_warnings.add(u64::from(refused));
    refused
}

/// Whether the area keeps what it maps (reference 4.24). Nothing of a folio is taken out of it.
fn is_locked(extent: &Extent) -> bool {
    mutant::or(Mutant::LockedAreaUnmapped, extent.flags.contains(AreaFlags::LOCKED), false)
}

/// How many entries may be cleared together: they agree in all but dirty state and access flag, so that putting them back can not
/// widen a permission (reference 1.9, 1.13 R12).
fn batch_length(table: &TableGuard<'_>, slot: Slot, entry: mmu::Descriptor, max: usize) -> usize {
    let respect_write = mutant::or(Mutant::BatchIgnoresWrite, true, false);
    let rules = BatchRules { respect_dirty: false, respect_write };
    if max == 1 { 1 } else { table.batch(slot, entry, max, rules).0 }
}

fn start_flush(
    memory: &Memory,
    extent: &Extent,
    table: &TableGuard<'_>,
    slot: Slot,
    count: usize,
    deferred: &mut Deferred,
) {
    let address = table.address(slot);
    if memory.policy().flush_deferred() {
        deferred.add(memory, &extent.space, address, count);
    } else {
        tlb::flush_range(memory, &extent.space, address, count, mmu::Depth::WalkCaches, mmu::Cause::Unmap);
    }
}
