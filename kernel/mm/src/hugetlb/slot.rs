//! Where a huge page is mapped: sixteen entries of a last-level table with the Contiguous bit, or one block of level 2. Everybody else
//! in `hugetlb` sees one entry, without the Contiguous bit and in the form of a page.
//!
//! The sixteen are always alike, so nothing is ever folded or unfolded here: they are cleared and set as one, under their table's lock.
//! In between a CPU that touches them faults, and waits for the lock.

use mmu::{CONT_PTES, Cause, Descriptor, Fact, Slot, VirtAddr};

use crate::errno::Errno;
use crate::fault::Access;
use crate::folio::Folio;
use crate::frame::{FreshFolio, HugeSize};
use crate::memory::Memory;
use crate::pgtable::{BlockGuard, TableGuard};
use crate::rmap::AnonVmaId;
use crate::space::Space;
use crate::tlb;

/// The entry for a huge page, with its table's lock held.
#[derive(Debug)]
pub(crate) struct HugeSlot<'a> {
    memory: &'a Memory,
    space: &'a Space,
    start: VirtAddr,
    place: Place<'a>,
}

#[derive(Debug)]
enum Place<'a> {
    Run(TableGuard<'a>, Slot),
    Block(BlockGuard<'a>),
}

impl<'a> HugeSlot<'a> {
    /// Locks the entry for the huge page at `start`; `None` if there is no table for it.
    pub(crate) fn lock(memory: &'a Memory, space: &'a Space, size: HugeSize, start: VirtAddr) -> Option<Self> {
        debug_assert!(start.is_aligned(size.bytes()));
        let place = match size {
            HugeSize::Run => {
                let table = space.lock_table(memory, start)?;
                let slot = table.slot(start);
                Place::Run(table, slot)
            }
            HugeSize::Block => Place::Block(BlockGuard::lock(memory, space, start)?),
        };
        Some(Self { memory, space, start, place })
    }

    /// The same, with the tables made that are missing.
    ///
    /// # Errors
    /// `ENOMEM` if a table page can not be had.
    pub(crate) fn lock_new(
        memory: &'a Memory,
        space: &'a Space,
        size: HugeSize,
        start: VirtAddr,
    ) -> Result<Self, Errno> {
        loop {
            if let Some(slot) = Self::lock(memory, space, size, start) {
                return Ok(slot);
            }
            match size {
                HugeSize::Run => space.tables.ensure(memory, start).map(drop)?,
                HugeSize::Block => space.tables.ensure_above(memory, start)?,
            }
        }
    }

    fn size(&self) -> HugeSize {
        match self.place {
            Place::Run(..) => HugeSize::Run,
            Place::Block(_) => HugeSize::Block,
        }
    }

    /// What is there.
    pub(crate) fn get(&self) -> Descriptor {
        match &self.place {
            Place::Run(table, slot) => table.get(*slot).with_contiguous(false),
            Place::Block(block) => block.get(),
        }
    }

    /// Puts `entry` where nothing is. One that maps nothing is the same in all sixteen entries, as Linux has it.
    pub(crate) fn set(&self, entry: Descriptor) {
        match &self.place {
            Place::Run(table, slot) if entry.is_present() => {
                table.memory.door.store_run(*slot, entry.with_contiguous(entry.is_valid()), CONT_PTES);
            }
            Place::Run(table, slot) => {
                (0..CONT_PTES).for_each(|index| table.memory.door.store(slot.add(index), entry));
            }
            Place::Block(block) => {
                block.swap(if entry.is_present() { entry.into_block() } else { entry });
            }
        }
    }

    /// Takes out what is there, with the access flag and dirty state that any part of it has.
    pub(crate) fn clear(&self) -> Descriptor {
        match &self.place {
            Place::Run(table, slot) => table.memory.door.clear_run(*slot, CONT_PTES).with_contiguous(false),
            Place::Block(block) => block.swap(Descriptor::NONE),
        }
    }

    /// Changes what is there, which stays at its address: taken out first, as the sixteen can not change in one step. Returns what it
    /// was.
    pub(crate) fn change(&self, change: impl FnOnce(Descriptor) -> Descriptor) -> Descriptor {
        let old = self.clear();
        self.set(change(old));
        old
    }

    /// The huge page that `entry`, found here, maps.
    pub(crate) fn folio(&self, entry: Descriptor) -> Folio<'a> {
        self.memory.frames.folio_of(entry.frame())
    }

    /// Whether a huge page is mapped here.
    pub(crate) fn maps(&self, folio: &Folio<'_>) -> bool {
        let entry = self.get();
        entry.is_present() && entry.frame() == folio.head()
    }

    /// Maps a new huge page, whose contents are ready, exclusive to the space, which reserved it perhaps. `index` is its page offset in
    /// the anon_vma.
    pub(crate) fn map(&self, folio: FreshFolio<'_>, entry: Descriptor, (anon, index): (AnonVmaId, u64)) {
        let folio = folio.publish();
        folio.set_reserved_for(false);
        folio.set_mapping(anon, index);
        folio.set_uptodate(true);
        folio.set_exclusive(0, 1);
        if entry.is_user_executable() {
            self.memory.door.sync_instructions(folio.head(), folio.pages());
        }
        // The reference that it was allocated with is that of its mapping.
        self.count_map(folio);
        self.set(entry);
    }

    /// One more mapping of a huge page: one map count, on its first page, however many pages it has. They are counted apart from other
    /// anonymous pages (Linux's `hugetlb_count_add`).
    pub(crate) fn count_map(&self, folio: Folio<'_>) {
        folio.add_maps(0, 1);
        self.space.add_huge(self.size().pages() as i64);
    }

    /// One mapping less (`hugetlb_count_sub`, `hugetlb_remove_rmap`).
    pub(crate) fn count_unmap(&self, folio: Folio<'_>) {
        folio.remove_maps(0, 1);
        self.space.add_huge(-(self.size().pages() as i64));
    }

    /// Flushes the huge page, complete on return.
    pub(crate) fn flush(&self, cause: Cause) {
        tlb::flush_huge(self.memory, self.space, self.size(), self.start, cause);
    }

    /// Flushes it on this CPU alone, where a permission was relaxed.
    pub(crate) fn flush_local(&self) {
        tlb::flush_huge_local(self.memory, self.space, self.size(), self.start);
    }

    /// Says that a fault's access will succeed by the entry.
    pub(crate) fn note_resolved(&self, access: Access) {
        if let Place::Run(_, slot) = self.place {
            self.memory.door.fact(Fact::Resolved(slot, access));
        }
    }
}
