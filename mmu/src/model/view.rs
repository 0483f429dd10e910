//! The model as a TLB: what a CPU may hold for an address. On the host a program's access takes one of these, or walks.

use super::Model;
use super::stale::Kind;
use super::tables::NO_TABLE;
use crate::addr::{PhysAddr, VirtAddr};
use crate::descriptor::Descriptor;

impl Model {
    /// Calls `see` with every entry that `cpu` may hold for `address` beside the one in the table now; with `weak`, also those that
    /// only lead to a spurious fault.
    pub(crate) fn for_each_held(&self, cpu: usize, address: VirtAddr, weak: bool, mut see: impl FnMut(Descriptor)) {
        let this = &self.cpus[cpu];
        let page = address.page_number();
        if this.root == NO_TABLE {
            return;
        }
        let mine = self.stale.iter().filter(|stale| stale.holders & super::one(cpu) != 0 && stale.is_of(this.asid));
        mine.filter(|stale| stale.kind == Kind::Leaf && stale.covers(page)).for_each(|stale| see(stale.entry_at(page)));
        self.weak.held(cpu, this.asid, address).filter(|_| weak).for_each(see);
    }

    /// The last-level table that `cpu` may still find for `address` in its walk caches, though it was unlinked.
    pub(crate) fn cached_table(&self, cpu: usize, address: VirtAddr) -> Option<PhysAddr> {
        let this = &self.cpus[cpu];
        let page = address.page_number();
        let mut walks = self.stale.iter().filter(|stale| stale.kind == Kind::Walk && stale.level == 2);
        let found =
            walks.find(|stale| stale.holders & super::one(cpu) != 0 && stale.asid == this.asid && stale.covers(page));
        found.map(|stale| stale.entry.address())
    }

    /// A program accesses memory on `cpu`.
    pub(crate) fn accessed(&mut self, cpu: usize) -> super::Judged {
        self.relies_on_isb(cpu)
    }
}
