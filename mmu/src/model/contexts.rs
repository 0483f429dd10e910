//! Translation contexts: which space runs under which ASID, on which CPUs now, and which CPUs may hold translations of it.

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec;

use super::tables::{NO_TABLE, TableId};
use super::{CpuSet, MAX_CPUS, one};
use crate::addr::Asid;

/// What is known of one ASID.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    /// The table of level 0 that last ran under it.
    pub(super) root: TableId,
    /// CPUs that run it now, so that their walkers may fetch anything of it at any time.
    pub(super) active: CpuSet,
    /// CPUs that have run it since all of it was invalidated there.
    pub(super) holders: CpuSet,
    /// By issuer: those that an invalidation under way frees of all of it. None of them has run it since that was issued.
    pub(super) flushing: [CpuSet; MAX_CPUS],
}

/// All ASIDs.
#[derive(Debug)]
pub(super) struct Contexts {
    contexts: Box<[Context]>,
    /// One past the highest that was ever used.
    used: usize,
}

impl Contexts {
    pub(super) fn new(asid_bits: u8) -> Self {
        let unused = Context { root: NO_TABLE, active: 0, holders: 0, flushing: [0; MAX_CPUS] };
        Self { contexts: vec![unused; 1 << asid_bits.clamp(1, 16)].into_boxed_slice(), used: 0 }
    }

    /// As many bits of an ASID as the CPU has.
    pub(super) fn mask(&self, asid: Asid) -> Asid {
        Asid::new(asid.as_u16() & (self.contexts.len() - 1) as u16)
    }

    #[inline]
    pub(super) fn get(&self, asid: Asid) -> &Context {
        &self.contexts[usize::from(self.mask(asid).as_u16())]
    }

    pub(super) fn enter(&mut self, asid: Asid, root: TableId, cpu: usize) {
        let index = usize::from(self.mask(asid).as_u16());
        self.used = self.used.max(index + 1);
        let context = &mut self.contexts[index];
        context.root = root;
        context.active |= one(cpu);
        context.holders |= one(cpu);
        // What the invalidation frees it of may be fetched again before it completes.
        context.flushing.iter_mut().for_each(|set| *set &= !one(cpu));
    }

    pub(super) fn leave(&mut self, asid: Asid, cpu: usize) {
        let index = usize::from(self.mask(asid).as_u16());
        self.contexts[index].active &= !one(cpu);
    }

    /// `cpu` has issued an invalidation of all that the CPUs `targets` have of `asid`; of every ASID for `None`.
    pub(super) fn begin_flush(&mut self, asid: Option<Asid>, cpu: usize, targets: CpuSet) {
        for context in self.selected(asid) {
            context.flushing[cpu] |= targets & context.holders & !context.active;
        }
    }

    /// What `cpu` has issued is complete, on the CPUs of `reach`.
    pub(super) fn end_flush(&mut self, asid: Option<Asid>, cpu: usize, reach: CpuSet) {
        for context in self.selected(asid) {
            context.holders &= !(context.flushing[cpu] & reach);
            context.flushing[cpu] &= !reach;
        }
    }

    fn selected(&mut self, asid: Option<Asid>) -> &mut [Context] {
        match asid {
            None => &mut self.contexts[..self.used],
            Some(asid) => {
                let index = usize::from(self.mask(asid).as_u16());
                &mut self.contexts[index..=index]
            }
        }
    }
}
