//! Frames on their way back: folios that lost their last reference and tables that were unlinked, which some TLB may still know.

use core::sync::atomic::Ordering;

use mmu::Table;
use mmu::mutant::{self, Mutant};

use super::NIL;
use crate::folio::Folio;
use crate::memory::Memory;

/// A folio that nobody refers to. It is not free: until a flush is complete, a CPU may still reach it through its TLB, so it goes to
/// a `Gather` or another flush, which makes it `Flushed`.
#[derive(Debug)]
#[must_use]
pub struct Orphan {
    index: u32,
}

impl Orphan {
    pub(crate) const fn new(index: u32) -> Self {
        Self { index }
    }

    #[inline(always)]
    pub(crate) const fn index(&self) -> u32 {
        self.index
    }
}

/// Orphans, or tables, that wait for a flush: linked through the frame array, so that nothing is allocated to free something.
#[derive(Debug)]
pub struct OrphanList {
    first: u32,
}

impl OrphanList {
    /// An empty list.
    pub const fn new() -> Self {
        Self { first: NIL }
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.first == NIL
    }

    /// Adds a folio, which leaves the LRU list and the queue that it may still be on.
    #[inline]
    pub fn push(&mut self, memory: &Memory, orphan: Orphan) {
        memory.lru.forget(&memory.frames, &orphan);
        if !mutant::is(Mutant::FreedStaysQueued) {
            memory.deferred.remove(Folio::at(&memory.frames, orphan.index));
        }
        self.link(memory, orphan.index);
    }

    /// Takes a folio out.
    #[inline]
    pub fn pop(&mut self, memory: &Memory) -> Option<Orphan> {
        self.unlink(memory).map(Orphan::new)
    }

    /// Adds a table.
    pub fn push_table(&mut self, memory: &Memory, table: Table) {
        self.link(memory, memory.frames.index(table.address().frame()));
    }

    /// Takes a table out. Of which level it was is not kept: it comes back as one of level 3.
    pub fn pop_table(&mut self, memory: &Memory) -> Option<Table> {
        self.unlink(memory).map(|index| Table::new(memory.frames.pfn(index).start(), 3))
    }

    fn link(&mut self, memory: &Memory, index: u32) {
        memory.frames.frame(index).next.store(self.first, Ordering::Relaxed);
        self.first = index;
    }

    fn unlink(&mut self, memory: &Memory) -> Option<u32> {
        if self.first == NIL {
            return None;
        }
        let index = self.first;
        self.first = memory.frames.frame(index).next.load(Ordering::Relaxed);
        Some(index)
    }
}

impl Default for OrphanList {
    fn default() -> Self {
        Self::new()
    }
}
