//! Reference 4.16 and A19: mprotect in batches; `zap` has T-Z-5 to T-Z-7.

use alloc::format;

use mm::vma::Prot;
use mmu::Descriptor;

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, must, same};
use crate::family::helpers::{flush_of, fresh_block, operations};
use crate::field::{Size, read_write};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "4.16 RW, none, RW: folded and writable again, nothing copied", run: to_none_and_back },
    Case { name: "4.16 one flush for all that one call changed", run: one_flush },
    Case { name: "4.16 no flush where nothing was valid", run: no_flush },
    Case { name: "4.16 only the blocks at the ends are unfolded", run: cut_at_both_ends },
    Case { name: "4.16 swap entries are left alone", run: swap_entries },
    Case { name: "4.16 what became plain folds when it is whole again", run: whole_again },
    Case { name: "T-Z-7 runs of exclusivity in turn", run: alternating },
];

fn to_none_and_back(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    let (done, cost) = bench.measure(|| field.protect(0, 16, Prot::empty()));
    done?;
    cost.must_be(&format!("U=0 folds=0 x=16 s=16 {}", flush_of(bench, 16)))?;
    field.must_look(0, 16, "I16")?;
    let (done, cost) = bench.measure(|| field.protect(0, 16, read_write()));
    done?;
    cost.must_be("U=0 folds=0 x=16 s=16 T=0 I=0 D=0")?;
    field.must_look(0, 16, "C16")?;
    let is_as_before = |entry: Descriptor| entry.is_writable() && entry.is_dirty() && entry.is_young();
    same("writable, dirty and young", field.how_many(0, 16, is_as_before), 16)?;
    must((0..16).all(|page| field.folio(0).is_exclusive(page)), "a page is not exclusive any more")?;
    let count = bench.memory().count();
    let faults = || count.faults_copy.get() + count.faults_reuse.get();
    let before = faults();
    field.fill(0, 16)?;
    same("copies and reuses", faults() - before, 0)
}

fn one_flush(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), 1024)?;
    let flush = if bench.has_range() { "asid=0" } else { "asid=1" };
    for (prot, flushes) in [(Prot::READ, 1), (read_write(), 1), (Prot::empty(), 1), (Prot::READ, 0)] {
        let (done, cost) = bench.measure(|| field.protect(0, 1024, prot));
        done?;
        cost.must_be(&format!("U=0 folds=0 x=1024 s=1024 T={flushes} I={flushes} D={flushes}"))?;
        if flushes > 0 {
            cost.must_be(flush)?;
        }
    }
    field.verify(0, 1024)
}

fn no_flush(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(64), 64)?;
    let (done, cost) = bench.measure(|| field.protect(0, 64, Prot::READ));
    done?;
    cost.must_be("x=0 s=0 T=0 I=0 D=0")?;
    field.protect(0, 64, read_write())?;
    field.fill(0, 16)?;
    // The protection that it has: nothing is looked at.
    let (done, cost) = bench.measure(|| field.protect(0, 64, read_write()));
    done?;
    cost.must_be("g=0 r=0 x=0 s=0 T=0")?;
    field.verify(0, 16)
}

fn cut_at_both_ends(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), 64)?;
    let (done, cost) = bench.measure(|| field.protect(8, 48, Prot::READ));
    done?;
    // Two conversions, each with its flush, and the one flush of all that changed.
    let flushes = 2 * operations(bench, 16) + operations(bench, 48);
    cost.must_be(&format!("U=2 folds=0 x=80 s=80 T={flushes} I=3 D=3"))?;
    same("folded", field.how_many(16, 32, Descriptor::is_folded), 32)?;
    same("plain", field.how_many(0, 16, Descriptor::is_folded) + field.how_many(48, 16, Descriptor::is_folded), 0)?;
    same("writable", field.how_many(0, 64, Descriptor::is_writable), 16)?;
    field.verify(0, 64)
}

fn swap_entries(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), 32)?;
    field.page_out(0, 16)?;
    field.space.tlb.flush(bench.memory(), &field.space);
    let (done, cost) = bench.measure(|| field.protect(0, 32, Prot::READ));
    done?;
    cost.must_be(&format!("U=0 x=16 s=16 {}", flush_of(bench, 16)))?;
    field.must_look(0, 32, "E16 C16")?;
    field.verify(0, 32)?;
    same("writable", field.how_many(0, 32, Descriptor::is_writable), 0)?;
    must(field.store(3, 0, &[1]).is_err(), "a store to read-only memory succeeds")
}

fn whole_again(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    field.protect(0, 1, Prot::READ)?;
    field.must_look(0, 16, "P16")?;
    field.protect(0, 1, read_write())?;
    let (done, cost) = bench.measure(|| field.protect(0, 16, Prot::READ));
    done?;
    // The form changes with the permission, so what was plain is forgotten before it is folded, and needs no flush afterwards.
    cost.must_be(&format!("U=0 folds=0 x=16 s=16 {}", flush_of(bench, 16)))?;
    field.must_look(0, 16, "C16")?;
    field.verify(0, 16)
}

fn alternating(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(128), 32)?;
    field.protect(0, 32, Prot::READ)?;
    // 4 shared, 12 of its own, 16 of its own, but for the last.
    field.mark_shared(0, 4);
    field.mark_shared(31, 1);
    let (done, cost) = bench.measure(|| field.protect(0, 32, read_write()));
    done?;
    cost.must_be(&format!("U=0 folds=0 x=32 s=32 {}", flush_of(bench, 32)))?;
    field.must_look(0, 32, "P32")?;
    same("writable", field.how_many(4, 27, Descriptor::is_writable), 27)?;
    same("writable in all", field.how_many(0, 32, Descriptor::is_writable), 27)?;
    field.verify(0, 32)
}
