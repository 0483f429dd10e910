//! What was replaced in a table and may still be in a TLB: runs of last-level entries, and table entries in walk caches. Each says who
//! may hold it, which invalidations of it are under way, and which one came near and missed.

extern crate alloc;

use alloc::vec::Vec;

use super::rule::Rule;
use super::verdict::{Held, When};
use super::{CpuSet, Line, MAX_CPUS, one};
use crate::addr::{Asid, Pfn};
use crate::descriptor::Descriptor;

/// What kind of entry was replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Last-level entries that mapped pages.
    Leaf,
    /// An entry that led to a table.
    Walk,
}

/// An invalidation that did not cover an entry, and the rule that says why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Near {
    pub(super) rule: Rule,
    pub(super) event: u64,
    pub(super) line: Line,
}

/// A store, as far as barriers are concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    /// The CPU that stored.
    pub(super) by: usize,
    /// The number of the event.
    pub(super) event: u64,
}

/// A run of replaced entries: each maps the page after the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stale {
    pub(super) kind: Kind,
    /// The level of the table that held it.
    pub(super) level: u8,
    pub(super) asid: Asid,
    /// The first page number, and how many pages.
    pub(super) first: u64,
    pub(super) pages: u64,
    pub(super) entry: Descriptor,
    pub(super) holders: CpuSet,
    /// When it was replaced; of one that had lost its access flag before, when that mattered.
    pub(super) stored: When,
    /// The store after which nobody can fetch it, once that is ordered.
    pub(super) last: Order,
    /// By issuer: the CPUs on which an invalidation of it is under way.
    pub(super) issued: [CpuSet; MAX_CPUS],
    pub(super) near: Option<Near>,
    /// The table still has it, without the access flag: held or not, nothing is wrong until it changes further.
    pub(super) aged: bool,
    /// The table still has it, but was unlinked itself: who has the way there cached may fetch it again.
    pub(super) behind_walk: bool,
}

impl Stale {
    pub(super) const fn end(&self) -> u64 {
        self.first + self.pages
    }

    pub(super) const fn covers(&self, page: u64) -> bool {
        self.first <= page && page < self.end()
    }

    pub(super) const fn overlaps(&self, first: u64, pages: u64) -> bool {
        self.first < first + pages && first < self.end()
    }

    /// The entry that was at `page`, which the run covers.
    pub(super) const fn entry_at(&self, page: u64) -> Descriptor {
        self.entry.advance((page - self.first) as usize)
    }

    /// Whether `asid` sees it.
    pub(super) fn is_of(&self, asid: Asid) -> bool {
        self.asid == asid || self.is_global()
    }

    /// Whether every ASID sees it.
    pub(super) fn is_global(&self) -> bool {
        self.kind == Kind::Leaf && self.entry.is_global()
    }

    /// The page that maps `frame`, if it is a run of pages that has one.
    pub(super) fn page_of(&self, frame: Pfn) -> Option<u64> {
        let distance = frame.as_u64().wrapping_sub(self.entry.frame().as_u64());
        (self.kind == Kind::Leaf && distance < self.pages).then(|| self.first + distance)
    }

    /// Whether invalidations under way cover everybody who may hold it: it lacks their completion alone.
    pub(super) fn is_issued(&self) -> bool {
        self.issued.iter().fold(0, |all, set| all | set) & self.holders == self.holders
    }

    /// Whether those who may hold it, and those of them who are about to lose it, are the same as of `other`.
    pub(super) fn is_owed_as(&self, other: &Self) -> bool {
        self.holders == other.holders && self.issued == other.issued
    }

    pub(super) fn held(&self, page: u64) -> Held {
        let entry =
            if self.kind == Kind::Leaf { self.entry_at(page.clamp(self.first, self.end() - 1)) } else { self.entry };
        let near = self.near.map(|near| (near.event, near.line));
        Held { entry, cpus: self.holders, replaced: self.stored, near }
    }

    /// Whether `next` continues the run by one page, as part of the same work.
    fn continues_with(&self, next: &Self) -> bool {
        self.kind == Kind::Leaf
            && next.kind == Kind::Leaf
            // A block goes as a whole: two are two.
            && self.level == 3
            && next.level == 3
            && self.end() == next.first
            && self.asid == next.asid
            && self.holders == next.holders
            && self.stored.cpu == next.stored.cpu
            && core::ptr::eq(self.stored.line, next.stored.line)
            && self.aged == next.aged
            && self.behind_walk == next.behind_walk
            && self.near.is_none()
            && self.issued == next.issued
            && self.entry.advance(self.pages as usize) == next.entry
    }
}

/// All of them, in no order.
#[derive(Debug)]
pub(super) struct StaleList {
    list: Vec<Stale>,
}

impl StaleList {
    /// With room for so many; it never grows.
    pub(super) fn new(room: usize) -> Self {
        Self { list: Vec::with_capacity(room) }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stale> {
        self.list.iter()
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> &Stale {
        &self.list[index]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> &mut Stale {
        &mut self.list[index]
    }

    /// The one that was added last, if none was removed since.
    pub(super) fn last(&self) -> Option<&Stale> {
        self.list.last()
    }

    /// The CPUs that may have the way to the table of a replaced entry cached.
    pub(super) fn walkers_of(&self, stale: &Stale) -> CpuSet {
        let leads_there = |walk: &&Stale| {
            walk.kind == Kind::Walk && walk.asid == stale.asid && walk.overlaps(stale.first, stale.pages)
        };
        self.list.iter().filter(leads_there).fold(0, |all, walk| all | walk.holders)
    }

    /// Adds one, joined to the last where it continues that and `may_join`. False if there is no room.
    #[must_use]
    pub(super) fn add(&mut self, stale: Stale, may_join: bool) -> bool {
        if let Some(last) = self.list.last_mut().filter(|last| may_join && last.continues_with(&stale)) {
            last.pages += stale.pages;
            (last.stored, last.last) = (stale.stored, stale.last);
            return true;
        }
        let room = self.list.len() < self.list.capacity();
        if room {
            self.list.push(stale);
        }
        room
    }

    /// Takes one out; the last takes its place.
    pub(super) fn remove(&mut self, index: usize) -> Stale {
        self.list.swap_remove(index)
    }

    /// Leaves in `index` only the pages of `first..end`, and adds what lies before and behind as runs of their own. False if there is no
    /// room.
    #[must_use]
    pub(super) fn isolate(&mut self, index: usize, first: u64, end: u64) -> bool {
        let whole = self.list[index];
        let (first, end) = (first.max(whole.first), end.min(whole.end()));
        let part = |from: u64, to: u64| Stale { first: from, pages: to - from, entry: whole.entry_at(from), ..whole };
        if self.list.len() + 2 > self.list.capacity() {
            return false;
        }
        self.list[index] = part(first, end);
        if whole.first < first {
            self.list.push(part(whole.first, first));
        }
        if end < whole.end() {
            self.list.push(part(end, whole.end()));
        }
        true
    }

    /// `issuer` has completed its invalidations, on the CPUs of `reach`. Gives those that nobody can hold any more to `gone`.
    pub(super) fn complete(&mut self, issuer: usize, reach: CpuSet, mut gone: impl FnMut(&Stale)) {
        let mut index = 0;
        while index < self.list.len() {
            let stale = &mut self.list[index];
            stale.holders &= !(stale.issued[issuer] & reach);
            stale.issued[issuer] &= !reach;
            if stale.holders == 0 {
                gone(&self.list.swap_remove(index));
            } else {
                index += 1;
            }
        }
    }

    /// `cpu` runs `asid` from now on: it walks what is not ordered yet as it was.
    pub(super) fn may_be_walked_by(&mut self, cpu: usize, asid: Asid, is_ordered: impl Fn(Order) -> bool) {
        let late = |stale: &&mut Stale| stale.asid == asid && !is_ordered(stale.last);
        for stale in self.list.iter_mut().filter(late) {
            stale.holders |= one(cpu);
            stale.issued.iter_mut().for_each(|set| *set &= !one(cpu));
        }
    }
}
