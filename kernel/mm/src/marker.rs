//! Markers: entries of pages that are not there, and that userfaultfd write-protects all the same (reference 1.5, 4.18).
//!
//! What anonymous memory loses to munmap or MADV_DONTNEED is gone for good, and what it loses to swap has its mark in the swap entry. A
//! page of a file outlives its entry, so an area with a file, private copies of whose pages count as the file's, remembers the
//! protection by a marker in the place of the entry. It goes with the area, or with the watch; a fault maps the page protected again.
//!
//! Entries of a batch agree in the mark, so one look and one decision do for all of them. `uffd_batch=off` looks at each, as Linux did.

use mmu::mutant::{self, Mutant};
use mmu::{Descriptor, Slot};

use crate::file::Backing;
use crate::pgtable::TableGuard;
use crate::rmap::Extent;
use crate::swap::SwapEntry;
use crate::vma::{Area, AreaFlags};

/// What is left of protected pages in entries that are emptied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rest {
    /// Nothing: the area goes.
    Nothing,
    /// What becomes an area with these flags.
    Of(AreaFlags, Backing),
}

impl Rest {
    /// Whether a marker may be due. Of anonymous memory nothing is.
    const fn may_be(self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Of(_, backing) => !backing.is_anonymous(),
        }
    }

    /// Whether markers stay as they are.
    pub(crate) const fn keeps(self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Of(flags, backing) => keeps(flags, backing),
        }
    }
}

const fn keeps(flags: AreaFlags, backing: Backing) -> bool {
    flags.contains(AreaFlags::UFFD_WP) && !backing.is_anonymous()
}

impl Area {
    /// Whether its entries may be markers.
    pub(crate) const fn keeps_markers(&self) -> bool {
        keeps(self.flags, self.backing)
    }

    /// What protected pages leave that are taken out of it while it stays.
    pub(crate) const fn rest(&self) -> Rest {
        Rest::Of(self.flags, self.backing)
    }
}

impl Extent {
    /// Whether its area's entries may be markers.
    pub(crate) const fn keeps_markers(&self) -> bool {
        keeps(self.flags, self.backing)
    }

    /// As [`Area::rest`].
    pub(crate) const fn rest(&self) -> Rest {
        Rest::Of(self.flags, self.backing)
    }
}

/// Whether userfaultfd protects the page of an entry, wherever the page is.
fn is_protected(entry: Descriptor) -> bool {
    match SwapEntry::from_descriptor(entry) {
        Some(swapped) => swapped.uffd,
        None => entry.is_marker() || (entry.is_present() && entry.is_uffd()),
    }
}

impl TableGuard<'_> {
    /// Leaves markers in the place of `count` entries that were just cleared, if they are due: `old` is the first, and the others have
    /// its mark.
    ///
    /// With `uffd_check` every batch is looked at, as Linux does before it asks whose it is; else only where markers are kept.
    pub(crate) fn leave_markers(&self, slot: Slot, old: Descriptor, count: usize, kept: bool) {
        if !(kept || self.memory.policy().uffd_check()) {
            return;
        }
        let due = kept && mutant::or(Mutant::MarkerUnasked, is_protected(old), true);
        let batch = if self.memory.policy().uffd_batch() { count } else { 1 };
        for first in (0..count).step_by(batch) {
            let now = self.get(slot.add(first));
            debug_assert!(now.is_none(), "an entry that was just cleared says {now}");
            if due {
                self.set_markers(slot.add(first), mutant::or(Mutant::MarkerOfFirstAlone, batch, 1));
            }
        }
    }

    /// The same after a zap. `rest` is the area's.
    pub(crate) fn leave_rest(&self, slot: Slot, old: Descriptor, count: usize, rest: Rest) {
        if rest.may_be() {
            self.leave_markers(slot, old, count, mutant::or(Mutant::MarkerNotLeftByZap, rest.keeps(), false));
        }
    }

    /// Swaps `count` entries for markers in one pass. Returns the first with the access flag and dirty state of all.
    pub(crate) fn exchange_for_markers(&self, slot: Slot, count: usize) -> Descriptor {
        self.unfold_cut_blocks(slot, count);
        let swap = |page| self.memory.door.swap(slot.add(page), Descriptor::MARKER);
        (1..count).fold(swap(0), |first, page| first.gather(swap(page)))
    }

    fn set_markers(&self, slot: Slot, count: usize) {
        (0..count).for_each(|page| self.set(slot.add(page), Descriptor::MARKER));
    }
}
