//! How many swap entries name each slot of a cluster: a byte a slot, eight in a word, two words in a row: a 64K folio is one row. What
//! a byte can not hold goes to an extension, which few clusters ever need.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use super::cluster::SLOTS;
use crate::bits::spans;

/// Slots of a row.
const ROW: usize = 16;
/// The lowest bit of each byte.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte: it says that the slot has more, in the extension. The other bits are all set then.
const HIGHS: u64 = 0x8080_8080_8080_8080;
/// What a byte holds by itself.
const MAX: u8 = 0x7f;

/// Counts beyond what a byte holds, one for each slot. Allocated when the first slot of the cluster needs it.
pub(crate) type Extension = Box<[u32; SLOTS]>;

/// An extension of zeros, or nothing: the caller may hold a table's lock, where no wait for memory is allowed.
pub(crate) fn new_extension() -> Option<Extension> {
    let mut words = Vec::new();
    words.try_reserve_exact(SLOTS).ok()?;
    words.resize(SLOTS, 0);
    words.into_boxed_slice().try_into().ok()
}

/// A count needs the extension, and there is none yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NeedsExtension;

/// The highest bit of each byte that is 0. Highest bits that are set are not looked at.
const fn zero_bytes(word: u64) -> u64 {
    !((word & !HIGHS) + (HIGHS - ONES)) & HIGHS
}

/// One bit for each byte whose highest bit is set.
const fn pack(highs: u64) -> u64 {
    // Each byte's bit moves to its own place in the top byte; no two products meet in one.
    (highs >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// Highest bits of bytes that can not be raised by the bytes of `by`: a full count, 0x7f, comes out with its highest bit set; one with
/// an extension has it set before.
const fn is_full(word: u64, by: u64) -> u64 {
    word | ((word & !HIGHS) + by)
}

/// Bytes, by words and by rows of them.
#[derive(Debug)]
struct Rows([[u64; 2]; SLOTS / ROW]);

impl Rows {
    #[inline(always)]
    fn word(&self, word: usize) -> u64 {
        self.0[word / 2][word % 2]
    }

    #[inline(always)]
    fn word_mut(&mut self, word: usize) -> &mut u64 {
        &mut self.0[word / 2][word % 2]
    }
}

/// The counts of 512 slots.
#[derive(Debug)]
pub(super) struct Counts {
    rows: Rows,
    extension: Option<Extension>,
}

impl Counts {
    pub(super) const fn new() -> Self {
        Self { rows: Rows([[0; 2]; SLOTS / ROW]), extension: None }
    }

    /// The rows of a run that is made of whole ones.
    #[inline(always)]
    fn whole_rows(at: usize, count: usize) -> Option<Range<usize>> {
        ((at | count) % ROW == 0).then_some(at / ROW..(at + count) / ROW)
    }

    /// Whether the run is one row, which most are.
    #[inline(always)]
    const fn is_row(at: usize, count: usize) -> bool {
        count == ROW && at % ROW == 0
    }

    /// The count of a slot.
    pub(super) fn get(&self, at: usize) -> usize {
        let byte = self.byte(at);
        let more = if byte > MAX { self.extension.as_ref().map_or(0, |more| more[at]) } else { 0 };
        usize::from(byte & MAX) + more as usize
    }

    fn byte(&self, at: usize) -> u8 {
        (self.rows.word(at / 8) >> (at % 8 * 8)) as u8
    }

    /// Whether all slots of the run have a count.
    #[inline(always)]
    pub(super) fn all(&self, at: usize, count: usize) -> bool {
        if Self::is_row(at, count) {
            let [a, b] = self.rows.0[at / ROW];
            return zero_bytes(a) | zero_bytes(b) == 0;
        }
        self.all_of_run(at, count)
    }

    fn all_of_run(&self, at: usize, count: usize) -> bool {
        let mut zero = 0;
        match Self::whole_rows(at, count) {
            Some(rows) => self.rows.0[rows].iter().for_each(|[a, b]| zero |= zero_bytes(*a) | zero_bytes(*b)),
            None => spans::<8>(at, count, |word, mask| zero |= zero_bytes(self.rows.word(word)) & mask),
        }
        zero == 0
    }

    /// Whether no slot of the run has a count.
    pub(super) fn none(&self, at: usize, count: usize) -> bool {
        let mut any = 0;
        spans::<8>(at, count, |word, mask| any |= self.rows.word(word) & mask);
        any == 0
    }

    /// Shows `see` the slots of the run without a count: the number of their 64-slot word, and their bits in it.
    #[inline]
    pub(super) fn zeros(&self, at: usize, count: usize, mut see: impl FnMut(usize, u64)) {
        spans::<8>(at, count, |word, mask| {
            let zero = zero_bytes(self.rows.word(word)) & mask;
            if zero != 0 {
                see(word / 8, pack(zero) << (word % 8 * 8));
            }
        });
    }

    /// Raises each count of the run by 1, or none.
    #[inline]
    pub(super) fn raise(&mut self, at: usize, count: usize) -> Result<(), NeedsExtension> {
        if Self::is_row(at, count) {
            let row = &mut self.rows.0[at / ROW];
            let [a, b] = *row;
            if (is_full(a, ONES) | is_full(b, ONES)) & HIGHS == 0 {
                *row = [a + ONES, b + ONES];
                return Ok(());
            }
        }
        self.raise_run(at, count)
    }

    /// Raises a run of any length.
    fn raise_run(&mut self, at: usize, count: usize) -> Result<(), NeedsExtension> {
        let mut full = 0;
        if let Some(rows) = Self::whole_rows(at, count) {
            let rows = &mut self.rows.0[rows];
            rows.iter().for_each(|[a, b]| full |= is_full(*a, ONES) | is_full(*b, ONES));
            if full & HIGHS == 0 {
                rows.iter_mut().for_each(|[a, b]| (*a, *b) = (*a + ONES, *b + ONES));
                return Ok(());
            }
        } else {
            spans::<8>(at, count, |word, mask| full |= is_full(self.rows.word(word), ONES & mask) & mask);
            if full & HIGHS == 0 {
                spans::<8>(at, count, |word, mask| *self.rows.word_mut(word) += ONES & mask);
                return Ok(());
            }
        }
        self.raise_one_by_one(at, count)
    }

    #[cold]
    fn raise_one_by_one(&mut self, at: usize, count: usize) -> Result<(), NeedsExtension> {
        let Some(extension) = self.extension.as_mut() else { return Err(NeedsExtension) };
        for at in at..at + count {
            let (word, shift) = (at / 8, at % 8 * 8);
            if (self.rows.word(word) >> shift) as u8 >= MAX {
                *self.rows.word_mut(word) |= 0x80 << shift;
                extension[at] += 1;
            } else {
                *self.rows.word_mut(word) += 1 << shift;
            }
        }
        Ok(())
    }

    /// Makes room for larger counts.
    pub(super) fn extend(&mut self, extension: Extension) {
        self.extension.get_or_insert(extension);
    }

    /// All counts are 0: no extension is needed.
    pub(super) fn shrink(&mut self) {
        self.extension = None;
    }

    /// Lowers each count of the run by 1. Shows `see` the slots that come to 0, as [`zeros`](Self::zeros) does.
    ///
    /// # Panics
    /// If a count is 0.
    #[inline]
    pub(super) fn lower(&mut self, at: usize, count: usize, mut see: impl FnMut(usize, u64)) {
        spans::<8>(at, count, |word, mask| {
            let old = self.rows.word(word);
            assert_eq!(zero_bytes(old) & mask, 0, "a swap count falls below 0");
            if old & HIGHS & mask == 0 {
                *self.rows.word_mut(word) = old - (ONES & mask);
            } else {
                self.lower_one_by_one(word, mask);
            }
            let zero = zero_bytes(self.rows.word(word)) & mask;
            if zero != 0 {
                see(word / 8, pack(zero) << (word % 8 * 8));
            }
        });
    }

    /// Lowers the counts of a word of which some have an extension.
    #[cold]
    fn lower_one_by_one(&mut self, word: usize, mask: u64) {
        for at in (word * 8..word * 8 + 8).filter(|at| mask >> (at % 8 * 8) & 1 != 0) {
            let shift = at % 8 * 8;
            match self.extension.as_mut() {
                Some(extension) if (self.rows.word(word) >> shift) as u8 > MAX => {
                    extension[at] -= 1;
                    if extension[at] == 0 {
                        *self.rows.word_mut(word) &= !(0x80 << shift);
                    }
                }
                _ => *self.rows.word_mut(word) -= 1 << shift,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::Random;

    #[test]
    fn bytes_of_zero_become_bits() {
        let mut random = Random(99);
        for _ in 0..10_000 {
            let bytes: [u8; 8] = core::array::from_fn(|_| [0, 0, 1, 2, 0x7e, 0x7f, 0xff][random.below(7)]);
            let expected = (0..8).filter(|&byte| bytes[byte] == 0).fold(0, |bits, byte| bits | 1 << byte);
            assert_eq!(pack(zero_bytes(u64::from_le_bytes(bytes))), expected);
        }
    }
}
