//! Physical memory of the simulated machine: 64-bit words, each an atomic, since tables and data live in it alike and table walks
//! update descriptors while software changes them.

use std::boxed::Box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec;

use crate::addr::{PAGE_SIZE, Pfn, PhysAddr};

const WORDS: usize = PAGE_SIZE as usize / 8;

/// RAM.
#[derive(Debug)]
pub(super) struct Memory {
    start: u64,
    words: Box<[AtomicU64]>,
}

const _: () = assert!(align_of::<u64>() == align_of::<AtomicU64>());

impl Memory {
    /// `bytes` of RAM from `start` on, all zero.
    pub(super) fn new(start: PhysAddr, bytes: u64) -> Self {
        assert!(start.as_u64() % PAGE_SIZE == 0 && bytes % PAGE_SIZE == 0, "RAM is made of whole pages");
        // `vec![0; n]` takes zeroed pages from the system, which cost nothing until touched; a vector of atomics would write them all.
        let words: Box<[u64]> = vec![0u64; (bytes / 8) as usize].into_boxed_slice();
        // SAFETY: AtomicU64 has the size and bit validity of u64, and its alignment here (asserted above); the box is not shared yet.
        let words = unsafe { Box::from_raw(Box::into_raw(words) as *mut [AtomicU64]) };
        Self { start: start.as_u64(), words }
    }

    /// The word that holds `address`.
    #[inline]
    #[track_caller]
    pub(super) fn word(&self, address: PhysAddr) -> &AtomicU64 {
        let index = address.as_u64().wrapping_sub(self.start) / 8;
        match self.words.get(index as usize) {
            Some(word) => word,
            None => panic!("physical address {address} is outside of RAM"),
        }
    }

    #[track_caller]
    fn frames(&self, frame: Pfn, count: usize) -> &[AtomicU64] {
        let first = frame.start().as_u64().wrapping_sub(self.start) / 8;
        let range = first as usize..(first as usize).saturating_add(count * WORDS);
        match self.words.get(range) {
            Some(words) => words,
            None => panic!("{count} frames from {frame} on are not all in RAM"),
        }
    }

    pub(super) fn clear(&self, frame: Pfn, count: usize) {
        for word in self.frames(frame, count) {
            word.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn copy(&self, to: Pfn, from: Pfn, count: usize) {
        for (to, from) in self.frames(to, count).iter().zip(self.frames(from, count)) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    pub(super) fn is_zero(&self, frame: Pfn, count: usize) -> bool {
        self.frames(frame, count).iter().all(|word| word.load(Ordering::Relaxed) == 0)
    }

    /// Copies memory from `from` on, within one frame, into `buffer`.
    pub(super) fn read(&self, from: PhysAddr, buffer: &mut [u8]) {
        within_frame(from, buffer.len());
        let mut at = from.as_u64();
        let mut rest = buffer;
        while !rest.is_empty() {
            let offset = (at % 8) as usize;
            let count = (8 - offset).min(rest.len());
            let word = self.word(PhysAddr::new(at)).load(Ordering::Relaxed);
            let (now, later) = rest.split_at_mut(count);
            match <&mut [u8; 8]>::try_from(&mut *now) {
                Ok(whole) => *whole = word.to_le_bytes(),
                Err(_) => now.copy_from_slice(&word.to_le_bytes()[offset..offset + count]),
            }
            rest = later;
            at += count as u64;
        }
    }

    /// Copies `bytes` into memory from `to` on, within one frame.
    pub(super) fn write(&self, to: PhysAddr, bytes: &[u8]) {
        within_frame(to, bytes.len());
        let mut at = to.as_u64();
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = (at % 8) as usize;
            let count = (8 - offset).min(rest.len());
            let word = self.word(PhysAddr::new(at));
            let (now, later) = rest.split_at(count);
            let value = match <[u8; 8]>::try_from(now) {
                Ok(whole) => whole,
                Err(_) => {
                    let mut value = word.load(Ordering::Relaxed).to_le_bytes();
                    value[offset..offset + count].copy_from_slice(now);
                    value
                }
            };
            word.store(u64::from_le_bytes(value), Ordering::Relaxed);
            rest = later;
            at += count as u64;
        }
    }
}

#[track_caller]
fn within_frame(address: PhysAddr, length: usize) {
    assert!(address.as_u64() % PAGE_SIZE + length as u64 <= PAGE_SIZE, "bytes beyond the frame of {address}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: PhysAddr = PhysAddr::new(0x4000_0000);

    #[test]
    fn bytes_at_any_offset_come_back() {
        let memory = Memory::new(START, 4 * PAGE_SIZE);
        for offset in 0..9 {
            for length in 0..20 {
                let bytes: std::vec::Vec<u8> = (0..length).map(|byte| byte + 17).collect();
                memory.clear(START.frame(), 1);
                memory.write(START.add_bytes(offset), &bytes);
                let mut back = vec![0; bytes.len()];
                memory.read(START.add_bytes(offset), &mut back);
                assert_eq!(back, bytes);
                let mut all = vec![0; PAGE_SIZE as usize];
                memory.read(START, &mut all);
                assert_eq!(all.iter().filter(|&&byte| byte != 0).count(), bytes.len());
            }
        }
    }

    #[test]
    fn a_byte_anywhere_is_not_zero() {
        let memory = Memory::new(START, 4 * PAGE_SIZE);
        let frame = START.frame().add(1);
        for offset in 0..PAGE_SIZE {
            memory.write(frame.start().add_bytes(offset), &[1]);
            assert!(!memory.is_zero(frame, 1) && memory.is_zero(frame.add(1), 2));
            memory.copy(frame.add(2), frame, 1);
            assert!(!memory.is_zero(frame.add(2), 1));
            memory.clear(frame, 3);
            assert!(memory.is_zero(frame, 3));
        }
    }

    #[test]
    #[should_panic(expected = "outside of RAM")]
    fn an_address_outside_of_ram_panics() {
        Memory::new(START, PAGE_SIZE).word(START.add_bytes(PAGE_SIZE));
    }
}
