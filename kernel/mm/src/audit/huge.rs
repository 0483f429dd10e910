//! Huge pages: how each is mapped, and what the pools say of them: reference 4.22.

use mmu::{Descriptor, VirtAddr};

use super::tables::{MAY_DIFFER, Walk};
use super::{Finding, Place, Rule, Seen, is, same};
use crate::frame::HugeSize;
use crate::memory::Memory;
use crate::swap::bad_frame;
use crate::vma::Area;

impl Walk<'_> {
    /// An entry of levels 0 to 2 that leads to no table.
    pub(super) fn block(&mut self, level: u8, address: VirtAddr, entry: Descriptor) -> Result<(), Finding> {
        let place = self.place(address);
        let area = self.areas.find(address).filter(|area| area.huge().is_some_and(|size| size.level() == level));
        let foreign =
            Finding { rule: Rule::Entry, what: "a block, and no area of such", place, found: entry.bits(), right: 0 };
        self.huge_page(area.ok_or(foreign)?, HugeSize::Block, address, entry)
    }

    /// The sixteen entries for one huge page.
    pub(super) fn huge_run(&mut self, area: &Area, address: VirtAddr, run: &[Descriptor]) -> Result<(), Finding> {
        let (place, first) = (self.place(address), run[0]);
        let is_run = area.huge() == Some(HugeSize::Run);
        is(
            Rule::Entry,
            "a table where a block belongs",
            place,
            is_run || run.iter().all(|entry| entry.is_none()),
            true,
        )?;
        if first.is_present() {
            is(Rule::I2, "a huge page of sixteen entries is folded", place, first.is_folded(), first.is_valid())?;
        }
        let next = |index: usize| if first.is_present() { first.advance(index) } else { first };
        for (index, entry) in run.iter().enumerate() {
            let found = entry.bits() & !MAY_DIFFER;
            same(Rule::I2, "an entry of a huge page", place, found, next(index).bits() & !MAY_DIFFER)?;
        }
        if first.is_none() { Ok(()) } else { self.huge_page(area, HugeSize::Run, address, first) }
    }

    fn huge_page(&mut self, area: &Area, size: HugeSize, address: VirtAddr, entry: Descriptor) -> Result<(), Finding> {
        let place = self.place(address);
        if entry.is_marker() {
            return is(Rule::Entry, "a marker where an area keeps such", place, area.keeps_markers(), true);
        }
        if entry.is_lost() {
            return is(Rule::Entry, "lost where one is reserved", place, area.reserves(), false);
        }
        self.seen.huge_filled[size as usize] += u64::from(area.reserves());
        if !entry.is_present() {
            return is(Rule::Entry, "an entry of bad memory", place, bad_frame(entry).is_some(), true);
        }
        self.rights(area, place, entry)?;
        let is_ready = entry.is_young() && (entry.is_dirty() || !entry.is_writable());
        is(Rule::Entry, "neither old, nor writable and clean", place, is_ready, true)?;
        self.huge += size.pages() as u64;
        self.page(area, address, entry)?;
        let folio = self.memory.frames.folio_of(entry.frame());
        let right = folio.is_huge() && folio.order() == size.order() && folio.head() == entry.frame();
        is(Rule::Entry, "a huge page of the pool", place, right, true)
    }

    /// What the areas of the space reserve, filled or not.
    pub(super) fn count_reserved(&mut self) {
        for area in self.areas.iter().filter(|area| area.reserves()) {
            if let Some(size) = area.huge() {
                self.seen.huge_places[size as usize] += area.pages() / size.pages() as u64;
            }
        }
    }
}

/// Compares the pools with what was seen.
pub(super) fn recount(memory: &Memory, seen: &Seen) -> Result<(), Finding> {
    for size in HugeSize::ALL {
        let counts = memory.frames.huge_counts(size);
        let place = Place::Pool(size);
        let empty = seen.huge_places[size as usize] - seen.huge_filled[size as usize];
        same(Rule::Ms43, "reserved huge pages", place, counts.reserved as u64, empty)?;
        let used = seen.folios.keys().map(|&head| memory.frames.folio_of(head));
        let used = used.filter(|folio| folio.is_huge() && folio.order() == size.order()).count();
        same(Rule::Ms43, "huge pages in use", place, (counts.total - counts.free) as u64, used as u64)?;
        is(Rule::Ms43, "a page for each reservation", place, counts.reserved <= counts.free, true)?;
    }
    Ok(())
}
