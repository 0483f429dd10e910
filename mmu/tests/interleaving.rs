//! Simulated CPUs taking turns: the same seed gives the same run, windows open where a test wants them, and stuck or failing runs end
//! with a verdict.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use common::*;
use mmu::host::{Access, Config, Event, FailureKind, FaultKind, Machine, Record, Schedule, program};
use mmu::model::{Rule, Verdict};
use mmu::{CONT_PTES, Cause, Depth, Descriptor, Dsb, Scope, TlbOp};

/// Waits, without events, until `flag` is set.
fn wait_for(flag: &AtomicBool) {
    while !flag.load(SeqCst) {
        mmu::relax();
    }
}

/// A folded block, mapped on two CPUs.
fn folded() -> (Ground, Space, mmu::Pfn) {
    folded_on(Ground::new(2))
}

fn folded_on(mut ground: Ground) -> (Ground, Space, mmu::Pfn) {
    let space = ground.active_space();
    let frames = ground.frames(CONT_PTES);
    ground.door.store_run(space.slot(0), Descriptor::user_page(frames, RW).with_contiguous(true), CONT_PTES);
    (ground, space, frames)
}

/// Unfolds the block at page 0 by break-before-make.
fn unfold(ground: &Ground, space: &Space) -> Descriptor {
    let door = &ground.door;
    let gathered = door.clear_run(space.slot(0), CONT_PTES);
    door.dsb(Dsb::IshSt);
    door.invalidate(TlbOp::range(ASID, page(0), 0, 7, 3, Depth::Leaf, Scope::Broadcast), Cause::Convert);
    door.dsb(Dsb::Ish);
    door.store_run(space.slot(0), gathered.with_contiguous(false), CONT_PTES);
    gathered
}

fn a_run(seed: u64) -> (Vec<Record>, u64) {
    let (ground, space, _) = folded();
    ground.machine.log_on();
    let writer = |number: usize| {
        let ground = &ground;
        move || {
            ground.door.activate(space.root, space.asid);
            for step in 0..20 {
                let _ = ground.machine.user_write_u64(page((number + step) % CONT_PTES), step as u64);
            }
        }
    };
    let report = ground.machine.run(
        seed,
        vec![
            program(|| {
                for _ in 0..3 {
                    unfold(&ground, &space);
                }
            }),
            program(writer(3)),
        ],
    );
    (ground.machine.take_log(), report.switches)
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let mut runs = Vec::new();
    for seed in 0..20 {
        let (first, second) = (a_run(seed), a_run(seed));
        assert_eq!(first, second);
        runs.push(first.0);
    }
    runs.sort_by_key(|log| format!("{log:?}"));
    runs.dedup();
    assert!(runs.len() > 10, "{} different runs of 20", runs.len());
    assert!((0..20).filter(|&seed| a_run(seed).1 > 4).count() > 10);
}

#[test]
fn the_log_agrees_with_the_counters_and_names_lines() {
    let (ground, space, _) = folded();
    let swaps = ground.door.events().swaps.get();
    ground.machine.log_on();
    unfold(&ground, &space);
    let log = ground.machine.take_log();
    let count = |wanted: fn(&Event) -> bool| log.iter().filter(|record| wanted(&record.event)).count() as u64;
    assert_eq!(count(|event| matches!(event, Event::Swap(..))), ground.door.events().swaps.get() - swaps);
    assert_eq!(count(|event| matches!(event, Event::Dsb(_))), 2);
    assert_eq!(log.len(), 16 + 16 + 3);
    assert!(log.iter().all(|record| record.location.file().ends_with("interleaving.rs")));
}

/// The window of an unfold: between its swaps and its stores the block is not there, for any CPU.
#[test]
fn a_cpu_enters_the_window_of_an_unfold() {
    let (ground, space, frames) = folded();
    let schedule = Schedule::in_turn().window(0, 1, |event| matches!(event, Event::Store(..)), 1);
    let inside = AtomicU32::new(0);
    let report = ground.machine.run_by(
        schedule,
        vec![
            program(|| {
                let gathered = unfold(&ground, &space);
                assert!(!gathered.is_dirty());
                inside.fetch_add(1, SeqCst);
            }),
            program(|| {
                ground.door.activate(space.root, space.asid);
                assert_eq!(inside.load(SeqCst), 0);
                let fault = ground.machine.access(page(9), Access::Write).unwrap_err();
                assert_eq!(fault.kind, FaultKind::Translation);
                mmu::relax();
                // Back after the unfold: the retry succeeds.
                assert_eq!(inside.load(SeqCst), 1);
                assert_eq!(ground.machine.access(page(9), Access::Write), Ok(frames.add(9).start()));
            }),
        ],
    );
    assert_eq!(report.unwrap().switches, 4, "0, 1, 0, 1");
    let entry = ground.door.load(space.slot(9));
    assert!(entry.is_dirty() && !entry.is_folded());
}

/// A store that lands between two swaps of the run: its dirty state is gathered, and the page goes through the TLB entry that is left.
#[test]
fn a_store_between_two_swaps_is_gathered() {
    let (ground, space, _) = folded();
    let schedule = Schedule::in_turn().window(0, 5, |event| matches!(event, Event::Swap(..)), 1);
    ground
        .machine
        .run_by(
            schedule,
            vec![
                program(|| {
                    let gathered = unfold(&ground, &space);
                    assert!(gathered.is_dirty() && gathered.is_young());
                }),
                program(|| {
                    ground.door.activate(space.root, space.asid);
                    assert!(ground.machine.access(page(3), Access::Write).is_err(), "page 3 is swapped out already");
                    assert!(ground.machine.access(page(9), Access::Write).is_ok(), "page 9 is not");
                }),
            ],
        )
        .unwrap();
}

/// The same conversion by plain loads and stores loses a dirty state that hardware sets in between. Some seeds show it, and the model
/// says so (MS-06) whatever the seed.
#[test]
fn seeds_find_an_update_that_a_plain_store_loses() {
    let lost = |seed| {
        let (ground, space, _) = folded_on(Ground::build(Config { cpus: 2, strict: false, ..Config::default() }));
        ground.machine.run(
            seed,
            vec![
                program(|| {
                    let all = (0..CONT_PTES).map(|number| ground.door.load(space.slot(number)));
                    let sum = all.reduce(Descriptor::gather).unwrap();
                    ground.door.store_run(space.slot(0), sum.with_contiguous(false), CONT_PTES);
                }),
                program(|| {
                    ground.door.activate(space.root, space.asid);
                    ground.machine.access(page(9), Access::Write).unwrap();
                }),
            ],
        );
        let Verdict::Breach(breach) = ground.machine.verdict() else { panic!("seed {seed}: nothing found") };
        assert_eq!(breach.rule, Rule::PlainStore);
        !ground.door.load(space.slot(9)).is_dirty()
    };
    let count = (0..100).filter(|&seed| lost(seed)).count();
    assert!((5..95).contains(&count), "{count} of 100");
}

#[test]
fn windows_nest() {
    let (ground, space, _) = folded();
    let is_dsb = |event: &Event| matches!(event, Event::Dsb(_));
    let schedule = Schedule::in_turn().window(0, 1, is_dsb, 1).window(1, 2, is_dsb, 0);
    let order = std::sync::Mutex::new(Vec::new());
    let work = |cpu: usize| {
        let (ground, order) = (&ground, &order);
        move || {
            for step in 0..3 {
                ground.door.dsb(Dsb::Ish);
                order.lock().unwrap().push((cpu, step));
            }
            let _ = space;
        }
    };
    ground.machine.run_by(schedule, vec![program(work(0)), program(work(1))]).unwrap();
    let order = order.into_inner().unwrap();
    assert_eq!(order, [(1, 0), (0, 0), (0, 1), (0, 2), (1, 1), (1, 2)]);
}

#[test]
fn a_window_that_never_opens_is_a_failure() {
    let machine = folded().0.machine;
    let schedule = Schedule::in_turn().window(0, 1, |_| true, 1);
    let failure = machine.run_by(schedule, vec![program(|| ()), program(|| ())]).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unopened);
}

fn deadlock(machine: &Machine, ground: &Ground) -> mmu::host::Failure {
    let (first, second) = (AtomicBool::new(false), AtomicBool::new(false));
    let programs = vec![
        program(|| {
            ground.door.dsb(Dsb::IshSt);
            wait_for(&first);
            second.store(true, SeqCst);
        }),
        program(|| {
            ground.door.isb();
            wait_for(&second);
            first.store(true, SeqCst);
        }),
    ];
    machine.run_by(Schedule::seeded(7), programs).unwrap_err()
}

#[test]
fn all_waiting_is_a_deadlock_with_the_last_events_of_each() {
    let ground = Ground::new(2);
    let failure = deadlock(&ground.machine, &ground);
    assert_eq!((failure.kind, failure.seed), (FailureKind::Deadlock, Some(7)));
    let text = failure.to_string();
    assert!(text.contains("seed 7") && text.contains("Dsb(IshSt)") && text.contains("Isb"), "{text}");
    assert!(text.contains("interleaving.rs") && text.contains("CPU 1, waiting"), "{text}");
    // The machine can be used again.
    ground.machine.run(1, vec![program(|| ground.door.isb())]);
}

#[test]
fn looking_again_and_again_is_waiting_too() {
    let (ground, space, _) = folded();
    let poll = |number: usize| {
        let (ground, space) = (&ground, &space);
        move || {
            while !ground.door.load(space.slot(number)).is_special() {
                mmu::switch_point();
                mmu::relax();
            }
        }
    };
    let failure = ground.machine.run_by(Schedule::seeded(3), vec![program(poll(0)), program(poll(1))]).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Deadlock);
}

#[test]
fn a_wait_ends_when_another_cpu_ends_it() {
    for seed in 0..50 {
        let ground = Ground::new(3);
        let flags = [const { AtomicBool::new(false) }; 2];
        ground.machine.run(
            seed,
            vec![
                program(|| wait_for(&flags[1])),
                program(|| {
                    wait_for(&flags[0]);
                    flags[1].store(true, SeqCst);
                }),
                program(|| {
                    for _ in 0..1000 {
                        ground.door.isb();
                    }
                    flags[0].store(true, SeqCst);
                }),
            ],
        );
    }
}

#[test]
fn a_lock_that_is_always_contended_is_no_deadlock() {
    let ground = Ground::new(2);
    let (taken, total) = (AtomicBool::new(false), AtomicU32::new(0));
    let work = || {
        for _ in 0..2000 {
            mmu::switch_point();
            while taken.swap(true, SeqCst) {
                mmu::relax();
            }
            let before = total.load(SeqCst);
            mmu::switch_point();
            total.store(before + 1, SeqCst);
            taken.store(false, SeqCst);
            mmu::switch_point();
        }
    };
    ground.machine.run(5, vec![program(work), program(work)]);
    assert_eq!(total.load(SeqCst), 4000);
}

#[test]
fn a_panic_ends_the_run_and_names_the_seed() {
    /// Waits for a lock on the way out, as a guard may.
    struct Waits<'a>(&'a AtomicBool);
    impl Drop for Waits<'_> {
        fn drop(&mut self) {
            mmu::switch_point();
            wait_for(self.0);
        }
    }
    struct Sets<'a>(&'a AtomicBool);
    impl Drop for Sets<'_> {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    let ground = Ground::new(2);
    let released = AtomicBool::new(false);
    let programs = vec![
        program(|| {
            let _waits = Waits(&released);
            for _ in 0..100 {
                ground.door.isb();
            }
            panic!("as planned");
        }),
        program(|| {
            let _sets = Sets(&released);
            loop {
                ground.door.isb();
            }
        }),
    ];
    let failure = ground.machine.run_by(Schedule::seeded(11), programs).unwrap_err();
    assert_eq!((failure.kind, failure.cpu, failure.seed), (FailureKind::Panic, 0, Some(11)));
    assert!(failure.to_string().contains("as planned"), "{failure}");
}

#[test]
#[should_panic(expected = "seed 42")]
fn a_failing_run_panics_with_its_seed() {
    let ground = Ground::new(1);
    ground.machine.run(42, vec![program(|| panic!("as planned"))]);
}

#[test]
fn each_cpu_counts_its_own() {
    let ground = Ground::new(2);
    let work = |count: usize| {
        let door = &ground.door;
        move || (0..count).for_each(|_| door.isb())
    };
    ground.machine.run(9, vec![program(work(3)), program(work(5))]);
    assert_eq!([0, 1].map(|cpu| ground.machine.events_of(cpu).isb.get()), [3, 5]);
}
