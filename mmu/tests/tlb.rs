//! The ordinary TLB of the simulated machine: it keeps what it has until an invalidation names it, and no longer.

mod common;

use common::*;
use mmu::host::{Access, Config, FaultKind, Schedule, program};
use mmu::{Asid, CONT_PTES, Cause, Depth, Descriptor, PhysAddr, Scope, TlbOp, VirtAddr};

/// A space with `pages` pages mapped and warm, page n holding byte n + 1, and a frame full of 0xff.
fn warm(pages: usize) -> (Ground, Space, mmu::Pfn) {
    let mut ground = Ground::new(1);
    let space = ground.active_space();
    let frames = ground.frames(pages.next_power_of_two());
    for number in 0..pages {
        ground.fill(frames.add(number), number as u8 + 1);
        ground.door.store(space.slot(number), dirty(frames.add(number)));
        assert_eq!(ground.byte(page(number)), number as u8 + 1);
    }
    let other = ground.frames(1);
    ground.fill(other, 0xff);
    (ground, space, other)
}

/// Which of `pages` pages are still translated as before after all were remapped to the frame of 0xff and `op` was issued.
fn stale_after(pages: usize, op: TlbOp) -> Vec<usize> {
    let (ground, space, other) = warm(pages);
    for number in 0..pages {
        ground.door.swap(space.slot(number), dirty(other));
    }
    ground.door.invalidate(op, Cause::Test);
    (0..pages).filter(|&number| ground.byte(page(number)) != 0xff).collect()
}

fn leaf(asid: u16, number: usize, level: u8) -> TlbOp {
    TlbOp::page(Asid::new(asid), page(number), level, Depth::Leaf, Scope::Broadcast)
}

#[test]
fn a_translation_is_stale_until_it_is_invalidated() {
    let (ground, space, other) = warm(2);
    ground.door.swap(space.slot(0), dirty(other));
    assert_eq!(ground.byte(page(0)), 1);
    ground.door.swap(space.slot(1), Descriptor::NONE);
    ground.machine.user_write(page(1), b"lost").unwrap();
    ground.door.invalidate(leaf(1, 0, 3), Cause::Test);
    assert_eq!(ground.byte(page(0)), 0xff);
    ground.door.invalidate(leaf(1, 1, 3), Cause::Test);
    assert_eq!(ground.machine.access(page(1), Access::Read).unwrap_err().kind, FaultKind::Translation);
}

#[test]
fn what_faulted_is_not_kept() {
    let (ground, space, other) = warm(1);
    assert_eq!(ground.machine.access(page(7), Access::Read).unwrap_err().kind, FaultKind::Translation);
    ground.door.store(space.slot(7), dirty(other));
    assert_eq!(ground.byte(page(7)), 0xff);
}

#[test]
fn operations_reach_what_they_name() {
    assert_eq!(stale_after(4, leaf(1, 2, 3)), [0, 1, 3]);
    assert_eq!(stale_after(4, leaf(1, 2, 0)), [0, 1, 3]);
    assert_eq!(stale_after(4, TlbOp::all(Scope::Broadcast)), []);
    assert_eq!(stale_after(4, TlbOp::asid(ASID, Scope::Broadcast)), []);
    // (num + 1) << (5 * scale + 1) pages: 4 here.
    let range =
        |asid, first, level| TlbOp::range(Asid::new(asid), page(first), 0, 1, level, Depth::Leaf, Scope::Broadcast);
    assert_eq!(stale_after(8, range(1, 2, 3)), [0, 1, 6, 7]);
    assert_eq!(stale_after(8, range(1, 2, 0)), [0, 1, 6, 7]);
    // A range longer than the TLB has entries.
    assert_eq!(stale_after(3, range(1, 1, 3)), [0]);
}

#[test]
fn a_wrong_asid_or_level_reaches_nothing() {
    assert_eq!(stale_after(2, leaf(2, 0, 3)), [0, 1]);
    assert_eq!(stale_after(2, leaf(1, 0, 2)), [0, 1]);
    assert_eq!(stale_after(2, TlbOp::asid(Asid::new(2), Scope::Broadcast)), [0, 1]);
    let range = TlbOp::range(ASID, page(0), 0, 0, 2, Depth::Leaf, Scope::Broadcast);
    assert_eq!(stale_after(2, range), [0, 1]);
    // Fewer pages than the TLB has entries, and more.
    for num in [0, 7] {
        let range = TlbOp::range(Asid::new(2), page(0), 0, num, 3, Depth::Leaf, Scope::Broadcast);
        assert_eq!(stale_after(3, range), [0, 1, 2]);
    }
}

#[test]
fn an_address_with_its_sign_bits_names_another_page() {
    let high = VirtAddr::new(page(0).as_u64() | 0xffff_0000_0000_0000);
    assert_eq!(stale_after(1, TlbOp::page(ASID, high, 0, Depth::Leaf, Scope::Broadcast)), [0]);
}

#[test]
fn eight_bits_of_asid_ignore_the_others() {
    let features = mmu::Features { asid_bits: 8, ..Config::default().features };
    let mut ground = Ground::with(1, features);
    let space = ground.active_space();
    let frames = ground.frames(2);
    ground.fill(frames, 1);
    ground.door.store(space.slot(0), dirty(frames));
    assert_eq!(ground.byte(page(0)), 1);
    ground.door.swap(space.slot(0), dirty(frames.add(1)));
    ground.door.invalidate(leaf(0x301, 0, 3), Cause::Test);
    assert_eq!(ground.byte(page(0)), 0);
}

#[test]
fn spaces_do_not_see_each_other_but_global_entries_serve_all() {
    let mut ground = Ground::new(1);
    let (one, two) = (ground.space(Asid::new(1)), ground.space(Asid::new(2)));
    let frames = ground.frames(4);
    (0..4).for_each(|number| ground.fill(frames.add(number), number as u8 + 1));
    let global = |frame| Descriptor::from_bits(dirty(frame).bits() & !(1 << 11));
    ground.door.store(one.slot(0), dirty(frames));
    ground.door.store(two.slot(0), dirty(frames.add(1)));
    ground.door.store(one.slot(1), global(frames.add(2)));
    ground.door.store(two.slot(1), dirty(frames.add(3)));
    ground.door.activate(one.root, one.asid);
    assert_eq!([0, 1].map(|number| ground.byte(page(number))), [1, 3]);
    ground.door.activate(two.root, two.asid);
    assert_eq!([0, 1].map(|number| ground.byte(page(number))), [2, 3]);
    // By ASID global entries stay; by address they go, whatever the ASID (DDI 0487, C5.5).
    ground.door.invalidate(TlbOp::asid(two.asid, Scope::Broadcast), Cause::Test);
    assert_eq!(ground.byte(page(1)), 3);
    ground.door.invalidate(leaf(2, 1, 3), Cause::Test);
    assert_eq!(ground.byte(page(1)), 4);
    let any = TlbOp::kernel_page(page(1), 3);
    ground.door.swap(two.slot(1), dirty(frames.add(2)));
    ground.door.invalidate(any, Cause::Test);
    assert_eq!(ground.byte(page(1)), 3);
}

#[test]
fn a_local_invalidation_leaves_the_other_cpu_stale() {
    for (scope, expected) in [(Scope::Local, 1), (Scope::Broadcast, 0)] {
        let mut ground = Ground::new(2);
        let space = ground.active_space();
        let frames = ground.frames(2);
        ground.fill(frames, 1);
        ground.door.store(space.slot(0), dirty(frames));
        let warm_up = || {
            ground.door.activate(space.root, space.asid);
            assert_eq!(ground.byte(page(0)), 1);
            mmu::relax();
        };
        let changes = program(|| {
            warm_up();
            ground.door.swap(space.slot(0), dirty(frames.add(1)));
            ground.door.invalidate(TlbOp::page(ASID, page(0), 3, Depth::Leaf, scope), Cause::Test);
            assert_eq!(ground.byte(page(0)), 0);
        });
        let looks = program(|| {
            warm_up();
            assert_eq!(ground.byte(page(0)), expected);
        });
        ground.machine.run_by(Schedule::in_turn(), vec![changes, looks]).unwrap();
    }
}

#[test]
fn a_leaf_invalidation_leaves_the_walk_cache() {
    for (asid, depth, level, expected) in [
        (1, Depth::Leaf, 3, 1),
        (1, Depth::WalkCaches, 3, 1),
        (1, Depth::Leaf, 0, 1),
        (2, Depth::WalkCaches, 0, 1),
        (1, Depth::WalkCaches, 0, 0xff),
    ] {
        let (mut ground, space, other) = warm(1);
        let table = ground.table(3);
        ground.door.store(table.slot(page(0)), dirty(other));
        ground.door.swap_table(space.middle.upper_slot(BASE), Descriptor::table(table.address()));
        let op = TlbOp::page(Asid::new(asid), page(0), level, depth, Scope::Broadcast);
        ground.door.invalidate(op, Cause::Table);
        // The leaf goes in any case, so that only the cached table is left to be stale.
        ground.door.invalidate(leaf(1, 0, 3), Cause::Table);
        assert_eq!(ground.byte(page(0)), expected, "ASID {asid}, {depth:?}, level {level}");
    }
}

#[test]
fn a_folded_block_is_held_as_one_entry_or_as_pages() {
    let (mut whole, mut single) = (0, 0);
    for seed in 0..32 {
        let mut ground = Ground::build(Config { seed, ..Config::default() });
        let space = ground.active_space();
        let frames = ground.frames(CONT_PTES);
        ground.door.store_run(space.slot(0), dirty(frames).with_contiguous(true), CONT_PTES);
        ground.byte(page(0));
        ground.door.store_run_none(space.slot(0), CONT_PTES);
        match ground.machine.access(page(5), Access::Read) {
            Ok(physical) => {
                whole += 1;
                assert_eq!(physical, frames.add(5).start());
                // An operation on any page of it takes all of it away.
                ground.door.invalidate(leaf(1, 9, 3), Cause::Test);
                assert!(ground.machine.access(page(5), Access::Read).is_err());
            }
            Err(_) => single += 1,
        }
    }
    assert!(whole > 4 && single > 4, "{whole} whole, {single} single");
}

#[test]
fn blocks_of_upper_levels_are_one_entry() {
    let mut ground = Ground::new(1);
    let space = ground.active_space();
    let at = BASE.add_bytes(mmu::TABLE_SPAN);
    let block = Descriptor::from_bits(dirty(PhysAddr::new(0x4020_0000).frame()).bits() & !2);
    ground.door.swap_table(space.middle.upper_slot(at), block);
    let third = at.add_bytes(0x1_2345);
    assert_eq!(ground.machine.access(third, Access::Write).unwrap(), PhysAddr::new(0x4021_2345));
    ground.door.swap_table(space.middle.upper_slot(at), Descriptor::NONE);
    assert!(ground.machine.access(at, Access::Write).is_ok());
    let op = TlbOp::page(ASID, at.add_bytes(0x5000), 2, Depth::Leaf, Scope::Broadcast);
    ground.door.invalidate(op, Cause::Test);
    assert!(ground.machine.access(at, Access::Write).is_err());
}

#[test]
#[should_panic(expected = "UNDEFINED")]
fn a_range_without_the_feature_is_undefined() {
    let features = mmu::Features { range_tlbi: false, ..Config::default().features };
    let ground = Ground::with(1, features);
    ground.door.invalidate(TlbOp::range(ASID, BASE, 0, 0, 3, Depth::Leaf, Scope::Broadcast), Cause::Test);
}
