//! Reference 5.4: unmapping to swap where something is out of the ordinary. The ordinary rows are in `counts`.

use alloc::format;

use mm::inject::{Point, Times};
use mm::swap::{SwapEntry, Written};
use mm::vma::Prot;
use mmu::Descriptor;

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same};
use crate::cpu::by_hardware;
use crate::family::helpers::{fresh_block, make_old_and_clean, operations};
use crate::field::{Field, Size, advice};
use crate::unmapping::{Unmapped, unmap_folio, unmap_prepared, write_only};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-S-14 half exclusive and writable, half shared", run: half_shared },
    Case { name: "T-S-15 all read-only, half exclusive", run: read_only_half_exclusive },
    Case { name: "T-S-16 all read-only, every second exclusive", run: alternating },
    Case { name: "T-S-17 a folio that nobody owns", run: none_exclusive },
    Case { name: "T-S-18 two areas share a block", run: two_areas },
    Case { name: "T-S-18 three areas share a block", run: three_areas },
    Case { name: "T-S-19 a folio across two tables", run: two_tables },
    Case { name: "T-S-20 an entry in the middle is gone", run: hole },
    Case { name: "T-S-20 an entry in the middle is another swap entry", run: foreign_swap_entry },
    Case { name: "1.2 a batch of four, then one that can not join it", run: four_and_one },
    Case { name: "1.2 a batch of four, then one that a device has", run: four_and_lent },
    Case { name: "1.2 a page that a device had comes back, or goes with its area", run: lent },
    Case { name: "T-S-21 some entries dirty", run: some_dirty },
    Case { name: "T-S-22 all entries clean", run: all_clean },
    Case { name: "T-S-23 flush=immediate", run: immediate },
    Case { name: "T-S-24 zeros are marked, not written", run: zeros },
    Case { name: "4.8 a zero mark goes when its slots get data", run: mark_goes },
    Case { name: "T-S-29 a space is listed before its first swap entry", run: listed },
    Case { name: "4.3 an extra reference keeps a folio", run: extra_reference },
    Case { name: "T-C-3 a folio that others map too stays", run: mapped_elsewhere },
    Case { name: "4.12 page-out of half a folio splits it", run: half_a_folio },
    Case { name: "6 two folios, the upper half of a 128K one unfolded", run: half_folded },
];

/// Unmaps the folio at page 0, whole.
fn unmap(bench: &Bench<'_>, field: &Field<'_, '_>) -> Result<Unmapped, alloc::string::String> {
    let out = unmap_folio(bench, field.folio(0))?;
    must(out.whole, "a mapping is left")?;
    Ok(out)
}

fn half_shared(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|way| {
        let field = fresh_block(bench)?;
        field.share_pages(8, 8);
        let out = unmap(bench, &field)?;
        let flushes = match way {
            "page" => 16,
            // Two batches, as the write bit differs; in `gather` their addresses are one run.
            "folio" => 2 * operations(bench, 8),
            _ => operations(bench, 16),
        };
        let dups = if way == "page" { 16 } else { 2 };
        out.cost.must_be(&format!("T={flushes} k={dups} U=0"))?;
        field.must_look(0, 16, "E8 S8")?;
        field.verify(0, 16)?;
        same("writable after swap-in", field.how_many(0, 8, Descriptor::is_writable), 8)?;
        same("writable though shared", field.how_many(8, 8, Descriptor::is_writable), 0)
    })
}

/// A folded, read-only block of which the pages that `shared` names are not exclusive.
fn read_only_block<'b, 'm>(
    bench: &'b Bench<'m>,
    shared: impl Fn(usize) -> bool,
) -> Result<Field<'b, 'm>, alloc::string::String> {
    let field = fresh_block(bench)?;
    field.protect(0, 16, Prot::READ)?;
    field.must_look(0, 16, "C16")?;
    (0..16).filter(|&page| shared(page)).for_each(|page| field.mark_shared(page, 1));
    Ok(field)
}

fn read_only_half_exclusive(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|way| {
        let field = read_only_block(bench, |page| page >= 8)?;
        let out = unmap(bench, &field)?;
        match way {
            "page" => out.cost.must_be("k=16 c=32 b=16 f=16 U=1")?,
            "folio" => out.cost.must_be(&format!("T={} I=1 k=2 c=4 b=2 f=2 U=0 x=16", operations(bench, 16)))?,
            _ => out.cost.must_be(&format!("T={} I=1 k=2 b=2 U=0 x=16", operations(bench, 16)))?,
        }
        field.must_look(0, 16, "E8 S8")?;
        field.verify(0, 16)?;
        same("writable in a read-only area", field.how_many(0, 16, Descriptor::is_writable), 0)
    })
}

fn alternating(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|way| {
        let field = read_only_block(bench, |page| page % 2 == 1)?;
        let out = unmap(bench, &field)?;
        match way {
            "page" => out.cost.must_be("k=16 c=32 b=16 f=16")?,
            "folio" => out.cost.must_be(&format!("T={} k=16 c=32 b=16 f=16 U=0", operations(bench, 16)))?,
            _ => out.cost.must_be(&format!("T={} k=16 U=0", operations(bench, 16)))?,
        }
        field.must_look(0, 16, "E1 S1 E1 S1 E1 S1 E1 S1 E1 S1 E1 S1 E1 S1 E1 S1")?;
        field.verify(0, 16)
    })
}

fn none_exclusive(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = read_only_block(bench, |_| true)?;
        let out = unmap(bench, &field)?;
        out.cost.must_be("b=0")?;
        field.must_look(0, 16, "S16")?;
        field.verify(0, 16)
    })
}

/// The advice splits the area and rewrites no entry: the block stays folded across the border.
fn two_areas(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|way| {
        let field = fresh_block(bench)?;
        field.advise(4, 12, advice::NOHUGEPAGE).map_err(failed("MADV_NOHUGEPAGE"))?;
        same("areas", field.space.layout().read().areas.len(), 2)?;
        field.must_look(0, 16, "C16")?;
        let out = unmap(bench, &field)?;
        if way == "folio" {
            // The first batch cuts the block; then one of 4 and one of 12.
            let flushes = operations(bench, 16) + operations(bench, 4) + if bench.has_range() { 1 } else { 12 };
            out.cost.must_be(&format!("U=1 T={flushes}"))?;
        }
        if way == "gather" {
            // The addresses of both areas are one run, and no pair of barriers is their own.
            let flushes = 2 * operations(bench, 16);
            out.cost.must_be(&format!("U=1 T={flushes} I=2 D=2 f=2 k=2"))?;
        }
        field.must_look(0, 16, "E16")?;
        field.verify(0, 16)
    })
}

/// No batch goes beyond its area, whichever is visited first.
fn three_areas(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|way| {
        let field = fresh_block(bench)?;
        field.advise(4, 4, advice::NOHUGEPAGE).map_err(failed("MADV_NOHUGEPAGE"))?;
        same("areas", field.space.layout().read().areas.len(), 3)?;
        let out = unmap(bench, &field)?;
        if way != "page" {
            out.cost.must_be("f=3 k=3 U=1")?;
        }
        field.must_look(0, 16, "E16")?;
        field.verify(0, 16)
    })
}

fn two_tables(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|way| {
        let field = bench.field(Size(64), 1024)?;
        field.fill(0, 16)?;
        field.move_folio(0, 504)?;
        field.must_look(504, 16, "P16")?;
        let out = unmap_folio(bench, field.folio(504))?;
        must(out.whole, "a mapping is left")?;
        match way {
            "page" => out.cost.must_be("T=16 U=0 f=16 n=16 D=1")?,
            "folio" => out.cost.must_be(&format!("T={} U=0 x=16 f=2 n=2 k=2 D=1", 2 * operations(bench, 8)))?,
            // Two tables, one run of addresses.
            _ => out.cost.must_be(&format!("T={} I=1 D=1 U=0 x=16 f=2 n=2 k=2 W=2", operations(bench, 16)))?,
        }
        field.must_look(504, 16, "E16")?;
        field.read(504, 16)
    })
}

fn hole(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|way| {
        let field = fresh_block(bench)?;
        field.advise(6, 1, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
        field.must_look(0, 16, "P6 N1 P9")?;
        let folio = field.folio(0);
        let out = unmap(bench, &field)?;
        must_be_two_runs(bench, way, &out)?;
        field.must_look(0, 16, "E6 N1 E9")?;
        same("references", folio.refs(), 16)?;
        same("accounts", field.accounts(), (0, 15))?;
        field.verify(0, 6)?;
        field.verify_zero(6, 1)?;
        field.verify(7, 9)
    })
}

/// Runs of 6 and of 9 pages. Nine are a range of eight and a single one.
fn must_be_two_runs(bench: &Bench<'_>, way: &str, out: &Unmapped) -> Outcome {
    let flushes = if bench.has_range() && way != "page" { 3 } else { 15 };
    out.cost.must_be(&format!("T={flushes} U=0 x=15 D=1"))?;
    match way {
        "page" => out.cost.must_be("f=15 k=15 n=15"),
        "folio" => out.cost.must_be("f=2 k=2 n=2 I=2"),
        _ => out.cost.must_be("f=2 k=2 n=1 I=1"),
    }
}

/// The length of a batch is that of its turn: the references fall by four and by one. The fifth entry is read-only.
fn four_and_one(bench: &Bench<'_>) -> Outcome {
    four_and(bench, |field| field.share_pages(4, 1), "P5 N3", "E4 S1 N3")
}

/// The same, where the fifth entry is not present: a device has the page to itself.
fn four_and_lent(bench: &Bench<'_>) -> Outcome {
    four_and(bench, |field| field.lend_page(4), "P4 D1 N3", "E5 N3")
}

/// Of a folio of which five pages are left, four go together, and the one that `apart` tells from them by itself.
fn four_and(bench: &Bench<'_>, apart: impl Fn(&Field<'_, '_>), before: &str, after: &str) -> Outcome {
    bench.each_way(|way| {
        let field = bench.filled(Size(32), 8)?;
        field.advise(5, 3, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
        apart(&field);
        field.must_look(0, 8, before)?;
        let folio = field.folio(0);
        same("references before", folio.refs(), 5)?;
        let out = unmap(bench, &field)?;
        let drops = if way == "page" { 5 } else { 2 };
        out.cost.must_be(&format!("f={drops} k={drops} x=5"))?;
        // One of the swap cache for each page.
        same("references afterwards", folio.refs(), 8)?;
        field.must_look(0, 8, after)?;
        field.verify(0, 5)?;
        field.verify_zero(5, 3)
    })
}

fn lent(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(32), 8)?;
    field.lend_page(4);
    field.lend_page(6);
    field.verify(4, 1)?;
    field.store(4, 0, b"mine")?;
    field.must_look(0, 8, "P6 D1 P1")?;
    let folio = field.folio(0);
    field.unmap(6, 1)?;
    same("references", folio.refs(), 7)?;
    field.must_look(0, 8, "P6 N1 P1")
}

fn foreign_swap_entry(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|way| {
        let field = bench.field(Size(64), 32)?;
        field.fill(0, 16)?;
        bench.set_size(Size(4));
        field.fill(20, 1)?;
        field.page_out(20, 1)?;
        field.must_look(20, 1, "E1")?;
        field.advise(6, 1, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
        field.move_swap_entry(20, 6)?;
        let foreign = field.entry(6);
        // Nothing is pending when the count begins.
        field.space.tlb.flush(bench.memory(), &field.space);
        let out = unmap(bench, &field)?;
        must_be_two_runs(bench, way, &out)?;
        same("the other entry", field.entry(6), foreign)?;
        same("accounts", field.accounts(), (0, 16))?;
        field.verify(0, 6)?;
        field.verify(7, 9)?;
        field.read(6, 1)
    })
}

fn write_by_hardware(bench: &Bench<'_>, field: &Field<'_, '_>, page: usize) {
    field.with_table(page, |_, slot| bench.memory().door.update(slot, |entry| by_hardware(entry, true)));
}

fn some_dirty(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = fresh_block(bench)?;
        make_old_and_clean(&field);
        write_by_hardware(bench, &field, 3);
        let folio = field.folio(0);
        let out = unmap_prepared(bench, folio, |folio| folio.set_dirty(false))?;
        must(out.whole && folio.is_dirty(), "a write that one entry recorded was lost")?;
        field.verify(0, 16)?;
        field.page_out(0, 16)?;
        field.must_look(0, 16, "E16")?;
        field.verify(0, 16)
    })
}

fn all_clean(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = fresh_block(bench)?;
        make_old_and_clean(&field);
        field.folio(0).set_dirty(false);
        field.page_out(0, 16)?;
        field.must_look(0, 16, "E16")?;
        field.verify(0, 16)
    })
}

fn immediate(bench: &Bench<'_>) -> Outcome {
    bench.set("flush=immediate unmap=folio")?;
    let field = fresh_block(bench)?;
    let out = unmap(bench, &field)?;
    let flushes = operations(bench, 16);
    out.cost.must_be(&format!("T={flushes} walk={flushes} I=1 D=1 n=0 U=0"))?;
    must(!field.space.tlb.is_pending(), "a flush is pending")?;
    bench.set("unmap=page")?;
    let field = fresh_block(bench)?;
    let out = unmap(bench, &field)?;
    out.cost.must_be(&format!("walk=16 I=17 D=17 n=0 U=1 T={}", 16 + operations(bench, 16)))?;
    must(!field.space.tlb.is_pending(), "a flush is pending")?;
    field.verify(0, 16)
}

fn zeros(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = bench.field(Size(64), 16)?;
        field.touch(0, 16)?;
        let count = bench.memory().count();
        let (marked, out) = (count.pages_zero_marked.get(), count.pages_swapped_out.get());
        let inject = &bench.memory().inject;
        let failures = inject.failures(Point::DeviceWrite);
        inject.arm(Point::DeviceWrite, 0, Times::Always);
        field.page_out(0, 16)?;
        inject.clear();
        same("writes to the device", inject.failures(Point::DeviceWrite) - failures, 0)?;
        field.must_look(0, 16, "E16")?;
        same("pages marked", count.pages_zero_marked.get() - marked, 16)?;
        same("pages out", count.pages_swapped_out.get() - out, 16)?;
        field.verify_zero(0, 16)
    })
}

/// The folio keeps its slots from one attempt to the next.
fn mark_goes(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = bench.field(Size(64), 16)?;
        field.touch(0, 16)?;
        // Nobody may write what is copied; the pages stay exclusive, so a later write makes them writable in place.
        field.with_table(0, |table, slot| table.write_protect(slot, 16));
        field.forget_translations();
        same("zeros", write_only(bench, field.folio(0))?, Written::Zero)?;
        let entry = field.folio(0).swap_entry(0);
        field.fill(0, 16)?;
        field.page_out(0, 16)?;
        field.must_look(0, 16, "E16")?;
        same("slot", SwapEntry::from_descriptor(field.entry(0)).map(|swapped| swapped.entry), Some(entry))?;
        field.verify(0, 16)
    })
}

fn listed(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = bench.filled(Size(64), 32)?;
        must(!field.space.may_swap(), "a space without swap entries is listed")?;
        unmap_folio(bench, field.folio(0))?;
        must(field.space.may_swap(), "a space with swap entries is not listed")?;
        unmap_folio(bench, field.folio(16))?;
        must(field.space.may_swap(), "a space with swap entries is no longer listed")
    })
}

fn extra_reference(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = fresh_block(bench)?;
        let (folio, free) = (field.folio(0), bench.memory().swap.free_count());
        folio.get(1);
        field.page_out(0, 16)?;
        let kept = same("references", folio.refs(), 17).and(field.must_look(0, 16, "C16"));
        let slots = same("free slots", bench.memory().swap.free_count(), free);
        must(folio.put(1).is_none(), "the reference was the last")?;
        kept.and(slots)?;
        must(!folio.is_swap_cache() && folio.is_on_lru(), "the folio is not as it was")
    })
}

/// Another space's mapping is only counted, as fork is missing.
fn mapped_elsewhere(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = fresh_block(bench)?;
        let folio = field.folio(0);
        folio.add_maps(0, 16);
        folio.get(16);
        let paged_out = field.page_out(0, 16);
        folio.remove_maps(0, 16);
        must(folio.put(16).is_none(), "the references were the last")?;
        paged_out?;
        field.must_look(0, 16, "C16")
    })
}

fn half_a_folio(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = fresh_block(bench)?;
        field.page_out(0, 8)?;
        same("swapped out", field.how_many(0, 8, Descriptor::is_swap), 8)?;
        same("present", field.how_many(8, 8, Descriptor::is_valid), 8)?;
        same("folded", field.how_many(8, 8, Descriptor::is_folded), 0)?;
        same("order of what stays", field.folio(8).order(), 0)?;
        same("accounts", field.accounts(), (8, 8))?;
        field.verify(0, 16)
    })
}

/// A folded run and a plain one are two batches, since CONTIGUOUS is compared (A6).
fn half_folded(bench: &Bench<'_>) -> Outcome {
    bench.set("unmap=folio")?;
    let field = bench.filled(Size(128), 32)?;
    field.unfold(0);
    field.must_look(0, 32, "P16 C16")?;
    let out = unmap(bench, &field)?;
    out.cost.must_be(&format!("T={} k=2 f=2 U=0 x=32", 2 * operations(bench, 16)))?;
    field.must_look(0, 32, "E32")?;
    field.verify(0, 32)
}
