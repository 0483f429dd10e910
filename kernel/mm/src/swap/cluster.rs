//! A cluster: 512 slots of a swap device, under one lock. A folio's slots never cross it.
//!
//! One bit a slot says that it is in use, one that it is cached, one that the page was zero and is not on the device. A folio is
//! naturally aligned in its slots, so its first slot alone says which folio it is: from any other slot it is found by looking at the
//! start of every larger aligned run. All steps on a run are all-or-nothing: they look first, then write.

use mmu::mutant::{self, Mutant};

use super::counts::{Counts, NeedsExtension};
use crate::bits::spans;

pub(crate) use super::counts::{Extension, new_extension};

/// Slots of a cluster.
pub(crate) const SLOTS: usize = 512;
const WORDS: usize = SLOTS / 64;
/// Orders of folios whose slots lie in one word of bits.
const WORD_ORDER: usize = 6;
/// In `heads`: the order of the folio.
const HEAD_ORDER_SHIFT: u32 = 28;
/// Folios' frames are below this.
pub(crate) const FRAME_LIMIT: u32 = (1 << HEAD_ORDER_SHIFT) - 1;

/// Why counts could not be raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RaiseError {
    /// A slot holds nothing.
    Unused,
    /// A count needs the extension, and there is none yet.
    NeedsExtension,
}

/// The bits of a run, those of its words or'ed together.
#[inline(always)]
fn any(words: &[u64; WORDS], at: usize, count: usize) -> u64 {
    let mut any = 0;
    spans::<64>(at, count, |word, mask| any |= words[word] & mask);
    any
}

/// Whether all bits of a run are set.
#[inline(always)]
fn all(words: &[u64; WORDS], at: usize, count: usize) -> bool {
    let mut clear = 0;
    spans::<64>(at, count, |word, mask| clear |= !words[word] & mask);
    clear == 0
}

/// The state of 512 slots.
#[derive(Debug)]
pub(crate) struct Cluster {
    used: [u64; WORDS],
    cached: [u64; WORDS],
    zero: [u64; WORDS],
    counts: Counts,
    /// At a folio's first slot: its first frame + 1 and its order. 0 elsewhere.
    heads: [u32; SLOTS],
    free: u16,
    /// Free slots when nothing is in use.
    usable: u16,
    /// The slot after the run that was taken last: the next one is most often there.
    next: u16,
    /// Words before this one have no free run of the cluster's order.
    hint: u8,
    order: Option<u8>,
}

impl Cluster {
    /// A cluster whose slots from `usable` on do not exist.
    pub(crate) fn new(usable: usize) -> Self {
        let mut cluster = Self {
            used: [0; WORDS],
            cached: [0; WORDS],
            zero: [0; WORDS],
            counts: Counts::new(),
            heads: [0; SLOTS],
            free: SLOTS as u16,
            usable: SLOTS as u16,
            next: 0,
            hint: 0,
            order: None,
        };
        cluster.spoil(usable, SLOTS - usable);
        cluster
    }

    /// Makes slots unusable for ever.
    pub(crate) fn spoil(&mut self, at: usize, count: usize) {
        spans::<64>(at, count, |word, mask| self.used[word] |= mask);
        self.free -= count as u16;
        self.usable -= count as u16;
    }

    /// Free slots.
    pub(crate) fn free(&self) -> usize {
        usize::from(self.free)
    }

    /// Whether no slot is in use.
    pub(crate) fn is_empty(&self) -> bool {
        self.free == self.usable
    }

    /// The order of the folios it is for; none while it is empty.
    #[inline]
    pub(crate) fn order(&self) -> Option<usize> {
        self.order.map(usize::from)
    }

    /// Says what order of folios it is for; none when it is empty.
    pub(crate) fn set_order(&mut self, order: Option<usize>) {
        if order.is_none() {
            self.counts.shrink();
        }
        self.order = order.map(|order| order as u8);
        self.next = 0;
        self.hint = 0;
    }

    /// An aligned run of `1 << order` free slots, the order being the cluster's.
    #[inline(always)]
    pub(crate) fn find(&mut self, order: usize) -> Option<usize> {
        let next = usize::from(self.next);
        if order <= WORD_ORDER && next < SLOTS {
            // Runs of one order are taken one after the other, so this one is aligned as well.
            let mask = u64::MAX >> (64 - (1u32 << order));
            if self.used[next / 64] >> (next % 64) & mask == 0 {
                return Some(next);
            }
        }
        self.search(order)
    }

    #[inline(never)]
    fn search(&mut self, order: usize) -> Option<usize> {
        let found = if order <= WORD_ORDER { self.find_in_words(order) } else { self.find_words(1 << (order - 6)) };
        self.hint = found.map_or(WORDS as u8, |at| (at / 64) as u8);
        found
    }

    fn find_in_words(&self, order: usize) -> Option<usize> {
        // Bits where an aligned run starts.
        let starts = u64::MAX / (u64::MAX >> (64 - (1u32 << order)));
        (usize::from(self.hint)..WORDS).find_map(|word| {
            let mut taken = self.used[word];
            for step in 0..order {
                taken |= taken >> (1u32 << step);
            }
            let free = !taken & starts;
            (free != 0).then(|| word * 64 + free.trailing_zeros() as usize)
        })
    }

    fn find_words(&self, count: usize) -> Option<usize> {
        let first = usize::from(self.hint) & !(count - 1);
        let is_free = |&word: &usize| self.used[word..word + count].iter().all(|&used| used == 0);
        (first..WORDS).step_by(count).find(is_free).map(|word| word * 64)
    }

    /// Any free slot, whatever the cluster's order.
    pub(crate) fn find_single(&self) -> Option<usize> {
        let word = self.used.iter().position(|&used| used != u64::MAX)?;
        Some(word * 64 + self.used[word].trailing_ones() as usize)
    }

    /// Takes free slots into use for a folio that is in the cache from now on. Their counts are 0.
    #[inline]
    pub(crate) fn take(&mut self, at: usize, order: usize, frame: u32) {
        let count = 1 << order;
        debug_assert_eq!(any(&self.used, at, count) | any(&self.zero, at, count), 0);
        spans::<64>(at, count, |word, mask| {
            self.used[word] |= mask;
            self.cached[word] |= mask;
        });
        self.free -= count as u16;
        if self.order == Some(order as u8) {
            // Else the next run of the cluster's own order would not be aligned.
            self.next = (at + count) as u16;
        }
        self.set_head(at, order, frame);
    }

    /// Enters a folio for slots that are in use.
    pub(crate) fn cache(&mut self, at: usize, order: usize, frame: u32) {
        debug_assert!(all(&self.used, at, 1 << order));
        spans::<64>(at, 1 << order, |word, mask| self.cached[word] |= mask);
        self.set_head(at, order, frame);
    }

    #[inline(always)]
    fn set_head(&mut self, at: usize, order: usize, frame: u32) {
        debug_assert!(at % (1 << order) == 0 && frame < FRAME_LIMIT);
        self.heads[at] = (frame + 1) | (order as u32) << HEAD_ORDER_SHIFT;
    }

    /// A folio leaves the cache. Slots without a count are free then; how many those are.
    #[inline]
    pub(crate) fn uncache(&mut self, at: usize, count: usize) -> usize {
        debug_assert!(all(&self.cached, at, count));
        self.heads[at] = 0;
        spans::<64>(at, count, |word, mask| self.cached[word] &= !mask);
        if self.counts.all(at, count) { 0 } else { self.release_uncounted(at, count) }
    }

    #[inline(never)]
    fn release_uncounted(&mut self, at: usize, count: usize) -> usize {
        let mut free = [0; WORDS];
        self.counts.zeros(at, count, |word, bits| free[word] |= bits);
        self.release(&free)
    }

    /// The folio cached for slot `at`: its first frame and the page of it that the slot holds.
    pub(crate) fn cached(&self, at: usize) -> Option<(u32, usize)> {
        if self.cached[at / 64] >> (at % 64) & 1 == 0 {
            return None;
        }
        (0..=9).find_map(|order| {
            let first = at & !((1 << order) - 1);
            let head = self.heads[first];
            // Folios do not overlap, so the first head that is met is that of the folio.
            debug_assert!(head == 0 || (head >> HEAD_ORDER_SHIFT) as usize >= order);
            (head != 0).then(|| ((head & FRAME_LIMIT) - 1, at - first))
        })
    }

    /// The first slot of the first folio, from this slot on, that is cached at slots without a count.
    pub(crate) fn uncounted_from(&self, from: usize) -> Option<usize> {
        let is_meant =
            |&at: &usize| self.heads[at] != 0 && self.none_counted(at, 1 << (self.heads[at] >> HEAD_ORDER_SHIFT));
        (from..SLOTS).find(is_meant)
    }

    /// Whether a slot of the run is cached.
    pub(crate) fn any_cached(&self, at: usize, count: usize) -> bool {
        any(&self.cached, at, count) != 0
    }

    /// Whether all slots of the run have a count.
    pub(crate) fn all_counted(&self, at: usize, count: usize) -> bool {
        self.counts.all(at, count)
    }

    /// Whether no slot of the run has a count.
    pub(crate) fn none_counted(&self, at: usize, count: usize) -> bool {
        self.counts.none(at, count)
    }

    /// The count of a slot.
    pub(crate) fn count(&self, at: usize) -> usize {
        self.counts.get(at)
    }

    /// Raises the count of each slot of the run by 1.
    #[inline]
    pub(crate) fn raise(&mut self, at: usize, count: usize) -> Result<(), RaiseError> {
        if !all(&self.used, at, count) {
            return Err(RaiseError::Unused);
        }
        self.raise_used(at, count)
    }

    /// The same for slots that are in use.
    #[inline]
    pub(crate) fn raise_used(&mut self, at: usize, count: usize) -> Result<(), RaiseError> {
        debug_assert!(all(&self.used, at, count));
        self.counts.raise(at, count).map_err(|NeedsExtension| RaiseError::NeedsExtension)
    }

    /// Gives the cluster room for larger counts.
    pub(crate) fn extend(&mut self, extension: Extension) {
        self.counts.extend(extension);
    }

    /// Lowers the count of each slot of the run by 1. Slots that come to 0 and are not cached are free then; how many those are.
    ///
    /// # Panics
    /// If a count is 0.
    pub(crate) fn lower(&mut self, at: usize, count: usize) -> usize {
        let mut free = [0; WORDS];
        let mut any = 0;
        self.counts.lower(at, count, |word, bits| {
            let uncached = bits & !mutant::or(Mutant::SlotFreedWhileCached, self.cached[word], 0);
            free[word] |= uncached;
            any |= uncached;
        });
        if any == 0 { 0 } else { self.release(&free) }
    }

    fn release(&mut self, free: &[u64; WORDS]) -> usize {
        let mut count = 0;
        for (word, &bits) in free.iter().enumerate().filter(|&(_, &bits)| bits != 0) {
            debug_assert!(self.used[word] & bits == bits && self.cached[word] & bits == 0);
            self.used[word] &= !bits;
            // A mark left behind would turn the next folio's data into zeros.
            self.zero[word] &= !bits;
            self.hint = self.hint.min(word as u8);
            count += bits.count_ones();
        }
        self.free += count as u16;
        count as usize
    }

    /// Says whether the pages of the run were zero, and are not on the device.
    #[inline]
    pub(crate) fn set_zero(&mut self, at: usize, count: usize, zero: bool) {
        let value = if zero { u64::MAX } else { 0 };
        spans::<64>(at, count, |word, mask| {
            let others = mutant::or(Mutant::ZeroMarkKept, !mask, u64::MAX);
            self.zero[word] = (self.zero[word] & others) | (value & mask);
        });
    }

    /// Whether the pages of the run were zero; `None` if they differ.
    pub(crate) fn zero(&self, at: usize, count: usize) -> Option<bool> {
        match (any(&self.zero, at, count) != 0, all(&self.zero, at, count)) {
            (false, _) => Some(false),
            (true, true) => Some(true),
            (true, false) => None,
        }
    }

    /// Whether a slot is in use.
    pub(crate) fn is_used(&self, at: usize) -> bool {
        self.used[at / 64] >> (at % 64) & 1 != 0
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
