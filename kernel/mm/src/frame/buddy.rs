//! Free blocks: one list for each order, split and merged by the buddy rule, linked through the frame array; and the few small ones
//! that each CPU keeps for itself, so that it seldom takes the common lock.

use core::sync::atomic::Ordering;

use super::{Frame, MAX_ORDER, NIL};
use crate::folio::state;

/// Orders below this one are kept by each CPU.
pub(super) const CACHED_ORDERS: usize = 4;
/// Pages of one order that move between a CPU and the common lists in one go; a CPU keeps fewer than twice as many.
const MOVED_PAGES: usize = 32;

/// The lists of free blocks, whose heads have state FREE and their order.
#[derive(Debug)]
pub(super) struct FreeLists {
    first: [u32; MAX_ORDER + 1],
    /// One bit for each order whose list has something.
    filled: u32,
    pages: usize,
}

impl FreeLists {
    pub(super) const fn new() -> Self {
        Self { first: [NIL; MAX_ORDER + 1], filled: 0, pages: 0 }
    }

    pub(super) fn pages(&self) -> usize {
        self.pages
    }

    /// Free blocks of each order.
    pub(super) fn blocks(&self, frames: &[Frame]) -> [usize; MAX_ORDER + 1] {
        self.first.map(|first| {
            let step = |&at: &u32| Some(frames[at as usize].next.load(Ordering::Relaxed)).filter(|&next| next != NIL);
            core::iter::successors(Some(first).filter(|&first| first != NIL), step).count()
        })
    }

    /// Lists a block that has no free buddy.
    pub(super) fn push(&mut self, frames: &[Frame], index: u32, order: usize) {
        self.pages += 1 << order;
        self.link(frames, index, order);
    }

    #[inline]
    fn link(&mut self, frames: &[Frame], index: u32, order: usize) {
        let next = self.first[order];
        let frame = &frames[index as usize];
        frame.state.store(state::free(order), Ordering::Relaxed);
        frame.next.store(next, Ordering::Relaxed);
        frame.prev.store(NIL, Ordering::Relaxed);
        if next != NIL {
            frames[next as usize].prev.store(index, Ordering::Relaxed);
        }
        self.first[order] = index;
        self.filled |= 1 << order;
    }

    #[inline]
    fn unlink(&mut self, frames: &[Frame], index: u32, order: usize) {
        let frame = &frames[index as usize];
        let (next, prev) = (frame.next.load(Ordering::Relaxed), frame.prev.load(Ordering::Relaxed));
        if next != NIL {
            frames[next as usize].prev.store(prev, Ordering::Relaxed);
        }
        if prev != NIL {
            frames[prev as usize].next.store(next, Ordering::Relaxed);
        } else {
            self.first[order] = next;
            if next == NIL {
                self.filled &= !(1 << order);
            }
        }
        // No longer FREE with its order: nobody may merge with it.
        frame.state.store(state::INSIDE, Ordering::Relaxed);
    }

    /// A block of `order`, split off the smallest that has one.
    pub(super) fn take(&mut self, frames: &[Frame], order: usize) -> Option<u32> {
        let larger = self.filled >> order;
        if larger == 0 {
            return None;
        }
        self.pages -= 1 << order;
        let mut have = order + larger.trailing_zeros() as usize;
        let index = self.first[have];
        self.unlink(frames, index, have);
        while have > order {
            have -= 1;
            self.link(frames, index + (1 << have), have);
        }
        Some(index)
    }

    /// Takes a block back, merging it with its buddy as long as that is free.
    #[inline]
    pub(super) fn give(&mut self, frames: &[Frame], index: u32, order: usize) {
        self.pages += 1 << order;
        let (mut index, mut order) = (index, order);
        while order < MAX_ORDER {
            let buddy = index ^ (1 << order);
            if frames[buddy as usize].state.load(Ordering::Relaxed) != state::free(order) {
                break;
            }
            self.unlink(frames, buddy, order);
            frames[index as usize].state.store(state::INSIDE, Ordering::Relaxed);
            index &= buddy;
            order += 1;
        }
        self.link(frames, index, order);
    }

    pub(super) fn give_chain(&mut self, frames: &[Frame], order: usize, mut chain: Chain) {
        while let Some(index) = chain.pop(frames) {
            self.give(frames, index, order);
        }
    }

    /// As many blocks of `order` as move in one go, or fewer.
    pub(super) fn take_chain(&mut self, frames: &[Frame], order: usize) -> Chain {
        let mut chain = Chain::new();
        for _ in 0..MOVED_PAGES >> order {
            let Some(index) = self.take(frames, order) else { break };
            chain.push(frames, index);
        }
        chain
    }
}

/// Blocks of one order on their way between lists.
#[derive(Debug)]
pub(super) struct Chain {
    first: u32,
    length: usize,
}

impl Chain {
    const fn new() -> Self {
        Self { first: NIL, length: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first == NIL
    }

    fn push(&mut self, frames: &[Frame], index: u32) {
        let frame = &frames[index as usize];
        frame.state.store(state::INSIDE, Ordering::Relaxed);
        frame.next.store(self.first, Ordering::Relaxed);
        self.first = index;
        self.length += 1;
    }

    pub(super) fn pop(&mut self, frames: &[Frame]) -> Option<u32> {
        if self.first == NIL {
            return None;
        }
        let index = self.first;
        self.first = frames[index as usize].next.load(Ordering::Relaxed);
        self.length -= 1;
        Some(index)
    }
}

/// The blocks of one order that a CPU keeps: two chains, so that one can be handed on whole and something is left to take from.
#[derive(Debug)]
struct Kept {
    hot: Chain,
    cold: Chain,
}

/// What one CPU keeps.
#[derive(Debug)]
pub(super) struct Cache {
    kept: [Kept; CACHED_ORDERS],
}

impl Cache {
    pub(super) const fn new() -> Self {
        Self { kept: [const { Kept { hot: Chain::new(), cold: Chain::new() } }; CACHED_ORDERS] }
    }

    pub(super) fn pages(&self) -> usize {
        self.kept.iter().enumerate().map(|(order, kept)| (kept.hot.length + kept.cold.length) << order).sum()
    }

    pub(super) fn pop(&mut self, frames: &[Frame], order: usize) -> Option<u32> {
        let kept = &mut self.kept[order];
        if kept.hot.is_empty() {
            core::mem::swap(&mut kept.hot, &mut kept.cold);
        }
        kept.hot.pop(frames)
    }

    /// Keeps a block. Returns those that are too many.
    #[inline]
    pub(super) fn push(&mut self, frames: &[Frame], index: u32, order: usize) -> Chain {
        let kept = &mut self.kept[order];
        kept.hot.push(frames, index);
        if kept.hot.length << order < MOVED_PAGES {
            return Chain::new();
        }
        let full = core::mem::replace(&mut kept.hot, Chain::new());
        core::mem::replace(&mut kept.cold, full)
    }

    /// Keeps blocks that were taken because there were none.
    pub(super) fn put_chain(&mut self, frames: &[Frame], order: usize, mut chain: Chain) {
        while let Some(index) = chain.pop(frames) {
            self.kept[order].hot.push(frames, index);
        }
    }

    /// Takes out all of one order.
    pub(super) fn take_all(&mut self, order: usize) -> [Chain; 2] {
        let kept = &mut self.kept[order];
        [core::mem::replace(&mut kept.hot, Chain::new()), core::mem::replace(&mut kept.cold, Chain::new())]
    }
}
