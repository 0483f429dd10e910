//! Reference 5.3: what each helper of `contpte` does to a folded block, and what that costs.

use alloc::format;
use alloc::string::String;

use mm::vma::Prot;
use mmu::{CONT_PTES, Descriptor};

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, must, same};
use crate::columns::Columns;
use crate::cpu::by_hardware;
use crate::field::{Field, Size, read_write};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-U-1 setting one entry unfolds", run: set_one },
    Case { name: "T-U-2 clearing a whole block", run: clear_whole },
    Case { name: "T-U-3 clearing its first half", run: clear_first_half },
    Case { name: "T-U-4 clearing its second half", run: clear_second_half },
    Case { name: "T-U-5 clearing its middle unfolds once", run: clear_middle },
    Case { name: "T-U-6 clearing over a border unfolds two", run: clear_over_border },
    Case { name: "T-U-7 clearing over a whole block between", run: clear_over_block },
    Case { name: "T-U-8 write-protecting a whole block", run: protect_whole },
    Case { name: "T-U-9 write-protecting fifteen entries", run: protect_fifteen },
    Case { name: "T-U-10 young and dirty go from the whole block", run: clear_young_dirty },
    Case { name: "T-U-11 young goes from the whole block", run: clear_young },
    Case { name: "T-U-12 young goes, with a flush not waited for", run: clear_flush_young },
    Case { name: "T-U-13 flags are set on all sixteen", run: set_flags },
    Case { name: "T-U-14 equal flags cost nothing", run: equal_flags },
    Case { name: "T-U-15 a flag of a sibling does not satisfy an entry", run: flag_of_sibling },
    Case { name: "T-U-16 a change of the permission unfolds", run: make_writable },
    Case { name: "T-U-17 unfolding spreads dirty state", run: unfold_spreads_dirty },
    Case { name: "T-U-18 unfolding without a flush between", run: unfold_elided },
    Case { name: "T-U-19 no access is never contiguous", run: no_access },
];

/// A folded 64K folio at page 0, young, dirty and writable, each byte telling its place.
///
/// # Errors
/// If there is no memory.
pub fn fresh_block<'b, 'm>(bench: &'b Bench<'m>) -> Result<Field<'b, 'm>, String> {
    let field = bench.filled(Size(64), 16)?;
    field.must_look(0, 16, "C16")?;
    Ok(field)
}

/// What a flush of `pages` leaf pages, complete in itself, costs on this CPU: at most five operations by range (reference 3.4), so
/// one for a power of two; or one a page.
pub fn flush_of(bench: &Bench<'_>, pages: usize) -> String {
    format!("T={} I=1 D=1", operations(bench, pages))
}

/// TLBI for a power of two of pages, below 512.
pub fn operations(bench: &Bench<'_>, pages: usize) -> usize {
    if bench.has_range() { 1 } else { pages }
}

/// Takes access flag and dirty state from the sixteen entries of a block.
pub fn make_old_and_clean(field: &Field<'_, '_>) {
    field.with_table(0, |table, slot| table.clear_young_dirty(slot, CONT_PTES));
    field.forget_translations();
}

fn set_one(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    let read_only = field.entry(5).write_protect();
    field.rest();
    let ((), cost) = bench.measure(|| field.with_table(5, |table, slot| table.set(slot, read_only)));
    cost.must_be(&format!("g=0 r=1 x=16 s=17 U=1 folds=0 {}", flush_of(bench, 16)))?;
    field.must_look(0, 16, "P16")?;
    same("read-only", field.how_many(0, 16, |entry| !entry.is_writable()), 1)?;
    must(!field.entry(5).is_writable() && field.entry(5).is_dirty(), "the entry is not what was set")
}

/// Clears `count` entries from `first` on in a field of folded blocks, which is as before afterwards.
fn clear(bench: &Bench<'_>, blocks: usize, (first, count): (usize, usize), cost: &str, shape: &str) -> Outcome {
    let pages = blocks * CONT_PTES;
    let field = bench.filled(Size(64), pages)?;
    let entries: alloc::vec::Vec<_> = (0..blocks).map(|block| field.entry(block * CONT_PTES)).collect();
    let (old, counts) = bench.measure(|| field.with_table(first, |table, slot| table.clear(slot, count)));
    same("frame of the first", old.frame(), entries[first / CONT_PTES].advance(first % CONT_PTES).frame())?;
    must(old.is_young() && old.is_dirty(), "flags were lost")?;
    counts.must_be(cost)?;
    field.must_look(0, pages, shape)?;
    for (block, entry) in entries.into_iter().enumerate() {
        field.put_back(block * CONT_PTES, entry, CONT_PTES);
    }
    Ok(())
}

fn clear_whole(bench: &Bench<'_>) -> Outcome {
    clear(bench, 1, (0, 16), "U=0 r=0 x=16 s=0 T=0 I=0 D=0", "N16")
}

fn clear_first_half(bench: &Bench<'_>) -> Outcome {
    clear(bench, 1, (0, 8), &format!("U=1 x=24 s=16 {}", flush_of(bench, 16)), "N8 P8")
}

fn clear_second_half(bench: &Bench<'_>) -> Outcome {
    clear(bench, 1, (8, 8), &format!("U=1 x=24 s=16 {}", flush_of(bench, 16)), "P8 N8")
}

fn clear_middle(bench: &Bench<'_>) -> Outcome {
    clear(bench, 1, (4, 8), &format!("U=1 x=24 s=16 {}", flush_of(bench, 16)), "P4 N8 P4")
}

/// Two conversions, each with its own flush.
fn two_flushes(bench: &Bench<'_>) -> String {
    format!("U=2 s=32 T={} I=2 D=2", 2 * operations(bench, 16))
}

fn clear_over_border(bench: &Bench<'_>) -> Outcome {
    clear(bench, 2, (8, 16), &format!("x=48 {}", two_flushes(bench)), "P8 N16 P8")
}

fn clear_over_block(bench: &Bench<'_>) -> Outcome {
    clear(bench, 3, (8, 32), &format!("x=64 {}", two_flushes(bench)), "P8 N32 P8")
}

/// Write-protects, and looks that a write recorded by hardware alone is not lost.
fn protect(bench: &Bench<'_>, (count, dirty): (usize, usize), cost: &str, shape: &str) -> Outcome {
    let field = fresh_block(bench)?;
    make_old_and_clean(&field);
    field.with_table(0, |_, slot| bench.memory().door.update(slot, |entry| by_hardware(entry, true)));
    let first = field.entry(0);
    let ((), counts) = bench.measure(|| field.with_table(0, |table, slot| table.write_protect(slot, count)));
    counts.must_be(cost)?;
    field.must_look(0, 16, shape)?;
    same("read-only", field.how_many(0, 16, |entry| !entry.is_writable()), count)?;
    must(field.entry(0).is_dirty() && field.entry(0).is_read_only(), "a write that hardware recorded was lost")?;
    same("dirty", field.how_many(0, 16, Descriptor::is_dirty), dirty)?;
    field.put_back(0, first, 16);
    Ok(())
}

fn protect_whole(bench: &Bench<'_>) -> Outcome {
    protect(bench, (16, 1), "U=0 x=0 s=0 T=0 D=0", "C16")
}

fn protect_fifteen(bench: &Bench<'_>) -> Outcome {
    // The unfold has told all of them.
    protect(bench, (15, 16), &format!("U=1 {}", flush_of(bench, 16)), "P16")
}

fn clear_young_dirty(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    let ((), cost) = bench.measure(|| field.with_table(3, |table, slot| table.clear_young_dirty(slot, 1)));
    field.forget_translations();
    cost.must_be("U=0 x=0 s=0 T=0 D=0")?;
    field.must_look(0, 16, "C16")?;
    let is_plain = |entry: Descriptor| !entry.is_young() && !entry.is_dirty() && entry.is_writable();
    same("old, clean and writable", field.how_many(0, 16, is_plain), 16)
}

fn clear_young(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    let (young, cost) = bench.measure(|| field.with_table(3, |table, slot| table.test_and_clear_young(slot, 1)));
    must(young, "it was young")?;
    cost.must_be("U=0 x=0 s=0 T=0 D=0")?;
    field.must_look(0, 16, "C16")?;
    same("young", field.how_many(0, 16, Descriptor::is_young), 0)?;
    same("dirty", field.how_many(0, 16, Descriptor::is_dirty), 16)?;
    must(!field.with_table(9, |table, slot| table.test_and_clear_young(slot, 1)), "it is still young")
}

fn clear_flush_young(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    let clear = || field.with_table(3, |table, slot| table.clear_flush_young(slot, 1));
    let (young, cost) = bench.measure(clear);
    must(young, "it was young")?;
    cost.must_be(&format!("U=0 T={} walk=0 I=1 D=0", operations(bench, 16)))?;
    field.must_look(0, 16, "C16")?;
    same("young", field.how_many(0, 16, Descriptor::is_young), 0)?;
    let (young, cost) = bench.measure(clear);
    must(!young, "it is still young")?;
    cost.must_be("T=0 I=0 D=0")
}

fn set_access(field: &Field<'_, '_>, page: usize, wanted: Descriptor) -> bool {
    field.with_table(page, |table, slot| table.set_access_flags(slot, wanted, true))
}

fn set_flags(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    make_old_and_clean(&field);
    let wanted = field.entry(3).make_young().make_dirty();
    let (changed, cost) = bench.measure(|| set_access(&field, 3, wanted));
    must(changed, "nothing changed")?;
    cost.must_be(&format!("U=0 x=0 T=0 local={} I=0 D=0 nshst=1 nsh=1", operations(bench, 16)))?;
    field.must_look(0, 16, "C16")?;
    let is_set = |entry: Descriptor| entry.is_young() && entry.is_dirty() && !entry.is_read_only();
    same("young and dirty", field.how_many(0, 16, is_set), 16)
}

fn equal_flags(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    let wanted = field.entry(3);
    let (changed, cost) = bench.measure(|| set_access(&field, 3, wanted));
    must(!changed, "something changed")?;
    // The entry, then all sixteen, since what siblings have says nothing about this one.
    cost.must_be("r=17 U=0 T=0 local=0 nsh=0 cas=0")
}

fn flag_of_sibling(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    make_old_and_clean(&field);
    field.with_table(9, |_, slot| bench.memory().door.update(slot, Descriptor::make_young));
    if bench.memory().door.features().hardware_access {
        let gathered = field.with_table(3, |table, slot| table.get(slot));
        must(set_access(&field, 3, gathered), "nothing changed, though fifteen entries are old")?;
    } else {
        field.load(3, 0)?;
    }
    same("young", field.how_many(0, 16, Descriptor::is_young), 16)?;
    field.must_look(0, 16, "C16")
}

fn make_writable(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    field.with_table(0, |table, slot| table.write_protect(slot, CONT_PTES));
    field.must_look(0, 16, "C16")?;
    let wanted = field.entry(3).make_writable();
    let (changed, cost) = bench.measure(|| set_access(&field, 3, wanted));
    must(changed, "nothing changed")?;
    cost.must_be(&format!("U=1 x=16 s=16 {}", flush_of(bench, 16)))?;
    field.must_look(0, 16, "P16")?;
    same("writable", field.how_many(0, 16, Descriptor::is_writable), 1)?;
    must(field.entry(3).is_writable(), "another entry became writable")
}

fn unfold_spreads_dirty(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    make_old_and_clean(&field);
    field.with_table(9, |_, slot| bench.memory().door.update(slot, |entry| by_hardware(entry, true)));
    field.unfold(2);
    field.must_look(0, 16, "P16")?;
    same("dirty and young", field.how_many(0, 16, |entry| entry.is_dirty() && entry.is_young()), 16)
}

fn unfold_elided(bench: &Bench<'_>) -> Outcome {
    bench.set("bbm=elide,assume=noabort")?;
    let field = fresh_block(bench)?;
    let ((), cost): ((), Columns) = bench.measure(|| field.unfold(2));
    cost.must_be("U=1 x=16 s=16 r=1 T=0 I=0 D=0")?;
    field.must_look(0, 16, "P16")?;
    field.forget_translations();
    Ok(())
}

fn no_access(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    field.protect(0, 16, Prot::empty())?;
    field.must_look(0, 16, "I16")?;
    let contiguous = 1 << 52;
    same("contiguous", field.how_many(0, 16, |entry| entry.bits() & contiguous != 0), 0)?;
    bench.audit()?;
    must(field.load(0, 0).is_err(), "a load from memory without access succeeds")?;
    field.protect(0, 16, read_write())?;
    field.must_look(0, 16, "C16")?;
    same("writable", field.how_many(0, 16, Descriptor::is_writable), 16)?;
    let copies = bench.memory().count().faults_copy.get();
    field.store(7, 4000, &field_byte(&field)?)?;
    same("copies", bench.memory().count().faults_copy.get() - copies, 0)?;
    field.verify(0, 16)
}

/// The byte that is there already.
fn field_byte(field: &Field<'_, '_>) -> Result<[u8; 1], String> {
    field.load(7, 4000).map(|byte| [byte])
}
