//! What CPU 1 may have cached: a set that grows by walks and shrinks only by completed invalidations. Nothing is ever evicted, since a
//! walk that was not cached in the first place is a choice of its own (A2).
//!
//! An invalidation without its DSB has removed nothing for certain (A5). So it marks what it covers, and the DSB removes what is marked;
//! a walk in between that caches the same translation again takes the mark away.

use mmu::Depth;

use crate::MAX_PAGES;
use crate::entry::Entry;
use crate::program::Tlbi;

/// How much one cached translation covers (A3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// One page.
    Page(u8),
    /// The whole block, from an entry with the Contiguous bit.
    Block,
}

/// A cached translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cached {
    /// What it covers.
    pub reach: Reach,
    /// The attributes it was read with.
    pub entry: Entry,
}

/// The set of cached translations, a bit each, and whether the table itself is cached for walks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Tlb {
    held: u64,
    /// Covered by an invalidation that is not complete.
    doomed: u64,
}

/// Bits a page: two forms (with the Contiguous bit or without) times [`KINDS`].
const PAGE_BITS: u32 = 8;
/// Writable or not, dirty or not.
const KINDS: u32 = 4;
const BLOCK_SHIFT: u32 = PAGE_BITS * MAX_PAGES as u32;
const BLOCK: u64 = ((1 << KINDS) - 1) << BLOCK_SHIFT;
/// The entry of the level above, which says where the table is (A6).
const TABLE: u64 = 1 << (BLOCK_SHIFT + KINDS);

const fn page_mask(page: u8) -> u64 {
    ((1 << PAGE_BITS) - 1) << (PAGE_BITS * page as u32)
}

impl Cached {
    fn bit(self) -> u64 {
        let kind = u32::from(self.entry.is_writable()) | u32::from(self.entry.is_dirty()) << 1;
        match self.reach {
            Reach::Page(page) => {
                let form = if self.entry.is_folded() { KINDS } else { 0 };
                1 << (PAGE_BITS * u32::from(page) + form + kind)
            }
            Reach::Block => 1 << (BLOCK_SHIFT + kind),
        }
    }

    fn of_bit(bit: u32) -> Self {
        let in_block = bit >= BLOCK_SHIFT;
        let reach = if in_block { Reach::Block } else { Reach::Page((bit / PAGE_BITS) as u8) };
        let mut entry = Entry::PAGE.with_contiguous(in_block || bit % PAGE_BITS >= KINDS);
        if bit & 1 == 0 {
            entry = entry.write_protect();
        }
        if bit & 2 != 0 {
            entry = entry.make_dirty();
        }
        Self { reach, entry }
    }
}

impl Tlb {
    /// With the table cached for walks, and no translation.
    pub const fn with_table() -> Self {
        Self { held: TABLE, doomed: 0 }
    }

    /// Caches a translation.
    pub fn insert(&mut self, cached: Cached) {
        self.insert_bit(cached.bit());
    }

    /// Caches where the table is.
    pub const fn insert_table(&mut self) {
        self.insert_bit(TABLE);
    }

    const fn insert_bit(&mut self, bit: u64) {
        self.held |= bit;
        self.doomed &= !bit;
    }

    /// Whether a walk may start at the table without looking at the level above.
    pub const fn has_table(self) -> bool {
        self.held & TABLE != 0
    }

    /// The translations that an access to `page` may use.
    pub fn covering(self, page: u8) -> impl Iterator<Item = Cached> {
        let found = self.held & (page_mask(page) | BLOCK);
        (0..u64::BITS).filter(move |&bit| found & (1 << bit) != 0).map(Cached::of_bit)
    }

    /// Whether an access to `page` meets two translations of different size (A7). A page and a block of one folded block are not
    /// such: the Contiguous bit permits both. Nor are two permissions of one size: the access takes either (R_JQQTC).
    pub fn conflicts(self, page: u8) -> bool {
        let plain = ((1 << KINDS) - 1) << (PAGE_BITS * u32::from(page));
        self.held & BLOCK != 0 && self.held & plain != 0
    }

    /// An invalidation that reaches CPU 1 was issued.
    pub fn invalidate(&mut self, op: Tlbi) {
        self.doomed |= self.held & covered(op);
    }

    /// Every invalidation so far is complete.
    pub const fn complete(&mut self) {
        self.held &= !self.doomed;
        self.doomed = 0;
    }

    /// CPU 1 itself invalidates `pages`, and waits for it.
    pub fn forget(&mut self, pages: impl Iterator<Item = u8>) {
        let gone = pages.fold(BLOCK, |mask, page| mask | page_mask(page));
        self.held &= !gone;
        self.doomed &= !gone;
    }
}

/// An operation on any page of the block covers what is cached for the whole of it, but no other page's own translation.
fn covered(op: Tlbi) -> u64 {
    let leaves = (op.first..op.first + op.pages).fold(BLOCK, |mask, page| mask | page_mask(page));
    if op.depth == Depth::WalkCaches { leaves | TABLE } else { leaves }
}

#[cfg(test)]
mod tests {
    use mmu::Scope;

    use super::*;

    const PAGE: Cached = Cached { reach: Reach::Page(1), entry: Entry::PAGE };
    const BLOCK: Cached = Cached { reach: Reach::Block, entry: Entry::PAGE.with_contiguous(true).make_dirty() };
    const OP: Tlbi = Tlbi { first: 1, pages: 1, depth: Depth::Leaf, scope: Scope::Broadcast, right_asid: true };

    fn covering(tlb: Tlb, page: u8) -> Vec<Cached> {
        tlb.covering(page).collect()
    }

    #[test]
    fn an_invalidation_takes_effect_when_it_is_complete() {
        let mut tlb = Tlb::with_table();
        tlb.insert(PAGE);
        tlb.insert(BLOCK);
        tlb.invalidate(OP);
        assert_eq!((covering(tlb, 0), covering(tlb, 1)), (vec![BLOCK], vec![PAGE, BLOCK]));
        tlb.complete();
        assert_eq!((covering(tlb, 0), covering(tlb, 1)), (vec![], vec![]));
        assert!(tlb.has_table(), "it was for leaf entries");
    }

    #[test]
    fn a_walk_before_that_undoes_it() {
        let mut tlb = Tlb::with_table();
        tlb.insert(PAGE);
        tlb.insert(BLOCK);
        tlb.invalidate(OP);
        tlb.insert(PAGE);
        tlb.complete();
        assert_eq!(covering(tlb, 1), [PAGE]);
    }
}
