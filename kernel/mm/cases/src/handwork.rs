//! States that no call of this kernel makes, or none alone, made by hand under the tables' locks: folios and swap entries in other
//! places of one area, and pages that are not exclusive.

use alloc::string::String;

use mm::folio::Folio;
use mm::swap::SwapEntry;
use mm::tlb;
use mmu::{CONT_PTES, Cause, Descriptor, TABLE_SPAN};

use crate::bench::Bench;
use crate::check::{Outcome, failed};
use crate::field::Field;

/// Swaps pages of another space out, one by one, until the next slot is the first of sixteen: sixteen single pages that go out then can
/// come back as one folio.
///
/// # Errors
/// If there is no memory, or no slot comes where one should.
pub fn next_slot_starts_a_block(bench: &Bench<'_>) -> Outcome {
    let filler = Field::new(bench, bench.space()?, Field::BASE, CONT_PTES)?;
    filler.advise(0, CONT_PTES, Field::NOHUGEPAGE).map_err(failed("MADV_NOHUGEPAGE"))?;
    for page in 0..CONT_PTES {
        filler.fill(page, 1)?;
        filler.page_out(page, 1)?;
        let slot = SwapEntry::from_descriptor(filler.entry(page)).map_or(0, |swapped| swapped.entry.slot as usize);
        if slot % CONT_PTES == CONT_PTES - 1 {
            return Ok(());
        }
    }
    Err(String::from("sixteen pages went to no sixteen slots in a row"))
}

impl Field<'_, '_> {
    /// Exchanges the pages, each a folio of its own, that two places map.
    ///
    /// # Errors
    /// If a page is not mapped.
    pub fn exchange_pages(&self, one: usize, other: usize) -> Outcome {
        self.exchange_folios(one, other)
    }

    /// Exchanges the folios of equal size that start at two places.
    ///
    /// # Errors
    /// If a page is not mapped.
    pub fn exchange_folios(&self, one: usize, other: usize) -> Outcome {
        if one == other {
            return Ok(());
        }
        let (first, second) = (self.folio(one), self.folio(other));
        let count = first.pages();
        let (entry, other_entry) = (self.take_entries(one, count), self.take_entries(other, count));
        self.forget_translations();
        self.place(&first, other)?;
        self.place(&second, one)?;
        self.put_entries(other, entry, count)?;
        self.put_entries(one, other_entry, count)
    }

    /// Moves a whole folio, mapped from `from` on, to `to`, where nothing is.
    ///
    /// # Errors
    /// If there is no memory for the tables.
    pub fn move_folio(&self, from: usize, to: usize) -> Outcome {
        let folio = self.folio(from);
        let entry = self.take_entries(from, folio.pages());
        self.forget_translations();
        self.place(&folio, to)?;
        self.put_entries(to, entry, folio.pages())
    }

    /// Moves one entry that maps nothing, a swap entry.
    ///
    /// # Errors
    /// If there is no memory for the table.
    pub fn move_swap_entry(&self, from: usize, to: usize) -> Outcome {
        let entry = self.take_entries(from, 1);
        self.put_entries(to, entry, 1)
    }

    /// Lends a page to a device that needs it for itself: its entry is not present, and still maps it.
    pub fn lend_page(&self, page: usize) {
        let entry = self.with_table(page, |table, slot| table.clear(slot, 1));
        self.forget_translations();
        self.with_table(page, |table, slot| table.set(slot, Descriptor::device_exclusive(entry.frame())));
    }

    /// Makes pages what fork leaves of them: read-only and not exclusive. A block that they are a part of is unfolded.
    pub fn share_pages(&self, first: usize, count: usize) {
        self.with_table(first, |table, slot| table.write_protect(slot, count));
        self.mark_shared(first, count);
        self.forget_translations();
    }

    /// Takes the exclusive mark off pages that are read-only already.
    pub fn mark_shared(&self, first: usize, count: usize) {
        for page in first..first + count {
            let folio = self.folio(page);
            folio.clear_exclusive(folio.index_of(self.entry(page).frame()), 1);
        }
    }

    /// Puts `count` entries back, after a case took some of them out or changed them: the first of them is to be `entry`.
    pub fn put_back(&self, page: usize, entry: Descriptor, count: usize) {
        self.with_table(page, |table, slot| table.clear(slot, count));
        self.forget_translations();
        self.with_table(page, |table, slot| table.set_run(slot, entry, count));
    }

    /// Unfolds the block around a page.
    pub fn unfold(&self, page: usize) {
        self.with_table(page, |table, slot| table.unfold_around(slot));
    }

    fn take_entries(&self, first: usize, count: usize) -> Descriptor {
        let mut entry = self.with_table(first, |table, slot| table.clear(slot, 1));
        for page in first + 1..first + count {
            entry = entry.gather(self.with_table(page, |table, slot| table.clear(slot, 1)));
        }
        entry
    }

    fn put_entries(&self, first: usize, entry: Descriptor, count: usize) -> Outcome {
        let mut done = 0;
        while done < count {
            let address = self.va(first + done);
            let left =
                (address.align_down(TABLE_SPAN).add_bytes(TABLE_SPAN).page_number() - address.page_number()) as usize;
            let run = left.min(count - done);
            self.space.tables.ensure(self.memory(), address).map_err(failed("a table"))?;
            self.with_table(first + done, |table, slot| table.set_run(slot, entry.advance(done), run));
            done += run;
        }
        Ok(())
    }

    /// Tells the folio that its first page is mapped at `page` now.
    fn place(&self, folio: &Folio<'_>, page: usize) -> Result<(), String> {
        let layout = self.space.layout().read();
        let area = layout.areas.find(self.va(page)).ok_or("outside of any area")?;
        let (anon, _) = folio.mapping().ok_or("a folio that was never mapped")?;
        folio.set_mapping(anon, area.index_of(self.va(page)));
        Ok(())
    }

    /// No CPU runs in the space or holds anything of it, until a program accesses it again: entries may be set whatever was there.
    pub fn rest(&self) {
        self.leave();
        self.forget_translations();
    }

    /// Forgets every translation of the space, as whoever changes entries by hand must.
    pub fn forget_translations(&self) {
        tlb::flush_space(self.memory(), &self.space, Cause::Test);
    }
}
