//! Ranges of memory files: filled before they are needed, made holes, searched; and seals (fallocate, MADV_REMOVE, lseek, fcntl).

use mm::Errno;
use mm::file::Seals;
use mm::map::MapFlags;
use mm::vma::Prot;
use mmu::PAGE_SIZE;

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same};
use crate::family::file::{PAGES, another, mapped, resize};
use crate::family::file_swap::{files, free, swapped};
use crate::field::{Field, Size, advice, read_write};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "FILE a range is filled before it is needed", run: filled },
    Case { name: "FILE a hole is punched: folios, parts of them, parts of pages", run: punched },
    Case { name: "FILE a hole in what is in swap gives slots back", run: punched_in_swap },
    Case { name: "FILE MADV_REMOVE of shared areas alone", run: removed },
    Case { name: "FILE data and holes are found", run: searched },
    Case { name: "FILE seals", run: sealed },
    Case { name: "FILE a file that is mapped or pinned is not sealed against writes", run: not_sealed },
];

const PAGE: u64 = PAGE_SIZE;
const FOLIO: u64 = PAGES as u64 * PAGE;

fn filled(bench: &Bench<'_>) -> Outcome {
    bench.set_size(Size(64));
    let file = bench.memory().open_file(0).map_err(failed("a file"))?;
    same("fill", file.fill(3 * PAGE + 5, FOLIO, true), Ok(()))?;
    // The first folio has the page, and those before it.
    same("size, pages", (file.size(), file.filled_pages()), (0, 20))?;
    same("fill", file.fill(FOLIO, 2 * FOLIO, false), Ok(()))?;
    same("size, pages", (file.size(), file.filled_pages()), (3 * FOLIO, 48))?;
    file.write(0, b"data").map_err(failed("write"))?;
    same("fill", file.fill(0, 3 * FOLIO, false), Ok(()))?;
    let mut bytes = [1; 8];
    same("read", (file.read(0, &mut bytes), &bytes), (Ok(8), b"data\0\0\0\0"))?;
    same("too far", file.fill(u64::MAX - 5, 9, false), Err(Errno::EFBIG))?;
    // What lies beyond the end goes when the file is cut, wherever.
    same("fill", file.fill(5 * FOLIO, PAGE, true), Ok(()))?;
    resize(&file, PAGES)?;
    same("pages", file.filled_pages(), PAGES)
}

fn punched(bench: &Bench<'_>) -> Outcome {
    let (file, shared) = mapped(bench, Size(64), 4 * PAGES, MapFlags::SHARED)?;
    shared.fill(0, 4 * PAGES)?;
    let private = another(bench, &file, 4 * PAGES, MapFlags::PRIVATE)?;
    private.read(0, 4 * PAGES)?;
    private.store(PAGES + 3, 0, b"mine")?;
    let frames = free(bench).0;
    // From inside page 5 of the first folio to inside page 2 of the third.
    let (from, to) = (5 * PAGE + 100, 2 * FOLIO + 2 * PAGE + 7);
    same("punch", file.punch(from, to - from), Ok(()))?;
    same("free frames", free(bench).0, frames + PAGES)?;
    same("pages, size", (file.filled_pages(), file.size()), (3 * PAGES, 4 * FOLIO))?;
    let copy = private.entry(PAGES + 3);
    must(copy.is_present() && copy.is_writable(), "the copy is gone")?;
    same("accounts", (private.space.file_pages(), private.accounts().0), (36, 1))?;
    bench.audit()?;
    same("the copy", private.load(PAGES + 3, 0)?, b'm')?;
    shared.verify(0, 5)?;
    for (page, at, zero) in [(5, 99, false), (5, 100, true), (34, 6, true), (34, 7, false)] {
        let wanted = if zero { 0 } else { shared.content(page)[at] };
        same(&alloc::format!("byte {at} of page {page}"), shared.load(page, at)?, wanted)?;
        same("the same by the other area", private.load(page, at)?, wanted)?;
    }
    shared.verify_zero(6, 28)?;
    shared.verify(35, 29)
}

fn punched_in_swap(bench: &Bench<'_>) -> Outcome {
    let (file, field) = swapped(bench, 4 * PAGES)?;
    let (frames, slots) = free(bench);
    // Whole pages need not come back.
    same("punch", file.punch(5 * PAGE, 2 * FOLIO), Ok(()))?;
    same("free", free(bench), (frames, slots + 32))?;
    same("pages of files", files(bench), (0, 32))?;
    bench.audit()?;
    // A part of one has to.
    same("punch", file.punch(3 * PAGE + 1, PAGE), Ok(()))?;
    bench.audit()?;
    field.verify(0, 3)?;
    same("bytes", (field.load(3, 0)?, field.load(3, 1)?, field.load(4, 0)?), (field.content(3)[0], 0, 0))?;
    field.verify_zero(5, 32)?;
    field.verify(37, 27)
}

fn removed(bench: &Bench<'_>) -> Outcome {
    let (file, shared) = mapped(bench, Size(64), 2 * PAGES, MapFlags::SHARED)?;
    shared.fill(0, 2 * PAGES)?;
    let private = another(bench, &file, 2 * PAGES, MapFlags::PRIVATE)?;
    let own = Field::new(bench, private.space.clone(), private.va(4 * PAGES), 1)?;
    same("of a private area", private.advise(0, PAGES, advice::REMOVE), Err(Errno::EACCES))?;
    same("of anonymous memory", own.advise(0, 1, advice::REMOVE), Err(Errno::EINVAL))?;
    same("of a shared area", shared.advise(PAGES, PAGES, advice::REMOVE), Ok(()))?;
    same("pages", file.filled_pages(), PAGES)?;
    shared.verify(0, PAGES)?;
    shared.verify_zero(PAGES, PAGES)?;
    private.verify(0, PAGES)?;
    bench.memory().mlock(&shared.space, shared.start.as_u64(), PAGE, false).map_err(failed("mlock"))?;
    same("of a locked area", shared.advise(0, 1, advice::REMOVE), Err(Errno::EINVAL))?;
    bench.memory().munlock(&shared.space, shared.start.as_u64(), PAGE).map_err(failed("munlock"))
}

fn searched(bench: &Bench<'_>) -> Outcome {
    bench.set_size(Size(4));
    let file = bench.memory().open_file(10 * PAGE).map_err(failed("a file"))?;
    for page in [2, 3, 7] {
        file.write(page * PAGE, b"x").map_err(failed("write"))?;
    }
    bench.memory().shrink(1);
    let data = [0, 2 * PAGE + 5, 4 * PAGE, 8 * PAGE, 10 * PAGE].map(|at| file.seek(at, true));
    let nothing = Err(Errno::ENXIO);
    same("data", data, [Ok(2 * PAGE), Ok(2 * PAGE + 5), Ok(7 * PAGE), nothing, nothing])?;
    let holes = [0, 2 * PAGE + 5, 7 * PAGE, 9 * PAGE, 10 * PAGE].map(|at| file.seek(at, false));
    same("holes", holes, [Ok(0), Ok(4 * PAGE), Ok(8 * PAGE), Ok(9 * PAGE), nothing])?;
    file.write(9 * PAGE, b"x").map_err(failed("write"))?;
    same("a hole behind the end", file.seek(9 * PAGE, false), Ok(10 * PAGE))
}

fn sealed(bench: &Bench<'_>) -> Outcome {
    let (file, field) = mapped(bench, Size(64), PAGES, MapFlags::SHARED)?;
    same("a file without seals", (file.seals(), file.seal(Seals::GROW)), (Seals::SEAL, Err(Errno::EPERM)))?;
    field.fill(0, PAGES)?;
    file.set_seals(Seals::empty());
    same("seal", file.seal(Seals::SHRINK), Ok(()))?;
    same("shorter", (file.resize(0), file.resize(FOLIO + PAGE), file.resize(PAGE)), {
        let no = Err(Errno::EPERM);
        (no, Ok(()), no)
    })?;
    same("seal", file.seal(Seals::GROW), Ok(()))?;
    let end = FOLIO + PAGE;
    same("longer", (file.resize(end + 1), file.resize(end)), (Err(Errno::EPERM), Ok(())))?;
    same("write at the end", file.write(end, b"over"), Err(Errno::EPERM))?;
    same("write over the end", file.write(end - 2, b"over"), Ok(2))?;
    same("fill", file.fill(0, end + 1, true), Err(Errno::EPERM))?;
    field.unmap(0, PAGES)?;
    same("seal", file.seal(Seals::WRITE | Seals::SEAL), Ok(()))?;
    same("write", file.write(0, b"x"), Err(Errno::EPERM))?;
    same("punch", file.punch(0, PAGE), Err(Errno::EPERM))?;
    same("one more seal", file.seal(Seals::EXEC), Err(Errno::EPERM))?;
    must(another(bench, &file, PAGES, MapFlags::SHARED).is_err(), "a sealed file is mapped to be written")?;
    let private = another(bench, &file, PAGES, MapFlags::PRIVATE)?;
    private.verify(1, PAGES - 1)?;
    private.store(0, 0, b"mine")?;
    private.protect(0, PAGES, Prot::READ)?;
    private.protect(0, PAGES, read_write())
}

fn not_sealed(bench: &Bench<'_>) -> Outcome {
    let (file, field) = mapped(bench, Size(64), PAGES, MapFlags::SHARED)?;
    file.set_seals(Seals::empty());
    field.fill(0, 1)?;
    same("seal of what is mapped", file.seal(Seals::WRITE), Err(Errno::EBUSY))?;
    let pin = bench.memory().pin_user_pages(&field.space, field.va(0), 1, true).map_err(failed("pin"))?;
    field.unmap(0, PAGES)?;
    same("seal of what is pinned", file.seal(Seals::WRITE), Err(Errno::EBUSY))?;
    pin.unpin();
    same("write", file.write(0, b"x"), Ok(1))?;
    same("seal", file.seal(Seals::WRITE), Ok(()))?;
    same("seals", file.seals(), Seals::WRITE)
}
