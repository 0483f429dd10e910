//! What the door reads from tables and stores in those of the last level: rules MS-01 to MS-06, MS-11 and MS-12; and what becomes of
//! the entries that it replaces there.

use super::contexts::Context;
use super::entry::{
    differs_in_form_only, has_contiguous, is_cacheable, is_covered_by, is_hardware_update, maps, pages_of, same_type,
};
use super::rule::Rule;
use super::stale::{Kind, Order, Stale};
use super::tables::{TableId, split};
use super::{CpuSet, Judged, Model};
use crate::addr::{Asid, PhysAddr, VirtAddr};
use crate::descriptor::Descriptor;
use crate::fact::Role;

/// What ends the verdict where the bound of the replaced entries is met.
const NO_ROOM: &str = "more replaced entries than there is room for";

/// How a descriptor is changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Means {
    /// A plain store: an update of hardware's between load and store is lost.
    Store,
    /// A swap.
    Swap,
    /// A compare-and-swap that succeeded.
    Exchange,
}

/// A change of a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Write {
    /// What memory held just before.
    pub old: Descriptor,
    /// What it holds now.
    pub new: Descriptor,
    /// How it came there.
    pub means: Means,
}

/// Where an entry is that the tables of a space lead to.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) cpu: usize,
    pub(super) table: TableId,
    pub(super) index: usize,
    pub(super) address: VirtAddr,
    /// Under which its space ran last.
    pub(super) asid: Asid,
    /// Whether no other space has run under that since: after a rollover its number may be another one's.
    has_asid: bool,
    /// CPUs that may hold what the entry was until now.
    pub(super) holders: CpuSet,
    /// CPUs whose walkers are at work in the space.
    pub(super) active: CpuSet,
}

impl At {
    pub(super) const fn page(&self) -> u64 {
        self.address.page_number()
    }

    /// Whether a CPU that runs the space may meet a replaced entry.
    pub(super) fn may_meet(&self, stale: &Stale) -> bool {
        if self.has_asid { stale.is_of(self.asid) } else { stale.is_global() }
    }
}

impl Model {
    /// The door has read a descriptor.
    pub(crate) fn load(&mut self, cpu: usize, address: PhysAddr, seen: Descriptor) -> Judged {
        let (frame, index) = split(address);
        let Some(table) = self.table_in(frame) else {
            // The tables that boot made were never announced, and may be looked at.
            let role = self.frames.get(frame).map(|known| known.role);
            if !matches!(role, Some(Role::Freed | Role::Folio)) {
                return Ok(());
            }
            let what = "a descriptor is read in a page that is no table any more";
            return Err(self.breach_at(cpu, Rule::UsedTooEarly, what, VirtAddr::new(address.as_u64()), Asid::RESERVED));
        };
        self.absorb(cpu, table, index, seen)?;
        self.check_drained(cpu, table, index)
    }

    /// The door has tried a compare-and-swap in vain.
    pub(crate) fn exchange_failed(&mut self, cpu: usize, address: PhysAddr, seen: Descriptor) -> Judged {
        self.cpus[cpu].tally.exchanges += 1;
        self.load(cpu, address, seen)
    }

    /// The door has changed a descriptor.
    pub(crate) fn write(&mut self, cpu: usize, address: PhysAddr, write: Write) -> Judged {
        self.count_write(cpu, address, write.means);
        let (frame, index) = split(address);
        let Some(table) = self.table_in(frame) else {
            let what = "a descriptor is stored in a page that is no table";
            return Err(self.breach_in_memory(cpu, Rule::ForeignStore, what, address));
        };
        self.absorb(cpu, table, index, write.old)?;
        self.tables.set_entry(table, index, write.new);
        let level = self.tables.node(table).level;
        self.note_mapped(cpu, level, write)?;
        let is_kept = is_covered_by(write.old, write.new) && is_cacheable(write.new);
        let harmless = level == 3 && (!is_cacheable(write.old) || is_kept);
        if write.old.is_valid() && !harmless {
            self.note_unheld(cpu, table, index);
        }
        if level < 3 {
            return self.link_written(cpu, table, index, write);
        }
        match self.at(cpu, table, index) {
            Some(at) => self.leaf_written(&at, write),
            None => Ok(()),
        }
    }

    /// A valid entry is changed: where no CPU holds it, one that begins to run the space before the store is ordered may yet walk it; and
    /// where nothing leads to its table, one that finds the way there once it is linked.
    fn note_unheld(&mut self, cpu: usize, table: TableId, index: usize) {
        match self.tables.place(table, index) {
            None => self.tables.note_unheld(table, cpu, self.now),
            Some(place) if self.at(cpu, table, index).is_some_and(|at| at.holders == 0) => {
                self.tables.note_unheld(place.root, cpu, self.now);
            }
            Some(_) => {}
        }
    }

    fn count_write(&mut self, cpu: usize, address: PhysAddr, means: Means) {
        let is_link = self.table_in(address.frame()).is_some_and(|table| self.tables.node(table).level < 3);
        let tally = &mut self.cpus[cpu].tally;
        *match means {
            _ if is_link => &mut tally.links,
            Means::Store => &mut tally.stores,
            Means::Swap => &mut tally.swaps,
            Means::Exchange => &mut tally.exchanges,
        } += 1;
    }

    /// Hardware has updated a descriptor by itself: on the host, where that is an event.
    #[cfg(not(target_os = "none"))]
    pub(crate) fn hardware_update(&mut self, cpu: usize, address: PhysAddr, new: Descriptor) -> Judged {
        let (frame, index) = split(address);
        self.table_in(frame).map_or(Ok(()), |table| self.absorb(cpu, table, index, new))
    }

    pub(super) fn table_in(&self, frame: crate::addr::Pfn) -> Option<TableId> {
        self.frames.table(frame)
    }

    /// Where an entry is, if the tables of a space lead there.
    pub(super) fn at(&self, cpu: usize, table: TableId, index: usize) -> Option<At> {
        let place = self.tables.place(table, index)?;
        let asid = self.tables.node(place.root).asid;
        let Context { root, active, holders, .. } = *self.contexts.get(asid);
        let has_asid = root == place.root;
        let (holders, active) = if has_asid { (holders, active) } else { (0, 0) };
        Some(At { cpu, table, index, address: place.address, asid, has_asid, holders, active })
    }

    /// Takes what memory holds for what is known, where hardware may have made the difference.
    fn absorb(&mut self, cpu: usize, table: TableId, index: usize, seen: Descriptor) -> Judged {
        let known = self.tables.entry(table, index);
        if known == seen {
            return Ok(());
        }
        let features = &self.config.features;
        if is_hardware_update(known, seen, features.hardware_access, features.hardware_dirty) {
            self.tables.set_entry(table, index, seen);
            return Ok(());
        }
        Err(self.breach_at_entry(cpu, Rule::ForeignStore, "an entry holds what nobody stored there", table, index))
    }

    fn note_mapped(&mut self, cpu: usize, level: u8, Write { old, new, .. }: Write) -> Judged {
        let pages = pages_of(level);
        if maps(level, old) {
            self.frames.add_mapped(old.frame(), pages, -1);
        }
        if !maps(level, new) {
            return Ok(());
        }
        self.frames.add_mapped(new.frame(), pages, 1);
        let role = |page| self.frames.get(new.frame().add(page)).map(|frame| frame.role);
        if (0..pages).any(|page| matches!(role(page), Some(Role::Table { .. } | Role::Freed))) {
            let what = "an entry maps a frame that is free, or a table";
            return Err(self.breach_in_memory(cpu, Rule::UsedTooEarly, what, new.address()));
        }
        Ok(())
    }

    fn leaf_written(&mut self, at: &At, write: Write) -> Judged {
        let Write { old, new, means } = write;
        let features = &self.config.features;
        if means == Means::Store
            && old.is_valid()
            && at.active != 0
            && (features.hardware_access || features.hardware_dirty)
        {
            let what = "a plain store over an entry that hardware may be updating";
            return Err(self.breach_at(at.cpu, Rule::PlainStore, what, at.address, at.asid));
        }
        self.check_direct_change(at, old, new)?;
        if new.is_valid() {
            self.check_make(at, new)?;
            self.check_flags_kept(at, old, new)?;
        }
        self.note_replaced(at, old, new);
        if self.tables.node(at.table).walks > 0 {
            self.changed_behind_walk(at, old, new);
        }
        self.note_for_readers(at);
        self.lint_write(at, old, new);
        let is_taken = old.is_valid() && (!new.is_valid() || has_contiguous(old) != has_contiguous(new));
        if is_taken && self.is_locked_by(at.cpu, at.table) {
            self.tables.set_taken(at.table, at.index, old);
        }
        self.touch_group(at)
    }

    /// A valid entry was stored over: what may have changed at once.
    fn check_direct_change(&self, at: &At, old: Descriptor, new: Descriptor) -> Judged {
        if at.holders == 0 || !is_cacheable(old) || !new.is_valid() {
            return Ok(());
        }
        let fail = |rule, what| Err(self.breach_at(at.cpu, rule, what, at.address, at.asid));
        if old.address() != new.address() {
            // Contents are not compared: two frames are taken to differ.
            return fail(Rule::OutputAddress, "the output address of a valid entry was changed");
        }
        if !same_type(old, new) {
            return fail(Rule::MemoryType, "the memory type of a valid entry was changed");
        }
        if old.is_global() != new.is_global() {
            return fail(Rule::WrongAsid, "a valid entry was changed between global and not global");
        }
        if has_contiguous(old) != has_contiguous(new) {
            let only = differs_in_form_only(old, new);
            if let Some(rule) = self.change_of_form(at.cpu, only) {
                return fail(rule, "the Contiguous bit of a valid entry was changed");
            }
        }
        Ok(())
    }

    /// Whether the Contiguous bit may change while the other form may be held. `only`: nothing but it changes.
    fn change_of_form(&self, cpu: usize, only: bool) -> Option<Rule> {
        let level = self.config.features.bbm_level;
        match () {
            () if level >= 3 || self.cpus[cpu].assumes_no_abort => (!only).then_some(Rule::ElidedBreak),
            () if level == 0 || !only => Some(Rule::ContiguousWithoutBreak),
            () => Some(Rule::ElidedBreak),
        }
    }

    /// An entry became valid, or stayed so: nothing else may be held for its addresses.
    pub(super) fn check_make(&mut self, at: &At, new: Descriptor) -> Judged {
        let mut index = 0;
        // What stands in a table that is only walked to by a cached way is no lasting excuse for what is held of it.
        let lasts = self.tables.node(at.table).walks == 0 || self.tables.is_reachable(at.table);
        // Once there is no room to part a run, nothing is taken out of the list any more.
        while index < self.stale.len() && self.has_seen_all() {
            if !(self.make_beside(at, new, index)? && lasts) {
                index += 1;
            } else if is_cacheable(new) {
                self.drop_page(index, at.page());
            } else {
                self.age_page(index, at.page());
                index += 1;
            }
        }
        Ok(())
    }

    /// Holds a new entry against one replaced run. Whether that no longer matters for this page.
    fn make_beside(&self, at: &At, new: Descriptor, index: usize) -> Result<bool, super::Breach> {
        let stale = self.stale.get(index);
        if stale.kind != Kind::Leaf || !(at.may_meet(stale) || new.is_global()) {
            return Ok(false);
        }
        let page = at.page();
        if stale.covers(page) {
            let old = stale.entry_at(page);
            let is_page = stale.level == 3;
            if is_page && is_covered_by(old, new) {
                return Ok(true);
            }
            if !is_page || old.address() != new.address() || !same_type(old, new) {
                let what = "an entry becomes valid while another translation of its address may be held";
                return Err(self.breach(at.cpu, Rule::UncleanMake, what, stale, page));
            }
        } else if !self.is_in_block_of(page, stale) {
            return Ok(false);
        }
        self.check_form_beside(at, new, stale)?;
        // Level 3: both forms translate alike, so what is held of the old one does no harm.
        Ok(stale.covers(page) && is_covered_by(stale.entry_at(page).with_contiguous(has_contiguous(new)), new))
    }

    pub(super) fn is_in_block_of(&self, page: u64, stale: &Stale) -> bool {
        let block = self.config.block as u64;
        stale.overlaps(page & !(block - 1), block)
    }

    /// A folded and a plain entry for addresses of one block.
    fn check_form_beside(&self, at: &At, new: Descriptor, stale: &Stale) -> Judged {
        if has_contiguous(stale.entry) == has_contiguous(new) {
            return Ok(());
        }
        let page = at.page().clamp(stale.first, stale.end() - 1);
        let distance = page as i64 - at.page() as i64;
        let as_if =
            Descriptor::from_bits(new.bits().wrapping_add((crate::descriptor::NEXT_PAGE as i64 * distance) as u64));
        let only = differs_in_form_only(stale.entry_at(page), as_if);
        match self.change_of_form(at.cpu, only) {
            None => Ok(()),
            Some(rule) => {
                let what = "the Contiguous bit changes while entries of the other form may be held";
                Err(self.breach(at.cpu, rule, what, stale, page))
            }
        }
    }

    /// Takes one page, or the whole of a block, out of a run that no longer matters there.
    pub(super) fn drop_page(&mut self, index: usize, page: u64) {
        if self.isolate_page(index, page) {
            let gone = self.stale.remove(index);
            self.frames.add_held(gone.entry.frame(), gone.pages as usize, -1);
        }
    }

    /// One page of a run, or a block, does no harm while its entry stays as it is now, without the access flag.
    pub(super) fn age_page(&mut self, index: usize, page: u64) {
        if !self.stale.get(index).aged && self.isolate_page(index, page) {
            self.stale.get_mut(index).aged = true;
        }
    }

    /// Leaves in a replaced run only one page, or the block as it is.
    fn isolate_page(&mut self, index: usize, page: u64) -> bool {
        self.stale.get(index).level < 3 || self.isolate(index, page, page + 1)
    }

    /// Leaves in a replaced run only the pages of `first..end`; the others become runs of their own. False if there is no room for them.
    pub(super) fn isolate(&mut self, index: usize, first: u64, end: u64) -> bool {
        let done = self.stale.isolate(index, first, end);
        if !done {
            self.lose(NO_ROOM);
        }
        done
    }

    /// What the entry was until now may still be held.
    pub(super) fn note_replaced(&mut self, at: &At, old: Descriptor, new: Descriptor) {
        if at.holders == 0 || !old.is_valid() {
            return;
        }
        let harmless = new.is_valid() && is_covered_by(old.with_contiguous(has_contiguous(new)), new);
        if !harmless {
            self.wake(at);
        }
        if !is_cacheable(old) {
            return;
        }
        if !harmless {
            self.add_stale(self.stale_at(at, Kind::Leaf, old));
        } else if !is_cacheable(new) {
            self.add_aged(Stale { aged: true, ..self.stale_at(at, Kind::Leaf, old) });
        } else if is_covered_by(old, new) {
            self.weak.add(at, old, new);
        }
    }

    /// An entry changes further: what is held of it from before it lost the access flag matters from now on.
    pub(super) fn wake(&mut self, at: &At) {
        for index in 0..self.stale.len() {
            let stale = self.stale.get(index);
            if !stale.aged || !at.may_meet(stale) || !stale.covers(at.page()) {
                continue;
            }
            if !self.isolate_page(index, at.page()) {
                return;
            }
            let stored = self.when(at.cpu);
            let stale = self.stale.get_mut(index);
            (stale.aged, stale.stored) = (false, stored);
        }
    }

    /// An entry lost its access flag, perhaps not for the first time: an invalidation under way does not reach what was fetched since.
    fn add_aged(&mut self, stale: Stale) {
        let page = stale.first;
        let known = (0..self.stale.len()).find(|&index| {
            let known = self.stale.get(index);
            known.aged && known.asid == stale.asid && known.covers(page) && known.entry_at(page) == stale.entry
        });
        match known {
            None => self.add_stale(stale),
            Some(index) if self.stale.get(index).is_owed_as(&stale) => {}
            Some(index) => {
                self.drop_page(index, page);
                self.add_stale(stale);
            }
        }
    }

    pub(super) fn stale_at(&self, at: &At, kind: Kind, entry: Descriptor) -> Stale {
        let level = self.tables.node(at.table).level;
        let mut stale = Stale {
            kind,
            level,
            asid: self.contexts.mask(at.asid),
            first: at.page(),
            pages: pages_of(level) as u64,
            entry,
            holders: at.holders,
            stored: self.when(at.cpu),
            last: Order { by: at.cpu, event: self.now },
            issued: [0; super::MAX_CPUS],
            near: None,
            aged: false,
            behind_walk: false,
        };
        // Who has left the space before an invalidation of all of it was issued has fetched nothing since.
        if !stale.is_global() {
            stale.issued = self.contexts.get(at.asid).flushing;
        }
        stale
    }

    pub(super) fn add_stale(&mut self, stale: Stale) {
        match stale.kind {
            Kind::Leaf => self.frames.add_held(stale.entry.frame(), stale.pages as usize, 1),
            Kind::Walk => {
                if let Some(table) = self.table_in(stale.entry.frame()) {
                    self.tables.node_mut(table).walks += 1;
                }
            }
        }
        // What a barrier has ordered already does not wait for the next one, nor what was given up with a lock: whoever takes that has
        // seen as much, and may order it.
        let may_join = self.stale.last().is_some_and(|&Stale { last: Order { by, event }, .. }| {
            event > self.cpus[by].released && !self.cpus[by].has_ordered(event, true)
        });
        if !self.stale.add(stale, may_join) {
            self.lose(NO_ROOM);
        }
    }
}
