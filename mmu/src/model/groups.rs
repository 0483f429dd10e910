//! Contiguous groups as wholes: rules MS-10, MS-13 and MS-15. A group may be in between while its entries are stored one by one; it is
//! looked at when the CPU that changes it issues a DSB, gives the table's lock up, or goes on to other groups.

use super::entry::{follows, has_contiguous};
use super::rule::Rule;
use super::stores::At;
use super::tables::TableId;
use super::{Judged, Model};
use crate::addr::ENTRIES;
use crate::descriptor::Descriptor;

/// Groups that a CPU may have in between at a time.
const ROOM: usize = 4;

/// The groups that a CPU has changed since they were last looked at: table and first entry. The oldest gives way.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Touched {
    groups: [Option<(TableId, u16)>; ROOM],
    next: usize,
}

impl Touched {
    /// Adds a group. Returns the one that gives way.
    fn add(&mut self, group: (TableId, u16)) -> Option<(TableId, u16)> {
        if self.groups.contains(&Some(group)) {
            return None;
        }
        let place = self.next;
        self.next = (place + 1) % ROOM;
        self.groups[place].replace(group)
    }

    fn take(&mut self) -> [Option<(TableId, u16)>; ROOM] {
        core::mem::take(&mut self.groups)
    }
}

impl Model {
    /// Notes that the group of an entry has to be looked at.
    pub(super) fn touch_group(&mut self, at: &At) -> Judged {
        let first = at.index & !(self.config.block - 1);
        match self.cpus[at.cpu].touched.add((at.table, first as u16)) {
            Some((table, first)) => self.check_group(at.cpu, table, usize::from(first)),
            None => Ok(()),
        }
    }

    /// Looks at every group that a CPU has changed.
    pub(super) fn check_touched_groups(&mut self, cpu: usize) -> Judged {
        let groups = self.cpus[cpu].touched.take();
        groups.into_iter().flatten().try_for_each(|(table, first)| self.check_group(cpu, table, usize::from(first)))
    }

    /// Looks at every group of a table that is linked: what was stored before could not be walked, and was not looked at.
    pub(super) fn check_all_groups(&self, cpu: usize, table: TableId) -> Judged {
        if self.tables.node(table).level < 3 {
            return Ok(());
        }
        (0..ENTRIES).step_by(self.config.block).try_for_each(|first| self.check_group(cpu, table, first))
    }

    fn check_group(&self, cpu: usize, table: TableId, first: usize) -> Judged {
        let block = self.config.block;
        let member = |index: usize| self.tables.entry(table, first + index);
        if let Some(index) = (0..block).find(|&index| {
            let entry = member(index);
            has_contiguous(entry) && entry.is_present() && !entry.is_valid()
        }) {
            let what = "the Contiguous bit is set in an entry that is not valid";
            return Err(self.breach_at_entry(cpu, Rule::InconsistentGroup, what, table, first + index));
        }
        let folded = (0..block).filter(|&index| member(index).is_folded()).count();
        if folded == 0 {
            return Ok(());
        }
        if folded < block {
            return self.part_of_group(cpu, table, first);
        }
        let start = member(0);
        if !start.frame().is_aligned(block) {
            let what = "the Contiguous bit is set where the address is not aligned";
            return Err(self.breach_at_entry(cpu, Rule::InconsistentGroup, what, table, first));
        }
        match (1..block).find(|&index| !follows(start, member(index), index)) {
            None => Ok(()),
            Some(index) => {
                let what = "a member of a folded block does not agree with the first";
                Err(self.breach_at_entry(cpu, Rule::InconsistentGroup, what, table, first + index))
            }
        }
    }

    /// Some members carry the bit and others do not: were the others taken out of a folded block, whose rest was left as it is?
    fn part_of_group(&self, cpu: usize, table: TableId, first: usize) -> Judged {
        let members = first..first + self.config.block;
        let folded = |index: usize| self.tables.entry(table, index).is_folded();
        let taken = |index: usize| self.tables.taken(table, index);
        let is_left = members.clone().any(|index| folded(index) && taken(index).is_none());
        let is_taken = members.clone().any(|index| !folded(index) && taken(index).is_folded());
        let (rule, what) = if is_left && is_taken {
            (Rule::PartOfGroup, "a part of a folded block was changed without unfolding it")
        } else {
            (Rule::InconsistentGroup, "the Contiguous bit is in some entries of a group and not in others")
        };
        let out = members.rev().find(|&index| !folded(index)).unwrap_or(first);
        Err(self.breach_at_entry(cpu, rule, what, table, out))
    }

    /// An entry comes back that was taken out under the same lock, or changes its form at once: it has the flags that it had, and in a
    /// block those of every member (MS-15).
    pub(super) fn check_flags_kept(&self, at: &At, old: Descriptor, new: Descriptor) -> Judged {
        let changes_form = has_contiguous(old) != has_contiguous(new);
        let direct = old.is_valid() && changes_form && self.is_locked_by(at.cpu, at.table);
        let was = if direct { old } else { self.tables.taken(at.table, at.index) };
        if (old.is_valid() && !direct) || was.is_none() || was.address() != new.address() {
            return Ok(());
        }
        let mut had = was;
        if has_contiguous(was) || has_contiguous(new) {
            let block = self.config.block;
            let first = at.index & !(block - 1);
            for index in first..first + block {
                let (taken, entry) = (self.tables.taken(at.table, index), self.tables.entry(at.table, index));
                if !taken.is_none() {
                    had = had.gather(taken);
                }
                // Where entries change one by one, those that are still to come have their flags yet.
                if direct && entry.is_valid() && has_contiguous(entry) == has_contiguous(old) {
                    had = had.gather(entry);
                }
            }
        }
        if (had.is_young() && !new.is_young()) || (had.is_dirty() && !new.is_dirty()) {
            let what = "an entry came back without the access flag or dirty state that it had";
            return Err(self.breach_at(at.cpu, Rule::LostFlags, what, at.address, at.asid));
        }
        Ok(())
    }
}
