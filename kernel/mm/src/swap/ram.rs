//! A swap device in memory: blocks of 2 MiB taken from the frames, each the slots of one cluster.

use alloc::boxed::Box;
use alloc::vec::Vec;

use mmu::{Door, Pfn};

use super::cluster::SLOTS;
use super::device::{Completion, SwapDevice, SwapError};
use crate::errno::Errno;
use crate::frame::{Frames, MAX_ORDER};

/// The device. Its blocks are never given back.
#[derive(Debug)]
pub struct RamDevice {
    blocks: Box<[Pfn]>,
    slots: usize,
}

impl RamDevice {
    /// What it is called, where programs name it.
    pub const PATH: &str = "/dev/ram0";

    /// A device of `slots` slots, in as many 2 MiB blocks as that takes.
    ///
    /// # Errors
    /// `ENOMEM` if there are not that many blocks; none is kept then.
    pub fn new(frames: &Frames, slots: usize) -> Result<Self, Errno> {
        let count = slots.div_ceil(SLOTS);
        let mut taken = Vec::new();
        taken.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        for _ in 0..count {
            taken.push(frames.alloc(MAX_ORDER).ok_or(Errno::ENOMEM)?);
        }
        Ok(Self { blocks: taken.into_iter().map(|block| block.publish().head()).collect(), slots })
    }

    /// Takes pages over at a time of its own: programs may be writing them.
    pub(super) fn transfer(&self, door: &Door, slot: usize, frame: Pfn, pages: usize) {
        door.transfer_pages(self.frame(slot), frame, pages);
    }

    /// The frame that keeps slot `slot`.
    #[inline]
    pub fn frame(&self, slot: usize) -> Pfn {
        self.blocks[slot / SLOTS].add(slot % SLOTS)
    }
}

impl SwapDevice for RamDevice {
    fn slots(&self) -> usize {
        self.slots
    }

    fn write(&self, door: &Door, slot: usize, frame: Pfn, pages: usize) -> Result<Completion, SwapError> {
        door.copy_pages(self.frame(slot), frame, pages);
        Ok(Completion::Done)
    }

    fn read(&self, door: &Door, slot: usize, frame: Pfn, pages: usize) -> Result<(), SwapError> {
        door.copy_pages(frame, self.frame(slot), pages);
        Ok(())
    }
}
