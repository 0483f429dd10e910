//! Reference 5.9: what an unmap leaves to be flushed, and who does it.

use alloc::format;

use mm::tlb::PendingFlush;
use mm::vma::Prot;

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, must, same, within};
use crate::family::helpers::fresh_block;
use crate::field::{Field, Size, read_write};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-T-1 who comes after a deferred flush completes it, once", run: owed_once },
    Case { name: "T-T-2 generations never agree while one is owed", run: generations },
    Case { name: "T-T-5 two spaces at the same address", run: two_spaces },
    Case { name: "T-T-9 every page of a plain block is forgotten", run: plain_block },
    Case { name: "T-T a gather owes nothing afterwards", run: gather_settles },
];

fn owed_once(bench: &Bench<'_>) -> Outcome {
    for way in ["page", "folio"] {
        bench.set(&format!("unmap={way}"))?;
        let field = bench.filled(Size(64), 32)?;
        field.page_out(0, 16)?;
        must(field.space.tlb.is_pending(), "nothing is pending")?;
        let (done, cost) = bench.measure(|| field.protect(16, 16, Prot::READ));
        done?;
        within(way, cost.must_be("asid=1 pending=1"))?;
        must(!field.space.tlb.is_pending(), "it is still pending")?;
        let (done, cost) = bench.measure(|| field.protect(16, 16, read_write()));
        done?;
        cost.must_be("asid=0 pending=0")?;
        field.verify(0, 32)?;
    }
    Ok(())
}

fn gather_settles(bench: &Bench<'_>) -> Outcome {
    bench.set("unmap=gather")?;
    let field = fresh_block(bench)?;
    field.page_out(0, 16)?;
    must(!field.space.tlb.is_pending(), "a flush is owed though the batch has completed its own")?;
    field.verify(0, 16)
}

fn generations(bench: &Bench<'_>) -> Outcome {
    let memory = bench.memory();
    let space = bench.space()?;
    let pending = PendingFlush::new();
    must(!pending.is_pending(), "something is pending from the start")?;
    for add in 0..20_000 {
        pending.add(memory);
        must(pending.is_pending(), "nothing is pending after an addition")?;
        if add % 4999 == 17 {
            pending.flush(memory, &space);
            must(!pending.is_pending(), "something is pending after a flush")?;
        }
    }
    let (_, cost) = bench.measure(|| {
        pending.flush(memory, &space);
        pending.flush(memory, &space);
    });
    cost.must_be("asid=1 T=1 I=1 D=1 pending=1")
}

/// The ninth page is as little in a TLB afterwards as the first: each that is read is read back from the device.
fn plain_block(bench: &Bench<'_>) -> Outcome {
    bench.set("swapin=page contpte=off")?;
    bench.each_way(|_| {
        let field = bench.filled(Size(64), 16)?;
        field.must_look(0, 16, "P16")?;
        field.verify(9, 1)?;
        field.page_out(0, 16)?;
        let majors = || bench.memory().count().faults_swap_major.get();
        for page in [9, 0, 15] {
            let before = majors();
            field.verify(page, 1)?;
            same("major faults", majors() - before, 1)?;
        }
        field.verify(0, 16)
    })
}

fn two_spaces(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        bench.set_size(Size(64));
        let one = Field::new(bench, bench.space()?, Field::BASE, 16)?;
        let other = Field::new(bench, bench.space()?, Field::BASE, 16)?;
        one.fill(0, 16)?;
        other.touch(0, 16)?;
        other.store(7, 7, &[7])?;
        let (done, cost) = bench.measure(|| one.page_out(0, 16));
        done?;
        // Of one ASID's entries, page by page or as a range; that it is the right one's the machine checks.
        cost.must_be("all=0 asid=0")?;
        one.must_look(0, 16, "E16")?;
        other.must_look(0, 16, "C16")?;
        must(!other.space.tlb.is_pending(), "the other space owes a flush")?;
        let frame = other.entry(7).frame();
        same("data of the other space", other.load(7, 7)?, 7)?;
        same("frame of the other space", other.entry(7).frame(), frame)?;
        one.verify(0, 16)?;
        other.must_look(0, 16, "C16")
    })
}
