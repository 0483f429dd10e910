//! What an operation takes out of the tables and may not free before the flush (Linux's mmu_gather, reference 3.7).

use alloc::vec::Vec;

use mmu::mutant::{self, Mutant};
use mmu::{Cause, Depth, Table, VirtAddr};

use mmu::Scope;
use mmu::range::Run;

use super::{Flushed, flush_range, flush_run, flush_space, free_flushed, leaf_run};
use crate::folio::Folio;
use crate::frame::{HugeSize, Orphan, OrphanList};
use crate::memory::Memory;
use crate::space::Space;

/// What a removal has taken out of the tables and must not free before the flush: pages and table pages (Linux's mmu_gather).
/// [`finish`](Self::finish) flushes once and frees. Dropped unfinished it finishes itself, and counts a defect.
#[derive(Debug)]
#[must_use]
pub struct Gather<'a> {
    memory: &'a Memory,
    space: &'a Space,
    cause: Cause,
    start: VirtAddr,
    end: VirtAddr,
    /// The levels that the entries were at: one bit each.
    levels: u8,
    orphans: OrphanList,
    tables: OrphanList,
    /// Folios that others still use, each with a reference until the flush.
    held: Vec<Folio<'a>>,
    finished: bool,
}

/// Entries of last-level tables.
const PAGES: u8 = 1 << 3;
/// Entries of tables of level 2.
const BLOCKS: u8 = 1 << 2;

/// Folios that one `Gather` holds at most, about as many as Linux's mmu_gather; before another one it flushes.
const HELD: usize = 10_000;

impl<'a> Gather<'a> {
    /// Nothing gathered yet.
    pub fn new(memory: &'a Memory, space: &'a Space, cause: Cause) -> Self {
        let nothing = VirtAddr::new(u64::MAX);
        Self {
            memory,
            space,
            cause,
            start: nothing,
            end: VirtAddr::new(0),
            levels: 0,
            orphans: OrphanList::new(),
            tables: OrphanList::new(),
            held: Vec::new(),
            finished: false,
        }
    }

    /// Makes room for the folios that `pages` pages may belong to, before their table is locked: nothing is allocated after that. With no
    /// memory for it, each folio that others use is flushed by itself.
    pub fn make_room(&mut self, pages: usize) {
        if self.held.len() + pages > HELD {
            self.flush_now();
        }
        let _ = self.held.try_reserve(pages);
    }

    /// `pages` valid entries from `start` on were taken out or tightened.
    pub fn add(&mut self, start: VirtAddr, pages: usize) {
        self.add_level(start, pages, PAGES);
    }

    /// A valid huge page at `start` was.
    pub fn add_huge(&mut self, start: VirtAddr, size: HugeSize) {
        self.add_level(start, size.pages(), 1 << size.level());
    }

    #[inline(always)]
    fn add_level(&mut self, start: VirtAddr, pages: usize, level: u8) {
        self.levels |= level;
        self.start = self.start.min(start);
        self.end = self.end.max(start.add_pages(pages));
    }

    /// A folio that lost its last reference.
    pub fn orphan(&mut self, orphan: Orphan) {
        self.orphans.push(self.memory, orphan);
    }

    /// Gives up the `count` references of mappings of `folio` that were taken out. Where others use it too, one reference is kept until
    /// the flush: without it they could free the folio, or split it and free pages of it that nothing maps any more, while a CPU may
    /// still reach them through what was taken out here.
    pub fn put(&mut self, folio: Folio<'a>, count: usize) {
        if let Some(orphan) = folio.put_if_last(count) {
            return self.orphan(orphan);
        }
        if mutant::is(Mutant::PutBeforeFlush) {
            return folio.put(count).into_iter().for_each(|orphan| self.orphan(orphan));
        }
        if self.held.len() == self.held.capacity() {
            self.flush_now();
        }
        if self.held.capacity() == 0 {
            return folio.put(count).into_iter().for_each(|orphan| self.orphan(orphan));
        }
        self.held.push(folio);
        if count > 1 {
            let last = folio.put(count - 1);
            debug_assert!(last.is_none(), "a reference that is held was put");
        }
    }

    /// Gives up the references that were kept until the flush.
    fn let_go(&mut self) {
        while let Some(folio) = self.held.pop() {
            if let Some(orphan) = folio.put(1) {
                self.orphan(orphan);
            }
        }
    }

    /// A table that was unlinked; it translated `start..end`.
    pub fn table(&mut self, table: Table, start: VirtAddr, end: VirtAddr) {
        self.start = self.start.min(start);
        self.end = self.end.max(end);
        self.tables.push_table(self.memory, table);
        if mutant::is(Mutant::TableFreedEarly) {
            self.free_gathered();
        }
    }

    /// Forgets a table's span `start..end` at once, the way to the table included, as the table translates other addresses now.
    pub fn flush_moved_table(&self, start: VirtAddr, end: VirtAddr) {
        let pages = (end.page_number() - start.page_number()) as usize;
        let depth = mutant::or(Mutant::MovedTableLeafOnly, Depth::WalkCaches, Depth::Leaf);
        flush_range(self.memory, self.space, start, pages, depth, self.cause);
    }

    /// Flushes what was gathered, then frees it.
    pub fn finish(mut self) {
        if mutant::is(Mutant::FreedBeforeFlush) {
            self.free_gathered();
        }
        self.flush_gathered();
        self.free_gathered();
    }

    /// Flushes all that the space has, then frees what was gathered: for the end of a space.
    pub fn finish_space(mut self) {
        flush_space(self.memory, self.space, self.cause);
        self.free_gathered();
    }

    /// Flushes what was gathered so far, and frees nothing yet: before a table's lock is given up to somebody who may reach the same
    /// pages or entries.
    pub fn flush_now(&mut self) {
        self.flush_gathered();
        self.start = VirtAddr::new(u64::MAX);
        self.end = VirtAddr::new(0);
        self.levels = 0;
        self.let_go();
    }

    fn flush_gathered(&self) {
        if self.start < self.end {
            let pages = (self.end.page_number() - self.start.page_number()) as usize;
            let pages = mutant::or(Mutant::FirstAddressOnly, pages, 1);
            // Unlinked tables may be in walk caches, which leaf operations leave alone (rule MS-26).
            let depth = if self.tables.is_empty() { Depth::Leaf } else { Depth::WalkCaches };
            let run = leaf_run(self.space, self.start, pages, depth, Scope::Broadcast);
            // Where there were pages and blocks the operations name no level (rule MS-25).
            let level = match self.levels {
                PAGES => run.level,
                BLOCKS if depth == Depth::Leaf => mutant::or(Mutant::BlockFlushedAsPage, 2, 3),
                _ => 0,
            };
            flush_run(self.memory, Run { level, ..run }, self.cause);
        }
    }

    fn free_gathered(&mut self) {
        self.finished = true;
        self.let_go();
        free_flushed(self.memory, &mut self.orphans);
        while let Some(table) = self.tables.pop_table(self.memory) {
            self.memory.door.free_table(table);
            self.memory.frames.free_table(Flushed(table));
        }
    }
}

impl Drop for Gather<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.memory.note_defect("a Gather was dropped unfinished");
            self.flush_gathered();
            self.free_gathered();
        }
    }
}
