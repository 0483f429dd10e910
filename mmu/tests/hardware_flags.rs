//! The access flag and the dirty state: set by table walks where the CPU has FEAT_HAFDBS, faults where not.

mod common;

use common::*;
use mmu::host::{Access, Config, FaultKind};
use mmu::{CONT_PTES, Cause, Depth, Descriptor, Features, Protection, Scope, TlbOp};

fn features(access: bool, dirty: bool) -> Features {
    Features { hardware_access: access, hardware_dirty: dirty, ..Config::default().features }
}

/// One page, mapped old and clean.
fn ground(features: Features, protection: Protection) -> (Ground, Space) {
    let mut ground = Ground::with(1, features);
    let space = ground.active_space();
    let frame = ground.frames(1);
    ground.door.store(space.slot(0), Descriptor::user_page(frame, protection));
    (ground, space)
}

fn kind(ground: &Ground, access: Access) -> Option<FaultKind> {
    ground.machine.access(page(0), access).err().map(|fault| fault.kind)
}

fn flush(ground: &Ground) {
    ground.door.invalidate(TlbOp::page(ASID, page(0), 3, Depth::Leaf, Scope::Broadcast), Cause::Access);
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
    // The entry that does not permit it may still be used.
    assert_eq!(kind(&ground, Access::Write), Some(FaultKind::Permission));
    flush(&ground);
    assert_eq!(kind(&ground, Access::Write), None);
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

#[test]
fn what_is_old_again_is_seen_young_only_after_an_invalidation() {
    let (ground, space) = ground(features(true, true), RW);
    assert_eq!(kind(&ground, Access::Read), None);
    ground.door.update(space.slot(0), Descriptor::make_old);
    assert_eq!(kind(&ground, Access::Read), None);
    assert!(!ground.door.load(space.slot(0)).is_young());
    flush(&ground);
    assert_eq!(kind(&ground, Access::Read), None);
    assert!(ground.door.load(space.slot(0)).is_young());
}

/// A clean entry in the TLB does not let a store pass unrecorded: hardware looks at the descriptor again.
#[test]
fn a_store_through_a_clean_entry_meets_the_descriptor_of_now() {
    let (ground, space) = ground(features(true, true), RW);
    assert_eq!(kind(&ground, Access::Read), None);
    ground.door.swap(space.slot(0), Descriptor::NONE);
    assert_eq!(kind(&ground, Access::Read), None);
    assert_eq!(kind(&ground, Access::Write), Some(FaultKind::Translation));
}

/// A dirty one does: the store lands in the page, and the descriptor is as software left it. This is the window of MS-42.
#[test]
fn a_store_through_a_dirty_entry_is_not_recorded_again() {
    let (ground, space) = ground(features(true, true), RW);
    assert_eq!(kind(&ground, Access::Write), None);
    ground.door.update(space.slot(0), Descriptor::make_clean);
    assert_eq!(kind(&ground, Access::Write), None);
    assert!(!ground.door.load(space.slot(0)).is_dirty());
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
