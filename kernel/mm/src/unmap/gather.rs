//! The third way: all entries of a reclaim batch are taken out first, with one flush for the lot.
//!
//! Each entry is swapped for its swap entry in one pass, since the swap returns the old value: no clearing, no second store. What
//! stays in order is what the architecture asks for: entries no longer valid; flush complete; only then data copied and frames freed
//! (the caller, `reclaim`). Counts, references and exclusive marks change once a run. The table's lock is kept from one folio to the
//! next while they share the table.
//!
//! Swap counts are raised before anything is touched, so a failure there leaves the entries alone. A pin can only be looked for
//! after the entries are gone; if there is one, they are put back.
//!
//! Lazily freed folios are members like others and share the flush: their entries are cleared, and stay empty unless somebody needs
//! the contents.

use core::mem;
use core::sync::atomic::{Ordering, fence};

use alloc::sync::Arc;
use alloc::vec::Vec;

use mmu::mutant::{self, Mutant};
use mmu::{Descriptor, Fact, Mark, Slot, VirtAddr};

use crate::count::Counters;
use crate::folio::FolioLock;
use crate::inject::Point;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::rmap::{AnonVma, AnonVmaId, Extent};
use crate::space::Space;
use crate::tlb::{BatchFlush, Deferred, OwnDeferral};

use super::swap_out::{account, leave, raise_swap_counts};
use super::walk::FolioWalk;
use super::{discard, forget, is_by_page, is_locked, is_refused, locked};

/// Takes every folio of `batch` out of every space that maps it. On return the flush is complete. A folio that could not be taken out
/// whole is still mapped; the others are not affected.
pub fn unmap_batch(memory: &Memory, batch: &[FolioLock<'_>], flush: &mut BatchFlush) {
    let began = memory.door.mark(Mark::Unmap);
    let mut owed = Owed::default();
    let mut at = 0;
    while at < batch.len() {
        at += unmap_alike(memory, &batch[at..], flush, &mut owed);
    }
    if !mutant::is(Mutant::GatherCopiesEarly) {
        flush.flush(memory);
    }
    owed.settle();
    let ended = memory.door.mark(Mark::Other);
    memory.count().instructions_unmap.add(u64::from(ended.wrapping_sub(began)));
}

/// Unmaps the folios at the head of `batch` that share an anon_vma, under one hold of its lock. Returns how many there were.
fn unmap_alike(memory: &Memory, batch: &[FolioLock<'_>], flush: &mut BatchFlush, owed: &mut Owed) -> usize {
    let Some((id, _)) = batch[0].mapping() else { return 1 };
    let Some(anon) = memory.anon.get(id) else { return 1 };
    let alike = batch.iter().take_while(|folio| folio.mapping().is_some_and(|(other, _)| other == id)).count();
    unmap_from(memory, &anon, id, &batch[..alike], flush, owed);
    alike
}

fn unmap_from(
    memory: &Memory,
    anon: &AnonVma,
    id: AnonVmaId,
    folios: &[FolioLock<'_>],
    flush: &mut BatchFlush,
    owed: &mut Owed,
) {
    let extents = anon.extents();
    flush.reserve(extents.len());
    owed.reserve(extents.len());
    let work = Work { memory, count: memory.count(), flush, owed, deferred: None, discarded: false };
    let mut pass = Pass { table: None, work };
    for folio in folios {
        let Some((_, index)) = folio.mapping().filter(|&(mapped, _)| mapped == id) else { continue };
        for (extent, (start, end)) in extents.at(index, folio.pages()) {
            if !pass.unmap_one(folio, extent, start, end) || !folio.is_mapped() {
                break;
            }
        }
    }
    pass.leave_table();
}

/// The spaces in which the batch has entries whose flush is not complete. Where there is no room for one it stays owed, which costs a flush
/// later and nothing else.
#[derive(Default)]
struct Owed {
    spaces: Vec<OwedSpace>,
    /// Where the space was that was asked for last.
    last: usize,
}

struct OwedSpace {
    space: Arc<Space>,
    deferral: OwnDeferral,
    /// Whether the space knows of entries that are empty and not flushed.
    discards: bool,
}

impl Owed {
    fn add(&mut self, memory: &Memory, space: &Arc<Space>) {
        match self.entry(space) {
            Some(owed) => space.tlb.add_own(memory, &mut owed.deferral),
            None => space.tlb.add(memory),
        }
    }

    /// Has the space's first touches wait for the batch's flush. False if that would be forgotten.
    fn add_discards(&mut self, space: &Arc<Space>) -> bool {
        let Some(owed) = self.entry(space) else { return false };
        if !owed.discards {
            owed.discards = true;
            space.begin_discard();
        }
        true
    }

    /// Room for so many more. Called before a table is locked.
    fn reserve(&mut self, spaces: usize) {
        let _ = self.spaces.try_reserve(spaces);
    }

    /// What is kept of a space; `None` if there is no room for it.
    fn entry(&mut self, space: &Arc<Space>) -> Option<&mut OwedSpace> {
        // Those who share folios take turns, each in the same order for every folio.
        let mut turns = (0..self.spaces.len()).map(|turn| (self.last + turn) % self.spaces.len());
        let known = turns.find(|&at| Arc::ptr_eq(&self.spaces[at].space, space));
        if known.is_none() && self.spaces.len() == self.spaces.capacity() {
            return None;
        }
        let at = known.unwrap_or_else(|| {
            self.spaces.push(OwedSpace { space: space.clone(), deferral: OwnDeferral::new(), discards: false });
            self.spaces.len() - 1
        });
        self.last = (at + 1) % self.spaces.len();
        Some(&mut self.spaces[at])
    }

    fn settle(self) {
        for owed in self.spaces {
            owed.space.tlb.settle_own(owed.deferral);
            if owed.discards {
                owed.space.end_discard();
            }
        }
    }
}

/// Entries of one table that map consecutive pages of a folio alike.
#[derive(Clone, Copy)]
struct Entries {
    slot: Slot,
    /// The folio's page that the first maps.
    page: usize,
    count: usize,
    uffd: bool,
    folded: bool,
}

/// One pass over folios of an anon_vma: the table whose lock is held, kept from one folio to the next, and the work done under it.
struct Pass<'a, 'b> {
    table: Option<TableGuard<'a>>,
    work: Work<'a, 'b>,
}

/// What the pass has to do with, and what is owed so far.
struct Work<'a, 'b> {
    memory: &'a Memory,
    count: &'a Counters,
    flush: &'b mut BatchFlush,
    owed: &'b mut Owed,
    /// The space of the table that is locked, once entries of it are gone under the present lock.
    deferred: Option<&'a Arc<Space>>,
    /// Whether some of them are empty, for any fault to fill.
    discarded: bool,
}

impl<'a> Pass<'a, '_> {
    /// Unmaps the folio from one area. False if a step failed.
    fn unmap_one(&mut self, folio: &FolioLock<'_>, extent: &'a Extent, start: VirtAddr, end: VirtAddr) -> bool {
        if is_locked(extent) {
            self.leave_table();
            let mut walk = FolioWalk::new(self.work.memory, extent, folio, start, end);
            return !locked::keeps(self.work.memory, folio, &mut walk, &mut Deferred::new());
        }
        let mut address = start;
        while address < end {
            if !self.enter_table(extent, address) {
                address = address.table_end();
                continue;
            }
            let Some(table) = &self.table else { return true };
            let stop = end.min(table.end());
            if !self.work.unmap_in_table(table, folio, extent, address, stop) {
                self.work.count.unmap_failures.add(1);
                return false;
            }
            address = stop;
        }
        true
    }

    /// Locks the table for `address` unless it is held already. False if there is none.
    fn enter_table(&mut self, extent: &'a Extent, address: VirtAddr) -> bool {
        let held = self.table.as_ref().is_some_and(|table| {
            core::ptr::eq(table.space, Arc::as_ptr(&extent.space))
                && table.start() == address.align_down(mmu::TABLE_SPAN)
        });
        if !held {
            self.leave_table();
            self.work.count.walk_turns.add(1);
            self.table = TableGuard::lock(self.work.memory, &extent.space, address);
        }
        self.table.is_some()
    }

    /// Gives the table's lock up. That its space has entries whose flush is not complete is recorded now, under the lock: somebody who
    /// flushed the space from another table meanwhile must not take what came later for flushed.
    fn leave_table(&mut self) {
        let work = &mut self.work;
        if let Some(space) = work.deferred.take() {
            work.owed.add(work.memory, space);
            if mem::take(&mut work.discarded) && !work.owed.add_discards(space) {
                work.flush.flush(work.memory);
            }
        }
        self.table = None;
    }
}

impl<'a> Work<'a, '_> {
    /// Unmaps the folio from the addresses `start..stop` of a table. False if a step failed.
    fn unmap_in_table(
        &mut self,
        table: &TableGuard<'_>,
        folio: &FolioLock<'_>,
        extent: &'a Extent,
        start: VirtAddr,
        stop: VirtAddr,
    ) -> bool {
        let mut slot = table.slot(start);
        let mut left = (stop.page_number() - start.page_number()) as usize;
        loop {
            let entry = self.memory.door.load(slot);
            let mut count = 1;
            if entry.maps_page() && folio.contains(entry.frame()) {
                let page = folio.index_of(entry.frame());
                let is_single = is_by_page(self.memory, folio, extent) || !entry.is_present();
                let most = if is_single { 1 } else { left.min(folio.pages() - page) };
                count = table.run(slot, entry, most);
                let run = Entries { slot, page, count, uffd: entry.is_uffd(), folded: entry.is_folded() };
                let out = if folio.is_file() {
                    self.forget_run(table, folio, extent, run)
                } else if is_refused(self.memory, folio) {
                    0
                } else if folio.is_swap_backed() {
                    self.unmap_run(table, folio, extent, run)
                } else {
                    self.discard_run(table, folio, extent, run)
                };
                if out < count {
                    return false;
                }
            }
            left -= count;
            if left == 0 {
                return true;
            }
            slot = slot.add(count);
        }
    }

    /// Swaps the entries for swap entries. Returns how many of them are out now.
    fn unmap_run(&mut self, table: &TableGuard<'_>, folio: &FolioLock<'_>, extent: &'a Extent, run: Entries) -> usize {
        let counted = self.raise_counts(folio, run);
        if counted == 0 {
            return 0;
        }
        if run.folded {
            // Where the area ends inside a block, or a count failed there, a part of the block would stay folded without the rest.
            table.unfold_cut_blocks(run.slot, counted);
        }
        let run = Entries { count: counted, ..run };
        self.memory.door.fact(Fact::Batch(run.slot, run.count));
        let old = self.swap_entries(table, folio, run);
        self.defer(extent);
        self.flush.add(self.memory, table.space, table.address(run.slot), run.count);
        if old.is_dirty() {
            folio.set_dirty(true);
        }
        let out = self.share_or_put_back(table, folio, run, old);
        if out > 0 {
            account(table, out);
            leave(self.count, folio, run.page, out);
        }
        out
    }

    /// Clears the entries of a lazily freed folio. Returns how many of them stay empty: all or none.
    fn discard_run(
        &mut self,
        table: &TableGuard<'_>,
        folio: &FolioLock<'_>,
        extent: &'a Extent,
        run: Entries,
    ) -> usize {
        let old = self.take_run(table, folio, extent, run, TableGuard::clear);
        if discard::discard(self.memory, folio, extent, table, run.slot, (run.page, run.count)) {
            self.discarded = true;
            return run.count;
        }
        self.flush.flush(self.memory);
        table.set_run(run.slot, old, run.count);
        0
    }

    /// Clears the entries of a file's folio, or swaps them for markers: old and new value are known in one pass, with no look between.
    fn forget_run(&mut self, table: &TableGuard<'_>, folio: &FolioLock<'_>, extent: &'a Extent, run: Entries) -> usize {
        if mutant::or(Mutant::MarkerNotLeftByUnmap, run.uffd && extent.keeps_markers(), false) {
            self.take_run(table, folio, extent, run, TableGuard::exchange_for_markers);
        } else {
            self.take_run(table, folio, extent, run, TableGuard::clear);
        }
        forget(folio, table, run.slot, (run.page, run.count));
        self.discarded = true;
        run.count
    }

    /// Takes entries out, by `take`, without a swap entry in their place. Returns the first with the flags of all.
    fn take_run<'t>(
        &mut self,
        table: &TableGuard<'t>,
        folio: &FolioLock<'_>,
        extent: &'a Extent,
        run: Entries,
        take: impl Fn(&TableGuard<'t>, Slot, usize) -> Descriptor,
    ) -> Descriptor {
        self.memory.door.fact(Fact::Batch(run.slot, run.count));
        let old = take(table, run.slot, run.count);
        self.defer(extent);
        self.flush.add(self.memory, table.space, table.address(run.slot), run.count);
        if old.is_dirty() {
            folio.set_dirty(true);
        }
        old
    }

    /// Raises the swap counts, a run of equal exclusivity at a time. Returns for how many pages.
    fn raise_counts(&self, folio: &FolioLock<'_>, run: Entries) -> usize {
        let mut done = 0;
        while done < run.count {
            let (_, length) = folio.exclusive_run(run.page + done, run.count - done);
            if !raise_swap_counts(self.memory, folio, self.count, run.page + done, length) {
                break;
            }
            done += length;
        }
        done
    }

    /// One pass over the entries. Returns the first old one with the flags of all.
    fn swap_entries(&self, table: &TableGuard<'_>, folio: &FolioLock<'_>, run: Entries) -> Descriptor {
        table.space.prepare_for_swap();
        let mut done = 0;
        let mut old = None::<Descriptor>;
        while done < run.count {
            let (exclusive, length) = folio.exclusive_run(run.page + done, run.count - done);
            let swap = folio.swap_entry(run.page + done).to_descriptor(exclusive, run.uffd);
            let taken = self.memory.door.swap_run(run.slot.add(done), swap, length);
            old = Some(old.map_or(taken, |first| first.gather(taken)));
            done += length;
        }
        old.unwrap_or(Descriptor::NONE)
    }

    /// The space has entries whose flush is not complete.
    fn defer(&mut self, extent: &'a Extent) {
        self.deferred = Some(&extent.space);
    }

    /// Takes the exclusive marks off, a pair of barriers for the run. If the folio is pinned, the pages from the first exclusive one on
    /// go back into the table. Returns how many pages stay out.
    fn share_or_put_back(
        &mut self,
        table: &TableGuard<'_>,
        folio: &FolioLock<'_>,
        run: Entries,
        old: Descriptor,
    ) -> usize {
        let (exclusive, length) = folio.exclusive_run(run.page, run.count);
        let shared = if exclusive { 0 } else { length };
        if shared == run.count {
            return run.count;
        }
        let rest = Entries { slot: run.slot.add(shared), page: run.page + shared, count: run.count - shared, ..run };
        self.count.full_barriers.add(1);
        fence(Ordering::SeqCst);
        let marked = || (rest.page..rest.page + rest.count).filter(|&page| folio.is_exclusive(page)).count();
        if self.memory.inject.strikes_counted(Point::Share, marked) || folio.maybe_pinned() {
            self.put_back(table, folio, rest, old.advance(shared));
            return shared;
        }
        folio.clear_exclusive(rest.page, rest.count);
        self.count.full_barriers.add(1);
        fence(Ordering::SeqCst);
        run.count
    }

    /// The entries come back in the place of their swap entries, which nobody saw, as the lock is held. What may be cached of them is
    /// flushed first, since they may come back in another form (reference 1.14, H4).
    fn put_back(&mut self, table: &TableGuard<'_>, folio: &FolioLock<'_>, run: Entries, old: Descriptor) {
        self.flush.flush(self.memory);
        self.memory.door.store_run_none(run.slot, run.count);
        table.set_run(run.slot, old, run.count);
        self.memory.swap.put(folio, run.page, run.count);
    }
}
