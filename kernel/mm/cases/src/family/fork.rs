//! Reference 4.6 and 5.7: fork, and what becomes of shared pages when one of the spaces writes, pages out or exits.

use mmu::Descriptor;

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same};
use crate::field::{Field, Size, advice};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-C-1 a child's write copies one page", run: child_writes },
    Case { name: "T-C-2 after the child's exit the parent writes in place", run: parent_alone_again },
    Case { name: "T-C-3 a shared folio is not paged out", run: page_out_shared },
    Case { name: "T-C-4 fork unfolds nothing and flushes once", run: counts },
    Case { name: "T-I-6 fork of what is swapped out", run: fork_swapped },
    Case { name: "4.6 areas that a child does not get, or gets empty", run: advised },
];

const PAGES: usize = 16;

/// What `content` has for a page, but the first bytes are these.
fn store_over(field: &Field<'_, '_>, page: usize) -> Outcome {
    field.store(page, 0, b"written after")
}

fn must_hold_store(field: &Field<'_, '_>, page: usize) -> Outcome {
    let mut bytes = field.content(page);
    bytes[..13].copy_from_slice(b"written after");
    field.must_hold(page, &bytes)
}

fn child_writes(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), PAGES)?;
    let child = parent.fork()?;
    let copies = bench.memory().count().faults_copy.get();
    store_over(&child, 4)?;
    same("copies", bench.memory().count().faults_copy.get() - copies, 1)?;
    child.must_look(0, PAGES, "P4 P1 P11")?;
    must(child.entry(4).is_writable(), "the copy is not writable")?;
    same("writable in the child", child.how_many(0, PAGES, Descriptor::is_writable), 1)?;
    parent.must_look(0, PAGES, "C16")?;
    same("writable in the parent", parent.how_many(0, PAGES, Descriptor::is_writable), 0)?;
    must_hold_store(&child, 4)?;
    parent.verify(0, PAGES)?;
    child.verify(0, 4)?;
    child.verify(5, 11)
}

fn parent_alone_again(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), PAGES)?;
    let before = parent.entry(4).frame();
    parent.fork()?.exit();
    let (stored, cost) = bench.measure(|| store_over(&parent, 4));
    stored?;
    cost.must_be("U=1")?;
    same("frame", parent.entry(4).frame(), before)?;
    parent.must_look(0, PAGES, "P16")?;
    same("writable", parent.how_many(0, PAGES, Descriptor::is_writable), 1)?;
    let folio = parent.folio(0);
    same("exclusive", (0..PAGES).filter(|&page| folio.is_exclusive(page)).count(), 1)?;
    must(folio.is_exclusive(4), "another page is exclusive")
}

fn page_out_shared(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), PAGES)?;
    let child = parent.fork()?;
    parent.page_out(0, PAGES)?;
    for field in [&parent, &child] {
        field.must_look(0, PAGES, "C16")?;
        same("accounts", field.accounts(), (16, 0))?;
    }
    Ok(())
}

fn counts(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), 4 * PAGES)?;
    let (child, cost) = bench.measure(|| parent.fork());
    let child = child?;
    cost.must_be("U=0 folds=0 T=1 asid=1 I=1 D=1 x=0")?;
    for field in [&parent, &child] {
        same("folded", field.how_many(0, 64, Descriptor::is_folded), 64)?;
        same("read-only", field.how_many(0, 64, |entry| !entry.is_writable()), 64)?;
        same("dirty", field.how_many(0, 64, Descriptor::is_dirty), 64)?;
        same("accounts", field.accounts(), (64, 0))?;
    }
    same("old in the child", child.how_many(0, 64, |entry| !entry.is_young()), 64)?;
    same("young in the parent", parent.how_many(0, 64, Descriptor::is_young), 64)?;
    child.verify(0, 64)
}

fn fork_swapped(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), PAGES)?;
    parent.page_out(0, PAGES)?;
    parent.must_look(0, PAGES, "E16")?;
    let child = parent.fork()?;
    for field in [&parent, &child] {
        field.must_look(0, PAGES, "S16")?;
        same("accounts", field.accounts(), (0, 16))?;
    }
    bench.audit()?;
    parent.verify(0, PAGES)?;
    parent.must_look(0, PAGES, "C16")?;
    same("writable", parent.how_many(0, PAGES, Descriptor::is_writable), 0)?;
    store_over(&child, 4)?;
    must_hold_store(&child, 4)?;
    parent.verify(0, PAGES)?;
    child.verify(5, 11)?;
    store_over(&parent, 6)?;
    child.verify(6, 1)
}

fn advised(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), 3 * PAGES)?;
    parent.advise(0, PAGES, advice::DONTFORK).map_err(failed("MADV_DONTFORK"))?;
    parent.advise(PAGES, PAGES, advice::WIPEONFORK).map_err(failed("MADV_WIPEONFORK"))?;
    let child = parent.fork()?;
    must(child.load(0, 0).is_err(), "the child has what it was not to get")?;
    child.must_look(0, 3 * PAGES, "N32 C16")?;
    child.verify_zero(PAGES, PAGES)?;
    child.verify(2 * PAGES, PAGES)?;
    parent.verify(0, 3 * PAGES)
}
