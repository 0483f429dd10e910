//! What programs and the kernel do at random, and how often.

use std::ops::Range;

use mm::inject::Point;
use mm::space::advice;
use mm::vma::Prot;
use mmu::CONT_PTES;
use proptest::prelude::*;
use proptest::sample::select;

use crate::world::PAGES;

/// Readable and writable.
pub const RW: Prot = Prot::READ.union(Prot::WRITE);

/// Pages of the field: the first, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Pages(pub usize, pub usize);

impl Pages {
    /// Each of them.
    pub fn iter(self) -> Range<usize> {
        self.0..self.0 + self.1
    }

    /// With a block's worth of neighbours on either side.
    pub fn widened(self) -> Self {
        let first = self.0.saturating_sub(CONT_PTES);
        Self(first, (self.0 + self.1 + CONT_PTES).min(PAGES) - first)
    }
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// The program stores a value to a word of each page.
    Write(Pages, u64),
    /// The program loads each word of each page.
    Read(Pages),
    /// mmap, in place of what is there.
    Map(Pages, Prot),
    /// munmap.
    Unmap(Pages),
    /// mprotect.
    Protect(Pages, Prot),
    /// madvise.
    Advise(Pages, u32),
    /// A switch gets another value.
    Set(&'static str, &'static str),
    /// The program of this space runs from now on.
    Enter(usize),
    /// So many spaces are made, run, and go: sooner or later there are no ASIDs left.
    Rollover(usize),
    /// Memory is short: folios that are mapped in part are split until so many pages came free.
    Shrink(usize),
    /// The TLB of this CPU forgets everything, as one may at any time. Only then is it seen that a store went to a frame that was no
    /// longer the program's.
    Forget,
    /// This point, and no other, lets so many units pass and then fails once.
    Fail(Point, usize),
}

use Operation::{Advise, Enter, Fail, Forget, Map, Protect, Read, Rollover, Set, Shrink, Unmap, Write};

impl Operation {
    /// The pages that it is about; for one that is about none, the first.
    pub fn pages(&self) -> Pages {
        match *self {
            Write(pages, _) | Read(pages) | Map(pages, _) | Unmap(pages) | Protect(pages, _) | Advise(pages, _) => {
                pages
            }
            Set(..) | Enter(_) | Rollover(_) | Shrink(_) | Forget | Fail(..) => Pages(0, 1),
        }
    }
}

/// The ways to unmap.
pub const WAYS: [&str; 3] = ["page", "folio", "gather"];

/// The other switches and their values. That with the most values is drawn most often.
const SETTINGS: [(&str, &str); 16] = [
    ("thp", "16K-2M:never"),
    ("thp", "16K-2M:never;64K:always"),
    ("thp", "16K-2M:never;64K:madvise"),
    ("thp", "16K-2M:never;16K:always;64K:always"),
    ("thp", "16K-2M:never;16K:always;32K:madvise;128K:always"),
    ("thp", "16K-2M:always"),
    ("contpte", "on"),
    ("contpte", "off"),
    ("tlbi", "range"),
    ("tlbi", "single"),
    ("flush", "deferred"),
    ("flush", "immediate"),
    ("swapin", "folio"),
    ("swapin", "page"),
    ("getter", "early"),
    ("getter", "full"),
];

/// Advices that take nothing away.
const ADVICES: [u32; 4] = [advice::HUGEPAGE, advice::NOHUGEPAGE, advice::POPULATE_READ, advice::POPULATE_WRITE];

/// Protections; what was taken comes back about as often.
const PROTECTIONS: [Prot; 4] = [RW, RW, Prot::READ, Prot::empty()];

/// Some pages of a range: a few, a block, or many; often from the start of a block on.
pub fn pages(of: Range<usize>) -> impl Strategy<Value = Pages> {
    let (start, end) = (of.start, of.end);
    let first = prop_oneof![start..end, (start / CONT_PTES..end / CONT_PTES).prop_map(|block| block * CONT_PTES)];
    let count = prop_oneof![3 => 1..=4usize, 3 => Just(CONT_PTES), 1 => Just(2 * CONT_PTES), 1 => 1..=end - start];
    (first, count).prop_map(move |(first, count)| Pages(first, count.min(end - first)))
}

/// A write; often of zeros, so that pages become empty again.
pub fn write(of: Range<usize>) -> impl Strategy<Value = Operation> {
    (pages(of), prop_oneof![1 => Just(0), 3 => 1..=u64::MAX]).prop_map(|(pages, value)| Write(pages, value))
}

/// A read.
pub fn read(of: Range<usize>) -> impl Strategy<Value = Operation> {
    pages(of).prop_map(Read)
}

/// mmap with any protection.
pub fn map(of: Range<usize>) -> impl Strategy<Value = Operation> {
    (pages(of), select(&PROTECTIONS[..])).prop_map(|(pages, prot)| Map(pages, prot))
}

/// What takes the contents of pages of a range away.
pub fn destroy(of: Range<usize>) -> impl Strategy<Value = Operation> {
    let map = pages(of.clone()).prop_map(|pages| Map(pages, RW));
    prop_oneof![2 => map, 1 => pages(of.clone()).prop_map(Unmap), 2 => empty(of)]
}

/// MADV_DONTNEED.
pub fn empty(of: Range<usize>) -> impl Strategy<Value = Operation> {
    pages(of).prop_map(|pages| Advise(pages, advice::DONTNEED))
}

/// MADV_PAGEOUT.
pub fn page_out(of: Range<usize>) -> impl Strategy<Value = Operation> {
    pages(of).prop_map(|pages| Advise(pages, advice::PAGEOUT))
}

/// What neither takes contents away nor swaps them out.
pub fn keep(of: Range<usize>) -> impl Strategy<Value = Operation> {
    prop_oneof![
        1 => (pages(of.clone()), select(&ADVICES[..])).prop_map(|(pages, advice)| Advise(pages, advice)),
        1 => (pages(of), select(&PROTECTIONS[..])).prop_map(|(pages, prot)| Protect(pages, prot)),
    ]
}

/// What changes around the programs; `setting` changes a switch.
pub fn around(setting: impl Strategy<Value = Operation>) -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => setting,
        2 => (0..2usize).prop_map(Enter),
        1 => (1..=8usize).prop_map(Rollover),
        4 => Just(Forget),
        2 => (1..64usize).prop_map(Shrink),
        3 => (select(&Point::ALL[..]), 0..24usize).prop_map(|(point, after)| Fail(point, after)),
    ]
}

/// A switch gets another value.
pub fn setting() -> impl Strategy<Value = Operation> {
    prop_oneof![1 => select(&WAYS[..]).prop_map(|way| Set("unmap", way)), 3 => other_setting()]
}

/// A switch gets another value, but that of the ways to unmap.
pub fn other_setting() -> impl Strategy<Value = Operation> {
    select(&SETTINGS[..]).prop_map(|(key, value)| Set(key, value))
}
