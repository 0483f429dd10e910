//! Translations that allow less than the entry does now: an access through one faults, and the fault is spurious. No rule forbids them;
//! on the host programs meet them, so that the way out is tested. The oldest are forgotten.

use super::contexts::Contexts;
use super::stores::At;
use super::{CpuSet, entry};
use crate::addr::{Asid, VirtAddr};
use crate::descriptor::Descriptor;
use crate::tlb_op::{Form, TlbOp};

/// How many are kept.
const ROOM: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Weak {
    asid: Asid,
    page: u64,
    entry: Descriptor,
    holders: CpuSet,
}

/// The last ones.
#[derive(Debug)]
pub(super) struct WeakRing {
    ring: [Weak; ROOM],
    next: usize,
    any: bool,
}

impl WeakRing {
    pub(super) fn new() -> Self {
        let none = Weak { asid: Asid::RESERVED, page: 0, entry: Descriptor::NONE, holders: 0 };
        Self { ring: [none; ROOM], next: 0, any: false }
    }

    /// `old` was replaced by `new`, which does whatever it did.
    pub(super) fn add(&mut self, at: &At, old: Descriptor, new: Descriptor) {
        if entry::lets_no_more_than(new, old) {
            return;
        }
        self.ring[self.next] = Weak { asid: at.asid, page: at.address.page_number(), entry: old, holders: at.holders };
        self.next = (self.next + 1) % ROOM;
        self.any = true;
    }

    /// An invalidation may take them away at once: who relies on a spurious fault?
    pub(super) fn forget(&mut self, op: TlbOp, targets: CpuSet, contexts: &Contexts) {
        if !self.any {
            return;
        }
        let asid = contexts.mask(op.operand_asid());
        for weak in &mut self.ring {
            let named = match op.pages() {
                Some((start, pages)) => {
                    let first = start.page_number();
                    (first..first + pages as u64).contains(&weak.page)
                        && (weak.asid == asid || op.form == Form::PageAnyAsid)
                }
                None => op.form == Form::All || weak.asid == asid,
            };
            if named {
                weak.holders &= !targets;
            }
        }
        self.any = self.ring.iter().any(|weak| weak.holders != 0);
    }

    /// The entries that `cpu` may hold for an address.
    pub(super) fn held(&self, cpu: usize, asid: Asid, address: VirtAddr) -> impl Iterator<Item = Descriptor> {
        let page = address.page_number();
        let ring = self.ring.iter().filter(move |_| self.any);
        ring.filter(move |weak| weak.holders & super::one(cpu) != 0 && weak.asid == asid && weak.page == page)
            .map(|weak| weak.entry)
    }
}
