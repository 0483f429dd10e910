//! A last-level descriptor, as far as the search looks at it. Entry `i` of the block, if valid, always maps frame `i`.

use std::fmt;

/// A descriptor, or a swap entry in its place. It fits in five bits, so a set of entries fits in a word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Entry(u8);

const WRITABLE: u8 = 1;
const DIRTY: u8 = 2;
const YOUNG: u8 = 4;
const CONTIGUOUS: u8 = 8;
const VALID: u8 = 16;
/// Not valid, so its meaning is software's.
const SWAP_MARK: u8 = 1;

impl Entry {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The page is to be found on the device.
    pub const SWAP: Self = Self(SWAP_MARK);
    /// A page of its own: valid, writable, young, clean.
    pub const PAGE: Self = Self(VALID | WRITABLE | YOUNG);

    /// Whether hardware uses it.
    pub const fn is_valid(self) -> bool {
        self.0 & VALID != 0
    }

    /// Whether the page may be written, perhaps after a dirty-state update (DBM).
    pub const fn is_writable(self) -> bool {
        self.is_valid() && self.0 & WRITABLE != 0
    }

    /// Whether it records a write.
    pub const fn is_dirty(self) -> bool {
        self.is_valid() && self.0 & DIRTY != 0
    }

    /// Whether the access flag is set.
    pub const fn is_young(self) -> bool {
        self.is_valid() && self.0 & YOUNG != 0
    }

    /// Whether it is a member of a folded block.
    pub const fn is_folded(self) -> bool {
        self.is_valid() && self.0 & CONTIGUOUS != 0
    }

    /// With the Contiguous bit as given.
    #[must_use]
    pub const fn with_contiguous(self, contiguous: bool) -> Self {
        if contiguous { Self(self.0 | CONTIGUOUS) } else { Self(self.0 & !CONTIGUOUS) }
    }

    /// With the access flag set.
    #[must_use]
    pub const fn make_young(self) -> Self {
        Self(self.0 | YOUNG)
    }

    /// With the access flag clear.
    #[must_use]
    pub const fn make_old(self) -> Self {
        Self(self.0 & !YOUNG)
    }

    /// Dirty.
    #[must_use]
    pub const fn make_dirty(self) -> Self {
        Self(self.0 | DIRTY)
    }

    /// Read-only; that it was written stays recorded.
    #[must_use]
    pub const fn write_protect(self) -> Self {
        Self(self.0 & !WRITABLE)
    }

    /// With the access flag and dirty state of `other` added to its own; of nothing and a page, the page.
    #[must_use]
    pub const fn gather(self, other: Self) -> Self {
        if other.is_valid() { Self(self.0 | other.0) } else { self }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => return out.write_str("none"),
            Self::SWAP => return out.write_str("a swap entry"),
            _ => {}
        }
        let access = if self.is_writable() { "writable" } else { "read-only" };
        let state = if self.is_dirty() { "dirty" } else { "clean" };
        let age = if self.is_young() { "" } else { ", old" };
        let form = if self.is_folded() { ", contiguous" } else { "" };
        write!(out, "{access}, {state}{age}{form}")
    }
}

/// A set of entries: what a table walk may read where stores are not ordered yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Visible(u32);

impl Visible {
    /// Just this one.
    pub const fn only(entry: Entry) -> Self {
        Self(1 << entry.0)
    }

    /// `entry` may be read too.
    pub const fn add(&mut self, entry: Entry) {
        self.0 |= 1 << entry.0;
    }

    /// `new` is read where `old` was.
    pub const fn replace(&mut self, old: Entry, new: Entry) {
        self.0 = (self.0 & !(1 << old.0)) | (1 << new.0);
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Entry> {
        (0..u32::BITS as u8).filter(move |&bits| self.0 & (1 << bits) != 0).map(Entry)
    }
}
