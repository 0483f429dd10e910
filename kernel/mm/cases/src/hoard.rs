//! Swap slots that somebody else has: a case takes all there are, and gives back those that it wants free.

use alloc::string::String;
use alloc::vec::Vec;

use mm::Memory;
use mm::frame::OrphanList;
use mm::swap::SwapEntry;
use mm::tlb::Deferred;

use crate::bench::Bench;
use crate::check::failed;

/// Runs of slots, each with one count. They are free again when it is dropped.
pub struct Hoard<'m> {
    memory: &'m Memory,
    runs: Vec<(SwapEntry, usize)>,
}

impl<'m> Hoard<'m> {
    /// Takes every free slot.
    ///
    /// # Errors
    /// If there is no memory for the folios that slots are taken with, or a slot can not be counted.
    pub fn of_all(bench: &Bench<'m>) -> Result<Self, String> {
        let mut hoard = Self { memory: bench.memory(), runs: Vec::new() };
        // The largest runs first; what does not fit them goes in smaller ones.
        [9, 4, 0].into_iter().try_for_each(|order| hoard.take(order))?;
        Ok(hoard)
    }

    /// Takes all free runs of one size, with one folio that is never written.
    fn take(&mut self, order: usize) -> Result<(), String> {
        let folio = self.memory.alloc_folio(order).ok_or("no memory for a folio")?.publish();
        folio.set_uptodate(true);
        let pages = folio.pages();
        let locked = folio.try_lock().ok_or("a new folio is locked")?;
        while self.memory.swap.alloc(self.memory, &locked).is_ok() {
            self.runs.push((locked.swap_entry(0), pages));
            self.memory.swap.dup(&locked, 0, pages).map_err(failed("counting slots"))?;
            self.memory.swap.remove_from_cache(&locked);
            let last = locked.put(pages);
            debug_assert!(last.is_none(), "the hoard has a reference of its own");
        }
        drop(locked);
        let mut orphans = OrphanList::new();
        folio.put(1).into_iter().for_each(|orphan| orphans.push(self.memory, orphan));
        // Nothing has ever mapped it, so there is nothing to flush.
        Deferred::new().free(self.memory, &mut orphans);
        Ok(())
    }

    /// Gives back the slots of a run of 512 whose place in it `is_free` names.
    ///
    /// # Errors
    /// If there is no such run.
    pub fn give_back(&mut self, is_free: impl Fn(usize) -> bool) -> Result<(), String> {
        let run = self.runs.iter().position(|&(_, pages)| pages == 512).ok_or("no run of 512 slots")?;
        let (first, pages) = self.runs.swap_remove(run);
        for page in 0..pages {
            let one = (first.advance(page), 1);
            if is_free(page) { self.put(one) } else { self.runs.push(one) }
        }
        Ok(())
    }

    fn put(&self, (first, pages): (SwapEntry, usize)) {
        self.memory.swap.put_entries(self.memory, first, pages, |_| {});
    }
}

impl Drop for Hoard<'_> {
    fn drop(&mut self) {
        self.runs.iter().for_each(|&run| self.put(run));
    }
}
