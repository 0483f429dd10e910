//! MADV_POPULATE_READ and MADV_POPULATE_WRITE over every kind of area: what is there afterwards, and what the call says where it can
//! not go on. Also what mlock brings in, which is not the same.

use alloc::format;

use mm::inject::{Point, Times};
use mm::lru::LruList;
use mm::map::{MapFlags, MapRequest};
use mm::vma::{AreaFlags, Prot};
use mm::{Errno, HugeSize, OpenFile};
use mmu::{Descriptor, PAGE_SIZE};

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same, within};
use crate::family::huge;
use crate::field::{Field, Size, advice, read_write};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "POPULATE private memory: zeros to be read, folios to be written", run: private },
    Case { name: "POPULATE what the area does not allow", run: not_allowed },
    Case { name: "POPULATE up to a hole, and up to what is not allowed", run: up_to },
    Case { name: "POPULATE what is swapped out", run: swapped },
    Case { name: "POPULATE what a child shares", run: shared_with_a_child },
    Case { name: "POPULATE a locked area", run: locked },
    Case { name: "POPULATE droppable memory", run: droppable },
    Case { name: "POPULATE a shared map of a file", run: file_shared },
    Case { name: "POPULATE a private map of a file", run: file_private },
    Case { name: "POPULATE past the end of a file", run: past_the_end },
    Case { name: "POPULATE huge pages", run: huge_pages },
    Case { name: "POPULATE what is watched, and nobody answers", run: watched },
    Case { name: "POPULATE what is bad, and what can not be had", run: in_vain },
    Case { name: "POPULATE with bad arguments", run: bad_arguments },
    Case { name: "4.24 mlock brings in what an area allows, and dirties nothing that is shared", run: as_mapped },
];

const READ: u32 = advice::POPULATE_READ;
const WRITE: u32 = advice::POPULATE_WRITE;
const PAGES: usize = 16;

/// The advice about all of a field must end so.
fn must_end(field: &Field<'_, '_>, advice: u32, wanted: Result<(), Errno>) -> Outcome {
    let name = if advice == READ { "MADV_POPULATE_READ" } else { "MADV_POPULATE_WRITE" };
    same(name, field.advise(0, field.pages, advice), wanted)
}

/// How many pages are there, and how many of them can be written.
fn there(field: &Field<'_, '_>) -> (usize, usize) {
    let count = |is: fn(Descriptor) -> bool| field.how_many(0, field.pages, is);
    (count(Descriptor::is_valid), count(|entry| entry.is_valid() && entry.is_writable()))
}

/// No access to a page needs a fault any more.
fn must_be_ready(bench: &Bench<'_>, field: &Field<'_, '_>, write: bool) -> Outcome {
    let count = bench.memory().count();
    let faults = || {
        count.faults_anonymous.get() + count.faults_zero_page.get() + count.faults_copy.get() + count.faults_reuse.get()
    };
    let before = faults();
    if write {
        field.touch(0, field.pages)?
    } else {
        field.read(0, field.pages)?
    }
    same("faults afterwards", faults() - before, 0)
}

fn private(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(64), 2 * PAGES)?;
    let count = bench.memory().count();
    same("MADV_POPULATE_READ", field.advise(0, PAGES, READ), Ok(()))?;
    field.must_look(0, 2 * PAGES, "Z16 N16")?;
    same("accounts", field.accounts(), (0, 0))?;
    let faults = (count.faults_anonymous.get(), count.faults_copy.get(), count.faults_spurious.get());
    must_end(&field, WRITE, Ok(()))?;
    // Where the page of zeros is, no large folio fits; where nothing is, one fault takes one.
    let now = (count.faults_anonymous.get(), count.faults_copy.get(), count.faults_spurious.get());
    same("anonymous, copied, spurious", (now.0 - faults.0, now.1 - faults.1, now.2 - faults.2), (1, 16, 0))?;
    same("orders", (field.folio(0).order(), field.folio(PAGES).order()), (0, 4))?;
    field.must_look(PAGES, PAGES, "C16")?;
    same("there, writable", there(&field), (32, 32))?;
    same("accounts", field.accounts(), (32, 0))?;
    must_be_ready(bench, &field, true)?;
    field.verify_zero(1, 1)?;
    // A second time there is nothing to do, and a folded block is passed over at once.
    let (done, cost) = bench.measure(|| field.advise(PAGES, PAGES, WRITE));
    done.map_err(failed("MADV_POPULATE_WRITE"))?;
    cost.must_be("g=1 x=0 s=0 cas=0 T=0 local=0")
}

fn not_allowed(bench: &Bench<'_>) -> Outcome {
    let kinds = [
        (Prot::empty(), Err(Errno::EINVAL), Err(Errno::EINVAL)),
        (Prot::READ, Ok(()), Err(Errno::EINVAL)),
        // This CPU reads what it may write or execute; the area does not say so.
        (Prot::WRITE, Err(Errno::EINVAL), Ok(())),
        (Prot::EXECUTE, Err(Errno::EINVAL), Err(Errno::EINVAL)),
        (Prot::READ | Prot::EXECUTE, Ok(()), Err(Errno::EINVAL)),
        (read_write(), Ok(()), Ok(())),
    ];
    for (prot, read, write) in kinds {
        for (advice, wanted) in [(READ, read), (WRITE, write)] {
            let field = bench.field(Size(64), PAGES)?;
            field.protect(0, PAGES, prot)?;
            within(&format!("{prot:?}"), must_end(&field, advice, wanted))?;
            let pages = if wanted.is_ok() { PAGES } else { 0 };
            within(&format!("{prot:?}"), same("there", there(&field).0, pages))?;
        }
    }
    Ok(())
}

/// Unlike other advices these two stop where they can not go on.
fn up_to(bench: &Bench<'_>) -> Outcome {
    for advice in [READ, WRITE] {
        let field = bench.field(Size(4), PAGES)?;
        field.unmap(4, 2)?;
        must_end(&field, advice, Err(Errno::ENOMEM))?;
        same("before the hole", there(&field).0, 4)?;
        same("from the hole on", field.advise(5, 4, advice), Err(Errno::ENOMEM))?;
        same("still", there(&field).0, 4)?;
        field.protect(10, 2, Prot::empty())?;
        same("up to what is not allowed", field.advise(6, 10, advice), Err(Errno::EINVAL))?;
        same("before and between", there(&field).0, 4 + 4)?;
        // Two areas that touch are none of that.
        field.protect(12, 2, Prot::READ | Prot::WRITE | Prot::EXECUTE)?;
        same("over a border", field.advise(12, 4, advice), Ok(()))?;
    }
    Ok(())
}

fn swapped(bench: &Bench<'_>) -> Outcome {
    for advice in [READ, WRITE] {
        let field = bench.filled(Size(64), 2 * PAGES)?;
        field.page_out(0, PAGES)?;
        let majors = bench.memory().count().faults_swap_major.get();
        must_end(&field, advice, Ok(()))?;
        same("major faults", bench.memory().count().faults_swap_major.get() - majors, 1)?;
        field.must_look(0, PAGES, "C16")?;
        same("there, writable", there(&field), (32, 32))?;
        same("accounts", field.accounts(), (32, 0))?;
        field.verify(0, 2 * PAGES)?;
    }
    Ok(())
}

fn shared_with_a_child(bench: &Bench<'_>) -> Outcome {
    let field = bench.filled(Size(64), PAGES)?;
    let child = field.fork()?;
    let copies = || bench.memory().count().faults_copy.get();
    let before = copies();
    must_end(&field, READ, Ok(()))?;
    same("copies to be read", copies() - before, 0)?;
    must_end(&field, WRITE, Ok(()))?;
    same("copies to be written", copies() - before, PAGES as u64)?;
    same("there, writable", there(&field), (PAGES, PAGES))?;
    same("the child's", there(&child), (PAGES, 0))?;
    field.verify(0, PAGES)?;
    child.verify(0, PAGES)
}

fn locked(bench: &Bench<'_>) -> Outcome {
    let unevictable = || bench.memory().lru.size(LruList::Unevictable).1;
    for advice in [READ, WRITE] {
        let field = bench.field(Size(64), PAGES)?;
        let (start, length) = field.bytes(0, PAGES);
        bench.memory().mlock(&field.space, start, length, true).map_err(failed("mlock2"))?;
        same("locked on fault", (there(&field).0, unevictable()), (0, 0))?;
        must_end(&field, advice, Ok(()))?;
        same("there", there(&field).0, PAGES)?;
        // The page of zeros is nobody's, and on no list.
        same("that stay", unevictable(), if advice == WRITE { PAGES } else { 0 })?;
        bench.memory().mlock(&field.space, start, length, false).map_err(failed("mlock"))?;
        must_end(&field, advice, Ok(()))?;
        same("that stay", (there(&field), unevictable()), ((PAGES, PAGES), PAGES))?;
        field.unmap(0, PAGES)?;
    }
    Ok(())
}

fn droppable(bench: &Bench<'_>) -> Outcome {
    bench.set_size(Size(64));
    let field = Field::of_kind(bench, bench.space()?, Field::BASE, PAGES, MapFlags::DROPPABLE)?;
    must_end(&field, READ, Ok(()))?;
    field.must_look(0, PAGES, "Z16")?;
    must_end(&field, WRITE, Ok(()))?;
    same("there, writable", there(&field), (PAGES, PAGES))?;
    must(!field.folio(0).is_swap_backed(), "a page that may be dropped wants swap")
}

/// A file of so many pages, of which the first half was written, mapped by a field of twice the pages that it has.
fn mapped_file<'b, 'm>(
    bench: &'b Bench<'m>,
    kind: MapFlags,
    pages: usize,
) -> Result<(OpenFile<'m>, Field<'b, 'm>), alloc::string::String> {
    bench.set_size(Size(4));
    let file = bench.memory().open_file(PAGES as u64 * PAGE_SIZE).map_err(failed("a file"))?;
    let field = Field::of_file(bench, bench.space()?, (Field::BASE, pages), (&file, 0), kind)?;
    for page in 0..PAGES / 2 {
        file.write(page as u64 * PAGE_SIZE, &field.content(page)).map_err(failed("write"))?;
    }
    Ok((file, field))
}

/// Holes are filled by either, since all who map the file have to see one page.
fn file_shared(bench: &Bench<'_>) -> Outcome {
    for advice in [READ, WRITE] {
        let (_file, field) = mapped_file(bench, MapFlags::SHARED, PAGES)?;
        must_end(&field, advice, Ok(()))?;
        same("there", there(&field).0, PAGES)?;
        same("pages of files", (field.space.file_pages(), field.accounts()), (PAGES as i64, (0, 0)))?;
        let dirty = field.how_many(0, PAGES, Descriptor::is_dirty);
        same("dirty", dirty, if advice == WRITE { PAGES } else { 0 })?;
        field.verify(0, PAGES / 2)?;
        field.verify_zero(PAGES / 2, PAGES / 2)?;
    }
    Ok(())
}

fn file_private(bench: &Bench<'_>) -> Outcome {
    let (file, field) = mapped_file(bench, MapFlags::PRIVATE, PAGES)?;
    must_end(&field, READ, Ok(()))?;
    same("there, writable", there(&field), (PAGES, 0))?;
    same("pages of files, and copies", (field.space.file_pages(), field.accounts().0), (PAGES as i64, 0))?;
    must_end(&field, WRITE, Ok(()))?;
    same("there, writable", there(&field), (PAGES, PAGES))?;
    same("pages of files, and copies", (field.space.file_pages(), field.accounts().0), (0, PAGES as i64))?;
    field.fill(PAGES / 2, PAGES / 2)?;
    field.verify(0, PAGES)?;
    let mut byte = [1];
    let last = file.read((PAGES as u64 - 1) * PAGE_SIZE, &mut byte);
    same("what the file has", (last, byte), (Ok(1), [0]))
}

fn past_the_end(bench: &Bench<'_>) -> Outcome {
    for kind in [MapFlags::SHARED, MapFlags::PRIVATE] {
        for advice in [READ, WRITE] {
            let (_file, field) = mapped_file(bench, kind, 2 * PAGES)?;
            must_end(&field, advice, Err(Errno::EFAULT))?;
            same("there", there(&field).0, PAGES)?;
            same("from the end on", field.advise(PAGES, 1, advice), Err(Errno::EFAULT))?;
            same("up to the end", field.advise(0, PAGES, advice), Ok(()))?;
        }
    }
    Ok(())
}

fn huge_pages(bench: &Bench<'_>) -> Outcome {
    huge::each_size(|size: HugeSize, pages| {
        for advice in [READ, WRITE] {
            let field = huge::field(bench, size, 2, 2)?;
            // A page of each is enough to have all of both.
            same("of parts", field.advise(pages - 1, 2, advice), Ok(()))?;
            same("free and reserved", huge::pool(bench, size), (2, 0, 0))?;
            let is_ready = |page| huge::entry(&field, page).0;
            must(is_ready(0).is_valid() && is_ready(pages).is_valid(), "a huge page is not there")?;
            same("writable", is_ready(pages).is_writable(), advice == WRITE)?;
            field.protect(0, pages, Prot::empty())?;
            must_end(&field, advice, Err(Errno::EINVAL))?;
            field.exit();
            // None was reserved, and the pool is empty.
            bench.memory().frames.resize_huge(size, 0);
            let flags = MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::NORESERVE;
            let flags = flags | MapFlags::from_bits_retain(size.shift() << 26);
            let field = Field::of_kind(bench, bench.space()?, Field::BASE, pages, flags)?;
            must_end(&field, advice, Err(Errno::EFAULT))?;
            field.exit();
        }
        Ok(())
    })
}

/// Where there is somebody to ask, the call waits for him: programs show that.
fn watched(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(4), PAGES)?;
    field.fill(0, 4)?;
    field.watch(0, PAGES, AreaFlags::UFFD_MISSING)?;
    for advice in [READ, WRITE] {
        same("what is there", field.advise(0, 4, advice), Ok(()))?;
        must_end(&field, advice, Err(Errno::EFAULT))?;
        same("there", there(&field).0, 4)?;
    }
    let field = bench.filled(Size(4), PAGES)?;
    field.watch(0, PAGES, AreaFlags::UFFD_WP)?;
    field.write_protect(2, 1, true)?;
    must_end(&field, READ, Ok(()))?;
    must_end(&field, WRITE, Err(Errno::EFAULT))?;
    field.must_be_marked(0, PAGES, 1)
}

fn in_vain(bench: &Bench<'_>) -> Outcome {
    for advice in [READ, WRITE] {
        let inject = &bench.memory().inject;
        let field = bench.filled(Size(4), PAGES)?;
        field.page_out(0, PAGES)?;
        inject.arm(Point::DeviceRead, 3, Times::Always);
        must_end(&field, advice, Err(Errno::EFAULT))?;
        inject.clear();
        same("read before", there(&field).0, 3)?;
        inject.arm(Point::FolioAlloc, 0, Times::Always);
        must_end(&field, advice, Err(Errno::ENOMEM))?;
        inject.clear();
        must_end(&field, advice, Ok(()))?;
        field.advise(7, 1, advice::HWPOISON).map_err(failed("MADV_HWPOISON"))?;
        must_end(&field, advice, Err(Errno::EHWPOISON))?;
        field.unmap(0, PAGES)?;
    }
    Ok(())
}

fn bad_arguments(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(64), PAGES)?;
    let start = field.start.as_u64();
    for advice in [READ, WRITE] {
        let call = |address, length| bench.memory().madvise(&field.space, address, length, advice);
        same("inside a page", call(start + 8, PAGE_SIZE), Err(Errno::EINVAL))?;
        same("nothing", call(start, 0), Ok(()))?;
        same("everything", call(start, u64::MAX), Err(Errno::EINVAL))?;
        same("there", there(&field).0, 0)?;
        // A part of a page is all of it.
        same("a byte", call(start, 1), Ok(()))?;
        field.advise(0, PAGES, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
    }
    Ok(())
}

fn as_mapped(bench: &Bench<'_>) -> Outcome {
    let memory = bench.memory();
    let lock = |field: &Field<'_, '_>| {
        let (start, length) = field.bytes(0, field.pages);
        memory.mlock(&field.space, start, length, false)
    };
    // Whatever this CPU can do with it is enough, so that an area to be executed alone can be locked; but not one for nothing.
    let kinds = [(Prot::EXECUTE, Ok(()), 0), (Prot::WRITE, Ok(()), PAGES), (Prot::empty(), Err(Errno::ENOMEM), 0)];
    for (prot, wanted, writable) in kinds {
        let field = bench.field(Size(64), PAGES)?;
        field.protect(0, PAGES, prot)?;
        within(&format!("{prot:?}"), same("mlock", lock(&field), wanted))?;
        let pages = if wanted.is_ok() { PAGES } else { 0 };
        within(&format!("{prot:?}"), same("there, writable", there(&field), (pages, writable)))?;
    }
    let (_file, shared) = mapped_file(bench, MapFlags::SHARED, PAGES)?;
    same("mlock", lock(&shared), Ok(()))?;
    same("there", there(&shared).0, PAGES)?;
    same("dirty", shared.how_many(0, PAGES, Descriptor::is_dirty), 0)?;
    let (_file, private) = mapped_file(bench, MapFlags::PRIVATE, PAGES)?;
    same("mlock", lock(&private), Ok(()))?;
    same("there, writable", there(&private), (PAGES, PAGES))?;
    // MAP_POPULATE does the same.
    let request = MapRequest {
        address: private.va(64).as_u64(),
        length: PAGES as u64 * PAGE_SIZE,
        prot: read_write(),
        flags: MapFlags::SHARED | MapFlags::FIXED | MapFlags::POPULATE,
    };
    let at = memory.mmap_file(&private.space, request, &_file, 0).map_err(failed("mmap"))?;
    let entries = private.page_at(at);
    same("populated", private.how_many(entries, PAGES, Descriptor::is_valid), PAGES)?;
    same("dirty", private.how_many(entries, PAGES, Descriptor::is_dirty), 0)
}
