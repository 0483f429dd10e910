//! Fields that a monitor watches by userfaultfd.

use core::num::NonZeroU32;

use mm::fault::{Access, FaultError};
use mm::swap::SwapEntry;
use mm::uffd::{Monitor, Notice};
use mm::vma::AreaFlags;
use mmu::{Descriptor, PAGE_SIZE};

use crate::check::{Outcome, failed, must, same};
use crate::field::Field;

/// Who watches here.
pub const MONITOR: Monitor = Monitor(NonZeroU32::MIN);
/// Somebody else.
pub const OTHER: Monitor = Monitor(NonZeroU32::MAX);

impl Field<'_, '_> {
    /// Where some pages are, and how many bytes they have.
    pub fn bytes(&self, first: usize, count: usize) -> (u64, u64) {
        (self.va(first).as_u64(), count as u64 * PAGE_SIZE)
    }

    /// Has the area's pages watched.
    ///
    /// # Errors
    /// If they can not be.
    pub fn watch(&self, first: usize, count: usize, modes: AreaFlags) -> Outcome {
        let result = self.memory().uffd_register(&self.space, self.bytes(first, count), MONITOR, modes);
        result.map_err(failed("register"))
    }

    /// UFFDIO_WRITEPROTECT.
    ///
    /// # Errors
    /// If it fails.
    pub fn write_protect(&self, first: usize, count: usize, on: bool) -> Outcome {
        let result = self.memory().uffd_protect(&self.space, self.bytes(first, count), on);
        result.map_err(failed("writeprotect"))
    }

    /// An access must be told to the monitor, and change nothing but what was not there.
    ///
    /// # Errors
    /// If it ends in another way.
    pub fn must_be_told(&self, page: usize, access: Access, is_protected: bool) -> Outcome {
        let before = self.entry(page);
        let notice = Notice { monitor: MONITOR, address: self.va(page), access, is_protected };
        let result = self.memory().fault(&self.space, self.va(page), access);
        same("fault", result, Err(FaultError::Watched(notice)))?;
        must(before.is_swap() || self.entry(page) == before, "the entry has changed")
    }

    /// So many of the pages must be protected, wherever they are.
    ///
    /// # Errors
    /// If others are, or one that is can be written.
    pub fn must_be_marked(&self, first: usize, count: usize, wanted: usize) -> Outcome {
        let is_marked = |entry: Descriptor| match SwapEntry::from_descriptor(entry) {
            Some(swapped) => swapped.uffd,
            None => entry.is_marker() || (entry.is_present() && entry.is_uffd()),
        };
        let is_wrong = |entry: Descriptor| entry.is_uffd() && entry.is_writable();
        same("entries with the mark", self.how_many(first, count, is_marked), wanted)?;
        same("writable and marked", self.how_many(first, count, is_wrong), 0)
    }
}
