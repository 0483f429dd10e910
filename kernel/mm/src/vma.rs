//! Areas: the ranges of addresses that a program has mapped, and the list of them that a space keeps.

mod list;

use bitflags::bitflags;
use mmu::{PAGE_SHIFT, Protection, VirtAddr};

use crate::file::Backing;
use crate::policy::Advice;
use crate::rmap::AnonVmaId;
use crate::watch::Monitor;

pub use list::{Areas, Change, MAX_AREAS};

bitflags! {
    /// What a program may do in an area, with Linux's numbers.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
    pub struct Prot: u32 {
        /// PROT_READ.
        const READ = 1;
        /// PROT_WRITE.
        const WRITE = 2;
        /// PROT_EXEC.
        const EXECUTE = 4;
    }
}

bitflags! {
    /// What else is known of an area.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
    pub struct AreaFlags: u32 {
        /// MADV_HUGEPAGE.
        const HUGEPAGE = 1 << 0;
        /// MADV_NOHUGEPAGE.
        const NOHUGEPAGE = 1 << 1;
        /// Reclaim leaves it alone.
        const LOCKED = 1 << 2;
        /// MAP_DROPPABLE: its pages may be dropped, even dirty ones.
        const DROPPABLE = 1 << 3;
        /// Its monitor is asked about writes to pages that it has write-protected.
        const UFFD_WP = 1 << 4;
        /// MADV_DONTFORK.
        const DONTFORK = 1 << 5;
        /// MADV_WIPEONFORK.
        const WIPEONFORK = 1 << 6;
        /// MAP_NORESERVE.
        const NORESERVE = 1 << 7;
        /// Of a locked area: its pages come as they are touched.
        const LOCK_ON_FAULT = 1 << 8;
        /// Its monitor is asked about first touches.
        const UFFD_MISSING = 1 << 9;
        /// Watched by userfaultfd in any way.
        const UFFD = Self::UFFD_WP.bits() | Self::UFFD_MISSING.bits();
    }
}

/// A range of addresses with one protection. Holding a copy says nothing about whether the space still has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Area {
    /// Its first address.
    pub start: VirtAddr,
    /// One past its last.
    pub end: VirtAddr,
    /// What the program may do there.
    pub prot: Prot,
    /// What else is known.
    pub flags: AreaFlags,
    /// What its pages come from.
    pub backing: Backing,
    /// The index of its first page in its linear space: the page number when it was made, or the page of the file. It stays when the
    /// area moves.
    pub pgoff: u64,
    /// Which anon_vma its pages belong to; none before the first page.
    pub anon: Option<AnonVmaId>,
    /// Who watches it by userfaultfd; somebody if and only if it has one of those flags.
    pub monitor: Option<Monitor>,
}

impl Area {
    /// How many pages it has.
    pub const fn pages(&self) -> u64 {
        (self.end.as_u64() - self.start.as_u64()) >> PAGE_SHIFT
    }

    /// Whether `address` lies in it.
    pub const fn contains(&self, address: VirtAddr) -> bool {
        self.start.as_u64() <= address.as_u64() && address.as_u64() < self.end.as_u64()
    }

    /// Whether all of a range lies in it.
    pub fn covers(&self, start: VirtAddr, end: VirtAddr) -> bool {
        self.start <= start && end <= self.end
    }

    /// The index of the page at `address` in the linear space.
    pub const fn index_of(&self, address: VirtAddr) -> u64 {
        self.pgoff + address.page_number() - self.start.page_number()
    }

    /// What goes into the descriptors of its pages. On arm64 writable and executable both imply readable.
    pub fn protection(&self) -> Protection {
        Protection {
            read: !self.prot.is_empty(),
            write: self.prot.contains(Prot::WRITE),
            execute: self.prot.contains(Prot::EXECUTE),
        }
    }

    /// What it was advised about folio sizes.
    pub const fn advice(&self) -> Advice {
        if self.flags.contains(AreaFlags::NOHUGEPAGE) {
            Advice::NoHuge
        } else if self.flags.contains(AreaFlags::HUGEPAGE) {
            Advice::Huge
        } else {
            Advice::None
        }
    }

    /// Whether mlock says anything of it, as on Linux: huge pages stay where they are in any case, and what may be dropped is never kept.
    pub(crate) fn is_lockable(&self) -> bool {
        self.backing.huge().is_none() && !self.flags.contains(AreaFlags::DROPPABLE)
    }

    /// The same, and nobody watches it.
    pub(crate) fn unwatched(self) -> Self {
        Self { flags: self.flags.difference(AreaFlags::UFFD), monitor: None, ..self }
    }

    /// The part between two addresses inside it.
    fn part(&self, start: VirtAddr, end: VirtAddr) -> Self {
        Self { start, end, pgoff: self.index_of(start), ..*self }
    }

    /// Whether `next` follows in addresses and in linear space, so that protection and anon_vma alone could keep them apart.
    pub fn continues_in(&self, next: &Self) -> bool {
        self.end == next.start
            && (self.flags, self.monitor) == (next.flags, next.monitor)
            && self.backing == next.backing
            && self.pgoff + self.pages() == next.pgoff
    }

    /// One area in place of this and `next`, if nothing tells them apart.
    fn join(&self, next: &Self) -> Option<Self> {
        let anon_fits = self.anon == next.anon || self.anon.is_none() || next.anon.is_none();
        let fits = self.continues_in(next) && self.prot == next.prot && anon_fits;
        fits.then(|| Self { end: next.end, anon: self.anon.or(next.anon), ..*self })
    }
}
