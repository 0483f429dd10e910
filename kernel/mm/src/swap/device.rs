//! What memory management asks of a swap device.

use core::fmt::Debug;

use mmu::{Door, Pfn};

/// The device could not do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SwapError;

/// A device that keeps pages. Slots are numbered from 0; slot 0 is never asked for.
pub trait SwapDevice: Send + Sync + Debug {
    /// How many slots it has.
    fn slots(&self) -> usize;

    /// Writes `pages` pages from `frame` on to as many slots. They are naturally aligned and do not cross a multiple of 512.
    ///
    /// # Errors
    /// If any of them was not written.
    fn write(&self, door: &Door, slot: usize, frame: Pfn, pages: usize) -> Result<(), SwapError>;

    /// Reads `pages` slots into the pages from `frame` on, under the same conditions.
    ///
    /// # Errors
    /// If any of them was not read.
    fn read(&self, door: &Door, slot: usize, frame: Pfn, pages: usize) -> Result<(), SwapError>;

    /// Whether `write` and `read` are complete when they return.
    fn is_synchronous(&self) -> bool {
        true
    }
}
