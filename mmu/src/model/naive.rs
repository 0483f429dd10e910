//! A TLB that is kept as it is defined: each CPU has a set of everything that it may have fetched, and nothing is inferred. It is slow and
//! small, where the model is fast and sparse: three CPUs, three spaces with two ASIDs between them, three pages each.

mod against;

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use super::entry::is_cacheable;
use super::one;
use crate::addr::VirtAddr;
use crate::descriptor::Descriptor;
use crate::events::Dsb;
use crate::tlb_op::{Depth, Form, Scope, TlbOp};

const CPUS: usize = 3;
const ALL: u8 = (1 << CPUS) - 1;
const SPACES: usize = 3;
const ASIDS: u16 = 2;
const PAGES: usize = 3;
const BASE: VirtAddr = VirtAddr::new(0x55_0080_0000);

/// What a CPU may have cached, under an ASID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Cached {
    /// Something of it: it has run it.
    Any,
    /// The way to the last-level table of a space.
    Walk(usize),
    /// A page, by the bits of its entry.
    Page(usize, u64),
}

/// A store to a page of a space, or for `None` to the entry that leads to its table, and what was there before.
#[derive(Clone, Debug)]
struct Store {
    space: usize,
    page: Option<usize>,
    before: Descriptor,
    by: usize,
    /// The CPUs whose walkers can not find what was there any more.
    ordered: u8,
}

/// The TLBs: by CPU what it may have cached, and who has issued an invalidation of that.
#[derive(Default)]
struct Naive {
    held: [BTreeMap<(u16, Cached), u8>; CPUS],
    runs: [Option<(usize, u16)>; CPUS],
    pages: [[Descriptor; PAGES]; SPACES],
    linked: [bool; SPACES],
    stores: Vec<Store>,
    seen: [BTreeSet<usize>; CPUS],
    given_up: [BTreeSet<usize>; SPACES],
}

impl Naive {
    fn store(&mut self, by: usize, space: usize, page: Option<usize>, before: Descriptor) {
        self.seen[by].insert(self.stores.len());
        self.stores.push(Store { space, page, before, by, ordered: 0 });
    }

    /// What a walker of `cpu` may find there, beside what is there now.
    fn unordered(&self, cpu: usize, space: usize, page: Option<usize>) -> impl Iterator<Item = Descriptor> {
        let here = move |store: &&Store| store.space == space && store.page == page;
        let late = move |store: &&Store| store.ordered & one(cpu) == 0;
        self.stores.iter().filter(here).filter(late).map(|store| store.before)
    }

    /// Every walk that any CPU can do now.
    fn walk(&mut self) {
        for cpu in 0..CPUS {
            if let Some((space, asid)) = self.runs[cpu] {
                self.held[cpu].insert((asid, Cached::Any), 0);
                if self.linked[space] || self.unordered(cpu, space, None).any(Descriptor::is_valid) {
                    self.held[cpu].insert((asid, Cached::Walk(space)), 0);
                }
                let ways: Vec<_> = self.held[cpu].iter().map(|(&(of, way), &issued)| (of, way, issued)).collect();
                for (_, way, issued) in ways.into_iter().filter(|&(of, ..)| of == asid) {
                    let Cached::Walk(space) = way else { continue };
                    for page in 0..PAGES {
                        let now = core::iter::once(self.pages[space][page]);
                        let found: Vec<_> = now.chain(self.unordered(cpu, space, Some(page))).collect();
                        for entry in found.into_iter().filter(|&entry| is_cacheable(entry)) {
                            // What takes the way there takes what is fetched by it.
                            *self.held[cpu].entry((asid, Cached::Page(page, entry.bits()))).or_insert(0) &= issued;
                        }
                    }
                }
            }
        }
    }

    /// Who has run a space since all of it was invalidated counts as having what it maps later, too: that is how the model counts.
    fn count_left(&mut self, owner: &[Option<usize>]) {
        for cpu in 0..CPUS {
            for asid in 1..=ASIDS {
                let (Some(&issued), Some(space)) = (self.held[cpu].get(&(asid, Cached::Any)), owner[usize::from(asid)])
                else {
                    continue;
                };
                if self.runs[cpu].is_some_and(|(_, of)| of == asid) {
                    continue;
                }
                if self.linked[space] {
                    self.held[cpu].entry((asid, Cached::Walk(space))).or_insert(issued);
                }
                if !self.held[cpu].contains_key(&(asid, Cached::Walk(space))) {
                    continue;
                }
                for page in 0..PAGES {
                    let entry = self.pages[space][page];
                    if is_cacheable(entry) {
                        let known = self.held[cpu].entry((asid, Cached::Page(page, entry.bits()))).or_insert(issued);
                        *known &= if self.linked[space] { issued } else { ALL };
                    }
                }
            }
        }
    }

    /// A table that nobody can walk to is about to be linked by `cpu`. Who finds the link finds what that CPU has seen stored there.
    fn publish(&mut self, cpu: usize, space: usize) {
        let is_way = |&(_, what): &(u16, Cached)| what == Cached::Walk(space);
        if self.held.iter().any(|held| held.keys().any(is_way)) {
            return;
        }
        for &store in &self.seen[cpu] {
            let store = &mut self.stores[store];
            store.ordered |= if store.space == space && store.page.is_some() { ALL } else { 0 };
        }
    }

    /// A page that is mapped now counts as fetched again, by who has left the space too.
    fn tlbi(&mut self, issuer: usize, op: TlbOp, is_current: impl Fn(u16, usize, u64) -> bool) {
        for cpu in (0..CPUS).filter(|&cpu| op.scope == Scope::Broadcast || cpu == issuer) {
            for ((asid, what), issued) in &mut self.held[cpu] {
                let of_asid = *asid == op.operand_asid().as_u16();
                let named = op.pages().map(|(start, _)| (start.page_number() - BASE.page_number()) as usize);
                let reached = match (op.form, *what) {
                    (Form::All, _) => true,
                    (Form::Asid, _) => of_asid,
                    (_, Cached::Any) => false,
                    (_, Cached::Walk(_)) => of_asid && op.depth == Depth::WalkCaches,
                    (_, Cached::Page(page, bits)) => of_asid && named == Some(page) && !is_current(*asid, page, bits),
                };
                *issued |= if reached { one(issuer) } else { 0 };
            }
        }
    }

    fn dsb(&mut self, issuer: usize, kind: Dsb) {
        let inner = matches!(kind, Dsb::Ish | Dsb::IshSt);
        for &store in &self.seen[issuer] {
            self.stores[store].ordered |= if inner { ALL } else { 0 };
        }
        for store in self.stores.iter_mut().filter(|store| store.by == issuer) {
            store.ordered |= one(issuer);
        }
        // All CPUs see the stores to one entry in one order: what one of them has replaced is as far as that is.
        for last in (0..self.stores.len()).rev() {
            let Store { space, page, ordered, .. } = self.stores[last];
            for store in self.stores[..last].iter_mut().filter(|store| (store.space, store.page) == (space, page)) {
                store.ordered |= ordered;
            }
        }
        if matches!(kind, Dsb::Ish | Dsb::Nsh) {
            for cpu in (0..CPUS).filter(|&cpu| inner || cpu == issuer) {
                let mut ways = self.held[cpu].clone();
                ways.retain(|_, issued| *issued & one(issuer) == 0);
                // What is fetched again by a way that is still there does not begin anew.
                let is_fetched = |asid: u16, page: usize, bits: u64| {
                    (0..SPACES).any(|space| {
                        ways.contains_key(&(asid, Cached::Walk(space))) && self.pages[space][page].bits() == bits
                    })
                };
                self.held[cpu].retain(|&(asid, what), issued| {
                    let gone = *issued & one(issuer) != 0;
                    *issued &= !one(issuer);
                    !gone || matches!(what, Cached::Page(page, bits) if is_fetched(asid, page, bits))
                });
            }
        }
    }
}
