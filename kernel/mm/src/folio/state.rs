//! The state word of a frame: what kind of page it is, its order or its place in the folio, and the flags of a folio's head.

const KIND: u32 = 0x7;
/// Not memory that is managed here.
pub(crate) const RESERVED: u32 = 0;
const FOLIO: u32 = 1;
const TAIL: u32 = 2;
const FREE: u32 = 3;
/// Inside a free block, or kept by a CPU: no block that could be merged starts here.
pub(crate) const INSIDE: u32 = 4;
/// A translation table.
pub(crate) const TABLE: u32 = 5;
/// Bad memory: nobody gets it any more.
pub(crate) const BAD: u32 = 6;

const SHIFT: u32 = 4;
const ORDER: u32 = 0xf << SHIFT;
const PLACE: u32 = 0x1ff << SHIFT;

/// Bit lock of the folio.
pub(crate) const LOCKED: u32 = 1 << 8;
/// Its contents differ from the swap device's, or are nowhere else.
pub(crate) const DIRTY: u32 = 1 << 9;
/// Its contents go to swap (clear: lazily freed).
pub(crate) const SWAP_BACKED: u32 = 1 << 10;
/// Its contents are valid.
pub(crate) const UPTODATE: u32 = 1 << 11;
/// It is in the swap cache.
pub(crate) const SWAP_CACHE: u32 = 1 << 12;
/// It is on an LRU list.
pub(crate) const ON_LRU: u32 = 1 << 13;
/// It was used since reclaim last looked.
pub(crate) const REFERENCED: u32 = 1 << 14;
/// It belongs on an active list.
pub(crate) const ACTIVE: u32 = 1 << 15;
/// It may not be reclaimed.
pub(crate) const UNEVICTABLE: u32 = 1 << 16;
/// An area that maps it is locked.
pub(crate) const MLOCKED: u32 = 1 << 17;
/// It is being written to the swap device.
pub(crate) const WRITEBACK: u32 = 1 << 18;
/// PageAnonExclusive of a folio of one page; larger ones have bits for each page.
pub(crate) const EXCLUSIVE: u32 = 1 << 19;
/// Which LRU list it is on.
pub(crate) const LRU_LIST: u32 = 0x3 << LRU_SHIFT;
/// Where LRU_LIST starts.
pub(crate) const LRU_SHIFT: u32 = 20;
/// It is on the queue of folios to be split, as some of its pages are mapped and some are not.
pub(crate) const PARTIALLY_MAPPED: u32 = 1 << 22;
/// It belongs to a memory file.
pub(crate) const FILE: u32 = 1 << 23;
/// It is a huge page: it goes back to its pool.
pub(crate) const HUGE: u32 = 1 << 24;
/// A reservation was taken for it, which comes back with it.
pub(crate) const RESERVED_FOR: u32 = 1 << 25;
/// Of any page of a folio, tails too: its memory is bad.
pub(crate) const BAD_PAGE: u32 = 1 << 26;
/// Some page of it is bad.
pub(crate) const POISONED: u32 = 1 << 27;

/// What makes a folio that is freed other than most.
pub(crate) const NOT_PLAIN: u32 = HUGE | POISONED;
/// Flags that the parts of a split folio have as the whole had.
pub(crate) const INHERITED: u32 =
    DIRTY | SWAP_BACKED | UPTODATE | SWAP_CACHE | REFERENCED | ACTIVE | UNEVICTABLE | MLOCKED | FILE;
/// Flags that a folio which is freed can not have.
pub(crate) const BUSY: u32 = LOCKED | SWAP_CACHE | ON_LRU | WRITEBACK | PARTIALLY_MAPPED | FILE;

/// A folio's head.
pub(crate) const fn folio(order: usize) -> u32 {
    FOLIO | (order as u32) << SHIFT
}

/// The tail at `place` pages from its head.
pub(crate) const fn tail(place: usize) -> u32 {
    TAIL | (place as u32) << SHIFT
}

/// The head of a free block.
pub(crate) const fn free(order: usize) -> u32 {
    FREE | (order as u32) << SHIFT
}

/// Whether it is a folio's head.
pub(crate) const fn is_folio(state: u32) -> bool {
    state & KIND == FOLIO
}

/// The order of a folio's head.
#[inline(always)]
pub(crate) const fn order(state: u32) -> usize {
    ((state & ORDER) >> SHIFT) as usize
}

/// How many pages a page lies from its head: 0 for one that is no tail.
#[inline(always)]
pub(crate) const fn tail_place(state: u32) -> u32 {
    if state & KIND == TAIL { (state & PLACE) >> SHIFT } else { 0 }
}
