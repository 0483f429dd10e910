//! Reference 1.6, 4.18: memory that a program watches itself. Marks through page-out and swap-in, batches in watched areas, and what a
//! monitor is told. What the kernel does with that is the programs' to show.

use alloc::format;
use alloc::string::String;

use mm::fault::Access;
use mm::uffd::Contents;
use mm::vma::{AreaFlags, Prot};
use mm::{Errno, uffd};
use mmu::{Descriptor, PAGE_SIZE};

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same, within};
use crate::family::counts::row;
use crate::family::helpers::{flush_of, fresh_block, operations};
use crate::family::watching::{MONITOR, OTHER};
use crate::field::{Field, Size, advice};
use crate::unmapping::{discard_folio, unmap_folio};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-S-26 the mark goes to swap and comes back", run: to_swap_and_back },
    Case { name: "T-S-27 half a folio is protected", run: half_protected },
    Case { name: "1.6 a protected folio is batched, or not", run: batched_or_not },
    Case { name: "1.6 a lazily freed folio in a watched area", run: lazily_freed },
    Case { name: "4.18 protecting a block keeps it folded", run: protect_block },
    Case { name: "4.18 swap entries are protected too", run: protect_swapped },
    Case { name: "4.18 a write is told, a read is not", run: write_is_told },
    Case { name: "4.18 a missing page is told and filled", run: missing_is_filled },
    Case { name: "4.18 a page is filled and protected at once", run: filled_protected },
    Case { name: "4.18 a watched area gets single pages", run: single_pages },
    Case { name: "4.18 the zero page is protected", run: zero_page },
    Case { name: "4.18 an area is watched no longer", run: unregistered },
    Case { name: "4.18 what is refused", run: refused },
    Case { name: "4.6 nobody watches a child", run: child },
    Case { name: "4.6 marks beside a child, through page-out", run: beside_child },
    Case { name: "4.23 a protected page that is unshared stays protected", run: unshared },
    Case { name: "4.17 nobody watches what has moved", run: moved },
    Case { name: "4.20 a split keeps the marks", run: split },
];

/// A folded 64K folio whose area is watched for writes, with its first `count` pages protected.
fn protected_block<'b, 'm>(bench: &'b Bench<'m>, count: usize) -> Result<Field<'b, 'm>, String> {
    let field = fresh_block(bench)?;
    field.watch(0, 16, AreaFlags::UFFD_WP)?;
    field.write_protect(0, count, true)?;
    Ok(field)
}

fn to_swap_and_back(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = protected_block(bench, 16)?;
        let out = unmap_folio(bench, field.folio(0))?;
        must(out.whole, "a mapping is left")?;
        field.must_look(0, 16, "E16")?;
        field.must_be_marked(0, 16, 16)?;
        field.verify(0, 16)?;
        field.must_be_marked(0, 16, 16)?;
        same("writable", field.how_many(0, 16, Descriptor::is_writable), 0)?;
        field.page_out(0, 16)?;
        // Read back from the device, a page at a time, as in every watched area.
        field.must_be_told(5, Access::Write, true)?;
        field.verify(0, 16)?;
        field.must_be_marked(0, 16, 16)?;
        field.write_protect(0, 16, false)?;
        field.fill(0, 16)?;
        field.must_be_marked(0, 16, 0)
    })
}

/// Where nothing may be written, the marks alone make two batches.
fn half_protected(bench: &Bench<'_>) -> Outcome {
    bench.set("unmap=folio")?;
    let field = half_protected_as(bench, Prot::READ | Prot::WRITE)?;
    field.must_be_told(7, Access::Write, true)?;
    field.fill(8, 8)?;
    half_protected_as(bench, Prot::READ).map(drop)
}

fn half_protected_as<'b, 'm>(bench: &'b Bench<'m>, prot: Prot) -> Result<Field<'b, 'm>, String> {
    let field = fresh_block(bench)?;
    field.protect(0, 16, prot)?;
    field.watch(0, 16, AreaFlags::UFFD_WP)?;
    field.write_protect(0, 8, true)?;
    field.must_look(0, 16, "P16")?;
    let out = unmap_folio(bench, field.folio(0))?;
    must(out.whole, "a mapping is left")?;
    out.cost.must_be(&format!("T={} W=3 k=2 f=2 c=4 b=4 n=2 U=0 x=16 s=16", 2 * operations(bench, 8)))?;
    field.must_be_marked(0, 8, 8)?;
    field.must_be_marked(8, 8, 0)?;
    field.verify(0, 16)?;
    field.must_be_marked(0, 16, 8)?;
    Ok(field)
}

/// Without batching in watched areas a folio costs what `page` costs; with it, what it costs elsewhere.
fn batched_or_not(bench: &Bench<'_>) -> Outcome {
    for (batch, way) in [("off", "page"), ("on", "folio")] {
        bench.set(&format!("unmap=folio uffd_batch={batch}"))?;
        let field = protected_block(bench, 16)?;
        let out = unmap_folio(bench, field.folio(0))?;
        within(batch, out.cost.must_equal(&row(bench, way, Size(64))))?;
        within(batch, field.must_look(0, 16, "E16").and(field.must_be_marked(0, 16, 16)))?;
        field.verify(0, 16)?;
    }
    bench.set("unmap=gather uffd_batch=off")?;
    let field = protected_block(bench, 16)?;
    let out = unmap_folio(bench, field.folio(0))?;
    out.cost.must_be("U=1 x=32 k=16 c=32 b=32 f=16")?;
    bench.set("uffd_batch=on")?;
    let field = protected_block(bench, 16)?;
    unmap_folio(bench, field.folio(0))?.cost.must_be("U=0 x=16 k=1 c=2 b=2 f=1")
}

fn lazily_freed(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|way| {
        for (batch, drops) in [("off", 16), ("on", 1)] {
            bench.set(&format!("uffd_batch={batch}"))?;
            let field = protected_block(bench, 16)?;
            field.advise(0, 16, advice::FREE).map_err(failed("MADV_FREE"))?;
            let out = discard_folio(bench, field.folio(0))?;
            must(out.whole, "a mapping is left")?;
            within(way, out.cost.must_be(&format!("f={drops} c={drops} U={}", u64::from(drops > 1))))?;
            field.must_look(0, 16, "N16")?;
        }
        Ok(())
    })
}

fn protect_block(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    field.watch(0, 16, AreaFlags::UFFD_WP)?;
    let flush = flush_of(bench, 16);
    let (done, cost) = bench.measure(|| field.write_protect(0, 16, true));
    done?;
    cost.must_be(&format!("U=0 folds=0 x=16 s=16 {flush}"))?;
    field.must_look(0, 16, "C16")?;
    field.must_be_marked(0, 16, 16)?;
    same("dirty", field.how_many(0, 16, Descriptor::is_dirty), 16)?;
    let (done, cost) = bench.measure(|| field.write_protect(0, 16, true));
    done?;
    cost.must_be("U=0 x=0 s=0 cas=0 T=0 I=0 D=0")?;
    let (done, cost) = bench.measure(|| field.write_protect(0, 16, false));
    done?;
    cost.must_be(&format!("U=0 folds=0 x=16 s=16 {flush}"))?;
    field.must_look(0, 16, "C16")?;
    field.must_be_marked(0, 16, 0)?;
    // The pages are the program's alone, so no fault is needed for what was just allowed.
    same("writable", field.how_many(0, 16, Descriptor::is_writable), 16)
}

fn protect_swapped(bench: &Bench<'_>) -> Outcome {
    let field = fresh_block(bench)?;
    field.page_out(0, 16)?;
    field.watch(0, 16, AreaFlags::UFFD_WP)?;
    let (done, cost) = bench.measure(|| field.write_protect(4, 8, true));
    done?;
    cost.must_be("x=0 s=8 U=0")?;
    field.must_be_marked(0, 16, 8)?;
    field.must_be_told(4, Access::Write, true)?;
    field.fill(0, 4)?;
    field.verify(0, 16)?;
    field.must_be_marked(4, 8, 8)?;
    field.page_out(0, 16)?;
    field.write_protect(0, 16, false)?;
    field.must_be_marked(0, 16, 0)?;
    field.fill(0, 16)
}

fn write_is_told(bench: &Bench<'_>) -> Outcome {
    let field = protected_block(bench, 16)?;
    field.verify(0, 16)?;
    field.must_be_told(3, Access::Write, true)?;
    field.must_look(0, 16, "C16")?;
    field.write_protect(3, 1, false)?;
    field.fill(3, 1)?;
    field.must_be_marked(0, 16, 15)?;
    // A program's own protection does not open what is watched.
    field.protect(0, 16, Prot::READ)?;
    field.protect(0, 16, Prot::READ | Prot::WRITE)?;
    field.must_be_marked(0, 16, 15)?;
    field.must_be_told(4, Access::Write, true)?;
    field.fill(3, 1)
}

fn missing_is_filled(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(64), 16)?;
    field.watch(0, 16, AreaFlags::UFFD_MISSING)?;
    field.must_be_told(0, Access::Read, false)?;
    field.must_be_told(0, Access::Write, false)?;
    let mut bytes = [0; PAGE_SIZE as usize];
    bytes.copy_from_slice(&field.content(0));
    let put = |page: usize, contents| bench.memory().uffd_fill(&field.space, field.va(page).as_u64(), contents);
    put(0, Contents::Bytes(&bytes)).map_err(failed("copy"))?;
    put(1, Contents::Zero).map_err(failed("zeropage"))?;
    field.must_look(0, 3, "P1 Z1 N1")?;
    field.verify(0, 1)?;
    field.verify_zero(1, 1)?;
    same("copy to what is there", put(0, Contents::Bytes(&bytes)), Err(Errno::EEXIST))?;
    same("zeros to what is there", put(1, Contents::Zero), Err(Errno::EEXIST))?;
    same("protected where writes are not watched", put(2, Contents::Protected(&bytes)), Err(Errno::EINVAL))?;
    field.fill(0, 2)?;
    same("accounts", field.accounts(), (2, 0))?;
    field.page_out(0, 2)?;
    field.verify(0, 2)?;
    field.advise(0, 1, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
    field.must_be_told(0, Access::Read, false)
}

fn filled_protected(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(64), 16)?;
    field.watch(0, 16, AreaFlags::UFFD)?;
    let mut bytes = [0; PAGE_SIZE as usize];
    bytes.copy_from_slice(&field.content(2));
    let address = field.va(2).as_u64();
    bench.memory().uffd_fill(&field.space, address, Contents::Protected(&bytes)).map_err(failed("copy"))?;
    field.must_be_told(2, Access::Write, true)?;
    field.verify(2, 1)?;
    field.page_out(2, 1)?;
    field.must_be_told(2, Access::Write, true)?;
    field.write_protect(2, 1, false)?;
    field.fill(2, 1)
}

fn single_pages(bench: &Bench<'_>) -> Outcome {
    for modes in [AreaFlags::UFFD_WP, AreaFlags::UFFD_MISSING] {
        let field = bench.filled(Size(64), 32)?;
        field.advise(0, 16, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
        field.page_out(16, 16)?;
        field.watch(0, 32, modes)?;
        if modes == AreaFlags::UFFD_WP {
            field.fill(0, 1)?;
            field.must_look(0, 16, "P1 N15")?;
        }
        field.verify(16, 1)?;
        field.must_look(16, 16, "P1 E15")?;
    }
    Ok(())
}

fn zero_page(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(64), 16)?;
    field.read(0, 2)?;
    field.watch(0, 16, AreaFlags::UFFD_WP)?;
    field.write_protect(0, 1, true)?;
    field.must_look(0, 2, "Z2")?;
    field.must_be_told(0, Access::Write, true)?;
    field.fill(1, 1)?;
    let mut words = [0; 2];
    bench.memory().pagemap(&field.space, field.va(0), &mut words);
    same("marks in pagemap", words.map(|word| word >> 57 & 1), [1, 0])?;
    // The write has given the area an anon_vma: a child gets a copy of its entries, and no mark.
    let child = field.fork()?;
    child.must_be_marked(0, 2, 0)?;
    child.exit();
    field.write_protect(0, 1, false)?;
    field.fill(0, 1)?;
    field.verify(0, 2)
}

fn unregistered(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), 48)?;
    field.watch(0, 48, AreaFlags::UFFD_WP)?;
    field.write_protect(0, 48, true)?;
    field.page_out(16, 16)?;
    let memory = bench.memory();
    memory.uffd_unregister(&field.space, field.bytes(0, 32), MONITOR).map_err(failed("unregister"))?;
    field.must_be_marked(0, 32, 0)?;
    field.must_be_marked(32, 16, 16)?;
    field.fill(0, 32)?;
    field.must_be_told(32, Access::Write, true)?;
    // Watched in another way from now on: what was protected is not any more.
    field.watch(32, 8, AreaFlags::UFFD_MISSING)?;
    field.must_be_marked(32, 16, 8)?;
    memory.uffd_release(&field.space, MONITOR);
    field.must_be_marked(0, 48, 0)?;
    field.fill(0, 48)?;
    same("areas", field.space.layout().read().areas.len(), 1)?;
    // What is watched no longer becomes one area with what lies behind it.
    field.watch(0, 16, AreaFlags::UFFD_WP)?;
    memory.uffd_unregister(&field.space, field.bytes(0, 16), MONITOR).map_err(failed("unregister"))?;
    same("areas", field.space.layout().read().areas.len(), 1)
}

fn refused(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), 16)?;
    let memory = bench.memory();
    let (start, length) = field.bytes(0, 16);
    let register = |range, monitor, modes| memory.uffd_register(&field.space, range, monitor, modes);
    same("half a page", register((start, 1), MONITOR, AreaFlags::UFFD), Err(Errno::EINVAL))?;
    same("nothing mapped", register((start - length, length), MONITOR, AreaFlags::UFFD), Err(Errno::EINVAL))?;
    same("no mode", register((start, length), MONITOR, AreaFlags::empty()), Err(Errno::EINVAL))?;
    field.watch(0, 8, AreaFlags::UFFD_WP)?;
    same("somebody else's", register((start, length), OTHER, AreaFlags::UFFD), Err(Errno::EBUSY))?;
    let unregister = memory.uffd_unregister(&field.space, (start, length), OTHER);
    same("unregister somebody else's", unregister, Err(Errno::EINVAL))?;
    same("protect more", memory.uffd_protect(&field.space, (start, length), true), Err(Errno::ENOENT))?;
    field.must_be_marked(0, 16, 8)?;
    let zeros = memory.uffd_fill(&field.space, start + 8 * PAGE_SIZE, uffd::Contents::Zero);
    same("fill what nobody watches", zeros, Err(Errno::ENOENT))
}

fn child(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), 32)?;
    field.watch(0, 32, AreaFlags::UFFD)?;
    field.write_protect(0, 32, true)?;
    field.page_out(16, 16)?;
    let child = field.fork()?;
    child.must_be_marked(0, 32, 0)?;
    field.must_be_marked(0, 32, 32)?;
    field.must_look(0, 16, "C16")?;
    field.must_be_told(3, Access::Write, true)?;
    field.must_be_told(19, Access::Write, true)?;
    child.verify(0, 32)?;
    child.fill(0, 32)?;
    field.must_be_told(3, Access::Write, true)?;
    field.write_protect(0, 32, false)?;
    field.verify(0, 32)?;
    field.fill(0, 32)
}

/// What is protected and shared with a child goes out and comes back for both, and stays protected in the parent alone.
fn beside_child(bench: &Bench<'_>) -> Outcome {
    for size in [Size(4), Size(64)] {
        let field = bench.filled(size, 16)?;
        field.watch(0, 16, AreaFlags::UFFD_WP)?;
        field.write_protect(0, 16, true)?;
        let child = field.fork()?;
        for page in [2, 11] {
            field.page_out(0, 16)?;
            let before = field.how_many(0, 16, Descriptor::is_uffd);
            field.verify(0, 16)?;
            within(&format!("{size:?} {before}"), field.must_be_told(page, Access::Write, true))?;
            field.write_protect(page, 1, false)?;
            field.fill(page, 1)?;
        }
        field.must_be_marked(0, 16, 14)?;
        child.must_be_marked(0, 16, 0)?;
        child.verify(0, 16)?;
        field.write_protect(0, 16, true)?;
        field.must_be_told(2, Access::Write, true)?;
        child.fill(0, 1)?;
        child.exit();
        let range = field.bytes(0, 16);
        bench.memory().uffd_unregister(&field.space, range, MONITOR).map_err(failed("unregister"))?;
        field.must_be_marked(0, 16, 0)?;
        field.fill(0, 16)?;
        field.verify(0, 16)?;
    }
    Ok(())
}

/// A device that reads a page which a child has too gets one for the parent alone: nobody has written it.
fn unshared(bench: &Bench<'_>) -> Outcome {
    let field = protected_block(bench, 16)?;
    let child = field.fork()?;
    let frame = field.entry(3).frame();
    let pin = bench.memory().pin_user_pages(&field.space, field.va(3), 1, false).map_err(failed("pin to read"))?;
    must(pin.frame(0) == field.entry(3).frame() && pin.frame(0) != frame, "the page is shared still")?;
    field.must_be_marked(0, 16, 16)?;
    field.must_be_told(3, Access::Write, true)?;
    field.verify(0, 16)?;
    child.verify(0, 16)?;
    pin.unpin();
    Ok(())
}

fn moved(bench: &Bench<'_>) -> Outcome {
    // Entry by entry, and by the table.
    for (pages, to) in [(32, 64), (512, 512)] {
        let field = bench.field(Size(64), 1024)?;
        field.unmap(pages, 1024 - pages)?;
        field.fill(0, pages)?;
        field.watch(0, pages, AreaFlags::UFFD)?;
        field.write_protect(0, pages, true)?;
        field.page_out(16, 16)?;
        field.move_pages(0, pages, to).map_err(failed("mremap"))?;
        field.must_be_marked(to, pages, 0)?;
        field.verify_moved(0, pages, to)?;
        field.fill(to, pages)?;
        field.unmap(to, pages)?;
    }
    Ok(())
}

fn split(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = protected_block(bench, 16)?;
        field.page_out(0, 8)?;
        field.must_be_marked(0, 16, 16)?;
        same("order of what stays", field.folio(8).order(), 0)?;
        field.verify(0, 16)?;
        field.must_be_told(1, Access::Write, true)?;
        field.must_be_told(9, Access::Write, true)
    })
}
