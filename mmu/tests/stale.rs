//! The model as a TLB: what some CPU may still hold, how far each operation reaches, and which barrier completes it. An access takes
//! any translation that its CPU may hold, so enough accesses meet all of them.

mod common;

use std::collections::BTreeSet;

use common::*;
use mmu::host::{Access, Config, FaultKind, Schedule, program};
use mmu::model::{Rule, Verdict};
use mmu::{
    Asid, CONT_PTES, Cause, Depth, Descriptor, Dsb, ENTRIES, Fact, PhysAddr, Role, Scope, TABLE_SPAN, Table, TlbOp,
    VirtAddr,
};

/// A space with `pages` pages mapped, each to a frame of its own.
fn mapped(pages: usize) -> (Ground, Space, mmu::Pfn) {
    let mut ground = Ground::new(1);
    let space = ground.active_space();
    let frames = ground.frames(pages.next_power_of_two());
    ground.door.store_run(space.slot(0), dirty(frames), pages);
    (ground, space, frames)
}

/// Whether this CPU may still reach what `address` led to.
fn is_held(ground: &Ground, address: VirtAddr) -> bool {
    (0..TRIES).any(|_| ground.machine.access(address, Access::Read).is_ok())
}

/// Which of `pages` pages some CPU may still reach after all were cleared and `op` was issued and completed.
fn held_after(pages: usize, op: TlbOp) -> Vec<usize> {
    let (ground, space, _) = mapped(pages);
    ground.door.clear_run(space.slot(0), pages);
    ground.complete(op);
    (0..pages).filter(|&number| is_held(&ground, page(number))).collect()
}

fn leaf(asid: u16, number: usize, level: u8) -> TlbOp {
    TlbOp::page(Asid::new(asid), page(number), level, Depth::Leaf, Scope::Broadcast)
}

#[test]
fn a_translation_is_held_until_its_invalidation_is_complete() {
    let (ground, space, frames) = mapped(1);
    ground.door.swap(space.slot(0), Descriptor::NONE);
    let steps: [&dyn Fn(); 3] =
        [&|| (), &|| ground.door.dsb(Dsb::IshSt), &|| ground.door.invalidate(leaf(1, 0, 3), Cause::Test)];
    for step in steps {
        step();
        let seen: BTreeSet<_> = (0..TRIES).map(|_| ground.machine.access(page(0), Access::Read).ok()).collect();
        assert_eq!(seen, BTreeSet::from([None, Some(frames.start())]), "the old page, or a fault");
    }
    ground.machine.user_write(page(0), b"lost").ok();
    ground.door.dsb(Dsb::Ish);
    assert!(!is_held(&ground, page(0)));
    assert_eq!(ground.machine.verdict(), Verdict::Pass);
}

#[test]
fn what_faulted_is_not_held() {
    let (ground, space, frames) = mapped(1);
    assert_eq!(ground.machine.access(page(7), Access::Read).unwrap_err().kind, FaultKind::Translation);
    ground.door.store(space.slot(7), dirty(frames));
    assert!((0..TRIES).all(|_| ground.machine.access(page(7), Access::Read) == Ok(frames.start())));
}

/// Without the Access flag there is nothing to hold, so a change needs no invalidation.
#[test]
fn what_is_old_is_not_held() {
    let (ground, space, frames) = mapped(1);
    ground.door.swap(space.slot(1), Descriptor::user_page(frames, RW));
    ground.door.swap(space.slot(1), Descriptor::NONE);
    assert!(!is_held(&ground, page(1)));
}

#[test]
fn operations_reach_what_they_name() {
    assert_eq!(held_after(4, leaf(1, 2, 3)), [0, 1, 3]);
    assert_eq!(held_after(4, leaf(1, 2, 0)), [0, 1, 3]);
    assert_eq!(held_after(4, TlbOp::all(Scope::Broadcast)), []);
    assert_eq!(held_after(4, TlbOp::asid(ASID, Scope::Broadcast)), []);
    assert_eq!(held_after(4, TlbOp::kernel_page(page(2), 3)), [0, 1, 3]);
    // (num + 1) << (5 * scale + 1) pages: 4 here.
    let range = |first, level| TlbOp::range(ASID, page(first), 0, 1, level, Depth::Leaf, Scope::Broadcast);
    assert_eq!(held_after(8, range(2, 3)), [0, 1, 6, 7]);
    assert_eq!(held_after(8, range(2, 0)), [0, 1, 6, 7]);
    assert_eq!(held_after(3, range(1, 3)), [0]);
}

#[test]
fn a_wrong_asid_or_level_reaches_nothing() {
    assert_eq!(held_after(2, leaf(2, 0, 3)), [0, 1]);
    assert_eq!(held_after(2, leaf(1, 0, 2)), [0, 1]);
    assert_eq!(held_after(2, TlbOp::asid(Asid::new(2), Scope::Broadcast)), [0, 1]);
    let range = |asid, level| TlbOp::range(asid, page(0), 0, 0, level, Depth::Leaf, Scope::Broadcast);
    assert_eq!(held_after(2, range(ASID, 2)), [0, 1]);
    assert_eq!(held_after(2, range(Asid::new(2), 3)), [0, 1]);
}

#[test]
fn an_address_with_its_sign_bits_names_another_page() {
    let high = VirtAddr::new(page(0).as_u64() | 0xffff_0000_0000_0000);
    assert_eq!(held_after(1, TlbOp::page(ASID, high, 0, Depth::Leaf, Scope::Broadcast)), [0]);
}

#[test]
fn eight_bits_of_asid_ignore_the_others() {
    let held = |asid_bits| {
        let mut ground = Ground::with(1, mmu::Features { asid_bits, ..Config::default().features });
        let space = ground.active_space();
        let frame = ground.frames(1);
        ground.door.store(space.slot(0), dirty(frame));
        ground.door.swap(space.slot(0), Descriptor::NONE);
        ground.complete(leaf(0x301, 0, 3));
        is_held(&ground, page(0))
    };
    assert!(!held(8) && held(16));
}

/// By ASID global entries stay; by address they go, whatever the ASID (DDI 0487, C5.5).
#[test]
fn spaces_do_not_see_each_other_but_global_entries_serve_all() {
    let mut ground = Ground::new(1);
    let (one, two) = (ground.space(Asid::new(1)), ground.space(Asid::new(2)));
    let frames = ground.frames(2);
    let global = Descriptor::from_bits(dirty(frames.add(1)).bits() & !(1 << 11));
    ground.door.activate(one.root, one.asid);
    ground.door.store(one.slot(0), dirty(frames));
    ground.door.store(one.slot(1), global);
    ground.door.swap(one.slot(0), Descriptor::NONE);
    ground.door.swap(one.slot(1), Descriptor::NONE);
    let held = |ground: &Ground| [0, 1].map(|number| is_held(ground, page(number)));
    assert_eq!(held(&ground), [true, true]);
    ground.door.activate(two.root, two.asid);
    assert_eq!(held(&ground), [false, true]);
    ground.complete(TlbOp::asid(two.asid, Scope::Broadcast));
    ground.complete(TlbOp::asid(one.asid, Scope::Broadcast));
    assert_eq!(held(&ground), [false, true]);
    ground.complete(leaf(2, 1, 3));
    assert_eq!(held(&ground), [false, false]);
}

/// Two spaces that had ASID 1 one after the other, as happens after a rollover; `now` has it, and lost its page 0 without an
/// invalidation.
fn one_asid_after_another() -> (Ground, Space, Space, mmu::Pfn) {
    let mut ground = Ground::new(1);
    let (before, now) = (ground.active_space(), ground.space(ASID));
    let elsewhere = ground.space(Asid::new(2));
    let frames = ground.frames(2);
    ground.door.activate(elsewhere.root, elsewhere.asid);
    ground.complete(TlbOp::all(Scope::Broadcast));
    ground.door.activate(now.root, now.asid);
    ground.door.store(now.slot(0), dirty(frames));
    ground.door.swap(now.slot(0), Descriptor::NONE);
    (ground, before, now, frames)
}

/// Who has lost its ASID does not walk under it: what its successor may hold is nothing to it.
#[test]
fn a_space_whose_asid_another_one_has_meets_nothing_of_it() {
    let (ground, before, _, frames) = one_asid_after_another();
    ground.door.store(before.slot(0), dirty(frames.add(1)));
    assert_eq!(ground.machine.verdict(), Verdict::Pass);
}

/// The same frame at the same address, in the space that lost the ASID: the successor's translation is as stale as before.
#[test]
#[should_panic(expected = "MS-04 error")]
fn a_space_whose_asid_another_one_has_makes_nothing_of_it_good() {
    let (ground, before, now, frames) = one_asid_after_another();
    ground.door.store(before.slot(0), dirty(frames));
    ground.door.store(now.slot(0), dirty(frames.add(1)));
}

/// Two CPUs that run one space; CPU 0 clears a page, then does `work`. Whether CPU 0 and CPU 1 may still reach the page.
fn held_on_two(work: impl Fn(&Ground) + Sync, other: impl Fn(&Ground) + Sync) -> [bool; 2] {
    let mut ground = Ground::new(2);
    let space = ground.active_space();
    let frame = ground.frames(1);
    ground.door.store(space.slot(0), dirty(frame));
    ground.door.dsb(Dsb::Ish);
    let held = [const { std::sync::atomic::AtomicBool::new(false) }; 2];
    let look = |cpu: usize| {
        ground.machine.access(page(0), Access::Read).ok();
        held[cpu].store(is_held(&ground, page(0)), std::sync::atomic::Ordering::SeqCst);
    };
    let (held_by, ground) = (&held, &ground);
    let first = program(|| {
        mmu::relax();
        ground.door.swap(space.slot(0), Descriptor::NONE);
        ground.door.dsb(Dsb::IshSt);
        work(ground);
        look(0);
    });
    let second = program(|| {
        ground.door.activate(space.root, space.asid);
        mmu::relax();
        other(ground);
        look(1);
    });
    ground.machine.run_by(Schedule::in_turn(), vec![first, second]).unwrap();
    [0, 1].map(|cpu: usize| held_by[cpu].load(std::sync::atomic::Ordering::SeqCst))
}

#[test]
fn a_local_invalidation_leaves_the_other_cpu_stale() {
    let by = |scope, barrier| {
        let op = TlbOp::page(ASID, page(0), 3, Depth::Leaf, scope);
        held_on_two(
            |ground| {
                ground.door.invalidate(op, Cause::Test);
                ground.door.dsb(barrier);
            },
            |_| (),
        )
    };
    assert_eq!(by(Scope::Broadcast, Dsb::Ish), [false, false]);
    assert_eq!(by(Scope::Local, Dsb::Ish), [false, true]);
    assert_eq!(by(Scope::Local, Dsb::Nsh), [false, true]);
    // What reaches all is complete on all only by a barrier that does.
    assert_eq!(by(Scope::Broadcast, Dsb::Nsh), [false, true]);
    assert_eq!(by(Scope::Broadcast, Dsb::IshSt), [true, true]);
}

#[test]
fn only_the_cpu_that_issued_it_completes_an_invalidation() {
    let issue = |ground: &Ground| ground.door.invalidate(leaf(1, 0, 3), Cause::Test);
    assert_eq!(held_on_two(issue, |ground| ground.door.dsb(Dsb::Ish)), [true, true]);
}

/// A CPU that begins to run the space before the store is ordered may still walk the entry as it was.
#[test]
fn a_store_before_its_barrier_may_be_seen_or_not() {
    for (ordered, expected) in [(false, true), (true, false)] {
        let mut ground = Ground::new(2);
        let space = ground.active_space();
        let frame = ground.frames(1);
        ground.door.store(space.slot(0), dirty(frame));
        let clears = program(|| {
            ground.door.swap(space.slot(0), Descriptor::NONE);
            if ordered {
                ground.door.dsb(Dsb::IshSt);
            }
        });
        let looks = program(|| {
            ground.door.activate(space.root, space.asid);
            assert_eq!(is_held(&ground, page(0)), expected);
        });
        ground.machine.run_by(Schedule::in_turn(), vec![clears, looks]).unwrap();
    }
}

#[test]
fn a_leaf_invalidation_leaves_the_walk_cache() {
    for (asid, depth, level, expected) in [
        (1, Depth::Leaf, 3, true),
        (1, Depth::WalkCaches, 3, true),
        (1, Depth::Leaf, 0, true),
        (2, Depth::WalkCaches, 0, true),
        (1, Depth::WalkCaches, 0, false),
    ] {
        let (ground, space, _) = mapped(1);
        ground.door.swap_table(space.middle.upper_slot(BASE), Descriptor::NONE);
        ground.complete(TlbOp::page(Asid::new(asid), page(0), level, depth, Scope::Broadcast));
        // The page itself goes in any case, so that only the cached table is left.
        ground.complete(leaf(1, 0, 3));
        assert_eq!(is_held(&ground, page(0)), expected, "ASID {asid}, {depth:?}, level {level}");
    }
}

/// Far from the address that an operation names, tables below the one that was unlinked stay in walk caches.
#[test]
fn what_lies_below_an_unlinked_table_is_held_too() {
    let (mut ground, space, frames) = mapped(1);
    let second = ground.table(3);
    let far = BASE.add_bytes(mmu::TABLE_SPAN);
    ground.door.swap_table(space.middle.upper_slot(far), Descriptor::table(second.address()));
    ground.door.store(second.slot(far), dirty(frames));
    ground.door.swap_table(space.root.upper_slot(BASE), Descriptor::NONE);
    let flush = |address| {
        ground.complete(TlbOp::page(ASID, address, 0, Depth::WalkCaches, Scope::Broadcast));
        [page(0), far].map(|address| is_held(&ground, address))
    };
    assert_eq!(flush(page(0)), [false, true]);
    assert_eq!(flush(far), [false, false]);
}

/// A walk through a table that is unlinked, and cached, finds what is stored there now.
#[test]
fn a_walk_through_an_unlinked_table_goes_on() {
    let (ground, space, frames) = mapped(1);
    ground.door.swap_table(space.middle.upper_slot(BASE), Descriptor::NONE);
    ground.door.store(space.slot(1), dirty(frames));
    let seen: BTreeSet<_> = (0..TRIES).map(|_| ground.machine.access(page(1), Access::Read).ok()).collect();
    assert_eq!(seen, BTreeSet::from([None, Some(frames.start())]));
}

/// Once nobody can walk to a tree of tables, its pages are given back in whatever order.
#[test]
fn a_tree_of_tables_is_freed_from_its_root_on() {
    let (ground, space, _) = mapped(1);
    let top = space.root.upper_slot(BASE);
    let upper = Table::new(ground.door.load_table(top).address(), 1);
    ground.door.swap_table(top, Descriptor::NONE);
    ground.complete(TlbOp::asid(ASID, Scope::Broadcast));
    [upper, space.middle, space.last].into_iter().for_each(|table| ground.door.free_table(table));
    assert_eq!(ground.machine.verdict(), Verdict::Pass);
}

/// Where an entry stands is known for one place alone.
#[test]
fn a_table_at_two_places_is_unknown() {
    let mut ground = Ground::build(Config { strict: false, ..Config::default() });
    let space = ground.active_space();
    let second = space.middle.upper_slot(BASE.add_bytes(TABLE_SPAN));
    ground.door.swap_table(second, Descriptor::table(space.last.address()));
    assert!(matches!(ground.machine.verdict(), Verdict::Unknown(_)));
}

/// A table moved to another address, and then away: two ways to it may be cached, and the flush of the first leaves the second.
#[test]
#[should_panic(expected = "MS-40 error")]
fn a_table_may_be_walked_to_by_the_second_way() {
    let (ground, space, frames) = mapped(1);
    let entry = Descriptor::table(space.last.address());
    let [first, second] = [BASE, BASE.add_bytes(TABLE_SPAN)];
    ground.door.swap_table(space.middle.upper_slot(first), Descriptor::NONE);
    ground.door.swap_table(space.middle.upper_slot(second), entry);
    ground.door.swap_table(space.middle.upper_slot(second), Descriptor::NONE);
    let flush = |address| ground.complete(TlbOp::page(ASID, address, 0, Depth::WalkCaches, Scope::Broadcast));
    flush(first);
    ground.door.store(space.slot(1), dirty(frames));
    flush(second);
    ground.door.clear_run(space.slot(0), 2);
    ground.door.dsb(Dsb::Ish);
    ground.door.fact(Fact::FrameRole(frames, 1, Role::Freed));
}

/// It may be held as one entry or as sixteen, so each page is covered by an operation that names it, and by no other.
#[test]
fn t_t_9_a_folded_block_is_held_until_each_page_is_covered() {
    let mut ground = Ground::new(1);
    let space = ground.active_space();
    let frames = ground.frames(CONT_PTES);
    ground.door.store_run(space.slot(0), dirty(frames).with_contiguous(true), CONT_PTES);
    ground.door.clear_run(space.slot(0), CONT_PTES);
    for gone in 0..CONT_PTES {
        let held = (0..CONT_PTES).filter(|&number| is_held(&ground, page(number)));
        assert!(held.eq(gone..CONT_PTES));
        ground.complete(leaf(1, gone, 3));
    }
    assert!(!is_held(&ground, page(CONT_PTES - 1)));
}

/// One entry: an operation that names any page of it takes it away.
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
    let seen: BTreeSet<_> = (0..TRIES).map(|_| ground.machine.access(third, Access::Write).ok()).collect();
    assert_eq!(seen, BTreeSet::from([None, Some(PhysAddr::new(0x4021_2345))]));
    let by_level = |level| TlbOp::page(ASID, at.add_bytes(0x5000), level, Depth::Leaf, Scope::Broadcast);
    ground.complete(by_level(3));
    assert!(is_held(&ground, at));
    ground.complete(by_level(2));
    assert!(!is_held(&ground, at) && !is_held(&ground, third));
}

#[test]
#[should_panic(expected = "UNDEFINED")]
fn a_range_without_the_feature_is_undefined() {
    let features = mmu::Features { range_tlbi: false, ..Config::default().features };
    let ground = Ground::with(1, features);
    ground.door.invalidate(TlbOp::range(ASID, BASE, 0, 0, 3, Depth::Leaf, Scope::Broadcast), Cause::Test);
}

#[test]
#[should_panic(expected = "MS-01 error")]
fn a_breach_stops_a_strict_machine() {
    let (ground, space, frames) = mapped(2);
    ground.door.swap(space.slot(0), dirty(frames.add(1)));
}

#[test]
fn a_lenient_machine_keeps_the_first_breach() {
    let mut ground = Ground::build(Config { strict: false, ..Config::default() });
    let space = ground.active_space();
    let frames = ground.frames(2);
    ground.door.store(space.slot(0), dirty(frames));
    ground.door.swap(space.slot(0), dirty(frames.add(1)));
    ground.door.free_table(space.last);
    let Verdict::Breach(breach) = ground.machine.verdict() else { panic!("nothing found") };
    assert_eq!((breach.rule, breach.address, breach.asid), (Rule::OutputAddress, page(0), ASID));
    assert!(breach.when.line.file().ends_with("stale.rs"));
}

/// Room for replaced entries is bounded. Once it is used up the model says so, and comes to an end also where an entry is made again
/// that it would have to part from a run.
#[test]
fn more_replaced_entries_than_there_is_room_for_are_unknown() {
    const ROOM: usize = 1 << 14;
    let mut ground = Ground::build(Config { strict: false, ..Config::default() });
    let space = ground.active_space();
    let frame = ground.frames(1);
    // A run of four, to be parted later.
    let run = ground.frames(4);
    ground.door.store_run(space.slot(0), dirty(run), 4);
    ground.door.clear_run(space.slot(0), 4);
    // Entries that map one frame do not follow each other, so each is a run of its own.
    let mut tables = Vec::new();
    for number in 1..=ROOM / ENTRIES {
        let table = ground.table(3);
        let address = BASE.add_bytes(number as u64 * TABLE_SPAN);
        ground.door.swap_table(space.middle.upper_slot(address), Descriptor::table(table.address()));
        tables.push(table);
    }
    let slots = tables.iter().flat_map(|table| (0..ENTRIES).map(|index| table.slot(BASE).add(index)));
    for slot in slots.take(ROOM - 2) {
        ground.door.store(slot, dirty(frame));
        ground.door.swap(slot, Descriptor::NONE);
    }
    assert_eq!(ground.machine.verdict(), Verdict::Pass);
    ground.door.store(space.slot(1), dirty(run.add(1)));
    assert!(matches!(ground.machine.verdict(), Verdict::Unknown(_)));
}
