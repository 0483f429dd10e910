//! Reference 5.5 and 1.13: a step of a batch fails. What was done stays done, all else is as it was, and nothing is lost.

use alloc::format;
use alloc::string::String;

use mm::inject::{Point, Times};
use mm::swap::SwapEntry;
use mm::vma::Prot;
use mmu::Descriptor;

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same, within};
use crate::cpu::by_hardware;
use crate::family::helpers::{fresh_block, make_old_and_clean};
use crate::field::{Field, Size, advice};
use crate::unmapping::{unmap_folio, unmap_prepared, unmap_uncached};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-RB-1 the first swap count fails", run: first_count_fails },
    Case { name: "T-RB-2 the second of two sub-batches fails", run: second_of_two },
    Case { name: "T-RB-3 the middle of three sub-batches fails", run: middle_of_three },
    Case { name: "T-RB-4 a pin appears after the entries are gone", run: pinned_between },
    Case { name: "T-RB-4 a real pin, and one taken before", run: really_pinned },
    Case { name: "T-RB-5 the last of sixteen sub-batches fails", run: last_of_sixteen },
    Case { name: "T-RB-6 dirty state survives", run: dirty_survives },
    Case { name: "T-RB-7 a read-only batch comes back read-only", run: read_only_stays },
    Case { name: "T-RB-8 a touch after a partial failure", run: touch_afterwards },
    Case { name: "T-RB-10 the second block of two fails", run: second_block },
    Case { name: "T-RB-11 a partial restore waits for its flush", run: restore_waits },
    Case { name: "T-RB-11 gather: entries of a cut block come back", run: gather_restore_waits },
    Case { name: "T-RB-12 a folio outside the swap cache", run: not_in_cache },
    Case { name: "T-RB-14 a thousand failures leak nothing", run: thousand_failures },
    Case { name: "T-RB-15 a count beyond its field", run: high_count },
    Case { name: "T-S-18 the second of two areas fails", run: second_area },
    Case { name: "6 each step, first, middle and last page, 64K and 2M", run: every_step },
];

/// Lets the point fail at page `after`, then unmaps the folio at page 0, which must not succeed.
fn fail(bench: &Bench<'_>, field: &Field<'_, '_>, point: Point, after: usize) -> Result<crate::Columns, String> {
    bench.memory().inject.fail(point, after);
    let out = unmap_folio(bench, field.folio(0))?;
    must(!bench.memory().inject.is_armed(point), "the point was not passed")?;
    must(!out.whole, "the unmap says that nothing is left")?;
    out.cost.must_be("put_back=1")?;
    bench.audit()?;
    Ok(out.cost)
}

/// A folded block, all read-only, of which the pages that `shared` names are not exclusive.
fn read_only<'b, 'm>(
    bench: &'b Bench<'m>,
    size: Size,
    shared: impl Fn(usize) -> bool,
) -> Result<Field<'b, 'm>, String> {
    let field = bench.filled(size, size.pages())?;
    field.protect(0, size.pages(), Prot::READ)?;
    (0..size.pages()).filter(|&page| shared(page)).for_each(|page| field.mark_shared(page, 1));
    Ok(field)
}

fn swap_counts(bench: &Bench<'_>, field: &Field<'_, '_>, entry: SwapEntry) -> usize {
    (0..field.pages).map(|page| bench.memory().swap.count(entry.advance(page))).sum()
}

/// `page` fails at a page, the other ways at a sub-batch: this is for those.
fn whole_ways(bench: &Bench<'_>, work: impl Fn(&str) -> Outcome) -> Outcome {
    for way in ["folio", "gather"] {
        bench.set(&format!("unmap={way}"))?;
        within(way, work(way))?;
    }
    Ok(())
}

fn first_count_fails(bench: &Bench<'_>) -> Outcome {
    whole_ways(bench, |_| {
        let field = fresh_block(bench)?;
        fail(bench, &field, Point::SwapDup, 0)?.must_be("U=0 c=0 f=0")?;
        field.must_look(0, 16, "C16")?;
        let folio = field.folio(0);
        same("references", folio.refs(), 32)?;
        same("mapcount", folio.mapcount(), 16)?;
        same("exclusive", folio.exclusive_run(0, 16), (true, 16))?;
        same("swap counts", swap_counts(bench, &field, folio.swap_entry(0)), 0)?;
        same("accounts", field.accounts(), (16, 0))?;
        field.verify(0, 16)
    })
}

fn second_of_two(bench: &Bench<'_>) -> Outcome {
    whole_ways(bench, |way| {
        let field = read_only(bench, Size(64), |page| page >= 8)?;
        let folio = field.folio(0);
        fail(bench, &field, Point::SwapDup, 8)?;
        field.must_look(0, 16, "E8 P8")?;
        same("references", folio.refs(), 16 + 8)?;
        same("mapcount", folio.mapcount(), 8)?;
        same("accounts", field.accounts(), (8, 8))?;
        same("swap counts", swap_counts(bench, &field, folio.swap_entry(0)), 8)?;
        same("writable", field.how_many(8, 8, Descriptor::is_writable), 0)?;
        same("frames", field.entry(8).frame(), folio.page(8))?;
        within(way, field.verify(0, 16))
    })
}

fn middle_of_three(bench: &Bench<'_>) -> Outcome {
    whole_ways(bench, |_| {
        let field = read_only(bench, Size(64), |page| (4..8).contains(&page))?;
        fail(bench, &field, Point::SwapDup, 4)?;
        // The defect of the posted series left the last eight without entries.
        field.must_look(0, 16, "E4 P12")?;
        must_be_out(bench, &field, 4)?;
        field.verify(0, 16)
    })
}

/// So many pages of the folio that ends a field are swapped out, and everything counts the others as mapped.
fn must_be_out(bench: &Bench<'_>, field: &Field<'_, '_>, out: usize) -> Outcome {
    let (folio, left) = (field.folio(field.pages - 1), field.pages - out);
    same("references and mappings", (folio.refs(), folio.mapcount()), (field.pages + left, left))?;
    same("accounts", field.accounts(), (left as i64, out as i64))?;
    same("swap counts", swap_counts(bench, field, folio.swap_entry(0)), out)
}

fn pinned_between(bench: &Bench<'_>) -> Outcome {
    whole_ways(bench, |_| {
        let field = fresh_block(bench)?;
        fail(bench, &field, Point::Share, 0)?.must_be("U=0 c=0 f=0 b=1")?;
        field.must_look(0, 16, "C16")?;
        must_be_untouched(bench, &field)
    })
}

/// Mapped, exclusive and writable as ever, though in the swap cache.
fn must_be_untouched(bench: &Bench<'_>, field: &Field<'_, '_>) -> Outcome {
    let folio = field.folio(0);
    same("exclusive", folio.exclusive_run(0, field.pages), (true, field.pages))?;
    same("writable", field.how_many(0, field.pages, Descriptor::is_writable), field.pages)?;
    same("swap counts", swap_counts(bench, field, folio.swap_entry(0)), 0)?;
    same("accounts", field.accounts(), (field.pages as i64, 0))?;
    field.verify(0, field.pages)
}

fn really_pinned(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = fresh_block(bench)?;
        let folio = field.folio(0);
        let out = unmap_prepared(bench, folio, |folio| folio.pin(1))?;
        must(folio.unpin(1).is_none(), "the pin was the last reference")?;
        must(!out.whole, "a pinned folio was unmapped")?;
        must_be_untouched(bench, &field)?;
        // Pinned before, the folio is left alone altogether.
        let other = fresh_block(bench)?;
        let folio = other.folio(0);
        folio.pin(1);
        let paged_out = other.page_out(0, 16);
        must(folio.unpin(1).is_none(), "the pin was the last reference")?;
        paged_out?;
        other.must_look(0, 16, "C16")?;
        must(!folio.is_swap_cache(), "a pinned folio got swap slots")
    })
}

fn last_of_sixteen(bench: &Bench<'_>) -> Outcome {
    whole_ways(bench, |_| {
        let field = read_only(bench, Size(64), |page| page % 2 == 1)?;
        fail(bench, &field, Point::SwapDup, 15)?;
        field.must_look(0, 16, "E1 S1 E1 S1 E1 S1 E1 S1 E1 S1 E1 S1 E1 S1 E1 P1")?;
        must_be_out(bench, &field, 15)?;
        field.verify(0, 16)
    })
}

fn dirty_survives(bench: &Bench<'_>) -> Outcome {
    whole_ways(bench, |_| {
        let field = fresh_block(bench)?;
        make_old_and_clean(&field);
        field.with_table(2, |_, slot| bench.memory().door.update(slot, |entry| by_hardware(entry, true)));
        fail(bench, &field, Point::Share, 0)?;
        field.must_look(0, 16, "C16")?;
        let dirty = field.with_table(9, |table, slot| table.get(slot)).is_dirty();
        must(dirty && field.entry(2).is_dirty(), "a write is forgotten")
    })
}

fn read_only_stays(bench: &Bench<'_>) -> Outcome {
    whole_ways(bench, |_| {
        let field = read_only(bench, Size(64), |_| false)?;
        fail(bench, &field, Point::Share, 0)?;
        field.must_look(0, 16, "C16")?;
        same("writable", field.how_many(0, 16, Descriptor::is_writable), 0)?;
        // Beside a writable batch that comes back, too.
        let field = fresh_block(bench)?;
        field.share_pages(8, 8);
        fail(bench, &field, Point::Share, 0)?;
        field.must_look(0, 16, "P16")?;
        same("writable", field.how_many(0, 8, Descriptor::is_writable), 8)?;
        same("writable though shared", field.how_many(8, 8, Descriptor::is_writable), 0)?;
        field.verify(0, 16)
    })
}

fn touch_afterwards(bench: &Bench<'_>) -> Outcome {
    whole_ways(bench, |_| {
        let field = read_only(bench, Size(64), |page| page >= 8)?;
        let folio = field.folio(0);
        let entry = field.entry(0).frame();
        fail(bench, &field, Point::SwapDup, 8)?;
        let minor = bench.memory().count().faults_swap_minor.get();
        field.verify(0, 1)?;
        same("minor faults", bench.memory().count().faults_swap_minor.get() - minor, 1)?;
        same("frame", field.entry(0).frame(), entry)?;
        must(folio.is_exclusive(0), "the page is not exclusive again")?;
        must(folio.is_swap_cache(), "the folio left the swap cache, though slots of it are in use")?;
        same("swap count", bench.memory().swap.count(folio.swap_entry(0)), 0)?;
        field.verify(1, 15)
    })
}

fn second_block(bench: &Bench<'_>) -> Outcome {
    whole_ways(bench, |_| {
        let field = read_only(bench, Size(128), |page| page >= 16)?;
        fail(bench, &field, Point::SwapDup, 20)?.must_be("U=0")?;
        field.must_look(0, 32, "E16 C16")?;
        must_be_out(bench, &field, 16)?;
        field.verify(0, 32)
    })
}

/// The DSB that a partial restore needs, before anything is stored: counted here; the order is the machine's to check.
fn restore_waits(bench: &Bench<'_>) -> Outcome {
    bench.set("unmap=folio")?;
    let part = read_only(bench, Size(64), |page| page >= 8)?;
    fail(bench, &part, Point::SwapDup, 8)?.must_be("I=1 D=1")?;
    let whole = fresh_block(bench)?;
    fail(bench, &whole, Point::SwapDup, 0)?.must_be("I=1 D=0")?;
    bench.set("bbm=elide,assume=noabort")?;
    let elided = read_only(bench, Size(64), |page| page >= 8)?;
    fail(bench, &elided, Point::SwapDup, 8)?.must_be("I=1 D=0")?;
    bench.set("bbm=flush")
}

/// The pages before the first exclusive one stay out, so the rest of a folded block comes back plain. What is owed is flushed first.
fn gather_restore_waits(bench: &Bench<'_>) -> Outcome {
    bench.set("unmap=gather")?;
    let field = read_only(bench, Size(64), |page| page < 8)?;
    field.must_look(0, 16, "C16")?;
    fail(bench, &field, Point::Share, 0)?.must_be("I=1 D=1 U=0 f=1 c=2")?;
    field.must_look(0, 16, "S8 P8")?;
    same("accounts", field.accounts(), (8, 8))?;
    must((8..16).all(|page| field.folio(8).is_exclusive(page)), "a page is no longer exclusive")?;
    field.verify(0, 16)
}

fn not_in_cache(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|way| {
        let field = fresh_block(bench)?;
        must(!unmap_uncached(bench, field.folio(0))?, "a folio without swap slots was unmapped")?;
        let shape = if way == "page" { "P16" } else { "C16" };
        field.must_look(0, 16, shape)?;
        same("accounts", field.accounts(), (16, 0))?;
        field.verify(0, 16)
    })
}

fn thousand_failures(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|way| {
        let field = fresh_block(bench)?;
        bench.memory().inject.arm(Point::SwapDup, 0, Times::Always);
        field.page_out(0, 16)?;
        let slots = bench.memory().swap.free_count();
        (1..1000).try_for_each(|_| field.page_out(0, 16))?;
        bench.memory().inject.clear();
        let shape = if way == "page" { "P16" } else { "C16" };
        field.must_look(0, 16, shape)?;
        same("free slots", bench.memory().swap.free_count(), slots)?;
        same("references", field.folio(0).refs(), 32)?;
        bench.audit()?;
        field.page_out(0, 16)?;
        field.must_look(0, 16, "E16")?;
        field.verify(0, 16)
    })
}

/// What 300 forks of a swapped page would do to its count, and their exits.
fn high_count(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    field.page_out(0, 16)?;
    let memory = bench.memory();
    let swapped = SwapEntry::from_descriptor(field.entry(3)).ok_or("no swap entry")?;
    let free = memory.swap.free_count();
    for count in 1..=300 {
        memory.swap.dup_entries(swapped.entry, 1).map_err(failed("raising a count"))?;
        same("count", memory.swap.count(swapped.entry), count + 1)?;
    }
    for count in (1..=300).rev() {
        let mut orphans = 0;
        memory.swap.put_entries(memory, swapped.entry, 1, |_| orphans += 1);
        same("orphans", orphans, 0)?;
        same("count", memory.swap.count(swapped.entry), count)?;
    }
    same("free slots", memory.swap.free_count(), free)?;
    field.verify(0, 16)
}

/// One area's entries of a block are out, the other's stay: the block may not stay folded in part.
fn second_area(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        for after in [3, 4, 11, 12, 15] {
            let field = fresh_block(bench)?;
            field.advise(4, 12, advice::NOHUGEPAGE).map_err(failed("MADV_NOHUGEPAGE"))?;
            let place = format!("failure after {after}");
            within(&place, fail(bench, &field, Point::SwapDup, after).map(drop))?;
            within(&place, field.verify(0, 16))?;
            field.page_out(0, 16)?;
            within(&place, field.verify(0, 16))?;
        }
        Ok(())
    })
}

fn every_step(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|way| {
        for size in [Size(64), Size(2048)] {
            for point in [Point::SwapDup, Point::Share] {
                for page in [0, size.pages() / 2, size.pages() - 1] {
                    let place = format!("{}K {point:?} at page {page}", size.0);
                    within(&place, one_step(bench, way, size, (point, page)))?;
                }
            }
        }
        Ok(())
    })
}

fn one_step(bench: &Bench<'_>, way: &str, size: Size, (point, page): (Point, usize)) -> Outcome {
    let pages = size.pages();
    let field = bench.filled(size, pages)?;
    fail(bench, &field, point, page)?;
    // `page` has swapped what came before; the block at which it failed stays unfolded. The others do all or nothing.
    let done = if way == "page" { page } else { 0 };
    let plain = if way == "page" { 16 - page % 16 } else { 0 };
    let mut shape = String::new();
    for (kind, count) in [('E', done), ('P', plain), ('C', pages - done - plain)] {
        if count > 0 {
            let between = if shape.is_empty() { "" } else { " " };
            shape += &format!("{between}{kind}{count}");
        }
    }
    field.must_look(0, pages, &shape)?;
    same("accounts", field.accounts(), ((pages - done) as i64, done as i64))?;
    same("writable", field.how_many(done, pages - done, Descriptor::is_writable), pages - done)?;
    field.verify(0, pages)?;
    bench.audit()?;
    field.page_out(0, pages)?;
    field.must_look(0, pages, &format!("E{pages}"))?;
    field.verify(0, pages)?;
    field.unmap(0, pages)
}
