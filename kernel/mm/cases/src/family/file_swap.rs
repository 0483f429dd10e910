//! Memory files in swap (reference 4.8 to 4.12, FILE-B; patches 6 and 7 have shared memory as a second caller): folios leave their file for
//! slots, one count call a folio, and come back whoever looks for them.

use alloc::format;
use alloc::string::String;
use alloc::vec;

use mm::OpenFile;
use mm::inject::{Point, Times};
use mm::lru::FolioList;
use mm::map::MapFlags;
use mm::reclaim::reclaim_folios;
use mmu::{Descriptor, PAGE_SIZE};

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same, within};
use crate::family::file::{PAGES, another, file_holds, mapped, resize};
use crate::family::helpers::operations;
use crate::field::{Field, Size, advice};
use crate::hoard::Hoard;

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "FILE page-out in all ways: slots in a folio's place, one count call", run: page_out },
    Case { name: "FILE page-out of every size", run: sizes },
    Case { name: "FILE what was written by a call goes to swap", run: written_by_a_call },
    Case { name: "FILE read and write bring pages back", run: read_and_write },
    Case { name: "FILE pages that were never written are marked as zeros", run: zeros },
    Case { name: "FILE MADV_PAGEOUT leaves what two areas map, reclaim takes it", run: shared_by_two },
    Case { name: "FILE a page of a file that is used has a second chance", run: second_chance },
    Case { name: "FILE a private area copies what comes back", run: private_copy },
    Case { name: "FILE what is cut off in swap gives its slots back", run: cut_off },
    Case { name: "FILE a cut inside a page that is in swap", run: cut_inside },
    Case { name: "FILE a file that ends gives its slots back", run: ends },
    Case { name: "FILE single pages come back from a folio's slots", run: by_page },
    Case { name: "FILE no room for the counts", run: no_counts },
    Case { name: "FILE no slots for a whole folio", run: no_slots },
    Case { name: "FILE no slot is free", run: full },
    Case { name: "FILE every other slot is free", run: in_pieces },
    Case { name: "FILE pinned pages stay", run: pinned },
];

const FOUR: usize = 4 * PAGES;

/// A file of so many pages that are filled, and a shared map of it.
fn filled<'b, 'm>(bench: &'b Bench<'m>, size: Size, pages: usize) -> Result<(OpenFile<'m>, Field<'b, 'm>), String> {
    let (file, field) = mapped(bench, size, pages, MapFlags::SHARED)?;
    field.fill(0, pages)?;
    Ok((file, field))
}

/// The same, paged out.
pub(super) fn swapped<'b, 'm>(bench: &'b Bench<'m>, pages: usize) -> Result<(OpenFile<'m>, Field<'b, 'm>), String> {
    let (file, field) = filled(bench, Size(64), pages)?;
    field.page_out(0, pages)?;
    same("pages in swap", file.swapped_pages(), pages)?;
    Ok((file, field))
}

/// Free frames and free slots.
pub(super) fn free(bench: &Bench<'_>) -> (usize, usize) {
    (bench.memory().frames.free_count(), bench.memory().swap.free_count())
}

/// Pages of files in memory and in swap.
pub(super) fn files(bench: &Bench<'_>) -> (i64, i64) {
    (bench.memory().files.pages(), bench.memory().files.swapped())
}

fn page_out(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|way| {
        let (file, field) = filled(bench, Size(64), FOUR)?;
        let before = free(bench);
        let (done, cost) = bench.measure(|| field.page_out(0, FOUR));
        done?;
        // A table is flushed once where four folios are gathered; else each by itself.
        let flushes = if way == "gather" { operations(bench, FOUR) } else { 4 * operations(bench, PAGES) };
        let barriers = if way == "gather" { 1 } else { 4 };
        let costs = format!("U=0 x=64 s=0 T={flushes} I={barriers} D={barriers} k=4 b=0 f=4 c=4");
        cost.must_be(&costs)?;
        field.must_look(0, FOUR, "N64")?;
        same("free frames and slots", free(bench), (before.0 + FOUR, before.1 - FOUR))?;
        same("pages of files", files(bench), (0, FOUR as i64))?;
        same("accounts", (field.space.file_pages(), field.accounts()), (0, (0, 0)))?;
        bench.audit()?;
        let faults = bench.memory().count().faults_swap_major.get();
        field.verify(0, FOUR)?;
        same("reads", bench.memory().count().faults_swap_major.get() - faults, 4)?;
        same("folded", field.how_many(0, FOUR, Descriptor::is_folded), if bench.folds() { FOUR } else { 0 })?;
        same("free frames and slots", free(bench), before)?;
        same("pages of the file, of files", (file.filled_pages(), files(bench)), (FOUR, (FOUR as i64, 0)))?;
        bench.audit()?;
        // Written since it came back: it goes out with that.
        field.store(20, 0, b"again")?;
        field.page_out(0, FOUR)?;
        same("byte", field.load(20, 0)?, b'a')?;
        field.exit();
        Ok(())
    })
}

fn sizes(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        [4, 16, 128, 2048].into_iter().try_for_each(|kib| within(&format!("{kib}K"), of_size(bench, Size(kib))))
    })
}

fn of_size(bench: &Bench<'_>, size: Size) -> Outcome {
    let (_file, field) = filled(bench, size, 512)?;
    same("order", field.folio(0).order(), size.order() as usize)?;
    let (done, cost) = bench.measure(|| field.page_out(0, 512));
    done?;
    let folios = 512 / size.pages();
    cost.must_be(&format!("U=0 x=512 s=0 k={folios} b=0 f={folios} c={folios}"))?;
    same("pages of files", files(bench), (0, 512))?;
    field.verify(0, 512)?;
    same("order", field.folio(0).order(), size.order() as usize)?;
    field.exit();
    Ok(())
}

fn written_by_a_call(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let (file, field) = mapped(bench, Size(64), 2 * PAGES, MapFlags::SHARED)?;
        for page in 0..2 * PAGES {
            same("write", file.write(page as u64 * PAGE_SIZE, &field.content(page)), Ok(PAGE_SIZE as usize))?;
        }
        // Nothing maps them.
        same("pages freed", bench.memory().shrink(2 * PAGES).freed, 2 * PAGES)?;
        same("pages of files", files(bench), (0, 2 * PAGES as i64))?;
        bench.audit()?;
        file_holds(&file, &field, 0, 2 * PAGES)?;
        same("pages of files", files(bench), (2 * PAGES as i64, 0))?;
        // Only read since.
        field.verify(0, PAGES)?;
        field.page_out(0, PAGES)?;
        file_holds(&file, &field, 0, PAGES)?;
        field.exit();
        Ok(())
    })
}

fn read_and_write(bench: &Bench<'_>) -> Outcome {
    let (file, field) = swapped(bench, 3 * PAGES)?;
    let mut bytes = vec![0; 2 * PAGE_SIZE as usize];
    // Over the border of two folios.
    same("read", file.read(15 * PAGE_SIZE, &mut bytes), Ok(bytes.len()))?;
    must(
        bytes[..PAGE_SIZE as usize] == field.content(15) && bytes[PAGE_SIZE as usize..] == field.content(16),
        "bytes",
    )?;
    same("pages in swap", file.swapped_pages(), PAGES)?;
    same("write", file.write(40 * PAGE_SIZE + 3, b"written"), Ok(7))?;
    same("pages in swap", file.swapped_pages(), 0)?;
    same("byte", field.load(40, 4)?, b'r')?;
    field.verify(0, 40)?;
    field.verify(41, 7)
}

fn zeros(bench: &Bench<'_>) -> Outcome {
    let (file, field) = mapped(bench, Size(64), PAGES, MapFlags::SHARED)?;
    field.read(0, PAGES)?;
    let marked = bench.memory().count().pages_zero_marked.get();
    field.page_out(0, PAGES)?;
    same("zero marks", bench.memory().count().pages_zero_marked.get() - marked, PAGES as u64)?;
    same("pages in swap", file.swapped_pages(), PAGES)?;
    field.verify_zero(0, PAGES)?;
    field.store(3, 0, b"no zero")?;
    field.page_out(0, PAGES)?;
    same("byte", field.load(3, 0)?, b'n')
}

fn shared_by_two(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let (file, one) = filled(bench, Size(64), PAGES)?;
        let other = another(bench, &file, PAGES, MapFlags::SHARED)?;
        other.verify(0, PAGES)?;
        one.page_out(0, PAGES)?;
        same("entries", one.how_many(0, PAGES, Descriptor::is_present), PAGES)?;
        let (memory, mut list) = (bench.memory(), FolioList::new());
        must(memory.lru.isolate(one.folio(0)), "the folio is on no list")?;
        list.push_back(one.folio(0));
        let (freed, cost) = bench.measure(|| reclaim_folios(memory, &mut list));
        same("pages freed", freed, PAGES)?;
        let flushes = 2 * operations(bench, PAGES);
        cost.must_be(&format!("U=0 x=32 s=0 T={flushes} k=1 b=0 f=2 c=2"))?;
        for field in [&one, &other] {
            field.must_look(0, PAGES, "N16")?;
            same("accounts", field.space.file_pages(), 0)?;
        }
        bench.audit()?;
        other.verify(0, PAGES)?;
        one.verify(0, PAGES)?;
        same("frame", other.entry(3).frame(), one.entry(3).frame())?;
        one.exit();
        other.exit();
        Ok(())
    })
}

fn second_chance(bench: &Bench<'_>) -> Outcome {
    let (_file, field) = filled(bench, Size(64), 2 * PAGES)?;
    field.advise(0, 2 * PAGES, advice::COLD).map_err(failed("MADV_COLD"))?;
    field.read(3, 1)?;
    same("pages freed", bench.memory().shrink(1).freed, PAGES)?;
    field.must_look(0, 2 * PAGES, if bench.folds() { "C16 N16" } else { "P16 N16" })?;
    same("pages freed", bench.memory().shrink(1).freed, PAGES)?;
    field.must_look(0, 2 * PAGES, "N32")?;
    field.verify(0, 2 * PAGES)
}

fn private_copy(bench: &Bench<'_>) -> Outcome {
    let (file, shared) = swapped(bench, 2 * PAGES)?;
    let private = another(bench, &file, 2 * PAGES, MapFlags::PRIVATE)?;
    private.store(5, 0, b"mine")?;
    private.must_look(0, 2 * PAGES, "N5 P1 N26")?;
    private.verify(6, 10)?;
    private.verify(16, 16)?;
    same("accounts", (private.space.file_pages(), private.accounts()), (26, (1, 0)))?;
    same("byte", private.load(5, 0)?, b'm')?;
    shared.verify(0, 2 * PAGES)
}

fn cut_off(bench: &Bench<'_>) -> Outcome {
    let (file, field) = swapped(bench, FOUR)?;
    let (before, read) = (free(bench), bench.memory().count().pages_swapped_in.get());
    // At a folio's border, and inside one: nothing is read for it.
    resize(&file, 3 * PAGES)?;
    same("free slots", free(bench), (before.0, before.1 + PAGES))?;
    resize(&file, 2 * PAGES + 5)?;
    same("free slots", free(bench), (before.0, before.1 + PAGES + 11))?;
    same("pages of files", files(bench), (0, 2 * PAGES as i64 + 5))?;
    same("pages read", bench.memory().count().pages_swapped_in.get(), read)?;
    bench.audit()?;
    resize(&file, FOUR)?;
    field.verify_zero(2 * PAGES + 5, 11)?;
    field.verify(0, 2 * PAGES + 5)?;
    field.verify_zero(3 * PAGES, PAGES)?;
    same("free slots", free(bench).1, before.1 + FOUR)
}

fn cut_inside(bench: &Bench<'_>) -> Outcome {
    let (file, field) = swapped(bench, PAGES)?;
    bench.memory().inject.arm(Point::DeviceRead, 0, Times::Always);
    same("a cut without its page", file.resize(5 * PAGE_SIZE + 100), Err(mm::Errno::EIO))?;
    same("size", file.size(), PAGES as u64 * PAGE_SIZE)?;
    bench.memory().inject.clear();
    file.resize(5 * PAGE_SIZE + 100).map_err(failed("ftruncate"))?;
    resize(&file, PAGES)?;
    bench.audit()?;
    field.verify(0, 5)?;
    let last = field.content(5);
    for (at, wanted) in [(0, last[0]), (99, last[99]), (100, 0), (4095, 0)] {
        same("byte of the last page", field.load(5, at)?, wanted)?;
    }
    field.verify_zero(6, 10)
}

fn ends(bench: &Bench<'_>) -> Outcome {
    let before = free(bench).1;
    let (file, field) = swapped(bench, 2 * PAGES)?;
    field.verify(0, 1)?;
    drop(file);
    same("free slots", free(bench).1, before - PAGES)?;
    field.exit();
    same("free slots, pages of files", (free(bench).1, files(bench)), (before, (0, 0)))
}

fn by_page(bench: &Bench<'_>) -> Outcome {
    bench.set("swapin=page")?;
    let (file, field) = swapped(bench, PAGES)?;
    let before = free(bench);
    field.verify(5, 1)?;
    field.must_look(0, PAGES, "N5 P1 N10")?;
    same("free frames and slots", free(bench), (before.0 - 1, before.1 + 1))?;
    same("in swap", file.swapped_pages(), 15)?;
    bench.audit()?;
    field.page_out(5, 1)?;
    same("in swap", file.swapped_pages(), PAGES)?;
    resize(&file, 6)?;
    bench.audit()?;
    resize(&file, PAGES)?;
    bench.set("swapin=folio")?;
    field.verify(0, 6)?;
    field.verify_zero(6, 10)
}

fn no_counts(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let (file, field) = filled(bench, Size(64), PAGES)?;
        let (before, folio) = (free(bench), field.folio(0));
        bench.memory().inject.fail(Point::FileDup, 7);
        field.page_out(0, PAGES)?;
        field.must_look(0, PAGES, "N16")?;
        same("free frames and slots", free(bench), before)?;
        same("in swap, references", (file.swapped_pages(), folio.refs()), (0, PAGES))?;
        bench.audit()?;
        field.verify(0, PAGES)?;
        same("folio", field.folio(0), folio)?;
        field.exit();
        Ok(())
    })
}

fn no_slots(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let (file, field) = filled(bench, Size(64), 2 * PAGES)?;
        let fallbacks = bench.memory().count().swap_fallbacks.get();
        bench.memory().inject.fail(Point::FileSlots, 0);
        let (done, cost) = bench.measure(|| field.page_out(0, 2 * PAGES));
        done?;
        // The first goes page by page, the other as a whole.
        cost.must_be("U=0 x=32 s=0 k=17 b=0 f=2 c=2")?;
        same("fallbacks", bench.memory().count().swap_fallbacks.get() - fallbacks, 1)?;
        same("in swap", file.swapped_pages(), 2 * PAGES)?;
        bench.audit()?;
        field.verify(0, 2 * PAGES)?;
        field.exit();
        Ok(())
    })
}

fn full(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let (file, field) = filled(bench, Size(64), PAGES)?;
        let hoard = Hoard::of_all(bench)?;
        field.page_out(0, PAGES)?;
        field.must_look(0, PAGES, "N16")?;
        same("in swap", file.swapped_pages(), 0)?;
        field.verify(0, PAGES)?;
        let is_apart = |page| field.folio(page).order() == 0 && field.folio(page).is_active();
        must((0..PAGES).all(is_apart), "a page is not apart, or not on the active list")?;
        drop(hoard);
        bench.audit()?;
        field.page_out(0, PAGES)?;
        same("in swap", file.swapped_pages(), PAGES)?;
        bench.audit()?;
        field.verify(0, PAGES)?;
        field.exit();
        Ok(())
    })
}

fn in_pieces(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let (file, field) = filled(bench, Size(64), 2 * PAGES)?;
        let fallbacks = bench.memory().count().swap_fallbacks.get();
        let mut hoard = Hoard::of_all(bench)?;
        hoard.give_back(|place| place % 2 == 1)?;
        field.page_out(0, 2 * PAGES)?;
        same("fallbacks", bench.memory().count().swap_fallbacks.get() - fallbacks, 2)?;
        same("in swap", file.swapped_pages(), 2 * PAGES)?;
        field.verify(0, PAGES)?;
        drop(hoard);
        bench.audit()?;
        field.verify(PAGES, PAGES)?;
        field.exit();
        Ok(())
    })
}

fn pinned(bench: &Bench<'_>) -> Outcome {
    let (file, field) = filled(bench, Size(64), PAGES)?;
    let memory = bench.memory();
    let pin = memory.pin_user_pages(&field.space, field.va(3), 1, true).map_err(failed("pin"))?;
    field.unmap(0, PAGES)?;
    memory.shrink(PAGES);
    same("in swap", file.swapped_pages(), 0)?;
    pin.write(0, 0, b"device");
    pin.unpin();
    memory.shrink(PAGES);
    same("in swap", file.swapped_pages(), PAGES)?;
    let mut bytes = [0; 6];
    same("read", (file.read(3 * PAGE_SIZE, &mut bytes), &bytes), (Ok(6), b"device"))
}
