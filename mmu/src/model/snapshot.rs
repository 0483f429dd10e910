//! Reads without the table's lock (MS-17): while one is under way, every value that the entry has is kept, and the one that is returned
//! has to be among them.

use super::entry::{OF_EACH, has_contiguous};
use super::rule::Rule;
use super::stores::At;
use super::tables::TableId;
use super::{Judged, Model};
use crate::descriptor::Descriptor;
use crate::slot::Slot;

/// Values that are told apart during one read.
const ROOM: usize = 16;

/// A read under way.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Window {
    /// The entry, while there is a read.
    of: Option<(TableId, usize)>,
    seen: [Descriptor; ROOM],
    count: usize,
}

impl Window {
    /// Keeps a value that is not known yet. One too many, and nothing can be said of the read.
    fn add(&mut self, value: Descriptor) {
        if self.seen.iter().take(self.count).any(|&seen| seen == value) {
            return;
        }
        if let Some(free) = self.seen.get_mut(self.count) {
            *free = value;
        }
        self.count += 1;
    }
}

impl Model {
    pub(super) fn begin_snapshot(&mut self, cpu: usize, slot: Slot) -> Judged {
        let Some(table) = self.table_in(slot.address().frame()) else { return Ok(()) };
        let value = self.whole_value(table, slot.index());
        let window = &mut self.cpus[cpu].window;
        *window = Window { of: Some((table, slot.index())), ..Window::default() };
        window.add(value);
        Ok(())
    }

    pub(super) fn end_snapshot(&mut self, cpu: usize, slot: Slot, value: Descriptor) -> Judged {
        let window = core::mem::take(&mut self.cpus[cpu].window);
        let Some((table, index)) = window.of else { return Ok(()) };
        if (self.table_in(slot.address().frame()), slot.index()) != (Some(table), index) {
            self.lose("a read without the lock ended of another entry than it began with");
            return Ok(());
        }
        // A gathered value may have access flag and dirty state of the block beyond its entry's.
        let was = |seen: &Descriptor| (seen.bits() ^ value.bits()) & !OF_EACH == 0;
        if window.seen.iter().take(window.count).any(was) {
            return Ok(());
        }
        if window.count > ROOM {
            self.lose("an entry changed more often during one read without the lock than there is room for");
            return Ok(());
        }
        let Some(at) = self.at(cpu, table, index) else { return Ok(()) };
        let what = "a read without the lock returned what the entry was at no moment";
        Err(self.breach_at(cpu, Rule::TornRead, what, at.address, at.asid))
    }

    /// An entry was stored: what readers of its group may see has changed.
    pub(super) fn note_for_readers(&mut self, at: &At) {
        let block = self.config.block;
        for cpu in 0..self.cpus.len() {
            let Some((table, index)) = self.cpus[cpu].window.of else { continue };
            if table == at.table && index / block == at.index / block {
                let value = self.whole_value(table, index);
                self.cpus[cpu].window.add(value);
            }
        }
    }

    /// The entry, without the Contiguous bit while its group is not whole: no reader may return it as a part of a block then.
    fn whole_value(&self, table: TableId, index: usize) -> Descriptor {
        let entry = self.tables.entry(table, index);
        let block = self.config.block;
        let first = index & !(block - 1);
        let whole = (first..first + block).all(|member| self.tables.entry(table, member).is_folded());
        if has_contiguous(entry) && entry.is_valid() && !whole { Descriptor::NONE } else { entry }
    }
}
