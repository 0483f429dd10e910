//! Swap entries: which slot of which device holds a page, and how a descriptor says so (reference 4.7).
//!
//! Bits 0, 1 and 11 of such a descriptor are 0: it is neither valid nor present-invalid. Bit 2 keeps PageAnonExclusive and bit 3 the
//! userfaultfd bit; bits 6 to 10 the device; bits 12 to 61 the slot, so that the entry of the next page is one `NEXT_PAGE` on, as for
//! the descriptors of pages. Slot 0 is never used: device 0, slot 0 without flags would read as "none". Of the 32 numbers of devices the
//! upper ones stand for other things, as in Linux: [`bad_memory`], and [`Descriptor::device_exclusive`].

use mmu::{Descriptor, Pfn};

use super::cluster::SLOTS;

const EXCLUSIVE: u64 = 1 << 2;
const UFFD: u64 = 1 << 3;
const DEVICE_SHIFT: u32 = 6;
/// Numbers of devices.
const DEVICES: u64 = SwapEntry::DEVICE_LIMIT as u64 - 1;
/// In place of a device: the page's memory is bad, and the slot is its frame (Linux's SWP_HWPOISON).
const BAD_MEMORY: u64 = 24 << DEVICE_SHIFT;
const SLOT_SHIFT: u32 = 12;
/// Bits that a swap entry may have.
const ENTRY: u64 = EXCLUSIVE | UFFD | DEVICES << DEVICE_SHIFT | (u32::MAX as u64) << SLOT_SHIFT;

/// Bits of a slot in the one word that a folio's head has for its swap entry.
const WORD_SLOT_BITS: u32 = 29;

/// A slot of a swap device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SwapEntry {
    /// The device, in the order in which they were added.
    pub device: u8,
    /// The slot: the page on the device.
    pub slot: u32,
}

/// What a descriptor that is a swap entry says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Swapped {
    /// Where the page is.
    pub entry: SwapEntry,
    /// The page was exclusive to this space.
    pub exclusive: bool,
    /// The page is write-protected by userfaultfd.
    pub uffd: bool,
}

impl SwapEntry {
    /// One past the largest slot that an entry can name.
    pub const SLOT_LIMIT: usize = 1 << WORD_SLOT_BITS;
    /// Devices that entries can tell apart.
    pub const DEVICE_LIMIT: usize = 1 << (u32::BITS - WORD_SLOT_BITS);

    /// The entry of the page `count` on.
    #[inline(always)]
    pub const fn advance(self, count: usize) -> Self {
        Self { device: self.device, slot: self.slot + count as u32 }
    }

    /// The first of the `pages` aligned slots among which this one is.
    pub const fn align_down(self, pages: usize) -> Self {
        Self { device: self.device, slot: self.slot & !(pages as u32 - 1) }
    }

    /// How many slots there are from this one to the end of its cluster, which changes of counts do not cross.
    pub const fn left_in_cluster(self) -> usize {
        SLOTS - self.slot as usize % SLOTS
    }

    /// The descriptor that says so. That of the next page is [`Descriptor::advance`]d by one.
    ///
    /// # Panics
    /// For slot 0.
    #[inline(always)]
    pub const fn to_descriptor(self, exclusive: bool, uffd: bool) -> Descriptor {
        assert!(self.slot != 0, "slot 0 of a swap device is never used");
        let flags = if exclusive { EXCLUSIVE } else { 0 } | if uffd { UFFD } else { 0 };
        Descriptor::from_bits((self.slot as u64) << SLOT_SHIFT | (self.device as u64) << DEVICE_SHIFT | flags)
    }

    /// What a descriptor says if it is a swap entry.
    #[inline(always)]
    pub const fn from_descriptor(descriptor: Descriptor) -> Option<Swapped> {
        let bits = descriptor.bits();
        let slot = (bits >> SLOT_SHIFT) as u32;
        if !descriptor.is_swap() || descriptor.is_device_exclusive() || bits & !ENTRY != 0 || slot == 0 {
            return None;
        }
        let device = (bits >> DEVICE_SHIFT & DEVICES) as u8;
        Some(Swapped { entry: Self { device, slot }, exclusive: bits & EXCLUSIVE != 0, uffd: bits & UFFD != 0 })
    }

    /// The same descriptor without the exclusive bit, as fork leaves it in both spaces.
    pub const fn share_descriptor(descriptor: Descriptor) -> Descriptor {
        Descriptor::from_bits(descriptor.bits() & !EXCLUSIVE)
    }

    /// The same descriptor with or without the userfaultfd bit.
    pub const fn mark_descriptor(descriptor: Descriptor, uffd: bool) -> Descriptor {
        let bits = descriptor.bits() & !UFFD;
        Descriptor::from_bits(if uffd { bits | UFFD } else { bits })
    }

    /// In one word, as a folio's head keeps it.
    pub(crate) const fn to_word(self) -> u32 {
        (self.device as u32) << WORD_SLOT_BITS | self.slot
    }

    /// From that word.
    pub(crate) const fn from_word(word: u32) -> Self {
        Self { device: (word >> WORD_SLOT_BITS) as u8, slot: word & ((1 << WORD_SLOT_BITS) - 1) }
    }
}

/// The entry of a page whose memory, that of `frame`, is bad.
pub const fn bad_memory(frame: Pfn) -> Descriptor {
    Descriptor::from_bits(frame.as_u64() << SLOT_SHIFT | BAD_MEMORY)
}

/// The frame of bad memory that an entry stands for, if it is of that kind.
pub const fn bad_frame(descriptor: Descriptor) -> Option<Pfn> {
    let is_bad = descriptor.is_swap() && descriptor.bits() & ((1 << SLOT_SHIFT) - 1) == BAD_MEMORY;
    if is_bad { Some(Pfn::new(descriptor.bits() >> SLOT_SHIFT)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_memory_is_no_slot_of_a_device() {
        let frame = Pfn::new(0x4_5678);
        let entry = bad_memory(frame);
        assert!(entry.is_swap() && !entry.is_present());
        assert_eq!((SwapEntry::from_descriptor(entry), bad_frame(entry)), (None, Some(frame)));
        assert_eq!(bad_frame(SwapEntry { device: 3, slot: 7 }.to_descriptor(true, false)), None);
    }

    const SLOTS: [u32; 6] = [1, 2, 511, 512, 0x1234_5678, SwapEntry::SLOT_LIMIT as u32 - 1];

    fn entries() -> impl Iterator<Item = SwapEntry> {
        (0..SwapEntry::DEVICE_LIMIT as u8).flat_map(|device| SLOTS.map(|slot| SwapEntry { device, slot }))
    }

    #[test]
    fn bit_places_of_linux() {
        let entry = SwapEntry { device: 5, slot: 0x123 };
        assert_eq!(entry.to_descriptor(false, false).bits(), 0x123 << 12 | 5 << 6);
        assert_eq!(entry.to_descriptor(true, false).bits(), 0x123 << 12 | 5 << 6 | 4);
        assert_eq!(entry.to_descriptor(false, true).bits(), 0x123 << 12 | 5 << 6 | 8);
    }

    #[test]
    fn boundary_values_survive_encoding() {
        for entry in entries() {
            for (exclusive, uffd) in [(false, false), (true, false), (false, true), (true, true)] {
                let descriptor = entry.to_descriptor(exclusive, uffd);
                assert!(
                    descriptor.is_swap() && !descriptor.is_present() && !descriptor.is_valid() && !descriptor.is_none()
                );
                assert_eq!(SwapEntry::from_descriptor(descriptor), Some(Swapped { entry, exclusive, uffd }));
            }
            assert_eq!(SwapEntry::from_word(entry.to_word()), entry);
        }
    }

    #[test]
    fn the_next_page_is_one_slot_on_with_the_same_bits() {
        let descriptor = SwapEntry { device: 1, slot: 511 }.to_descriptor(true, true).advance(1);
        let expected = Swapped { entry: SwapEntry { device: 1, slot: 512 }, exclusive: true, uffd: true };
        assert_eq!(SwapEntry::from_descriptor(descriptor), Some(expected));
    }

    #[test]
    fn fork_takes_only_the_exclusive_bit() {
        let entry = SwapEntry { device: 2, slot: 77 };
        let shared = SwapEntry::share_descriptor(entry.to_descriptor(true, true));
        assert_eq!(shared, entry.to_descriptor(false, true));
    }

    #[test]
    #[should_panic(expected = "slot 0")]
    fn slot_0_is_refused() {
        let _ = SwapEntry { device: 0, slot: 0 }.to_descriptor(false, false);
    }

    #[test]
    fn what_is_no_swap_entry_is_told_apart() {
        let page =
            Descriptor::user_page(mmu::Pfn::new(0x400), mmu::Protection { read: true, write: true, execute: false });
        let none = page.with_protection(mmu::Protection::default());
        for descriptor in
            [Descriptor::NONE, page, none, Descriptor::from_bits(1 << 62 | 1 << 12), Descriptor::from_bits(4)]
        {
            assert_eq!(SwapEntry::from_descriptor(descriptor), None, "{descriptor}");
        }
    }
}
