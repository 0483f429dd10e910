//! What memory management tells of itself: uses of frames, operations, locks, batches. Rules MS-07, MS-08, MS-40 to MS-42, MS-44 and
//! MS-45.

use super::cpu::Op;
use super::entry::{OF_A_BATCH, is_restored, lets_store, maps, pages_of};
use super::rule::Rule;
use super::stale::{Kind, Stale};
use super::tables::TableId;
use super::{Judged, Model};
use crate::addr::{ENTRIES, Pfn, TABLE_SPAN, VirtAddr};
use crate::descriptor::Descriptor;
use crate::fact::{Access, Fact, Operation, Role};
use crate::slot::Slot;

impl Model {
    /// A fact was told.
    pub(crate) fn fact(&mut self, cpu: usize, fact: Fact) -> Judged {
        match fact {
            Fact::FrameRole(frame, count, role) => self.set_role(cpu, frame, count, role),
            Fact::DataRead(frame, count) => self.relied_on(cpu, frame, count),
            Fact::Begin(operation) => {
                let began = self.now;
                if !self.cpus[cpu].begin(Op { operation, began }) {
                    self.lose("more operations inside each other than there is room for");
                }
                Ok(())
            }
            Fact::End(_) => self.end(cpu),
            Fact::Lock(table) => self.lock(cpu, table),
            Fact::Unlock(table) => self.unlock(cpu, table),
            Fact::Batch(slot, count) => self.batch(cpu, slot, count),
            Fact::Discard(slot, count, written) => self.discard(cpu, slot, count, written),
            Fact::Resolved(slot, access) => self.resolved(cpu, slot, access),
            Fact::NoAbort => {
                self.assumes_no_abort |= self.config.features.bbm_level < 3;
                self.cpus[cpu].assumes_no_abort = true;
                Ok(())
            }
            Fact::SnapshotBegin(slot) => self.begin_snapshot(cpu, slot),
            Fact::SnapshotEnd(slot, value) => self.end_snapshot(cpu, slot, value),
            Fact::Task(task) => {
                if !self.cpus[cpu].change_task(task) {
                    self.lose("more tasks with operations under way than there is room for");
                }
                Ok(())
            }
            Fact::Defect(_) => Ok(()),
        }
    }

    /// Frames get another use: nobody may reach them any more.
    fn set_role(&mut self, cpu: usize, first: Pfn, count: usize, role: Role) -> Judged {
        for page in 0..count {
            let frame = first.add(page);
            self.check_unreachable(cpu, frame, "a frame gets a new use while a CPU can reach it")?;
            if let Some(table) = self.table_in(frame) {
                self.drop_table(cpu, table)?;
            }
            let table = match role {
                Role::Table { level } => self.add_table(frame, level),
                _ => 0,
            };
            if let Some(known) = self.frames.get_mut(frame) {
                (known.role, known.table) = (role, table);
            }
        }
        Ok(())
    }

    fn add_table(&mut self, frame: Pfn, level: u8) -> u32 {
        match self.tables.add(frame, level) {
            Some(table) => table + 1,
            None => {
                self.lose("more table pages than there is room for");
                0
            }
        }
    }

    /// A table page goes: no entry may lead there, no CPU walk there.
    fn drop_table(&mut self, cpu: usize, table: TableId) -> Judged {
        let node = *self.tables.node(table);
        let led_here = |stale: &&Stale| stale.kind == Kind::Walk && stale.entry.address() == node.frame.start();
        if let Some(stale) = self.stale.iter().find(led_here) {
            let what = "a table is freed while a CPU can still walk through it";
            return Err(self.breach(cpu, Rule::UsedTooEarly, what, stale, stale.first));
        }
        let runs =
            node.level == 0 && self.contexts.get(node.asid).root == table && self.contexts.get(node.asid).active != 0;
        if self.tables.is_linked(table) || runs {
            let what = "a table is freed that is still in use";
            return Err(self.breach_at(cpu, Rule::UsedTooEarly, what, VirtAddr::default(), node.asid));
        }
        for index in 0..ENTRIES {
            let entry = self.tables.entry(table, index);
            if maps(node.level, entry) {
                self.frames.add_mapped(entry.frame(), pages_of(node.level), -1);
            } else if let Some(child) = self.table_in(entry.frame()).filter(|_| entry.is_table()) {
                self.tables.set_entry(table, index, Descriptor::NONE);
                self.tables.part(child);
                if self.tables.node(child).walks > 0 {
                    self.lose("a table is freed, and one below it may still be walked through");
                }
            }
        }
        self.tables.remove(table);
        Ok(())
    }

    /// The kernel writes pages whose last owner is gone.
    pub(crate) fn pages_written(&mut self, cpu: usize, first: Pfn, count: usize) -> Judged {
        let what = "a frame is written for a new owner while a CPU can reach it";
        (0..count).try_for_each(|page| self.check_unreachable(cpu, first.add(page), what))
    }

    /// The kernel reads pages, to copy them: what is stored through an entry that is gone would be lost (MS-42).
    pub(crate) fn pages_read(&mut self, cpu: usize, first: Pfn, count: usize) -> Judged {
        (0..count).try_for_each(|page| {
            let frame = first.add(page);
            if self.frames.get(frame).is_none_or(|known| known.held == 0) {
                return Ok(());
            }
            let writes = |stale: &&Stale| {
                !stale.aged && stale.page_of(frame).is_some_and(|page| self.may_store_through(stale, page))
            };
            match self.stale.iter().find(writes) {
                None => Ok(()),
                Some(stale) => {
                    let what = "a page is copied while a CPU can still write it";
                    Err(self.breach(cpu, Rule::LostWrite, what, stale, stale.page_of(frame).unwrap_or(stale.first)))
                }
            }
        })
    }

    /// A device reads pages that it was given to write. Programs may write them meanwhile; nobody may have them back.
    pub(crate) fn pages_transferred(&mut self, cpu: usize, first: Pfn, count: usize) -> Judged {
        let is_freed = |frame: &Pfn| self.frames.get(*frame).is_some_and(|known| known.role == Role::Freed);
        match (0..count).map(|page| first.add(page)).find(is_freed) {
            None => Ok(()),
            Some(frame) => {
                let what = "a device reads a frame that was given back";
                Err(self.breach_in_memory(cpu, Rule::UsedTooEarly, what, frame.start()))
            }
        }
    }

    /// Whether a store to `page` goes through by what is held of a run. A page of a folded block may be held by the attributes of any
    /// member (R_JQQTC).
    fn may_store_through(&self, stale: &Stale, page: u64) -> bool {
        let beside = |other: &Stale| {
            other.asid == stale.asid
                && other.entry.is_folded()
                && lets_store(other.entry)
                && self.is_in_block_of(page, other)
        };
        lets_store(stale.entry) || (stale.level == 3 && stale.entry.is_folded() && self.stale.iter().any(beside))
    }

    /// The kernel relies on nobody writing these pages from now on.
    fn relied_on(&mut self, cpu: usize, first: Pfn, count: usize) -> Judged {
        self.pages_read(cpu, first, count)?;
        // Where hardware records writes, a clean page that is writable takes a store without a fault.
        let by_hardware = self.config.features.hardware_dirty;
        let lets_write = |table: TableId, index: usize| {
            let entry = self.tables.entry(table, index);
            let first = index & !(self.config.block - 1);
            let mut block = (first..first + self.config.block).map(|member| self.tables.entry(table, member));
            let by_block = entry.is_folded() && self.tables.node(table).level == 3 && block.any(lets_store);
            lets_store(entry) || by_block || (by_hardware && entry.is_user() && entry.is_writable())
        };
        let mapped = (0..count).map(|page| first.add(page));
        let mut mapped = mapped.filter(|&frame| self.frames.get(frame).is_some_and(|known| known.mapped > 0));
        let Some(frame) = mapped.find(|&frame| self.tables.any_mapping(frame, lets_write)) else {
            return Ok(());
        };
        let what = "a page is copied while it is mapped writable";
        Err(self.breach_in_memory(cpu, Rule::LostWrite, what, frame.start()))
    }

    fn check_unreachable(&self, cpu: usize, frame: Pfn, what: &'static str) -> Judged {
        let Some(known) = self.frames.get(frame).filter(|known| known.mapped > 0 || known.held > 0) else {
            return Ok(());
        };
        let leads_here = |stale: &&Stale| !stale.aged && stale.page_of(frame).is_some();
        match self.stale.iter().find(leads_here).filter(|_| known.held > 0) {
            Some(stale) => {
                Err(self.breach(cpu, Rule::UsedTooEarly, what, stale, stale.page_of(frame).unwrap_or(stale.first)))
            }
            None => Err(self.breach_in_memory(cpu, Rule::UsedTooEarly, what, frame.start())),
        }
    }

    /// An operation is over: what it took away, nobody holds any more.
    fn end(&mut self, cpu: usize) -> Judged {
        let relied = self.relies_on_isb(cpu);
        let Some(op) = self.cpus[cpu].end() else { return relied };
        let owed =
            |stale: &&Stale| !stale.aged && usize::from(stale.stored.cpu) == cpu && stale.stored.event > op.began;
        match self.stale.iter().find(owed) {
            None => relied,
            Some(stale) => {
                let what = "an operation returns while what it took away may still be held";
                Err(self.breach(cpu, Rule::TrustedTooEarly, what, stale, stale.first))
            }
        }
    }

    fn lock(&mut self, cpu: usize, frame: Pfn) -> Judged {
        let Some(table) = self.table_in(frame) else { return Ok(()) };
        let released = self.tables.node(table).released;
        for (known, event) in self.cpus[cpu].observed.iter_mut().zip(released) {
            *known = event.max(*known);
        }
        self.tables.node_mut(table).locked = cpu as u8 + 1;
        self.tables.forget_taken(table);
        Ok(())
    }

    fn unlock(&mut self, cpu: usize, frame: Pfn) -> Judged {
        let relied = self.relies_on_isb(cpu);
        self.check_touched_groups(cpu)?;
        if let Some(table) = self.table_in(frame) {
            if self.cpus[cpu].is_in(Operation::Reclaim) {
                self.check_nothing_lost(cpu, table)?;
            }
            let mut observed = self.cpus[cpu].observed;
            observed[cpu] = self.now;
            let node = self.tables.node_mut(table);
            (node.locked, node.released) = (0, observed);
            self.tables.forget_taken(table);
        }
        let this = &mut self.cpus[cpu];
        (this.released, this.assumes_no_abort) = (self.now, false);
        relied
    }

    pub(super) fn is_locked_by(&self, cpu: usize, table: TableId) -> bool {
        usize::from(self.tables.node(table).locked) == cpu + 1
    }

    /// Reclaim gives a table's lock up: what it cleared is a swap entry now, or as it was (MS-44).
    fn check_nothing_lost(&self, cpu: usize, table: TableId) -> Judged {
        for index in self.tables.all_taken(table) {
            let (was, is) = (self.tables.taken(table, index), self.tables.entry(table, index));
            if is_restored(was, is) || is.is_swap() {
                continue;
            }
            let what = if is.is_none() {
                "an entry was cleared and neither swapped nor put back"
            } else {
                "an entry was put back other than it was"
            };
            return Err(self.breach_at_entry(cpu, Rule::LostEntries, what, table, index));
        }
        Ok(())
    }

    /// Entries are about to be treated as one (MS-45).
    fn batch(&mut self, cpu: usize, slot: Slot, count: usize) -> Judged {
        let Some(table) = self.table_in(slot.address().frame()) else { return Ok(()) };
        let entry = |place: usize| self.tables.entry(table, slot.index() + place);
        let first = entry(0);
        let differs = |&place: &usize| (entry(place).bits() ^ first.bits()) & OF_A_BATCH != 0;
        match (1..count).find(differs).and_then(|place| self.at(cpu, table, slot.index() + place)) {
            None => Ok(()),
            Some(at) => {
                let what = "a batch mixes entries that differ in write or uffd bits";
                Err(self.breach_at(cpu, Rule::MixedBatch, what, at.address, at.asid))
            }
        }
    }

    /// Entries that were cleared stay empty, as their pages were given up: unless one of them had been written since (MS-44).
    fn discard(&mut self, cpu: usize, slot: Slot, count: usize, written: bool) -> Judged {
        let Some(table) = self.table_in(slot.address().frame()) else { return Ok(()) };
        for index in slot.index()..slot.index() + count {
            if self.tables.taken(table, index).is_dirty() && !written {
                let what = "an entry was discarded though its page was written since";
                return Err(self.breach_at_entry(cpu, Rule::LostEntries, what, table, index));
            }
            self.tables.set_taken(table, index, Descriptor::NONE);
        }
        Ok(())
    }

    /// A fault was resolved: does the entry itself allow the access now?
    fn resolved(&mut self, cpu: usize, slot: Slot, access: Access) -> Judged {
        let Some(table) = self.table_in(slot.address().frame()) else { return Ok(()) };
        let Some(at) = self.at(cpu, table, slot.index()) else { return Ok(()) };
        if self.allows(self.tables.entry(table, slot.index()), access) {
            return Ok(());
        }
        let what = "a fault was resolved, but the entry that was walked does not allow the access";
        Err(self.breach_at(cpu, Rule::NoProgress, what, at.address, at.asid))
    }

    /// Whether an access succeeds by this entry, with what hardware does for it.
    fn allows(&self, entry: Descriptor, access: Access) -> bool {
        let features = &self.config.features;
        let young = entry.is_young() || features.hardware_access;
        let stores = !entry.is_read_only() || (features.hardware_dirty && entry.is_writable());
        entry.is_valid()
            && entry.is_user()
            && young
            && match access {
                Access::Read => true,
                Access::Write => stores,
                Access::Execute => entry.is_user_executable(),
            }
    }

    /// An operation that relies on "not present means not cached" looks at a table: nothing of it may be owed by others (MS-41).
    /// Of a table of level 2 only the addresses of the entry are its own.
    pub(super) fn check_drained(&self, cpu: usize, table: TableId, index: usize) -> Judged {
        let this = &self.cpus[cpu];
        let relies = this.innermost().is_some_and(|op| op.operation.relies_on_absence());
        if self.stale.is_empty() || !relies || !self.is_locked_by(cpu, table) {
            return Ok(());
        }
        let is_last = self.tables.node(table).level == 3;
        let Some(at) = self.at(cpu, table, if is_last { 0 } else { index }) else { return Ok(()) };
        let began = this.outermost().map_or(0, |op| op.began);
        let (first, pages) = (at.address.page_number(), TABLE_SPAN >> crate::addr::PAGE_SHIFT);
        let owed = |stale: &&Stale| {
            let own = usize::from(stale.stored.cpu) == cpu && stale.stored.event > began;
            stale.kind == Kind::Leaf && !stale.aged && at.may_meet(stale) && stale.overlaps(first, pages) && !own
        };
        match self.stale.iter().find(owed) {
            None => Ok(()),
            Some(stale) => {
                let what = "an operation begins while another one's flush of the same table is deferred";
                Err(self.breach_exactly(cpu, Rule::PendingFlush, what, stale, stale.first))
            }
        }
    }
}
