//! Reference 4.18, 6.2: memory files that a program watches for first touches, how it fills them, and what it sees of its markers.

use alloc::format;
use alloc::string::String;

use mm::fault::Access;
use mm::map::MapFlags;
use mm::uffd::Contents;
use mm::usage::Usage;
use mm::vma::AreaFlags;
use mm::{Errno, OpenFile};
use mmu::{Descriptor, PAGE_SIZE};

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same, within};
use crate::field::{Field, Size, advice};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "4.18 a page that a file has not is missing where it is shared", run: shared },
    Case { name: "4.18 a page that a file has not is missing where it is private", run: private },
    Case { name: "4.18 a page goes into a file, protected at once", run: filled_protected },
    Case { name: "4.18 a page that was protected is filled", run: filled_over_marker },
    Case { name: "4.18 a watched file is mapped page by page", run: single_pages },
    Case { name: "6.2 what a program sees of a marker", run: seen },
];

const PAGES: usize = 16;

/// A file that is a hole, and a map of it that is watched.
fn hole<'b, 'm>(
    bench: &'b Bench<'m>,
    kind: MapFlags,
    modes: AreaFlags,
) -> Result<(OpenFile<'m>, Field<'b, 'm>), String> {
    bench.set_size(Size(64));
    let file = bench.memory().open_file(PAGES as u64 * PAGE_SIZE).map_err(failed("a file"))?;
    let field = Field::of_file(bench, bench.space()?, (Field::BASE, PAGES), (&file, 0), kind)?;
    field.watch(0, PAGES, modes)?;
    Ok((file, field))
}

impl Field<'_, '_> {
    /// What fields are filled with, as a monitor copies it.
    fn page(&self, page: usize) -> [u8; PAGE_SIZE as usize] {
        let mut bytes = [0; PAGE_SIZE as usize];
        bytes.copy_from_slice(&self.content(page));
        bytes
    }

    fn put(&self, page: usize, contents: Contents<'_>) -> Result<(), Errno> {
        self.memory().uffd_fill(&self.space, self.va(page).as_u64(), contents)
    }
}

/// What the file has of a page.
fn byte_of(file: &OpenFile<'_>, page: usize) -> u8 {
    let mut byte = [0];
    let _ = file.read(page as u64 * PAGE_SIZE, &mut byte);
    byte[0]
}

fn shared(bench: &Bench<'_>) -> Outcome {
    let (file, field) = hole(bench, MapFlags::SHARED, AreaFlags::UFFD_MISSING)?;
    let other = Field::of_file(bench, bench.space()?, (Field::BASE, PAGES), (&file, 0), MapFlags::SHARED)?;
    field.must_be_told(0, Access::Read, false)?;
    field.must_be_told(0, Access::Write, false)?;
    field.put(0, Contents::Bytes(&field.page(0))).map_err(failed("copy"))?;
    field.put(1, Contents::Zero).map_err(failed("zeropage"))?;
    field.must_look(2, PAGES - 2, "N14")?;
    same("writable pages", field.how_many(0, 2, Descriptor::is_writable), 2)?;
    same("pages of the file, of the space", (file.filled_pages(), field.space.file_pages()), (2, 2))?;
    bench.audit()?;
    same("what the file has", byte_of(&file, 0), field.page(0)[0])?;
    other.verify(0, 1)?;
    field.fill(0, 2)?;
    other.verify(0, 2)?;
    same("copy to what is there", field.put(0, Contents::Bytes(&field.page(0))), Err(Errno::EEXIST))?;
    same("zeros to what is there", field.put(1, Contents::Zero), Err(Errno::EEXIST))?;
    let protected = field.page(2);
    same("protected where writes are not watched", field.put(2, Contents::Protected(&protected)), Err(Errno::EINVAL))?;
    // Missing is what the file has not, whoever gave it the page, and whether it is mapped.
    file.write(3 * PAGE_SIZE, b"there").map_err(failed("write"))?;
    same("byte", field.load(3, 0)?, b't')?;
    same("copy to what the file has", field.put(3, Contents::Zero), Err(Errno::EEXIST))?;
    field.advise(0, PAGES, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
    field.must_look(0, PAGES, "N16")?;
    field.verify(0, 2)?;
    field.must_be_told(4, Access::Read, false)?;
    file.resize(5 * PAGE_SIZE).map_err(failed("ftruncate"))?;
    same("beyond the end", field.put(5, Contents::Zero), Err(Errno::EFAULT))?;
    let error = field.access(5, 0, true).err().unwrap_or_default();
    must(error.contains("BeyondEnd"), &error)
}

/// What the monitor copies is the area's own.
fn private(bench: &Bench<'_>) -> Outcome {
    let (file, field) = hole(bench, MapFlags::PRIVATE, AreaFlags::UFFD_MISSING)?;
    field.must_be_told(0, Access::Read, false)?;
    field.must_be_told(0, Access::Write, false)?;
    field.put(0, Contents::Bytes(&field.page(0))).map_err(failed("copy"))?;
    field.put(1, Contents::Zero).map_err(failed("zeropage"))?;
    field.must_look(0, PAGES, "P1 Z1 N14")?;
    same("pages of the file", file.filled_pages(), 0)?;
    same("accounts", (field.space.file_pages(), field.accounts()), (0, (1, 0)))?;
    bench.audit()?;
    field.verify(0, 1)?;
    field.verify_zero(1, 1)?;
    field.fill(0, 2)?;
    same("what the file has", byte_of(&file, 0), 0)?;
    same("copy to what is there", field.put(0, Contents::Bytes(&field.page(0))), Err(Errno::EEXIST))?;
    file.write(3 * PAGE_SIZE, b"there").map_err(failed("write"))?;
    field.store(3, 1, b"X")?;
    same("byte", field.load(3, 0)?, b't')?;
    file.resize(5 * PAGE_SIZE).map_err(failed("ftruncate"))?;
    same("beyond the end", field.put(5, Contents::Bytes(&field.page(5))), Err(Errno::EFAULT))
}

fn filled_protected(bench: &Bench<'_>) -> Outcome {
    for kind in [MapFlags::SHARED, MapFlags::PRIVATE] {
        let (file, field) = hole(bench, kind, AreaFlags::UFFD)?;
        field.put(2, Contents::Protected(&field.page(2))).map_err(failed("copy"))?;
        field.must_be_marked(0, PAGES, 1)?;
        field.must_be_told(2, Access::Write, true)?;
        field.verify(2, 1)?;
        same("pages of the file", file.filled_pages(), usize::from(kind == MapFlags::SHARED))?;
        field.page_out(2, 1)?;
        field.must_be_marked(0, PAGES, 1)?;
        field.must_be_told(2, Access::Write, true)?;
        field.write_protect(2, 1, false)?;
        field.fill(2, 1)?;
        bench.audit()?;
    }
    Ok(())
}

/// Missing comes before protected; what fills the page says whether it stays protected, as in Linux.
fn filled_over_marker(bench: &Bench<'_>) -> Outcome {
    for kind in [MapFlags::SHARED, MapFlags::PRIVATE] {
        let (_file, field) = hole(bench, kind, AreaFlags::UFFD)?;
        field.write_protect(0, 2, true)?;
        field.must_look(0, PAGES, "M2 N14")?;
        field.must_be_told(0, Access::Write, false)?;
        field.put(0, Contents::Bytes(&field.page(0))).map_err(failed("copy"))?;
        field.put(1, Contents::Protected(&field.page(1))).map_err(failed("copy"))?;
        field.must_be_marked(0, PAGES, 1)?;
        field.fill(0, 1)?;
        field.must_be_told(1, Access::Write, true)?;
        field.verify(0, 2)?;
    }
    Ok(())
}

fn single_pages(bench: &Bench<'_>) -> Outcome {
    for kind in [MapFlags::SHARED, MapFlags::PRIVATE] {
        let (file, field) = hole(bench, kind, AreaFlags::UFFD_WP)?;
        field.read(4, 1)?;
        within(&format!("{kind:?}"), field.must_look(0, PAGES, "N4 P1 N11"))?;
        same("pages of the file", file.filled_pages(), PAGES)?;
    }
    Ok(())
}

fn seen(bench: &Bench<'_>) -> Outcome {
    const SWAPPED: u64 = 1 << 62;
    const PROTECTED: u64 = 1 << 57;
    let (_file, field) = hole(bench, MapFlags::SHARED, AreaFlags::UFFD_WP)?;
    field.write_protect(1, 1, true)?;
    let mut words = [u64::MAX; 3];
    bench.memory().pagemap(&field.space, field.va(0), &mut words);
    same("pagemap", words.map(|word| word & (0xff << 56)), [0, SWAPPED | PROTECTED, 0])?;
    let mut pages = [9; 3];
    let area = field.space.layout().read().areas.find(field.va(0)).copied().ok_or("no area")?;
    bench.memory().resident_of(&field.space, &area, field.va(0), &mut pages);
    same("mincore", pages, [0; 3])?;
    same("sums", bench.memory().usage(&field.space, field.va(0), field.va(PAGES)), Usage::default())?;
    // A look changes nothing.
    field.must_look(0, PAGES, "N1 M1 N14")
}
