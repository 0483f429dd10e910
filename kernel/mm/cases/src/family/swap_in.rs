//! Reference 5.7: coming back from swap.

use alloc::format;

use mm::fault::{Access, FaultError};
use mm::inject::{Point, Times};
use mmu::Descriptor;

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same};
use crate::family::helpers::fresh_block;
use crate::field::{Field, Size, advice};
use crate::unmapping::unmap_folio;

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-I-1 a whole folio comes back folded", run: whole_folio },
    Case { name: "T-I-2 a write fault brings it back dirty", run: write_fault },
    Case { name: "T-I-3 with one entry gone the rest comes page by page", run: one_gone },
    Case { name: "T-I-4 at other addresses it comes page by page", run: not_congruent },
    Case { name: "T-I-5 from the swap cache, without a read", run: from_cache },
    Case { name: "T-I-7 no large folio to be had", run: no_large_folio },
    Case { name: "T-I-8 zeros come without a read", run: zeros },
    Case { name: "T-I a smaller size is enabled meanwhile", run: other_size },
    Case { name: "T-I swapin=page", run: single_pages },
    Case { name: "6 no memory at swap-in", run: no_memory },
    Case { name: "6 the device fails to read", run: read_fails },
    Case { name: "6 the device fails to write", run: write_fails },
    Case { name: "6 no swap slots", run: no_slots },
    Case { name: "6 no table", run: no_table },
];

fn block_out<'b, 'm>(bench: &'b Bench<'m>) -> Result<Field<'b, 'm>, alloc::string::String> {
    let field = fresh_block(bench)?;
    field.page_out(0, 16)?;
    field.must_look(0, 16, "E16")?;
    Ok(field)
}

/// Major faults that `action` takes.
fn majors(bench: &Bench<'_>, action: impl FnOnce() -> Outcome) -> Result<u64, alloc::string::String> {
    let before = bench.memory().count().faults_swap_major.get();
    action()?;
    Ok(bench.memory().count().faults_swap_major.get() - before)
}

fn whole_folio(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let free = bench.memory().swap.free_count();
        let field = block_out(bench)?;
        same("free slots while out", bench.memory().swap.free_count(), free - 16)?;
        same("major faults", majors(bench, || field.verify(5, 1))?, 1)?;
        field.must_look(0, 16, "C16")?;
        let folio = field.folio(0);
        same("exclusive", folio.exclusive_run(0, 16), (true, 16))?;
        same("writable", field.how_many(0, 16, Descriptor::is_writable), 16)?;
        same("accounts", field.accounts(), (16, 0))?;
        same("free slots", bench.memory().swap.free_count(), free)?;
        same("references", folio.refs(), 16)?;
        same("more faults", majors(bench, || field.verify(0, 16))?, 0)
    })
}

fn write_fault(bench: &Bench<'_>) -> Outcome {
    let field = block_out(bench)?;
    same("major faults", majors(bench, || field.store(5, 100, &[0xa5]))?, 1)?;
    field.must_look(0, 16, "C16")?;
    must(field.entry(5).is_dirty() && field.entry(5).is_writable(), "the entry is not dirty")?;
    same("what was written", field.load(5, 100)?, 0xa5)?;
    field.verify(0, 5)?;
    field.verify(6, 10)?;
    field.page_out(0, 16)?;
    same("what was written, after another round", field.load(5, 100)?, 0xa5)
}

fn one_gone(bench: &Bench<'_>) -> Outcome {
    let field = block_out(bench)?;
    field.advise(7, 1, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
    field.must_look(0, 16, "E7 N1 E8")?;
    let faults = majors(bench, || {
        field.verify(0, 7)?;
        field.verify(8, 8)
    })?;
    same("major faults", faults, 15)?;
    same("orders", (0..16).filter(|&page| page != 7).map(|page| field.folio(page).order()).max(), Some(0))?;
    same("folded", field.how_many(0, 16, Descriptor::is_folded), 0)?;
    field.verify_zero(7, 1)
}

fn not_congruent(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(64), 64)?;
    field.fill(0, 32)?;
    field.page_out(0, 32)?;
    // The slots follow each other, so that a whole aligned block of entries does too, from the middle of one folio on.
    (0..32).rev().try_for_each(|page| field.move_swap_entry(page, page + 17))?;
    field.must_look(17, 32, "E32")?;
    (32..49).chain(17..32).try_for_each(|page| field.must_hold(page, &field.content(page - 17)))?;
    same("folded", field.how_many(17, 32, Descriptor::is_folded), 0)?;
    same("orders", (17..49).map(|page| field.folio(page).order()).max(), Some(0))
}

fn from_cache(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = fresh_block(bench)?;
        let (folio, frame) = (field.folio(0), field.entry(5).frame());
        unmap_folio(bench, folio)?;
        bench.memory().inject.arm(Point::DeviceRead, 0, Times::Always);
        let minor = bench.memory().count().faults_swap_minor.get();
        same("major faults", majors(bench, || field.verify(5, 1))?, 0)?;
        same("minor faults", bench.memory().count().faults_swap_minor.get() - minor, 1)?;
        same("frame", field.entry(5).frame(), frame)?;
        field.must_look(0, 16, "C16")?;
        must(!folio.is_swap_cache(), "the folio is still in the swap cache")?;
        bench.memory().inject.clear();
        field.verify(0, 16)
    })
}

fn no_large_folio(bench: &Bench<'_>) -> Outcome {
    let field = block_out(bench)?;
    let fallbacks = bench.memory().count().folio_fallbacks.get();
    bench.memory().inject.arm(Point::LargeFolioAlloc, 0, Times::Always);
    same("major faults", majors(bench, || field.verify(0, 16))?, 16)?;
    // By the first fault; for the others no large folio fits any more.
    same("fallbacks", bench.memory().count().folio_fallbacks.get() - fallbacks, 1)?;
    same("orders", (0..16).map(|page| field.folio(page).order()).max(), Some(0))?;
    same("accounts", field.accounts(), (16, 0))
}

fn zeros(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = bench.field(Size(64), 16)?;
        field.touch(0, 16)?;
        field.page_out(0, 16)?;
        field.must_look(0, 16, "E16")?;
        bench.memory().inject.arm(Point::DeviceRead, 0, Times::Always);
        field.verify_zero(0, 16)?;
        bench.memory().inject.clear();
        // The mark goes when the slots get data.
        field.fill(0, 16)?;
        field.page_out(0, 16)?;
        field.verify(0, 16)
    })
}

fn other_size(bench: &Bench<'_>) -> Outcome {
    let field = block_out(bench)?;
    bench.set_size(Size(16));
    field.verify(0, 16)?;
    must(field.how_many(0, 16, Descriptor::is_folded) == 0, "folded, though 64K is not enabled")?;
    must((0..16).all(|page| field.folio(page).order() <= 2), "a folio of a size that is not enabled")
}

fn single_pages(bench: &Bench<'_>) -> Outcome {
    bench.set("swapin=page")?;
    let field = block_out(bench)?;
    same("major faults", majors(bench, || field.verify(0, 16))?, 16)?;
    same("orders", (0..16).map(|page| field.folio(page).order()).max(), Some(0))
}

fn must_fault_with(bench: &Bench<'_>, field: &Field<'_, '_>, page: usize, error: FaultError) -> Outcome {
    let result = bench.memory().fault(&field.space, field.va(page), Access::Read);
    same("fault", result, Err(error))?;
    bench.audit()
}

fn no_memory(bench: &Bench<'_>) -> Outcome {
    let field = block_out(bench)?;
    bench.memory().inject.arm(Point::LargeFolioAlloc, 0, Times::Always);
    bench.memory().inject.arm(Point::FolioAlloc, 0, Times::Always);
    must_fault_with(bench, &field, 5, FaultError::OutOfMemory)?;
    field.must_look(0, 16, "E16")?;
    bench.memory().inject.clear();
    field.verify(0, 16)
}

fn read_fails(bench: &Bench<'_>) -> Outcome {
    let field = block_out(bench)?;
    bench.memory().inject.arm(Point::DeviceRead, 0, Times::Always);
    must_fault_with(bench, &field, 5, FaultError::SwapRead)?;
    field.must_look(0, 16, "E16")?;
    bench.memory().inject.clear();
    field.verify(0, 16)
}

fn write_fails(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        for size in [Size(64), Size(2048)] {
            let field = bench.filled(size, size.pages())?;
            bench.memory().inject.fail(Point::DeviceWrite, 0);
            field.page_out(0, size.pages())?;
            must(!bench.memory().inject.is_armed(Point::DeviceWrite), "nothing was written")?;
            bench.audit()?;
            let major = majors(bench, || field.verify(0, size.pages()))?;
            same("major faults: the only copy is in memory", major, 0)?;
            field.page_out(0, size.pages())?;
            field.must_look(0, size.pages(), &format!("E{}", size.pages()))?;
            field.verify(0, size.pages())?;
            field.unmap(0, size.pages())?;
        }
        Ok(())
    })
}

/// The folio stays, or is split and goes page by page; nothing is lost.
fn no_slots(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = fresh_block(bench)?;
        let fallbacks = bench.memory().count().swap_fallbacks.get();
        bench.memory().inject.fail(Point::SwapAlloc, 0);
        field.page_out(0, 16)?;
        must(bench.memory().count().swap_fallbacks.get() > fallbacks, "no fallback was counted")?;
        bench.audit()?;
        field.verify(0, 16)?;
        bench.memory().inject.arm(Point::SwapAlloc, 0, Times::Always);
        field.page_out(0, 16)?;
        same("swapped out without slots", field.accounts(), (16, 0))?;
        bench.memory().inject.clear();
        field.verify(0, 16)?;
        field.page_out(0, 16)?;
        same("swapped out", field.accounts(), (0, 16))?;
        field.verify(0, 16)
    })
}

fn no_table(bench: &Bench<'_>) -> Outcome {
    for tables in 0..3 {
        let field = bench.field(Size(64), 16)?;
        bench.memory().inject.fail(Point::TableAlloc, tables);
        same("fault", bench.memory().fault(&field.space, field.va(0), Access::Write), Err(FaultError::OutOfMemory))?;
        bench.audit()?;
        field.fill(0, 16)?;
        field.must_look(0, 16, "C16")?;
    }
    Ok(())
}
