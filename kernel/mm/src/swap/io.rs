//! Writing folios of the swap cache out and reading them in: zero marks, or the device.

use core::sync::atomic::Ordering;

use mmu::mutant::{self, Mutant};
use mmu::{Fact, Mark};

use super::{Completion, Device, Finished, Swap, SwapEntry, SwapError};
use crate::folio::{Folio, FolioLock};
use crate::inject::Point;
use crate::memory::Memory;

/// How a folio's contents were kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// All zero: marked, and not written.
    Zero,
    /// On the device.
    Device,
    /// The device has them to write: the folio is under writeback until a completion says how that went.
    Later,
}

impl Swap {
    /// Keeps the contents of a cached folio: zero marks if all of it is zero, else a write to the device. It is clean then, and under
    /// writeback if the write is not over yet. Nothing maps the folio now; once it is unlocked a fault may map it again, and what is
    /// written to it then is in a dirty entry, so that it is written out once more.
    ///
    /// # Errors
    /// If the device fails; the folio is dirty then.
    pub fn write_out(&self, memory: &Memory, folio: &FolioLock<'_>) -> Result<Written, SwapError> {
        debug_assert!(!folio.is_writeback());
        // Before the contents are looked at, so that a later change is not taken for written.
        folio.set_dirty(false);
        memory.door.fact(Fact::DataRead(folio.head(), folio.pages()));
        if self.mark_zero(memory, folio) {
            return Ok(Written::Zero);
        }
        // Before the device is asked, which may be done at any moment from then on.
        folio.set_writeback(true);
        match self.start_write(memory, folio) {
            Ok(Completion::Pending) => {
                self.in_writing.fetch_add(folio.pages(), Ordering::Relaxed);
                Ok(Written::Later)
            }
            Ok(Completion::Done) => {
                folio.set_writeback(false);
                Ok(Written::Device)
            }
            Err(error) => {
                note_write_error(memory, folio);
                folio.set_writeback(false);
                Err(error)
            }
        }
    }

    /// Says of the folio's slots whether all of it is zero.
    fn mark_zero(&self, memory: &Memory, folio: &FolioLock<'_>) -> bool {
        let (entry, pages) = (folio.swap_entry(0), folio.pages());
        let began = memory.door.mark(Mark::Scan);
        let zero = memory.door.pages_are_zero(folio.head(), pages);
        let ended = memory.door.mark(Mark::Other);
        memory.count().instructions_scan.add(u64::from(ended.wrapping_sub(began)));
        {
            let (mut cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
            cluster.set_zero(at, pages, zero);
        }
        if zero {
            memory.count().pages_zero_marked.add(pages as u64);
        }
        zero
    }

    fn start_write(&self, memory: &Memory, folio: &FolioLock<'_>) -> Result<Completion, SwapError> {
        let (entry, pages) = (folio.swap_entry(0), folio.pages());
        if memory.inject.strikes(Point::DeviceWrite, pages) {
            return Err(SwapError);
        }
        let began = memory.door.mark(Mark::Copy);
        let result = self.device(entry).backing.write(&memory.door, entry.slot as usize, folio.head(), pages);
        let ended = memory.door.mark(Mark::Other);
        memory.count().instructions_copy.add(u64::from(ended.wrapping_sub(began)));
        result
    }

    /// Ends the writeback of the next folio whose write is over, and returns the folio with a reference. `None` if no write is.
    pub(crate) fn end_write<'m>(&self, memory: &'m Memory) -> Option<Folio<'m>> {
        loop {
            let next = |(device, swap): (u8, &Device)| Some((device, swap.backing.finished(&memory.door)?));
            let (device, Finished { slot, pages, result }) = self.devices().find_map(next)?;
            self.in_writing.fetch_sub(pages, Ordering::Relaxed);
            let Some(folio) = self.lookup(memory, SwapEntry { device, slot: slot as u32 }) else {
                memory.note_defect("a folio has left the swap cache while it was written");
                continue;
            };
            if result.is_err() || memory.inject.strikes(Point::DeviceComplete, pages) {
                note_write_error(memory, &folio);
            }
            folio.set_writeback(false);
            memory.count().writes_completed.add(1);
            return Some(folio);
        }
    }

    /// Fills a cached folio from its slots.
    ///
    /// # Errors
    /// If the device fails, or some of the slots are zero-marked and others are not.
    pub fn read_in(&self, memory: &Memory, folio: &FolioLock<'_>) -> Result<(), SwapError> {
        let (door, pages, entry) = (&memory.door, folio.pages(), folio.swap_entry(0));
        if self.zero_run(entry, pages).ok_or(SwapError)? {
            door.clear_pages(folio.head(), pages);
            return Ok(());
        }
        let result = self.read_device(memory, folio);
        if result.is_err() {
            memory.count().swap_read_errors.add(1);
        }
        mutant::or(Mutant::ReadErrorIgnored, result, Ok(()))
    }

    fn read_device(&self, memory: &Memory, folio: &FolioLock<'_>) -> Result<(), SwapError> {
        let (entry, pages) = (folio.swap_entry(0), folio.pages());
        if memory.inject.strikes(Point::DeviceRead, pages) {
            return Err(SwapError);
        }
        let began = memory.door.mark(Mark::Copy);
        let result = self.device(entry).backing.read(&memory.door, entry.slot as usize, folio.head(), pages);
        let ended = memory.door.mark(Mark::Other);
        memory.count().instructions_copy.add(u64::from(ended.wrapping_sub(began)));
        result
    }

    /// Whether `count` slots, which do not cross a cluster, are zero-marked; `None` if some are and some are not.
    pub fn zero_run(&self, entry: SwapEntry, count: usize) -> Option<bool> {
        let (cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        cluster.zero(at, count)
    }

    /// Whether writes to the entry's device are complete when they return.
    pub fn is_synchronous(&self, entry: SwapEntry) -> bool {
        self.device(entry).backing.is_synchronous()
    }
}

/// The only copy of the folio's contents is the folio: it is dirty, and in use as far as reclaim is concerned.
fn note_write_error(memory: &Memory, folio: &Folio<'_>) {
    memory.count().swap_write_errors.add(1);
    if !mutant::is(Mutant::WriteErrorForgotten) {
        folio.set_dirty(true);
    }
    folio.set_active(true);
}
