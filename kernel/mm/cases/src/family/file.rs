//! Memory files (reference 4.15 to 4.17, 4.25, FILE-B): their pages shared and copied, taken out and found again, cut off everywhere.

use alloc::format;
use alloc::string::String;
use alloc::vec;

use mm::map::MapFlags;
use mm::remap::MoveFlags;
use mm::vma::Prot;
use mm::{Errno, OpenFile};
use mmu::{Descriptor, PAGE_SIZE};

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same};
use crate::family::helpers::flush_of;
use crate::field::{Field, Size, advice, read_write};
use crate::handwork::next_slot_starts_a_block;

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "FILE a shared map gets the file's folio, folded, by one fault", run: one_fault },
    Case { name: "FILE what one space stores another loads, and read returns", run: shared_data },
    Case { name: "FILE a private map reads the file's pages and copies what it writes", run: private_copy },
    Case { name: "FILE a write to an untouched private page copies at once", run: private_first_write },
    Case { name: "FILE an access beyond the end fails", run: beyond_the_end },
    Case { name: "FILE what is cut off is gone from every table", run: cut_off },
    Case { name: "FILE a folio that reaches over the end keeps zeros there", run: cut_inside_a_folio },
    Case { name: "FILE-B gather: files and anonymous memory in one flush", run: mixed_batch },
    Case { name: "4.6 fork of a shared map copies no entry", run: fork_shared },
    Case { name: "4.6 fork of a private map shares copies and pages of the file", run: fork_private },
    Case { name: "4.16 a shared map is writable again at once", run: protect },
    Case { name: "4.17 a map that moved is found when the file is cut", run: moved },
    Case { name: "4.17 an old length of 0 maps the same pages twice", run: mapped_again },
    Case { name: "4.15 MADV_DONTNEED takes out the entries, not the pages", run: dont_need },
    Case { name: "4.14 advices that suit anonymous memory alone", run: refused_advices },
    Case { name: "4.10 private copies come back from swap as one folio", run: copies_swapped },
    Case { name: "4.23 pages of a file are pinned as they are", run: pinned },
    Case { name: "FILE read and write, holes and sizes", run: read_and_write },
    Case { name: "FILE a shared anonymous map ends with its last area", run: unnamed },
];

/// Pages of a folio.
pub(super) const PAGES: usize = 16;
const BYTES: u64 = PAGES as u64 * PAGE_SIZE;

/// A file of `pages` pages and a map of all of it in a new space.
pub(super) fn mapped<'b, 'm>(
    bench: &'b Bench<'m>,
    size: Size,
    pages: usize,
    kind: MapFlags,
) -> Result<(OpenFile<'m>, Field<'b, 'm>), String> {
    bench.set_size(size);
    let file = bench.memory().open_file(pages as u64 * PAGE_SIZE).map_err(failed("a file"))?;
    let field = another(bench, &file, pages, kind)?;
    Ok((file, field))
}

/// A map of the file in another new space.
pub(super) fn another<'b, 'm>(
    bench: &'b Bench<'m>,
    file: &OpenFile<'m>,
    pages: usize,
    kind: MapFlags,
) -> Result<Field<'b, 'm>, String> {
    Field::of_file(bench, bench.space()?, (Field::BASE, pages), (file, 0), kind)
}

/// The file has what fields at the usual place were filled with.
pub(super) fn file_holds(file: &OpenFile<'_>, field: &Field<'_, '_>, first: usize, count: usize) -> Outcome {
    let mut bytes = vec![0; PAGE_SIZE as usize];
    for page in first..first + count {
        same("bytes read", file.read(page as u64 * PAGE_SIZE, &mut bytes), Ok(PAGE_SIZE as usize))?;
        must(bytes == field.content(page), &format!("page {page} of the file"))?;
    }
    Ok(())
}

pub(super) fn resize(file: &OpenFile<'_>, pages: usize) -> Outcome {
    file.resize(pages as u64 * PAGE_SIZE).map_err(failed("ftruncate"))
}

fn one_fault(bench: &Bench<'_>) -> Outcome {
    let (file, field) = mapped(bench, Size(64), 2 * PAGES, MapFlags::SHARED)?;
    let faults = bench.memory().count().faults_file.get();
    let (loaded, cost) = bench.measure(|| field.load(5, 0));
    same("byte", loaded?, 0)?;
    cost.must_be("x=0 s=16 T=0 U=0 folds=0")?;
    field.must_look(0, 2 * PAGES, if bench.folds() { "C16 N16" } else { "P16 N16" })?;
    field.touch(0, PAGES)?;
    same("faults", bench.memory().count().faults_file.get() - faults, 1)?;
    same("accounts", (field.space.file_pages(), field.accounts()), (16, (0, 0)))?;
    let folio = field.folio(0);
    same("references", folio.refs(), 32)?;
    same("pages of the file", (file.filled_pages(), bench.memory().files.pages()), (16, 16))
}

fn shared_data(bench: &Bench<'_>) -> Outcome {
    let (file, one) = mapped(bench, Size(64), PAGES, MapFlags::SHARED)?;
    let other = another(bench, &file, PAGES, MapFlags::SHARED)?;
    one.fill(0, PAGES)?;
    other.verify(0, PAGES)?;
    same("frame", other.entry(3).frame(), one.entry(3).frame())?;
    other.store(3, 7, b"x")?;
    same("byte", one.load(3, 7)?, b'x')?;
    file_holds(&file, &one, 4, 12)?;
    file.write(5 * PAGE_SIZE + 9, b"written").map_err(failed("write"))?;
    same("byte", other.load(5, 9)?, b'w')?;
    same("mapcount", one.folio(0).mapcount(), 32)
}

fn private_copy(bench: &Bench<'_>) -> Outcome {
    let (file, shared) = mapped(bench, Size(64), PAGES, MapFlags::SHARED)?;
    shared.fill(0, PAGES)?;
    let field = another(bench, &file, PAGES, MapFlags::PRIVATE)?;
    field.verify(0, PAGES)?;
    same("writable", field.how_many(0, PAGES, Descriptor::is_writable), 0)?;
    same("accounts", (field.space.file_pages(), field.accounts()), (16, (0, 0)))?;
    let (done, cost) = bench.measure(|| field.store(5, 0, b"mine"));
    done?;
    cost.must_be(if bench.folds() { "U=1" } else { "U=0" })?;
    field.must_look(0, PAGES, "P5 P1 P10")?;
    same("writable", field.how_many(0, PAGES, Descriptor::is_writable), 1)?;
    same("accounts", (field.space.file_pages(), field.accounts()), (15, (1, 0)))?;
    file_holds(&file, &shared, 0, PAGES)?;
    shared.verify(0, PAGES)?;
    shared.store(5, 0, b"ours")?;
    same("byte", field.load(5, 0)?, b'm')?;
    shared.store(6, 0, b"ours")?;
    same("a page that is not copied", field.load(6, 0)?, b'o')
}

fn private_first_write(bench: &Bench<'_>) -> Outcome {
    let (file, field) = mapped(bench, Size(64), PAGES, MapFlags::PRIVATE)?;
    file.write(0, &field.content(0)).map_err(failed("write"))?;
    field.store(0, 0, b"mine")?;
    field.must_look(0, PAGES, "P1 N15")?;
    same("accounts", (field.space.file_pages(), field.accounts()), (0, (1, 0)))?;
    same("byte", field.load(0, 8)?, field.content(0)[8])?;
    file_holds(&file, &field, 0, 1)
}

fn beyond_the_end(bench: &Bench<'_>) -> Outcome {
    for kind in [MapFlags::SHARED, MapFlags::PRIVATE] {
        let (file, field) = mapped(bench, Size(64), PAGES, kind)?;
        field.read(0, 1)?;
        file.resize(3 * PAGE_SIZE + 1).map_err(failed("ftruncate"))?;
        same("pages of the file", file.filled_pages(), PAGES)?;
        field.touch(0, 4)?;
        // The folio reaches over the end: whoever maps the file from now on gets no more than its pages.
        let other = another(bench, &file, PAGES, kind)?;
        other.read(0, 4)?;
        for (page, write) in [(4, false), (4, true), (15, false)] {
            for field in [&field, &other] {
                let error = field.access(page, 0, write).err().unwrap_or_default();
                must(error.contains("BeyondEnd"), &format!("page {page}, write {write}: {error}"))?;
            }
        }
        resize(&file, PAGES)?;
        field.touch(4, PAGES - 4)?;
    }
    Ok(())
}

fn cut_off(bench: &Bench<'_>) -> Outcome {
    let (file, shared) = mapped(bench, Size(64), 4 * PAGES, MapFlags::SHARED)?;
    let private = another(bench, &file, 4 * PAGES, MapFlags::PRIVATE)?;
    shared.fill(0, 4 * PAGES)?;
    private.touch(2 * PAGES, PAGES)?;
    private.page_out(2 * PAGES, PAGES)?;
    private.read(0, 2 * PAGES)?;
    private.read(3 * PAGES, PAGES)?;
    private.touch(PAGES, 2)?;
    same("accounts", (private.space.file_pages(), private.accounts()), (46, (2, 16)))?;
    let free = bench.memory().frames.free_count();
    resize(&file, PAGES)?;
    shared.must_look(0, 4 * PAGES, if bench.folds() { "C16 N48" } else { "P16 N48" })?;
    private.must_look(0, 4 * PAGES, if bench.folds() { "C16 N48" } else { "P16 N48" })?;
    same("accounts", (private.space.file_pages(), private.accounts()), (16, (0, 0)))?;
    same("free frames", bench.memory().frames.free_count(), free + 48 + 2)?;
    bench.audit()?;
    resize(&file, 4 * PAGES)?;
    shared.verify(0, PAGES)?;
    private.verify_zero(PAGES, 3 * PAGES)?;
    shared.verify_zero(PAGES, 3 * PAGES)
}

fn cut_inside_a_folio(bench: &Bench<'_>) -> Outcome {
    let (file, field) = mapped(bench, Size(64), PAGES, MapFlags::SHARED)?;
    field.fill(0, PAGES)?;
    file.resize(5 * PAGE_SIZE + 100).map_err(failed("ftruncate"))?;
    field.must_look(0, PAGES, "P6 N10")?;
    same("pages of the file", file.filled_pages(), PAGES)?;
    bench.audit()?;
    resize(&file, PAGES)?;
    field.verify(0, 5)?;
    let (last, wanted) = (field.content(5), |at: usize| if at < 100 { Some(()) } else { None });
    for at in [0, 99, 100, 4095] {
        same("byte of the last page", field.load(5, at)?, wanted(at).map_or(0, |()| last[at]))?;
    }
    field.verify_zero(6, 10)?;
    same("frame", field.entry(9).frame(), field.folio(0).page(9))
}

fn mixed_batch(bench: &Bench<'_>) -> Outcome {
    bench.set("unmap=gather")?;
    let (file, shared) = mapped(bench, Size(64), PAGES, MapFlags::SHARED)?;
    let own = Field::new(bench, shared.space.clone(), shared.va(PAGES), PAGES)?;
    shared.fill(0, PAGES)?;
    own.fill(0, PAGES)?;
    let (done, cost) = bench.measure(|| shared.page_out(0, 2 * PAGES));
    done?;
    cost.must_be(&format!("x=32 s=0 {}", flush_of(bench, 32)))?;
    shared.must_look(0, 2 * PAGES, "N16 E16")?;
    own.verify(0, PAGES)?;
    file_holds(&file, &shared, 0, PAGES)
}

fn fork_shared(bench: &Bench<'_>) -> Outcome {
    let (_file, parent) = mapped(bench, Size(64), PAGES, MapFlags::SHARED)?;
    parent.fill(0, PAGES)?;
    let (child, cost) = bench.measure(|| parent.fork());
    let child = child?;
    cost.must_be("x=0 T=1 asid=1")?;
    child.must_look(0, PAGES, "N16")?;
    same("writable", parent.how_many(0, PAGES, Descriptor::is_writable), PAGES)?;
    child.store(3, 0, b"child")?;
    same("byte", parent.load(3, 0)?, b'c')?;
    child.verify(4, 12)?;
    parent.exit();
    child.verify(4, 12)
}

fn fork_private(bench: &Bench<'_>) -> Outcome {
    let (file, parent) = mapped(bench, Size(64), PAGES, MapFlags::PRIVATE)?;
    file.write(0, &[7; BYTES as usize]).map_err(failed("write"))?;
    parent.read(0, PAGES)?;
    parent.store(4, 0, b"parent")?;
    let child = parent.fork()?;
    same("accounts", (child.space.file_pages(), child.accounts()), (15, (1, 0)))?;
    same("copy", child.entry(4).frame(), parent.entry(4).frame())?;
    child.store(4, 0, b"child")?;
    child.store(5, 0, b"child")?;
    same("bytes", (parent.load(4, 0)?, parent.load(5, 0)?), (b'p', 7))?;
    bench.audit()?;
    resize(&file, 0)?;
    same("accounts", (child.space.file_pages(), child.accounts()), (0, (0, 0)))?;
    parent.must_look(0, PAGES, "N16")
}

fn protect(bench: &Bench<'_>) -> Outcome {
    let (_file, field) = mapped(bench, Size(64), PAGES, MapFlags::SHARED)?;
    field.fill(0, PAGES)?;
    field.protect(0, PAGES, Prot::READ)?;
    same("writable", field.how_many(0, PAGES, Descriptor::is_writable), 0)?;
    must(field.store(3, 0, &[1]).is_err(), "a store to read-only memory succeeds")?;
    let (done, cost) = bench.measure(|| field.protect(0, PAGES, read_write()));
    done?;
    cost.must_be(&format!("U=0 x=16 s=16 {}", flush_of(bench, 16)))?;
    same("writable", field.how_many(0, PAGES, Descriptor::is_writable), PAGES)?;
    field.must_look(0, PAGES, if bench.folds() { "C16" } else { "P16" })?;
    field.verify(0, PAGES)
}

fn moved(bench: &Bench<'_>) -> Outcome {
    let (file, field) = mapped(bench, Size(64), 2 * PAGES, MapFlags::SHARED)?;
    field.fill(0, 2 * PAGES)?;
    field.move_pages(PAGES, PAGES, 5 * PAGES).map_err(failed("mremap"))?;
    field.must_look(4 * PAGES, 2 * PAGES, if bench.folds() { "N16 C16" } else { "N16 P16" })?;
    field.verify_moved(PAGES, PAGES, 5 * PAGES)?;
    bench.audit()?;
    resize(&file, PAGES + 4)?;
    field.must_look(5 * PAGES, PAGES, "P4 N12")?;
    field.verify_moved(PAGES, 4, 5 * PAGES)
}

pub(super) fn mapped_again(bench: &Bench<'_>) -> Outcome {
    let (_file, field) = mapped(bench, Size(64), 2 * PAGES, MapFlags::SHARED)?;
    field.fill(0, 2 * PAGES)?;
    let to = field.remap((PAGES, 0), PAGES, Some(4 * PAGES), MoveFlags::MAYMOVE | MoveFlags::FIXED);
    same("address", to.map(|at| field.page_at(at)), Ok(4 * PAGES))?;
    field.verify_moved(PAGES, PAGES, 4 * PAGES)?;
    same("frame", field.entry(4 * PAGES).frame(), field.entry(PAGES).frame())?;
    let private = another(bench, &_file, 2 * PAGES, MapFlags::PRIVATE)?;
    let to = private.remap((PAGES, 0), PAGES, None, MoveFlags::MAYMOVE);
    same("a private map twice", to, Err(Errno::EINVAL))
}

fn dont_need(bench: &Bench<'_>) -> Outcome {
    let (_file, field) = mapped(bench, Size(64), PAGES, MapFlags::SHARED)?;
    field.fill(0, PAGES)?;
    let deferred = bench.memory().deferred.len();
    field.advise(3, 10, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
    field.must_look(0, PAGES, "P3 N10 P3")?;
    same("waiting for a split", bench.memory().deferred.len(), deferred)?;
    same("accounts", field.space.file_pages(), 6)?;
    field.verify(0, PAGES)
}

fn refused_advices(bench: &Bench<'_>) -> Outcome {
    for kind in [MapFlags::SHARED, MapFlags::PRIVATE] {
        let (_file, field) = mapped(bench, Size(64), PAGES, kind)?;
        field.fill(0, PAGES)?;
        same("MADV_FREE", field.advise(0, PAGES, advice::FREE), Err(Errno::EINVAL))?;
        same("MADV_WIPEONFORK", field.advise(0, PAGES, advice::WIPEONFORK), Err(Errno::EINVAL))?;
        same("MADV_COLD", field.advise(0, PAGES, advice::COLD), Ok(()))?;
        field.verify(0, PAGES)?;
    }
    Ok(())
}

fn copies_swapped(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let (file, field) = mapped(bench, Size(64), PAGES, MapFlags::PRIVATE)?;
        field.fill(0, PAGES)?;
        next_slot_starts_a_block(bench)?;
        field.page_out(0, PAGES)?;
        same("accounts", (field.space.file_pages(), field.accounts()), (0, (0, 16)))?;
        bench.audit()?;
        field.verify(0, PAGES)?;
        field.must_look(0, PAGES, if bench.folds() { "C16" } else { "P16" })?;
        same("accounts", (field.space.file_pages(), field.accounts()), (0, (16, 0)))?;
        let mut byte = [1];
        same("read", (file.read(0, &mut byte), byte), (Ok(1), [0]))
    })
}

fn pinned(bench: &Bench<'_>) -> Outcome {
    let (file, shared) = mapped(bench, Size(64), PAGES, MapFlags::SHARED)?;
    shared.fill(0, PAGES)?;
    let private = another(bench, &file, PAGES, MapFlags::PRIVATE)?;
    let memory = bench.memory();
    let read = memory.pin_user_pages(&private.space, private.va(3), 2, false).map_err(failed("pin to read"))?;
    let write = memory.pin_user_pages(&shared.space, shared.va(3), 1, true).map_err(failed("pin to write"))?;
    same("frame", (read.frame(0), write.frame(0)), (shared.entry(3).frame(), shared.entry(3).frame()))?;
    same("anonymous pages", private.space.anon_pages(), 0)?;
    shared.page_out(0, PAGES)?;
    same("entries of a pinned folio", shared.how_many(0, PAGES, Descriptor::is_present), PAGES)?;
    write.write(0, 0, b"device");
    same("byte", private.load(3, 0)?, b'd')?;
    resize(&file, 0)?;
    shared.must_look(0, PAGES, "N16")?;
    let mut seen = [0; 6];
    read.read(0, 0, &mut seen);
    same("what the device still reads", &seen, b"device")?;
    read.unpin();
    write.unpin();
    Ok(())
}

fn read_and_write(bench: &Bench<'_>) -> Outcome {
    bench.set_size(Size(64));
    let file = bench.memory().open_file(0).map_err(failed("a file"))?;
    let mut bytes = [1; 8];
    same("read of an empty file", file.read(0, &mut bytes), Ok(0))?;
    same("write", file.write(PAGE_SIZE - 3, b"across"), Ok(6))?;
    same("size, pages", (file.size(), file.filled_pages()), (PAGE_SIZE + 3, 2))?;
    same("read at the end", file.read(PAGE_SIZE - 3, &mut bytes), Ok(6))?;
    same("bytes", &bytes[..6], b"across")?;
    same("write far away", file.write(100 * PAGE_SIZE, &[9; 2 * PAGE_SIZE as usize]), Ok(8192))?;
    same("pages", file.filled_pages(), 4)?;
    same("read of a hole", (file.read(50 * PAGE_SIZE, &mut bytes), bytes), (Ok(8), [0; 8]))?;
    same("size", file.size(), 102 * PAGE_SIZE)?;
    same("write of a block", file.write(BYTES, &[5; BYTES as usize]), Ok(BYTES as usize))?;
    same("pages", file.filled_pages(), 20)?;
    same("too large", file.resize(u64::MAX), Err(Errno::EFBIG))?;
    same("write beyond", file.write(u64::MAX - 3, b"x"), Err(Errno::EFBIG))?;
    resize(&file, 0)?;
    same("pages", bench.memory().files.pages(), 0)
}

fn unnamed(bench: &Bench<'_>) -> Outcome {
    bench.set_size(Size(64));
    let free = bench.memory().frames.free_count();
    let field = Field::of_kind(bench, bench.space()?, Field::BASE, PAGES, MapFlags::SHARED)?;
    field.fill(0, PAGES)?;
    let child = field.fork()?;
    field.exit();
    child.verify(0, PAGES)?;
    child.unmap(4, 12)?;
    same("pages of files", bench.memory().files.pages(), 16)?;
    child.exit();
    same("pages of files", bench.memory().files.pages(), 0)?;
    same("free frames", bench.memory().frames.free_count(), free)
}
