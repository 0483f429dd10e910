//! Stage 1 descriptors of the 4 KiB granule, with the software bits that Linux keeps in them (`docs/`, "Descriptors").
//!
//! A descriptor is a value: reading and writing the tables is the door's business. Dirty is a pair of bits: the software bit, or
//! "writable (DBM) and not read-only", which is how hardware that manages dirty state records a write (DDI 0487, D8.5.5).

use core::fmt;
use tock_registers::fields::Field;

use crate::addr::{PAGE_SHIFT, PAGE_SIZE, Pfn, PhysAddr};

/// The bits of a stage 1 page or block descriptor.
#[expect(missing_docs, reason = "the macro makes items that can not be documented")]
mod fields {
    use tock_registers::register_bitfields;

    register_bitfields![u64,
        /// The bits of a stage 1 page or block descriptor.
        pub STAGE1 [
            VALID OFFSET(0) NUMBITS(1) [],
            /// Page (level 3) or table (levels 0 to 2) when set; a block when clear.
            TABLE_OR_PAGE OFFSET(1) NUMBITS(1) [],
            ATTR_INDEX OFFSET(2) NUMBITS(3) [Normal = 0, Device = 1],
            /// AP[1]: EL0 may access.
            USER OFFSET(6) NUMBITS(1) [],
            /// AP[2]: writes fault, or set the dirty state where DBM is on.
            READ_ONLY OFFSET(7) NUMBITS(1) [],
            SHAREABILITY OFFSET(8) NUMBITS(2) [Inner = 3],
            ACCESS OFFSET(10) NUMBITS(1) [],
            NOT_GLOBAL OFFSET(11) NUMBITS(1) [],
            ADDRESS OFFSET(12) NUMBITS(36) [],
            /// DBM; Linux's PTE_WRITE.
            WRITE OFFSET(51) NUMBITS(1) [],
            CONTIGUOUS OFFSET(52) NUMBITS(1) [],
            PXN OFFSET(53) NUMBITS(1) [],
            UXN OFFSET(54) NUMBITS(1) [],
            /// Software: dirty, whatever hardware says.
            DIRTY OFFSET(55) NUMBITS(1) [],
            /// Software: no folio behind it (the zero page).
            SPECIAL OFFSET(56) NUMBITS(1) [],
            /// Software: write-protected by userfaultfd.
            UFFD OFFSET(58) NUMBITS(1) []
        ]
    ];
}

pub use fields::STAGE1;

const fn mask(field: Field<u64, STAGE1::Register>) -> u64 {
    field.mask << field.shift
}

const VALID: u64 = mask(STAGE1::VALID);
const PAGE: u64 = VALID | mask(STAGE1::TABLE_OR_PAGE);
const USER: u64 = mask(STAGE1::USER);
const READ_ONLY: u64 = mask(STAGE1::READ_ONLY);
const INNER_SHAREABLE: u64 = mask(STAGE1::SHAREABILITY);
const ACCESS: u64 = mask(STAGE1::ACCESS);
const NOT_GLOBAL: u64 = mask(STAGE1::NOT_GLOBAL);
/// In an entry that is not valid, bit 11 says "present, but no access": Linux's PTE_PRESENT_INVALID.
const PRESENT_INVALID: u64 = NOT_GLOBAL;
/// Of an entry that is not present: which swap device has the page, or what else the entry says, with Linux's numbers.
const KIND: u64 = 0x1f << 6;
const DEVICE_EXCLUSIVE: u64 = 30 << 6;
const MARKER: u64 = 31 << 6;
const ADDRESS: u64 = mask(STAGE1::ADDRESS);
const WRITE: u64 = mask(STAGE1::WRITE);
const CONTIGUOUS: u64 = mask(STAGE1::CONTIGUOUS);
const PXN: u64 = mask(STAGE1::PXN);
const UXN: u64 = mask(STAGE1::UXN);
const DIRTY: u64 = mask(STAGE1::DIRTY);
const SPECIAL: u64 = mask(STAGE1::SPECIAL);
const UFFD: u64 = mask(STAGE1::UFFD);

/// What a descriptor grows by from one page to the next: both a page's address and a swap entry's offset start at bit 12.
pub const NEXT_PAGE: u64 = PAGE_SIZE;

/// MAIR_EL1 that the attribute indices stand for: 0 is Normal write-back, 1 is Device-nGnRE.
pub const MAIR: u64 = 0x04_ff;

/// What EL0 may do with a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Protection {
    /// Loads. A page that EL0 may not even read is `PROT_NONE`.
    pub read: bool,
    /// Stores.
    pub write: bool,
    /// Instruction fetches.
    pub execute: bool,
}

/// A 64-bit descriptor of any level, or a swap entry in its place.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Descriptor(u64);

impl Descriptor {
    /// Nothing: the entry of an address that was never touched.
    pub const NONE: Self = Self(0);
    /// No page is there, and userfaultfd write-protects it all the same (Linux's PTE_MARKER_UFFD_WP).
    pub const MARKER: Self = Self(MARKER | NEXT_PAGE);

    /// No page is there, and none will be: what was there went to somebody who had a better right to it, and must not seem to be zeros
    /// (as Linux's PTE_MARKER_POISONED).
    pub const LOST: Self = Self(MARKER | (2 * NEXT_PAGE));

    /// The descriptor with these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// A user page: Normal memory, inner shareable, not global, old and clean. `write` sets WRITE only; hardware or
    /// [`make_dirty`](Self::make_dirty) takes READ_ONLY away.
    pub const fn user_page(frame: Pfn, protection: Protection) -> Self {
        let mut bits = (frame.as_u64() << PAGE_SHIFT) | PAGE | INNER_SHAREABLE | NOT_GLOBAL | READ_ONLY | PXN;
        if protection.read || protection.write || protection.execute {
            bits |= USER;
        } else {
            bits &= !VALID;
        }
        if protection.write {
            bits |= WRITE;
        }
        if !protection.execute {
            bits |= UXN;
        }
        Self(bits)
    }

    /// This present user page with another protection, all else as it was. It never keeps CONTIGUOUS (reference 1.14, H3).
    pub const fn with_protection(self, protection: Protection) -> Self {
        let keep = self.preserve_dirty().0 & (ADDRESS | ACCESS | DIRTY | SPECIAL | UFFD);
        let fresh = Self::user_page(Pfn::new(0), protection).0;
        Self(keep | fresh)
    }

    /// The same as a block, in a table of level 2: bit 1 tells a table from a block there (DDI 0487, D8.3). Its address is aligned to
    /// what a block maps.
    pub const fn into_block(self) -> Self {
        Self(self.0 & !mask(STAGE1::TABLE_OR_PAGE))
    }

    /// A descriptor that points at a table of the next level.
    pub const fn table(address: PhysAddr) -> Self {
        Self(address.as_u64() | PAGE)
    }

    /// Whether hardware uses it.
    pub const fn is_valid(self) -> bool {
        self.0 & VALID != 0
    }

    /// Whether nothing is there.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether it maps a page, perhaps with no access (`PROT_NONE`).
    pub const fn is_present(self) -> bool {
        self.0 & VALID != 0 || self.0 & PRESENT_INVALID != 0
    }

    /// Whether it says that no page is there, and that userfaultfd write-protects it all the same.
    pub const fn is_marker(self) -> bool {
        self.0 == Self::MARKER.0
    }

    /// Whether what was there is lost.
    pub const fn is_lost(self) -> bool {
        self.0 == Self::LOST.0
    }

    /// Whether no page is there, on a swap device either: none or a marker (Linux's pte_none_mostly).
    pub const fn is_absent(self) -> bool {
        self.is_none() || self.is_marker()
    }

    /// Whether it is neither none nor present: a swap entry of some kind.
    pub const fn is_swap(self) -> bool {
        !self.is_none() && !self.is_present()
    }

    /// Whether a device has the page to itself for a while (Linux's device-exclusive entry): no CPU may use it, but it is mapped here.
    pub const fn is_device_exclusive(self) -> bool {
        self.is_swap() && self.0 & KIND == DEVICE_EXCLUSIVE
    }

    /// The entry of a page that a device has to itself.
    pub const fn device_exclusive(frame: Pfn) -> Self {
        Self((frame.as_u64() << PAGE_SHIFT) | DEVICE_EXCLUSIVE)
    }

    /// Whether it maps the page of its frame: present, or lent to a device.
    pub const fn maps_page(self) -> bool {
        self.is_present() || self.is_device_exclusive()
    }

    /// Whether a table descriptor of levels 0 to 2 points at a table.
    pub const fn is_table(self) -> bool {
        self.0 & PAGE == PAGE
    }

    /// The frame it maps.
    pub const fn frame(self) -> Pfn {
        Pfn::new((self.0 & ADDRESS) >> PAGE_SHIFT)
    }

    /// The address of the table or page.
    pub const fn address(self) -> PhysAddr {
        PhysAddr::new(self.0 & ADDRESS)
    }

    /// Whether CONTIGUOUS is set in a valid descriptor: it is a member of a folded block.
    pub const fn is_folded(self) -> bool {
        self.0 & (VALID | CONTIGUOUS) == VALID | CONTIGUOUS
    }

    /// Whether the access flag is set: Linux's "young".
    pub const fn is_young(self) -> bool {
        self.0 & ACCESS != 0
    }

    /// Whether the page may be written, perhaps after a dirty-state update.
    pub const fn is_writable(self) -> bool {
        self.0 & WRITE != 0
    }

    /// Whether READ_ONLY is set: a store faults unless hardware manages dirty state.
    pub const fn is_read_only(self) -> bool {
        self.0 & READ_ONLY != 0
    }

    /// Whether it records a write, by software or by hardware.
    pub const fn is_dirty(self) -> bool {
        self.0 & DIRTY != 0 || self.0 & (WRITE | READ_ONLY) == WRITE
    }

    /// Whether no folio is behind it.
    pub const fn is_special(self) -> bool {
        self.0 & SPECIAL != 0
    }

    /// Whether userfaultfd write-protects it.
    pub const fn is_uffd(self) -> bool {
        self.0 & UFFD != 0
    }

    /// Whether EL0 may fetch instructions from it.
    pub const fn is_user_executable(self) -> bool {
        self.0 & UXN == 0
    }

    /// Whether a TLB may use it under every ASID.
    pub const fn is_global(self) -> bool {
        self.0 & NOT_GLOBAL == 0
    }

    /// Whether EL0 may access it at all.
    pub const fn is_user(self) -> bool {
        self.0 & USER != 0
    }

    /// With CONTIGUOUS as given.
    pub const fn with_contiguous(self, contiguous: bool) -> Self {
        if contiguous { Self(self.0 | CONTIGUOUS) } else { Self(self.0 & !CONTIGUOUS) }
    }

    /// With the access flag set.
    pub const fn make_young(self) -> Self {
        Self(self.0 | ACCESS)
    }

    /// With the access flag clear.
    pub const fn make_old(self) -> Self {
        Self(self.0 & !ACCESS)
    }

    /// Dirty: the software bit, and READ_ONLY taken away where the page is writable.
    pub const fn make_dirty(self) -> Self {
        let bits = self.0 | DIRTY;
        if bits & WRITE != 0 { Self(bits & !READ_ONLY) } else { Self(bits) }
    }

    /// As hardware that manages dirty state leaves it after a store: READ_ONLY clear.
    pub const fn record_write(self) -> Self {
        Self(self.0 & !READ_ONLY)
    }

    /// Clean: the software bit off and READ_ONLY on, so that the next store is seen.
    pub const fn make_clean(self) -> Self {
        Self((self.0 & !DIRTY) | READ_ONLY)
    }

    /// Writable. READ_ONLY goes only if the page is dirty already, as a clean one must notice its first store.
    pub const fn make_writable(self) -> Self {
        let bits = self.0 | WRITE;
        if bits & DIRTY != 0 { Self(bits & !READ_ONLY) } else { Self(bits) }
    }

    /// Read-only; a write that hardware recorded moves to the software bit first.
    pub const fn write_protect(self) -> Self {
        let bits = self.preserve_dirty().0;
        Self((bits & !WRITE) | READ_ONLY)
    }

    /// With the uffd bit set.
    pub const fn make_uffd(self) -> Self {
        Self(self.0 | UFFD)
    }

    /// Without the uffd bit.
    pub const fn clear_uffd(self) -> Self {
        Self(self.0 & !UFFD)
    }

    /// With SPECIAL set.
    pub const fn make_special(self) -> Self {
        Self(self.0 | SPECIAL)
    }

    /// The descriptor of the page `count` further, or the swap entry `count` slots on.
    pub const fn advance(self, count: usize) -> Self {
        Self(self.0.wrapping_add(NEXT_PAGE * count as u64))
    }

    /// With the access flag and dirty state of `other` added to its own.
    pub const fn gather(self, other: Self) -> Self {
        let mut sum = self;
        if other.is_young() {
            sum = sum.make_young();
        }
        if other.is_dirty() {
            sum = sum.make_dirty();
        }
        sum
    }

    /// With the access flag, WRITE and dirty state that `wanted` has added to its own: how an access flag fault is answered.
    pub const fn raise(self, wanted: Self) -> Self {
        let bits = self.0 | (wanted.0 & (ACCESS | WRITE | DIRTY));
        if wanted.0 & READ_ONLY == 0 { Self(bits & !READ_ONLY) } else { Self(bits) }
    }

    /// Whether access flag, WRITE and dirty bits are those of `other`, bit by bit.
    pub const fn same_access(self, other: Self) -> bool {
        (self.0 ^ other.0) & (ACCESS | WRITE | DIRTY | READ_ONLY) == 0
    }

    const fn preserve_dirty(self) -> Self {
        if self.is_dirty() { Self(self.0 | DIRTY) } else { self }
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Display for Descriptor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return write!(out, "none");
        }
        if self.is_marker() {
            return write!(out, "marker");
        }
        if self.is_lost() {
            return write!(out, "lost");
        }
        if !self.is_present() {
            return write!(out, "swap({:#x})", self.0);
        }
        write!(out, "{:#x} ", self.address().as_u64())?;
        let marks = [
            (self.is_valid(), 'V', '-'),
            (self.is_writable(), 'W', 'r'),
            (self.is_user_executable(), 'X', '-'),
            (self.is_young(), 'A', '-'),
            (self.is_dirty(), 'D', '-'),
            (self.0 & CONTIGUOUS != 0, 'C', '-'),
            (self.is_special(), 'S', '-'),
            (self.is_uffd(), 'U', '-'),
        ];
        marks.iter().try_for_each(|&(set, yes, no)| write!(out, "{}", if set { yes } else { no }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RW: Protection = Protection { read: true, write: true, execute: false };
    const RO: Protection = Protection { read: true, write: false, execute: false };

    fn page(protection: Protection) -> Descriptor {
        Descriptor::user_page(Pfn::new(0x45678), protection)
    }

    fn bits(descriptor: Descriptor) -> (bool, bool, bool) {
        (descriptor.0 & READ_ONLY != 0, descriptor.0 & WRITE != 0, descriptor.0 & DIRTY != 0)
    }

    /// The write/dirty table of reference 2.2: (RDONLY, WRITE, D).
    #[test]
    fn write_and_dirty_bits() {
        assert_eq!(bits(page(RO)), (true, false, false));
        assert_eq!(bits(page(RW)), (true, true, false));
        assert_eq!(bits(page(RO).make_dirty()), (true, false, true));
        assert_eq!(bits(page(RW).make_dirty()), (false, true, true));
        let by_hardware = Descriptor(page(RW).0 & !READ_ONLY);
        assert!(by_hardware.is_dirty());
        assert_eq!(bits(by_hardware.write_protect()), (true, false, true));
        assert_eq!(bits(by_hardware.make_clean()), (true, true, false));
        assert!(!page(RW).is_dirty() && !page(RO).is_dirty());
        assert!(page(RO).make_dirty().make_writable().is_dirty());
        assert!(!bits(page(RO).make_dirty().make_writable()).0);
    }

    #[test]
    fn bit_places_of_the_manual() {
        assert_eq!([VALID, PAGE, USER, READ_ONLY], [1, 3, 1 << 6, 1 << 7]);
        assert_eq!([INNER_SHAREABLE, ACCESS, NOT_GLOBAL], [3 << 8, 1 << 10, 1 << 11]);
        assert_eq!([WRITE, CONTIGUOUS, PXN, UXN], [1 << 51, 1 << 52, 1 << 53, 1 << 54]);
        assert_eq!([DIRTY, SPECIAL, UFFD], [1 << 55, 1 << 56, 1 << 58]);
        assert_eq!(ADDRESS, 0x0000_ffff_ffff_f000);
    }

    #[test]
    fn no_access_is_present_but_not_valid_and_never_contiguous() {
        let folded = page(RW).make_dirty().make_young().with_contiguous(true);
        let none = folded.with_protection(Protection::default());
        assert!(none.is_present() && !none.is_valid() && !none.is_user() && !none.is_swap());
        assert_eq!(none.0 & CONTIGUOUS, 0);
        assert!(none.is_dirty() && none.is_young());
        let back = none.with_protection(RW);
        assert!(back.is_valid() && back.is_writable() && back.is_dirty());
        assert_eq!(back.frame(), folded.frame());
    }

    #[test]
    fn a_block_is_no_table_and_keeps_the_rest() {
        let block = page(RW).make_dirty().make_young().into_block();
        assert!(block.is_valid() && !block.is_table() && block.is_dirty() && block.is_young() && block.is_writable());
        let none = page(RW).with_protection(Protection::default()).into_block();
        assert!(none.is_present() && !none.is_valid() && !none.is_swap() && !none.is_table());
    }

    #[test]
    fn kinds_of_entries_that_are_not_present() {
        let (lent, marker) = (Descriptor::device_exclusive(Pfn::new(0x45678)), Descriptor::MARKER);
        assert!(lent.is_device_exclusive() && lent.maps_page() && !lent.is_marker() && !lent.is_absent());
        assert!(
            marker.is_marker() && marker.is_absent() && marker.is_swap() && !marker.maps_page() && !marker.is_none()
        );
        let lost = Descriptor::LOST;
        assert!(lost.is_lost() && lost.is_swap() && !lost.is_marker() && !lost.is_absent() && !lost.maps_page());
        assert!(Descriptor::NONE.is_absent() && !page(RW).is_absent());
    }

    #[test]
    fn advance_moves_one_frame() {
        assert_eq!(page(RW).advance(3).frame(), Pfn::new(0x4567b));
        assert_eq!(page(RW).advance(3).0 & !ADDRESS, page(RW).0 & !ADDRESS);
    }
}
