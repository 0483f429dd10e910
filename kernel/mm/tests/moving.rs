//! mremap while another CPU reclaims what it moves. Reclaim comes from the folio and holds no lock of the areas, so it may come in at
//! any moment: it must find each page at its old address or at its new one. And mremap where there are too many areas.

mod common;

use std::slice;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use common::{Bench, RW};
use mm::Errno;
use mm::fault::Access;
use mm::folio::Folio;
use mm::policy::Unmap;
use mm::remap::{MoveFlags, MoveRequest};
use mm::tlb::{BatchFlush, Deferred};
use mm::unmap::{try_to_unmap, unmap_batch};
use mmu::host::{Config, Event, Schedule, program};
use mmu::{Fact, PAGE_SIZE, Pfn};

const WAYS: [&str; 3] = ["folio", "gather", "page"];
/// Pages of a table.
const TABLE: u64 = 512;
/// Pages of the folio.
const BLOCK: u64 = 16;
/// Faults that one access may take.
const TRIES: usize = 10_000;

/// Two CPUs, and an area as long as a table's span with one folded folio at its start, each page written with its number.
fn bench(way: &str) -> Bench {
    let bench = Bench::on(Config { cpus: 2, ..Config::default() }, "64K=always");
    bench.memory.policy().parse("unmap", way).unwrap();
    bench.map(0, TABLE, RW);
    (0..BLOCK).for_each(|page| bench.write(page, page).unwrap());
    bench
}

fn try_to_move(bench: &Bench, from: u64, pages: u64, to: u64) -> Result<u64, Errno> {
    let (old, new_address) = (bench.at(from).as_u64(), bench.at(to).as_u64());
    let (length, flags) = (pages * PAGE_SIZE, MoveFlags::MAYMOVE | MoveFlags::FIXED);
    let request = MoveRequest { old, old_length: length, new_length: length, flags, new_address };
    bench.memory.mremap(&bench.space, request)
}

fn move_pages(bench: &Bench, from: u64, pages: u64, to: u64) {
    assert_eq!(try_to_move(bench, from, pages, to), Ok(bench.at(to).as_u64()));
}

/// Takes the folio that has a frame out of its space and writes it to the device, as reclaim from the lists does; it stays in the swap
/// cache. `None` if it is busy. Else whether any page was mapped, and whether none is any more.
fn reclaim(bench: &Bench, frame: Pfn) -> Option<(bool, bool)> {
    let memory = &bench.memory;
    let folio: Folio<'_> = memory.frames.folio_of(frame);
    if !memory.lru.isolate(folio) {
        return None;
    }
    let result = folio.try_lock().and_then(|locked| {
        if !locked.is_swap_cache() {
            memory.swap.alloc(memory, &locked).ok()?;
        }
        let was_mapped = locked.is_mapped();
        locked.set_dirty(true);
        if memory.policy().unmap() == Unmap::Gather {
            let mut flush = BatchFlush::with_room_for(2);
            unmap_batch(memory, slice::from_ref(&locked), &mut flush);
        } else {
            let mut deferred = Deferred::new();
            try_to_unmap(memory, &locked, &mut deferred);
            deferred.flush(memory);
        }
        if was_mapped && !locked.is_mapped() {
            memory.swap.write_out(memory, &locked).expect("the device");
        }
        Some((was_mapped, !locked.is_mapped()))
    });
    assert!(memory.lru.putback(folio).is_none(), "nothing holds the folio any more");
    result
}

fn access<R>(bench: &Bench, page: u64, access: Access, act: impl Fn() -> Option<R>) -> R {
    for _ in 0..TRIES {
        if let Some(result) = act() {
            return result;
        }
        bench.memory.fault(&bench.space, bench.at(page), access).expect("a program was killed");
    }
    panic!("page {page} faults for ever");
}

fn write(bench: &Bench, page: u64, value: u64) {
    access(bench, page, Access::Write, || bench.machine.user_write_u64(bench.at(page), value).ok());
}

fn read(bench: &Bench, page: u64) -> u64 {
    access(bench, page, Access::Read, || bench.machine.user_read_u64(bench.at(page)).ok())
}

/// Between the entries' move and its flush the old addresses may still be cached: reclaim waits (rule MS-42).
#[test]
fn a_page_moved_is_flushed_before_reclaim_finds_it() {
    for way in WAYS {
        let bench = bench(way);
        let frame = bench.frame(0).frame();
        let schedule = Schedule::in_turn().window(0, 1, |event| matches!(event, Event::Tlbi(_)), 1);
        let reclaims = || assert_eq!(reclaim(&bench, frame), Some((true, true)));
        let moves = || move_pages(&bench, 0, BLOCK, TABLE + BLOCK);
        bench.machine.run_by(schedule, vec![program(moves), program(reclaims)]).unwrap();
        assert_eq!(bench.shape(TABLE + BLOCK, BLOCK), [0, 0, 16, 0], "{way}");
        (0..BLOCK).for_each(|page| assert_eq!(read(&bench, TABLE + BLOCK + page), page));
        bench.audit();
    }
}

/// Reclaim has found a table and waits for its lock, or holds it: the table may not begin to translate other addresses, which reclaim
/// would not flush.
#[test]
fn a_table_does_not_move_under_reclaim() {
    for way in WAYS {
        let bench = bench(way);
        let frame = bench.frame(0).frame();
        // Reclaim begins when the table is about to be unlinked; once it has the table's lock, the move goes on.
        let schedule = Schedule::in_turn().window(0, 1, |event| matches!(event, Event::Swap(..)), 1).window(
            1,
            1,
            |event| matches!(event, Event::Fact(Fact::Lock(_))),
            0,
        );
        let done = AtomicBool::new(false);
        let reclaims = || {
            assert_eq!(reclaim(&bench, frame), Some((true, true)));
            done.store(true, SeqCst);
        };
        let moves = || {
            move_pages(&bench, 0, TABLE, 2 * TABLE);
            while !done.load(SeqCst) {
                mmu::relax();
            }
        };
        bench.machine.run_by(schedule, vec![program(moves), program(reclaims)]).unwrap();
        assert_eq!(bench.count("tables_moved"), 1);
        assert_eq!(bench.shape(2 * TABLE, BLOCK), [0, 0, 16, 0], "{way}");
        (0..BLOCK).for_each(|page| assert_eq!(read(&bench, 2 * TABLE + page), page));
        bench.audit();
    }
}

/// An area moves to and fro, as tables, as folded blocks and page by page, while its program writes and reads it and another CPU
/// reclaims its folio: which is found whole each time, and no store is lost.
fn found_wherever_it_is(way: &str) {
    // From one place to the next: by a table, by a block, by a page.
    let places = [2 * TABLE, 4 * TABLE + BLOCK, 6 * TABLE + 1, 0];
    let (mut taken, mut by_table) = (0, 0);
    for seed in 1..=8 {
        let bench = bench(way);
        let frame = bench.frame(0).frame();
        let (done, found) = (AtomicBool::new(false), AtomicU64::new(0));
        let moves = || {
            bench.memory.activate(&bench.space);
            let mut now = 0;
            let mut last: [u64; BLOCK as usize] = std::array::from_fn(|page| page as u64);
            for turn in 1..=16 {
                let to = places[turn as usize % places.len()];
                move_pages(&bench, now, TABLE, to);
                now = to;
                for page in [turn * 7 % BLOCK, turn * 3 % BLOCK] {
                    assert_eq!(read(&bench, now + page), last[page as usize], "{way}, seed {seed}, turn {turn}");
                    write(&bench, now + page, turn << 8);
                    last[page as usize] = turn << 8;
                }
            }
            done.store(true, SeqCst);
        };
        let reclaims = || {
            while !done.load(SeqCst) {
                if let Some((was_mapped, is_gone)) = reclaim(&bench, frame) {
                    assert!(is_gone, "{way}, seed {seed}: a mapping was not found");
                    found.fetch_add(u64::from(was_mapped), SeqCst);
                }
                mmu::relax();
            }
        };
        let schedule = Schedule::seeded(seed).one_in(60);
        let report = bench.machine.run_by(schedule, vec![program(moves), program(reclaims)]);
        report.unwrap_or_else(|failure| panic!("{way}, seed {seed}: {failure}"));
        (taken, by_table) = (taken + found.load(SeqCst), by_table + bench.count("tables_moved"));
        bench.audit();
    }
    assert!(taken > 100 && by_table > 30, "the two hardly met: {taken} reclaimed, {by_table} tables moved");
}

#[test]
fn reclaim_page_by_page_finds_what_moves() {
    found_wherever_it_is("page");
}

#[test]
fn reclaim_folio_by_folio_finds_what_moves() {
    found_wherever_it_is("folio");
}

#[test]
fn reclaim_in_a_batch_finds_what_moves() {
    found_wherever_it_is("gather");
}

/// A move may split the old area twice and adds one: where three more are too many it is refused before anything is done.
#[test]
fn a_move_needs_room_for_three_areas() {
    let bench = Bench::new("64K=always");
    bench.map(0, BLOCK, RW);
    bench.fill(0, BLOCK);
    let limit = bench.space.layout().read().areas.limit() as u64;
    let far = 2 * TABLE;
    for area in 1..limit - 4 {
        bench.map(far + 2 * area, 1, RW);
    }
    bench.map(TABLE, 1, RW);
    assert_eq!(try_to_move(&bench, 4, 8, TABLE), Err(Errno::ENOMEM));
    assert_eq!(bench.shape(0, BLOCK), [16, 0, 0, 0]);
    assert!(bench.space.layout().read().areas.find(bench.at(TABLE)).is_some(), "the target was unmapped");
    bench.unmap(far + 2, 1);
    move_pages(&bench, 4, 8, TABLE);
    assert_eq!(bench.shape(0, BLOCK), [0, 8, 0, 8]);
    (0..8).for_each(|page| assert_eq!(bench.read(TABLE + page), Ok((page + 4) ^ 0xABCD)));
    bench.audit();
}
