//! Reference 4.20: folios that are mapped in part, the queue on which they wait, and splits.

use alloc::format;

use mm::Memory;
use mm::fault::{Access, FaultError};
use mm::inject::Point;
use mm::vma::Prot;
use mmu::Descriptor;

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same, within};
use crate::family::helpers::fresh_block;
use crate::field::{Field, Size, advice, read_write};
use crate::unmapping::unmap_folio;

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "4.20 a split keeps all but the fold", run: keeps },
    Case { name: "4.20 a split of every size", run: every_size },
    Case { name: "4.20 a split over two tables", run: two_tables },
    Case { name: "4.20 a folio in use is not split", run: in_use },
    Case { name: "4.20 the queue has what is mapped in part", run: queue },
    Case { name: "4.20 a folio in the swap cache is not queued", run: cached },
    Case { name: "4.20 a copy leaves its source mapped in part", run: copied },
    Case { name: "4.20 what is mapped in part is paged out in part", run: paged_out },
    Case { name: "4.12 a folio that two spaces have in halves stays", run: in_halves },
    Case { name: "4.15 munmap, mprotect and page-out of parts", run: parts },
    Case { name: "T-P-8 the shrinker frees 8 of 16 pages", run: shrinker },
    Case { name: "T-P-8 a fault that finds no memory splits", run: short_of_memory },
];

/// What splits have been counted: done, failed, deferred.
fn counted(memory: &Memory) -> [u64; 3] {
    let count = memory.count();
    [count.split.get(), count.split_failed.get(), count.split_deferred.get()]
}

/// Drops pages.
fn drop_pages(field: &Field<'_, '_>, first: usize, count: usize) -> Outcome {
    field.advise(first, count, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))
}

fn keeps(bench: &Bench<'_>) -> Outcome {
    let memory = bench.memory();
    let field = fresh_block(bench)?;
    field.share_pages(0, 4);
    drop_pages(&field, 15, 1)?;
    let frame = field.entry(0).frame();
    let free = memory.frames.free_count();
    same("pages freed", memory.shrink_deferred_splits(1), 1)?;
    same("free frames", memory.frames.free_count(), free + 1)?;
    field.must_look(0, 16, "P15 N1")?;
    for page in 0..15 {
        let folio = field.folio(page);
        let place = format!("page {page}");
        within(&place, same("order and frame", (folio.order(), folio.head()), (0, frame.add(page))))?;
        within(&place, same("exclusive", folio.is_exclusive(0), page >= 4))?;
        within(&place, same("references and mappings", (folio.refs(), folio.mapcount()), (1, 1)))?;
        within(&place, must(folio.is_on_lru() && folio.is_swap_backed() && folio.is_uptodate(), "a flag is gone"))?;
    }
    let copies = memory.count().faults_copy.get();
    field.fill(4, 11)?;
    same("copies", memory.count().faults_copy.get() - copies, 0)?;
    field.verify(0, 15)?;
    field.verify_zero(15, 1)
}

fn in_halves(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let parent = fresh_block(bench)?;
        let child = parent.fork()?;
        drop_pages(&parent, 8, 8)?;
        drop_pages(&child, 0, 8)?;
        let before = counted(bench.memory());
        for (field, first) in [(&parent, 0), (&child, 8)] {
            for advice in [advice::PAGEOUT, advice::COLD, advice::FREE] {
                field.advise(first, 8, advice).map_err(failed("madvise"))?;
            }
            same("accounts", field.accounts(), (8, 0))?;
            same("order", field.folio(first).order(), 4)?;
            field.verify(first, 8)?;
        }
        same("splits", counted(bench.memory()), before)
    })
}

fn every_size(bench: &Bench<'_>) -> Outcome {
    for size in [16, 32, 64, 128, 256, 512, 1024, 2048].map(Size) {
        let pages = size.pages();
        let field = bench.filled(size, pages)?;
        drop_pages(&field, pages / 2, pages / 4)?;
        let place = format!("{}K", size.0);
        within(&place, same("pages freed", bench.memory().shrink_deferred_splits(usize::MAX), pages / 4))?;
        within(&place, same("present", field.how_many(0, pages, Descriptor::is_valid), pages - pages / 4))?;
        within(&place, same("folded", field.how_many(0, pages, Descriptor::is_folded), 0))?;
        within(&place, same("order", field.folio(pages - 1).order(), 0))?;
        within(&place, field.verify(0, pages / 2))?;
        within(&place, field.verify(pages - pages / 4, pages / 4))?;
        bench.audit()?;
    }
    Ok(())
}

/// Eight pages lie in one table, eight in the next.
fn two_tables(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = bench.field(Size(64), 1024)?;
        field.fill(0, 16)?;
        field.move_folio(0, 504)?;
        let source = field.content(0);
        field.page_out(504, 4)?;
        same("swapped out", field.how_many(504, 4, Descriptor::is_swap), 4)?;
        same("present", field.how_many(508, 12, Descriptor::is_valid), 12)?;
        same("order in the second table", field.folio(519).order(), 0)?;
        field.must_hold(504, &source)?;
        bench.audit()
    })
}

fn in_use(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let memory = bench.memory();
        let field = fresh_block(bench)?;
        let folio = field.folio(0);
        drop_pages(&field, 8, 8)?;
        let before = counted(memory);
        let keep = |hold: &dyn Fn(), release: &dyn Fn() -> bool| {
            hold();
            let freed = memory.shrink_deferred_splits(usize::MAX);
            let paged_out = field.page_out(0, 4);
            must(release(), "the reference was the last")?;
            paged_out?;
            same("pages freed", freed, 0)?;
            same("order", field.folio(0).order(), 4)?;
            must(folio.is_partially_mapped(), "the folio left the queue")
        };
        keep(&|| folio.pin(1), &|| folio.unpin(1).is_none())?;
        keep(&|| folio.get(1), &|| folio.put(1).is_none())?;
        let [done, failures, _] = counted(memory);
        same("splits", (done - before[0], failures - before[1]), (0, 4))?;
        same("pages freed", memory.shrink_deferred_splits(usize::MAX), 8)?;
        field.verify(0, 8)
    })
}

fn queue(bench: &Bench<'_>) -> Outcome {
    let memory = bench.memory();
    let field = bench.filled(Size(64), 32)?;
    let [_, _, before] = counted(memory);
    let queued = || (memory.deferred.len(), counted(memory)[2] - before);
    same("nothing is mapped in part", queued(), (0, 0))?;
    drop_pages(&field, 0, 1)?;
    drop_pages(&field, 5, 3)?;
    same("once, however often", queued(), (1, 1))?;
    field.unmap(16, 8)?;
    same("by munmap", queued(), (2, 2))?;
    drop_pages(&field, 0, 16)?;
    same("a folio that is gone left it", queued(), (1, 2))?;
    memory.shrink_deferred_splits(usize::MAX);
    same("a folio that was split left it", queued(), (0, 2))?;
    field.verify(24, 8)
}

/// A page without a mapping may have a swap entry there.
fn cached(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = bench.filled(Size(64), 16)?;
        let folio = field.folio(0);
        bench.memory().inject.fail(Point::SwapDup, 8);
        field.protect(0, 16, Prot::READ)?;
        field.mark_shared(8, 8);
        unmap_folio(bench, folio)?;
        same("swapped out", field.how_many(0, 16, Descriptor::is_swap), 8)?;
        same("queued", folio.is_partially_mapped(), false)?;
        drop_pages(&field, 12, 4)?;
        same("queued while cached", folio.is_partially_mapped(), false)?;
        bench.audit()?;
        field.verify(0, 12)?;
        // The last page that is mapped again lets the folio leave the cache.
        same("queued afterwards", (folio.is_swap_cache(), folio.is_partially_mapped()), (false, true))?;
        field.protect(0, 16, read_write())?;
        field.unmap(0, 16)
    })
}

fn copied(bench: &Bench<'_>) -> Outcome {
    let memory = bench.memory();
    let field = fresh_block(bench)?;
    field.share_pages(0, 16);
    let folio = field.folio(0);
    folio.get(1);
    let stored = field.store(5, 0, &[0x11]);
    must(folio.put(1).is_none(), "the reference was the last")?;
    stored?;
    must(folio.is_partially_mapped(), "the folio is not queued")?;
    same("pages freed", memory.shrink_deferred_splits(usize::MAX), 1)?;
    field.verify(0, 5)?;
    field.verify(6, 10)
}

/// DONTNEED of 8 of 16, then PAGEOUT: 8 single pages are swapped out, 8 are freed without swap.
fn paged_out(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let memory = bench.memory();
        let field = fresh_block(bench)?;
        let (frames, slots) = (memory.frames.free_count(), memory.swap.free_count());
        let pages = memory.count().pages_swapped_out.get();
        let splits = memory.count().split.get();
        drop_pages(&field, 4, 8)?;
        field.page_out(0, 16)?;
        same("free frames", memory.frames.free_count(), frames + 16)?;
        same("slots taken", slots - memory.swap.free_count(), 8)?;
        same("pages swapped out", memory.count().pages_swapped_out.get() - pages, 8)?;
        same("splits", memory.count().split.get() - splits, 1)?;
        same("accounts", field.accounts(), (0, 8))?;
        field.verify(0, 4)?;
        field.verify_zero(4, 8)?;
        field.verify(12, 4)?;
        field.unmap(0, 16)
    })
}

fn parts(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        for size in [16, 64, 256, 2048].map(Size) {
            let quarter = size.pages() / 4;
            let place = format!("{}K", size.0);
            let field = bench.filled(size, size.pages())?;
            field.unmap(0, quarter)?;
            field.protect(quarter, quarter, Prot::READ)?;
            field.page_out(2 * quarter, quarter)?;
            let swapped = field.how_many(0, 4 * quarter, Descriptor::is_swap);
            within(&place, same("swapped out", swapped, quarter))?;
            within(&place, same("accounts", field.accounts(), (2 * quarter as i64, quarter as i64)))?;
            bench.audit()?;
            field.protect(quarter, quarter, read_write())?;
            within(&place, field.verify(quarter, 3 * quarter))?;
            field.page_out(quarter, 3 * quarter)?;
            within(&place, field.verify(quarter, 3 * quarter))?;
        }
        Ok(())
    })
}

fn shrinker(bench: &Bench<'_>) -> Outcome {
    let memory = bench.memory();
    let field = bench.filled(Size(64), 32)?;
    drop_pages(&field, 0, 8)?;
    drop_pages(&field, 24, 8)?;
    let free = memory.frames.free_count();
    same("freed, of one folio", memory.shrink_deferred_splits(5), 8)?;
    same("free frames", memory.frames.free_count(), free + 8)?;
    same("left on the queue", memory.deferred.len(), 1)?;
    same("freed, of the other", memory.shrink_deferred_splits(usize::MAX), 8)?;
    same("freed when nothing is left", memory.shrink_deferred_splits(usize::MAX), 0)?;
    field.must_look(0, 16, "N8 P8")?;
    field.must_look(16, 16, "P8 N8")?;
    field.verify(8, 16)
}

fn short_of_memory(bench: &Bench<'_>) -> Outcome {
    let memory = bench.memory();
    let field = fresh_block(bench)?;
    let other = Field::new(bench, field.space.clone(), field.va(64), 16)?;
    bench.set_sizes(&[]);
    memory.inject.fail(Point::FolioAlloc, 0);
    let result = memory.fault(&field.space, other.va(0), Access::Write);
    same("a fault without memory", result, Err(FaultError::OutOfMemory))?;
    drop_pages(&field, 8, 8)?;
    let before = counted(memory);
    memory.inject.fail(Point::FolioAlloc, 0);
    memory.fault(&field.space, other.va(0), Access::Write).map_err(failed("a fault that could split"))?;
    same("splits", counted(memory)[0] - before[0], 1)?;
    field.verify(0, 8)
}
