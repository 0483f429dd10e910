//! Reference 5.6, 4.13 and 4.14: MADV_FREE and what reclaim makes of it, droppable areas, MADV_COLD.

use alloc::format;
use alloc::string::String;

use mm::Errno;
use mm::inject::Point;
use mm::lru::LruList;
use mm::map::{MapFlags, MapRequest};
use mm::swap::SwapEntry;
use mm::vma::{AreaFlags, Prot};
use mmu::Descriptor;

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same, within};
use crate::cpu::by_hardware;
use crate::family::helpers::{flush_of, fresh_block, operations};
use crate::field::{Field, Size, advice, read_write};
use crate::unmapping::discard_folio;

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-L-1 a freed block is discarded", run: discarded },
    Case { name: "T-L-1 by MADV_PAGEOUT", run: paged_out },
    Case { name: "T-L-1 two folios and a swap-backed one share a batch", run: mixed_batch },
    Case { name: "T-L-2 a write after MADV_FREE keeps the folio", run: written_since },
    Case { name: "T-L-2 page by page, pages before the written one are gone", run: written_since_by_page },
    Case { name: "T-L-3 a reference keeps a freed folio, which stays freed", run: referenced },
    Case { name: "T-L-3 a pin keeps a freed folio", run: pinned },
    Case { name: "T-L-4 a droppable area is dropped, written or not", run: droppable },
    Case { name: "T-L-5 a reference keeps a droppable folio, which never swaps", run: droppable_referenced },
    Case { name: "T-L-6 MADV_FREE of swap entries", run: swapped },
    Case { name: "T-L-7 MADV_FREE of half a block splits the folio", run: half },
    Case { name: "T-RB-12 a freed folio with swap slots is refused", run: freed_with_slots },
    Case { name: "4.14 MADV_FREE of all kinds of entries", run: all_kinds },
    Case { name: "4.14 MADV_FREE takes the slots of a folio in the swap cache", run: cached },
    Case { name: "4.14 MADV_FREE leaves a folio that a swap entry needs", run: others },
    Case { name: "4.14 half a freed block read-only, the other half writable", run: two_batches },
    Case { name: "4.14 areas that MADV_FREE and MADV_COLD do not suit", run: refused },
    Case { name: "4.13 MADV_COLD makes a block old and its folio inactive", run: cold },
    Case { name: "MAP_DROPPABLE is private, unreserved, and wiped by fork", run: droppable_flags },
];

/// Every way, with lazily freed folios discarded whole and page by page.
fn each_way(bench: &Bench<'_>, work: impl Fn(&str, &str) -> Outcome) -> Outcome {
    bench.each_way(|way| {
        ["folio", "page"].into_iter().try_for_each(|unit| {
            bench.set(&format!("lazyfree={unit}"))?;
            within(unit, work(way, unit))
        })
    })
}

/// Every way, with lazily freed folios discarded whole.
fn each_whole(bench: &Bench<'_>, work: impl Fn(&str) -> Outcome) -> Outcome {
    each_way(bench, |way, unit| if unit == "folio" { work(way) } else { Ok(()) })
}

fn free(field: &Field<'_, '_>, first: usize, count: usize) -> Outcome {
    field.advise(first, count, advice::FREE).map_err(failed("MADV_FREE"))
}

/// A folded block of which MADV_FREE has given up all pages.
fn freed_block<'b, 'm>(bench: &'b Bench<'m>) -> Result<Field<'b, 'm>, String> {
    let field = fresh_block(bench)?;
    free(&field, 0, 16)?;
    field.must_look(0, 16, "C16")?;
    must(!field.folio(0).is_swap_backed(), "the folio still wants swap")?;
    Ok(field)
}

/// What the folio at page 0 must be after an attempt: mapped by one block as before, swap-backed or not.
fn must_be_kept(field: &Field<'_, '_>, swap_backed: bool, dirty: bool) -> Outcome {
    field.must_look(0, 16, "C16")?;
    let folio = field.folio(0);
    same("swap-backed", folio.is_swap_backed(), swap_backed)?;
    must(!folio.is_swap_cache(), "the folio got swap slots")?;
    same("references", folio.refs(), 16)?;
    same("mapcount", folio.mapcount(), 16)?;
    same("accounts", field.accounts(), (16, 0))?;
    same("writable", field.how_many(0, 16, Descriptor::is_writable), 16)?;
    same("dirty", field.how_many(0, 16, Descriptor::is_dirty), if dirty { 16 } else { 0 })
}

fn discarded(bench: &Bench<'_>) -> Outcome {
    each_way(bench, |way, unit| {
        let field = fresh_block(bench)?;
        let (done, cost) = bench.measure(|| free(&field, 0, 16));
        done?;
        cost.must_be(&format!("U=0 x=0 s=0 {}", flush_of(bench, 16)))?;
        field.must_look(0, 16, "C16")?;
        same("dirty", field.how_many(0, 16, Descriptor::is_dirty), 0)?;
        same("young", field.how_many(0, 16, Descriptor::is_young), 0)?;
        same("writable", field.how_many(0, 16, Descriptor::is_writable), 16)?;
        let out = discard_folio(bench, field.folio(0))?;
        must(out.whole, "a mapping is left")?;
        let (block, one) = (operations(bench, 16), operations(bench, 1));
        match (way, unit) {
            (_, "folio") if way != "gather" => {
                out.cost.must_be(&format!("g=2 x=16 s=0 T={block} I=1 D=1 U=0 W=1 k=0 c=1 b=1 f=1 n=1"))?;
            }
            (_, "folio") => out.cost.must_be(&format!("g=0 x=16 s=0 T={block} I=1 D=1 U=0 W=1 k=0 c=1 b=1 f=1 n=1"))?,
            // The first page unfolds the block.
            ("gather", _) => {
                out.cost.must_be(&format!("x=32 s=16 T={} I=2 D=2 U=1 W=1 k=0 c=16 b=16 f=16 n=1", 2 * block))?;
            }
            _ => out
                .cost
                .must_be(&format!("x=32 s=16 T={} I=17 D=2 U=1 W=17 k=0 c=16 b=16 f=16 n=16", block + 16 * one))?,
        }
        field.must_look(0, 16, "N16")?;
        same("accounts", field.accounts(), (0, 0))?;
        field.verify_zero(0, 16)
    })
}

fn paged_out(bench: &Bench<'_>) -> Outcome {
    each_way(bench, |_, _| {
        let (memory, count) = (bench.memory(), bench.memory().count());
        let slots = memory.swap.free_count();
        let field = freed_block(bench)?;
        let (frames, freed) = (memory.frames.free_count(), count.pglazyfreed.get());
        let out = count.pages_swapped_out.get();
        field.page_out(0, 16)?;
        field.must_look(0, 16, "N16")?;
        same("pages discarded", count.pglazyfreed.get() - freed, 16)?;
        same("pages swapped out", count.pages_swapped_out.get() - out, 0)?;
        same("free slots", memory.swap.free_count(), slots)?;
        same("free frames", memory.frames.free_count(), frames + 16)?;
        same("accounts", field.accounts(), (0, 0))?;
        field.verify_zero(0, 16)?;
        field.fill(0, 16)?;
        field.verify(0, 16)
    })
}

/// In `gather` what is discarded shares the flush of what is swapped out.
fn mixed_batch(bench: &Bench<'_>) -> Outcome {
    each_whole(bench, |way| {
        let field = bench.filled(Size(64), 48)?;
        free(&field, 0, 16)?;
        free(&field, 32, 16)?;
        let (done, cost) = bench.measure(|| field.page_out(0, 48));
        done?;
        field.must_look(0, 48, "N16 E16 N16")?;
        same("accounts", field.accounts(), (0, 16))?;
        if way == "gather" {
            // Their addresses are one run.
            let flushes = if bench.has_range() { 1 } else { 48 };
            cost.must_be(&format!("T={flushes} I=1 D=1 U=0 x=48 s=0 k=1"))?;
        } else if way == "folio" {
            cost.must_be(&format!("T={} I=3 D=3 U=0 x=48 s=16 k=1", 3 * operations(bench, 16)))?;
        }
        field.verify_zero(0, 16)?;
        field.verify(16, 16)?;
        field.verify_zero(32, 16)
    })
}

/// The write is recorded by hardware, or by a fault that allocates nothing; then all pages keep what they held.
fn written_since(bench: &Bench<'_>) -> Outcome {
    each_whole(bench, |_| {
        let field = freed_block(bench)?;
        let count = bench.memory().count();
        let (free_frames, copies) = (bench.memory().frames.free_count(), count.faults_copy.get());
        field.fill(3, 1)?;
        same("free frames", bench.memory().frames.free_count(), free_frames)?;
        same("copies", count.faults_copy.get() - copies, 0)?;
        must(field.with_table(9, |table, slot| table.get(slot)).is_dirty(), "the write was not recorded")?;
        let (done, cost) = bench.measure(|| field.page_out(0, 16));
        done?;
        cost.must_be(&format!("put_back=1 U=0 folds=0 T={} I=1 D=1 k=0 c=0 f=0", operations(bench, 16)))?;
        must_be_kept(&field, true, true)?;
        field.verify(0, 16)?;
        field.page_out(0, 16)?;
        field.must_look(0, 16, "E16")?;
        field.verify(0, 16)
    })
}

fn written_since_by_page(bench: &Bench<'_>) -> Outcome {
    bench.set("lazyfree=page")?;
    bench.each_way(|_| {
        let field = freed_block(bench)?;
        field.rest();
        field.unfold(0);
        field.with_table(3, |_, slot| bench.memory().door.update(slot, |entry| by_hardware(entry, true)));
        field.page_out(0, 16)?;
        field.must_look(0, 16, "N3 P13")?;
        must(field.folio(3).is_swap_backed(), "the folio is not swap-backed again")?;
        same("accounts", field.accounts(), (13, 0))?;
        field.verify_zero(0, 3)?;
        field.verify(3, 13)
    })
}

fn referenced(bench: &Bench<'_>) -> Outcome {
    each_whole(bench, |_| {
        let field = freed_block(bench)?;
        let folio = field.folio(0);
        folio.get(1);
        let paged_out = field.page_out(0, 16);
        must(folio.put(1).is_none(), "the reference was the last")?;
        paged_out?;
        must_be_kept(&field, false, false)?;
        same("list", lists(bench), [(0, 0), (0, 0), (1, 16)])?;
        field.page_out(0, 16)?;
        field.must_look(0, 16, "N16")?;
        field.verify_zero(0, 16)
    })
}

/// Folios and pages on the inactive and active anonymous list, and on that of lazily freed memory.
fn lists(bench: &Bench<'_>) -> [(usize, usize); 3] {
    [LruList::InactiveAnon, LruList::ActiveAnon, LruList::LazyFree].map(|list| bench.memory().lru.size(list))
}

fn pinned(bench: &Bench<'_>) -> Outcome {
    each_way(bench, |_, _| {
        let field = freed_block(bench)?;
        let folio = field.folio(0);
        folio.pin(1);
        let paged_out = field.page_out(0, 16);
        must(folio.unpin(1).is_none(), "the pin was the last reference")?;
        paged_out?;
        must_be_kept(&field, false, false)
    })
}

/// A written block of a droppable area.
fn droppable_block<'b, 'm>(bench: &'b Bench<'m>) -> Result<Field<'b, 'm>, String> {
    bench.set_size(Size(64));
    let field = Field::of_kind(bench, bench.space()?, Field::BASE, 16, MapFlags::DROPPABLE)?;
    field.fill(0, 16)?;
    field.must_look(0, 16, "C16")?;
    must(!field.folio(0).is_swap_backed(), "a page of a droppable area wants swap")?;
    Ok(field)
}

fn droppable(bench: &Bench<'_>) -> Outcome {
    each_way(bench, |_, _| {
        for written in [true, false] {
            let field = droppable_block(bench)?;
            if !written {
                free(&field, 0, 16)?;
            }
            let (slots, freed) = (bench.memory().swap.free_count(), bench.memory().count().pglazyfreed.get());
            field.page_out(0, 16)?;
            field.must_look(0, 16, "N16")?;
            same("pages dropped", bench.memory().count().pglazyfreed.get() - freed, 16)?;
            same("free slots", bench.memory().swap.free_count(), slots)?;
            same("accounts", field.accounts(), (0, 0))?;
            field.verify_zero(0, 16)?;
        }
        Ok(())
    })
}

fn droppable_referenced(bench: &Bench<'_>) -> Outcome {
    each_whole(bench, |_| {
        let field = droppable_block(bench)?;
        let folio = field.folio(0);
        folio.get(1);
        let paged_out = field.page_out(0, 16);
        must(folio.put(1).is_none(), "the reference was the last")?;
        paged_out?;
        must_be_kept(&field, false, true)?;
        field.verify(0, 16)?;
        field.page_out(0, 16)?;
        field.must_look(0, 16, "N16")
    })
}

fn swapped(bench: &Bench<'_>) -> Outcome {
    each_whole(bench, |_| {
        let slots = bench.memory().swap.free_count();
        let field = fresh_block(bench)?;
        field.page_out(0, 16)?;
        field.must_look(0, 16, "E16")?;
        field.space.tlb.flush(bench.memory(), &field.space);
        let (done, cost) = bench.measure(|| free(&field, 0, 16));
        done?;
        cost.must_be("g=1 T=0 I=0 D=0 x=16")?;
        field.must_look(0, 16, "N16")?;
        same("accounts", field.accounts(), (0, 0))?;
        same("free slots", bench.memory().swap.free_count(), slots)?;
        field.verify_zero(0, 16)
    })
}

fn half(bench: &Bench<'_>) -> Outcome {
    each_whole(bench, |_| {
        let field = fresh_block(bench)?;
        free(&field, 0, 8)?;
        field.must_look(0, 16, "P16")?;
        same("folio orders", (field.folio(0).order(), field.folio(15).order()), (0, 0))?;
        let backed = (0..16).filter(|&page| field.folio(page).is_swap_backed()).count();
        same("pages that want swap", backed, 8)?;
        field.page_out(0, 16)?;
        same("swapped", field.how_many(8, 8, Descriptor::is_swap), 8)?;
        field.must_look(0, 8, "N8")?;
        field.verify_zero(0, 8)?;
        field.verify(8, 8)
    })
}

/// It can not be, so it is made by hand: neither discarded nor swapped out.
fn freed_with_slots(bench: &Bench<'_>) -> Outcome {
    each_way(bench, |way, unit| {
        let field = fresh_block(bench)?;
        let warned = bench.memory().count().unmap_warnings.get();
        let folio = field.folio(0);
        let out = crate::unmapping::unmap_prepared(bench, folio, |folio| folio.set_swap_backed(false))?;
        folio.set_swap_backed(true);
        must(!out.whole, "the folio was unmapped")?;
        same("warnings", bench.memory().count().unmap_warnings.get() - warned, 1)?;
        out.cost.must_be("put_back=1 k=0 c=0 f=0")?;
        field.must_look(0, 16, if way != "gather" && unit == "page" { "P16" } else { "C16" })?;
        bench.memory().lru.refile(folio);
        field.page_out(0, 16)?;
        field.must_look(0, 16, "E16")?;
        field.verify(0, 16)
    })
}

/// Present, swapped, of the zero page, and none.
fn all_kinds(bench: &Bench<'_>) -> Outcome {
    each_whole(bench, |_| {
        let slots = bench.memory().swap.free_count();
        let field = bench.field(Size(64), 64)?;
        field.fill(0, 32)?;
        field.read(40, 4)?;
        field.page_out(16, 16)?;
        field.must_look(0, 64, "C16 E16 N8 Z4 N20")?;
        free(&field, 0, 64)?;
        field.must_look(0, 64, "C16 N24 Z4 N20")?;
        same("accounts", field.accounts(), (16, 0))?;
        same("free slots", bench.memory().swap.free_count(), slots)?;
        field.page_out(0, 64)?;
        field.must_look(0, 64, "N40 Z4 N20")?;
        field.verify_zero(0, 64)
    })
}

/// Left in the swap cache by an attempt that failed, the folio has slots that nobody needs.
fn cached(bench: &Bench<'_>) -> Outcome {
    each_whole(bench, |_| {
        let slots = bench.memory().swap.free_count();
        let field = fresh_block(bench)?;
        bench.memory().inject.fail(Point::Share, 0);
        field.page_out(0, 16)?;
        let folio = field.folio(0);
        must(folio.is_swap_cache(), "the folio is not in the swap cache")?;
        free(&field, 0, 16)?;
        must(!folio.is_swap_cache() && !folio.is_dirty() && !folio.is_swap_backed(), "a copy is kept")?;
        same("free slots", bench.memory().swap.free_count(), slots)?;
        field.page_out(0, 16)?;
        field.must_look(0, 16, "N16")
    })
}

/// Somebody's swap entry needs the contents still.
fn others(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    let folio = field.folio(0);
    bench.memory().inject.fail(Point::Share, 0);
    field.page_out(0, 16)?;
    let entry = folio.swap_entry(3);
    bench.memory().swap.dup_entries(entry, 1).map_err(failed("a swap count"))?;
    let freed = free(&field, 0, 16);
    bench.memory().swap.put_entries(bench.memory(), entry, 1, |_| {});
    freed?;
    must(folio.is_swap_backed() && folio.is_swap_cache(), "a folio that a swap entry needs was freed")?;
    must(field.entry(0).is_dirty(), "an entry lost its dirty state")?;
    field.verify(0, 16)
}

/// Each batch is decided by itself; the write bit is not mixed, so a batch that comes back is what it was.
fn two_batches(bench: &Bench<'_>) -> Outcome {
    each_whole(bench, |way| {
        let field = freed_block(bench)?;
        field.protect(8, 8, Prot::READ)?;
        field.must_look(0, 16, "P16")?;
        let folio = field.folio(0);
        folio.get(1);
        let kept = discard_folio(bench, folio);
        must(folio.put(1).is_none(), "the reference was the last")?;
        must(!kept?.whole, "a folio that somebody refers to was unmapped")?;
        field.must_look(0, 16, "P16")?;
        same("writable", field.how_many(0, 16, Descriptor::is_writable), 8)?;
        let out = discard_folio(bench, folio)?;
        // The protection made two areas: each has a walk of its own, and a flush before it gives the table's lock up.
        let (flushes, waits) = if way == "gather" { (operations(bench, 16), 1) } else { (2 * operations(bench, 8), 2) };
        out.cost.must_be(&format!("T={flushes} D={waits} U=0 x=16 f=2 c=2"))?;
        field.must_look(0, 16, "N16")
    })
}

fn refused(bench: &Bench<'_>) -> Outcome {
    let space = bench.space()?;
    let locked = Field::of_kind(bench, space, Field::BASE, 16, MapFlags::PRIVATE | MapFlags::LOCKED)?;
    for advice in [advice::FREE, advice::COLD] {
        same("a locked area", locked.advise(0, 16, advice), Err(Errno::EINVAL))?;
    }
    let field = Field::new(bench, locked.space.clone(), locked.va(16), 16)?;
    field.fill(0, 16)?;
    for advice in [advice::FREE, advice::COLD] {
        same("a hole behind it", field.advise(0, 32, advice), Err(Errno::ENOMEM))?;
    }
    must(!field.folio(0).is_swap_backed(), "nothing was done before the hole")
}

fn cold(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    let folio = field.folio(0);
    folio.set_active(true);
    folio.set_referenced(true);
    bench.memory().lru.refile(folio);
    let (done, cost) = bench.measure(|| field.advise(0, 16, advice::COLD));
    done.map_err(failed("MADV_COLD"))?;
    cost.must_be(&format!("g=1 U=0 x=0 s=0 {}", flush_of(bench, 16)))?;
    field.must_look(0, 16, "C16")?;
    same("young", field.how_many(0, 16, Descriptor::is_young), 0)?;
    same("dirty", field.how_many(0, 16, Descriptor::is_dirty), 16)?;
    same("lists", lists(bench), [(1, 16), (0, 0), (0, 0)])?;
    must(!folio.is_active() && !folio.is_referenced() && folio.is_swap_backed(), "the folio is not inactive")?;
    let (again, cost) = bench.measure(|| field.advise(0, 16, advice::COLD));
    again.map_err(failed("MADV_COLD"))?;
    cost.must_be("T=0 I=0 D=0 cas=0")?;
    field.verify(0, 16)?;
    must(field.entry(0).is_young(), "an access did not make the page young")
}

fn droppable_flags(bench: &Bench<'_>) -> Outcome {
    let space = bench.space()?;
    let field = Field::of_kind(bench, space.clone(), Field::BASE, 16, MapFlags::DROPPABLE)?;
    let flags = space.layout().read().areas.find(field.va(0)).map(|area| area.flags);
    same("flags", flags, Some(AreaFlags::DROPPABLE | AreaFlags::WIPEONFORK | AreaFlags::NORESERVE))?;
    for more in [MapFlags::LOCKED, MapFlags::HUGETLB, MapFlags::GROWSDOWN] {
        let request = MapRequest {
            address: 0,
            length: 0x1_0000,
            prot: read_write(),
            flags: MapFlags::DROPPABLE | MapFlags::ANONYMOUS | more,
        };
        same("MAP_DROPPABLE and more", bench.memory().mmap(&space, request), Err(Errno::EINVAL))?;
    }
    same("MADV_KEEPONFORK", field.advise(0, 16, advice::KEEPONFORK), Err(Errno::EINVAL))?;
    // Nothing of it is ever named by a swap entry.
    field.fill(0, 16)?;
    field.page_out(0, 16)?;
    let swapped = |entry| SwapEntry::from_descriptor(entry).is_some();
    same("swap entries", field.how_many(0, 16, swapped), 0)
}
