//! MADV_COLD: memory that a program will not use for a while (reference 4.13). It looks unused, and reclaim comes to it first.

use mmu::{Descriptor, Slot, VirtAddr};

use crate::folio::Folio;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::space::Space;
use crate::tlb::Gather;
use crate::walk::{Visitor, visit};

/// Takes the access flags of a range away, and moves its folios to the inactive list.
pub(crate) fn cool_range(memory: &Memory, space: &Space, range: (VirtAddr, VirtAddr), gather: &mut Gather<'_>) {
    visit(memory, space, range, &mut Cool { memory, gather });
}

struct Cool<'a, 'g, 'm> {
    memory: &'m Memory,
    gather: &'a mut Gather<'g>,
}

impl<'m> Visitor<'m> for Cool<'_, '_, 'm> {
    /// A folio that others map too, or that somebody has isolated, is left alone.
    fn folio(&mut self, table: &TableGuard<'_>, slot: Slot, folio: Folio<'m>, merged: Descriptor) {
        let pages = folio.pages();
        if folio.mapcount() != pages || !folio.is_on_lru() {
            return;
        }
        if merged.is_young() {
            table.test_and_clear_young(slot, pages);
            self.gather.add(table.address(slot), pages);
        }
        folio.set_referenced(false);
        if folio.is_active() {
            folio.set_active(false);
            self.memory.lru.refile(folio);
        }
    }

    fn leave(&mut self) {
        self.gather.flush_now();
    }
}
