//! MADV_FREE: memory whose contents a program gives up, unless it writes there again before reclaim comes (reference 4.14).
//!
//! The entries stay, writable and clean: the next store marks its entry dirty, by hardware or by a fault that allocates nothing. The
//! folio is not swap-backed any more and waits on a list of its own. Reclaim discards it if it is still clean, without any swap slot
//! (`unmap/discard.rs`), and makes it swap-backed again if it is not.

use mmu::mutant::{self, Mutant};
use mmu::{Descriptor, Slot, VirtAddr};

use crate::folio::Folio;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::space::Space;
use crate::tlb::Gather;
use crate::walk::{Visitor, visit};
use crate::zap;

/// Gives up the contents of a range of anonymous memory. Each table is flushed before its lock is given up: a store through what a TLB
/// still holds as dirty would not mark the entry, and would be lost.
pub(crate) fn free_range(memory: &Memory, space: &Space, range: (VirtAddr, VirtAddr), gather: &mut Gather<'_>) {
    visit(memory, space, range, &mut Free { memory, gather });
}

struct Free<'a, 'g, 'm> {
    memory: &'m Memory,
    gather: &'a mut Gather<'g>,
}

impl<'m> Visitor<'m> for Free<'_, '_, 'm> {
    fn folio(&mut self, table: &TableGuard<'_>, slot: Slot, folio: Folio<'m>, merged: Descriptor) {
        if !forget_copies(self.memory, folio) {
            return;
        }
        let pages = folio.pages();
        if merged.is_young() || merged.is_dirty() {
            if mutant::is(Mutant::FreeUnfolds) {
                table.unfold_around(slot);
            }
            table.clear_young_dirty(slot, pages);
            self.gather.add(table.address(slot), pages);
        }
        if self.memory.lru.mark_lazy_free(folio) {
            table.count.pglazyfree.add(pages as u64);
        }
    }

    /// What is swapped out is not wanted back: entries and slots go at once.
    fn swapped(&mut self, table: &TableGuard<'_>, slot: Slot, entry: Descriptor, left: usize) -> usize {
        zap::zap_swapped(self.memory, table, slot, entry, left, self.gather)
    }

    fn leave(&mut self) {
        self.gather.flush_now();
    }
}

/// Makes a folio one that only its entries could say is dirty: it leaves the swap cache, and its own dirty flag goes. False if somebody
/// else is at it, maps it, or has a swap entry for it, and so may want the contents.
fn forget_copies(memory: &Memory, folio: Folio<'_>) -> bool {
    if !folio.is_dirty() && !folio.is_swap_cache() {
        return true;
    }
    let Some(locked) = folio.try_lock() else { return false };
    if locked.mapcount() != locked.pages() || (locked.is_swap_cache() && !memory.swap.free_if_unused(&locked)) {
        return false;
    }
    locked.set_dirty(false);
    true
}
