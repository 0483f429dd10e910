//! PageAnonExclusive: one bit a page that says that a single space owns the page, so that it may be written in place.
//!
//! The bits of a large folio lie together, 64 in a word, so that a run is one atomic step. A folio of one page has its bit among its
//! flags. Different tables may map pages of one folio, so the steps are atomic though each page is under its table's lock.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Folio, state};
use crate::bits::spans;

impl Folio<'_> {
    /// Whether page `index` is exclusive.
    pub fn is_exclusive(&self, index: usize) -> bool {
        self.exclusive_run(index, 1).0
    }

    /// Whether page `first` is exclusive, and how many pages from it on, at most `max`, are alike.
    #[inline]
    pub fn exclusive_run(&self, first: usize, max: usize) -> (bool, usize) {
        debug_assert!(max > 0 && first + max <= self.pages());
        if !self.is_large() {
            return (self.has(state::EXCLUSIVE), 1);
        }
        let bits = self.exclusive_word(first / 64).load(Ordering::Relaxed) >> (first % 64);
        let exclusive = bits & 1 != 0;
        let length = alike(bits, exclusive).min(64 - first % 64);
        if length >= max {
            return (exclusive, max);
        }
        if (first + length) % 64 != 0 {
            return (exclusive, length);
        }
        (exclusive, length + self.continue_run(first + length, max - length, exclusive))
    }

    /// The run goes on at the start of a word. Out of line: few folios have more than one.
    #[inline(never)]
    fn continue_run(&self, first: usize, max: usize, exclusive: bool) -> usize {
        let mut length = 0;
        while length < max {
            let more = alike(self.exclusive_word((first + length) / 64).load(Ordering::Relaxed), exclusive);
            length += more;
            if more < 64 {
                break;
            }
        }
        length.min(max)
    }

    /// Marks `count` pages from `first` on as exclusive.
    pub fn set_exclusive(&self, first: usize, count: usize) {
        if !self.is_large() {
            return self.set(state::EXCLUSIVE, true);
        }
        self.each_word(first, count, |word, mask| {
            word.fetch_or(mask, Ordering::Relaxed);
        });
    }

    /// Takes the mark off `count` pages from `first` on. The barriers around it are the caller's (reference 4.28).
    #[inline(always)]
    pub fn clear_exclusive(&self, first: usize, count: usize) {
        if !self.is_large() {
            return self.set(state::EXCLUSIVE, false);
        }
        self.each_word(first, count, |word, mask| {
            word.fetch_and(!mask, Ordering::Relaxed);
        });
    }

    /// The words of all pages.
    pub(super) fn each_word_of_all(&self, mut see: impl FnMut(u64)) {
        for index in 0..self.pages().div_ceil(64) {
            see(self.exclusive_word(index).load(Ordering::Relaxed));
        }
    }

    #[inline]
    pub(super) fn each_word(&self, first: usize, count: usize, step: impl Fn(&AtomicU64, u64)) {
        debug_assert!(count > 0 && first + count <= self.pages());
        spans::<64>(first, count, |word, mask| step(self.exclusive_word(word), mask));
    }

    #[inline(always)]
    fn exclusive_word(&self, index: usize) -> &AtomicU64 {
        &self.page_frame(2 + index).mapping
    }
}

/// How many bits from the lowest on are alike.
const fn alike(bits: u64, set: bool) -> usize {
    (if set { !bits } else { bits }).trailing_zeros() as usize
}
