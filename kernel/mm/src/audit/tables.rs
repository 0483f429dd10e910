//! The tables of a space: the invariants of its blocks, what each entry may say, and how many there are of each kind.

use alloc::boxed::Box;
use alloc::sync::Arc;

use mmu::{CONT_PTES, Descriptor, ENTRIES, STAGE1, Table, VirtAddr, level_shift};

use super::{Finding, Place, Rule, Seen, is, same};
use crate::memory::Memory;
use crate::rmap::{Extent, Extents};
use crate::space::Space;
use crate::swap::{SwapEntry, bad_frame};
use crate::vma::{Area, Areas};

const CONTIGUOUS: u64 = STAGE1::CONTIGUOUS.mask << STAGE1::CONTIGUOUS.shift;
/// What may differ between the entries of a folded block: access flag, and the two bits of dirty state (invariant I2).
pub(super) const MAY_DIFFER: u64 =
    (1 << STAGE1::ACCESS.shift) | (1 << STAGE1::DIRTY.shift) | (1 << STAGE1::READ_ONLY.shift);
/// Bits that are never set in a swap entry: valid, type, present-invalid, and those that the format keeps at zero.
const NOT_IN_SWAP: u64 = 0b11 | 0b11 << 4 | 1 << 11 | 0b11 << 62;

/// Walks a space and compares its accounts.
pub(super) fn recount(memory: &Memory, space: &Arc<Space>, seen: &mut Seen) -> Result<(), Finding> {
    let layout = space.layout().read();
    let mut walk = Walk { memory, space, areas: &layout.areas, seen, present: 0, filed: 0, swapped: 0, huge: 0 };
    walk.table(space.tables.root(), VirtAddr::new(0))?;
    walk.count_reserved();
    let Walk { present, filed, swapped, huge, .. } = walk;
    let place = Place::Space(space.id());
    same(Rule::Ms43, "present pages (ANONPAGES)", place, space.anon_pages() as u64, present)?;
    same(Rule::Ms43, "present pages of files (SHMEMPAGES)", place, space.file_pages() as u64, filed)?;
    same(Rule::Ms43, "swap entries (SWAPENTS)", place, space.swap_entries() as u64, swapped)?;
    same(Rule::Ms43, "pages of huge pages", place, space.huge_pages() as u64, huge)?;
    is(Rule::Ms43, "on the list for swapoff", place, space.may_swap() || swapped == 0, true)
}

/// A walk through all the tables of a space.
pub(super) struct Walk<'a> {
    pub(super) memory: &'a Memory,
    space: &'a Space,
    pub(super) areas: &'a Areas,
    pub(super) seen: &'a mut Seen,
    present: u64,
    filed: u64,
    swapped: u64,
    /// Pages of 4 KiB that huge pages have.
    pub(super) huge: u64,
}

impl Walk<'_> {
    pub(super) fn place(&self, address: VirtAddr) -> Place {
        Place::Entry(self.space.id(), address)
    }

    /// A table and those below it. `start` is the first address that it translates.
    fn table(&mut self, table: Table, start: VirtAddr) -> Result<(), Finding> {
        if table.level() == 3 {
            return self.last_level(table, start);
        }
        for (index, entry) in (0..).zip(&*self.entries(table)).filter(|(_, entry)| !entry.is_none()) {
            let address = start.add_bytes(index << level_shift(table.level()));
            if entry.is_table() {
                self.table(Table::new(entry.address(), table.level() + 1), address)?;
            } else {
                self.block(table.level(), address, *entry)?;
            }
        }
        Ok(())
    }

    fn entries(&self, table: Table) -> Box<[Descriptor; ENTRIES]> {
        let mut entries = Box::new([Descriptor::NONE; ENTRIES]);
        self.memory.door.load_all(table, &mut entries);
        entries
    }

    fn last_level(&mut self, table: Table, start: VirtAddr) -> Result<(), Finding> {
        let entries = self.entries(table);
        for (number, block) in entries.chunks(CONT_PTES).enumerate() {
            check_block(self.memory, block, self.place(start.add_pages(number * CONT_PTES)))?;
        }
        for (number, block) in entries.chunks(CONT_PTES).enumerate() {
            let start = start.add_pages(number * CONT_PTES);
            if let Some(area) = self.areas.find(start).filter(|area| area.huge().is_some()) {
                self.huge_run(area, start, block)?;
                continue;
            }
            let mut filled = block.iter().enumerate().filter(|(_, entry)| !entry.is_none());
            filled.try_for_each(|(index, &entry)| self.entry(start.add_pages(index), entry))?;
        }
        Ok(())
    }

    fn entry(&mut self, address: VirtAddr, entry: Descriptor) -> Result<(), Finding> {
        let place = self.place(address);
        let outside = Finding { rule: Rule::Entry, what: "outside of any area", place, found: entry.bits(), right: 0 };
        let area = self.areas.find(address).ok_or(outside)?;
        if entry.is_marker() {
            return is(Rule::Entry, "a marker where an area keeps such", place, area.keeps_markers(), true);
        }
        if let Some(frame) = bad_frame(entry) {
            let known = self.memory.frames.contains(frame);
            return is(Rule::Entry, "a frame of bad memory under management", place, known, true);
        }
        if entry.is_device_exclusive() {
            self.present += 1;
            return self.page(area, address, entry);
        }
        if !entry.is_present() {
            self.swapped += 1;
            is(Rule::Entry, "a swap entry in a shared area", place, area.backing.is_shared(), false)?;
            return self.swap_entry(place, entry);
        }
        self.rights(area, place, entry)?;
        if entry.is_special() {
            same(Rule::Entry, "the zero page", place, entry.frame().as_u64(), self.memory.zero_frame().as_u64())?;
            return is(Rule::Entry, "writable zero page", place, entry.is_writable(), false);
        }
        self.page(area, address, entry)
    }

    /// An entry allows no more than its area.
    pub(super) fn rights(&self, area: &Area, place: Place, entry: Descriptor) -> Result<(), Finding> {
        let allowed = area.protection();
        is(Rule::Entry, "writable where the area is not", place, entry.is_writable() && !allowed.write, false)?;
        is(Rule::Entry, "valid as the area allows access", place, entry.is_valid(), allowed.read)
    }

    fn swap_entry(&mut self, place: Place, entry: Descriptor) -> Result<(), Finding> {
        same(Rule::I6, "bits that a swap entry has not", place, entry.bits() & NOT_IN_SWAP, 0)?;
        let unknown = Finding { rule: Rule::Entry, what: "no swap entry either", place, found: entry.bits(), right: 0 };
        let swapped = SwapEntry::from_descriptor(entry).ok_or(unknown)?;
        let slot = self.seen.slots.entry(swapped.entry).or_default();
        slot.entries += 1;
        slot.exclusive |= swapped.exclusive;
        Ok(())
    }

    /// A page that an entry maps: its frame, its place in the reverse map, its exclusive mark.
    pub(super) fn page(&mut self, area: &Area, address: VirtAddr, entry: Descriptor) -> Result<(), Finding> {
        let place = self.place(address);
        let known = self.memory.frames.contains(entry.frame());
        is(Rule::Entry, "a frame under management", place, known, true)?;
        let folio = self.memory.frames.folio_of(entry.frame());
        let page = folio.index_of(entry.frame());
        self.seen.folio(&folio).maps[page] += 1;
        let (anon, first) = folio.mapping().unzip();
        let offset = first.map_or(0, |first| first + page as u64);
        same(Rule::Entry, "page offset in the reverse map", place, offset, area.index_of(address))?;
        let anon = anon.and_then(|anon| self.memory.anon.get(anon));
        let is_found = anon.is_some_and(|anon| self.is_in(&anon.extents(), offset, address));
        is(Rule::Entry, "found through the reverse map of its page", place, is_found, true)?;
        if folio.is_file() {
            self.filed += 1;
            let writable = entry.is_writable() && !area.backing.is_shared();
            return is(Rule::Entry, "a file's page writable in a private area", place, writable, false);
        }
        self.present += u64::from(!folio.is_huge());
        is(Rule::Entry, "an anonymous page in a shared area", place, area.backing.is_shared(), false)?;
        let owned = folio.is_exclusive(page) || !entry.is_writable();
        is(Rule::Entry, "a writable page is exclusive", place, owned, true)
    }

    /// Whether the reverse map leads from a page offset to this address of the space.
    fn is_in(&self, extents: &Extents, offset: u64, address: VirtAddr) -> bool {
        let is_here = |extent: &Extent| core::ptr::eq(Arc::as_ptr(&extent.space), self.space);
        extents.at(offset, 1).any(|(extent, (start, _))| is_here(extent) && start == address)
    }
}

/// Invariants I1 to I4.
fn check_block(memory: &Memory, block: &[Descriptor], place: Place) -> Result<(), Finding> {
    let marked = block.iter().filter(|entry| entry.bits() & CONTIGUOUS != 0).count() as u64;
    if marked == 0 {
        return Ok(());
    }
    let valid = block.iter().filter(|entry| entry.is_valid()).count() as u64;
    let all = CONT_PTES as u64;
    same(Rule::I1, "contiguous entries of a block", place, marked, all)?;
    same(Rule::I3, "valid entries of a contiguous block", place, valid, all)?;
    let first = block[0];
    is(Rule::I2, "a contiguous block is aligned", place, first.frame().is_aligned(CONT_PTES), true)?;
    for (index, entry) in block.iter().enumerate() {
        let right = first.advance(index).bits() & !MAY_DIFFER;
        same(Rule::I2, "an entry of a contiguous block", place, entry.bits() & !MAY_DIFFER, right)?;
    }
    let folio = memory.frames.folio_of(first.frame());
    let inside = block.iter().filter(|entry| folio.contains(entry.frame())).count() as u64;
    same(Rule::Ms16, "entries of a contiguous block in one folio", place, inside, all)
}
