//! Memory that goes bad under a program, in areas of small pages: `MADV_HWPOISON`.

use mm::fault::{Access, FaultError};
use mm::swap::bad_frame;
use mm::{Errno, Memory};

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, same};
use crate::family::helpers::{flush_of, fresh_block, operations};
use crate::field::{Field, Size, advice};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "1.9 a page of bad memory is unmapped alone", run: one_page },
    Case { name: "1.9 a large folio is split for its bad page", run: split_first },
    Case { name: "1.9 one that can not be split is lost whole", run: pinned },
    Case { name: "1.3 bad memory that two spaces share", run: shared },
    Case { name: "1.3 bad memory on the swap device", run: swapped },
    Case { name: "1.3 what becomes of entries of bad memory", run: entries },
    Case { name: "1.3 MADV_HWPOISON where there is nothing", run: nothing },
];

const LOST: Result<(), FaultError> = Err(FaultError::Poisoned(12));

fn poison(field: &Field<'_, '_>, page: usize) -> Outcome {
    field.advise(page, 1, advice::HWPOISON).map_err(failed("MADV_HWPOISON"))
}

fn touch(field: &Field<'_, '_>, page: usize) -> Result<(), FaultError> {
    field.memory().fault(&field.space, field.va(page), Access::Read)
}

fn bad(memory: &Memory) -> usize {
    memory.frames.bad_count()
}

fn one_page(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = bench.filled(Size(4), 3)?;
        let (frame, before) = (field.entry(1).frame(), bad(bench.memory()));
        let (done, cost) = bench.measure(|| poison(&field, 1));
        done?;
        // The pair of DSB is that of one deferred flush.
        cost.must_be(&alloc::format!("{} U=0 W=2 x=1 s=1 k=0 c=1 f=1 b=0", flush_of(bench, 1)))?;
        same("the entry", bad_frame(field.entry(1)), Some(frame))?;
        same("bad frames", bad(bench.memory()) - before, 1)?;
        same("accounts", field.accounts(), (2, 0))?;
        bench.audit()?;
        same("a touch", touch(&field, 1), LOST)?;
        same("again", field.advise(1, 1, advice::HWPOISON), Err(Errno::EHWPOISON))?;
        field.verify(0, 1)?;
        field.verify(2, 1)?;
        bench.exit(&field.space);
        Ok(())
    })
}

fn split_first(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    let before = bad(bench.memory());
    let (done, cost) = bench.measure(|| poison(&field, 5));
    done?;
    // The block is unfolded by the split; then one page is flushed.
    let flushes = operations(bench, 16) + 1;
    cost.must_be(&alloc::format!("U=1 T={flushes} I=2 D=2 f=1 c=1"))?;
    field.must_look(0, 16, "P5 S1 P10")?;
    same("bad frames", bad(bench.memory()) - before, 1)?;
    same("accounts", field.accounts(), (15, 0))?;
    same("a touch", touch(&field, 5), LOST)?;
    field.verify(0, 5)?;
    field.verify(6, 10)
}

/// The device that has it pinned goes on with memory that nobody else gets.
fn pinned(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    let memory = bench.memory();
    let (free, before) = (memory.frames.free_count(), bad(memory));
    let pinned = memory.pin_user_pages(&field.space, field.va(9), 1, true).map_err(failed("a pin"))?;
    poison(&field, 5)?;
    same("bad entries", field.how_many(0, 16, |entry| bad_frame(entry).is_some()), 16)?;
    same("accounts", field.accounts(), (0, 0))?;
    same("a touch", touch(&field, 9), LOST)?;
    same("nothing comes free under the device", memory.frames.free_count(), free)?;
    pinned.unpin();
    same("bad frames", bad(memory) - before, 1)?;
    same("the others are free", memory.frames.free_count(), free + 15)
}

fn shared(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(4), 2)?;
    let child = field.fork()?;
    let (done, cost) = bench.measure(|| poison(&child, 0));
    done?;
    cost.must_be("T=2 I=2 D=1 f=2 c=2")?;
    same("both", [touch(&field, 0), touch(&child, 0)], [LOST, LOST])?;
    bench.audit()?;
    field.verify(1, 1)?;
    child.exit();
    Ok(())
}

fn swapped(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(4), 2)?;
    field.page_out(0, 2)?;
    // It is read back, and leaves the device then.
    poison(&field, 0)?;
    same("a touch", touch(&field, 0), LOST)?;
    field.must_look(0, 2, "S1 E1")?;
    field.verify(1, 1)?;
    // Of two spaces one has it back: the other's entry keeps it on the device, from where it would be read.
    field.page_out(1, 1)?;
    let child = field.fork()?;
    child.verify(1, 1)?;
    let done = child.advise(1, 1, advice::HWPOISON);
    same("in use elsewhere", done, Err(Errno::EBUSY))?;
    bench.audit()?;
    child.verify(1, 1)?;
    child.exit();
    field.verify(1, 1)
}

fn entries(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(4), 4)?;
    (0..4).try_for_each(|page| poison(&field, page))?;
    let child = field.fork()?;
    same("a child", touch(&child, 1), LOST)?;
    child.exit();
    field.move_pages(0, 1, 600).map_err(failed("mremap"))?;
    same("moved", touch(&field, 600), LOST)?;
    field.protect(1, 1, mm::vma::Prot::READ)?;
    same("protected", touch(&field, 1), LOST)?;
    field.page_out(1, 3)?;
    field.advise(2, 1, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
    field.verify_zero(2, 1)?;
    field.advise(3, 1, advice::FREE).map_err(failed("MADV_FREE"))?;
    field.verify_zero(3, 1)
}

fn nothing(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(4), 2)?;
    // The zero page is everybody's.
    same("never touched", field.advise(0, 1, advice::HWPOISON), Err(Errno::EBUSY))?;
    same("not mapped", field.advise(2, 1, advice::HWPOISON), Err(Errno::ENOMEM))?;
    field.protect(0, 1, mm::vma::Prot::empty())?;
    same("no access", field.advise(0, 1, advice::HWPOISON), Err(Errno::EFAULT))
}
