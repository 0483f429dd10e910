//! Reference 4.18, 4.22: huge pages that a program watches. Each is protected, missing and filled as a whole.

use mm::fault::{Access, FaultError};
use mm::uffd::{Contents, Notice};
use mm::vma::AreaFlags;
use mm::{Errno, HugeSize};
use mmu::{Descriptor, PAGE_SIZE};

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same};
use crate::family::huge::{each_size, entry, field, pool};
use crate::family::watching::MONITOR;
use crate::field::{Field, advice};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "4.22 a protected huge page is told", run: protected },
    Case { name: "4.22 a huge page that is dropped leaves a marker", run: dropped },
    Case { name: "4.22 huge pages that are not there are protected", run: protect_absent },
    Case { name: "4.22 marks of huge pages stay with their watch", run: stay_with_the_watch },
    Case { name: "4.22 a missing huge page is told and filled", run: missing },
    Case { name: "4.22 what is refused of watched huge pages", run: refused },
];

/// An access must be told to the monitor, with the address of the huge page that it is in.
fn must_be_told(field: &Field<'_, '_>, size: HugeSize, page: usize, access: Access, is_protected: bool) -> Outcome {
    let address = field.va(page - page % size.pages());
    let notice = Notice { monitor: MONITOR, address, access, is_protected };
    let result = field.memory().fault(&field.space, field.va(page), access);
    same("fault", result, Err(FaultError::Watched(notice)))
}

/// Whether the entry of a huge page is protected, and how.
fn look(field: &Field<'_, '_>, page: usize) -> &'static str {
    match entry(field, page).0 {
        entry if entry.is_none() => "none",
        entry if entry.is_marker() => "marker",
        entry if entry.is_uffd() && entry.is_writable() => "writable and marked",
        entry if entry.is_uffd() => "marked",
        _ => "plain",
    }
}

/// Two huge pages that are written, and watched for writes.
fn watched<'b, 'm>(bench: &'b Bench<'m>, size: HugeSize) -> Result<Field<'b, 'm>, alloc::string::String> {
    let field = field(bench, size, 2, 3)?;
    field.fill(0, 2 * size.pages())?;
    field.watch(0, 2 * size.pages(), AreaFlags::UFFD_WP)?;
    Ok(field)
}

fn protected(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = watched(bench, size)?;
        let (done, cost) = bench.measure(|| field.write_protect(0, pages, true));
        done?;
        cost.must_be("U=0 folds=0")?;
        same("entries", (look(&field, 0), look(&field, pages)), ("marked", "plain"))?;
        bench.audit()?;
        must_be_told(&field, size, 5, Access::Write, true)?;
        field.verify(0, 2 * pages)?;
        field.fill(pages, pages)?;
        field.protect(0, pages, mm::vma::Prot::READ)?;
        field.protect(0, pages, crate::field::read_write())?;
        must_be_told(&field, size, 5, Access::Write, true)?;
        let (done, cost) = bench.measure(|| field.write_protect(0, pages, true));
        done?;
        cost.must_be("x=0 s=0 links=0 T=0")?;
        field.write_protect(0, 2 * pages, false)?;
        same("entries", (look(&field, 0), look(&field, pages)), ("plain", "plain"))?;
        must(entry(&field, 0).0.is_writable(), "what is the program's alone is not writable at once")?;
        field.fill(0, 2 * pages)
    })
}

fn dropped(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = watched(bench, size)?;
        field.write_protect(0, pages, true)?;
        field.advise(0, 2 * pages, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
        same("entries", (look(&field, 0), look(&field, pages)), ("marker", "none"))?;
        same("pool", pool(bench, size), (3, 3, 2))?;
        bench.audit()?;
        field.advise(0, pages, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
        same("entry", look(&field, 0), "marker")?;
        let mut words = [0];
        bench.memory().pagemap(&field.space, field.va(1), &mut words);
        same("pagemap", words[0] >> 56, 1 << 6 | 1 << 1)?;
        field.read(1, 1)?;
        same("entry", look(&field, 0), "marked")?;
        must_be_told(&field, size, 3, Access::Write, true)?;
        field.advise(0, pages, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
        // By a write, which is told once the page is there.
        must_be_told(&field, size, 3, Access::Write, true)?;
        field.verify_zero(0, pages)?;
        field.write_protect(0, pages, false)?;
        field.fill(0, 2 * pages)
    })
}

fn protect_absent(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 2, 3)?;
        field.watch(0, 2 * pages, AreaFlags::UFFD_WP)?;
        field.write_protect(0, 2 * pages, true)?;
        same("entries", (look(&field, 0), look(&field, pages)), ("marker", "marker"))?;
        same("pool", pool(bench, size), (3, 3, 2))?;
        bench.audit()?;
        must_be_told(&field, size, 2, Access::Write, true)?;
        same("pool", pool(bench, size), (3, 2, 1))?;
        field.write_protect(0, 2 * pages, false)?;
        same("entries", (look(&field, 0), look(&field, pages)), ("plain", "none"))?;
        field.write_protect(0, 2 * pages, true)?;
        field.unmap(0, 2 * pages)?;
        same("entries", (look(&field, 0), look(&field, pages)), ("none", "none"))?;
        same("pool", pool(bench, size), (3, 3, 0))?;
        bench.audit()
    })
}

/// Nobody watches a child, or what has moved.
fn stay_with_the_watch(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = watched(bench, size)?;
        field.write_protect(0, 2 * pages, true)?;
        field.advise(pages, pages, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
        let child = field.fork()?;
        same("the child's entries", (look(&child, 0), look(&child, pages)), ("plain", "none"))?;
        same("the parent's entries", (look(&field, 0), look(&field, pages)), ("marked", "marker"))?;
        child.verify(0, pages)?;
        must_be_told(&field, size, 1, Access::Write, true)?;
        child.exit();
        field.move_pages(0, pages, 8 * pages).map_err(failed("mremap"))?;
        same("the moved entry", look(&field, 8 * pages), "plain")?;
        field.fill(8 * pages, 1)?;
        let memory = bench.memory();
        memory.uffd_unregister(&field.space, field.bytes(pages, pages), MONITOR).map_err(failed("unregister"))?;
        same("entry", look(&field, pages), "none")?;
        bench.audit()?;
        field.fill(pages, pages)
    })
}

fn missing(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 2, 3)?;
        field.watch(0, 2 * pages, AreaFlags::UFFD)?;
        must_be_told(&field, size, 3, Access::Read, false)?;
        must_be_told(&field, size, pages + 3, Access::Write, false)?;
        let put = |start: usize, is_protected| {
            bench.memory().uffd_fill_huge(&field.space, field.va(start).as_u64(), is_protected, |page, bytes| {
                bytes.copy_from_slice(&field.content(start + page));
                Ok(())
            })
        };
        same("copy", (put(0, false), put(pages, true)), (Ok(()), Ok(())))?;
        same("pool", pool(bench, size), (3, 1, 0))?;
        bench.audit()?;
        same("copy to what is there", put(0, false), Err(Errno::EEXIST))?;
        same("pool", pool(bench, size), (3, 1, 0))?;
        field.verify(0, 2 * pages)?;
        field.fill(0, pages)?;
        must_be_told(&field, size, pages, Access::Write, true)?;
        field.advise(0, pages, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
        must_be_told(&field, size, 0, Access::Read, false)?;
        same(
            "no copy",
            field.memory().uffd_fill_huge(&field.space, field.va(0).as_u64(), false, |page, _| {
                if page < 1 { Ok(()) } else { Err(Errno::EFAULT) }
            }),
            Err(Errno::EFAULT),
        )?;
        same("pool", pool(bench, size), (3, 2, 1))?;
        bench.audit()
    })
}

fn refused(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 2, 2)?;
        let memory = bench.memory();
        let (start, length) = field.bytes(0, pages);
        let part = (start, length + PAGE_SIZE);
        same("half a page", memory.uffd_register(&field.space, part, MONITOR, AreaFlags::UFFD), Err(Errno::EINVAL))?;
        field.watch(0, 2 * pages, AreaFlags::UFFD)?;
        same("half a page", memory.uffd_protect(&field.space, part, true), Err(Errno::EINVAL))?;
        same("half a page", memory.uffd_unregister(&field.space, part, MONITOR), Err(Errno::EINVAL))?;
        same("a small page", memory.uffd_fill(&field.space, start, Contents::Zero), Err(Errno::EINVAL))?;
        let inside = memory.uffd_fill_huge(&field.space, start + PAGE_SIZE, false, |_, _| Ok(()));
        same("inside of a page", inside, Err(Errno::EINVAL))?;
        same("entry", entry(&field, 0).0, Descriptor::NONE)
    })
}
