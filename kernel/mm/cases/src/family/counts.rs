//! Reference 2.9: the exact cost of unmapping one folio, in every column, for each size, way, and CPU.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, must, same, within};
use crate::columns::Columns;
use crate::field::{Field, Size};
use crate::unmapping::unmap_folio;

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-S-1 T-S-4 page: a folded 64K folio", run: page_64k },
    Case { name: "T-S-2 T-S-3 T-RB-9 folio: a folded 64K folio", run: folio_64k },
    Case { name: "T-S-5 page and folio without a flush in conversions", run: elided },
    Case { name: "T-S-6 page and folio with the look for markers", run: with_marker_check },
    Case { name: "T-S-7 page and folio with the getter of 6.12", run: full_getter },
    Case { name: "T-S-8 page and folio: an unfolded 64K folio", run: unfolded_64k },
    Case { name: "2.9 contpte=off is the unfolded row", run: contpte_off },
    Case { name: "T-S-9 page, folio: 4K alike", run: single_pages },
    Case { name: "T-S-10 T-S-11 T-S-12 T-S-13 page and folio: every size", run: every_size },
    Case { name: "gather: every size", run: gather_every_size },
    Case { name: "2.9 the columns under tlbi=single", run: single_invalidations },
];

/// A row of the reference: as for a CPU with TLBI by range, and what replaces T, I, D for one without.
struct Row {
    kib: u32,
    way: &'static str,
    range: &'static str,
    single: &'static str,
}

/// Reference 2.9: new getter, no elision, no markers. The columns that its second table leaves out follow from the first: W, k, c, b,
/// f, n go by the page in `page`, by the folio in `folio`. 2M without range operations is one ASIDE1IS with barriers of its own.
const ROWS: &[Row] = &[
    Row { kib: 4, way: "page", range: "g=2 r=4 x=1 s=1 T=1 I=1 D=1 U=0 W=1 k=1 c=2 b=2 f=1 n=1", single: "T=1" },
    Row { kib: 16, way: "page", range: "g=11 r=19 x=4 s=4 T=4 I=4 D=1 U=0 W=5 k=4 c=8 b=8 f=4 n=4", single: "T=4" },
    Row { kib: 32, way: "page", range: "g=23 r=39 x=8 s=8 T=8 I=8 D=1 U=0 W=9 k=8 c=16 b=16 f=8 n=8", single: "T=8" },
    Row {
        kib: 64,
        way: "page",
        range: "g=47 r=83 x=32 s=32 T=17 I=17 D=2 U=1 W=17 k=16 c=32 b=32 f=16 n=16",
        single: "T=32",
    },
    Row {
        kib: 128,
        way: "page",
        range: "g=95 r=169 x=64 s=64 T=34 I=34 D=3 U=2 W=33 k=32 c=64 b=64 f=32 n=32",
        single: "T=64",
    },
    Row {
        kib: 256,
        way: "page",
        range: "g=191 r=341 x=128 s=128 T=68 I=68 D=5 U=4 W=65 k=64 c=128 b=128 f=64 n=64",
        single: "T=128",
    },
    Row {
        kib: 512,
        way: "page",
        range: "g=383 r=685 x=256 s=256 T=136 I=136 D=9 U=8 W=129 k=128 c=256 b=256 f=128 n=128",
        single: "T=256",
    },
    Row {
        kib: 1024,
        way: "page",
        range: "g=767 r=1373 x=512 s=512 T=272 I=272 D=17 U=16 W=257 k=256 c=512 b=512 f=256 n=256",
        single: "T=512",
    },
    Row {
        kib: 2048,
        way: "page",
        range: "g=1535 r=2749 x=1024 s=1024 T=544 I=544 D=33 U=32 W=513 k=512 c=1024 b=1024 f=512 n=512",
        single: "T=1024",
    },
    Row { kib: 4, way: "folio", range: "g=2 r=4 x=1 s=1 T=1 I=1 D=1 U=0 W=1 k=1 c=2 b=2 f=1 n=1", single: "T=1" },
    Row { kib: 16, way: "folio", range: "g=5 r=11 x=4 s=4 T=1 I=1 D=1 U=0 W=1 k=1 c=2 b=2 f=1 n=1", single: "T=4" },
    Row { kib: 32, way: "folio", range: "g=9 r=19 x=8 s=8 T=1 I=1 D=1 U=0 W=1 k=1 c=2 b=2 f=1 n=1", single: "T=8" },
    Row { kib: 64, way: "folio", range: "g=2 r=22 x=16 s=16 T=1 I=1 D=1 U=0 W=1 k=1 c=2 b=2 f=1 n=1", single: "T=16" },
    Row { kib: 128, way: "folio", range: "g=3 r=41 x=32 s=32 T=1 I=1 D=1 U=0 W=1 k=1 c=2 b=2 f=1 n=1", single: "T=32" },
    Row { kib: 256, way: "folio", range: "g=5 r=79 x=64 s=64 T=1 I=1 D=1 U=0 W=1 k=1 c=2 b=2 f=1 n=1", single: "T=64" },
    Row {
        kib: 512,
        way: "folio",
        range: "g=9 r=155 x=128 s=128 T=1 I=1 D=1 U=0 W=1 k=1 c=2 b=2 f=1 n=1",
        single: "T=128",
    },
    Row {
        kib: 1024,
        way: "folio",
        range: "g=17 r=307 x=256 s=256 T=1 I=1 D=1 U=0 W=1 k=1 c=2 b=2 f=1 n=1",
        single: "T=256",
    },
    Row {
        kib: 2048,
        way: "folio",
        range: "g=33 r=611 x=512 s=512 T=1 I=1 D=1 U=0 W=1 k=1 c=2 b=2 f=1 n=1",
        single: "T=1 I=1 D=2",
    },
];

/// The row of the reference for a folded folio of one size, on the CPU as it is.
pub fn row(bench: &Bench<'_>, way: &str, size: Size) -> Columns {
    let found = ROWS.iter().find(|row| row.kib == size.0 && row.way == way);
    let row = found.unwrap_or_else(|| panic!("the reference has no row for {way} {}K", size.0));
    let mut columns = Columns::parse(row.range);
    if !bench.has_range() {
        columns.replace(row.single);
    }
    columns
}

/// What `gather` costs for one folio in a batch of its own, derived from how it works: a raw read for each folded block or plain entry,
/// a swap for each entry, one of each of the other steps, and the flush of its pages with one pair of barriers.
pub fn gather_row(bench: &Bench<'_>, size: Size) -> Columns {
    let pages = size.pages();
    let reads = if bench.folds() && pages >= 16 { pages / 16 } else { pages };
    let flushes = if bench.has_range() || pages == 512 { 1 } else { pages };
    Columns::parse(&format!("r={reads} x={pages} T={flushes} I=1 D=1 W=1 k=1 c=2 b=2 f=1 n=1"))
}

/// Unmaps the folio at page 0 of a fresh field. What it cost must be `wanted`, and every entry a swap entry.
fn unmap(bench: &Bench<'_>, size: Size, prepare: impl Fn(&Field<'_, '_>), wanted: &Columns) -> Outcome {
    let field = bench.filled(size, size.pages())?;
    prepare(&field);
    let folio = field.folio(0);
    let out = unmap_folio(bench, folio)?;
    must(out.whole, "a mapping is left")?;
    out.cost.must_equal(wanted)?;
    out.cost.must_be("local=0 nshst=0 nsh=0 isb=0 folds=0 pending=0 put_back=0 all=0 cas=0 walk=0")?;
    out.cost.must_be(&forms(bench, size.pages() as u64, wanted.get("T")))?;
    field.must_look(0, size.pages(), &format!("E{}", size.pages()))?;
    same("references", folio.refs(), size.pages())?;
    same("exclusive", folio.exclusive_run(0, size.pages()), (false, size.pages()))?;
    same("accounts", field.accounts(), (0, size.pages() as i64))?;
    field.verify(0, size.pages())?;
    field.must_look(0, size.pages(), &folded_shape(bench, size))
}

/// Of which form the TLBI of one folio are: a page's each and a range for the block that is unfolded, or all in one; which without ranges
/// is the whole ASID's (T-S-13).
fn forms(bench: &Bench<'_>, pages: u64, flushes: u64) -> String {
    match (bench.has_range(), flushes == 1 && pages > 1) {
        (true, true) => String::from("page=0 range=1 asid=0"),
        (true, false) => format!("page={pages} range={} asid=0", flushes - pages),
        (false, true) => String::from("page=0 range=0 asid=1"),
        (false, false) => format!("page={flushes} range=0 asid=0"),
    }
}

/// What a whole folio looks like that was just mapped.
pub fn folded_shape(bench: &Bench<'_>, size: Size) -> String {
    let kind = if bench.folds() && size.pages() >= 16 { 'C' } else { 'P' };
    format!("{kind}{}", size.pages())
}

/// Both ways of the reference under these switches, with columns changed as given.
fn both(bench: &Bench<'_>, page: &str, folio: &str) -> Outcome {
    for (way, change) in [("page", page), ("folio", folio)] {
        bench.set(&format!("unmap={way}"))?;
        let mut wanted = row(bench, way, Size(64));
        wanted.replace(change);
        within(way, unmap(bench, Size(64), |_| {}, &wanted))?;
    }
    Ok(())
}

fn page_64k(bench: &Bench<'_>) -> Outcome {
    bench.set("unmap=page")?;
    unmap(bench, Size(64), |_| {}, &row(bench, "page", Size(64)))
}

fn folio_64k(bench: &Bench<'_>) -> Outcome {
    bench.set("unmap=folio")?;
    unmap(bench, Size(64), |_| {}, &row(bench, "folio", Size(64)))
}

fn elided(bench: &Bench<'_>) -> Outcome {
    bench.set("bbm=elide,assume=noabort")?;
    // Only the flush inside the conversion goes: 16 TLBI are left of 17, or of 32.
    both(bench, "T=16 I=16 D=1", "")
}

fn with_marker_check(bench: &Bench<'_>) -> Outcome {
    bench.set("uffd_check=on")?;
    both(bench, "g=63 r=99", "g=3 r=23")
}

fn full_getter(bench: &Bench<'_>) -> Outcome {
    bench.set("getter=full")?;
    both(bench, "r=111", "r=50")?;
    bench.set("uffd_check=on")?;
    both(bench, "g=63 r=127", "g=3 r=51")
}

/// The unfolded row: T as `page` has one a page, `folio` one range or one a page.
const UNFOLDED: [(&str, &str, &str); 2] = [
    ("page", "g=47 r=79 x=16 s=16 T=16 I=16 D=1 U=0 W=17 k=16 c=32 b=32 f=16 n=16", "T=16"),
    ("folio", "g=17 r=33 x=16 s=16 T=1 I=1 D=1 U=0 W=1 k=1 c=2 b=2 f=1 n=1", "T=16"),
];

fn unfolded(bench: &Bench<'_>, prepare: impl Fn(&Field<'_, '_>)) -> Outcome {
    for (way, range, single) in UNFOLDED {
        bench.set(&format!("unmap={way}"))?;
        let mut wanted = Columns::parse(range);
        if !bench.has_range() {
            wanted.replace(single);
        }
        within(way, unmap(bench, Size(64), &prepare, &wanted))?;
    }
    Ok(())
}

fn unfolded_64k(bench: &Bench<'_>) -> Outcome {
    unfolded(bench, |field| field.unfold(0))
}

fn contpte_off(bench: &Bench<'_>) -> Outcome {
    bench.set("contpte=off")?;
    unfolded(bench, |_| {})?;
    bench.set("unmap=gather")?;
    within("gather", unmap(bench, Size(64), |_| {}, &gather_row(bench, Size(64))))
}

fn single_pages(bench: &Bench<'_>) -> Outcome {
    let mut costs = Vec::new();
    for way in ["page", "folio"] {
        bench.set(&format!("unmap={way}"))?;
        let field = bench.filled(Size(4), 1)?;
        costs.push(unmap_folio(bench, field.folio(0))?.cost);
    }
    same("both ways", costs[0], costs[1])?;
    costs[0].must_be("g=2 x=1 s=1 T=1 D=1")
}

const SIZES: [Size; 9] =
    [Size(4), Size(16), Size(32), Size(64), Size(128), Size(256), Size(512), Size(1024), Size(2048)];

fn sizes_in(bench: &Bench<'_>, way: &str) -> Outcome {
    bench.set(&format!("unmap={way}"))?;
    for size in SIZES {
        let wanted = if way == "gather" { gather_row(bench, size) } else { row(bench, way, size) };
        within(&format!("{way} {}K", size.0), unmap(bench, size, |_| {}, &wanted))?;
    }
    Ok(())
}

fn every_size(bench: &Bench<'_>) -> Outcome {
    sizes_in(bench, "page")?;
    sizes_in(bench, "folio")
}

fn gather_every_size(bench: &Bench<'_>) -> Outcome {
    sizes_in(bench, "gather")
}

fn single_invalidations(bench: &Bench<'_>) -> Outcome {
    bench.set("tlbi=single")?;
    must(!bench.has_range(), "tlbi=single leaves range operations on")?;
    every_size(bench)?;
    gather_every_size(bench)
}
