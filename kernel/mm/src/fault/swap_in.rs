//! Swapped-out pages: found in the swap cache, or read from the device as one folio where the slots, the entries and the policy allow,
//! else page by page (reference 4.10).
//!
//! What is read is in the swap cache from before the read on, under the folio's lock: a second fault for any of its slots finds it
//! there and waits, and no two copies of one slot ever exist. What could not be read leaves the cache before it is unlocked: whoever
//! waited looks again, and reads for itself. So an error is told to those who need the bad page, and to nobody else.

use mmu::mutant::{self, Mutant};
use mmu::{Descriptor, ENTRIES, NEXT_PAGE, PAGE_SHIFT, Slot};

use super::{Access, Fault, FaultError, Handled, Outcome, descending};
use crate::folio::{Folio, FolioLock};
use crate::pgtable::TableGuard;
use crate::policy::Unit;
use crate::rmap::AnonVmaId;
use crate::swap::{SwapEntry, Swapped};
use crate::vma::AreaFlags;

/// The swap entry that was found.
#[derive(Clone, Copy)]
struct Found {
    entry: Descriptor,
    swapped: Swapped,
    /// Where the page belongs if nothing maps it yet.
    anon: AnonVmaId,
    /// Whether the device had to be read.
    was_read: bool,
}

impl<'a> Fault<'a> {
    pub(super) fn swap_in(&self, entry: Descriptor) -> Handled {
        let swapped = SwapEntry::from_descriptor(entry).ok_or(FaultError::Poisoned(PAGE_SHIFT))?;
        let Some(anon) = self.area.anon else { return Ok(Outcome::NeedsAnonVma) };
        // A page that relatives may have entries for too must be found through all of their areas.
        let is_own = mutant::or(Mutant::SharedPageInOwnAnonVma, swapped.exclusive, true);
        let anon = if is_own { anon } else { self.memory.anon.common(anon) };
        let found = Found { entry, swapped, anon, was_read: false };
        if let Some(folio) = self.memory.swap.lookup(self.memory, swapped.entry) {
            return self.map_cached(folio.lock(), found);
        }
        self.read(found, self.readable_orders(found))
    }

    /// Reads the page, and as many around it as make a folio of the largest of `orders` that can be had, into the swap cache, and maps
    /// what was read.
    fn read(&self, found: Found, orders: u16) -> Handled {
        let memory = self.memory;
        let fallback = |order| memory.count_size(order).swpin_fallback.add(1);
        let folio = self.alloc(orders, fallback).ok_or(FaultError::OutOfMemory)?;
        let pages = folio.pages();
        let first = found.swapped.entry.align_down(pages);
        // Another fault was faster.
        let Ok(locked) = memory.swap.add_to_cache(memory, first, folio) else { return Ok(Outcome::Again) };
        if memory.swap.read_in(memory, &locked).is_err() {
            self.drop_unused(locked)?;
            // Of many pages one may be bad, which need not be this one.
            return if pages > 1 { self.read(found, 1) } else { Err(FaultError::SwapRead) };
        }
        locked.set_swap_backed(true);
        locked.set_uptodate(true);
        memory.count().pages_swapped_in.add(pages as u64);
        memory.count_size(locked.order()).swpin.add(1);
        memory.lru.add(locked.folio());
        self.map_cached(locked, Found { was_read: true, ..found })
    }

    /// Takes a folio that nothing maps, and that has only what its slots have, out of the cache again.
    fn drop_unused(&self, locked: FolioLock<'a>) -> Result<(), FaultError> {
        self.memory.swap.drop_unused(&locked);
        self.unlock_and_put(locked)
    }

    /// The orders of folios that could be read: the area's pages and the slots are congruent, the entries follow each other with equal
    /// flags, nothing of them is cached, and the zero marks agree.
    fn readable_orders(&self, found: Found) -> u16 {
        let swap = &self.memory.swap;
        if self.memory.policy().swapin() == Unit::Page || !swap.is_synchronous(found.swapped.entry) {
            return 1;
        }
        let orders = self.allowed_orders();
        if orders == 1 {
            return 1;
        }
        let Some(table) = self.space.lock_table(self.memory, self.address) else { return 1 };
        let fits = |&order: &usize| {
            let pages = 1 << order;
            let index = self.address.page_number() as usize % pages;
            let first = found.swapped.entry.align_down(pages);
            let congruent = found.swapped.entry.slot as usize % pages == index;
            let congruent = mutant::or(Mutant::SwapInNotCongruent, congruent, true);
            order == 0
                || (congruent
                    && is_usable(first)
                    && self.follows(&table, found.entry, index, pages)
                    && !swap.is_cached(first, pages)
                    && swap.zero_run(first, pages).is_some())
        };
        descending(orders).filter(fits).fold(1, |fitting, order| fitting | 1 << order)
    }

    /// Whether the `pages` entries around the address, of which `entry` is the one at `index`, follow each other.
    fn follows(&self, table: &TableGuard<'_>, entry: Descriptor, index: usize, pages: usize) -> bool {
        let here = table.slot(self.address);
        if here.index() < index || here.index() - index + pages > ENTRIES {
            return false;
        }
        let first = table.slot(self.address.align_down((pages as u64) << mmu::PAGE_SHIFT));
        self.follow_from(first, back(entry, index), pages)
    }

    fn follow_from(&self, slot: Slot, entry: Descriptor, pages: usize) -> bool {
        self.memory.door.find(slot, pages, |index, other| other != entry.advance(index)).is_none()
    }

    /// Maps what a locked folio of the swap cache has for the entry: all of its pages where all their entries are there, else one.
    /// The caller's reference to the folio becomes that of a mapping, or is given up.
    fn map_cached(&self, locked: FolioLock<'a>, found: Found) -> Handled {
        let Some(index) = locked.page_cached_at(found.swapped.entry) else {
            self.unlock_and_put(locked)?;
            return Ok(Outcome::Again);
        };
        let Some(table) = self.space.lock_table(self.memory, self.address) else {
            self.unlock_and_put(locked)?;
            return Ok(Outcome::Again);
        };
        if self.memory.door.load(table.slot(self.address)) != found.entry {
            drop(table);
            self.unlock_and_put(locked)?;
            return Ok(Outcome::Again);
        }
        debug_assert!(locked.is_uptodate(), "what could not be read leaves the cache");
        let (first, pages) = self.mappable(&table, &locked, found.entry, index);
        if pages < locked.pages() && locked.mapping().is_none() && locked.is_large() {
            // Read for entries of which some have changed since: no space maps it yet, and none could find all of it.
            drop(table);
            self.drop_unused(locked)?;
            return Ok(Outcome::Again);
        }
        self.map_run(&table, &locked, found, (first, index, pages));
        // A page that may be shared, or is watched, is mapped read-only: the write faults again.
        let outcome = if self.access == Access::Write && (!found.swapped.exclusive || found.swapped.uffd) {
            Outcome::Again
        } else {
            self.note_resolved(&table);
            Outcome::Resolved
        };
        // In this order: once the table is free the mapping may go again, and whoever takes it must not find the folio locked.
        drop(locked);
        drop(table);
        let count = self.memory.count();
        if found.was_read { &count.faults_swap_major } else { &count.faults_swap_minor }.add(1);
        Ok(outcome)
    }

    /// Which pages of the folio to map: first and number.
    fn mappable(&self, table: &TableGuard<'_>, folio: &Folio<'_>, entry: Descriptor, index: usize) -> (usize, usize) {
        let pages = folio.pages();
        let here = table.slot(self.address);
        let in_table = here.index() >= index && here.index() - index + pages <= ENTRIES;
        let bytes = |pages: usize| (pages as u64) << mmu::PAGE_SHIFT;
        let in_area = self.address.as_u64() - self.area.start.as_u64() >= bytes(index)
            && self.area.end.as_u64() - self.address.as_u64() >= bytes(pages - index);
        let all = in_table && in_area && {
            let first = table.slot(mmu::VirtAddr::new(self.address.as_u64() - bytes(index)));
            self.follow_from(first, back(entry, index), pages)
        };
        if all { (0, pages) } else { (index, 1) }
    }

    fn map_run(
        &self,
        table: &TableGuard<'_>,
        locked: &FolioLock<'_>,
        found: Found,
        (first, index, pages): (usize, usize, usize),
    ) {
        let (memory, swapped) = (self.memory, found.swapped);
        let address = mmu::VirtAddr::new(self.address.as_u64() - ((index - first) as u64) * mmu::PAGE_SIZE);
        let mut protection = self.area.protection();
        protection.write &= swapped.exclusive && !swapped.uffd;
        let mut entry = Descriptor::user_page(locked.page(first), protection).make_young();
        if self.access == Access::Write && protection.write {
            entry = entry.make_dirty();
        }
        if mutant::or(Mutant::MarkLostOnSwapIn, swapped.uffd, false) && self.area.flags.contains(AreaFlags::UFFD_WP) {
            entry = entry.make_uffd();
        }
        self.space.add_anon(pages as i64);
        self.space.add_swap(-(pages as i64));
        if locked.mapping().is_none() || swapped.exclusive {
            let offset = self.area.index_of(address).wrapping_sub(first as u64);
            locked.set_mapping(found.anon, offset);
        }
        if pages > 1 {
            // The reference of the look-up is that of the first mapping.
            locked.get(pages - 1);
        }
        locked.add_maps(first, pages);
        // Whoever swapped them out has taken the marks off (reference 11, M9).
        debug_assert!(
            locked.exclusive_run(first, pages) == (false, pages),
            "a page that comes back is marked exclusive"
        );
        if swapped.exclusive {
            locked.set_exclusive(first, pages);
        }
        memory.swap.put(locked, first, pages);
        if protection.execute {
            memory.door.sync_instructions(locked.page(first), pages);
        }
        table.set_run(table.slot(address), entry, pages);
        if self.should_free_slots(locked, pages) && memory.swap.free_if_unused(locked) {
            memory.defer_split(locked.folio());
        }
    }

    /// Whether the folio is worth more in memory alone than with its copy on the device: where a read costs little, and where a write
    /// needs to know that nobody else refers to it.
    fn should_free_slots(&self, folio: &Folio<'_>, pages: usize) -> bool {
        let alone = self.access == Access::Write && folio.refs() == folio.pages() + pages;
        alone || self.area.flags.contains(AreaFlags::LOCKED) || self.memory.swap.is_synchronous(folio.swap_entry(0))
    }

    fn unlock_and_put(&self, locked: FolioLock<'a>) -> Result<(), FaultError> {
        let folio = locked.folio();
        drop(locked);
        self.put(folio)
    }
}

/// Whether a page can be there. What would name slot 0 of device 0 is an empty entry, which follows from that of slot 1 as well.
fn is_usable(entry: SwapEntry) -> bool {
    mutant::or(Mutant::SlotZeroRead, entry.slot != 0, true)
}

/// The swap entry `count` pages before.
fn back(entry: Descriptor, count: usize) -> Descriptor {
    Descriptor::from_bits(entry.bits().wrapping_sub(NEXT_PAGE * count as u64))
}
