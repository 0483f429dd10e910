//! Memory files, and a swap device that takes its time, fails, or is taken out of use (reference 4.8 to 4.12, 4.30).

use alloc::string::String;

use mm::fault::{Access, FaultError};
use mm::folio::Folio;
use mm::inject::{Point, Times};
use mm::map::MapFlags;
use mm::swap::Drive;
use mm::{Errno, OpenFile};
use mmu::PAGE_SIZE;

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same};
use crate::family::device::{LATENCY, in_each_way};
use crate::family::file::{PAGES, file_holds, mapped, resize};
use crate::family::file_swap::{files, free, swapped};
use crate::field::{Field, Size};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "FILE asynchronous: freed at a later pass", run: |bench| in_each_way(bench, freed_later) },
    Case { name: "FILE comes back under writeback", run: |bench| in_each_way(bench, back_again) },
    Case { name: "FILE cut under writeback", run: |bench| in_each_way(bench, cut) },
    Case { name: "FILE cut in part under writeback", run: |bench| in_each_way(bench, cut_in_part) },
    Case { name: "FILE ends under writeback", run: |bench| in_each_way(bench, ends) },
    Case { name: "FILE a write that fails, at once or later", run: |bench| in_each_way(bench, write_fails) },
    Case { name: "FILE a page that can not be read is SIGBUS, and EIO", run: |bench| in_each_way(bench, read_fails) },
    Case { name: "T-P-9 swapoff of memory files", run: swapoff },
    Case { name: "T-P-9 swapoff of memory files that finds no memory", run: swapoff_in_vain },
];

/// The swap device that cases have.
const DEVICE: u8 = 0;

/// A file of a folio that is paged out and under writeback.
fn under_writeback<'b, 'm>(bench: &'b Bench<'m>) -> Result<(OpenFile<'m>, Field<'b, 'm>, Folio<'m>), String> {
    let (file, field) = mapped(bench, Size(64), PAGES, MapFlags::SHARED)?;
    field.fill(0, PAGES)?;
    let (folio, (present, out)) = (field.folio(0), files(bench));
    field.page_out(0, PAGES)?;
    field.must_look(0, PAGES, "N16")?;
    must(folio.is_writeback() && folio.is_swap_cache() && !folio.is_file(), "the folio is not under writeback")?;
    must(!folio.is_locked() && !folio.is_dirty(), "the folio is locked or dirty")?;
    same("in swap, of files", (file.swapped_pages(), files(bench)), (PAGES, (present - 16, out + 16)))?;
    bench.audit()?;
    Ok((file, field, folio))
}

fn freed_later(bench: &Bench<'_>, drive: &Drive) -> Outcome {
    let frames = free(bench).0;
    let (file, field, _) = under_writeback(bench)?;
    drop(file);
    let before = free(bench);
    must(before.0 < frames - PAGES, "the folio is free while it is written")?;
    drive.tick();
    same("pages freed", bench.memory().run_completions(), 0)?;
    drive.tick();
    same("pages freed at last", bench.memory().run_completions(), PAGES)?;
    same("free frames and slots", free(bench), (before.0 + PAGES, before.1))?;
    field.verify(0, PAGES)
}

fn back_again(bench: &Bench<'_>, _: &Drive) -> Outcome {
    let (file, field, folio) = under_writeback(bench)?;
    bench.memory().inject.arm(Point::DeviceRead, 0, Times::Always);
    let slots = free(bench).1;
    let minor = bench.memory().count().faults_swap_minor.get();
    field.verify(5, 1)?;
    same("minor faults", bench.memory().count().faults_swap_minor.get() - minor, 1)?;
    same("the folio", field.folio(5), folio)?;
    must(folio.is_writeback() && folio.is_swap_cache() && folio.is_file(), "the folio is not both here and there")?;
    same("in swap, free slots", (file.swapped_pages(), free(bench).1), (0, slots))?;
    bench.audit()?;
    // It stays where it is, however often it is paged out.
    field.page_out(0, PAGES)?;
    field.store(3, 0, b"later")?;
    bench.complete();
    must(!folio.is_swap_cache() && folio.is_file() && folio.is_dirty(), "the folio is still in the swap cache")?;
    same("free slots", free(bench).1, slots + PAGES)?;
    bench.memory().inject.clear();
    field.page_out(0, PAGES)?;
    bench.complete();
    same("byte", field.load(3, 0)?, b'l')?;
    field.verify(4, 12)
}

fn cut(bench: &Bench<'_>, _: &Drive) -> Outcome {
    let (file, field, folio) = under_writeback(bench)?;
    let before = free(bench);
    resize(&file, 0)?;
    same("free while it is written", free(bench), before)?;
    must(folio.is_swap_cache(), "the folio has left the swap cache")?;
    bench.audit()?;
    bench.complete();
    same("free", free(bench), (before.0 + PAGES, before.1 + PAGES))?;
    resize(&file, PAGES)?;
    field.verify_zero(0, PAGES)
}

fn cut_in_part(bench: &Bench<'_>, _: &Drive) -> Outcome {
    let (file, field, folio) = under_writeback(bench)?;
    resize(&file, 6)?;
    // All of it is back, and what was cut off is zero.
    same("in swap, pages", (file.swapped_pages(), file.filled_pages()), (0, PAGES))?;
    must(folio.is_file() && folio.is_writeback(), "the folio is not back")?;
    bench.audit()?;
    resize(&file, PAGES)?;
    field.verify(0, 6)?;
    field.verify_zero(6, 10)
}

fn ends(bench: &Bench<'_>, _: &Drive) -> Outcome {
    let (file, field, _) = under_writeback(bench)?;
    let before = free(bench);
    drop(file);
    field.exit();
    must(free(bench).0 >= before.0, "frames are lost")?;
    bench.complete();
    same("free slots", free(bench).1, before.1 + PAGES)
}

fn write_fails(bench: &Bench<'_>, drive: &Drive) -> Outcome {
    for latency in [0, LATENCY] {
        drive.set_latency(latency);
        let (file, field) = mapped(bench, Size(64), PAGES, MapFlags::SHARED)?;
        field.fill(0, PAGES)?;
        let folio = field.folio(0);
        drive.set_unwritable(0..usize::MAX);
        field.page_out(0, PAGES)?;
        bench.complete();
        must(folio.is_swap_cache() && folio.is_dirty(), "the folio is lost, or clean")?;
        bench.audit()?;
        let mut byte = [0];
        same("read", file.read(7 * PAGE_SIZE, &mut byte), Ok(1))?;
        same("byte", byte[0], field.content(7)[0])?;
        same("folio", (folio.is_file(), folio.is_swap_cache()), (true, false))?;
        field.verify(0, PAGES)?;
        same("folio", field.folio(0), folio)?;
        drive.set_unwritable(0..0);
        field.page_out(0, PAGES)?;
        bench.complete();
        same("in swap", file.swapped_pages(), PAGES)?;
        field.verify(0, PAGES)?;
        field.exit();
    }
    Ok(())
}

fn read_fails(bench: &Bench<'_>, drive: &Drive) -> Outcome {
    drive.set_latency(0);
    let (file, field) = mapped(bench, Size(64), PAGES, MapFlags::SHARED)?;
    field.fill(0, PAGES)?;
    // The slots that come next.
    let probe = Field::new(bench, field.space.clone(), field.va(2 * PAGES), PAGES)?;
    probe.fill(0, PAGES)?;
    probe.page_out(0, PAGES)?;
    let slot = mm::swap::SwapEntry::from_descriptor(probe.entry(5)).ok_or("the probe is not out")?.entry.slot as usize;
    probe.unmap(0, PAGES)?;
    field.page_out(0, PAGES)?;
    drive.set_unreadable(slot..slot + 1);
    let (before, bad) = (free(bench), find_bad(bench, &field)?);
    same("free frames and slots", (free(bench).0 + PAGES - 1, free(bench).1), (before.0, before.1 + PAGES - 1))?;
    let mut bytes = [0; 8];
    same("read", file.read(bad as u64 * PAGE_SIZE, &mut bytes), Err(Errno::EIO))?;
    same("write", file.write(bad as u64 * PAGE_SIZE, b"x"), Err(Errno::EIO))?;
    // What comes before it is read.
    let at = bad as u64 * PAGE_SIZE - 4;
    same("read up to it", file.read(at, &mut bytes), Ok(4))?;
    bench.audit()?;
    drive.set_unreadable(0..0);
    file_holds(&file, &field, 0, PAGES)
}

/// Reads every page, of which one must fail: which.
fn find_bad(bench: &Bench<'_>, field: &Field<'_, '_>) -> Result<usize, String> {
    let read =
        |page: &usize| bench.memory().fault(&field.space, field.va(*page), Access::Read) == Err(FaultError::SwapRead);
    let bad: alloc::vec::Vec<usize> = (0..PAGES).filter(read).collect();
    same("pages that can not be read", bad.len(), 1)?;
    Ok(bad[0])
}

fn swapoff(bench: &Bench<'_>) -> Outcome {
    let memory = bench.memory();
    bench.each_way(|_| {
        let (file, field) = swapped(bench, 4 * PAGES)?;
        // One that nobody maps, and of which a part is here.
        let other = memory.open_file(0).map_err(failed("a file"))?;
        for page in 0..PAGES {
            other.write(page as u64 * PAGE_SIZE, &field.content(page)).map_err(failed("write"))?;
        }
        memory.shrink(PAGES);
        field.verify(PAGES, 1)?;
        same("in swap", (file.swapped_pages(), other.swapped_pages()), (3 * PAGES, PAGES))?;
        memory.swapoff(DEVICE).map_err(failed("swapoff"))?;
        let found = same("of files", files(bench), (5 * PAGES as i64, 0)).and_then(|()| bench.audit());
        // There is nowhere to go.
        let stays = field.page_out(0, 4 * PAGES).and_then(|()| same("of files", files(bench), (5 * PAGES as i64, 0)));
        memory.swapon(DEVICE).map_err(failed("swapon"))?;
        found.and(stays)?;
        same("slots in use", memory.swap.total() - memory.swap.free_count(), 0)?;
        field.verify(0, 4 * PAGES)?;
        file_holds(&other, &field, 0, PAGES)?;
        field.exit();
        Ok(())
    })
}

fn swapoff_in_vain(bench: &Bench<'_>) -> Outcome {
    let memory = bench.memory();
    let (file, field) = swapped(bench, 2 * PAGES)?;
    memory.inject.arm(Point::LargeFolioAlloc, 0, Times::Always);
    memory.inject.arm(Point::FolioAlloc, 1, Times::Always);
    let result = memory.swapoff(DEVICE);
    memory.inject.clear();
    same("swapoff", result, Err(Errno::ENOMEM))?;
    same("in use, in swap", (memory.swap.is_in_use(DEVICE), file.swapped_pages()), (Some(true), 2 * PAGES - 1))?;
    bench.audit()?;
    field.verify(0, 2 * PAGES)
}
