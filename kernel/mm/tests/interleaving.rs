//! Two simulated CPUs inside the operations of memory management: each event of the door and each lock is a place where the other
//! may come in.

mod common;

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use common::ground::{BASE, EMPTY, Ground, PAGES, WAYS, ground};
use mm::Memory;
use mm::fault::Access;
use mm::inject::Point;
use mm::lru::FolioList;
use mm::map::{MapFlags, MapRequest};
use mm::reclaim::reclaim_folios;
use mm::space::advice::DONTNEED;
use mm::swap::SwapEntry;
use mm::vma::Prot;
use mmu::host::{Config, Event, Machine, Schedule, program};
use mmu::{Cause, Descriptor, Door, Dsb, PAGE_SIZE, Pfn, Scope, TlbOp};

/// Between the swaps and the stores of an unfold the block is not there: another CPU that touches it faults, waits for the table's
/// lock, and finds its entry again (reference 2.5, 4.29).
#[test]
fn a_fault_in_the_window_of_an_unfold_is_spurious() {
    let ground = ground("page");
    let schedule = Schedule::in_turn().window(0, 1, |event| matches!(event, Event::Store(..)), 1);
    let unfolded = AtomicBool::new(false);
    ground
        .machine
        .run_by(
            schedule,
            vec![
                program(|| {
                    let protection = Prot::READ;
                    ground.memory.mprotect(&ground.space, BASE.as_u64(), PAGE_SIZE, protection).unwrap();
                    unfolded.store(true, SeqCst);
                }),
                program(|| {
                    ground.memory.activate(&ground.space);
                    assert!(ground.machine.user_read_u64(Ground::address(9)).is_err(), "the window is open");
                    assert!(!unfolded.load(SeqCst));
                    ground.memory.fault(&ground.space, Ground::address(9), Access::Read).unwrap();
                    assert_eq!(ground.machine.user_read_u64(Ground::address(9)), Ok(9));
                }),
            ],
        )
        .unwrap();
    assert_eq!(ground.count("faults_spurious"), 1);
    let table = ground.space.lock_table(&ground.memory, BASE).unwrap();
    assert!(!table.get(table.slot(Ground::address(9))).is_folded());
}

/// T-S-29: swapoff on another CPU looks at listed spaces only, so one that has a swap entry is listed already when the first is written.
#[test]
fn a_space_is_listed_before_its_first_swap_entry() {
    let is_swap_entry = |event: &Event| match *event {
        Event::Store(_, value) | Event::Swap(_, value) => {
            SwapEntry::from_descriptor(Descriptor::from_bits(value)).is_some()
        }
        _ => false,
    };
    for way in WAYS {
        let ground = ground(way);
        assert!(!ground.space.may_swap(), "{way}: listed without swap entries");
        let schedule = Schedule::in_turn().window(0, 1, is_swap_entry, 1);
        let looks = || assert!(ground.space.may_swap(), "{way}: not listed when the first swap entry is written");
        ground.machine.run_by(schedule, vec![program(|| ground.page_out()), program(looks)]).unwrap();
    }
}

/// Two CPUs run the space; what one unmaps, the other may not reach any more (rule MS-22).
#[test]
fn every_cpu_forgets_what_was_unmapped() {
    let ground = ground("folio");
    let (warm, gone) = (AtomicBool::new(false), AtomicBool::new(false));
    let wait_for = |flag: &AtomicBool| {
        while !flag.load(SeqCst) {
            mmu::relax();
        }
    };
    let unmaps = || {
        wait_for(&warm);
        ground.memory.munmap(&ground.space, BASE.as_u64(), PAGES * PAGE_SIZE).unwrap();
        gone.store(true, SeqCst);
    };
    let looks = || {
        ground.memory.activate(&ground.space);
        assert_eq!(ground.read(9), 9);
        warm.store(true, SeqCst);
        wait_for(&gone);
        assert!(ground.machine.user_read_u64(Ground::address(9)).is_err());
    };
    ground.machine.run_by(Schedule::in_turn(), vec![program(unmaps), program(looks)]).unwrap();
}

/// Between the TLBI of a page-out and its DSB another CPU drops a part of what goes out: it finds entries gone that may still be cached,
/// so it completes the flush before it looks at them (T-T-1, rule MS-41).
#[test]
fn who_comes_after_a_deferral_completes_it() {
    let ground = ground("folio");
    let schedule = Schedule::in_turn().window(0, 1, |event| matches!(event, Event::Dsb(Dsb::Ish)), 1);
    let drops = || {
        ground.memory.activate(&ground.space);
        ground.memory.madvise(&ground.space, BASE.as_u64(), 8 * PAGE_SIZE, DONTNEED).unwrap();
        assert_eq!(ground.count("pending_flushes"), 1);
    };
    ground.machine.run_by(schedule, vec![program(|| ground.page_out()), program(drops)]).unwrap();
    (0..8).for_each(|page| assert_eq!(ground.read(page), 0));
    (8..PAGES).for_each(|page| assert_eq!(ground.read(page), page));
}

/// Reclaim takes a folio out of one space and fails in the other, where the block comes back whole: what it has unmapped is flushed before
/// another CPU's reclaim can take the folio over, which would free it after completing nothing but TLBI of its own (rule MS-21).
#[test]
fn a_folio_that_went_in_part_is_flushed_before_it_is_let_go() {
    let ground = ground("folio");
    let frame = ground.entry(0).frame();
    let child = ground.memory.fork_space(&ground.space).unwrap();
    let reclaim = || {
        let mut list = FolioList::new();
        let folio = ground.memory.frames.folio_of(frame);
        if ground.memory.lru.isolate(folio) {
            list.push_back(folio);
        }
        reclaim_folios(&ground.memory, &mut list)
    };
    let reclaims = || {
        reclaim();
    };
    ground.memory.inject.fail(Point::SwapDup, PAGES as usize);
    let schedule = Schedule::in_turn().window(0, 1, |event| matches!(event, Event::Dsb(Dsb::Ish)), 1);
    ground.machine.run_by(schedule, vec![program(reclaims), program(reclaims)]).unwrap();
    assert_eq!(ground.count("unmap_failures"), 1);
    assert_eq!(reclaim(), PAGES as usize);
    (0..PAGES).for_each(|page| assert_eq!(ground.read(page), page));
    ground.memory.destroy_space(&child);
}

/// Two CPUs touch an empty block of addresses for the first time: the second one does all of its work inside that of the first, before
/// an event of it that `matches`.
fn touch_twice(matches: impl Fn(&Event) -> bool + Send + 'static) {
    let ground = ground("folio");
    let request = MapRequest {
        address: EMPTY.as_u64(),
        length: PAGES * PAGE_SIZE,
        prot: Prot::READ | Prot::WRITE,
        flags: MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED,
    };
    ground.memory.mmap(&ground.space, request).unwrap();
    let faults = ground.count("faults_anonymous");
    let touch = |page: usize| {
        ground.memory.activate(&ground.space);
        let address = EMPTY.add_pages(page);
        ground.memory.fault(&ground.space, address, Access::Write).unwrap();
        ground.machine.user_write_u64(address, page as u64).unwrap();
    };
    let schedule = Schedule::in_turn().window(0, 1, matches, 1);
    ground.machine.run_by(schedule, vec![program(|| touch(3)), program(|| touch(9))]).unwrap();
    assert_eq!(ground.count("faults_anonymous") - faults, 1);
    for page in [3, 9] {
        assert_eq!(ground.machine.user_read_u64(EMPTY.add_pages(page)), Ok(page as u64));
    }
}

#[test]
fn a_first_touch_looks_again_before_it_maps() {
    touch_twice(|event| matches!(event, Event::ClearPages(_, count) if *count as u64 == PAGES));
}

#[test]
fn a_new_table_is_linked_once() {
    touch_twice(|event| matches!(event, Event::ClearPages(_, 1)));
}

/// Stores of one run of T-T-6.
const TURNS: u64 = 400;
/// Times that a block is taken apart and put together in one run of T-G-5.
const REFOLDS: u64 = 6;

/// The seeds of so many runs; with `UNFOLD_STAGE`, from 1 on, those of this tenth of the runs that the reference asks for.
fn seeds(usual: u64, asked: u64) -> RangeInclusive<u64> {
    const STAGES: u64 = 10;
    let Ok(stage) = std::env::var("UNFOLD_STAGE") else { return 1..=usual };
    let stage: u64 = stage.parse().expect("UNFOLD_STAGE is a number");
    let runs = asked.div_ceil(STAGES);
    (stage - 1) * runs + 1..=stage * runs
}

/// A program writes while another CPU pages out what it writes (T-T-6): what it reads back is never older than its last store. With a
/// latency, the swap device reads memory that is mapped again and written meanwhile.
fn no_store_is_lost(way: &str, latency: u64) {
    let (mut came_back, mut under_writeback) = (0, 0);
    for seed in seeds(20, 100_000 / TURNS) {
        let ground = ground(way);
        ground.drive.set_latency(latency);
        let done = AtomicBool::new(false);
        let last: [AtomicU64; PAGES as usize] = std::array::from_fn(|page| AtomicU64::new(page as u64));
        let report = ground.machine.run_by(
            Schedule::seeded(seed).one_in(30),
            vec![
                program(|| {
                    while !done.load(SeqCst) {
                        ground.page_out();
                        mmu::relax();
                    }
                }),
                program(|| {
                    ground.memory.activate(&ground.space);
                    for turn in 1..=TURNS {
                        let page = turn * 7 % PAGES;
                        ground.write(page, turn << 8);
                        last[page as usize].store(turn << 8, SeqCst);
                        if turn % 5 == 0 {
                            // A TLB may forget at any time: only then is a store seen that went to a frame no longer ours.
                            ground.memory.door.invalidate(TlbOp::all(Scope::Local), Cause::Test);
                        }
                        let other = turn * 3 % PAGES;
                        assert_eq!(ground.read(other), last[other as usize].load(SeqCst), "seed {seed}, turn {turn}");
                    }
                    done.store(true, SeqCst);
                }),
                program(|| {
                    while !done.load(SeqCst) {
                        ground.drive.tick();
                        ground.memory.run_completions();
                        mmu::relax();
                    }
                }),
            ],
        );
        report.unwrap_or_else(|failure| panic!("{way}, seed {seed}: {failure:?}"));
        assert_eq!(ground.memory.defects(), 0);
        came_back += ground.count("pages_swapped_in") + ground.count("faults_swap_minor");
        under_writeback += ground.count("writes_completed");
    }
    assert!(came_back > 500, "the two hardly met: {came_back} pages came back");
    assert_eq!(under_writeback > 100, latency > 0, "{under_writeback} writes took their time");
}

#[test]
fn no_store_is_lost_page_by_page() {
    no_store_is_lost("page", 0);
}

#[test]
fn no_store_is_lost_folio_by_folio() {
    no_store_is_lost("folio", 0);
}

#[test]
fn no_store_is_lost_in_a_batch() {
    no_store_is_lost("gather", 0);
}

#[test]
fn no_store_is_lost_while_a_device_writes() {
    for way in ["page", "folio", "gather"] {
        no_store_is_lost(way, 4);
    }
}

/// T-G-5: a read without the lock, while another CPU takes the block apart and puts it together, returns what the entry was at one
/// moment: as a part of a whole block, as a single page, or nothing. That the value fits a moment is the model's to judge (MS-17).
#[test]
fn a_read_without_the_lock_is_of_one_moment() {
    let mut seen = [0; 3];
    for seed in seeds(40, 1_000_000 / (2 * REFOLDS)) {
        let ground = ground("page");
        let slot = ground.space.lock_table(&ground.memory, BASE).unwrap().slot(Ground::address(9));
        let frame = ground.memory.door.load(slot).frame();
        let done = AtomicBool::new(false);
        let mut kinds = [0; 3];
        let report = ground.machine.run_by(
            Schedule::seeded(seed).one_in(6),
            vec![
                program(|| {
                    for _ in 0..REFOLDS {
                        ground.memory.mprotect(&ground.space, BASE.as_u64(), PAGE_SIZE, Prot::READ).unwrap();
                        for protection in [Prot::READ, Prot::READ | Prot::WRITE] {
                            let length = PAGES * PAGE_SIZE;
                            ground.memory.mprotect(&ground.space, BASE.as_u64(), length, protection).unwrap();
                        }
                    }
                    done.store(true, SeqCst);
                }),
                program(|| {
                    while !done.load(SeqCst) {
                        let entry = mm::contpte::get_lockless(&ground.memory, slot);
                        assert!(entry.is_none() || entry.frame() == frame, "{entry}");
                        kinds[if entry.is_none() { 0 } else { 1 + usize::from(entry.is_folded()) }] += 1;
                        mmu::relax();
                    }
                }),
            ],
        );
        report.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        seen.iter_mut().zip(kinds).for_each(|(sum, count)| *sum += count);
    }
    assert!(seen.iter().all(|&count| count > 0), "nothing, single, folded: {seen:?}");
}

/// The frames that a `Memory` is given are all it uses.
#[test]
fn a_memory_without_frames_says_so() {
    let machine = Machine::new(Config::default());
    let nothing = Pfn::new(0x40000);
    assert!(Memory::new(Door::simulated(&machine), &[nothing..nothing]).is_err());
}
