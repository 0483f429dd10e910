//! Writes to pages that are mapped read-only in a writable area: made writable in place where the page is this space's alone, copied
//! where it may be shared (reference 4.5, A16). Pages about to be pinned for reading are taken alone the same way, and stay read-only.

use mmu::mutant::{self, Mutant};
use mmu::{Cause, Depth, Descriptor, Fact, Slot};

use super::{Access, Fault, FaultError, Handled, Outcome, map_fresh};
use crate::folio::Folio;
use crate::frame::FreshFolio;
use crate::pgtable::TableGuard;
use crate::rmap::AnonVmaId;
use crate::tlb::{self, Gather};
use crate::zap;

impl<'a> Fault<'a> {
    /// Whether the page of an entry is anonymous, and may be mapped by others too.
    pub(super) fn is_shared(&self, entry: Descriptor) -> bool {
        let stays = |folio: Folio<'_>| folio.is_file() || folio.is_exclusive(folio.index_of(entry.frame()));
        !entry.is_special() && !stays(self.memory.frames.folio_of(entry.frame()))
    }

    pub(super) fn take_alone(&self, table: TableGuard<'a>, entry: Descriptor) -> Handled {
        if self.area.backing.is_shared() {
            // Whoever maps a file shared writes its own pages.
            self.reuse(&table, entry);
            return Ok(Outcome::Resolved);
        }
        let Some(anon) = self.area.anon else { return Ok(Outcome::NeedsAnonVma) };
        if entry.is_special() {
            drop(table);
            return self.replace_zero_page(entry, anon);
        }
        let folio = self.memory.frames.folio_of(entry.frame());
        let index = folio.index_of(entry.frame());
        if folio.is_exclusive(index) || self.make_exclusive(&table, folio, index, anon) {
            self.reuse(&table, entry);
            return Ok(Outcome::Resolved);
        }
        // Keeps what is copied from while no table is locked.
        folio.get(1);
        drop(table);
        let outcome = self.copy(folio, entry, anon);
        if matches!(outcome, Ok(Outcome::Resolved)) { outcome } else { self.put(folio).and(outcome) }
    }

    fn reuse(&self, table: &TableGuard<'_>, entry: Descriptor) {
        let is_written = self.access == Access::Write;
        let young = entry.make_young();
        let wanted = if is_written { young.make_writable().make_dirty() } else { young };
        table.set_access_flags(table.slot(self.address), wanted, is_written);
        self.memory.count().faults_reuse.add(u64::from(is_written));
        self.note_resolved(table);
    }

    /// Whether the folio turns out to be this space's alone; page `index` is marked so then, and only it. All that refers to the folio
    /// are entries of this table: no pin, no swap cache, no other space, which might find it through another anon_vma. Who could map it
    /// anew would need the folio's lock, which is held, or to copy this space's areas, which are locked.
    fn make_exclusive(&self, table: &TableGuard<'_>, folio: Folio<'_>, index: usize, anon: AnonVmaId) -> bool {
        if folio.is_file() || folio.page_maps(index) != 1 {
            return false;
        }
        let Some(locked) = folio.try_lock() else { return false };
        if locked.is_swap_cache() && self.memory.swap.free_if_unused(&locked) {
            self.memory.defer_split(locked.folio());
        }
        let is_alone = is_mapped_here_alone(table, folio, table.slot(self.address));
        if locked.refs() != locked.mapcount() || !mutant::or(Mutant::ReusedWhileShared, is_alone, true) {
            return false;
        }
        if !locked.is_large() {
            // Found through this space alone from now on.
            locked.set_mapping(anon, self.area.index_of(self.address));
        }
        locked.set_exclusive(index, 1);
        true
    }

    /// A page of its own in place of a page of `folio`, to which this fault has a reference. Gives that up if it succeeds.
    fn copy(&self, folio: Folio<'a>, entry: Descriptor, anon: AnonVmaId) -> Handled {
        let fresh = self.alloc(1, drop).ok_or(FaultError::OutOfMemory)?;
        if !folio.is_file() {
            // Shared pages are read-only wherever they are mapped; those of a file may be written by who maps it shared.
            self.memory.door.fact(Fact::DataRead(entry.frame(), 1));
        }
        self.memory.door.copy_pages(fresh.head(), entry.frame(), 1);
        let Some(table) = self.replace(entry, fresh, anon)? else { return Ok(Outcome::Again) };
        if folio.remove_maps(folio.index_of(entry.frame()), 1).partially_mapped {
            self.memory.defer_split(folio);
        }
        self.space.add_pages_of(folio, -1);
        self.space.add_anon(1);
        self.memory.mark(folio, false);
        drop(table);
        let mut gather = Gather::new(self.memory, self.space, Cause::Replace);
        zap::release(self.memory, folio, 2, &mut gather);
        gather.finish();
        Ok(Outcome::Resolved)
    }

    fn replace_zero_page(&self, entry: Descriptor, anon: AnonVmaId) -> Handled {
        let fresh = self.alloc(1, drop).ok_or(FaultError::OutOfMemory)?;
        self.memory.door.clear_pages(fresh.head(), 1);
        if self.replace(entry, fresh, anon)?.is_none() {
            return Ok(Outcome::Again);
        }
        self.space.add_anon(1);
        Ok(Outcome::Resolved)
    }

    /// Puts `fresh` in place of what `entry` maps, if it still does. Break before make: the address changes, so the old translation must
    /// be gone from every TLB before the new one exists (DDI 0487, R_WHZWS).
    fn replace(
        &self,
        entry: Descriptor,
        fresh: FreshFolio<'a>,
        anon: AnonVmaId,
    ) -> Result<Option<TableGuard<'a>>, FaultError> {
        let table = self.lock_table()?;
        let slot = table.slot(self.address);
        let same = |entry: Descriptor| entry.with_contiguous(false).make_old().make_clean();
        if same(table.get(slot)) != same(entry) {
            drop(table);
            return Ok(None);
        }
        if !mutant::is(Mutant::ReplacedDirectly) {
            table.clear(slot, 1);
            tlb::flush_range(self.memory, self.space, self.address, 1, Depth::Leaf, Cause::Replace);
        }
        let copy = self.entry_of_copy(&fresh, entry.is_uffd());
        map_fresh(self.memory, &table, slot, fresh, copy, (anon, self.area));
        self.note_resolved(&table);
        self.memory.count().faults_copy.add(1);
        Ok(Some(table))
    }

    /// The entry of a page that was copied. It is dirty even if who pins it only reads: nobody else has these contents, and a child may
    /// come to share them before MADV_FREE gives them up here. Then userfaultfd protects it still as well; one that may be written is not.
    fn entry_of_copy(&self, fresh: &FreshFolio<'_>, was_protected: bool) -> Descriptor {
        let entry = Descriptor::user_page(fresh.head(), self.area.protection()).make_young();
        let entry = if mutant::is(Mutant::CopyForReaderClean) && self.access != Access::Write {
            entry
        } else {
            entry.make_dirty()
        };
        let entry = if self.access == Access::Write { entry } else { entry.write_protect() };
        let is_protected = mutant::or(Mutant::MarkLostByUnshare, was_protected, false);
        if is_protected { entry.write_protect().make_uffd() } else { entry }
    }

    /// Gives a reference up.
    pub(super) fn put(&self, folio: Folio<'_>) -> Result<(), FaultError> {
        let mut gather = Gather::new(self.memory, self.space, Cause::Replace);
        zap::release(self.memory, folio, 1, &mut gather);
        gather.finish();
        Ok(())
    }
}

/// Whether every mapping of the folio that `slot` maps a page of is an entry of this table.
fn is_mapped_here_alone(table: &TableGuard<'_>, folio: Folio<'_>, slot: Slot) -> bool {
    let door = &table.memory.door;
    let page = folio.index_of(door.load(slot).frame());
    let Some(first) = slot.sub(page) else { return false };
    let count = folio.pages().min(first.left_in_table());
    let maps = |&page: &usize| {
        let entry = door.load(first.add(page));
        entry.is_present() && !entry.is_special() && entry.frame() == folio.page(page)
    };
    (0..count).filter(maps).count() == folio.mapcount()
}
