//! Reference 4.17 and T-Z-8 to T-Z-10: mremap. What moves is found again by its program and by reclaim.

use alloc::format;
use alloc::vec::Vec;

use mm::Errno;
use mm::inject::Point;
use mm::remap::{MoveFlags, MoveRequest};
use mm::vma::{AreaFlags, Prot};
use mmu::{Descriptor, PAGE_SIZE, TABLE_SPAN};

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same, within};
use crate::family::helpers::{flush_of, fresh_block, operations};
use crate::field::{Field, Size, advice, read_write};
use crate::unmapping::unmap_folio;

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-Z-8 mremap by a block stays folded", run: by_a_block },
    Case { name: "T-Z-9 mremap by a page is plain", run: by_a_page },
    Case { name: "T-Z-10 mremap of swap entries", run: swap_entries },
    Case { name: "4.1 reclaim finds a folio that moved", run: found_by_reclaim },
    Case { name: "4.1 reclaim finds a folio of which a part moved", run: part },
    Case { name: "4.17 a move keeps the permission of each page", run: mixed_permissions },
    Case { name: "4.17 a move of pages without access", run: without_access },
    Case { name: "4.17 a move of the zero page and of nothing", run: zero_page },
    Case { name: "4.17 a deferred flush is completed first", run: after_a_deferral },
    Case { name: "4.17 a table moves by its entry", run: whole_table },
    Case { name: "4.17 a table moves beside parts of others", run: tables_and_parts },
    Case { name: "4.17 MREMAP_DONTUNMAP leaves empty memory", run: dont_unmap },
    Case { name: "4.17 growing in place and by a move", run: grow },
    Case { name: "4.17 shrinking", run: shrink },
    Case { name: "4.17 a place is congruent where there is one", run: placement },
    Case { name: "4.17 what moved away and back is one area", run: merged },
    Case { name: "4.17 advice moves along", run: advice_moves },
    Case { name: "4.17 no table: all is moved back", run: moved_back },
    Case { name: "4.17 mremap with bad arguments", run: bad_arguments },
];

/// MREMAP_MAYMOVE.
const MAY: MoveFlags = MoveFlags::MAYMOVE;
/// With MREMAP_FIXED.
const FIXED: MoveFlags = MAY.union(MoveFlags::FIXED);
/// With MREMAP_DONTUNMAP.
const KEEP: MoveFlags = MAY.union(MoveFlags::DONTUNMAP);

fn by_a_block(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    let (folio, index) = (field.folio(0), field.folio(0).mapping());
    let (moved, cost) = bench.measure(|| field.move_pages(0, 16, 16));
    same("mremap", moved, Ok(field.va(16).as_u64()))?;
    cost.must_be(&format!("U=0 folds=0 x=16 s=16 walk=0 pending=0 {}", flush_of(bench, 16)))?;
    field.must_look(0, 32, "N16 C16")?;
    same("dirty", field.how_many(16, 16, Descriptor::is_dirty), 16)?;
    same("writable", field.how_many(16, 16, Descriptor::is_writable), 16)?;
    same("the folio's place", folio.mapping(), index)?;
    same("references", (folio.refs(), folio.mapcount()), (16, 16))?;
    same("accounts", field.accounts(), (16, 0))?;
    must(field.load(0, 0).is_err(), "the old addresses are still mapped")?;
    bench.audit()?;
    field.verify_moved(0, 16, 16)
}

fn by_a_page(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = fresh_block(bench)?;
        let (moved, cost) = bench.measure(|| field.move_pages(0, 16, 17));
        moved.map_err(failed("mremap"))?;
        cost.must_be(&format!("U=0 folds=0 x=16 s=16 {}", flush_of(bench, 16)))?;
        field.must_look(0, 33, "N17 P16")?;
        // Out and in again: slots lie as the folio's pages, not as its addresses, so that nothing large may come of it (T-I-4).
        field.page_out(17, 16)?;
        field.must_look(17, 16, "E16")?;
        field.verify_moved(0, 16, 17)?;
        same("folded", field.how_many(17, 16, Descriptor::is_folded), 0)?;
        same("orders", (17..33).map(|page| field.folio(page).order()).max(), Some(0))
    })
}

fn swap_entries(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = fresh_block(bench)?;
        field.page_out(0, 16)?;
        field.space.tlb.flush(bench.memory(), &field.space);
        let before: Vec<_> = (0..16).map(|page| field.entry(page)).collect();
        let (moved, cost) = bench.measure(|| field.move_pages(0, 16, 32));
        moved.map_err(failed("mremap"))?;
        cost.must_be("x=16 s=16 T=0 I=0 D=0 U=0 pending=0")?;
        let after: Vec<_> = (32..48).map(|page| field.entry(page)).collect();
        same("swap entries", after, before)?;
        field.must_look(0, 48, "N32 E16")?;
        same("accounts", field.accounts(), (0, 16))?;
        bench.audit()?;
        field.verify_moved(0, 16, 32)?;
        field.must_look(32, 16, "C16")
    })
}

fn found_by_reclaim(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        for to in [16, 17, 1024] {
            let field = fresh_block(bench)?;
            field.move_pages(0, 16, to).map_err(failed("mremap"))?;
            let out = unmap_folio(bench, field.folio(to))?;
            must(out.whole, "a mapping is left")?;
            field.must_look(to, 16, "E16")?;
            field.verify_moved(0, 16, to)?;
        }
        Ok(())
    })
}

fn part(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = fresh_block(bench)?;
        let (moved, cost) = bench.measure(|| field.move_pages(3, 10, 35));
        moved.map_err(failed("mremap"))?;
        // The block is unfolded once, with its flush; then the ten pages that left it are flushed.
        let flushes = operations(bench, 16) + if bench.has_range() { 1 } else { 10 };
        cost.must_be(&format!("U=1 x=26 s=26 T={flushes} I=2 D=2"))?;
        field.must_look(0, 16, "P3 N10 P3")?;
        field.must_look(35, 10, "P10")?;
        bench.audit()?;
        let out = unmap_folio(bench, field.folio(0))?;
        must(out.whole, "a mapping is left")?;
        field.must_look(0, 16, "E3 N10 E3")?;
        field.must_look(35, 10, "E10")?;
        field.verify(0, 3)?;
        field.verify_moved(3, 10, 35)?;
        field.verify(13, 3)
    })
}

fn mixed_permissions(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    field.share_pages(8, 8);
    let (moved, cost) = bench.measure(|| field.move_pages(0, 16, 16));
    moved.map_err(failed("mremap"))?;
    cost.must_be(&format!("U=0 folds=0 x=16 s=16 {}", flush_of(bench, 16)))?;
    field.must_look(16, 16, "P16")?;
    same("writable", field.how_many(16, 8, Descriptor::is_writable), 8)?;
    same("writable though shared", field.how_many(24, 8, Descriptor::is_writable), 0)?;
    field.verify_moved(0, 16, 16)
}

fn without_access(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    field.protect(0, 16, Prot::empty())?;
    let (moved, cost) = bench.measure(|| field.move_pages(0, 16, 16));
    moved.map_err(failed("mremap"))?;
    // Nothing of them can be cached.
    cost.must_be("U=0 x=16 s=16 T=0 I=0 D=0")?;
    field.must_look(0, 32, "N16 I16")?;
    bench.audit()?;
    field.protect(16, 16, read_write())?;
    field.must_look(16, 16, "C16")?;
    field.verify_moved(0, 16, 16)
}

fn zero_page(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(64), 32)?;
    field.read(4, 2)?;
    let (moved, cost) = bench.measure(|| field.move_pages(0, 32, 48));
    moved.map_err(failed("mremap"))?;
    cost.must_be(&format!("x=2 s=2 {}", flush_of(bench, 2)))?;
    field.must_look(48, 32, "N4 Z2 N26")?;
    field.fill(52, 1)?;
    field.verify(52, 1)?;
    let (moved, cost) = bench.measure(|| field.move_pages(64, 16, 112));
    moved.map_err(failed("mremap of nothing"))?;
    cost.must_be("x=0 s=0 T=0 I=0 D=0")?;
    field.verify_zero(112, 16)
}

fn after_a_deferral(bench: &Bench<'_>) -> Outcome {
    for way in ["page", "folio"] {
        bench.set(&format!("unmap={way}"))?;
        let field = bench.filled(Size(64), 32)?;
        field.page_out(0, 16)?;
        let (moved, cost) = bench.measure(|| field.move_pages(0, 32, 32));
        moved.map_err(failed("mremap"))?;
        within(way, cost.must_be(&format!("pending=1 asid=1 T={} I=2 D=2", 1 + operations(bench, 16))))?;
        field.must_look(32, 32, "E16 C16")?;
        field.verify_moved(0, 32, 32)?;
    }
    Ok(())
}

/// What moving one table costs: its span is flushed, the way to it included; by pages that is more than a flush of all.
fn table_flush(bench: &Bench<'_>) -> &'static str {
    if bench.has_range() { "T=1 walk=1 asid=0 I=1 D=1" } else { "T=1 walk=0 asid=1 I=1 D=1" }
}

fn whole_table(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = bench.filled(Size(64), 512)?;
        let free = bench.memory().frames.free_count();
        let moves = bench.memory().count().tables_moved.get();
        let (moved, cost) = bench.measure(|| field.move_pages(0, 512, 1024));
        moved.map_err(failed("mremap"))?;
        cost.must_be(&format!("r=0 x=0 s=0 U=0 {}", table_flush(bench)))?;
        same("tables moved", bench.memory().count().tables_moved.get() - moves, 1)?;
        same("free frames", bench.memory().frames.free_count(), free)?;
        same("folded", field.how_many(1024, 512, Descriptor::is_folded), 512)?;
        must(field.load(0, 0).is_err(), "the old addresses are still mapped")?;
        bench.audit()?;
        let out = unmap_folio(bench, field.folio(1024 + 160))?;
        must(out.whole, "a mapping is left")?;
        field.must_look(1024 + 160, 16, "E16")?;
        field.verify_moved(0, 512, 1024)
    })
}

/// From the middle of a table to that of another: ends go entry by entry, what lies between by tables.
fn tables_and_parts(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), 1280)?;
    let moves = bench.memory().count().tables_moved.get();
    let (moved, cost) = bench.measure(|| field.move_pages(256, 1024, 2304));
    moved.map_err(failed("mremap"))?;
    same("tables moved", bench.memory().count().tables_moved.get() - moves, 1)?;
    // A flush for each step, and one for the old table of the last part, which is freed.
    cost.must_be("U=0 folds=0 x=512 s=512 I=4 D=4")?;
    same("folded", field.how_many(2304, 1024, Descriptor::is_folded), 1024)?;
    bench.audit()?;
    field.verify(0, 256)?;
    field.verify_moved(256, 1024, 2304)
}

fn dont_unmap(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    let moved = field.remap((0, 16), 16, Some(32), KEEP | MoveFlags::FIXED);
    same("mremap", moved, Ok(field.va(32).as_u64()))?;
    field.must_look(0, 48, "N32 C16")?;
    same("accounts", field.accounts(), (16, 0))?;
    field.fill(0, 16)?;
    bench.audit()?;
    // Both folios have the same place in one anon_vma, at two addresses: reclaim takes each where it is.
    bench.each_way(|_| {
        for page in [0, 32] {
            must(unmap_folio(bench, field.folio(page))?.whole, "a mapping is left")?;
            field.must_look(page, 16, "E16")?;
            field.verify_moved(0, 16, page)?;
        }
        Ok(())
    })?;
    // Without a fixed address the new one is only a wish, and that one is taken.
    let moved = field.remap((0, 16), 16, Some(32), KEEP).map_err(failed("mremap"))?;
    must(field.page_at(moved) != 32, "mremap took what is in use")?;
    field.verify_moved(0, 16, field.page_at(moved))
}

fn grow(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    let (grown, cost) = bench.measure(|| field.remap((0, 16), 32, None, MoveFlags::empty()));
    same("mremap", grown, Ok(field.va(0).as_u64()))?;
    cost.must_be("x=0 s=0 T=0")?;
    same("areas", field.space.layout().read().areas.len(), 1)?;
    field.fill(16, 16)?;
    let _next = Field::new(bench, field.space.clone(), field.va(32), 16)?;
    field.advise(32, 16, advice::NOHUGEPAGE).map_err(failed("MADV_NOHUGEPAGE"))?;
    same("no room", field.remap((0, 32), 48, None, MoveFlags::empty()), Err(Errno::ENOMEM))?;
    let (moved, cost) = bench.measure(|| field.remap((0, 32), 48, None, MAY));
    let now = field.page_at(moved.map_err(failed("mremap"))?);
    cost.must_be(&format!("U=0 folds=0 x=32 s=32 {}", flush_of(bench, 32)))?;
    same("folded", field.how_many(now, 32, Descriptor::is_folded), 32)?;
    field.verify_moved(0, 32, now)?;
    field.verify_zero(now + 32, 16)?;
    must(field.load(0, 0).is_err(), "the old addresses are still mapped")?;
    field.verify_zero(32, 16)
}

fn shrink(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), 48)?;
    let free = bench.memory().frames.free_count();
    let (cut, cost) = bench.measure(|| field.remap((0, 48), 32, None, MoveFlags::empty()));
    same("mremap", cut, Ok(field.va(0).as_u64()))?;
    cost.must_be(&format!("U=0 x=16 s=0 {}", flush_of(bench, 16)))?;
    field.must_look(32, 16, "N16")?;
    same("free frames", bench.memory().frames.free_count(), free + 16)?;
    let moved = field.remap((0, 32), 16, Some(64), FIXED);
    same("mremap", moved, Ok(field.va(64).as_u64()))?;
    field.must_look(0, 80, "N64 C16")?;
    same("accounts", field.accounts(), (16, 0))?;
    field.verify_moved(0, 16, 64)
}

fn placement(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), 1024)?;
    // A block in its place, then what begins in the middle of a block and of a table.
    for (first, count, align) in [(16, 16, 16), (37, 24, 16), (100, 600, 512)] {
        let now = field.remap((first, count), count, None, KEEP).map_err(failed("mremap"))?;
        let like = field.va(first).as_u64();
        same("the new address modulo", (now ^ like) % (align * PAGE_SIZE), 0)?;
        field.verify_moved(first, count, field.page_at(now))?;
    }
    Ok(())
}

fn merged(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), 48)?;
    let areas = || field.space.layout().read().areas.len();
    field.move_pages(16, 16, 64).map_err(failed("mremap"))?;
    same("areas", areas(), 3)?;
    field.move_pages(64, 16, 16).map_err(failed("mremap"))?;
    same("areas", areas(), 1)?;
    field.must_look(0, 48, &field.shape(0, 48))?;
    same("folded", field.how_many(0, 48, Descriptor::is_folded), 48)?;
    // Where nothing was touched the area begins anew at its new address, and joins any neighbour.
    let other = Field::new(bench, field.space.clone(), field.va(1024), 16)?;
    other.move_pages(0, 16, 32).map_err(failed("mremap"))?;
    let next = Field::new(bench, field.space.clone(), other.va(48), 16)?;
    same("areas", areas(), 2)?;
    next.fill(0, 16)?;
    field.verify(0, 48)
}

fn advice_moves(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(64), 32)?;
    field.advise(0, 16, Field::NOHUGEPAGE).map_err(failed("MADV_NOHUGEPAGE"))?;
    field.fill(0, 4)?;
    field.move_pages(0, 16, 64).map_err(failed("mremap"))?;
    let flags = field.space.layout().read().areas.find(field.va(64)).map(|area| area.flags);
    same("flags", flags, Some(AreaFlags::NOHUGEPAGE))?;
    field.fill(68, 4)?;
    same("orders", (64..72).map(|page| field.folio(page).order()).max(), Some(0))?;
    field.verify_moved(0, 4, 64)
}

/// Pages of the field whose move [`moved_back`] lets fail: parts of tables, and whole ones.
const BACK: usize = 1280;

fn moved_back(bench: &Bench<'_>) -> Outcome {
    // Under another entry of the root, and in another place of a block, of a table, or in the same.
    let far = 1 << 27;
    for (to, tables) in [(far + 17, 5), (far + 256, 5), (far, 3)] {
        let field = bench.filled(Size(64), BACK)?;
        field.page_out(64, 64)?;
        // A block that a border of the new tables cuts may come back plain.
        let entries = || -> Vec<_> { (0..BACK).map(|page| field.entry(page).with_contiguous(false)).collect() };
        let before = entries();
        let (free, accounts) = (bench.memory().frames.free_count(), field.accounts());
        let mut failures = 0;
        loop {
            bench.memory().inject.fail(Point::TableAlloc, failures);
            let moved = field.move_pages(0, BACK, to);
            if moved.is_ok() {
                break;
            }
            failures += 1;
            same("mremap", moved, Err(Errno::ENOMEM))?;
            must(entries() == before, &format!("failure {failures}: the entries are not as they were"))?;
            same("free frames", bench.memory().frames.free_count(), free)?;
            same("accounts", field.accounts(), accounts)?;
            same("areas", field.space.layout().read().areas.len(), 1)?;
            bench.audit()?;
        }
        bench.memory().inject.clear();
        same("tables that could be missing", failures, tables)?;
        same("free frames before the pages are read", bench.memory().frames.free_count(), free)?;
        field.verify_moved(0, BACK, to)?;
    }
    Ok(())
}

fn bad_arguments(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), 32)?;
    let start = field.start.as_u64();
    let page = PAGE_SIZE;
    let block = 16 * page;
    let call = |old, old_length, new_length, flags, new_address| {
        let request =
            MoveRequest { old, old_length, new_length, flags: MoveFlags::from_bits_retain(flags), new_address };
        bench.memory().mremap(&field.space, request)
    };
    let (may, fixed, keep) = (MAY.bits(), FIXED.bits(), KEEP.bits());
    let refused = |what: &str, result, error| same(what, result, Err(error));
    refused("unaligned", call(start + 1, page, page, may, 0), Errno::EINVAL)?;
    refused("unknown flag", call(start, page, page, 8, 0), Errno::EINVAL)?;
    refused("unknown high flag", call(start, page, page, 1 << 40, 0), Errno::EINVAL)?;
    refused("nothing wanted", call(start, page, 0, may, 0), Errno::EINVAL)?;
    refused("everything wanted", call(start, page, u64::MAX, may, 0), Errno::EINVAL)?;
    refused("beyond all", call(start, page, 1 << 50, may, 0), Errno::EINVAL)?;
    refused("fixed without leave", call(start, block, block, MoveFlags::FIXED.bits(), start + block), Errno::EINVAL)?;
    refused("kept without leave", call(start, block, block, MoveFlags::DONTUNMAP.bits(), 0), Errno::EINVAL)?;
    refused("kept and resized", call(start, block, page, keep, 0), Errno::EINVAL)?;
    refused("unaligned target", call(start, block, block, fixed, start + block + 1), Errno::EINVAL)?;
    refused("overlap above", call(start, block, block, fixed, start + page), Errno::EINVAL)?;
    refused("overlap below", call(start + page, block, block, fixed, start), Errno::EINVAL)?;
    refused("target beyond all", call(start, block, block, fixed, (1 << 48) - page), Errno::EINVAL)?;
    refused("target too low", call(start, block, block, fixed, page), Errno::EPERM)?;
    refused("a copy of private memory", call(start, 0, page, may, 0), Errno::EINVAL)?;
    refused("a hole", call(start - page, page, 2 * page, may, 0), Errno::EFAULT)?;
    refused("beyond the area", call(start, 3 * block, 4 * block, may, 0), Errno::EFAULT)?;
    refused("more than there is", call(start, 2 * block, 1 << 48, may, 0), Errno::ENOMEM)?;
    field.protect(0, 16, Prot::READ)?;
    refused("two areas", call(start, 2 * block, 2 * block, fixed, start + TABLE_SPAN), Errno::EFAULT)?;
    // But a tail may be cut off whatever it is made of.
    same("a cut", call(start, 4 * block, page, 0, 0), Ok(start))?;
    field.must_look(1, 31, "N31")?;
    field.verify(0, 1)
}
