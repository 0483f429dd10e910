//! Reference 4.8 to 4.12: a swap device that takes its time, and one that fails.

use alloc::format;
use alloc::string::String;

use mm::fault::{Access, FaultError};
use mm::folio::Folio;
use mm::inject::{Point, Times};
use mm::swap::{Drive, SwapEntry};

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same};
use crate::family::helpers::fresh_block;
use crate::field::{Field, Size, advice};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "4.12 asynchronous: freed at a later pass", run: |bench| in_each_way(bench, freed_later) },
    Case { name: "T-I-5 under writeback", run: |bench| in_each_way(bench, mapped_again) },
    Case { name: "4.9 reclaim leaves a folio under writeback alone", run: |bench| in_each_way(bench, left_alone) },
    Case { name: "4.9 written under writeback, written again", run: |bench| in_each_way(bench, written_again) },
    Case { name: "4.9 unchanged since it was written, not written again", run: |bench| in_each_way(bench, not_again) },
    Case { name: "4.9 nothing is freed under writeback", run: |bench| in_each_way(bench, dropped) },
    Case { name: "4.9 bytes, however long the device takes", run: |bench| in_each_way(bench, bytes) },
    Case { name: "4.9 a part is dropped under writeback", run: |bench| in_each_way(bench, dropped_in_part) },
    Case { name: "4.9 mapped again and dropped under writeback", run: |bench| in_each_way(bench, mapped_and_dropped) },
    Case { name: "4.9 a write that fails later", run: |bench| in_each_way(bench, fails_later) },
    Case { name: "4.9 a write that fails later, and nobody needs it", run: |bench| in_each_way(bench, fails_unneeded) },
    Case { name: "4.9 slots that can not be written", run: |bench| in_each_way(bench, unwritable) },
    Case { name: "4.10 asynchronous: page by page, and kept in the cache", run: |bench| in_each_way(bench, by_page) },
    Case { name: "4.10 of a folio with a bad slot one page fails", run: |bench| in_each_way(bench, unreadable) },
    Case { name: "T-RB-15 no room for a high count", run: |bench| in_each_way(bench, no_room) },
    Case { name: "4.8 zeros need no completion", run: |bench| in_each_way(bench, zeros) },
];

/// Ticks that a write takes here.
pub const LATENCY: u64 = 2;

/// A case in each way, with a swap device that takes its time. What it leaves to be written is audited before it arrives and after.
pub fn in_each_way(bench: &Bench<'_>, case: fn(&Bench<'_>, &Drive) -> Outcome) -> Outcome {
    let drive = bench.drive()?;
    bench.each_way(|_| {
        drive.set_latency(LATENCY);
        case(bench, drive)?;
        bench.audit()?;
        bench.complete();
        bench.audit()
    })
}

/// A folded block that is paged out and under writeback, and its folio.
fn under_writeback<'b, 'm>(bench: &'b Bench<'m>) -> Result<(Field<'b, 'm>, Folio<'m>), String> {
    let field = fresh_block(bench)?;
    let folio = field.folio(0);
    field.page_out(0, 16)?;
    field.must_look(0, 16, "E16")?;
    must(folio.is_writeback() && folio.is_swap_cache() && !folio.is_dirty(), "the folio is not under writeback")?;
    must(!folio.is_locked() && !folio.is_mapped(), "the folio is locked or mapped")?;
    bench.audit()?;
    Ok((field, folio))
}

/// Free frames and slots.
fn free(bench: &Bench<'_>) -> (usize, usize) {
    (bench.memory().frames.free_count(), bench.memory().swap.free_count())
}

/// Faults from the device and from the cache, and pages written out, so far.
fn traffic(bench: &Bench<'_>) -> [u64; 3] {
    let count = bench.memory().count();
    [count.faults_swap_major.get(), count.faults_swap_minor.get(), count.pages_swapped_out.get()]
}

/// What `action` adds to the [`traffic`].
fn must_take(bench: &Bench<'_>, wanted: [u64; 3], action: impl FnOnce() -> Outcome) -> Outcome {
    let before = traffic(bench);
    action()?;
    let after = traffic(bench);
    let taken: [u64; 3] = core::array::from_fn(|index| after[index] - before[index]);
    same("major faults, minor faults, pages written", taken, wanted)
}

fn freed_later(bench: &Bench<'_>, drive: &Drive) -> Outcome {
    let field = fresh_block(bench)?;
    let before = free(bench);
    field.page_out(0, 16)?;
    same("free while it is written", free(bench), (before.0, before.1 - 16))?;
    for tick in 0..LATENCY {
        same("pending writes", drive.pending(), 1)?;
        same("pages freed", bench.memory().run_completions(), 0)?;
        same(&format!("free after {tick} ticks"), free(bench), (before.0, before.1 - 16))?;
        drive.tick();
    }
    same("pages freed at last", bench.memory().run_completions(), 16)?;
    same("free at last", free(bench), (before.0 + 16, before.1 - 16))?;
    same("pending writes", drive.pending(), 0)?;
    field.must_look(0, 16, "E16")?;
    field.verify(0, 16)
}

fn mapped_again(bench: &Bench<'_>, _: &Drive) -> Outcome {
    let (field, folio) = under_writeback(bench)?;
    let used = free(bench).1;
    bench.memory().inject.arm(Point::DeviceRead, 0, Times::Always);
    must_take(bench, [0, 1, 0], || field.verify(5, 1))?;
    same("the folio", field.folio(5), folio)?;
    field.must_look(0, 16, "C16")?;
    same("exclusive", folio.exclusive_run(0, 16), (true, 16))?;
    must(!field.entry(5).is_dirty() && field.entry(5).is_writable(), "a read fault has made it dirty or read-only")?;
    same("accounts", field.accounts(), (16, 0))?;
    must(folio.is_writeback() && folio.is_swap_cache(), "the writeback is over")?;
    same("free slots", free(bench).1, used)?;
    bench.audit()?;
    bench.complete();
    must(!folio.is_writeback() && folio.is_swap_cache() && !folio.is_dirty(), "the copy on the device is lost")?;
    field.verify(0, 16)?;
    bench.memory().inject.clear();
    Ok(())
}

fn left_alone(bench: &Bench<'_>, _: &Drive) -> Outcome {
    let (field, _) = under_writeback(bench)?;
    field.store(3, 9, &[0xa5])?;
    must_take(bench, [0, 0, 0], || field.page_out(0, 16))?;
    field.must_look(0, 16, "C16")?;
    bench.complete();
    field.page_out(0, 16)?;
    field.must_look(0, 16, "E16")?;
    bench.complete();
    same("what was written under writeback", field.load(3, 9)?, 0xa5)
}

/// The device reads memory when it completes. Whatever it gets of a store meanwhile, the store counts.
fn written_again(bench: &Bench<'_>, _: &Drive) -> Outcome {
    let (field, folio) = under_writeback(bench)?;
    field.store(5, 100, &[0x5a])?;
    must(field.entry(5).is_dirty(), "the entry does not say that it was written")?;
    bench.complete();
    field.store(5, 101, &[0xa5])?;
    must(!folio.is_writeback() && folio.is_swap_cache(), "the folio has left the cache")?;
    must_take(bench, [0, 0, 16], || field.page_out(0, 16))?;
    bench.complete();
    field.must_look(0, 16, "E16")?;
    same("what was written under writeback", field.load(5, 100)?, 0x5a)?;
    same("what was written afterwards", field.load(5, 101)?, 0xa5)?;
    field.verify(6, 10)
}

fn not_again(bench: &Bench<'_>, _: &Drive) -> Outcome {
    let (field, _) = under_writeback(bench)?;
    field.read(0, 16)?;
    bench.complete();
    let frames = free(bench).0;
    must_take(bench, [0, 0, 0], || field.page_out(0, 16))?;
    field.must_look(0, 16, "E16")?;
    same("free frames", free(bench).0, frames + 16)?;
    must_take(bench, [16, 0, 0], || field.verify(0, 16))
}

fn dropped(bench: &Bench<'_>, _: &Drive) -> Outcome {
    let (field, folio) = under_writeback(bench)?;
    let before = free(bench);
    field.advise(0, 16, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
    same("accounts", field.accounts(), (0, 0))?;
    same("free while it is written", free(bench), before)?;
    must(folio.is_swap_cache() && folio.is_writeback(), "the folio has left the cache")?;
    bench.audit()?;
    // Slots and frames that came free too early would be taken here.
    let other = fresh_block(bench)?;
    other.page_out(0, 16)?;
    bench.complete();
    other.verify(0, 16)?;
    field.verify_zero(0, 16)
}

/// Nothing is looked at but bytes, and by the checker what the device reads.
fn bytes(bench: &Bench<'_>, _: &Drive) -> Outcome {
    let field = bench.filled(Size(64), 64)?;
    field.page_out(0, 64)?;
    field.advise(0, 16, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
    field.fill(20, 4)?;
    bench.complete();
    field.page_out(16, 16)?;
    bench.complete();
    field.verify(16, 48)?;
    field.verify_zero(0, 16)
}

fn dropped_in_part(bench: &Bench<'_>, _: &Drive) -> Outcome {
    let (field, folio) = under_writeback(bench)?;
    field.advise(15, 1, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
    must_take(bench, [0, 8, 0], || field.verify(0, 8))?;
    field.must_look(0, 16, "P8 E7 N1")?;
    same("the folio", field.folio(7), folio)?;
    bench.audit()?;
    bench.complete();
    must_take(bench, [0, 7, 0], || field.verify(8, 7))?;
    field.verify_zero(15, 1)?;
    field.verify(0, 15)
}

fn mapped_and_dropped(bench: &Bench<'_>, _: &Drive) -> Outcome {
    let (field, folio) = under_writeback(bench)?;
    field.fill(0, 16)?;
    let before = free(bench);
    field.advise(0, 16, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
    same("free frames while it is written", free(bench).0, before.0)?;
    must(folio.is_swap_cache() && folio.is_writeback() && !folio.is_mapped(), "the folio has left the cache")?;
    bench.complete();
    same("free", free(bench), (before.0 + 16, before.1 + 16))
}

/// Only the folio has the data: it stays, dirty, and goes out with the next page-out that finds it mapped.
fn fails_later(bench: &Bench<'_>, _: &Drive) -> Outcome {
    let (field, folio) = under_writeback(bench)?;
    let errors = bench.memory().count().swap_write_errors.get();
    bench.memory().inject.fail(Point::DeviceComplete, 0);
    bench.complete();
    same("errors counted", bench.memory().count().swap_write_errors.get() - errors, 1)?;
    must(folio.is_dirty() && folio.is_active() && !folio.is_writeback(), "the failure left no trace")?;
    bench.audit()?;
    must_take(bench, [0, 1, 0], || field.verify(0, 16))?;
    field.must_look(0, 16, "C16")?;
    must_take(bench, [0, 0, 16], || field.page_out(0, 16))?;
    bench.complete();
    field.must_look(0, 16, "E16")?;
    must_take(bench, [16, 0, 0], || field.verify(0, 16))
}

fn fails_unneeded(bench: &Bench<'_>, _: &Drive) -> Outcome {
    let (field, _) = under_writeback(bench)?;
    let before = free(bench);
    field.advise(0, 16, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
    bench.memory().inject.fail(Point::DeviceComplete, 0);
    bench.complete();
    same("free", free(bench), (before.0 + 16, before.1 + 16))
}

/// The slots of a block that is paged out, which are given out again to the next one of its size.
fn slot_of(field: &Field<'_, '_>, page: usize) -> Result<usize, String> {
    let swapped = SwapEntry::from_descriptor(field.entry(page)).ok_or("the page is not swapped out")?;
    Ok(swapped.entry.slot as usize)
}

fn unwritable(bench: &Bench<'_>, drive: &Drive) -> Outcome {
    for latency in [0, LATENCY] {
        drive.set_latency(latency);
        let field = fresh_block(bench)?;
        // All slots: whichever the block gets.
        drive.set_unwritable(0..usize::MAX);
        field.page_out(0, 16)?;
        bench.complete();
        bench.audit()?;
        must_take(bench, [0, 1, 0], || field.verify(0, 16))?;
        drive.set_unwritable(0..0);
        field.page_out(0, 16)?;
        bench.complete();
        field.must_look(0, 16, "E16")?;
        field.verify(0, 16)?;
        field.unmap(0, 16)?;
    }
    Ok(())
}

fn by_page(bench: &Bench<'_>, _: &Drive) -> Outcome {
    let (field, _) = under_writeback(bench)?;
    bench.complete();
    let slots = free(bench).1;
    must_take(bench, [16, 0, 0], || field.verify(0, 16))?;
    same("orders", (0..16).map(|page| field.folio(page).order()).max(), Some(0))?;
    must((0..16).all(|page| field.folio(page).is_swap_cache()), "a page that was read has left the cache")?;
    same("free slots", free(bench).1, slots)?;
    bench.audit()?;
    // What was only read is on the device still; what was written is not.
    field.store(9, 0, &[0x77])?;
    must_take(bench, [0, 0, 1], || field.page_out(0, 16))?;
    bench.complete();
    field.must_look(0, 16, "E16")?;
    same("what was written", field.load(9, 0)?, 0x77)?;
    field.verify(10, 6)
}

fn unreadable(bench: &Bench<'_>, drive: &Drive) -> Outcome {
    drive.set_latency(0);
    let field = bench.filled(Size(64), 32)?;
    field.page_out(0, 32)?;
    let before = free(bench);
    let bad = slot_of(&field, 5)?;
    drive.set_unreadable(bad..bad + 1);
    let errors = bench.memory().count().swap_read_errors.get();
    for _ in 0..2 {
        let result = bench.memory().fault(&field.space, field.va(5), Access::Read);
        same("fault", result, Err(FaultError::SwapRead))?;
        field.must_look(0, 32, "E32")?;
        same("free", free(bench), before)?;
        bench.audit()?;
    }
    // Each attempt was at the folio, then at the page.
    same("errors counted", bench.memory().count().swap_read_errors.get() - errors, 4)?;
    field.verify(2, 1)?;
    field.must_look(0, 32, "E2 P1 E29")?;
    field.verify(16, 16)?;
    field.must_look(0, 32, "E2 P1 E13 C16")?;
    drive.set_unreadable(0..0);
    field.verify(0, 32)
}

fn zeros(bench: &Bench<'_>, drive: &Drive) -> Outcome {
    let field = bench.field(Size(64), 16)?;
    field.touch(0, 16)?;
    let before = free(bench).0;
    field.page_out(0, 16)?;
    same("pending writes", drive.pending(), 0)?;
    same("free frames", free(bench).0, before + 16)?;
    field.verify_zero(0, 16)
}

/// The counts of a cached block are as high as they get without room elsewhere, as after many forks. Then there is none: the page-out is
/// taken back, and nothing is counted.
fn no_room(bench: &Bench<'_>, drive: &Drive) -> Outcome {
    drive.set_latency(0);
    let field = fresh_block(bench)?;
    field.page_out(0, 16)?;
    let swap = &bench.memory().swap;
    let entry = SwapEntry::from_descriptor(field.entry(0)).ok_or("page 0 is not swapped out")?.entry;
    swap.refuse_extensions(usize::MAX);
    let raised = (0..).take_while(|_| swap.dup_entries(entry, 16).is_ok()).count();
    same("raised", swap.count(entry), raised + 1)?;
    field.verify(0, 16)?;
    must(swap.dup_entries(entry, 16).is_ok() && swap.dup_entries(entry, 16).is_err(), "the counts are not full")?;
    let folio = field.folio(0);
    field.page_out(0, 16)?;
    same("accounts of a page-out without room", field.accounts(), (16, 0))?;
    same("references", folio.refs(), 32)?;
    same("counts", (0..16).filter(|&page| swap.count(entry.advance(page)) == raised + 1).count(), 16)?;
    swap.refuse_extensions(1);
    field.page_out(0, 16)?;
    swap.refuse_extensions(0);
    field.page_out(0, 16)?;
    same("accounts of a page-out with room", field.accounts(), (0, 16))?;
    same("counts", (0..16).filter(|&page| swap.count(entry.advance(page)) == raised + 2).count(), 16)?;
    for _ in 0..=raised {
        swap.put_entries(bench.memory(), entry, 16, |_| ());
    }
    field.verify(0, 16)
}
