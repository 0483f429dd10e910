//! The access flag and the dirty state: set by table walks where the CPU has FEAT_HAFDBS, faults where not.

mod common;

use std::collections::BTreeSet;

use common::*;
use mmu::host::{Access, Config, FaultKind};
use mmu::{CONT_PTES, Depth, Descriptor, Features, Protection, Scope, TlbOp};

fn features(access: bool, dirty: bool) -> Features {
    Features { hardware_access: access, hardware_dirty: dirty, ..Config::default().features }
}

/// One page, mapped old and clean, on a machine that also does what is merely allowed.
fn ground(features: Features, protection: Protection) -> (Ground, Space) {
    let mut ground = Ground::build(Config { features, adversary: true, ..Config::default() });
    let space = ground.active_space();
    let frame = ground.frames(1);
    ground.door.store(space.slot(0), Descriptor::user_page(frame, protection));
    (ground, space)
}

fn kind(ground: &Ground, access: Access) -> Option<FaultKind> {
    ground.machine.access(page(0), access).err().map(|fault| fault.kind)
}

/// What may come of an access.
fn kinds(ground: &Ground, access: Access) -> BTreeSet<Option<FaultKind>> {
    (0..TRIES).map(|_| kind(ground, access)).collect()
}

fn flush(ground: &Ground) {
    ground.complete(TlbOp::page(ASID, page(0), 3, Depth::Leaf, Scope::Broadcast));
}

#[test]
fn hardware_sets_both() {
    let (ground, space) = ground(features(true, true), RW);
    assert_eq!(kind(&ground, Access::Read), None);
    let read = ground.door.load(space.slot(0));
    assert!(read.is_young() && !read.is_dirty());
    assert_eq!(kind(&ground, Access::Write), None);
    let written = ground.door.load(space.slot(0));
    assert!(written.is_young() && written.is_dirty() && !written.is_read_only());
}

#[test]
fn without_hardware_there_are_faults() {
    let (ground, space) = ground(features(false, false), RW);
    assert_eq!(kind(&ground, Access::Write), Some(FaultKind::AccessFlag));
    ground.door.update(space.slot(0), Descriptor::make_young);
    assert_eq!(kind(&ground, Access::Read), None);
    assert_eq!(kind(&ground, Access::Write), Some(FaultKind::Permission));
    ground.door.update(space.slot(0), Descriptor::make_dirty);
    // The entry that does not permit it may still be used: a spurious fault.
    assert_eq!(kinds(&ground, Access::Write), BTreeSet::from([None, Some(FaultKind::Permission)]));
    flush(&ground);
    assert_eq!(kinds(&ground, Access::Write), BTreeSet::from([None]));
}

#[test]
fn the_access_flag_alone_may_be_hardwares() {
    let (ground, space) = ground(features(true, false), RW);
    assert_eq!(kind(&ground, Access::Write), Some(FaultKind::Permission));
    assert!(ground.door.load(space.slot(0)).is_young());
    assert!(!ground.door.load(space.slot(0)).is_dirty());
}

#[test]
fn a_page_that_is_not_writable_stays_so() {
    let (ground, space) = ground(features(true, true), RO);
    assert_eq!(kind(&ground, Access::Write), Some(FaultKind::Permission));
    assert_eq!(kind(&ground, Access::Execute), Some(FaultKind::Permission));
    assert_eq!(kind(&ground, Access::Read), None);
    assert!(!ground.door.load(space.slot(0)).is_dirty());
}

/// A clean entry in the TLB does not let a store pass unrecorded: hardware looks at the descriptor again.
#[test]
fn a_store_through_a_clean_entry_meets_the_descriptor_of_now() {
    let (ground, space) = ground(features(true, true), RW);
    assert_eq!(kind(&ground, Access::Read), None);
    ground.door.swap(space.slot(0), Descriptor::NONE);
    assert_eq!(kinds(&ground, Access::Read), BTreeSet::from([None, Some(FaultKind::Translation)]));
    assert_eq!(kinds(&ground, Access::Write), BTreeSet::from([Some(FaultKind::Translation)]));
}

/// A dirty one may: the store lands in the page, and the descriptor is as software left it. This is the window of MS-42.
#[test]
fn a_store_through_a_dirty_entry_may_not_be_recorded_again() {
    let recorded = |flushed: bool| {
        let (ground, space) = ground(features(true, true), RW);
        let store = |_| {
            assert_eq!(kind(&ground, Access::Write), None);
            ground.door.update(space.slot(0), Descriptor::make_clean);
            if flushed {
                flush(&ground);
            }
            assert_eq!(kind(&ground, Access::Write), None);
            ground.door.load(space.slot(0)).is_dirty()
        };
        (0..TRIES).map(store).collect::<BTreeSet<_>>()
    };
    assert_eq!(recorded(false), BTreeSet::from([false, true]));
    assert_eq!(recorded(true), BTreeSet::from([true]));
}

/// In a folded block hardware may set the flags of the entry that it walked, and of no other.
#[test]
fn a_folded_block_gets_its_flags_somewhere() {
    let mut ground = Ground::new(1);
    let space = ground.active_space();
    let frames = ground.frames(CONT_PTES);
    ground.door.store_run(space.slot(0), Descriptor::user_page(frames, RW).with_contiguous(true), CONT_PTES);
    assert!(ground.machine.access(page(5), Access::Write).is_ok());
    let flags = |number| {
        let entry = ground.door.load(space.slot(number));
        (entry.is_young(), entry.is_dirty())
    };
    assert_eq!((flags(5), flags(4), flags(0)), ((true, true), (false, false), (false, false)));
    let gathered = ground.door.clear_run(space.slot(0), CONT_PTES);
    assert!(gathered.is_young() && gathered.is_dirty());
}
