//! Whole calls of MADV_PAGEOUT: reference 2.12 for `page` and `folio`, and the closed formula of `gather`.
//!
//! A call costs the folios' rows, the walk that finds them, and, where a flush is deferred, one whole-ASID flush for each table but
//! the first: the walk may not trust the tables before what the last one left is complete. `gather` completes its own flush.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use mm::folio::Folio;
use mmu::range::{Means, Run, plan};
use mmu::{CONT_PTES, Depth, PAGE_SIZE, Scope};

use crate::Case;
use crate::bench::{Bench, WAYS};
use crate::check::{Outcome, failed, must, same, within};
use crate::columns::Columns;
use crate::family::counts::row;
use crate::field::{Field, Size, advice};
use crate::unmapping::unmap_together;

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-S-25 2.12 page: all of memory in 64K folios", run: |bench| whole_call(bench, WAYS[0], Size(64)) },
    Case { name: "T-S-25 2.12 folio: all of memory in 64K folios", run: |bench| whole_call(bench, WAYS[1], Size(64)) },
    Case { name: "2 gather: all of memory in 64K folios", run: |bench| whole_call(bench, WAYS[2], Size(64)) },
    Case { name: "1 whole calls in every size", run: every_size },
    Case { name: "1 whole calls with contpte=off", run: without_contpte },
    Case { name: "2 gather: a folio across a 2 MiB line", run: across_tables },
    Case { name: "2 gather: folios in any order are one run", run: any_order },
    Case { name: "2 gather: a skipped neighbour", run: skipped_neighbour },
    Case { name: "2 gather: two areas that touch", run: areas_that_touch },
    Case { name: "2 gather: two areas apart", run: areas_apart },
    Case { name: "2 gather: tlbi=single", run: single_invalidations },
    Case { name: "2 gather: a call that starts in mid-table", run: unaligned_call },
];

/// Pages of a last-level table.
const TABLE: usize = 512;
/// Pages that one batch of `gather` takes at most, in whole tables.
const BATCH: usize = 8192;

/// TLBI for one run of leaf pages.
fn operations(bench: &Bench<'_>, pages: usize) -> u64 {
    let run = Run {
        asid: mmu::Asid::new(1),
        start: Field::BASE,
        pages,
        level: 3,
        depth: Depth::Leaf,
        scope: Scope::Broadcast,
    };
    plan(run, Means { range: bench.has_range(), level_hint: true }).count() as u64
}

/// What the walk of MADV_PAGEOUT looks at for one folio: a getter for each folded block (three reads where its first entry is young and
/// dirty), or for each plain entry.
fn walk(bench: &Bench<'_>, size: Size) -> Columns {
    let pages = size.pages();
    if bench.folds() && pages >= 16 {
        Columns::parse(&format!("g={} r={}", pages / 16, 3 * (pages / 16)))
    } else {
        Columns::parse(&format!("g={pages} r={pages}"))
    }
}

/// What `page` or `folio` costs for `count` folios that fill `tables` tables.
fn one_by_one(bench: &Bench<'_>, way: &str, size: Size, count: usize, tables: usize) -> Columns {
    let pending = Columns::parse("T=1 I=1 D=1").times(tables as u64 - 1);
    let mut cost = plain_row(bench, way, size).plus(walk(bench, size)).times(count as u64).plus(pending);
    if way == "folio" && size.pages() > 1 && size.pages() < CONT_PTES {
        // The row is of a folio in mid-block, both of whose ends are looked at for a block to unfold. One that ends with its block has
        // one end (A3, step 3).
        *cost.at("r") -= (count * size.pages() / CONT_PTES) as u64;
    }
    cost
}

/// The row of a folio, folded where that is on.
fn plain_row(bench: &Bench<'_>, way: &str, size: Size) -> Columns {
    if bench.folds() || size.pages() < 16 {
        return row(bench, way, size);
    }
    let pages = size.pages();
    let single = if pages < TABLE { pages } else { 1 };
    let text = match way {
        "page" => format!(
            "g={} r={} x={pages} s={pages} T={pages} I={pages} D=1 W={} k={pages} c={} b={} f={pages} n={pages}",
            3 * pages - 1,
            5 * pages - 1,
            pages + 1,
            2 * pages,
            2 * pages
        ),
        _ => format!(
            "g={} r={} x={pages} s={pages} T={} I=1 D={} W=1 k=1 c=2 b=2 f=1 n=1",
            pages + 1,
            2 * pages + 1,
            if bench.has_range() { 1 } else { single },
            if bench.has_range() || pages < TABLE { 1 } else { 2 },
        ),
    };
    Columns::parse(&text)
}

/// The closed formula of `gather` for `count` folios in batches whose runs of addresses are `runs`, over `tables` tables.
fn together(bench: &Bench<'_>, size: Size, count: usize, tables: usize, batches: &[&[usize]]) -> Columns {
    let pages = size.pages();
    let reads = if bench.folds() && pages >= 16 { pages / 16 } else { pages };
    let folio = Columns::parse(&format!("r={reads} x={pages} k=1 c=2 b=2 f=1"));
    let flushes: u64 = batches.iter().flat_map(|runs| runs.iter()).map(|&run| operations(bench, run)).sum();
    let rest = format!("T={flushes} I={0} D={0} W={tables} n={tables}", batches.len());
    folio.plus(walk(bench, size)).times(count as u64).plus(Columns::parse(&rest))
}

/// Maps `pages` pages in folios of one size, all zero, and pages them out in one call from a state with no flush pending.
fn page_out_all(bench: &Bench<'_>, size: Size, pages: usize) -> Result<Columns, String> {
    let field = bench.field(size, pages)?;
    (0..pages).step_by(size.pages()).try_for_each(|page| field.touch(page, 1))?;
    must(!field.space.tlb.is_pending(), "a flush is pending")?;
    let (done, cost) = bench.measure(|| field.page_out(0, pages));
    done?;
    same("resident and swapped", field.accounts(), (0, pages as i64))?;
    // SwapPss counts 4096ths of bytes.
    let usage = bench.memory().usage(&field.space, field.va(0), field.va(pages));
    same("SwapPss", usage.swapped_proportional >> 12, pages as u64 * PAGE_SIZE)?;
    field.verify_zero(pages - 1, 1)?;
    field.unmap(0, pages)?;
    Ok(cost)
}

/// A call on `pages` pages from a table's start on, in whole tables.
fn call(bench: &Bench<'_>, way: &str, size: Size, pages: usize) -> Outcome {
    bench.set(&format!("unmap={way}"))?;
    let (count, tables) = (pages / size.pages(), pages / TABLE);
    let cost = page_out_all(bench, size, pages)?;
    let (wanted, asid) = if way == "gather" {
        let runs: Vec<_> = (0..pages).step_by(BATCH).map(|first| BATCH.min(pages - first)).collect();
        let batches: Vec<_> = runs.chunks(1).collect();
        let whole = runs.iter().filter(|&&run| !bench.has_range() && run >= TABLE).count();
        (together(bench, size, count, tables, &batches), whole)
    } else {
        let whole = if way == "folio" && !bench.has_range() && size.pages() == TABLE { count } else { 0 };
        (one_by_one(bench, way, size, count, tables), tables - 1 + whole)
    };
    cost.must_equal(&wanted)?;
    let pending = if way == "gather" { 0 } else { tables - 1 };
    cost.must_be(&format!("asid={asid} pending={pending} all=0 walk=0 local=0 isb=0 nsh=0 nshst=0 folds=0 cas=0"))
}

fn whole_call(bench: &Bench<'_>, way: &str, size: Size) -> Outcome {
    call(bench, way, size, bench.megabytes() * 256)
}

/// Calls over `pages`, in each way, in folios of each of these sizes in KiB.
fn each_size(bench: &Bench<'_>, sizes: &[u32], pages: usize) -> Outcome {
    bench.each_way(|way| {
        sizes.iter().try_for_each(|&kib| within(&format!("{kib}K"), call(bench, way, Size(kib), pages)))
    })
}

fn every_size(bench: &Bench<'_>) -> Outcome {
    each_size(bench, &[4, 16, 32, 64, 128, 256, 512, 1024, 2048], 4 * TABLE)
}

fn without_contpte(bench: &Bench<'_>) -> Outcome {
    bench.set("contpte=off")?;
    each_size(bench, &[4, 64, 2048], 2 * TABLE)
}

fn single_invalidations(bench: &Bench<'_>) -> Outcome {
    bench.set("tlbi=single")?;
    call(bench, "gather", Size(64), 2 * TABLE)
}

/// One batch: a folded folio, one across the line, which is plain, and another folded one. Three runs, two tables, one flush.
fn across_tables(bench: &Bench<'_>) -> Outcome {
    bench.set("unmap=gather")?;
    let field = bench.field(Size(64), 2 * TABLE)?;
    field.touch(480, 16)?;
    field.touch(0, 16)?;
    field.move_folio(0, 504)?;
    field.touch(528, 16)?;
    let folios: [Folio<'_>; 3] = [480, 504, 528].map(|page| field.folio(page));
    let cost = unmap_together(bench, &folios)?;
    let flushes = 3 * operations(bench, 16);
    let reads = 1 + 16 + 1;
    cost.must_equal(&Columns::parse(&format!("r={reads} x=48 T={flushes} I=1 D=1 W=2 k=4 c=8 b=8 f=4 n=2")))?;
    field.must_look(480, 64, "E16 N8 E16 N8 E16")?;
    field.verify_zero(504, 16)
}

fn any_order(bench: &Bench<'_>) -> Outcome {
    bench.set("unmap=gather")?;
    let field = bench.field(Size(64), 64)?;
    field.touch(0, 64)?;
    let folios: [Folio<'_>; 4] = [32, 0, 48, 16].map(|page| field.folio(page));
    let cost = unmap_together(bench, &folios)?;
    let flushes = operations(bench, 64);
    cost.must_equal(&Columns::parse(&format!("r=4 x=64 T={flushes} I=1 D=1 W=1 k=4 c=8 b=8 f=4 n=1")))?;
    field.must_look(0, 16, "E16")?;
    field.verify_zero(0, 64)
}

fn skipped_neighbour(bench: &Bench<'_>) -> Outcome {
    bench.set("unmap=gather")?;
    let field = bench.field(Size(64), 64)?;
    field.touch(0, 64)?;
    let folio = field.folio(16);
    folio.get(1);
    let (done, cost) = bench.measure(|| field.page_out(0, 64));
    must(folio.put(1).is_none(), "the reference was the last")?;
    done?;
    let seen = walk(bench, Size(64));
    cost.must_equal(&together(bench, Size(64), 3, 1, &[&[16, 32]]).plus(seen))?;
    field.must_look(0, 64, "E16 C16 E32")?;
    field.verify_zero(0, 64)
}

fn areas_that_touch(bench: &Bench<'_>) -> Outcome {
    bench.set("unmap=gather")?;
    let field = bench.field(Size(64), 64)?;
    field.touch(0, 64)?;
    field.advise(32, 32, advice::NOHUGEPAGE).map_err(failed("MADV_NOHUGEPAGE"))?;
    same("areas", field.space.layout().read().areas.len(), 2)?;
    let (done, cost) = bench.measure(|| field.page_out(0, 64));
    done?;
    cost.must_equal(&together(bench, Size(64), 4, 1, &[&[64]]))?;
    field.must_look(0, 64, "E64")?;
    field.verify_zero(0, 64)
}

fn areas_apart(bench: &Bench<'_>) -> Outcome {
    bench.set("unmap=gather")?;
    let field = bench.field(Size(64), 32)?;
    let other = Field::new(bench, field.space.clone(), field.va(2 * TABLE), 48)?;
    field.touch(0, 32)?;
    other.touch(0, 48)?;
    let pages = 2 * TABLE + 48;
    let (done, cost) = bench.measure(|| field.advise(0, pages, advice::PAGEOUT));
    // There is a hole between them, which the call reports after it has done the rest.
    same("MADV_PAGEOUT", done, Err(mm::Errno::ENOMEM))?;
    cost.must_equal(&together(bench, Size(64), 5, 2, &[&[32, 48]]))?;
    field.must_look(0, 32, "E32")?;
    other.must_look(0, 48, "E48")?;
    field.verify_zero(0, 32)?;
    other.verify_zero(0, 48)
}

fn unaligned_call(bench: &Bench<'_>) -> Outcome {
    bench.set("unmap=gather")?;
    let field = bench.field(Size(64), 2 * TABLE)?;
    field.touch(0, 2 * TABLE)?;
    let (done, cost) = bench.measure(|| field.page_out(496, 96));
    done?;
    cost.must_equal(&together(bench, Size(64), 6, 2, &[&[96]]))?;
    field.must_look(480, 128, "C16 E96 C16")?;
    field.verify_zero(480, 128)
}
