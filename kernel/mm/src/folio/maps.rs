//! Map counts: how many entries map each page of a folio.
//!
//! A large folio is mostly mapped and unmapped as a whole, so mappings of all its pages are counted once for the lot (`whole`), and
//! those of single pages by each page's own count. Everything but the own counts is in one word, so that a step of the whole folio
//! is one compare-and-swap, and readers see sums that belong together. A step of some pages locks the word.
//!
//! Mappings of page i are `whole + own(i)`, and `total` is `whole * pages` and the sum of the own counts.

use core::sync::atomic::{AtomicU64, Ordering};

use super::Folio;
use crate::sync::{Held, Rank};

/// Fields of the word: total in bits 0 to 31, pages whose own count is above 0 in 32 to 41, whole in 42 to 62, the lock in 63.
#[derive(Clone, Copy)]
struct Word(u64);

const OWN_SHIFT: u32 = 32;
const WHOLE_SHIFT: u32 = 42;
const WHOLE_ONE: u64 = 1 << WHOLE_SHIFT;
const LOCK: u64 = 1 << 63;

impl Word {
    const fn new(whole: usize, own: usize, total: usize) -> Self {
        Self((whole as u64) << WHOLE_SHIFT | (own as u64) << OWN_SHIFT | total as u64)
    }

    const fn total(self) -> usize {
        self.0 as u32 as usize
    }

    const fn own(self) -> usize {
        (self.0 >> OWN_SHIFT) as usize & 0x3ff
    }

    const fn whole(self) -> usize {
        ((self.0 & !LOCK) >> WHOLE_SHIFT) as usize
    }

    const fn is_locked(self) -> bool {
        self.0 & LOCK != 0
    }
}

/// What a removal of mappings has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unmapped {
    /// Pages that nothing maps any more.
    pub pages: usize,
    /// Whether these are only a part of those that were mapped: the folio is a candidate for a split.
    pub partially_mapped: bool,
}

impl Folio<'_> {
    /// One more entry maps each of `count` pages from `first` on. Returns how many of them nothing mapped before.
    #[inline]
    pub fn add_maps(&self, first: usize, count: usize) -> usize {
        let pages = self.pages();
        debug_assert!(count > 0 && first + count <= pages);
        if pages == 1 {
            return usize::from(self.head_frame().maps.fetch_add(1, Ordering::Relaxed) == 0);
        }
        if count < pages {
            return self.with_counts(|word| self.add_own(word, first, count));
        }
        let step = WHOLE_ONE + pages as u64;
        let before = self.step(|word| word + step);
        if before.whole() == 0 { pages - before.own() } else { 0 }
    }

    /// One entry less maps each of `count` pages from `first` on.
    #[inline]
    pub fn remove_maps(&self, first: usize, count: usize) -> Unmapped {
        let pages = self.pages();
        debug_assert!(count > 0 && first + count <= pages);
        if pages == 1 {
            let before = self.head_frame().maps.fetch_sub(1, Ordering::Release);
            debug_assert!(before > 0, "a page that nothing maps is unmapped");
            return Unmapped { pages: usize::from(before == 1), partially_mapped: false };
        }
        if count == pages {
            let step = WHOLE_ONE + pages as u64;
            let before = self.step(|word| if word >= WHOLE_ONE { word - step } else { word });
            if before.whole() > 0 {
                let gone = if before.whole() == 1 { pages - before.own() } else { 0 };
                return Unmapped { pages: gone, partially_mapped: gone > 0 && gone < pages };
            }
        }
        let mut left = 0;
        let gone = self.with_counts(|word| {
            let (after, gone) = self.remove_own(word, first, count);
            left = after.total();
            (after, gone)
        });
        Unmapped { pages: gone, partially_mapped: gone > 0 && left > 0 }
    }

    /// Entries that map page `index`.
    pub fn page_maps(&self, index: usize) -> usize {
        let own = self.page_frame(index).maps.load(Ordering::Relaxed) as usize;
        if self.is_large() { self.counts().whole() + own } else { own }
    }

    /// Entries that map any page of the folio.
    #[inline]
    pub fn mapcount(&self) -> usize {
        if self.is_large() { self.counts().total() } else { self.head_frame().maps.load(Ordering::Acquire) as usize }
    }

    /// Whether any entry maps a page of the folio.
    #[inline]
    pub fn is_mapped(&self) -> bool {
        self.mapcount() > 0
    }

    /// Pages that some entry maps.
    pub fn mapped_pages(&self) -> usize {
        if !self.is_large() {
            return usize::from(self.is_mapped());
        }
        let counts = self.counts();
        if counts.whole() > 0 { self.pages() } else { counts.own() }
    }

    #[inline(always)]
    fn word(&self) -> &AtomicU64 {
        &self.page_frame(1).mapping
    }

    #[inline(always)]
    fn counts(&self) -> Word {
        Word(self.word().load(Ordering::Acquire))
    }

    /// Changes the word in one step, once it is not locked, and returns what it was. Release: who sees the folio unmapped sees
    /// everything that was done through its mappings.
    #[inline]
    fn step(&self, change: impl Fn(u64) -> u64) -> Word {
        let word = self.word();
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            if Word(seen).is_locked() {
                mmu::relax();
                seen = word.load(Ordering::Relaxed);
                continue;
            }
            match word.compare_exchange_weak(seen, change(seen), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(before) => return Word(before),
                Err(now) => seen = now,
            }
        }
    }

    /// Changes word and own counts under the word's lock.
    fn with_counts(&self, change: impl FnOnce(Word) -> (Word, usize)) -> usize {
        let _held = Held::take(Rank::MapCount);
        let before = self.step(|word| word | LOCK);
        let (after, result) = change(before);
        self.word().store(after.0, Ordering::Release);
        result
    }

    fn add_own(&self, word: Word, first: usize, count: usize) -> (Word, usize) {
        let mut fresh = 0;
        for frame in self.page_frames(first, count) {
            let own = frame.maps.load(Ordering::Relaxed);
            frame.maps.store(own + 1, Ordering::Relaxed);
            fresh += usize::from(own == 0);
        }
        let after = Word::new(word.whole(), word.own() + fresh, word.total() + count);
        (after, if word.whole() == 0 { fresh } else { 0 })
    }

    /// Where an own count is short, one mapping of the whole folio becomes one of each page first.
    fn remove_own(&self, word: Word, first: usize, count: usize) -> (Word, usize) {
        let pages = self.pages();
        let frames = self.page_frames(first, count);
        let is_short = frames.iter().any(|frame| frame.maps.load(Ordering::Relaxed) == 0);
        let (whole, mut own) =
            if is_short { (word.whole().checked_sub(1), pages) } else { (Some(word.whole()), word.own()) };
        let Some(whole) = whole else { panic!("a page that nothing maps is unmapped") };
        if is_short {
            for frame in self.page_frames(0, pages) {
                frame.maps.store(frame.maps.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
        }
        let mut gone = 0;
        for frame in frames {
            let left = frame.maps.load(Ordering::Relaxed) - 1;
            frame.maps.store(left, Ordering::Relaxed);
            gone += usize::from(left == 0);
        }
        own -= gone;
        let after = Word::new(whole, own, word.total() - count);
        (after, if whole == 0 { gone } else { 0 })
    }

    /// Turns the mappings of the whole into mappings of each page, for a folio that is about to be split. Nobody else can be at it.
    pub(super) fn spread_maps(&self) {
        let whole = self.counts().whole() as u32;
        for frame in self.page_frames(0, self.pages()) {
            frame.maps.store(frame.maps.load(Ordering::Relaxed) + whole, Ordering::Relaxed);
        }
    }

    /// Makes the counts of a folio that a split made, from those of its pages: what they have in common becomes mappings of the whole.
    pub(super) fn collect_maps(&self) {
        if !self.is_large() {
            return;
        }
        let frames = self.page_frames(0, self.pages());
        let (mut whole, mut total) = (u32::MAX, 0);
        for frame in frames {
            let maps = frame.maps.load(Ordering::Relaxed);
            whole = whole.min(maps);
            total += maps as usize;
        }
        let mut own = 0;
        for frame in frames {
            let left = frame.maps.load(Ordering::Relaxed) - whole;
            frame.maps.store(left, Ordering::Relaxed);
            own += usize::from(left > 0);
        }
        self.word().store(Word::new(whole as usize, own, total).0, Ordering::Relaxed);
    }
}
