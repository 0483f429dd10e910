//! What may come between two steps of the kernel: CPU 1's walker reads and caches whatever the architecture lets it, at any time (A1), and
//! the program there reads and writes its pages, through any translation that is cached. Faults are handled as the kernel does.

use std::fmt;

use crate::entry::Entry;
use crate::hazard::Hazard;
use crate::machine::{Machine, State};
use crate::program::Step;
use crate::tlb::{Cached, Reach};

/// What happens from one state to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A step on CPU 0.
    Kernel(Step),
    /// CPU 1's walker caches where the table is.
    CacheTable,
    /// It walks through memory that was the table once.
    StrayWalk,
    /// It walks, and caches the translation it read.
    Walk(u8, Cached),
    /// The program accesses a page.
    Access(Access, Meets),
}

/// A load or a store of the program on CPU 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Where.
    pub page: u8,
    /// Whether it is a store.
    pub write: bool,
}

/// What an access meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meets {
    /// A cached translation that permits it.
    Translation(Cached),
    /// One that permits a write after hardware has recorded it, in this entry.
    Recorded(Cached, u8),
    /// Two that overlap.
    Several,
    /// A fault, which the kernel handles on CPU 1.
    Fault,
}

/// Receives an action and what it leads to.
pub type Visit<'a> = dyn FnMut(Action, Result<State, Hazard>) + 'a;

impl Access {
    fn is_permitted_by(self, entry: Entry) -> bool {
        if self.write { entry.is_writable() } else { entry.is_valid() }
    }

    /// Whether the flags of `entry` are such that no CPU faults.
    fn is_recorded_in(self, entry: Entry) -> bool {
        entry.is_young() && (!self.write || entry.is_dirty())
    }

    /// The entry with the flags that the access needs.
    fn raise(self, entry: Entry) -> Entry {
        if self.write { entry.make_young().make_dirty() } else { entry.make_young() }
    }
}

impl Machine {
    /// Everything that can happen in `state`.
    pub fn successors(&self, state: &State, visit: &mut Visit<'_>) {
        if let Some((step, result)) = self.kernel_step(state) {
            visit(Action::Kernel(step), result);
        }
        self.walks(state, visit);
        for page in (0..self.pages).filter(|page| state.used & (1 << page) != 0) {
            self.access(state, Access { page, write: false }, visit);
            self.access(state, Access { page, write: true }, visit);
        }
    }

    fn walks(&self, state: &State, visit: &mut Visit<'_>) {
        if state.seen_linked {
            let mut next = *state;
            next.tlb.insert_table();
            visit(Action::CacheTable, Ok(next));
        }
        if !state.reaches_table() {
            return;
        }
        if state.table_freed {
            return visit(Action::StrayWalk, Err(Hazard::FreedTable));
        }
        for page in 0..self.pages {
            for entry in state.visible[page as usize].iter() {
                let Some((walked, entry)) = self.walk(state, page, entry) else { continue };
                for cached in choices(state, page, entry) {
                    let mut next = walked;
                    next.tlb.insert(cached);
                    visit(Action::Walk(page, cached), Ok(next));
                }
            }
        }
    }

    /// A walk that has read `entry`: what may be cached of it, if anything. An old entry may be cached only once hardware has set its
    /// access flag, which it does in the entry as it is in memory now.
    fn walk(&self, state: &State, page: u8, entry: Entry) -> Option<(State, Entry)> {
        let mut walked = *state;
        if entry.is_valid() && !entry.is_young() {
            if !self.features.hardware_access || entry != state.entries[page as usize] {
                return None;
            }
            walked.update(page, entry.make_young());
        }
        entry.is_valid().then_some((walked, entry.make_young()))
    }

    fn access(&self, state: &State, access: Access, visit: &mut Visit<'_>) {
        if self.features.bbm_level < 3 && state.tlb.conflicts(access.page) {
            let hazard = if self.features.bbm_level == 0 { Hazard::Poison } else { Hazard::Conflict };
            return visit(Action::Access(access, Meets::Several), Err(hazard));
        }
        let mut faults = state.reaches_table() && self.walk_faults(state, access.page);
        for cached in state.tlb.covering(access.page) {
            if !access.write || (cached.entry.is_writable() && cached.entry.is_dirty()) {
                visit(Action::Access(access, Meets::Translation(cached)), self.pass(state, access));
            } else if cached.entry.is_writable() && self.features.hardware_dirty {
                faults |= !self.record(state, access, cached, visit);
            } else {
                faults = true;
            }
        }
        if faults {
            self.fault(state, access, visit);
        }
    }

    /// Whether a walk may read an entry that can not be cached. What one that can be permits is seen when it is.
    fn walk_faults(&self, state: &State, page: u8) -> bool {
        let faulting = |entry: Entry| !entry.is_valid() || (!entry.is_young() && !self.features.hardware_access);
        state.visible[page as usize].iter().any(faulting)
    }

    /// The access is made. What it harms is what the search is about.
    fn pass(&self, state: &State, access: Access) -> Result<State, Hazard> {
        if state.freed & (1 << access.page) != 0 {
            return Err(Hazard::UseAfterFree);
        }
        if self.is_declared(state) && !access.is_permitted_by(state.entries[access.page as usize]) {
            return Err(Hazard::StalePermission);
        }
        let mut next = *state;
        if access.write {
            next.unsaved |= 1 << access.page;
        }
        Ok(next)
    }

    /// A store by a clean translation: hardware first records it in the entry as it is in memory now, or in any other of a folded
    /// block. Whether one of them lets it.
    fn record(&self, state: &State, access: Access, cached: Cached, visit: &mut Visit<'_>) -> bool {
        let mut recorded = false;
        for member in 0..self.pages {
            let entry = state.entries[member as usize];
            let shares_flags = member == access.page || (cached.entry.is_folded() && entry.is_folded());
            if !shares_flags || !entry.is_writable() {
                continue;
            }
            recorded = true;
            let mut next = *state;
            next.update(member, access.raise(entry));
            let result = if state.table_freed { Err(Hazard::FreedTable) } else { self.pass(&next, access) };
            visit(Action::Access(access, Meets::Recorded(cached, member)), result);
        }
        recorded
    }

    /// The kernel's fault handler on CPU 1. It waits for the table's lock; once it has the lock it is one step here, with an
    /// invalidation for this CPU at its end.
    fn fault(&self, state: &State, access: Access, visit: &mut Visit<'_>) {
        let entry = state.entries[access.page as usize];
        // Reading the page back from the device, copying it, or ending the program is beyond this search.
        if self.is_locked(state) || !state.linked || !access.is_permitted_by(entry) {
            return;
        }
        let members = if entry.is_folded() { 0..self.pages } else { access.page..access.page + 1 };
        let gathered = members.clone().fold(entry, |sum, member| sum.gather(state.entries[member as usize]));
        let mut next = *state;
        if !(self.program.trusts_gathered && access.is_recorded_in(gathered)) {
            for member in members.clone() {
                next.update(member, access.raise(state.entries[member as usize]));
            }
        }
        next.tlb.forget(members);
        let in_vain = next == *state && self.always_faults(entry, access);
        visit(Action::Access(access, Meets::Fault), if in_vain { Err(Hazard::NoProgress) } else { Ok(next) });
    }

    fn always_faults(&self, entry: Entry, access: Access) -> bool {
        let unaccessed = !entry.is_young() && !self.features.hardware_access;
        let unwritten = access.write && !entry.is_dirty() && !self.features.hardware_dirty;
        unaccessed || unwritten
    }
}

impl State {
    /// Whether a walk gets to the table.
    fn reaches_table(&self) -> bool {
        self.tlb.has_table() || self.seen_linked
    }
}

/// In which forms a walk of `page` may be cached (A3). Pages that the program does not use matter only as part of the block.
fn choices(state: &State, page: u8, entry: Entry) -> impl Iterator<Item = Cached> + use<> {
    let alone = (state.used & (1 << page) != 0).then_some(Reach::Page(page));
    let block = entry.is_folded().then_some(Reach::Block);
    [alone, block].into_iter().flatten().map(move |reach| Cached { reach, entry })
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(step) => write!(out, "CPU 0 {step}"),
            Self::CacheTable => write!(out, "CPU 1 caches where the table is"),
            Self::StrayWalk => write!(out, "CPU 1 walks through what was the table"),
            Self::Walk(page, cached) => write!(out, "CPU 1 walks to entry {page} and caches the {cached}"),
            Self::Access(access, meets) => write!(out, "CPU 1 {access} {meets}"),
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} page {}", if self.write { "writes" } else { "reads" }, self.page)
    }
}

impl fmt::Display for Meets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Translation(cached) => write!(out, "by its cached {cached}"),
            Self::Recorded(cached, member) => {
                write!(out, "by its cached {cached}; hardware makes entry {member} dirty")
            }
            Self::Several => write!(out, "and meets a cached block and a cached page"),
            Self::Fault => write!(out, "and faults; the handler lets it try again"),
        }
    }
}

impl fmt::Display for Cached {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = if self.reach == Reach::Block { "block" } else { "page" };
        write!(out, "{form} ({})", self.entry)
    }
}
