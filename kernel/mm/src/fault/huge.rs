//! Faults in areas of huge pages: a page of zeros from the pool, or a copy of one that is shared (reference 4.22).
//!
//! Every entry has its access flag and, if it is writable, its dirty state from the start, as nobody reclaims these pages: hardware that
//! does not set them never asks for them.

use mmu::mutant::{self, Mutant};
use mmu::{Cause, Descriptor, Fact};

use super::file::is_protected;
use super::{Access, Fault, FaultError, Handled, Outcome};
use crate::folio::Folio;
use crate::frame::{FreshFolio, HugeSize};
use crate::hugetlb::{HugeSlot, take_from_others};
use crate::rmap::AnonVmaId;

impl<'a> Fault<'a> {
    pub(super) fn huge(&self, size: HugeSize) -> Handled {
        let slot = self.lock_huge(size)?;
        let entry = slot.get();
        if entry.is_absent() {
            drop(slot);
            if self.is_asked_first() { self.ask_monitor(false) } else { self.first_huge(size, entry) }
        } else if entry.is_lost() {
            Err(FaultError::NoHugePage)
        } else if !entry.is_present() {
            Err(FaultError::Poisoned(size.shift()))
        } else if !entry.is_valid() {
            Err(FaultError::Denied)
        } else if self.access == Access::Write && self.is_watched(entry) {
            self.ask_monitor(true)
        } else if self.access == Access::Write && !entry.is_writable() {
            self.huge_alone(slot, size, entry)
        } else {
            slot.flush_local();
            slot.note_resolved(self.access);
            self.memory.count().faults_spurious.add(1);
            Ok(Outcome::Resolved)
        }
    }

    fn lock_huge(&self, size: HugeSize) -> Result<HugeSlot<'a>, FaultError> {
        Ok(HugeSlot::lock_new(self.memory, self.space, size, self.address.align_down(size.bytes()))?)
    }

    /// The first touch, for which a page is reserved perhaps. `found` says whether userfaultfd protects it.
    fn first_huge(&self, size: HugeSize, found: Descriptor) -> Handled {
        let Some(anon) = self.area.anon else { return Ok(Outcome::NeedsAnonVma) };
        let Some(folio) = self.memory.alloc_huge(size, self.area.reserves()) else {
            if self.area.reserves() {
                // Another fault has it for a moment, which finds that it came too late, or that it is the one this fault is for.
                mmu::relax();
                return Ok(Outcome::Again);
            }
            return Err(FaultError::NoHugePage);
        };
        self.memory.door.clear_pages(folio.head(), folio.pages());
        let slot = self.lock_huge(size)?;
        if slot.get() != found {
            drop(slot);
            return Ok(Outcome::Again);
        }
        let outcome = self.map_huge(&slot, size, folio, (anon, is_protected(found)));
        self.memory.count().faults_huge.add(1);
        Ok(outcome)
    }

    /// What is protected may be read; a write is the monitor's to allow.
    fn map_huge(
        &self,
        slot: &HugeSlot<'_>,
        size: HugeSize,
        folio: FreshFolio<'_>,
        (anon, is_protected): (AnonVmaId, bool),
    ) -> Outcome {
        let entry = Descriptor::user_page(folio.head(), self.area.protection()).make_young();
        let entry = if self.access == Access::Write { entry.make_dirty() } else { entry.write_protect() };
        let entry = if is_protected { entry.write_protect().make_uffd() } else { entry };
        slot.map(folio, entry, (anon, self.area.index_of(self.address.align_down(size.bytes()))));
        if is_protected && self.access == Access::Write {
            return Outcome::Again;
        }
        slot.note_resolved(self.access);
        Outcome::Resolved
    }

    /// A write to a page that is mapped read-only: in place, if nobody else maps it, as then nobody can any more.
    fn huge_alone(&self, slot: HugeSlot<'a>, size: HugeSize, entry: Descriptor) -> Handled {
        let Some(anon) = self.area.anon else { return Ok(Outcome::NeedsAnonVma) };
        let folio = slot.folio(entry);
        if mutant::or(Mutant::HugeReusedWhileShared, folio.mapcount() == 1, true) {
            folio.set_exclusive(0, 1);
            slot.change(|old| old.make_writable().make_dirty());
            slot.flush_local();
            slot.note_resolved(self.access);
            self.memory.count().faults_reuse.add(1);
            return Ok(Outcome::Resolved);
        }
        // Keeps what is copied from while no table is locked.
        folio.get(1);
        drop(slot);
        let outcome = self.copy_huge(folio, size, entry, anon);
        self.put(folio).and(outcome)
    }

    fn copy_huge(&self, folio: Folio<'a>, size: HugeSize, entry: Descriptor, anon: AnonVmaId) -> Handled {
        let Some(fresh) = self.memory.alloc_huge(size, false) else {
            if !self.area.reserves() {
                return Err(FaultError::NoHugePage);
            }
            take_from_others(self.memory, self.space, folio, size);
            return Ok(Outcome::Again);
        };
        // Shared pages are read-only wherever they are mapped.
        self.memory.door.fact(Fact::DataRead(folio.head(), folio.pages()));
        let pages = mutant::or(Mutant::HugeCopiedInPart, folio.pages(), 1);
        self.memory.door.copy_pages(fresh.head(), folio.head(), pages);
        let slot = self.lock_huge(size)?;
        if slot.get() != entry {
            drop(slot);
            return Ok(Outcome::Again);
        }
        // Break before make, as the address changes.
        slot.clear();
        slot.flush(Cause::Replace);
        let outcome = self.map_huge(&slot, size, fresh, (anon, false));
        slot.count_unmap(folio);
        let last = folio.put(1);
        debug_assert!(last.is_none(), "a huge page that this fault refers to lost its last reference");
        self.memory.count().faults_copy.add(1);
        Ok(outcome)
    }
}
