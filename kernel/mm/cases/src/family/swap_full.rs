//! Swap space that is full or in pieces (reference 4.8, A12, A14): large folios are split and go page by page, as many as there are
//! slots for; the others stay.

use mm::inject::Point;
use mm::lru::LruList;
use mmu::Descriptor;

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, must, same};
use crate::family::helpers::fresh_block;
use crate::field::{Field, Size};
use crate::hoard::Hoard;

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-P-6 no slot is free", run: full },
    Case { name: "T-P-6 slots for a few pages", run: nearly_full },
    Case { name: "T-P-7 every other slot is free", run: in_pieces },
    Case { name: "T-P-7 a folio of 2 MiB in pieces", run: large_in_pieces },
    Case { name: "A12 slots of folios that are only cached", run: only_cached },
];

/// Does `work` in each way, with how many folios fell back by then.
fn each_way(bench: &Bench<'_>, work: impl Fn(&dyn Fn() -> u64) -> Outcome) -> Outcome {
    bench.each_way(|_| {
        let before = bench.memory().count().swap_fallbacks.get();
        work(&|| bench.memory().count().swap_fallbacks.get() - before)
    })
}

fn swapped_out(field: &Field<'_, '_>) -> usize {
    field.how_many(0, field.pages, Descriptor::is_swap)
}

fn full(bench: &Bench<'_>) -> Outcome {
    each_way(bench, |fallbacks| {
        let memory = bench.memory();
        let field = fresh_block(bench)?;
        let hoard = Hoard::of_all(bench)?;
        same("free slots", memory.swap.free_count(), 0)?;
        field.page_out(0, 16)?;
        same("fallbacks", fallbacks(), 1)?;
        field.must_look(0, 16, "P16")?;
        same("accounts", field.accounts(), (16, 0))?;
        let active = (0..16).all(|page| field.folio(page).order() == 0 && field.folio(page).is_active());
        must(active && memory.lru.size(LruList::ActiveAnon).1 >= 16, "a page is not on the active list")?;
        field.verify(0, 16)?;
        drop(hoard);
        field.page_out(0, 16)?;
        same("swapped out", swapped_out(&field), 16)?;
        field.verify(0, 16)
    })
}

fn nearly_full(bench: &Bench<'_>) -> Outcome {
    each_way(bench, |fallbacks| {
        let field = bench.filled(Size(64), 32)?;
        let mut hoard = Hoard::of_all(bench)?;
        hoard.give_back(|place| place % 100 == 7)?;
        field.page_out(0, 32)?;
        same("fallbacks", fallbacks(), 2)?;
        same("swapped out", swapped_out(&field), 6)?;
        same("accounts", field.accounts(), (26, 6))?;
        drop(hoard);
        field.verify(0, 32)
    })
}

fn in_pieces(bench: &Bench<'_>) -> Outcome {
    each_way(bench, |fallbacks| {
        let memory = bench.memory();
        let field = fresh_block(bench)?;
        let mut hoard = Hoard::of_all(bench)?;
        hoard.give_back(|place| place % 2 == 1)?;
        field.page_out(0, 16)?;
        same("fallbacks", fallbacks(), 1)?;
        same("swapped out", swapped_out(&field), 16)?;
        same("free slots", memory.swap.free_count(), 256 - 16)?;
        field.verify(0, 16)?;
        same("free slots", memory.swap.free_count(), 256)?;
        drop(hoard);
        Ok(())
    })
}

fn large_in_pieces(bench: &Bench<'_>) -> Outcome {
    each_way(bench, |fallbacks| {
        let field = bench.filled(Size(2048), 512)?;
        let mut hoard = Hoard::of_all(bench)?;
        (0..4).try_for_each(|_| hoard.give_back(|place| place % 4 > 1))?;
        field.page_out(0, 512)?;
        same("fallbacks", fallbacks(), 1)?;
        same("swapped out", swapped_out(&field), 512)?;
        drop(hoard);
        field.verify(0, 512)
    })
}

/// A page-out that failed leaves a folio in the cache, whose slots no entry names: they are there for another.
fn only_cached(bench: &Bench<'_>) -> Outcome {
    each_way(bench, |fallbacks| {
        let field = bench.filled(Size(64), 32)?;
        let first = field.folio(0);
        bench.memory().inject.fail(Point::SwapDup, 0);
        field.page_out(0, 16)?;
        same("slots without an entry", (first.is_swap_cache(), field.accounts()), (true, (32, 0)))?;
        let hoard = Hoard::of_all(bench)?;
        field.page_out(16, 16)?;
        same("fallbacks", fallbacks(), 0)?;
        must(!first.is_swap_cache(), "the folio is still in the swap cache")?;
        same("swapped out", field.how_many(16, 16, Descriptor::is_swap), 16)?;
        drop(hoard);
        field.verify(0, 32)
    })
}
