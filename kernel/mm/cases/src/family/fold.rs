//! Reference 5.1: which folio a fault takes, and whether its entries are folded.

use alloc::format;
use alloc::string::String;

use mmu::{CONT_PTES, Descriptor};

use crate::bench::Bench;
use crate::check::{Outcome, must, same};
use crate::family::helpers::flush_of;
use crate::field::{Field, Size};
use crate::{Case, family::helpers::fresh_block};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-F-1 a write maps a folded 64K folio", run: whole_folio },
    Case { name: "T-F-1 contpte=off maps it plain", run: whole_folio_plain },
    Case { name: "T-F-2 an area that no aligned 64K fits", run: unaligned_area },
    Case { name: "T-F-3 a 32K folio is never folded", run: too_small },
    Case { name: "T-F-4 a 128K folio is two blocks", run: two_blocks },
    Case { name: "T-F-5 an occupied entry takes a smaller folio", run: occupied },
    Case { name: "T-F-6 a read takes the zero page, then a write a page", run: read_first },
    Case { name: "T-F-7 neighbours of 16 folios never fold", run: sixteen_folios },
    Case { name: "T-F-8 setting the last entry folds", run: last_folds },
    Case { name: "T-F-9 an entry with another permission prevents it", run: unlike_entry },
    Case { name: "T-F-10 setting another entry does not fold", run: middle_does_not_fold },
    Case { name: "T-F-11 a 2M folio is 32 blocks", run: two_megabytes },
    Case { name: "T-F-12 a folio smaller than the block does not fold", run: starts_in_mid_block },
    Case { name: "T-F-12 a folio at unaligned addresses does not fold", run: not_congruent },
    Case { name: "T-F-13 the zero page never folds", run: sixteen_zero_pages },
];

fn is_ready(entry: Descriptor) -> bool {
    entry.is_young() && entry.is_dirty() && entry.is_writable()
}

fn map_by_write(bench: &Bench<'_>, size: Size, shape: &str) -> Outcome {
    let pages = size.pages();
    let field = bench.field(size, pages)?;
    let faults = bench.memory().count().faults_anonymous.get();
    let (wrote, cost) = bench.measure(|| field.store(0, 0, &[1]));
    wrote?;
    field.must_look(0, pages, shape)?;
    cost.must_be(&format!("s={pages} x=0 cas=0 folds=0 U=0 T=0 local=0 I=0 D=0"))?;
    same("faults", bench.memory().count().faults_anonymous.get() - faults, 1)?;
    same("young, dirty, writable", field.how_many(0, pages, is_ready), pages)?;
    let folio = field.folio(0);
    same("references", folio.refs(), pages)?;
    same("mapcount", folio.mapcount(), pages)?;
    same("exclusive", folio.exclusive_run(0, pages), (true, pages))?;
    same("present pages", field.accounts(), (pages as i64, 0))
}

fn whole_folio(bench: &Bench<'_>) -> Outcome {
    map_by_write(bench, Size(64), "C16")
}

fn whole_folio_plain(bench: &Bench<'_>) -> Outcome {
    bench.set("contpte=off")?;
    map_by_write(bench, Size(64), "P16")
}

fn two_blocks(bench: &Bench<'_>) -> Outcome {
    map_by_write(bench, Size(128), "C32")
}

fn two_megabytes(bench: &Bench<'_>) -> Outcome {
    map_by_write(bench, Size(2048), "C512")
}

/// The orders of the folios behind pages, as digits.
fn orders(field: &Field<'_, '_>, first: usize, count: usize) -> String {
    (first..first + count).map(|page| format!("{}", field.folio(page).order())).collect()
}

fn unaligned_area(bench: &Bench<'_>) -> Outcome {
    bench.set_size(Size(64));
    let field = Field::new(bench, bench.space()?, Field::BASE.add_pages(1), 16)?;
    field.touch(0, 16)?;
    same("orders", orders(&field, 0, 16).as_str(), "0000000000000000")?;
    same("folded", field.how_many(0, 16, Descriptor::is_folded), 0)?;
    bench.set_sizes(&[Size(16), Size(64)]);
    let other = Field::new(bench, bench.space()?, Field::BASE.add_pages(1), 16)?;
    other.touch(0, 16)?;
    same("orders with 16K", orders(&other, 0, 16).as_str(), "0002222222222220")?;
    same("folded", other.how_many(0, 16, Descriptor::is_folded), 0)
}

fn too_small(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(32), 16)?;
    field.store(0, 0, &[1])?;
    field.must_look(0, 16, "P8 N8")
}

fn occupied(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(4), 16)?;
    field.touch(7, 1)?;
    bench.set_size(Size(64));
    field.touch(0, 1)?;
    field.must_look(0, 16, "P1 N6 P1 N8")?;
    bench.set_sizes(&[Size(16), Size(64)]);
    field.touch(9, 1)?;
    field.must_look(8, 8, "P4 N4")
}

fn read_first(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(64), 16)?;
    field.verify_zero(0, 1)?;
    field.must_look(0, 16, "Z1 N15")?;
    same("present pages", field.accounts(), (0, 0))?;
    field.store(0, 0, &[1])?;
    field.must_look(0, 16, "P1 N15")?;
    same("order", field.folio(0).order(), 0)?;
    same("written", field.load(0, 0)?, 1)?;
    field.load(0, 4095).and_then(|byte| same("the rest is zero", byte, 0))
}

/// Pages of single folios whose frames follow each other from an aligned one on, at congruent addresses: moved there by hand, since
/// an allocator promises nothing.
fn sixteen_folios(bench: &Bench<'_>) -> Outcome {
    let pages = 256;
    let field = bench.field(Size(4), pages)?;
    field.touch(0, pages)?;
    let frames = || (0..pages).map(|page| field.entry(page).frame());
    let first = frames().find(|frame| {
        frame.is_aligned(CONT_PTES) && (1..CONT_PTES).all(|index| frames().any(|other| other == frame.add(index)))
    });
    let first = first.ok_or("no aligned run of 16 single frames among 256")?;
    for index in 0..CONT_PTES {
        let from = (0..pages).find(|&page| field.entry(page).frame() == first.add(index));
        field.exchange_pages(from.ok_or("a page went away")?, index)?;
    }
    field.must_look(0, 16, "P16")?;
    field.rest();
    let last = field.entry(15);
    let ((), cost) = bench.measure(|| field.with_table(15, |table, slot| table.set(slot, last)));
    cost.must_be("folds=0 x=0 T=0")?;
    field.must_look(0, 16, "P16")
}

fn last_folds(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    field.rest();
    field.with_table(5, |table, slot| table.set(slot, table.get(slot)));
    field.must_look(0, 16, "P16")?;
    field.rest();
    let last = field.entry(15);
    let ((), cost) = bench.measure(|| field.with_table(15, |table, slot| table.set(slot, last)));
    // One look for a block to unfold, 16 compares; one store, then a conversion.
    cost.must_be(&format!("folds=1 U=0 r=17 x=16 s=17 {}", flush_of(bench, 16)))?;
    field.must_look(0, 16, "C16")
}

fn unlike_entry(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    field.rest();
    field.with_table(3, |table, slot| table.set(slot, table.get(slot).write_protect()));
    field.rest();
    let last = field.entry(15);
    let ((), cost) = bench.measure(|| field.with_table(15, |table, slot| table.set(slot, last)));
    cost.must_be("folds=0 x=0 s=1 T=0 D=0")?;
    field.must_look(0, 16, "P16")
}

fn middle_does_not_fold(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    field.with_table(15, |table, slot| table.unfold_around(slot));
    field.rest();
    let entry = field.entry(5);
    let ((), cost) = bench.measure(|| field.with_table(5, |table, slot| table.set(slot, entry)));
    cost.must_be("folds=0 x=0 s=1 T=0 D=0")?;
    field.must_look(0, 16, "P16")
}

/// Two folios of 32K whose frames happen to fill an aligned 64K: exchanged until they stand side by side.
fn starts_in_mid_block(bench: &Bench<'_>) -> Outcome {
    let pages = 256;
    let field = bench.field(Size(32), pages)?;
    field.touch(0, pages)?;
    let heads = || (0..pages).step_by(8).map(|page| (page, field.entry(page).frame()));
    let pair = heads().find_map(|(low, frame)| {
        let high = heads().find(|&(_, other)| frame.is_aligned(CONT_PTES) && other == frame.add(8))?;
        Some((low, high.0))
    });
    let (low, high) = pair.ok_or("no two neighbouring folios of 32K")?;
    field.exchange_folios(low, 0)?;
    let high = if high == 0 { low } else { high };
    field.exchange_folios(high, 8)?;
    field.must_look(0, 16, "P16")?;
    field.rest();
    let last = field.entry(15);
    let ((), cost) = bench.measure(|| field.with_table(15, |table, slot| table.set(slot, last)));
    cost.must_be("folds=0 x=0 T=0")?;
    field.must_look(0, 16, "P16")
}

/// Of 128K, so that the folio has sixteen pages before the end of a block; a page off, and four.
fn not_congruent(bench: &Bench<'_>) -> Outcome {
    for start in [33, 36] {
        let field = bench.field(Size(128), 96)?;
        field.touch(0, 1)?;
        field.move_folio(0, start)?;
        must(field.entry(start).frame().is_aligned(CONT_PTES), "the folio is not aligned")?;
        field.must_look(start, 32, "P32")?;
        field.rest();
        for page in start..start + 32 {
            field.with_table(page, |table, slot| table.set(slot, table.get(slot)));
        }
        field.must_look(start, 32, "P32")?;
    }
    Ok(())
}

fn sixteen_zero_pages(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(64), 16)?;
    field.read(0, 16)?;
    field.must_look(0, 16, "Z16")?;
    field.rest();
    field.with_table(15, |table, slot| table.set(slot, table.get(slot)));
    field.must_look(0, 16, "Z16")?;
    same("present pages", field.accounts(), (0, 0))
}
