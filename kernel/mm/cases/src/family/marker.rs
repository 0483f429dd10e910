//! Reference 1.5, 4.18, 5.8: memory files that a program watches, and the markers that remember what was protected where no page is.

use alloc::format;
use alloc::string::String;

use mm::fault::Access;
use mm::inject::Point;
use mm::map::MapFlags;
use mm::remap::MoveFlags;
use mm::vma::{AreaFlags, Prot};
use mm::{Errno, OpenFile};
use mmu::{Descriptor, PAGE_SIZE};

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same, within};
use crate::columns::Columns;
use crate::family::counts::{gather_row, row};
use crate::family::helpers::{flush_of, operations};
use crate::family::watching::MONITOR;
use crate::field::{Field, Size, advice, read_write};
use crate::handwork::next_slot_starts_a_block;
use crate::unmapping::{discard_folio, unmap_folio};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "1.5 a zap leaves markers, after one look", run: by_zap },
    Case { name: "1.5 an unmap leaves markers, after one look", run: by_unmap },
    Case { name: "1.5 half of a block is protected", run: half },
    Case { name: "1.5 the look where nobody watches", run: unwatched_look },
    Case { name: "T-S-28 copies of a file's pages, in one folio", run: copies_in_a_folio },
    Case { name: "T-S-28 an unmap that fails after its markers", run: put_back },
    Case { name: "4.18 a fault on a marker maps the page protected", run: fault_on_marker },
    Case { name: "4.18 pages of a file that are not there are protected", run: protect_absent },
    Case { name: "4.18 markers go with their area", run: gone_with_the_area },
    Case { name: "4.18 markers are watched, or gone", run: gone_with_the_watch },
    Case { name: "4.18 a file that is cut leaves markers", run: cut },
    Case { name: "4.18 swapped copies that are dropped leave markers", run: swapped_copies },
];

const PAGES: usize = 16;

/// A folded 64K folio of a file, mapped and written, whose area is watched for writes.
fn watched<'b, 'm>(bench: &'b Bench<'m>, kind: MapFlags) -> Result<(OpenFile<'m>, Field<'b, 'm>), String> {
    let (file, field) = mapped(bench, kind)?;
    field.watch(0, PAGES, AreaFlags::UFFD_WP)?;
    Ok((file, field))
}

fn mapped<'b, 'm>(bench: &'b Bench<'m>, kind: MapFlags) -> Result<(OpenFile<'m>, Field<'b, 'm>), String> {
    bench.set_size(Size(64));
    let file = bench.memory().open_file(PAGES as u64 * PAGE_SIZE).map_err(failed("a file"))?;
    let field = Field::of_file(bench, bench.space()?, (Field::BASE, PAGES), (&file, 0), kind)?;
    for page in 0..PAGES {
        file.write(page as u64 * PAGE_SIZE, &field.content(page)).map_err(failed("write"))?;
    }
    field.read(0, PAGES)?;
    if kind == MapFlags::SHARED {
        field.fill(0, PAGES)?;
    }
    field.must_look(0, PAGES, "C16")?;
    Ok((file, field))
}

/// The same, of which `count` pages are protected.
fn protected<'b, 'm>(
    bench: &'b Bench<'m>,
    kind: MapFlags,
    count: usize,
) -> Result<(OpenFile<'m>, Field<'b, 'm>), String> {
    let (file, field) = watched(bench, kind)?;
    field.write_protect(0, count, true)?;
    field.must_be_marked(0, PAGES, count)?;
    Ok((file, field))
}

/// A folded 64K folio of copies in a private area of a file: written page by page, swapped out, and read back as one. The area is watched
/// since, and its pages are protected.
fn protected_copies<'b, 'm>(bench: &'b Bench<'m>) -> Result<(OpenFile<'m>, Field<'b, 'm>), String> {
    bench.set_size(Size(64));
    let file = bench.memory().open_file(PAGES as u64 * PAGE_SIZE).map_err(failed("a file"))?;
    let field = Field::of_file(bench, bench.space()?, (Field::BASE, PAGES), (&file, 0), MapFlags::PRIVATE)?;
    field.fill(0, PAGES)?;
    next_slot_starts_a_block(bench)?;
    field.page_out(0, PAGES)?;
    field.fill(0, PAGES)?;
    field.must_look(0, PAGES, "C16")?;
    let folio = field.folio(0);
    same("pages of the folio, of a file", (folio.pages(), folio.is_file()), (PAGES, false))?;
    field.watch(0, PAGES, AreaFlags::UFFD_WP)?;
    field.write_protect(0, PAGES, true)?;
    field.must_look(0, PAGES, "C16")?;
    field.rest();
    Ok((file, field))
}

/// One look a batch, where Linux took one a page.
fn by_zap(bench: &Bench<'_>) -> Outcome {
    for kind in [MapFlags::SHARED, MapFlags::PRIVATE] {
        for (batch, looks) in [("off", 16), ("on", 1)] {
            bench.set(&format!("uffd_batch={batch}"))?;
            let (_file, field) = protected(bench, kind, PAGES)?;
            let (done, cost) = bench.measure(|| field.advise(0, PAGES, advice::DONTNEED));
            done.map_err(failed("MADV_DONTNEED"))?;
            field.must_look(0, PAGES, "M16")?;
            let flush = flush_of(bench, PAGES);
            within(batch, cost.must_be(&format!("g={} x=16 s=16 U=0 {flush}", 1 + looks)))?;
            same("pages of files", field.space.file_pages(), 0)?;
            bench.audit()?;
            // What is a marker already stays one.
            let (done, cost) = bench.measure(|| field.advise(0, PAGES, advice::DONTNEED));
            done.map_err(failed("MADV_DONTNEED"))?;
            cost.must_be("g=16 r=16 x=0 s=0 T=0")?;
            field.verify(0, PAGES)?;
            field.must_be_marked(0, PAGES, PAGES)?;
            field.must_be_told(3, Access::Write, true)?;
        }
    }
    Ok(())
}

/// Folios of files are unmapped whole in every way. `gather` looks at nothing: it swaps the entries for markers.
fn by_unmap(bench: &Bench<'_>) -> Outcome {
    let flushes = operations(bench, PAGES);
    let whole = format!("T={flushes} I=1 D=1 U=0 W=1 k=0 c=1 b=0 f=1 n=1");
    let single = format!("T={} I=17 D=2 U=1 W=17 k=0 c=16 b=0 f=16 n=16", PAGES + flushes);
    bench.each_way(|way| {
        for (batch, cost) in [
            ("off", if way == "gather" { "g=0 x=32 s=16 U=1 W=1 c=16 f=16" } else { "g=63 r=99 x=32 s=32" }),
            ("on", if way == "gather" { "g=0 r=1 x=16 s=0" } else { "g=3 r=23 x=16 s=16" }),
        ] {
            bench.set(&format!("uffd_batch={batch}"))?;
            let (_file, field) = protected(bench, MapFlags::SHARED, PAGES)?;
            field.rest();
            let out = discard_folio(bench, field.folio(0))?;
            must(out.whole, "a mapping is left")?;
            field.must_look(0, PAGES, "M16")?;
            within(batch, out.cost.must_be(cost))?;
            match (batch, way) {
                ("on", _) => within(batch, out.cost.must_be(&whole))?,
                (_, "gather") => {}
                _ => within(batch, out.cost.must_be(&single))?,
            }
            bench.audit()?;
            field.verify(0, PAGES)?;
            field.must_be_marked(0, PAGES, PAGES)?;
            field.must_be_told(3, Access::Write, true)?;
        }
        // And by a page-out of the whole area.
        let (_file, field) = protected(bench, MapFlags::SHARED, PAGES)?;
        field.page_out(0, PAGES)?;
        field.must_look(0, PAGES, "M16")
    })
}

/// Also where nothing may be written, so that the marks alone make two batches.
fn half(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        for prot in [read_write(), Prot::READ] {
            for zaps in [false, true] {
                let (_file, field) = watched(bench, MapFlags::SHARED)?;
                field.protect(0, PAGES, prot)?;
                field.write_protect(0, 8, true)?;
                if zaps {
                    field.advise(0, PAGES, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
                } else {
                    must(discard_folio(bench, field.folio(0))?.whole, "a mapping is left")?;
                }
                within(&format!("{prot:?} zaps {zaps}"), field.must_look(0, PAGES, "M8 N8"))?;
                field.protect(0, PAGES, read_write())?;
                field.must_look(0, PAGES, "M8 N8")?;
                field.fill(8, 8)?;
                field.must_be_told(7, Access::Write, true)?;
                field.verify(0, PAGES)?;
                field.must_be_marked(0, PAGES, 8)?;
            }
        }
        Ok(())
    })
}

/// As Linux looks at every batch where it has markers at all, if it is told to: but at none of anonymous memory that is zapped.
fn unwatched_look(bench: &Bench<'_>) -> Outcome {
    for (check, batch, looks) in [("off", "on", 0), ("on", "on", 1), ("on", "off", 16)] {
        bench.set(&format!("uffd_check={check} uffd_batch={batch}"))?;
        let (_file, field) = mapped(bench, MapFlags::SHARED)?;
        let own = Field::new(bench, field.space.clone(), field.va(PAGES), PAGES)?;
        own.fill(0, PAGES)?;
        let (done, cost) = bench.measure(|| field.advise(0, PAGES, advice::DONTNEED));
        done.map_err(failed("MADV_DONTNEED"))?;
        within(check, cost.must_be(&format!("g={} x=16 s=0", 1 + looks)))?;
        let (done, cost) = bench.measure(|| own.advise(0, PAGES, advice::DONTNEED));
        done.map_err(failed("MADV_DONTNEED"))?;
        within(check, cost.must_be("g=1 x=16 s=0"))?;
        field.must_look(0, 2 * PAGES, "N32")?;
    }
    Ok(())
}

/// A row with the markers: one look a batch, and a raw read and a store for each, which a swap entry then takes the place of.
fn with_markers(mut row: Columns, looks: u64) -> Columns {
    *row.at("g") += looks;
    *row.at("r") += looks + PAGES as u64;
    *row.at("s") += PAGES as u64;
    row
}

fn copies_in_a_folio(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|way| {
        let (file, field) = protected_copies(bench)?;
        let wanted = match way {
            "page" => with_markers(row(bench, way, Size(64)), 16),
            "folio" => with_markers(row(bench, way, Size(64)), 1),
            _ => gather_row(bench, Size(64)),
        };
        let out = unmap_folio(bench, field.folio(0))?;
        must(out.whole, "a mapping is left")?;
        out.cost.must_equal(&wanted)?;
        field.must_look(0, PAGES, "E16")?;
        field.must_be_marked(0, PAGES, PAGES)?;
        bench.audit()?;
        field.must_be_told(3, Access::Write, true)?;
        field.verify(0, PAGES)?;
        field.must_be_marked(0, PAGES, PAGES)?;
        let mut byte = [1];
        same("what the file has", (file.read(0, &mut byte), byte), (Ok(1), [0]))
    })
}

/// `page` fails at the fifth page, the others at the batch.
fn put_back(bench: &Bench<'_>) -> Outcome {
    for point in [Point::SwapDup, Point::Share] {
        bench.each_way(|way| {
            let (_file, field) = protected_copies(bench)?;
            let memory = bench.memory();
            memory.inject.clear();
            memory.inject.fail(point, 4);
            let out = unmap_folio(bench, field.folio(0));
            memory.inject.clear();
            must(!out?.whole, "nothing is left")?;
            let (shape, marked) = if way == "page" { ("E4 P12", 12) } else { ("C16", 16) };
            field.must_look(0, PAGES, shape)?;
            same("markers", field.how_many(0, PAGES, Descriptor::is_marker), 0)?;
            same("present and marked", field.how_many(0, PAGES, |it| it.is_present() && it.is_uffd()), marked)?;
            field.must_be_marked(0, PAGES, PAGES)?;
            bench.audit()?;
            field.verify(0, PAGES)?;
            field.must_be_told(7, Access::Write, true)?;
            field.write_protect(0, PAGES, false)?;
            field.fill(0, PAGES)
        })?;
    }
    Ok(())
}

fn fault_on_marker(bench: &Bench<'_>) -> Outcome {
    for kind in [MapFlags::SHARED, MapFlags::PRIVATE] {
        let (file, field) = protected(bench, kind, PAGES)?;
        field.advise(0, PAGES, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
        field.verify(0, 1)?;
        field.must_be_told(1, Access::Write, true)?;
        field.must_look(0, PAGES, if kind == MapFlags::SHARED { "P2 M14" } else { "P1 P1 M14" })?;
        field.must_be_marked(0, PAGES, PAGES)?;
        bench.audit()?;
        field.write_protect(1, 1, false)?;
        field.store(1, 0, b"mine")?;
        field.must_be_told(0, Access::Write, true)?;
        field.must_be_told(15, Access::Write, true)?;
        let mut bytes = [0; 4];
        file.read(PAGE_SIZE, &mut bytes).map_err(failed("read"))?;
        same("written to the file", &bytes == b"mine", kind == MapFlags::SHARED)?;
        field.verify(2, PAGES - 2)?;
        field.must_be_marked(0, PAGES, PAGES - 1)?;
        // Protection that the program sets itself changes nothing about the markers.
        field.advise(0, PAGES, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
        field.must_look(0, PAGES, "M1 N1 M14")?;
        field.protect(0, PAGES, Prot::empty())?;
        field.protect(0, PAGES, read_write())?;
        field.must_look(0, PAGES, "M1 N1 M14")?;
    }
    Ok(())
}

/// A field of a hole, with room for `pages`.
fn hole<'b, 'm>(bench: &'b Bench<'m>, pages: usize) -> Result<(OpenFile<'m>, Field<'b, 'm>), String> {
    bench.set_size(Size(64));
    let file = bench.memory().open_file(pages as u64 * PAGE_SIZE).map_err(failed("a file"))?;
    let field = Field::of_file(bench, bench.space()?, (Field::BASE, pages), (&file, 0), MapFlags::SHARED)?;
    field.watch(0, pages, AreaFlags::UFFD_WP)?;
    Ok((file, field))
}

fn protect_absent(bench: &Bench<'_>) -> Outcome {
    // Over a border of tables, of which there is none yet.
    let (file, field) = hole(bench, 528)?;
    let (done, cost) = bench.measure(|| field.write_protect(504, 16, true));
    done?;
    field.must_look(500, 28, "N4 M16 N8")?;
    cost.must_be("g=16 r=32 s=16 x=0 T=0")?;
    same("pages of the file", file.filled_pages(), 0)?;
    bench.audit()?;
    field.must_be_told(511, Access::Write, true)?;
    field.must_look(500, 28, "N4 M7 P1 M8 N8")?;
    field.fill(520, 1)?;
    field.verify_zero(504, 16)?;
    field.must_be_told(512, Access::Write, true)?;
    let (done, cost) = bench.measure(|| field.write_protect(504, 16, true));
    done?;
    cost.must_be("x=0 s=0 T=0")?;
    field.advise(504, 16, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
    field.must_look(504, 16, "M16")?;
    let (done, cost) = bench.measure(|| field.write_protect(504, 16, false));
    done?;
    cost.must_be("s=16 x=0 T=0")?;
    field.must_look(504, 16, "N16")?;
    field.fill(504, 16)
}

fn gone_with_the_area(bench: &Bench<'_>) -> Outcome {
    let (file, field) = hole(bench, 64)?;
    field.write_protect(0, 64, true)?;
    field.unmap(48, 16)?;
    field.must_look(0, 64, "M48 N16")?;
    bench.audit()?;
    // Mapped anew in their place.
    let again = (field.va(32), 16);
    let other = Field::of_file(bench, field.space.clone(), again, (&file, 32), MapFlags::SHARED)?;
    field.must_look(0, 64, "M32 N32")?;
    other.fill(0, 16)?;
    field.exit();
    bench.audit()
}

/// Nobody watches a child, what mremap has moved, and what it maps twice.
fn gone_with_the_watch(bench: &Bench<'_>) -> Outcome {
    let (_file, field) = hole(bench, 64)?;
    field.write_protect(0, 64, true)?;
    let child = field.fork()?;
    child.must_look(0, 64, "N64")?;
    child.fill(0, 64)?;
    child.exit();
    field.move_pages(48, 16, 96).map_err(failed("mremap"))?;
    field.must_look(48, 64, "N64")?;
    field.fill(96, 16)?;
    field.remap((32, 0), 16, Some(112), MoveFlags::MAYMOVE | MoveFlags::FIXED).map_err(failed("mremap"))?;
    field.must_look(112, 16, "N16")?;
    field.fill(112, 16)?;
    bench.audit()?;
    field.must_be_told(32, Access::Write, true)?;
    let memory = bench.memory();
    memory.uffd_unregister(&field.space, field.bytes(0, 16), MONITOR).map_err(failed("unregister"))?;
    field.must_look(0, 32, "N16 M16")?;
    field.watch(16, 16, AreaFlags::UFFD_MISSING)?;
    field.must_look(0, 32, "N32")?;
    memory.uffd_release(&field.space, MONITOR);
    field.must_be_marked(0, 64, 0)?;
    field.fill(0, 48)
}

/// What is protected stays so, whatever happens to the page: also one that is cut off, and copies in private areas. As in Linux.
fn cut(bench: &Bench<'_>) -> Outcome {
    for kind in [MapFlags::SHARED, MapFlags::PRIVATE] {
        let (file, field) = watched(bench, kind)?;
        field.fill(4, 8)?;
        field.write_protect(0, PAGES, true)?;
        file.resize(8 * PAGE_SIZE).map_err(failed("ftruncate"))?;
        field.must_look(8, 8, "M8")?;
        bench.audit()?;
        let error = field.access(8, 0, false).err().unwrap_or_default();
        must(error.contains("BeyondEnd"), &error)?;
        file.resize(16 * PAGE_SIZE).map_err(failed("ftruncate"))?;
        field.must_be_told(9, Access::Write, true)?;
        field.verify_zero(8, 8)?;
        field.verify(0, 8)?;
        field.must_be_marked(0, PAGES, PAGES)?;
    }
    Ok(())
}

fn swapped_copies(bench: &Bench<'_>) -> Outcome {
    for (batch, looks) in [("off", 16), ("on", 1)] {
        bench.set(&format!("uffd_batch={batch}"))?;
        let (_file, field) = protected_copies(bench)?;
        field.page_out(0, PAGES)?;
        field.must_look(0, PAGES, "E16")?;
        let (done, cost) = bench.measure(|| field.advise(0, PAGES, advice::DONTNEED));
        done.map_err(failed("MADV_DONTNEED"))?;
        // The one flush is what the page-out has deferred.
        within(batch, cost.must_be(&format!("g={} x=16 s=16 T=1 asid=1 pending=1", 1 + looks)))?;
        field.must_look(0, PAGES, "M16")?;
        same("accounts", field.accounts(), (0, 0))?;
        // Half of them come back as the file's, a write to one of the others as a copy: all protected.
        field.verify_zero(0, 8)?;
        field.must_be_told(9, Access::Write, true)?;
        field.must_be_marked(0, PAGES, PAGES)?;
        bench.memory().swapoff(0).map_err(failed("swapoff"))?;
        bench.memory().swapon(0).map_err(failed("swapon"))?;
        field.must_be_marked(0, PAGES, PAGES)?;
        let rest = field.bytes(0, PAGES);
        same("protect what is mapped", bench.memory().uffd_protect(&field.space, rest, true), Ok::<(), Errno>(()))?;
        field.must_be_marked(0, PAGES, PAGES)?;
        field.write_protect(0, PAGES, false)?;
        field.fill(0, PAGES)?;
    }
    Ok(())
}
