//! What programs and the kernel do at random, and how often.

use std::ops::Range;

use mm::HugeSize;
use mm::fault::Access;
use mm::inject::Point;
use mm::mlock::LockAll;
use mm::remap::MoveFlags;
use mm::space::advice;
use mm::vma::{AreaFlags, Prot};
use mmu::CONT_PTES;
use proptest::prelude::*;
use proptest::sample::select;

use crate::source::FILE_PAGES;
use crate::world::{BLOCK, PAGES, PINS, POOL_LIMITS, SPACES};

/// Pages that can be written where memory is short, without any being got back.
const FEW: usize = 64;

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

    /// Whether any page is one of both.
    pub fn overlaps(self, other: Self) -> bool {
        self.0 < other.0 + other.1 && other.0 < self.0 + self.1
    }

    /// With a block's worth of neighbours on either side.
    pub fn widened(self) -> Self {
        let first = self.0.saturating_sub(CONT_PTES);
        Self(first, (self.0 + self.1 + CONT_PTES).min(PAGES) - first)
    }
}

/// What is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Ordinary,
    /// Its pages may go at any time.
    Droppable,
}

/// What the monitor answers when a program touches what it watches. Where a page is there and protected, all but the first take the
/// protection away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Nothing: the access is given up.
    Leave,
    /// The page of zeros.
    Zero,
    /// A page that holds this value in each word.
    Copy(u64),
    /// The same, and it is protected, where writes are watched.
    Protected(u64),
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// The program stores a value to a word of each page.
    Write(Pages, u64),
    /// The program loads each word of each page.
    Read(Pages),
    /// mmap, in place of what is there.
    Map(Pages, Prot, Kind),
    /// mmap of the file from this page of it on, shared or not.
    MapFile(Pages, usize, Prot, bool),
    /// mmap of huge pages, which are reserved or not, in place of what is there.
    MapHuge(Pages, HugeSize, Prot, bool),
    /// A pool of huge pages gets so many, if memory has them.
    Pool(HugeSize, usize),
    /// MADV_HWPOISON: the memory of a page is treated as bad.
    Poison(usize),
    /// ftruncate of the file, in pages.
    Resize(usize),
    /// It ends in the middle of this page.
    CutInside(usize),
    /// munmap.
    Unmap(Pages),
    /// mprotect.
    Protect(Pages, Prot),
    /// madvise.
    Advise(Pages, u32),
    /// mremap to this page, in place of what is there.
    Move(Pages, usize, MoveFlags),
    /// Direct reclaim comes upon the folios of these pages.
    Reclaim(Pages),
    /// The program forks into the space of this number, from which one that is there goes first.
    Fork(usize),
    /// The program forks, and the child ends at once.
    Child,
    /// The space of this number goes.
    Exit(usize),
    /// A switch gets another value.
    Set(&'static str, &'static str),
    /// The program of this space runs from now on.
    Enter(usize),
    /// So many spaces are made, run, and go: sooner or later there are no ASIDs left.
    Rollover(usize),
    /// Memory is short: folios that are mapped in part are split until so many pages came free.
    Shrink(usize),
    /// So many pages are got back from the LRU lists, whosever they are.
    Press(usize),
    /// The same as `Write`, while so little memory is left that who needs a page gets some back first.
    WriteShort(Pages, u64),
    /// The swap device is taken out of use, if what it keeps can be had back, and into use again.
    Swapoff,
    /// The TLB of this CPU forgets everything, as one may at any time. Only then is it seen that a store went to a frame that was no
    /// longer the program's.
    Forget,
    /// Writes to the swap device take so many ticks from now on.
    Latency(u64),
    /// The swap device's time goes on, and what it has completed is dealt with.
    Tick,
    /// A device pins pages of the program and keeps them under this number, from which those that are there go first.
    Pin(usize, Pages, Access),
    /// It takes the pins of this number off.
    Unpin(usize),
    /// It stores a value to a word of each of them.
    DeviceWrite(usize, u64),
    /// It loads each word of each of them.
    DeviceRead(usize),
    /// userfaultfd watches the pages from now on, in these modes alone.
    Watch(Pages, AreaFlags),
    /// It watches them no longer.
    Unwatch(Pages),
    /// It protects those that are there from writes, or no longer.
    Mark(Pages, bool),
    /// It fills missing ones, up to the first that is not.
    Fill(Pages, Answer),
    /// What is answered from now on.
    Answer(Answer),
    /// mlock, or mlock2 with MLOCK_ONFAULT.
    Lock(Pages, bool),
    /// munlock.
    Unlock(Pages),
    /// mlockall.
    LockAll(LockAll),
    /// munlockall.
    UnlockAll,
    /// mincore, and what a look at the tables says.
    Mincore(Pages),
    /// This point, and no other, lets so many units pass and then fails once.
    Fail(Point, usize),
}

use Operation::{
    Advise, Child, DeviceRead, DeviceWrite, Enter, Exit, Fail, Fill, Forget, Fork, Latency, Lock, Map, MapFile, Mark,
    Mincore, Move, Pin, Press, Protect, Read, Reclaim, Resize, Rollover, Set, Shrink, Swapoff, Tick, Unlock, UnlockAll,
    Unmap, Unpin, Unwatch, Watch, Write,
};

impl Operation {
    /// The pages that it is about; for one that is about none, the first.
    pub fn pages(&self) -> Pages {
        match *self {
            Write(pages, _)
            | Operation::WriteShort(pages, _)
            | Map(pages, ..)
            | MapFile(pages, ..)
            | Operation::MapHuge(pages, ..)
            | Protect(pages, _)
            | Advise(pages, _)
            | Move(pages, ..) => pages,
            Read(pages) | Unmap(pages) | Reclaim(pages) | Pin(_, pages, _) => pages,
            Watch(pages, _) | Mark(pages, _) | Fill(pages, _) | Lock(pages, _) => pages,
            Unwatch(pages) | Unlock(pages) | Mincore(pages) => pages,
            Operation::Poison(page) => Pages(page, 1),
            Fork(_)
            | Child
            | Operation::Pool(..)
            | Resize(_)
            | Operation::CutInside(_)
            | Exit(_)
            | Enter(_)
            | Rollover(_)
            | Shrink(_)
            | Press(_)
            | Swapoff
            | Set(..)
            | Forget
            | Latency(_)
            | Tick
            | Unpin(_)
            | DeviceWrite(..)
            | DeviceRead(_)
            | Fail(..)
            | Operation::Answer(_)
            | Operation::LockAll(_)
            | UnlockAll => Pages(0, 1),
        }
    }
}

/// The ways to unmap.
pub const WAYS: [&str; 3] = ["page", "folio", "gather"];

/// The other switches and their values. That with the most values is drawn most often.
const SETTINGS: [(&str, &str); 20] = [
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
    ("uffd_batch", "on"),
    ("uffd_batch", "off"),
    ("lazyfree", "folio"),
    ("lazyfree", "page"),
    ("getter", "early"),
    ("getter", "full"),
];

/// Advices that take nothing away, and what a child gets.
const ADVICES: [u32; 9] = [
    advice::HUGEPAGE,
    advice::NOHUGEPAGE,
    advice::POPULATE_READ,
    advice::POPULATE_WRITE,
    advice::COLD,
    advice::DONTFORK,
    advice::DOFORK,
    advice::WIPEONFORK,
    advice::KEEPONFORK,
];

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

/// mmap of either kind with any protection.
pub fn map(of: Range<usize>) -> impl Strategy<Value = Operation> {
    let kind = prop_oneof![Just(Kind::Ordinary), Just(Kind::Droppable)];
    (pages(of), select(&PROTECTIONS[..]), kind).prop_map(|(pages, prot, kind)| Map(pages, prot, kind))
}

/// mmap of the file, mostly so that its blocks can be folded; and where it ends.
pub fn file(of: Range<usize>) -> impl Strategy<Value = Operation> {
    let first = prop_oneof![1 => 0..FILE_PAGES, 3 => (0..4usize).prop_map(|block| block * CONT_PTES)];
    let map = (pages(of), first, select(&PROTECTIONS[..]), any::<bool>()).prop_map(|(pages, first, prot, shared)| {
        MapFile(Pages(pages.0, pages.1.min(FILE_PAGES - first)), first, prot, shared)
    });
    let size = prop_oneof![1 => 0..=FILE_PAGES, 1 => Just(FILE_PAGES)];
    prop_oneof![6 => map, 2 => size.prop_map(Resize), 1 => (0..FILE_PAGES).prop_map(Operation::CutInside)]
}

/// mmap of huge pages: mostly one or two of the smaller size, and now and then one of the larger; and what makes room for others where
/// that one is.
pub fn huge(of: Range<usize>) -> impl Strategy<Value = Operation> {
    let runs = (of.start / CONT_PTES..of.end / CONT_PTES, 1..=2usize).prop_map(move |(block, count)| {
        let first = block * CONT_PTES;
        (HugeSize::Run, Pages(first, (count * CONT_PTES).min(of.end - first)))
    });
    let block = Just((HugeSize::Block, BLOCK));
    let map = (prop_oneof![6 => runs, 1 => block], select(&PROTECTIONS[..]), any::<bool>())
        .prop_map(|((size, pages), prot, reserves)| Operation::MapHuge(pages, size, prot, reserves));
    let clear = prop_oneof![Just(Unmap(BLOCK)), Just(Map(BLOCK, RW, Kind::Ordinary))];
    prop_oneof![7 => map, 1 => clear]
}

/// Pools of huge pages change.
pub fn pool() -> impl Strategy<Value = Operation> {
    let runs = (0..=POOL_LIMITS[0]).prop_map(|count| Operation::Pool(HugeSize::Run, count));
    let blocks = (0..=POOL_LIMITS[1]).prop_map(|count| Operation::Pool(HugeSize::Block, count));
    prop_oneof![3 => runs, 1 => blocks]
}

/// MADV_HWPOISON of a page.
pub fn poison(of: Range<usize>) -> impl Strategy<Value = Operation> {
    of.prop_map(Operation::Poison)
}

/// What takes the contents of pages of a range away.
pub fn destroy(of: Range<usize>) -> impl Strategy<Value = Operation> {
    let map = pages(of.clone()).prop_map(|pages| Map(pages, RW, Kind::Ordinary));
    prop_oneof![2 => map, 1 => pages(of.clone()).prop_map(Unmap), 2 => empty(of)]
}

/// MADV_DONTNEED and MADV_FREE: the contents go, at once or perhaps later.
pub fn empty(of: Range<usize>) -> impl Strategy<Value = Operation> {
    (pages(of), select(&[advice::DONTNEED, advice::FREE][..])).prop_map(|(pages, advice)| Advise(pages, advice))
}

/// MADV_PAGEOUT.
pub fn page_out(of: Range<usize>) -> impl Strategy<Value = Operation> {
    pages(of).prop_map(|pages| Advise(pages, advice::PAGEOUT))
}

/// Direct reclaim, which does not ask whose the folios are.
pub fn reclaim(of: Range<usize>) -> impl Strategy<Value = Operation> {
    pages(of).prop_map(Reclaim)
}

/// mremap; mostly by whole blocks, so that these stay folded.
pub fn relocate(of: Range<usize>) -> impl Strategy<Value = Operation> {
    let to = prop_oneof![1 => 0..PAGES, 3 => (0..PAGES / CONT_PTES).prop_map(|block| block * CONT_PTES)];
    let flags = prop_oneof![3 => Just(MoveFlags::empty()), 1 => Just(MoveFlags::DONTUNMAP)];
    (pages(of), to, flags).prop_map(|(pages, to, flags)| Move(pages, to.min(PAGES - pages.1), flags))
}

/// Spaces that come, run, and go.
pub fn family() -> impl Strategy<Value = Operation> {
    prop_oneof![
        2 => (0..SPACES).prop_map(Fork),
        1 => Just(Child),
        1 => (0..SPACES).prop_map(Exit),
        2 => (0..SPACES).prop_map(Enter),
    ]
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
        3 => fail(),
    ]
}

/// A write to some pages, where memory is short.
pub fn write_short(of: Range<usize>) -> impl Strategy<Value = Operation> {
    let pages = pages(of).prop_map(|pages| Pages(pages.0, pages.1.min(FEW)));
    (pages, any::<u64>()).prop_map(|(pages, value)| Operation::WriteShort(pages, value))
}

/// Memory is short, or swap goes.
pub fn pressure() -> impl Strategy<Value = Operation> {
    prop_oneof![3 => (1..256usize).prop_map(Press), 1 => Just(Swapoff)]
}

/// A failure to come; often one inside a folio that is taken out.
pub fn fail() -> impl Strategy<Value = Operation> {
    let any = (select(Point::ALL.to_vec()), 0..24usize).prop_map(|(point, after)| Fail(point, after));
    // Areas change seldom.
    let extent = (0..4usize).prop_map(|after| Fail(Point::Extent, after));
    prop_oneof![6 => any, 1 => extent, 7 => fail_inside(24)]
}

/// A failure at one of the next `pages` pages that are taken out.
pub fn fail_inside(pages: usize) -> impl Strategy<Value = Operation> {
    (select(&[Point::SwapDup, Point::Share][..]), 0..pages).prop_map(|(point, after)| Fail(point, after))
}

/// A device that pins pages, and reads and writes them until it takes the pins off.
pub fn pins(of: Range<usize>) -> impl Strategy<Value = Operation> {
    let some = prop_oneof![1 => pages(of.clone()), 2 => (of, Just(1)).prop_map(|(page, count)| Pages(page, count))];
    let pin = (0..PINS, some, select(&[Access::Read, Access::Write, Access::Write][..]));
    prop_oneof![
        2 => pin.prop_map(|(number, pages, access)| Pin(number, pages, access)),
        1 => (0..PINS).prop_map(Unpin),
        2 => (0..PINS, any::<u64>()).prop_map(|(number, value)| DeviceWrite(number, value)),
        1 => (0..PINS).prop_map(DeviceRead),
    ]
}

/// userfaultfd: what is watched, protected and filled, and what the monitor answers.
pub fn watching(of: Range<usize>) -> impl Strategy<Value = Operation> {
    let modes = select(&[AreaFlags::UFFD_WP, AreaFlags::UFFD_WP, AreaFlags::UFFD_MISSING, AreaFlags::UFFD][..]);
    prop_oneof![
        3 => (pages(of.clone()), modes).prop_map(|(pages, modes)| Watch(pages, modes)),
        1 => pages(of.clone()).prop_map(Unwatch),
        4 => (pages(of.clone()), prop_oneof![3 => Just(true), 1 => Just(false)]).prop_map(|(pages, on)| Mark(pages, on)),
        2 => (pages(of), answer()).prop_map(|(pages, answer)| Fill(pages, answer)),
        1 => prop_oneof![1 => Just(Answer::Leave), 3 => answer()].prop_map(Operation::Answer),
    ]
}

/// What a page is filled with.
fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![Just(Answer::Zero), any::<u64>().prop_map(Answer::Copy), any::<u64>().prop_map(Answer::Protected)]
}

/// mlock and its kin. What locks all is rare, and does not last: nothing could be taken out any more.
pub fn locking(of: Range<usize>) -> impl Strategy<Value = Operation> {
    let all = [LockAll::CURRENT, LockAll::CURRENT | LockAll::ON_FAULT, LockAll::all(), LockAll::FUTURE];
    prop_oneof![
        4 => (pages(of.clone()), any::<bool>()).prop_map(|(pages, on_fault)| Lock(pages, on_fault)),
        3 => pages(of).prop_map(Unlock),
        1 => select(all.to_vec()).prop_map(Operation::LockAll),
        3 => Just(UnlockAll),
    ]
}

/// mincore.
pub fn mincore(of: Range<usize>) -> impl Strategy<Value = Operation> {
    pages(of).prop_map(Mincore)
}

/// What a swap device does that takes its time.
pub fn swap_device() -> impl Strategy<Value = Operation> {
    prop_oneof![1 => (0..4u64).prop_map(Latency), 3 => Just(Tick)]
}

/// A switch gets another value.
pub fn setting() -> impl Strategy<Value = Operation> {
    prop_oneof![1 => select(&WAYS[..]).prop_map(|way| Set("unmap", way)), 3 => other_setting()]
}

/// A switch gets another value, but that of the ways to unmap.
pub fn other_setting() -> impl Strategy<Value = Operation> {
    select(&SETTINGS[..]).prop_map(|(key, value)| Set(key, value))
}
