//! Reference 4.23 and 4.4: pinned pages stay what their program sees, whatever else happens to them.

use mm::space::advice;
use mm::vma::Prot;
use mm::{Errno, Pinned};
use mmu::{Descriptor, PAGE_SIZE};

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same};
use crate::field::{Field, Size, read_write};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-C-5 fork of a pinned folio copies its pages", run: fork_pinned },
    Case { name: "4.23 a pinned page after a fork is the parent's", run: parent_writes },
    Case { name: "4.23 a page pinned to be read is the space's alone", run: unshared },
    Case { name: "4.23 what was copied for a pin is not lost with MADV_FREE", run: copied_and_freed },
    Case { name: "4.23 a read-only page pinned to be read is not copied", run: read_only },
    Case { name: "4.23 a page pinned to be read needs no fault to be read", run: touched },
    Case { name: "4.23 a page never touched is pinned as zero", run: zero_page },
    Case { name: "4.23 a swapped page comes back to be pinned", run: swapped },
    Case { name: "4.23 reclaim leaves pinned folios alone", run: not_reclaimed },
    Case { name: "4.23 a pin outlives its mapping", run: outlives },
    Case { name: "4.23 what can not be pinned leaves no pin", run: refused },
    Case { name: "4.23 a pinned single page is copied for a child", run: fork_single },
];

const PAGES: usize = 16;

fn pin<'m>(field: &Field<'_, 'm>, page: usize, count: usize, write: bool) -> Result<Pinned<'m>, Errno> {
    field.memory().pin_user_pages(&field.space, field.va(page), count, write)
}

fn fork_pinned(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), PAGES)?;
    let pinned = pin(&parent, 5, 1, true).map_err(failed("pin"))?;
    let frame = parent.entry(5).frame();
    let copies = bench.memory().count().fork_copies.get();
    let (child, cost) = bench.measure(|| parent.fork());
    let child = child?;
    cost.must_be("U=0 T=1 asid=1")?;
    same("copies", bench.memory().count().fork_copies.get() - copies, 16)?;
    parent.must_look(0, PAGES, "C16")?;
    same("writable", parent.how_many(0, PAGES, Descriptor::is_writable), PAGES)?;
    same("writable copies", child.how_many(0, PAGES, Descriptor::is_writable), PAGES)?;
    same("shared", child.how_many(0, PAGES, |entry| parent.folio(0).contains(entry.frame())), 0)?;
    child.verify(0, PAGES)?;
    pinned.write(0, 0, b"from the device");
    child.verify(5, 1)?;
    same("frame", (parent.entry(5).frame(), pinned.frame(0)), (frame, frame))?;
    same("byte", parent.load(5, 3)?, b'm')?;
    pinned.unpin();
    Ok(())
}

fn parent_writes(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), PAGES)?;
    let pinned = pin(&parent, 0, PAGES, true).map_err(failed("pin"))?;
    let child = parent.fork()?;
    parent.store(7, 0, b"program")?;
    pinned.write(7, 100, b"device");
    for (offset, byte) in [(0, b'p'), (100, b'd')] {
        same("the parent's byte", parent.load(7, offset)?, byte)?;
    }
    child.verify(0, PAGES)?;
    let mut seen = [0; 7];
    pinned.read(7, 0, &mut seen);
    same("what the device reads", &seen, b"program")?;
    same("frame", parent.entry(7).frame(), pinned.frame(7))
}

fn unshared(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), PAGES)?;
    let child = parent.fork()?;
    let pinned = pin(&child, 3, 2, false).map_err(failed("pin"))?;
    must(parent.entry(3).frame() != pinned.frame(0), "the page is still shared")?;
    same("writable", child.how_many(0, PAGES, Descriptor::is_writable), 0)?;
    same("copies", child.how_many(0, PAGES, |entry| !parent.folio(0).contains(entry.frame())), 2)?;
    child.must_look(0, 3, "P3")?;
    child.store(3, 0, b"child")?;
    parent.store(4, 0, b"parent")?;
    same("frame", child.entry(3).frame(), pinned.frame(0))?;
    let mut seen = [0; 5];
    pinned.read(0, 0, &mut seen);
    same("what the device reads", &seen, b"child")?;
    child.verify(4, 1)?;
    parent.verify(3, 1)
}

/// A folio that is clean and not swapped out has contents that nobody needs. A copy for a reader is none of that kind, though no program
/// has ever written it.
fn copied_and_freed(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(4), 2)?;
    let first = parent.fork()?;
    pin(&parent, 0, 1, false).map_err(failed("pin"))?.unpin();
    first.exit();
    let second = parent.fork()?;
    parent.advise(0, 1, advice::FREE).map_err(failed("MADV_FREE"))?;
    bench.memory().shrink(2);
    second.verify(0, 2)
}

fn read_only(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), PAGES)?;
    parent.protect(0, PAGES, Prot::READ)?;
    let copies = bench.memory().count().faults_copy.get();
    let pinned = pin(&parent, 0, PAGES, false).map_err(failed("pin"))?;
    same("copies", bench.memory().count().faults_copy.get() - copies, 0)?;
    let child = parent.fork()?;
    must(child.entry(0).frame() != pinned.frame(0), "a pinned page is shared")?;
    parent.protect(0, PAGES, read_write())?;
    parent.store(9, 0, b"parent")?;
    same("frame", parent.entry(9).frame(), pinned.frame(9))?;
    child.verify(0, PAGES)
}

fn touched(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), PAGES)?;
    let child = parent.fork()?;
    parent.exit();
    must(!child.entry(3).is_young(), "a fork leaves entries young")?;
    let copies = bench.memory().count().faults_copy.get();
    let _pinned = pin(&child, 3, 1, false).map_err(failed("pin"))?;
    same("copies", bench.memory().count().faults_copy.get() - copies, 0)?;
    must(child.entry(3).is_young(), "an access would fault")
}

fn zero_page(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(64), PAGES)?;
    let pinned = pin(&field, 2, 1, false).map_err(failed("pin"))?;
    let mut seen = [1; 8];
    pinned.read(0, 0, &mut seen);
    same("what the device reads", seen, [0; 8])?;
    field.must_look(2, 1, "Z1")?;
    pinned.unpin();
    let pinned = pin(&field, 2, 1, true).map_err(failed("pin"))?;
    pinned.write(0, 0, b"x");
    same("byte", field.load(2, 0)?, b'x')
}

fn swapped(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), PAGES)?;
    field.page_out(0, PAGES)?;
    let pinned = pin(&field, 4, 3, true).map_err(failed("pin"))?;
    pinned.write(1, 0, b"device");
    same("byte", field.load(5, 1)?, b'e')?;
    field.verify(6, 10)
}

fn not_reclaimed(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        for size in [Size(64), Size(4)] {
            let field = bench.filled(size, PAGES)?;
            let before = field.shape(0, PAGES);
            let free = bench.memory().swap.free_count();
            let pinned = pin(&field, 0, PAGES, true).map_err(failed("pin"))?;
            field.page_out(0, PAGES)?;
            field.must_look(0, PAGES, &before)?;
            same("free slots", bench.memory().swap.free_count(), free)?;
            pinned.unpin();
            field.page_out(0, PAGES)?;
            field.must_look(0, PAGES, "E16")?;
            field.verify(0, PAGES)?;
        }
        Ok(())
    })
}

fn outlives(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), PAGES)?;
    let free = bench.memory().frames.free_count();
    let pinned = pin(&field, 0, 1, true).map_err(failed("pin"))?;
    field.unmap(0, PAGES)?;
    let mut seen = [0; 8];
    pinned.read(0, 0, &mut seen);
    must(seen == field.content(0)[..8], "the pinned page is another's")?;
    must(bench.memory().frames.free_count() < free + PAGES, "the pinned folio is free")?;
    pinned.unpin();
    must(bench.memory().frames.free_count() >= free + PAGES, "the folio is not free")
}

fn refused(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), PAGES)?;
    let refs = field.folio(0).refs();
    let error = pin(&field, PAGES - 1, 2, true).err();
    same("beyond the area", error, Some(Errno::EFAULT))?;
    field.protect(0, PAGES, Prot::READ)?;
    same("a read-only area", pin(&field, 0, 1, true).err(), Some(Errno::EFAULT))?;
    let inside = field.memory().pin_user_pages(&field.space, field.va(0).add_bytes(8), 1, false);
    same("inside a page", inside.err(), Some(Errno::EINVAL))?;
    same("references", field.folio(0).refs(), refs)?;
    must(!field.folio(0).maybe_pinned(), "a pin is left")?;
    same("no pages", pin(&field, 0, 0, true).map(|pinned| pinned.pages()), Ok(0))
}

fn fork_single(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(4), 3)?;
    let pinned = pin(&parent, 1, 1, true).map_err(failed("pin"))?;
    let child = parent.fork()?;
    same("shared", child.how_many(0, 3, |entry| entry.frame() == pinned.frame(0)), 0)?;
    same("writable", [0, 1, 2].map(|page| parent.entry(page).is_writable()), [false, true, false])?;
    pinned.write(0, PAGE_SIZE as usize - 1, b"!");
    child.verify(0, 3)
}
