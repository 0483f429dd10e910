//! Reference 4.6 and 5.7: fork, and what becomes of shared pages when one of the spaces writes, pages out or exits.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use mm::inject::{Point, Times};
use mm::swap::SwapEntry;
use mm::vma::Prot;
use mm::{Errno, Pinned};
use mmu::{Descriptor, TABLE_SPAN};

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same, within};
use crate::family::helpers::operations;
use crate::field::{Field, Size, advice, read_write};
use crate::unmapping::unmap_folio;

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-C-1 a child's write copies one page", run: child_writes },
    Case { name: "T-C-2 after the child's exit the parent writes in place", run: parent_alone_again },
    Case { name: "T-C-3 a shared folio is not paged out", run: page_out_shared },
    Case { name: "T-C-4 fork unfolds nothing and flushes once", run: counts },
    Case { name: "T-I-6 fork of what is swapped out", run: fork_swapped },
    Case { name: "4.1 four spaces: reclaim finds all", run: four_spaces },
    Case { name: "4.1 a shared page that comes back is found by all", run: comes_back_shared },
    Case { name: "4.1 a page written in place while others map its folio", run: folio_still_shared },
    Case { name: "4.1 the parent exits first", run: parent_exits_first },
    Case { name: "4.1 a chain of 320 generations, and as many at once", run: generations },
    Case { name: "4.6 the zero page, pages without access", run: special_entries },
    Case { name: "4.6 three hundred forks of a swapped page", run: three_hundred },
    Case { name: "T-S-14 after a fork, half taken back", run: half_taken_back },
    Case { name: "T-S-15, T-S-16 after a fork, taken back and read-only", run: taken_back_read_only },
    Case { name: "T-S-17 two spaces share a folio", run: two_spaces },
    Case { name: "T-S-18 MADV_DONTFORK on a part of a block", run: dont_fork_part },
    Case { name: "T-P-10 fork fails at each step", run: unwinds },
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

/// The swap entries of a page, as slot number and flags.
fn slots(field: &Field<'_, '_>) -> Vec<u64> {
    (0..field.pages).map(|page| field.entry(page).bits()).collect()
}

fn four_spaces(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let parent = bench.filled(Size(64), PAGES)?;
        let mut spaces = vec![parent.fork()?, parent.fork()?];
        spaces.push(spaces[1].fork()?);
        spaces.push(parent);
        let folio = spaces[0].folio(0);
        same("mappings", folio.mapcount(), 4 * PAGES)?;
        let out = unmap_folio(bench, folio)?;
        must(out.whole, "a mapping is left")?;
        for field in &spaces {
            field.must_look(0, PAGES, "S16")?;
            same("slots", slots(field), slots(&spaces[0]))?;
            same("accounts", field.accounts(), (0, 16))?;
        }
        let first = swap_entry(&spaces[0], 0)?;
        let counts = (0..PAGES).map(|page| bench.memory().swap.count(first.advance(page)));
        must(counts.into_iter().all(|count| count == 4), "a slot has another count than four")?;
        bench.audit()?;
        spaces.iter().try_for_each(|field| field.verify(0, PAGES))?;
        store_over(&spaces[2], 3)?;
        spaces.iter().take(2).try_for_each(|field| field.verify(3, 1))?;
        spaces.into_iter().for_each(Field::exit);
        Ok(())
    })
}

fn swap_entry(field: &Field<'_, '_>, page: usize) -> Result<SwapEntry, String> {
    SwapEntry::from_descriptor(field.entry(page)).map(|swapped| swapped.entry).ok_or(String::from("no swap entry"))
}

/// Read back by a child, mapped by the parent from the cache: the folio belongs where both are.
fn comes_back_shared(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), PAGES)?;
    parent.page_out(0, PAGES)?;
    let (one, other) = (parent.fork()?, parent.fork()?);
    one.load(2, 0)?;
    parent.load(7, 0)?;
    let folio = parent.folio(0);
    must(one.entry(0).frame() == parent.entry(0).frame(), "the page was read twice")?;
    bench.audit()?;
    let out = unmap_folio(bench, folio)?;
    must(out.whole, "a mapping is left")?;
    [&one, &other, &parent].into_iter().try_for_each(|field| field.must_look(0, PAGES, "S16"))?;
    [&one, &other, &parent].into_iter().try_for_each(|field| field.verify(0, PAGES))
}

/// Both sides map the folio; a page that one of them has left is not the other's to write, as the folio is found through both.
fn folio_still_shared(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), PAGES)?;
    let child = parent.fork()?;
    store_over(&parent, 5)?;
    let copies = bench.memory().count().faults_copy.get();
    store_over(&child, 5)?;
    same("copies", bench.memory().count().faults_copy.get() - copies, 1)?;
    for field in [&parent, &child] {
        must_hold_store(field, 5)?;
        field.verify(6, 10)?;
    }
    must(parent.entry(5).frame() != child.entry(5).frame(), "one page for both")
}

fn parent_exits_first(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let parent = bench.filled(Size(64), PAGES)?;
        let child = parent.fork()?;
        let grandchild = child.fork()?;
        parent.exit();
        store_over(&child, 5)?;
        bench.audit()?;
        child.exit();
        grandchild.page_out(0, PAGES)?;
        grandchild.must_look(0, PAGES, "S16")?;
        grandchild.verify(0, PAGES)?;
        store_over(&grandchild, 3)?;
        grandchild.page_out(0, PAGES)?;
        grandchild.verify(4, 12)?;
        must_hold_store(&grandchild, 3)?;
        grandchild.exit();
        Ok(())
    })
}

fn generations(bench: &Bench<'_>) -> Outcome {
    let before = bench.memory().anon.len();
    let mut last = bench.filled(Size(64), PAGES)?;
    for _ in 0..320 {
        let next = last.fork()?;
        next.store(1, 0, b"x")?;
        last.exit();
        last = next;
        must(bench.memory().anon.len() <= before + 3, "anon_vmas grow with the generations")?;
    }
    last.verify(2, 14)?;
    let mut alive = vec![last];
    for _ in 0..320 {
        alive.push(alive[alive.len() - 1].fork()?);
    }
    let (first, last) = (&alive[0], &alive[alive.len() - 1]);
    last.store(2, 0, b"y")?;
    first.verify(2, 1)?;
    last.verify(3, 13)?;
    // Every second one first, so that the others lose ancestors on all sides.
    let mut rest = Vec::new();
    for (number, field) in alive.into_iter().enumerate() {
        if number % 2 == 0 { field.exit() } else { rest.push(field) }
    }
    rest.iter().try_for_each(|field| field.verify(3, 1))?;
    rest.into_iter().for_each(Field::exit);
    same("anon_vmas", bench.memory().anon.len(), before)
}

fn special_entries(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), 2 * PAGES)?;
    parent.unmap(PAGES, PAGES)?;
    let parent = Field::new(bench, parent.space.clone(), parent.start.add_pages(PAGES), PAGES)?;
    parent.store(0, 0, b"x")?;
    parent.advise(0, PAGES, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
    parent.read(0, 2)?;
    parent.must_look(0, 2, "Z2")?;
    let child = parent.fork()?;
    child.must_look(0, 2, "Z2")?;
    child.store(0, 0, b"y")?;
    same("the parent's byte", parent.load(0, 0)?, 0)?;
    parent.fill(0, PAGES)?;
    parent.protect(0, PAGES, Prot::empty())?;
    let second = parent.fork()?;
    second.must_look(0, PAGES, &parent.shape(0, PAGES))?;
    must(second.load(0, 0).is_err(), "the child reads what it may not")?;
    for field in [&parent, &second] {
        field.protect(0, PAGES, read_write())?;
    }
    store_over(&parent, 3)?;
    second.verify(0, PAGES)
}

fn three_hundred(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), PAGES)?;
    parent.page_out(0, PAGES)?;
    let free = bench.memory().swap.free_count();
    let entry = swap_entry(&parent, 3)?;
    let mut children = Vec::new();
    for number in 1..=300 {
        children.push(parent.fork()?);
        same("count", bench.memory().swap.count(entry), number + 1)?;
    }
    bench.audit()?;
    children[299].verify(3, 1)?;
    for child in children {
        child.exit();
    }
    same("count", bench.memory().swap.count(entry), 1)?;
    parent.verify(0, PAGES)?;
    same("free slots", bench.memory().swap.free_count(), free + PAGES)
}

/// A space that was forked and is alone again, with the pages that `take` names written, so that they are its own.
fn taken_back<'b, 'm>(bench: &'b Bench<'m>, take: impl Fn(usize) -> bool) -> Result<Field<'b, 'm>, String> {
    let field = bench.filled(Size(64), PAGES)?;
    field.fork()?.exit();
    for page in (0..PAGES).filter(|&page| take(page)) {
        field.store(page, 0, &field.content(page))?;
    }
    same("exclusive", (0..PAGES).filter(|&page| field.folio(0).is_exclusive(page) == take(page)).count(), PAGES)?;
    Ok(field)
}

fn half_taken_back(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|way| {
        let field = taken_back(bench, |page| page < 8)?;
        let out = unmap_folio(bench, field.folio(0))?;
        if way == "folio" {
            out.cost.must_be(&format!("T={} k=2 U=0", 2 * operations(bench, 8)))?;
        }
        field.must_look(0, PAGES, "E8 S8")?;
        field.verify(0, PAGES)
    })
}

fn taken_back_read_only(bench: &Bench<'_>) -> Outcome {
    let shapes = [(2, "E8 S8"), (16, "E1 S1 E1 S1 E1 S1 E1 S1 E1 S1 E1 S1 E1 S1 E1 S1")];
    bench.each_way(|way| {
        for (runs, shape) in shapes {
            let field = taken_back(bench, |page| if runs == 2 { page < 8 } else { page % 2 == 0 })?;
            field.protect(0, PAGES, Prot::READ)?;
            let out = unmap_folio(bench, field.folio(0))?;
            if way == "folio" {
                out.cost.must_be(&format!("T={} k={runs} b={runs}", operations(bench, PAGES)))?;
            }
            field.must_look(0, PAGES, shape)?;
            field.verify(0, PAGES)?;
        }
        Ok(())
    })
}

fn two_spaces(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|way| {
        let parent = bench.filled(Size(64), PAGES)?;
        let child = parent.fork()?;
        let out = unmap_folio(bench, parent.folio(0))?;
        must(out.whole, "a mapping is left")?;
        out.cost.must_be("b=0")?;
        if way == "folio" {
            out.cost.must_be(&format!("T={} k=2 U=0 W=2", 2 * operations(bench, PAGES)))?;
        }
        for field in [&parent, &child] {
            field.must_look(0, PAGES, "S16")?;
        }
        let first = swap_entry(&parent, 0)?;
        let twice = |&page: &usize| bench.memory().swap.count(first.advance(page)) == 2;
        same("slots that two name", (0..PAGES).filter(twice).count(), PAGES)?;
        child.verify(0, PAGES)?;
        parent.verify(0, PAGES)
    })
}

fn dont_fork_part(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = bench.filled(Size(64), PAGES)?;
        field.advise(4, 12, advice::DONTFORK).map_err(failed("MADV_DONTFORK"))?;
        field.must_look(0, PAGES, "C16")?;
        let child = field.fork()?;
        field.must_look(0, PAGES, "P16")?;
        child.must_look(0, PAGES, "P4 N12")?;
        let out = unmap_folio(bench, field.folio(0))?;
        must(out.whole, "a mapping is left")?;
        field.must_look(0, PAGES, "S4 E12")?;
        child.must_look(0, PAGES, "S4 N12")?;
        field.verify(0, PAGES)?;
        child.verify(0, 4)
    })
}

/// Everything that fork copies in a different way, and more than one table of it.
fn motley<'b, 'm>(bench: &'b Bench<'m>) -> Result<(Field<'b, 'm>, Pinned<'m>), String> {
    let field = bench.field(Size(64), 5 * PAGES)?;
    field.fill(0, 2 * PAGES)?;
    field.page_out(PAGES, PAGES)?;
    field.fill(3 * PAGES, PAGES)?;
    field.read(2 * PAGES, 1)?;
    let other = Field::new(bench, field.space.clone(), field.start.add_bytes(4 * TABLE_SPAN), PAGES)?;
    other.fill(0, PAGES)?;
    let pin = bench.memory().pin_user_pages(&field.space, field.va(3 * PAGES), 1, true);
    Ok((field, pin.map_err(failed("pin"))?))
}

/// Each step of a fork fails, first, second and so on, until there are no more: nothing is left of the child, and the parent has all.
fn unwinds(bench: &Bench<'_>) -> Outcome {
    let memory = bench.memory();
    let (field, pinned) = motley(bench)?;
    let stock = || (memory.frames.free_count(), memory.swap.free_count(), memory.anon.len(), memory.anon.budget.used());
    for point in Point::ALL {
        let known = memory.inject.failures(point);
        let mut failures = known;
        for after in 0..200 {
            let before = stock();
            // A count that finds no room once finds it at the second attempt.
            memory.inject.arm(point, after, if point == Point::SwapDup { Times::Always } else { Times::Once });
            let forked = memory.fork_space(&field.space);
            let struck = memory.inject.failures(point) > failures;
            memory.inject.clear();
            failures = memory.inject.failures(point);
            match forked {
                Err(error) => same("error", error, Errno::ENOMEM)?,
                Ok(child) => memory.destroy_space(&child),
            }
            within(&format!("{point:?} after {after}"), same("stock", stock(), before).and(bench.audit()))?;
            if !struck {
                break;
            }
        }
        let of_pages = matches!(point, Point::TableAlloc | Point::SwapDup | Point::FolioAlloc | Point::Share);
        let expected = of_pages || matches!(point, Point::AnonVma | Point::Extent);
        same(&format!("{point:?} failed"), failures > known, expected)?;
    }
    pinned.unpin();
    field.verify(0, 2 * PAGES)?;
    field.verify(3 * PAGES, PAGES)
}
