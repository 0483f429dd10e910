//! Every byte comes back right, whatever the way, the folio size, and the Contiguous bit; and zero is never seen where there is data.

use alloc::format;

use mmu::{Descriptor, PAGE_SIZE};

use crate::Case;
use crate::bench::{Bench, WAYS};
use crate::check::{Outcome, must, same, within};
use crate::field::Size;

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "5 data after swap-in: page", run: |bench| data(bench, WAYS[0]) },
    Case { name: "5 data after swap-in: folio", run: |bench| data(bench, WAYS[1]) },
    Case { name: "5 data after swap-in: gather", run: |bench| data(bench, WAYS[2]) },
    Case { name: "5 the ways take turns", run: ways_take_turns },
    Case { name: "3 a byte at each of 4,096 places, scanned", run: each_place },
    Case { name: "3 a byte at each of 4,096 places, swapped", run: each_place_swapped },
];

const SIZES: [Size; 5] = [Size(4), Size(16), Size(64), Size(256), Size(2048)];

fn data(bench: &Bench<'_>, way: &str) -> Outcome {
    for contpte in ["on", "off"] {
        bench.set(&format!("unmap={way} contpte={contpte}"))?;
        for size in SIZES {
            within(&format!("{way} {}K contpte={contpte}", size.0), there_and_back(bench, size))?;
        }
    }
    Ok(())
}

fn there_and_back(bench: &Bench<'_>, size: Size) -> Outcome {
    // Two folios at least, and more than one table for the large ones.
    let pages = (2 * size.pages()).max(64);
    let field = bench.filled(size, pages)?;
    let expected = bench.folds() && size.pages() >= 16;
    same("folded", field.how_many(0, pages, Descriptor::is_folded), if expected { pages } else { 0 })?;
    for round in 0..2 {
        field.page_out(0, pages)?;
        same("swapped out", field.accounts(), (0, pages as i64))?;
        within(&format!("round {round}"), field.verify(0, pages))?;
        same("swapped in", field.accounts(), (pages as i64, 0))?;
        let folded = field.how_many(0, pages, Descriptor::is_folded);
        same("folded again", folded, if expected { pages } else { 0 })?;
    }
    // Every third page changes; the others must not.
    for page in (0..pages).step_by(3) {
        field.store(page, 100, &[0x5a, 0xa5])?;
    }
    field.page_out(0, pages)?;
    for page in 0..pages {
        let wanted = if page % 3 == 0 { 0x5a } else { field.content(page)[100] };
        same("the byte", field.load(page, 100)?, wanted)?;
    }
    field.unmap(0, pages)
}

fn ways_take_turns(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), 256)?;
    for round in 0..9 {
        bench.set(&format!("unmap={}", WAYS[round % 3]))?;
        field.page_out(16 * round, 128)?;
        field.page_out(0, 64)?;
        field.verify(8 * round, 100)?;
    }
    field.page_out(0, 256)?;
    same("swapped out", field.accounts(), (0, 256))?;
    field.verify(0, 256)
}

fn each_place(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(64), 16)?;
    field.touch(0, 16)?;
    let (door, folio) = (&bench.memory().door, field.folio(0));
    must(door.pages_are_zero(folio.head(), 16), "fresh pages are not zero")?;
    for place in 0..PAGE_SIZE as usize {
        let page = place % 16;
        field.store(page, place, &[1 << (place % 8)])?;
        must(!door.pages_are_zero(folio.head(), 16), &format!("byte {place} of page {page} is taken for zero"))?;
        must(!door.pages_are_zero(folio.page(page), 1), &format!("byte {place} of a page is taken for zero"))?;
        field.store(page, place, &[0])?;
    }
    must(door.pages_are_zero(folio.head(), 16), "cleared pages are not zero")
}

fn each_place_swapped(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(4), 1)?;
    let marked = bench.memory().count().pages_zero_marked.get();
    for place in 0..PAGE_SIZE as usize {
        bench.set(&format!("unmap={}", WAYS[place % 3]))?;
        field.store(0, place, &[0xff])?;
        field.page_out(0, 1)?;
        same("accounts", field.accounts(), (0, 1))?;
        same(&format!("byte {place}"), field.load(0, place)?, 0xff)?;
        field.store(0, place, &[0])?;
    }
    same("pages taken for zero", bench.memory().count().pages_zero_marked.get() - marked, 0)?;
    field.page_out(0, 1)?;
    same("pages taken for zero at last", bench.memory().count().pages_zero_marked.get() - marked, 1)?;
    field.verify_zero(0, 1)
}
