//! fork: a second space with the same areas and the same pages, shared until one of the two writes (reference 4.6, A17).
//!
//! Tables are copied in batches: entries that map consecutive pages of one folio become read-only in the parent and are set read-only
//! in the child, whole blocks folded on both sides. Pages of which a device may know the address stay the parent's alone, and the child
//! gets copies. The parent's areas are locked for writing throughout: no fault may look at a page of which it can not tell yet whether
//! it is shared. Reclaim may come between, as it takes a folio's entries one table at a time.
//!
//! Until the one flush at the end the parent may still write what it shares by translations that are gone from its tables: the child
//! does not run before.

use alloc::sync::Arc;
use core::cell::Cell;

use mmu::mutant::{self, Mutant};
use mmu::{Cause, Descriptor, Operation, Slot, VirtAddr};

use crate::contpte::BatchRules;
use crate::errno::Errno;
use crate::fault::map_fresh;
use crate::folio::Folio;
use crate::frame::FreshFolio;
use crate::hugetlb;
use crate::inject::Point;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::rmap::{self, Heir};
use crate::space::{Layout, Space};
use crate::swap::SwapEntry;
use crate::tlb;
use crate::unmap;
use crate::vma::{Area, AreaFlags};
use crate::zap;

impl Memory {
    /// A child of `parent`: its areas, heap and pages are the same, except where the parent said otherwise (MADV_DONTFORK,
    /// MADV_WIPEONFORK).
    ///
    /// # Errors
    /// `ENOMEM`. Nothing of the child is left then, and the parent has all it had; what it could write in place it may have to fault on
    /// first.
    pub fn fork_space(&self, parent: &Arc<Space>) -> Result<Arc<Space>, Errno> {
        let _underway = self.begin(Operation::Fork);
        let child = self.create_space()?;
        let copied = self.copy_layout(parent, &child);
        if let Err(error) = copied {
            self.destroy_space(&child);
            return Err(error);
        }
        Ok(child)
    }

    fn copy_layout(&self, parent: &Arc<Space>, child: &Arc<Space>) -> Result<(), Errno> {
        let from = parent.layout().write();
        let mut to = child.layout().write_fresh();
        (to.brk_start, to.brk) = (from.brk_start, from.brk);
        let mut areas = from.areas.iter().filter(|area| !area.flags.contains(AreaFlags::DONTFORK));
        let copied = areas.try_for_each(|area| self.copy_area(parent, child, &mut to, area));
        tlb::flush_space(self, parent, Cause::Fork);
        copied
    }

    fn copy_area(
        &self,
        parent: &Arc<Space>,
        child: &Arc<Space>,
        layout: &mut Layout,
        area: &Area,
    ) -> Result<(), Errno> {
        // What may be lost at any time is lost here, as in Linux.
        let is_wiped = area.flags.intersects(AreaFlags::WIPEONFORK | AreaFlags::DROPPABLE);
        let heir = match area.anon.filter(|_| !is_wiped) {
            Some(anon) => Some(rmap::inherit(self, anon, child)?),
            None => None,
        };
        let unlocked = area.flags.difference(AreaFlags::LOCKED | AreaFlags::LOCK_ON_FAULT);
        let flags = mutant::or(Mutant::ChildLocked, unlocked, area.flags);
        // Nothing is reserved for a child.
        let reserves = mutant::or(Mutant::ChildReserves, area.huge().is_none(), true);
        let flags = if reserves { flags } else { flags | AreaFlags::NORESERVE };
        let copy = Area { flags, anon: heir.as_ref().map(Heir::id), ..*area }.unwatched();
        let change = layout.areas.plan_insert(copy);
        self.apply(child, layout, &change)?;
        // Without an anon_vma there are no pages but those of a file and the zero page, which the child's faults will find.
        if copy.anon.is_none() {
            return Ok(());
        }
        if copy.huge().is_some() {
            return hugetlb::copy_area(self, parent, child, &copy);
        }
        Copy { memory: self, parent, child, area: copy }.pages()
    }
}

/// What a table's copy has to wait for, with no lock held.
enum Need {
    /// A page for a copy.
    Page,
    /// Room for the count of this slot.
    Count(SwapEntry),
}

/// The copy of one area's entries.
struct Copy<'a> {
    memory: &'a Memory,
    parent: &'a Space,
    child: &'a Space,
    /// The child's area.
    area: Area,
}

/// The tables for the same addresses, both locked.
struct Pair<'a> {
    parent: TableGuard<'a>,
    child: TableGuard<'a>,
    /// Pages of anonymous memory that the child shares from now on. They are accounted for before the locks are given up.
    anon: Cell<i64>,
    /// Those of memory files.
    of_files: Cell<i64>,
}

impl Drop for Pair<'_> {
    fn drop(&mut self) {
        self.child.space.add_anon(self.anon.get());
        self.child.space.add_file(self.of_files.get());
    }
}

/// Entries of the parent's table that map consecutive pages of a folio.
#[derive(Clone, Copy)]
struct Run<'a> {
    slot: Slot,
    folio: Folio<'a>,
    /// The folio's page that the first maps.
    page: usize,
    /// The first, with the flags of all.
    entry: Descriptor,
    count: usize,
}

impl<'a> Copy<'a> {
    fn pages(&self) -> Result<(), Errno> {
        let next = |address| self.parent.tables.next(self.memory, address);
        let mut address = next(self.area.start);
        while address < self.area.end {
            let stop = self.area.end.min(address.table_end());
            self.table(address, stop)?;
            address = next(stop);
        }
        Ok(())
    }

    /// Copies the entries of one table from `start` to `stop`.
    fn table(&self, start: VirtAddr, stop: VirtAddr) -> Result<(), Errno> {
        let mut address = start;
        let mut spare = None;
        while address < stop {
            self.child.tables.ensure(self.memory, address)?;
            match self.entries(&mut address, stop, &mut spare) {
                None => {}
                Some(Need::Page) => spare = Some(self.alloc_page()?),
                Some(Need::Count(entry)) => self.make_room(entry)?,
            }
        }
        Ok(())
    }

    fn alloc_page(&self) -> Result<FreshFolio<'a>, Errno> {
        let page = self.memory.alloc_folio(0).ok_or(Errno::ENOMEM)?;
        self.memory.count().folios_allocated.add(1);
        Ok(page)
    }

    fn make_room(&self, entry: SwapEntry) -> Result<(), Errno> {
        let struck = self.memory.inject.strikes(Point::SwapDup, 1);
        if struck || self.memory.swap.extend(entry).is_err() { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Copies entries under the locks of both tables, from `address` on, which follows, until all are done or something is needed.
    fn entries(&self, address: &mut VirtAddr, stop: VirtAddr, spare: &mut Option<FreshFolio<'a>>) -> Option<Need> {
        let parent = self.parent.lock_table(self.memory, *address)?;
        let child = self.child.lock_table(self.memory, *address)?;
        let tables = Pair { parent, child, anon: Cell::new(0), of_files: Cell::new(0) };
        while *address < stop {
            let slot = tables.parent.slot(*address);
            let entry = tables.parent.get(slot);
            let left = (stop.page_number() - address.page_number()) as usize;
            let copied = if entry.is_present() && !entry.is_special() {
                self.present(&tables, slot, entry, left, spare)
            } else if entry.is_present() {
                let entry = mutant::or(Mutant::MarksKeptByChild, entry.clear_uffd(), entry);
                tables.child.set(tables.child.slot(*address), entry.make_old());
                Ok(1)
            } else if mutant::or(Mutant::MarksKeptByChild, entry.is_absent(), entry.is_none()) {
                // Nobody watches the child, so it has no markers.
                Ok(1)
            } else {
                self.swapped(&tables, slot, entry, left)
            };
            match copied {
                Ok(count) => *address = address.add_pages(count),
                Err(need) => return Some(need),
            }
        }
        None
    }

    /// Shares the pages that a run of entries maps, at most `left`. Returns how many.
    fn present(
        &self,
        tables: &Pair<'_>,
        slot: Slot,
        entry: Descriptor,
        left: usize,
        spare: &mut Option<FreshFolio<'a>>,
    ) -> Result<usize, Need> {
        let folio = self.memory.frames.folio_of(entry.frame());
        let page = folio.index_of(entry.frame());
        let max = left.min(folio.pages() - page);
        let rules = BatchRules { respect_dirty: true, respect_write: false };
        let (count, entry) = tables.parent.batch(slot, entry, max, rules);
        let run = Run { slot, folio, page, entry, count };
        let (exclusive, alike) = folio.exclusive_run(page, count);
        let is_shared = !exclusive && alike == count;
        let count = if is_shared || self.take_marks(tables, run) {
            count
        } else if !exclusive {
            alike
        } else {
            self.copy_page(tables, run, spare)?;
            return Ok(1);
        };
        self.map(tables, Run { count, ..run });
        Ok(count)
    }

    /// Makes pages of which some are exclusive ready to be shared: not marked any more, and read-only in the parent. False if the folio
    /// is pinned; then they are the parent's as before. Nobody pins meanwhile, as that takes the areas' lock.
    fn take_marks(&self, tables: &Pair<'_>, run: Run<'_>) -> bool {
        let pinned_too = mutant::is(Mutant::PinnedPageShared);
        if !pinned_too && !unmap::share(self.memory, &run.folio, tables.parent.count, run.page, run.count) {
            return false;
        }
        if mutant::or(Mutant::ForkLeavesWritable, run.entry.is_writable(), false) {
            tables.parent.write_protect(run.slot, run.count);
        }
        true
    }

    /// Maps shared pages in the child: read-only, old, and as dirty as in the parent.
    fn map(&self, tables: &Pair<'_>, run: Run<'_>) {
        run.folio.get(run.count);
        run.folio.add_maps(run.page, run.count);
        let pages = if run.folio.is_file() { &tables.of_files } else { &tables.anon };
        pages.set(pages.get() + run.count as i64);
        let entry = run.entry.write_protect().make_old();
        let entry = mutant::or(Mutant::MarksKeptByChild, entry.clear_uffd(), entry);
        tables.child.set_run(tables.child_slot(run.slot), entry, run.count);
    }

    /// A copy of the first page of the run for the child: the parent's is known to a device by its address, so it stays the parent's.
    fn copy_page(&self, tables: &Pair<'_>, run: Run<'_>, spare: &mut Option<FreshFolio<'a>>) -> Result<(), Need> {
        let fresh = spare.take().ok_or(Need::Page)?;
        self.memory.door.copy_pages(fresh.head(), run.folio.page(run.page), 1);
        let entry = Descriptor::user_page(fresh.head(), self.area.protection()).make_young().make_dirty();
        if let Some(anon) = self.area.anon {
            map_fresh(self.memory, &tables.child, tables.child_slot(run.slot), fresh, entry, (anon, &self.area));
            self.child.add_anon(1);
            self.memory.count().fork_copies.add(1);
        }
        Ok(())
    }

    /// Copies a run of swap entries, at most `left`, whose slots have one more entry each then and are nobody's own any more. Returns
    /// how many.
    fn swapped(&self, tables: &Pair<'_>, slot: Slot, entry: Descriptor, left: usize) -> Result<usize, Need> {
        let Some(swapped) = SwapEntry::from_descriptor(entry) else {
            // Bad memory is so for the child too.
            tables.child.set(tables.child_slot(slot), entry);
            return Ok(1);
        };
        let count = zap::swap_run(self.memory, slot, entry, left.min(swapped.entry.left_in_cluster()));
        tables.parent.count.swap_dups.add(1);
        let struck = self.memory.inject.strikes(Point::SwapDup, count);
        if struck || self.memory.swap.dup_entries(swapped.entry, count).is_err() {
            return Err(Need::Count(swapped.entry));
        }
        self.child.prepare_for_swap();
        self.child.add_swap(count as i64);
        let exclusive = mutant::or(Mutant::ForkKeepsSwapExclusive, false, swapped.exclusive);
        let shared = swapped.entry.to_descriptor(exclusive, swapped.uffd);
        let copy = swapped.entry.to_descriptor(exclusive, false);
        let to = tables.child_slot(slot);
        for index in 0..count {
            if swapped.exclusive {
                tables.parent.set(slot.add(index), shared.advance(index));
            }
            tables.child.set(to.add(index), copy.advance(index));
        }
        Ok(count)
    }
}

impl Pair<'_> {
    /// The child's entry for the address of the parent's.
    fn child_slot(&self, slot: Slot) -> Slot {
        self.child.slot(self.parent.address(slot))
    }
}
