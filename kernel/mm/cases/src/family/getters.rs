//! Reference 5.2: what the public getter gathers, and what it reads for that.

use mmu::Descriptor;

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, same};
use crate::cpu::by_hardware;
use crate::family::helpers::{fresh_block, make_old_and_clean};
use crate::field::Field;
use crate::unmapping::unmap_folio;

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-G-1 access and dirty flag in one sibling", run: one_sibling },
    Case { name: "T-G-2 young first, dirty last", run: far_apart },
    Case { name: "T-G-3 a clean, old block", run: nothing_to_find },
    Case { name: "T-G-4 both in the first", run: first_has_both },
    Case { name: "T-G-6 a swap entry is returned as it is", run: swap_entry },
    Case { name: "T-G the full getter reads all sixteen", run: full_getter },
];

/// The getter on a page: frame and flags as given, with this many raw reads.
fn get(bench: &Bench<'_>, field: &Field<'_, '_>, page: usize, flags: (bool, bool), cost: &str) -> Outcome {
    let raw = field.entry(page);
    let (entry, counts) = bench.measure(|| field.with_table(page, |table, slot| table.get(slot)));
    same("frame", entry.frame(), raw.frame())?;
    same("young and dirty", (entry.is_young(), entry.is_dirty()), flags)?;
    counts.must_be(cost)?;
    counts.must_be("g=1 x=0 s=0 cas=0 T=0 I=0 D=0")
}

fn mark(bench: &Bench<'_>, field: &Field<'_, '_>, page: usize, change: impl Fn(Descriptor) -> Descriptor) {
    field.with_table(page, |_, slot| bench.memory().door.update(slot, change));
}

/// A dirty state without the access flag, which software can make and hardware can not.
fn only_dirty(entry: Descriptor) -> Descriptor {
    by_hardware(entry, true).make_old()
}

fn one_sibling(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    make_old_and_clean(&field);
    mark(bench, &field, 9, |entry| by_hardware(entry, true));
    // The entry; ten up to the dirty one; that one again for its access flag.
    get(bench, &field, 2, (true, true), "r=12")
}

fn far_apart(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    make_old_and_clean(&field);
    mark(bench, &field, 0, Descriptor::make_young);
    mark(bench, &field, 15, only_dirty);
    get(bench, &field, 7, (true, true), "r=17")
}

fn nothing_to_find(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    make_old_and_clean(&field);
    get(bench, &field, 4, (false, false), "r=17")
}

fn first_has_both(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    get(bench, &field, 0, (true, true), "r=3")
}

fn full_getter(bench: &Bench<'_>) -> Outcome {
    bench.set("getter=full")?;
    let field = fresh_block(bench)?;
    get(bench, &field, 0, (true, true), "r=17")
}

fn swap_entry(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    unmap_folio(bench, field.folio(0))?;
    let raw = field.entry(3);
    let (entry, counts) = bench.measure(|| field.with_table(3, |table, slot| table.get(slot)));
    same("the entry", entry, raw)?;
    counts.must_be("g=1 r=1")
}
