//! Memory that is short: a program larger than memory, and what a batch of `gather` does where it has no room.

mod common;

use std::sync::Arc;

use common::{BASE, Bench, FIXED, RW};
use mm::fault::FaultError;
use mm::map::MapRequest;
use mm::tlb::BatchFlush;
use mm::{Memory, Space, audit};
use mmu::host::Config;

/// Pages of the machine's memory beside its swap device, about.
const PAGES: u64 = 1024;

/// A machine whose memory the swap device leaves little of.
fn small(way: &str) -> Bench {
    let bench =
        Bench::on(Config { ram_bytes: (32 << 20) + (PAGES << 12), ..Config::default() }, "64K=always;2M=always");
    bench.memory.policy().parse("unmap", way).unwrap();
    bench
}

fn audited(bench: &Bench) {
    audit::recount(&bench.memory, std::slice::from_ref(&bench.space)).unwrap();
    assert_eq!(bench.memory.defects(), 0);
}

#[test]
fn a_program_three_times_as_large_as_memory_runs() {
    for way in ["page", "folio", "gather"] {
        let bench = small(way);
        bench.map(0, 3 * PAGES, RW);
        for _ in 0..2 {
            bench.fill(0, 3 * PAGES);
            bench.verify(0, 3 * PAGES);
        }
        audited(&bench);
    }
}

#[test]
fn a_program_larger_than_memory_and_swap_is_told() {
    let bench = small("gather");
    bench.map(0, 12 * PAGES, RW);
    let full = (0..12 * PAGES).find(|&page| bench.write(page, page ^ 0xABCD).is_err()).expect("it does not fit");
    assert!(full > 8 * PAGES, "{full} pages fit");
    assert_eq!(bench.write(full, 0), Err(FaultError::OutOfMemory));
    audited(&bench);
    // What it gives back it can have again.
    bench.unmap(0, PAGES);
    bench.fill(full, PAGES / 2);
    bench.verify(PAGES, full - PAGES);
    audited(&bench);
}

/// Both a parent and its children need more than there is: tables and copies are made while others are paged out.
#[test]
fn forks_find_memory() {
    let bench = small("gather");
    bench.map(0, 2 * PAGES, RW);
    bench.fill(0, 2 * PAGES);
    let children: Vec<_> = (0..4).map(|_| bench.memory.fork_space(&bench.space).expect("a child")).collect();
    bench.verify(0, 2 * PAGES);
    for (page, child) in children.iter().enumerate() {
        bench.memory.activate(child);
        let at = bench.at(page as u64);
        bench.memory.fault(child, at, mm::fault::Access::Write).unwrap();
    }
    bench.memory.activate(&bench.space);
    bench.verify(0, 2 * PAGES);
    children.iter().for_each(|child| bench.memory.destroy_space(child));
    audited(&bench);
}

/// What does not fit stays where it is, and the program goes on.
#[test]
fn swapoff_needs_room() {
    let bench = small("gather");
    bench.map(0, 3 * PAGES, RW);
    bench.fill(0, 3 * PAGES);
    assert_eq!(bench.memory.swapoff(0), Err(mm::Errno::ENOMEM));
    bench.verify(0, 3 * PAGES);
    bench.unmap(PAGES / 2, 3 * PAGES - PAGES / 2);
    assert_eq!(bench.memory.swapoff(0), Ok(()));
    bench.verify(0, PAGES / 2);
    audited(&bench);
}

/// A large folio is not worth a search: where little is left there are small ones.
#[test]
fn large_folios_leave_what_is_little() {
    let bench = small("gather");
    bench.map(0, 3 * PAGES, RW);
    bench.fill(0, PAGES);
    let count = bench.memory.count();
    assert!(count.folio_fallbacks.get() > 0 && count.direct_reclaims.get() > 0);
}

/// A space whose pages are all in the TLB.
fn space_in_tlb(bench: &Bench) -> Arc<Space> {
    let space = bench.memory.create_space().unwrap();
    let request = MapRequest { address: BASE, length: 16 << 12, prot: RW, flags: FIXED };
    bench.memory.mmap(&space, request).unwrap();
    bench.memory.activate(&space);
    for page in 0..16 {
        bench.memory.fault(&space, bench.at(page), mm::fault::Access::Write).unwrap();
        bench.machine.user_write_u64(bench.at(page), page).unwrap();
    }
    space
}

/// Takes every other page out, and flushes that with room for so many runs.
fn take_out(memory: &Memory, space: &Arc<Space>, bench: &Bench, flush: &mut BatchFlush) -> Vec<(u64, mmu::Descriptor)> {
    let table = space.lock_table(memory, bench.at(0)).unwrap();
    let take = |page: u64| {
        let old = table.clear(table.slot(bench.at(page)), 1);
        flush.add(memory, space, bench.at(page), 1);
        (page, old)
    };
    (0..16).step_by(2).map(take).collect()
}

fn put_back(memory: &Memory, space: &Arc<Space>, bench: &Bench, entries: &[(u64, mmu::Descriptor)]) {
    let table = space.lock_table(memory, bench.at(0)).unwrap();
    entries.iter().for_each(|&(page, entry)| table.set(table.slot(bench.at(page)), entry));
}

/// However little room there is, and whatever is flushed instead: with one pair of barriers nothing of the batch is left in a TLB.
#[test]
fn a_batch_without_room() {
    for (room, operations) in [(0, 1), (4, 1), (8, 8), (16, 8)] {
        let bench = Bench::new("64K=never");
        let space = space_in_tlb(&bench);
        let mut flush = BatchFlush::with_room_for(room);
        let entries = take_out(&bench.memory, &space, &bench, &mut flush);
        let before = bench.counts();
        flush.flush(&bench.memory);
        let after = bench.counts();
        assert_eq!((after.ishst - before.ishst, after.ish - before.ish), (1, 1), "room for {room}");
        assert_eq!(after.tlbi - before.tlbi, operations, "room for {room}");
        for page in (0..16).step_by(2) {
            assert!(
                bench.machine.user_read_u64(bench.at(page)).is_err(),
                "room for {room}: page {page} is still there"
            );
        }
        put_back(&bench.memory, &space, &bench, &entries);
        bench.memory.activate(&bench.space);
        bench.memory.destroy_space(&space);
    }
}
