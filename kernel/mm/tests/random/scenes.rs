//! Short sequences that single operations drawn at random hardly ever add up to.

use std::ops::Range;

use mm::HugeSize;
use mm::inject::Point;
use mm::remap::MoveFlags;
use mm::space::advice;
use mm::vma::{AreaFlags, Prot};
use mmu::CONT_PTES;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::operation::Operation::{
    Advise, Child, CutInside, DeviceRead, Enter, Fail, Fork, Lock, Map, MapFile, MapHuge, Mark, Move, Pin, Poison,
    Protect, Read, Reclaim, Resize, Unlock, Unmap, Unpin, Unwatch, Watch, Write,
};
use crate::operation::{Kind, Operation, Pages, RW, fail_inside};
use crate::source::FILE_PAGES;
use crate::world::{BLOCK, PAGES, PINS, SPACES};

/// Any of them.
pub fn any_of(of: Range<usize>) -> impl Strategy<Value = Vec<Operation>> {
    prop_oneof![
        2 => patchwork(of.clone()),
        2 => watched_file(of.clone()),
        2 => huge_family(of.clone()),
        1 => bad_memory(of.clone()),
        2 => areas_in_vain(of.clone()),
        1 => pinned_beside_child(of.clone()),
        1 => cut_in_swap(of),
    ]
}

/// A block of a range.
fn block(of: Range<usize>) -> impl Strategy<Value = Pages> {
    (of.start / CONT_PTES..of.end / CONT_PTES).prop_map(|block| Pages(block * CONT_PTES, CONT_PTES))
}

/// Some pages of a block, by where they are in it.
fn part() -> impl Strategy<Value = (usize, usize)> {
    prop_oneof![
        1 => Just((0, CONT_PTES)),
        2 => (0..CONT_PTES, 1..=CONT_PTES).prop_map(|(first, count)| (first, count.min(CONT_PTES - first))),
    ]
}

fn part_of(block: Pages, (first, count): (usize, usize)) -> Pages {
    Pages(block.0 + first, count)
}

/// A block of which some pages are exclusive and others not, all read-only, is taken out, and that fails in the middle.
fn patchwork(of: Range<usize>) -> impl Strategy<Value = Vec<Operation>> {
    let written = vec((0..CONT_PTES, 1..=4usize), 1..=3);
    let take_out = prop_oneof![1 => Just(None), 2 => fail_inside(CONT_PTES).prop_map(Some)];
    (block(of), written, take_out).prop_map(|(block, written, failure)| {
        let rewrite =
            written.into_iter().map(|(first, count)| Write(Pages(block.0 + first, count.min(CONT_PTES - first)), 1));
        // The child leaves all pages shared in name; a write makes one exclusive again.
        let prepare = [Map(block, RW, Kind::Ordinary), Write(block, 1), Child].into_iter().chain(rewrite);
        let reclaim = [Protect(block, Prot::READ)].into_iter().chain(failure).chain([Advise(block, advice::PAGEOUT)]);
        prepare.chain(reclaim).collect()
    })
}

/// A block of a file is watched and protected in part, its pages are taken out in some way, and the program comes back to them.
fn watched_file(of: Range<usize>) -> impl Strategy<Value = Vec<Operation>> {
    let modes = select(&[AreaFlags::UFFD_WP, AreaFlags::UFFD_WP, AreaFlags::UFFD][..]);
    let file = (0..FILE_PAGES / CONT_PTES, any::<bool>(), modes);
    let before = (any::<bool>(), part());
    let ways = (0..10usize, part(), 0..FILE_PAGES, 0..PAGES / CONT_PTES);
    let after = (any::<bool>(), any::<u64>());
    (block(of), file, before, part(), ways, after).prop_map(|(block, file, before, marked, ways, after)| {
        let (first, shared, modes) = (file.0 * CONT_PTES, file.1, file.2);
        let touch = |writes, pages, value| if writes { Write(pages, value) } else { Read(pages) };
        let mut all = vec![MapFile(block, first, RW, shared), touch(before.0, part_of(block, before.1), 1)];
        all.extend([Watch(block, modes), Mark(part_of(block, marked), true)]);
        let (way, some, size, to) = (ways.0, part_of(block, ways.1), ways.2, ways.3 * CONT_PTES);
        all.extend(match way {
            0 | 1 => vec![Advise(some, advice::DONTNEED)],
            2 | 3 => vec![Advise(some, advice::PAGEOUT)],
            4 => vec![Reclaim(some)],
            5 => vec![Resize(size), Resize(FILE_PAGES)],
            6 => vec![Unmap(some), MapFile(block, first, RW, shared)],
            7 => vec![Move(block, to.min(PAGES - CONT_PTES), MoveFlags::empty())],
            8 => vec![Unwatch(some)],
            _ => vec![Protect(some, Prot::READ), Protect(some, RW)],
        });
        all.push(touch(after.0, block, after.1));
        all
    })
}

/// Huge pages that a child shares, until one of the two writes, gives them up, or loses them.
fn huge_family(of: Range<usize>) -> impl Strategy<Value = Vec<Operation>> {
    let runs = block(of).prop_map(|block| (HugeSize::Run, block));
    let kind = (prop_oneof![6 => runs, 1 => Just((HugeSize::Block, BLOCK))], any::<bool>(), 0..SPACES);
    let end = prop_oneof![2 => Just(None), 1 => Just(Some(true)), 1 => Just(Some(false))];
    let touch = (0..CONT_PTES, any::<bool>(), any::<u64>());
    (kind, vec(touch, 3), end).prop_map(|(((size, pages), reserves, child), touches, end)| {
        let touch = |(inside, writes, value): (usize, bool, u64)| {
            let page = Pages(pages.0 + inside, 1);
            if writes { Write(page, value) } else { Read(page) }
        };
        let mut all = vec![MapHuge(pages, size, RW, reserves), Write(pages, 1), Fork(child), touch(touches[0])];
        all.extend(match end {
            None => vec![],
            Some(true) => vec![Advise(pages, advice::DONTNEED)],
            // Of two that share it the first, the second or none can not be unmapped.
            Some(false) => vec![Fail(Point::HugeUnmap, pages.0 / CONT_PTES % 3), Poison(pages.0)],
        });
        all.extend([Enter(child), touch(touches[1]), Enter(0), touch(touches[2])]);
        all
    })
}

/// A page of a block goes bad, which others share or a device has pinned, and the program, or a child, goes on.
fn bad_memory(of: Range<usize>) -> impl Strategy<Value = Vec<Operation>> {
    let (way, after) = (0..5usize, 0..6usize);
    (block(of), way, part(), 0..CONT_PTES, after).prop_map(|(block, way, part, inside, after)| {
        let (some, page) = (part_of(block, part), block.0 + inside);
        let mut all = vec![Map(block, RW, Kind::Ordinary), Write(block, 1)];
        all.extend(match way {
            0 => vec![Fork(SPACES - 1)],
            1 => vec![Pin(PINS - 1, Pages(some.0, 1), mm::fault::Access::Write)],
            2 => vec![Advise(some, advice::PAGEOUT), Fork(SPACES - 1)],
            3 => vec![Advise(some, advice::FREE)],
            _ => vec![],
        });
        all.push(Poison(page));
        all.extend(match after {
            0 => vec![Unpin(PINS - 1), Advise(block, advice::PAGEOUT)],
            1 => vec![Child, Advise(block, advice::DONTNEED)],
            2 => vec![Fork(SPACES - 1), Enter(SPACES - 1)],
            3 => vec![Protect(block, Prot::READ), Reclaim(block)],
            4 => vec![Unmap(some)],
            _ => vec![],
        });
        all.push(Read(block));
        all
    })
}

/// A block of several areas, some of which differ, is changed in part by an operation that fails at one of them for want of memory.
fn areas_in_vain(of: Range<usize>) -> impl Strategy<Value = Vec<Operation>> {
    let kind = (0..3usize, 0..FILE_PAGES / CONT_PTES);
    let differs = vec((part(), 0..4usize), 0..=3);
    let change = (0..10usize, part(), 0..PAGES / CONT_PTES, 0..4usize);
    (block(of), kind, differs, change).prop_map(|(block, (kind, first), differs, (change, part, to, after))| {
        let mut all = vec![match kind {
            0 => Map(block, RW, Kind::Ordinary),
            kind => MapFile(block, first * CONT_PTES, RW, kind == 1),
        }];
        all.push(Write(block, 1));
        all.extend(differs.into_iter().map(|(part, how)| match how {
            0 => Protect(part_of(block, part), Prot::READ),
            1 => Watch(part_of(block, part), AreaFlags::UFFD_WP),
            2 => Lock(part_of(block, part), true),
            _ => Advise(part_of(block, part), advice::DONTFORK),
        }));
        let some = part_of(block, part);
        all.push(Fail(Point::Extent, after));
        all.push(match change {
            0 => Protect(some, Prot::empty()),
            1 => Watch(some, AreaFlags::UFFD),
            2 => Unwatch(some),
            3 => Lock(some, false),
            4 => Unlock(some),
            5 => Advise(some, advice::DOFORK),
            6 => Unmap(some),
            7 => Map(some, RW, Kind::Ordinary),
            8 => Move(some, (to * CONT_PTES).min(PAGES - some.1), MoveFlags::empty()),
            _ => Fork(SPACES - 1),
        });
        all.extend([Protect(block, RW), Unlock(block), Write(block, 2)]);
        all
    })
}

/// A page that a child shares is pinned to be read, and one of the two writes it: the device must see what the program does.
fn pinned_beside_child(of: Range<usize>) -> impl Strategy<Value = Vec<Operation>> {
    let after = (0..PINS, any::<bool>(), any::<u64>());
    (block(of), part(), part(), after).prop_map(|(block, pinned, written, (number, child_writes, value))| {
        let write = Write(part_of(block, written), value);
        let mut all = vec![Map(block, RW, Kind::Ordinary), Write(block, 1), Enter(0), Fork(SPACES - 1)];
        all.push(Pin(number, part_of(block, pinned), mm::fault::Access::Read));
        all.extend(if child_writes { vec![Enter(SPACES - 1), write, Enter(0)] } else { vec![write] });
        all.push(DeviceRead(number));
        all
    })
}

/// A file ends inside a page that is in swap, and grows again.
fn cut_in_swap(of: Range<usize>) -> impl Strategy<Value = Vec<Operation>> {
    (block(of), 0..FILE_PAGES / CONT_PTES, part(), 0..CONT_PTES).prop_map(|(block, first, out, cut)| {
        let first = first * CONT_PTES;
        let mut all = vec![Resize(FILE_PAGES), MapFile(block, first, RW, true), Write(block, 1)];
        all.extend([Advise(part_of(block, out), advice::PAGEOUT), CutInside(first + cut)]);
        all.extend([Resize(FILE_PAGES), Read(block)]);
        all
    })
}
