//! A cluster: 512 slots of a swap device, under one lock. A folio's slots never cross it.
//!
//! One bit a slot says that it is in use, one that it is cached, one that the page was zero and is not on the device. Counts are
//! bytes, eight in a word, so that a run of 16 is two words. All steps on a run are all-or-nothing: they look first, then write.
//! A folio is naturally aligned in its slots, so its first slot alone says which folio it is: from any other slot it is found by
//! looking at the start of every larger aligned run.

use alloc::boxed::Box;

/// Slots of a cluster.
pub(crate) const SLOTS: usize = 512;
const WORDS: usize = SLOTS / 64;
const COUNT_WORDS: usize = SLOTS / 8;
/// The lowest bit of each byte.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte: in a count it says that the slot has more, in the extension.
const HIGHS: u64 = 0x8080_8080_8080_8080;
/// What a count holds without the extension.
const COUNT_MAX: u8 = 0x7f;
/// In `heads`: the order of the folio.
const HEAD_ORDER_SHIFT: u32 = 28;
/// Folios' frames are below this.
pub(crate) const FRAME_LIMIT: u32 = (1 << HEAD_ORDER_SHIFT) - 1;

/// Counts beyond what a byte holds, one for each slot. Allocated when the first slot of the cluster needs it.
pub(crate) type Extension = Box<[u32; SLOTS]>;

/// Why counts could not be raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RaiseError {
    /// A slot holds nothing.
    Unused,
    /// A count needs the extension, and there is none yet.
    NeedsExtension,
}

/// Bits of a 64-slot word, or bytes of an 8-slot word, that a run takes of each word it meets.
fn spans<const PER_WORD: usize>(at: usize, count: usize) -> impl Iterator<Item = (usize, u64)> {
    let bits = 64 / PER_WORD;
    let end = at + count;
    let mut at = at;
    core::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let (word, first) = (at / PER_WORD, at % PER_WORD);
        let length = (PER_WORD - first).min(end - at);
        at += length;
        Some((word, (u64::MAX >> (64 - length * bits)) << (first * bits)))
    })
}

/// The highest bit of each byte that is 0, of bytes below 0x80.
const fn zero_bytes(word: u64) -> u64 {
    !(word + (HIGHS - ONES)) & HIGHS
}

/// One bit for each byte whose highest bit is set.
const fn pack(highs: u64) -> u64 {
    // Each byte's bit moves to its own place in the top byte; no two products meet in one.
    (highs >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// The state of 512 slots.
#[derive(Debug)]
pub(crate) struct Cluster {
    used: [u64; WORDS],
    cached: [u64; WORDS],
    zero: [u64; WORDS],
    counts: [u64; COUNT_WORDS],
    /// At a folio's first slot: its first frame + 1 and its order. 0 elsewhere.
    heads: [u32; SLOTS],
    extension: Option<Extension>,
    free: u32,
    /// Free slots when nothing is in use.
    usable: u32,
    order: Option<u8>,
    /// Words before this one have no free run of the cluster's order.
    hint: u8,
}

impl Cluster {
    /// A cluster whose slots from `usable` on do not exist.
    pub(crate) fn new(usable: usize) -> Self {
        let mut cluster = Self {
            used: [0; WORDS],
            cached: [0; WORDS],
            zero: [0; WORDS],
            counts: [0; COUNT_WORDS],
            heads: [0; SLOTS],
            extension: None,
            free: SLOTS as u32,
            usable: SLOTS as u32,
            order: None,
            hint: 0,
        };
        cluster.spoil(usable, SLOTS - usable);
        cluster
    }

    /// Makes slots unusable for ever.
    pub(crate) fn spoil(&mut self, at: usize, count: usize) {
        for (word, mask) in spans::<64>(at, count) {
            self.used[word] |= mask;
        }
        self.free -= count as u32;
        self.usable -= count as u32;
    }

    /// Whether no slot is in use.
    pub(crate) fn is_empty(&self) -> bool {
        self.free == self.usable
    }

    /// The order of the folios it is for; none while it is empty.
    pub(crate) fn order(&self) -> Option<usize> {
        self.order.map(usize::from)
    }

    /// Says what order of folios it is for.
    pub(crate) fn set_order(&mut self, order: Option<usize>) {
        self.order = order.map(|order| order as u8);
        self.hint = 0;
    }

    /// An aligned run of `1 << order` free slots, the order being the cluster's.
    pub(crate) fn find(&mut self, order: usize) -> Option<usize> {
        let found = if order <= 6 { self.find_in_words(order) } else { self.find_words(1 << (order - 6)) };
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
        let first = usize::from(self.hint).next_multiple_of(count);
        (first..WORDS)
            .step_by(count)
            .find(|&word| self.used[word..word + count].iter().all(|&used| used == 0))
            .map(|word| word * 64)
    }

    /// Takes free slots into use for a folio that is in the cache from now on. Their counts are 0.
    pub(crate) fn take(&mut self, at: usize, order: usize, frame: u32) {
        let count = 1 << order;
        for (word, mask) in spans::<64>(at, count) {
            debug_assert_eq!((self.used[word] | self.zero[word]) & mask, 0);
            self.used[word] |= mask;
        }
        self.free -= count as u32;
        self.cache(at, order, frame);
    }

    /// Enters a folio for slots that are in use.
    pub(crate) fn cache(&mut self, at: usize, order: usize, frame: u32) {
        debug_assert!(at % (1 << order) == 0 && frame < FRAME_LIMIT);
        self.heads[at] = (frame + 1) | (order as u32) << HEAD_ORDER_SHIFT;
        for (word, mask) in spans::<64>(at, 1 << order) {
            debug_assert_eq!(self.used[word] & mask, mask);
            self.cached[word] |= mask;
        }
    }

    /// A folio leaves the cache. Slots without a count are free then; how many those are.
    pub(crate) fn uncache(&mut self, at: usize, count: usize) -> usize {
        self.heads[at] = 0;
        for (word, mask) in spans::<64>(at, count) {
            debug_assert_eq!(self.cached[word] & mask, mask);
            self.cached[word] &= !mask;
        }
        let mut freed = 0;
        for (word, mask) in spans::<8>(at, count) {
            // A count with an extension has 0x7f beside its highest bit: it is not taken for 0.
            let zero = zero_bytes(self.counts[word] & !HIGHS) & mask;
            if zero != 0 {
                freed += self.release(word, zero);
            }
        }
        freed
    }

    /// The folio cached for slot `at`: its first frame and the page of it that the slot holds.
    pub(crate) fn cached(&self, at: usize) -> Option<(u32, usize)> {
        if self.cached[at / 64] >> (at % 64) & 1 == 0 {
            return None;
        }
        (0..=9).find_map(|order| {
            let first = at & !((1 << order) - 1);
            let head = self.heads[first];
            let covers = head != 0 && (head >> HEAD_ORDER_SHIFT) as usize >= order;
            covers.then(|| ((head & FRAME_LIMIT) - 1, at - first))
        })
    }

    /// Whether a slot of the run is cached.
    pub(crate) fn any_cached(&self, at: usize, count: usize) -> bool {
        spans::<64>(at, count).any(|(word, mask)| self.cached[word] & mask != 0)
    }

    /// Whether all slots of the run have a count.
    pub(crate) fn all_counted(&self, at: usize, count: usize) -> bool {
        (at..at + count).all(|at| self.count(at) > 0)
    }

    /// Whether no slot of the run has a count.
    pub(crate) fn none_counted(&self, at: usize, count: usize) -> bool {
        spans::<8>(at, count).all(|(word, mask)| self.counts[word] & mask == 0)
    }

    /// The count of a slot.
    pub(crate) fn count(&self, at: usize) -> usize {
        let byte = self.byte(at);
        let more = if byte > COUNT_MAX { self.extension.as_ref().map_or(0, |more| more[at]) } else { 0 };
        usize::from(byte & COUNT_MAX) + more as usize
    }

    fn byte(&self, at: usize) -> u8 {
        (self.counts[at / 8] >> (at % 8 * 8)) as u8
    }

    /// Raises the count of each slot of the run by 1.
    pub(crate) fn raise(&mut self, at: usize, count: usize) -> Result<(), RaiseError> {
        if spans::<64>(at, count).any(|(word, mask)| self.used[word] & mask != mask) {
            return Err(RaiseError::Unused);
        }
        let is_full = |(word, mask): (usize, u64)| {
            let counts = self.counts[word] & mask;
            (((counts & !HIGHS) + (ONES & mask)) | counts) & HIGHS != 0
        };
        if spans::<8>(at, count).any(is_full) {
            return self.raise_one_by_one(at, count);
        }
        for (word, mask) in spans::<8>(at, count) {
            self.counts[word] += ONES & mask;
        }
        Ok(())
    }

    #[cold]
    fn raise_one_by_one(&mut self, at: usize, count: usize) -> Result<(), RaiseError> {
        let Some(extension) = self.extension.as_mut() else { return Err(RaiseError::NeedsExtension) };
        for at in at..at + count {
            let (word, shift) = (at / 8, at % 8 * 8);
            if (self.counts[word] >> shift) as u8 >= COUNT_MAX {
                self.counts[word] |= 0x80 << shift;
                extension[at] += 1;
            } else {
                self.counts[word] += 1 << shift;
            }
        }
        Ok(())
    }

    /// Gives the cluster room for larger counts.
    pub(crate) fn extend(&mut self, extension: Extension) {
        self.extension.get_or_insert(extension);
    }

    /// Lowers the count of each slot of the run by 1. Slots that come to 0 and are not cached are free then; how many those are.
    ///
    /// # Panics
    /// If a count is 0.
    pub(crate) fn lower(&mut self, at: usize, count: usize) -> usize {
        let mut freed = 0;
        for (word, mask) in spans::<8>(at, count) {
            let old = self.counts[word];
            if old & HIGHS & mask != 0 {
                freed += self.lower_one_by_one(word, mask);
                continue;
            }
            assert_eq!(zero_bytes(old & !HIGHS) & mask, 0, "a swap count falls below 0");
            let new = old - (ONES & mask);
            self.counts[word] = new;
            let zero = zero_bytes(new & !HIGHS) & mask;
            let shift = word % 8 * 8;
            let cached = self.cached[word / 8] >> shift & 0xff;
            if zero != 0 && pack(zero) & !cached != 0 {
                freed += self.release_bits(word / 8, (pack(zero) & !cached) << shift);
            }
        }
        freed
    }

    /// Lowers the counts of a word of which some have an extension. How many slots are free then.
    #[cold]
    fn lower_one_by_one(&mut self, word: usize, mask: u64) -> usize {
        let mut freed = 0;
        for at in (word * 8..word * 8 + 8).filter(|at| mask >> (at % 8 * 8) & 1 != 0) {
            let (byte, shift) = (self.byte(at), at % 8 * 8);
            assert_ne!(byte, 0, "a swap count falls below 0");
            if byte <= COUNT_MAX {
                self.counts[word] -= 1 << shift;
                if byte == 1 && self.cached[at / 64] >> (at % 64) & 1 == 0 {
                    freed += self.release_bits(at / 64, 1 << (at % 64));
                }
            } else if let Some(extension) = self.extension.as_mut() {
                extension[at] -= 1;
                if extension[at] == 0 {
                    self.counts[word] &= !(0x80 << shift);
                }
            }
        }
        freed
    }

    /// Frees the slots of `zero`, the highest bits of bytes of a word of counts.
    fn release(&mut self, word: usize, zero: u64) -> usize {
        self.release_bits(word / 8, pack(zero) << (word % 8 * 8))
    }

    fn release_bits(&mut self, word: usize, bits: u64) -> usize {
        debug_assert!(self.used[word] & bits == bits && self.cached[word] & bits == 0);
        self.used[word] &= !bits;
        // A mark left behind would turn the next folio's data into zeros.
        self.zero[word] &= !bits;
        self.hint = self.hint.min(word as u8);
        let count = bits.count_ones();
        self.free += count;
        count as usize
    }

    /// Says whether the pages of the run were zero, and are not on the device.
    pub(crate) fn set_zero(&mut self, at: usize, count: usize, zero: bool) {
        for (word, mask) in spans::<64>(at, count) {
            if zero {
                self.zero[word] |= mask;
            } else {
                self.zero[word] &= !mask;
            }
        }
    }

    /// Whether the pages of the run were zero; `None` if they differ.
    pub(crate) fn zero(&self, at: usize, count: usize) -> Option<bool> {
        let (mut any, mut all) = (false, true);
        for (word, mask) in spans::<64>(at, count) {
            any |= self.zero[word] & mask != 0;
            all &= self.zero[word] & mask == mask;
        }
        if any == all { Some(any) } else { None }
    }

    /// Whether a slot is in use.
    pub(crate) fn is_used(&self, at: usize) -> bool {
        self.used[at / 64] >> (at % 64) & 1 != 0
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
