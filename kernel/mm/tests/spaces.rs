//! ASIDs and switches between spaces (reference 3.8, T-T-5).

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{BASE, Bench, FIXED, RW};
use mm::Space;
use mm::fault::Access;
use mm::map::MapRequest;
use mmu::host::{Config, program};
use mmu::{Asid, VirtAddr};

/// Faults that one access may take.
const TRIES: usize = 1000;

fn space_with_a_page(bench: &Bench) -> Arc<Space> {
    let space = bench.memory.create_space().unwrap();
    let request = MapRequest { address: BASE, length: 0x1_0000, prot: RW, flags: FIXED };
    bench.memory.mmap(&space, request).unwrap();
    space
}

fn write(bench: &Bench, space: &Arc<Space>, value: u64) {
    bench.memory.activate(space);
    for _ in 0..TRIES {
        if bench.machine.user_write_u64(VirtAddr::new(BASE), value).is_ok() {
            return;
        }
        bench.memory.fault(space, VirtAddr::new(BASE), Access::Write).unwrap();
    }
    panic!("a write faults for ever");
}

fn read(bench: &Bench, space: &Arc<Space>) -> u64 {
    bench.memory.activate(space);
    bench.machine.user_read_u64(VirtAddr::new(BASE)).unwrap()
}

#[test]
fn t_t_5_one_address_in_two_spaces_is_two_pages() {
    let bench = Bench::new("64K=always");
    let spaces = [space_with_a_page(&bench), space_with_a_page(&bench)];
    for (space, value) in spaces.iter().zip([11, 22]) {
        write(&bench, space, value);
    }
    assert_ne!(spaces[0].asid(), spaces[1].asid());
    assert_eq!([read(&bench, &spaces[0]), read(&bench, &spaces[1])], [11, 22]);
    bench.memory.munmap(&spaces[0], BASE, 0x1_0000).unwrap();
    assert_eq!(read(&bench, &spaces[1]), 22);
    bench.memory.activate(&spaces[0]);
    assert!(bench.machine.user_read_u64(VirtAddr::new(BASE)).is_err());
    bench.memory.activate(&bench.space);
    spaces.iter().for_each(|space| bench.memory.destroy_space(space));
}

#[test]
fn more_spaces_than_asids_roll_over_and_never_mix() {
    let bench = Bench::new("64K=always");
    bench.memory.policy().parse("asid_bits", "4").unwrap();
    let empty = bench.stock();
    let spaces: Vec<_> = (0..40).map(|_| space_with_a_page(&bench)).collect();
    for round in 1..4 {
        for (number, space) in (0..).zip(&spaces) {
            write(&bench, space, round * 1000 + number);
        }
        for (number, space) in (0..).zip(&spaces) {
            assert_eq!(read(&bench, space), round * 1000 + number);
            assert!(space.asid() != Asid::RESERVED && space.asid().as_u16() < 16);
        }
    }
    assert!(bench.memory.asid_rollovers() >= 15);
    bench.memory.deactivate();
    spaces.iter().for_each(|space| bench.memory.destroy_space(space));
    assert_eq!(bench.stock(), empty);
}

#[test]
fn without_a_space_nothing_is_mapped() {
    let bench = Bench::new("64K=always");
    let space = space_with_a_page(&bench);
    write(&bench, &space, 5);
    bench.memory.deactivate();
    assert!(bench.machine.user_read_u64(VirtAddr::new(BASE)).is_err());
    assert_eq!(read(&bench, &space), 5);
    bench.memory.deactivate();
    bench.memory.destroy_space(&space);
}

#[test]
fn a_space_that_runs_during_a_rollover_keeps_its_asid_everywhere() {
    let bench = Bench::on(Config { cpus: 2, ..Config::default() }, "64K=never");
    bench.memory.policy().parse("asid_bits", "4").unwrap();
    let shared = space_with_a_page(&bench);
    let others: Vec<_> = (0..20).map(|_| space_with_a_page(&bench)).collect();
    let stage = AtomicUsize::new(0);
    let wait_for = |number| {
        while stage.load(Ordering::Relaxed) < number {
            mmu::relax()
        }
    };
    let runner = || {
        write(&bench, &shared, 7);
        stage.store(1, Ordering::Relaxed);
        wait_for(2);
        assert_eq!(bench.machine.user_read_u64(VirtAddr::new(BASE)), Ok(7));
        stage.store(3, Ordering::Relaxed);
        wait_for(4);
        // It has not switched, and its TLB knows the page: the flush on the other CPU must have reached it.
        assert!(bench.machine.user_read_u64(VirtAddr::new(BASE)).is_err());
        bench.memory.deactivate();
    };
    let switcher = || {
        wait_for(1);
        let before = bench.memory.asid_rollovers();
        others.iter().for_each(|space| write(&bench, space, 1));
        assert!(bench.memory.asid_rollovers() > before);
        stage.store(2, Ordering::Relaxed);
        wait_for(3);
        bench.memory.activate(&shared);
        bench.memory.munmap(&shared, BASE, 0x1_0000).unwrap();
        stage.store(4, Ordering::Relaxed);
        bench.memory.deactivate();
    };
    bench.machine.run(1, vec![program(switcher), program(runner)]);
    bench.memory.deactivate();
    others.iter().chain([&shared]).for_each(|space| bench.memory.destroy_space(space));
}

#[test]
fn spaces_switch_on_several_cpus_and_never_mix() {
    for seed in 0..30 {
        let bench = Bench::on(Config { cpus: 3, seed, ..Config::default() }, "64K=never");
        bench.memory.policy().parse("asid_bits", "4").unwrap();
        let spaces: Vec<_> = (0..24).map(|_| space_with_a_page(&bench)).collect();
        let switcher = |cpu: usize| {
            let (bench, spaces) = (&bench, &spaces);
            move || {
                for round in 0..3 {
                    for space in spaces.iter().skip(cpu).step_by(3) {
                        write(bench, space, space.id() * 10 + round);
                        assert_eq!(read(bench, space), space.id() * 10 + round);
                    }
                }
                bench.memory.deactivate();
            }
        };
        bench.machine.run(seed, (0..3).map(|cpu| program(switcher(cpu))).collect());
        let owners: BTreeSet<u64> = spaces.iter().map(|space| read(&bench, space) / 10).collect();
        assert_eq!(owners, spaces.iter().map(|space| space.id()).collect());
        bench.memory.deactivate();
        spaces.iter().for_each(|space| bench.memory.destroy_space(space));
    }
}
