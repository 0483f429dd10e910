//! A space's translation tables: finding and allocating table pages, the lock of each last-level table, and freeing them.
//!
//! Four levels of 4 KiB granules. Tables of levels 0 to 2 change only under the space's `upper` lock; entries of a last-level table
//! only under that table's own lock, whose guard every function that touches entries takes. A block of level 2, which only hugetlb areas
//! have, changes under the lock of the table that it is in.

use core::sync::atomic::{AtomicU32, Ordering};

use mmu::mutant::{self, Mutant};
use mmu::{Descriptor, Fact, Slot, TABLE_SPAN, Table, UpperSlot, VirtAddr};

use crate::count::Counters;
use crate::errno::Errno;
use crate::memory::Memory;
use crate::space::Space;
use crate::sync::{Held, Lock, Rank, assert_may_wait};
use crate::tlb::Gather;

/// The tables of one space.
#[derive(Debug)]
pub struct Tables {
    root: Table,
    upper: Lock<()>,
}

impl Tables {
    /// An empty tree: its root alone.
    ///
    /// # Errors
    /// `ENOMEM` if no frame is left.
    pub fn new(memory: &Memory) -> Result<Self, Errno> {
        let root = memory.alloc_table().ok_or(Errno::ENOMEM)?;
        Ok(Self { root: memory.door.new_table(root, 0), upper: Lock::new(Rank::Table, ()) })
    }

    /// The table of level 0.
    pub fn root(&self) -> Table {
        self.root
    }

    /// How many tables there are, the root among them.
    pub fn count(&self, memory: &Memory) -> u64 {
        let _guard = self.upper.lock();
        count_below(memory, self.root, VirtAddr::new(0))
    }

    /// The last-level table that translates `address`, if there is one.
    #[inline]
    pub fn find(&self, memory: &Memory, address: VirtAddr) -> Option<Table> {
        self.find_level(memory, address, 3)
    }

    /// The first address from this one on that a last-level table translates; one past all addresses if there is none.
    pub(crate) fn next(&self, memory: &Memory, mut address: VirtAddr) -> VirtAddr {
        while address.as_u64() < mmu::USER_END {
            let Err(level) = self.descend(memory, address, 3) else { break };
            let span = 1 << mmu::level_shift(level);
            address = address.align_down(span).add_bytes(span);
        }
        address
    }

    #[inline]
    fn find_level(&self, memory: &Memory, address: VirtAddr, last: u8) -> Option<Table> {
        self.descend(memory, address, last).ok()
    }

    /// The table of level `last` on the way to `address`, or else the level of the one whose entry leads to no table.
    #[inline]
    fn descend(&self, memory: &Memory, address: VirtAddr, last: u8) -> Result<Table, u8> {
        let mut table = self.root;
        for level in 0..last {
            let entry = memory.door.load_table(table.upper_slot(address));
            if !entry.is_table() {
                return Err(level);
            }
            table = Table::new(entry.address(), level + 1);
        }
        Ok(table)
    }

    /// The entry that a walk for `address` ends at, and the level of its table: a page or block, or what is no table.
    pub fn look(&self, memory: &Memory, address: VirtAddr) -> (Descriptor, u8) {
        let mut table = self.root;
        for level in 0..3 {
            let entry = memory.door.load_table(table.upper_slot(address));
            if !entry.is_table() {
                return (entry, level);
            }
            table = Table::new(entry.address(), level + 1);
        }
        (memory.door.load(table.slot(address)), 3)
    }

    /// The last-level table that translates `address`, allocated with those above it where they are missing. May not be called
    /// under a table's lock.
    ///
    /// # Errors
    /// `ENOMEM` if a table page can not be had. What was linked on the way stays, empty.
    pub fn ensure(&self, memory: &Memory, address: VirtAddr) -> Result<Table, Errno> {
        self.ensure_level(memory, address, 3)
    }

    fn ensure_level(&self, memory: &Memory, address: VirtAddr, last: u8) -> Result<Table, Errno> {
        let mut table = self.root;
        for level in 0..last {
            let slot = table.upper_slot(address);
            let entry = memory.door.load_table(slot);
            let next = if entry.is_table() { entry } else { self.link_new(memory, table, address)? };
            table = Table::new(next.address(), level + 1);
        }
        Ok(table)
    }

    /// Links a new table under `parent`, unless another CPU was faster. Invalid to valid needs no invalidation (reference 3.1).
    fn link_new(&self, memory: &Memory, parent: Table, address: VirtAddr) -> Result<Descriptor, Errno> {
        assert_may_wait();
        let frame = memory.alloc_table().ok_or(Errno::ENOMEM)?;
        let table = memory.door.new_table(frame, parent.level() + 1);
        let slot = parent.upper_slot(address);
        let guard = self.upper.lock();
        let now = memory.door.load_table(slot);
        if mutant::or(Mutant::TableLinkedTwice, now.is_table(), false) {
            drop(guard);
            memory.frames.free_table(crate::tlb::Flushed::never_linked(memory, table));
            return Ok(now);
        }
        let entry = Descriptor::table(frame);
        memory.door.swap_table(slot, entry);
        Ok(entry)
    }

    /// Allocates what is missing above the last-level table for `address`, so that one can be linked there.
    ///
    /// # Errors
    /// `ENOMEM` if a table page can not be had.
    pub(crate) fn ensure_above(&self, memory: &Memory, address: VirtAddr) -> Result<(), Errno> {
        self.ensure_level(memory, address, 2).map(drop)
    }

    /// Makes the last-level table that translates `from`, both addresses being at the start of a table's span, translate `to` instead.
    /// False, and nothing has changed, where there is no such table, or one at `to` already, or nothing to link it to. The caller
    /// keeps everybody away who could find the table at its old place, and flushes that, walk caches included.
    pub(crate) fn move_table(&self, memory: &Memory, from: VirtAddr, to: VirtAddr) -> bool {
        let _guard = self.upper.lock();
        let slot = |address| self.find_level(memory, address, 2).map(|table| table.upper_slot(address));
        let (Some(from), Some(to)) = (slot(from), slot(to)) else { return false };
        let entry = memory.door.load_table(from);
        if !entry.is_table() || !memory.door.load_table(to).is_none() {
            return false;
        }
        memory.door.swap_table(from, Descriptor::NONE);
        memory.door.swap_table(to, entry);
        true
    }

    /// Unlinks every table below `start..end` whose whole span lies within `floor..ceiling`, a range that no area uses any more. The
    /// tables go to `gather`, which frees them once no CPU can walk through them.
    pub fn free_range(
        &self,
        memory: &Memory,
        range: (VirtAddr, VirtAddr),
        limits: (VirtAddr, VirtAddr),
        gather: &mut Gather<'_>,
    ) {
        let _guard = self.upper.lock();
        self.free_below(memory, self.root, range, limits, gather);
    }

    fn free_below(
        &self,
        memory: &Memory,
        table: Table,
        (start, end): (VirtAddr, VirtAddr),
        limits: (VirtAddr, VirtAddr),
        gather: &mut Gather<'_>,
    ) {
        let span = 1u64 << mmu::level_shift(table.level());
        let mut address = start.align_down(span);
        while address < end {
            let next = address.add_bytes(span);
            let slot = table.upper_slot(address);
            let entry = memory.door.load_table(slot);
            if entry.is_table() {
                let child = Table::new(entry.address(), table.level() + 1);
                if child.level() < 3 {
                    let inner = (address.max(start), next.min(end));
                    self.free_below(memory, child, inner, limits, gather);
                }
                if address >= limits.0 && next <= limits.1 {
                    memory.door.swap_table(slot, Descriptor::NONE);
                    gather.table(child, address, next);
                }
            }
            address = next;
        }
    }
}

/// A table and those below it; `start` is the first address that it translates.
fn count_below(memory: &Memory, table: Table, start: VirtAddr) -> u64 {
    if table.level() == 3 {
        return 1;
    }
    let addresses = (0..mmu::ENTRIES as u64).map(|index| start.add_bytes(index << mmu::level_shift(table.level())));
    let below = addresses.filter_map(|address| {
        let entry = memory.door.load_table(table.upper_slot(address));
        entry.is_table().then(|| count_below(memory, Table::new(entry.address(), table.level() + 1), address))
    });
    1 + below.sum::<u64>()
}

/// The lock of one last-level table, held. It proves that no other CPU changes the entries; hardware may still set access flags and
/// dirty state in valid ones.
#[derive(Debug)]
pub struct TableGuard<'a> {
    pub(crate) memory: &'a Memory,
    pub(crate) space: &'a Space,
    /// This CPU's counters: whoever holds the lock stays on its CPU.
    pub(crate) count: &'a Counters,
    /// The table's first entry.
    first: Slot,
    base: VirtAddr,
    word: &'a AtomicU32,
    _held: Held,
}

impl<'a> TableGuard<'a> {
    /// Locks the table that translates `address`; `None` if there is none.
    #[inline]
    pub fn lock(memory: &'a Memory, space: &'a Space, address: VirtAddr) -> Option<Self> {
        let table = space.tables.find(memory, address)?;
        mmu::switch_point();
        let (word, held) = wait_for(memory, table);
        Some(Self::locked(memory, space, address, (table, word, held)))
    }

    /// The same, but without waiting: `None` also if somebody else has the lock.
    pub fn try_lock(memory: &'a Memory, space: &'a Space, address: VirtAddr) -> Option<Self> {
        let table = space.tables.find(memory, address)?;
        mmu::switch_point();
        let word = memory.frames.lock_word(table.address().frame());
        word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(Self::locked(memory, space, address, (table, word, Held::tried(Rank::Table))))
    }

    #[inline(always)]
    fn locked(
        memory: &'a Memory,
        space: &'a Space,
        address: VirtAddr,
        (table, word, held): (Table, &'a AtomicU32, Held),
    ) -> Self {
        memory.door.fact(Fact::Lock(table.address().frame()));
        let base = address.align_down(TABLE_SPAN);
        Self { memory, space, count: memory.count(), first: table.slot(base), base, word, _held: held }
    }

    /// The entry for `address`, which lies in the table's 2 MiB.
    #[inline]
    pub fn slot(&self, address: VirtAddr) -> Slot {
        debug_assert_eq!(address.align_down(TABLE_SPAN), self.base);
        self.first.add(address.index(3))
    }

    /// The address that `slot` translates.
    #[inline]
    pub fn address(&self, slot: Slot) -> VirtAddr {
        self.base.add_pages(slot.index())
    }

    /// The first address that the table translates.
    pub fn start(&self) -> VirtAddr {
        self.base
    }

    /// One past the last address that the table translates.
    pub fn end(&self) -> VirtAddr {
        self.base.table_end()
    }
}

impl Drop for TableGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.memory.door.fact(Fact::Unlock(self.first.address().frame()));
        self.word.store(0, Ordering::Release);
    }
}

/// Waits for the lock of a table.
#[inline(always)]
fn wait_for(memory: &Memory, table: Table) -> (&AtomicU32, Held) {
    let held = Held::take(Rank::Table);
    let word = memory.frames.lock_word(table.address().frame());
    while word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
        mmu::relax();
    }
    (word, held)
}

/// The entry of a table of level 2 for an address, with that table's lock held. It has a block, or nothing: a table is linked there
/// only for areas whose pages are small, and areas do not overlap.
#[derive(Debug)]
pub(crate) struct BlockGuard<'a> {
    memory: &'a Memory,
    slot: UpperSlot,
    word: &'a AtomicU32,
    _held: Held,
}

impl<'a> BlockGuard<'a> {
    /// Locks the table of level 2 that translates `address`; `None` if there is none.
    pub(crate) fn lock(memory: &'a Memory, space: &'a Space, address: VirtAddr) -> Option<Self> {
        let table = space.tables.find_level(memory, address, 2)?;
        mmu::switch_point();
        let (word, _held) = wait_for(memory, table);
        memory.door.fact(Fact::Lock(table.address().frame()));
        Some(Self { memory, slot: table.upper_slot(address), word, _held })
    }

    /// What the entry holds.
    pub(crate) fn get(&self) -> Descriptor {
        self.memory.door.load_table(self.slot)
    }

    /// Puts another entry there, and returns the one that was.
    pub(crate) fn swap(&self, entry: Descriptor) -> Descriptor {
        self.memory.door.swap_table(self.slot, entry)
    }
}

impl Drop for BlockGuard<'_> {
    fn drop(&mut self) {
        self.memory.door.fact(Fact::Unlock(self.slot.address().frame()));
        self.word.store(0, Ordering::Release);
    }
}
