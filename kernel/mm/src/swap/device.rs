//! What memory management asks of a swap device.

use alloc::sync::Arc;
use core::fmt::Debug;

use mmu::{Door, Pfn};

/// The device could not do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SwapError;

/// How far a write has come when [`SwapDevice::write`] returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Completion {
    /// The pages are on the device.
    Done,
    /// The device has yet to read the pages; [`SwapDevice::finished`] will name the request.
    Pending,
}

/// A write that was pending and is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finished {
    /// Its first slot.
    pub slot: usize,
    /// How many pages it had.
    pub pages: usize,
    /// Whether all of them are on the device.
    pub result: Result<(), SwapError>,
}

/// A device that keeps pages. Slots are numbered from 0; slot 0 is never asked for.
pub trait SwapDevice: Send + Sync + Debug {
    /// How many slots it has.
    fn slots(&self) -> usize;

    /// Writes `pages` pages from `frame` on to as many slots, or begins to. They are naturally aligned and do not cross a multiple of
    /// 512.
    ///
    /// # Errors
    /// If any of them was not written.
    fn write(&self, door: &Door, slot: usize, frame: Pfn, pages: usize) -> Result<Completion, SwapError>;

    /// Reads `pages` slots into the pages from `frame` on, under the same conditions. It is complete on return: whoever reads can do
    /// nothing without the pages.
    ///
    /// # Errors
    /// If any of them was not read.
    fn read(&self, door: &Door, slot: usize, frame: Pfn, pages: usize) -> Result<(), SwapError>;

    /// Whether writes are complete when [`write`](Self::write) returns.
    fn is_synchronous(&self) -> bool {
        true
    }

    /// The next pending write that is over: each is named once. The device does not look at its pages any more.
    fn finished(&self, _door: &Door) -> Option<Finished> {
        None
    }
}

/// A device that others know as well: whoever drives it, or watches it.
impl<D: SwapDevice> SwapDevice for Arc<D> {
    fn slots(&self) -> usize {
        (**self).slots()
    }

    fn write(&self, door: &Door, slot: usize, frame: Pfn, pages: usize) -> Result<Completion, SwapError> {
        (**self).write(door, slot, frame, pages)
    }

    fn read(&self, door: &Door, slot: usize, frame: Pfn, pages: usize) -> Result<(), SwapError> {
        (**self).read(door, slot, frame, pages)
    }

    fn is_synchronous(&self) -> bool {
        (**self).is_synchronous()
    }

    fn finished(&self, door: &Door) -> Option<Finished> {
        (**self).finished(door)
    }
}
