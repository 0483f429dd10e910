//! A swap device in memory that behaves as a disk does when it is told to: its writes complete some ticks later, and it has slots that
//! can not be read or written.
//!
//! A pending write looks at memory when it completes, not when it is asked for. So whoever frees or forgets a page too early finds
//! other bytes on the device than were written. Time is told from outside, by [`Drive::tick`]: by the kernel's timer, or by a test.

use alloc::collections::VecDeque;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use mmu::{Door, Pfn};

use super::device::{Completion, Finished, SwapDevice, SwapError};
use super::ram::RamDevice;
use crate::sync::{Lock, Rank};

/// The device.
#[derive(Debug)]
pub struct Drive {
    ram: RamDevice,
    /// Ticks that a write takes; 0 for none, which makes the device synchronous.
    latency: AtomicU64,
    /// Ticks so far.
    now: AtomicU64,
    unreadable: SlotRange,
    unwritable: SlotRange,
    /// Pending writes, the oldest first.
    queue: Lock<VecDeque<Write>>,
}

/// A pending write.
#[derive(Clone, Copy, Debug)]
struct Write {
    slot: usize,
    frame: Pfn,
    pages: usize,
    /// The tick at which it completes.
    due: u64,
}

impl Drive {
    /// A drive over `ram`: synchronous, and without a fault.
    pub const fn new(ram: RamDevice) -> Self {
        Self {
            ram,
            latency: AtomicU64::new(0),
            now: AtomicU64::new(0),
            unreadable: SlotRange::empty(),
            unwritable: SlotRange::empty(),
            queue: Lock::new(Rank::Device, VecDeque::new()),
        }
    }

    /// Writes asked for from now on complete `ticks` ticks later; 0: at once.
    pub fn set_latency(&self, ticks: u64) {
        self.latency.store(ticks, Ordering::Relaxed);
    }

    /// Ticks that a write takes.
    pub fn latency(&self) -> u64 {
        self.latency.load(Ordering::Relaxed)
    }

    /// These slots, and no others, can not be read.
    pub fn set_unreadable(&self, slots: Range<usize>) {
        self.unreadable.set(slots);
    }

    /// These slots, and no others, can not be written.
    pub fn set_unwritable(&self, slots: Range<usize>) {
        self.unwritable.set(slots);
    }

    /// Time goes on by a tick. What is due then, [`SwapDevice::finished`] completes.
    pub fn tick(&self) {
        self.now.fetch_add(1, Ordering::Relaxed);
    }

    /// How many writes are pending.
    pub fn pending(&self) -> usize {
        self.queue.lock().len()
    }

    /// The frame that keeps slot `slot`: what was written, if that is complete.
    pub fn frame(&self, slot: usize) -> Pfn {
        self.ram.frame(slot)
    }

    /// Whether the write was put into the queue. With no room for it, it is done at once.
    fn enqueue(&self, write: Write) -> bool {
        let mut queue = self.queue.lock();
        let room = queue.try_reserve(1).is_ok();
        if room {
            queue.push_back(write);
        }
        room
    }

    /// Takes the oldest write out, if it is due.
    fn dequeue(&self) -> Option<Write> {
        let now = self.now.load(Ordering::Relaxed);
        let mut queue = self.queue.lock();
        if queue.front()?.due <= now { queue.pop_front() } else { None }
    }
}

impl SwapDevice for Drive {
    fn slots(&self) -> usize {
        self.ram.slots()
    }

    fn write(&self, door: &Door, slot: usize, frame: Pfn, pages: usize) -> Result<Completion, SwapError> {
        let latency = self.latency();
        if latency > 0 {
            let due = self.now.load(Ordering::Relaxed) + latency;
            if self.enqueue(Write { slot, frame, pages, due }) {
                return Ok(Completion::Pending);
            }
        }
        if self.unwritable.meets(slot, pages) { Err(SwapError) } else { self.ram.write(door, slot, frame, pages) }
    }

    fn read(&self, door: &Door, slot: usize, frame: Pfn, pages: usize) -> Result<(), SwapError> {
        if self.unreadable.meets(slot, pages) { Err(SwapError) } else { self.ram.read(door, slot, frame, pages) }
    }

    fn is_synchronous(&self) -> bool {
        self.latency() == 0
    }

    fn finished(&self, door: &Door) -> Option<Finished> {
        let Write { slot, frame, pages, .. } = self.dequeue()?;
        let is_bad = self.unwritable.meets(slot, pages);
        if !is_bad {
            self.ram.transfer(door, slot, frame, pages);
        }
        Some(Finished { slot, pages, result: if is_bad { Err(SwapError) } else { Ok(()) } })
    }
}

/// A range of slots in one word: the first, and the one behind the last.
#[derive(Debug)]
struct SlotRange(AtomicU64);

impl SlotRange {
    const fn empty() -> Self {
        Self(AtomicU64::new(0))
    }

    fn set(&self, slots: Range<usize>) {
        let end = slots.end.min(u32::MAX as usize);
        self.0.store((slots.start as u64) << 32 | end as u64, Ordering::Relaxed);
    }

    fn meets(&self, slot: usize, pages: usize) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        let (start, end) = ((word >> 32) as usize, word as u32 as usize);
        slot < end && start < slot + pages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_meets_a_range_that_has_one_of_its_slots() {
        let bad = SlotRange::empty();
        assert!(!bad.meets(0, 512));
        bad.set(20..24);
        let meets = [(0, 16), (16, 4), (16, 8), (23, 1), (24, 8)].map(|(slot, pages)| bad.meets(slot, pages));
        assert_eq!(meets, [false, false, true, true, false]);
    }
}
