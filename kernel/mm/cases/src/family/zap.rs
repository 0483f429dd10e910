//! Reference 5.8: munmap, MADV_DONTNEED, mprotect, exit; and madvise with bad arguments (T-P-5).

use alloc::format;

use mm::Errno;
use mm::vma::Prot;
use mmu::Descriptor;

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same};
use crate::family::helpers::{flush_of, fresh_block, operations};
use crate::field::{Field, Size, advice, read_write};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-Z-1 munmap of a whole folio", run: whole_folio },
    Case { name: "T-Z-1 munmap of all frees the tables", run: frees_tables },
    Case { name: "T-Z-1 munmap of one table's span frees it", run: frees_one_table },
    Case { name: "T-Z-2 MADV_DONTNEED of a part", run: part },
    Case { name: "T-Z-3 munmap of swap entries", run: swap_entries },
    Case { name: "T-Z-3 munmap while the folio is cached", run: cached },
    Case { name: "T-Z-4 exit flushes once", run: exit },
    Case { name: "T-Z-4 exit flushes once, whatever others use too", run: exit_shared },
    Case { name: "T-Z-1 munmap of many shared folios flushes once", run: unmap_shared },
    Case { name: "T-Z-5 mprotect of a whole block", run: protect_whole },
    Case { name: "T-Z-6 mprotect of one page", run: protect_one },
    Case { name: "T-Z-7 writable again where exclusive", run: protect_half_shared },
    Case { name: "4.4 a write to a page that is not exclusive copies", run: copy_on_write },
    Case { name: "4.5 a write to an exclusive, read-only page stays in place", run: reuse },
    Case { name: "T-P-5 madvise with bad arguments", run: bad_arguments },
    Case { name: "T-P-4 a locked area is not paged out", run: locked_area },
];

fn whole_folio(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), 32)?;
    let free = bench.memory().frames.free_count();
    let (done, cost) = bench.measure(|| field.unmap(0, 16));
    done?;
    cost.must_be(&format!("U=0 x=16 s=0 walk=0 pending=0 {}", flush_of(bench, 16)))?;
    field.must_look(0, 32, "N16 C16")?;
    same("free frames", bench.memory().frames.free_count(), free + 16)?;
    same("accounts", field.accounts(), (16, 0))?;
    field.verify(16, 16)
}

fn frees_tables(bench: &Bench<'_>) -> Outcome {
    let free = bench.memory().frames.free_count();
    let field = bench.filled(Size(64), 1024)?;
    let (done, cost) = bench.measure(|| field.unmap(0, 1024));
    done?;
    cost.must_be("U=0 x=1024 I=1 D=1 pending=0")?;
    must(cost.get("walk") + cost.get("asid") > 0, "tables went without a flush of walk caches")?;
    // The root alone is left.
    same("free frames", bench.memory().frames.free_count(), free - 1)
}

/// The tables above stay, so that the flush is one of addresses: it must include walk caches.
fn frees_one_table(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), 1024)?;
    let free = bench.memory().frames.free_count();
    let (done, cost) = bench.measure(|| field.unmap(0, 512));
    done?;
    let flush = if bench.has_range() { "T=1 walk=1 asid=0" } else { "T=1 walk=0 asid=1" };
    cost.must_be(&format!("U=0 x=512 I=1 D=1 {flush}"))?;
    same("free frames", bench.memory().frames.free_count(), free + 512 + 1)?;
    field.verify(512, 512)
}

fn part(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    let folio = field.folio(0);
    let memory = bench.memory();
    let deferred = memory.count().split_deferred.get();
    let (done, cost) = bench.measure(|| field.advise(3, 10, advice::DONTNEED));
    done.map_err(failed("MADV_DONTNEED"))?;
    let flushes = operations(bench, 16) + if bench.has_range() { 1 } else { 10 };
    cost.must_be(&format!("U=1 T={flushes} walk=0 I=2 D=2"))?;
    field.must_look(0, 16, "P3 N10 P3")?;
    same("mapped pages", folio.mapped_pages(), 6)?;
    same("references", folio.refs(), 6)?;
    same("split_deferred", memory.count().split_deferred.get() - deferred, 1)?;
    same("on the queue for a split", (folio.is_partially_mapped(), memory.deferred.len()), (true, 1))?;
    same("accounts", field.accounts(), (6, 0))?;
    field.verify(0, 3)?;
    field.verify_zero(3, 10)?;
    field.verify(13, 3)
}

fn swap_entries(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = bench.filled(Size(64), 32)?;
        field.page_out(0, 16)?;
        field.space.tlb.flush(bench.memory(), &field.space);
        let free = bench.memory().swap.free_count();
        let (done, cost) = bench.measure(|| field.unmap(0, 16));
        done?;
        cost.must_be("T=0 D=0 I=0 U=0")?;
        field.must_look(0, 32, "N16 C16")?;
        same("free slots", bench.memory().swap.free_count(), free + 16)?;
        same("accounts", field.accounts(), (16, 0))
    })
}

fn cached(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let (free, slots) = (bench.memory().frames.free_count(), bench.memory().swap.free_count());
        let field = bench.filled(Size(64), 16)?;
        crate::unmapping::unmap_folio(bench, field.folio(0))?;
        field.unmap(0, 16)?;
        same("free slots", bench.memory().swap.free_count(), slots)?;
        same("free frames", bench.memory().frames.free_count(), free - 1)
    })
}

fn exit(bench: &Bench<'_>) -> Outcome {
    let memory = bench.memory();
    let free = memory.frames.free_count();
    let slots = memory.swap.free_count();
    let space = memory.create_space().map_err(failed("a space"))?;
    bench.set_size(Size(64));
    let field = Field::new(bench, space.clone(), Field::BASE, 1024)?;
    field.fill(0, 64)?;
    field.touch(512, 64)?;
    field.page_out(0, 16)?;
    field.space.tlb.flush(memory, &space);
    bench.cpu().leave(memory);
    let ((), cost) = bench.measure(|| memory.destroy_space(&space));
    cost.must_be("T=1 asid=1 I=1 D=1 U=0")?;
    same("free frames", memory.frames.free_count(), free)?;
    same("free slots", memory.swap.free_count(), slots)
}

/// Pages of the folios that a child shares with its parent below.
const SHARED: usize = 24 * 16;

fn exit_shared(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), SHARED)?;
    let free = bench.memory().frames.free_count();
    let child = parent.fork()?;
    child.touch(0, SHARED)?;
    let ((), cost) = bench.measure(|| child.exit());
    cost.must_be("T=1 asid=1 I=1 D=1 U=0")?;
    same("free frames", bench.memory().frames.free_count(), free)?;
    parent.verify(0, SHARED)
}

fn unmap_shared(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), SHARED)?;
    let child = parent.fork()?;
    child.touch(0, SHARED)?;
    let (done, cost) = bench.measure(|| child.unmap(0, SHARED));
    done?;
    // A table goes as well, so that without range TLBI the whole ASID is flushed.
    cost.must_be(&format!("U=0 x={SHARED} T=1 I=1 D=1"))?;
    same("references", parent.folio(0).refs(), 16)?;
    parent.verify(0, SHARED)
}

fn protect_whole(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    let (done, cost) = bench.measure(|| field.protect(0, 16, Prot::READ));
    done?;
    cost.must_be(&format!("U=0 folds=0 x=16 s=16 {}", flush_of(bench, 16)))?;
    field.must_look(0, 16, "C16")?;
    same("writable", field.how_many(0, 16, Descriptor::is_writable), 0)?;
    must(field.store(0, 0, &[1]).is_err(), "a store to read-only memory succeeds")?;
    let (done, cost) = bench.measure(|| field.protect(0, 16, read_write()));
    done?;
    cost.must_be("U=0 folds=0 x=16 s=16")?;
    field.must_look(0, 16, "C16")?;
    same("writable", field.how_many(0, 16, Descriptor::is_writable), 16)?;
    let copies = bench.memory().count().faults_copy.get();
    field.fill(0, 16)?;
    same("copies", bench.memory().count().faults_copy.get() - copies, 0)?;
    field.must_look(0, 16, "C16")?;
    field.verify(0, 16)
}

fn protect_one(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    let (done, cost) = bench.measure(|| field.protect(0, 1, Prot::READ));
    done?;
    cost.must_be("U=1 folds=0")?;
    field.must_look(0, 16, "P16")?;
    same("writable", field.how_many(0, 16, Descriptor::is_writable), 15)?;
    must(field.store(0, 0, &[1]).is_err(), "a store to read-only memory succeeds")?;
    field.verify(0, 16)
}

fn protect_half_shared(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    field.protect(0, 16, Prot::READ)?;
    field.mark_shared(8, 8);
    field.protect(0, 16, read_write())?;
    field.must_look(0, 16, "P16")?;
    same("writable", field.how_many(0, 8, Descriptor::is_writable), 8)?;
    same("writable though shared", field.how_many(8, 8, Descriptor::is_writable), 0)?;
    field.verify(0, 16)
}

/// Somebody else refers to the folio, so the page can not be taken over.
fn copy_on_write(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    field.share_pages(0, 16);
    field.must_look(0, 16, "C16")?;
    let folio = field.folio(0);
    folio.get(1);
    let copies = bench.memory().count().faults_copy.get();
    let stored = field.store(5, 0, &[0x11]);
    must(folio.put(1).is_none(), "the reference was the last")?;
    stored?;
    same("copies", bench.memory().count().faults_copy.get() - copies, 1)?;
    field.must_look(0, 16, "P5 P1 P10")?;
    must(!folio.contains(field.entry(5).frame()), "the page was not copied")?;
    must(field.folio(5).is_exclusive(0) && field.entry(5).is_writable(), "the copy is not the program's own")?;
    same("mapcount", folio.mapcount(), 15)?;
    same("what was written", field.load(5, 0)?, 0x11)?;
    same("what was copied", field.load(5, 4095)?, field.content(5)[4095])?;
    field.verify(0, 5)?;
    field.verify(6, 10)
}

/// Nobody else does: only this page becomes the program's own again, at the same place (T-C-2).
fn reuse(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    field.share_pages(0, 16);
    let (folio, frame) = (field.folio(0), field.entry(4).frame());
    let (stored, cost) = bench.measure(|| field.store(4, 0, &[0x22]));
    stored?;
    cost.must_be("U=1 folds=0")?;
    same("frame", field.entry(4).frame(), frame)?;
    field.must_look(0, 16, "P16")?;
    same("exclusive pages", (0..16).filter(|&page| folio.is_exclusive(page)).count(), 1)?;
    same("writable", field.how_many(0, 16, Descriptor::is_writable), 1)?;
    must(folio.is_exclusive(4) && field.entry(4).is_writable(), "another page became writable")?;
    same("what was written", field.load(4, 0)?, 0x22)?;
    field.verify(0, 4)?;
    field.verify(5, 11)
}

fn bad_arguments(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = bench.filled(Size(64), 16)?;
        let after = Field::new(bench, field.space.clone(), field.va(32), 16)?;
        after.fill(0, 16)?;
        let memory = bench.memory();
        let start = field.start.as_u64();
        let out = |address, length, advice| memory.madvise(&field.space, address, length, advice);
        same("unaligned", out(start + 1, 0x1_0000, advice::PAGEOUT), Err(Errno::EINVAL))?;
        same("unknown", out(start, 0x1_0000, 9999), Err(Errno::EINVAL))?;
        same("too long", out(start, u64::MAX - 0x1000, advice::PAGEOUT), Err(Errno::EINVAL))?;
        same("nothing", out(start, 0, advice::PAGEOUT), Ok(()))?;
        field.must_look(0, 16, "C16")?;
        same("a hole", out(start, 0x3_0000, advice::PAGEOUT), Err(Errno::ENOMEM))?;
        field.must_look(0, 16, "E16")?;
        after.must_look(0, 16, "E16")?;
        field.verify(0, 16)?;
        after.verify(0, 16)
    })
}

fn locked_area(bench: &Bench<'_>) -> Outcome {
    use mm::map::{MapFlags, MapRequest};
    let field = fresh_block(bench)?;
    let request = MapRequest {
        address: field.va(64).as_u64(),
        length: 0x1_0000,
        prot: read_write(),
        flags: MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED | MapFlags::LOCKED,
    };
    let address = bench.memory().mmap(&field.space, request).map_err(failed("mmap"))?;
    let result = bench.memory().madvise(&field.space, address, 0x1_0000, advice::PAGEOUT);
    same("MADV_PAGEOUT", result, Err(Errno::EINVAL))?;
    let dropped = bench.memory().madvise(&field.space, address, 0x1_0000, advice::DONTNEED);
    same("MADV_DONTNEED", dropped, Err(Errno::EINVAL))?;
    same("present pages", field.accounts(), (32, 0))
}
