//! Entries of levels 0 to 2: tables that are linked and unlinked, and blocks. Rules MS-03 and MS-04.

use super::entry::{is_cacheable, is_covered_by, maps, pages_of, same_mapping};
use super::rule::Rule;
use super::stale::{Kind, Order, Stale};
use super::stores::{At, Write};
use super::tables::TableId;
use super::{Judged, MAX_CPUS, Model};
use crate::addr::ENTRIES;
use crate::descriptor::Descriptor;

impl Model {
    /// An entry of levels 0 to 2 was changed.
    pub(super) fn link_written(
        &mut self,
        cpu: usize,
        table: TableId,
        index: usize,
        Write { old, new, .. }: Write,
    ) -> Judged {
        if new.is_valid() && self.tables.node(table).walks > 0 {
            self.lose(
                "a table is linked, or a block made, below a table that was unlinked and may still be walked through",
            );
        }
        let at = self.at(cpu, table, index);
        if let Some(at) = at.filter(|at| at.holders != 0) {
            if old.is_valid() && new.is_valid() && old != new && !is_same_block(old, new) {
                let what = "an entry that leads to a table was stored over with another table or a block";
                return Err(self.breach_at(cpu, Rule::TableAndBlock, what, at.address, at.asid));
            }
            if old.is_table() && !new.is_valid() {
                self.unlink(&at, old);
            } else if is_block(old) {
                self.note_replaced(&at, old, new);
            }
            if new.is_valid() && old != new {
                self.check_make_above(&at, new)?;
            }
        }
        if let Some(child) = self.table_in(old.frame()).filter(|_| old.is_table()) {
            self.tables.part(child);
        }
        if new.is_table() { self.link(cpu, table, index, new) } else { Ok(()) }
    }

    /// An entry of levels 0 to 2 became valid: no walk through another table may be possible, nor a block be held that it parts; and
    /// where it makes a block, nothing at all of its addresses, but the same block with other rights.
    fn check_make_above(&mut self, at: &At, new: Descriptor) -> Judged {
        let level = self.tables.node(at.table).level;
        let (first, pages) = (at.page(), pages_of(level) as u64);
        let mut index = 0;
        while index < self.stale.len() {
            let stale = self.stale.get(index);
            let of_same_form = if stale.kind == Kind::Walk { stale.level == level } else { stale.level < 3 };
            let meets = at.may_meet(stale) && stale.overlaps(first, pages) && (of_same_form || !new.is_table());
            if meets && stale.kind == Kind::Walk && stale.level == level && stale.entry == new {
                let again = self.stale.remove(index);
                self.tables.forget_walk(self.frames.table(again.entry.frame()));
                continue;
            }
            if meets && !(stale.level == level && is_same_block(stale.entry, new)) {
                let what = "a table is linked, or a block made, while another translation of its addresses may be held";
                return Err(self.breach(at.cpu, Rule::UncleanMake, what, stale, stale.first.max(first)));
            }
            // Who holds what the block allows too does no harm any more; anything else has to be invalidated as before.
            if !(meets && is_covered_by(stale.entry, new)) {
                index += 1;
            } else if is_cacheable(new) {
                self.drop_page(index, first);
            } else {
                self.age_page(index, first);
                index += 1;
            }
        }
        Ok(())
    }

    /// A table was unlinked: walks may go on through it and what it leads to, and what they led to may be cached.
    fn unlink(&mut self, at: &At, old: Descriptor) {
        let Some(child) = self.table_in(old.address().frame()) else { return };
        for index in 0..ENTRIES {
            let entry = self.tables.entry(child, index);
            let Some(below) = self.at(at.cpu, child, index).filter(|_| entry.is_valid()) else { continue };
            if !maps(self.tables.node(child).level, entry) {
                self.unlink(&below, entry);
                continue;
            }
            self.wake(&below);
            if self.may_be_fetched(entry) {
                self.add_stale(Stale { behind_walk: true, ..self.stale_at(&below, Kind::Leaf, entry) });
            }
        }
        self.add_stale(self.stale_at(at, Kind::Walk, old));
    }

    /// Whether a walker may put an entry into a TLB, now or once hardware has set its access flag.
    fn may_be_fetched(&self, entry: Descriptor) -> bool {
        is_cacheable(entry) || (entry.is_valid() && self.config.features.hardware_access)
    }

    /// An entry was changed in a table that an unlinked entry led to, and that is still walked through by who has this cached: there
    /// what it was is not fetched any more, and what it is may be, under the addresses of that way.
    pub(super) fn changed_behind_walk(&mut self, at: &At, old: Descriptor, new: Descriptor) {
        let table = self.tables.node(at.table).frame.start();
        for index in 0..self.stale.len() {
            let walk = *self.stale.get(index);
            if walk.kind != Kind::Walk || walk.entry.address() != table {
                continue;
            }
            let page = walk.first + at.index as u64;
            if old.is_valid() {
                self.fetched_no_more(at, &walk, page);
            }
            if self.may_be_fetched(new) {
                let entry = Stale { kind: Kind::Leaf, level: 3, first: page, pages: 1, entry: new, ..walk };
                self.add_stale(Stale { issued: [0; MAX_CPUS], near: None, behind_walk: true, ..entry });
            }
        }
    }

    fn fetched_no_more(&mut self, at: &At, walk: &Stale, page: u64) {
        for index in 0..self.stale.len() {
            let stale = self.stale.get(index);
            if !stale.behind_walk || stale.level < 3 || stale.asid != walk.asid || !stale.covers(page) {
                continue;
            }
            if !self.isolate(index, page, page + 1) {
                return;
            }
            let (stored, last) = (self.when(at.cpu), Order { by: at.cpu, event: self.now });
            let stale = self.stale.get_mut(index);
            (stale.behind_walk, stale.stored, stale.last) = (false, stored, last);
        }
    }

    fn link(&mut self, cpu: usize, table: TableId, index: usize, new: Descriptor) -> Judged {
        let Some(child) = self.table_in(new.address().frame()) else {
            let what = "an entry leads to a page that is no table";
            return Err(self.breach_at_entry(cpu, Rule::ForeignStore, what, table, index));
        };
        // Who finds the link finds what its CPU has stored there, or has seen stored.
        let (linker, changed) = (&self.cpus[cpu], self.tables.node(child).changed_unheld);
        let mut by_cpu = self.cpus.iter().zip(changed).enumerate();
        if by_cpu.any(|(by, (this, event))| by != cpu && event > linker.observed[by] && !this.has_ordered(event, false))
        {
            self.lose("a table is linked before what another CPU has stored there is ordered by a DSB");
        }
        if !self.tables.link(child, table, index) {
            self.lose("a table is linked at two places");
        }
        self.check_all_groups(cpu, child)?;
        if self.stale.is_empty() { Ok(()) } else { self.check_linked(cpu, child) }
    }

    /// What a table held before it was linked becomes reachable with it.
    fn check_linked(&mut self, cpu: usize, table: TableId) -> Judged {
        for index in 0..ENTRIES {
            let entry = self.tables.entry(table, index);
            let Some(at) = self.at(cpu, table, index).filter(|_| entry.is_valid()) else { continue };
            let level = self.tables.node(table).level;
            match self.table_in(entry.address().frame()) {
                _ if level == 3 => self.check_make(&at, entry)?,
                below => {
                    self.check_make_above(&at, entry)?;
                    below.filter(|_| entry.is_table()).map_or(Ok(()), |below| self.check_linked(cpu, below))?;
                }
            }
        }
        Ok(())
    }
}

/// Whether it has the form of a block: a page of the last level has bit 1 as tables have.
const fn is_block(entry: Descriptor) -> bool {
    entry.is_valid() && !entry.is_table()
}

/// Whether both are blocks that map the same memory alike, with other rights perhaps.
fn is_same_block(one: Descriptor, other: Descriptor) -> bool {
    is_block(one) && is_block(other) && same_mapping(one, other)
}
