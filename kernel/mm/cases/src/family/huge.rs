//! Huge pages (reference 1.3, 4.22), and memory that goes bad under a program: `MADV_HWPOISON`.

use alloc::format;
use alloc::string::String;

use mm::fault::{Access, FaultError};
use mm::frame::HugeCounts;
use mm::inject::Point;
use mm::map::{MapFlags, MapRequest};
use mm::remap::MoveFlags;
use mm::swap::bad_frame;
use mm::usage::Usage;
use mm::vma::Prot;
use mm::{Errno, HugeSize};
use mmu::{Descriptor, PAGE_SIZE};

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same};
use crate::family::helpers::operations;
use crate::field::{Field, advice, read_write};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "4.22 the first touch takes a huge page from the pool", run: first_touch },
    Case { name: "4.22 a map that can not be reserved is refused", run: reservation },
    Case { name: "4.22 a touch finds the pool empty", run: empty_pool },
    Case { name: "4.22 mmap of huge pages with bad arguments", run: bad_maps },
    Case { name: "4.22 munmap of a huge page is one flush", run: unmap },
    Case { name: "4.22 MADV_DONTNEED reserves again", run: dont_need },
    Case { name: "4.12 MADV_PAGEOUT refuses huge pages", run: refused_advice },
    Case { name: "4.16 mprotect of huge pages", run: protect },
    Case { name: "4.17 mremap of huge pages", run: move_pages },
    Case { name: "4.6 fork shares huge pages, and a write copies one", run: fork },
    Case { name: "4.22 who reserved keeps the page", run: reserved_keeps },
    Case { name: "4.22 MADV_DONTNEED of a shared page takes it from the child", run: dont_need_shared },
    Case { name: "4.22 MAP_POPULATE of huge pages", run: populate },
    Case { name: "4.23 huge pages are not pinned", run: pin },
    Case { name: "1.3 a huge page of bad memory is unmapped", run: poison },
    Case { name: "1.3 a shared huge page of bad memory is unmapped everywhere", run: poison_shared },
    Case { name: "1.13 R2 a huge page that can not be unmapped says so", run: poison_refused },
    Case { name: "1.3 MADV_DONTNEED of bad memory", run: dont_need_poison },
];

/// Both sizes, in pages.
///
/// # Errors
/// Those of the test.
pub fn each_size(test: impl Fn(HugeSize, usize) -> Outcome) -> Outcome {
    HugeSize::ALL.into_iter().try_for_each(|size| {
        test(size, size.pages()).map_err(|error| format!("pages of {} bytes: {error}", size.bytes()))
    })
}

fn kind(size: HugeSize) -> MapFlags {
    MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::from_bits_retain(size.shift() << 26)
}

/// An area of `count` huge pages, where the pool has `total`. Before it lies a page that keeps the tables around it.
///
/// # Errors
/// If there is no memory for them.
pub fn field<'b, 'm>(
    bench: &'b Bench<'m>,
    size: HugeSize,
    count: usize,
    total: usize,
) -> Result<Field<'b, 'm>, String> {
    same("huge pages", bench.memory().frames.resize_huge(size, total), total)?;
    let space = bench.space()?;
    Field::new(bench, space.clone(), Field::BASE, 1)?.touch(0, 1)?;
    let start = match size {
        HugeSize::Run => Field::BASE.add_pages(16),
        HugeSize::Block => Field::BASE.add_pages(512),
    };
    Field::of_kind(bench, space, start, count * size.pages(), kind(size))
}

/// Total, free and reserved pages of a pool.
pub fn pool(bench: &Bench<'_>, size: HugeSize) -> (usize, usize, usize) {
    let HugeCounts { total, free, reserved } = bench.memory().frames.huge_counts(size);
    (total, free, reserved)
}

/// What stands for a page, at whatever level.
pub fn entry(field: &Field<'_, '_>, page: usize) -> (Descriptor, u8) {
    field.space.tables.look(field.memory(), field.va(page))
}

fn fault(field: &Field<'_, '_>, page: usize, access: Access) -> Result<(), FaultError> {
    field.memory().fault(&field.space, field.va(page), access)
}

/// Descriptors stored for one huge page, as entries or as blocks.
fn stores(size: HugeSize, count: usize) -> String {
    match size {
        HugeSize::Run => format!("s={} links=0", 16 * count),
        HugeSize::Block => format!("s=0 links={count}"),
    }
}

/// TLBI for a huge page: a block is one in any case.
fn flushes(bench: &Bench<'_>, size: HugeSize) -> usize {
    if size == HugeSize::Block { 1 } else { operations(bench, 16) }
}

fn first_touch(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 2, 3)?;
        let base = field.accounts();
        same("reserved", pool(bench, size), (3, 3, 2))?;
        field.read(pages, 1)?;
        same("after a read", pool(bench, size), (3, 2, 1))?;
        must(!entry(&field, pages).0.is_writable(), "a page that was read is writable")?;
        let (done, cost) = bench.measure(|| field.memory().fault(&field.space, field.va(1), Access::Write));
        done.map_err(failed("fault"))?;
        cost.must_be(&format!("T=0 U=0 folds=0 {}", stores(size, 1)))?;
        same("after a write", pool(bench, size), (3, 1, 0))?;
        field.verify_zero(0, pages)?;
        field.fill(0, 2 * pages)?;
        let (first, level) = entry(&field, 0);
        same("level", level, size.level())?;
        same("folded", first.is_folded(), size == HugeSize::Run)?;
        must(first.is_writable() && first.is_dirty() && first.is_young(), "an entry without its flags")?;
        same("accounts", field.accounts(), base)?;
        same("pages of huge pages", field.space.huge_pages(), 2 * pages as i64)?;
        same("what /proc tells", shown(&field, pages), Usage { huge_private: 2 * pages as u64, ..Usage::default() })?;
        let folio = bench.memory().frames.folio_of(first.frame());
        same("references and map count", (folio.refs(), folio.mapcount()), (1, 1))?;
        bench.audit()?;
        field.verify(0, 2 * pages)?;
        bench.exit(&field.space);
        same("after exit", pool(bench, size), (3, 3, 0))
    })
}

/// The sums over two huge pages, of which every part is there for whoever asks.
fn shown(field: &Field<'_, '_>, pages: usize) -> Usage {
    let (memory, end) = (field.memory(), field.va(2 * pages));
    let mut words = [0; 2];
    memory.pagemap(&field.space, field.va(pages - 1), &mut words);
    let (last, next) = (entry(field, pages - 1), entry(field, pages));
    let frames = [last.0.frame().add(if last.1 == 2 { pages - 1 } else { 0 }), next.0.frame()];
    // Bits 63 and 56: present, and mapped here alone.
    let is_told = words == frames.map(|frame| 1 << 63 | 1 << 56 | frame.as_u64());
    if is_told { memory.usage(&field.space, field.va(0), end) } else { Usage::default() }
}

fn map_more(field: &Field<'_, '_>, size: HugeSize, count: usize, more: MapFlags) -> Result<u64, Errno> {
    let flags = kind(size) | MapFlags::ANONYMOUS | more;
    let length = count as u64 * size.bytes();
    field.memory().mmap(&field.space, MapRequest { address: 0, length, prot: read_write(), flags })
}

fn reservation(bench: &Bench<'_>) -> Outcome {
    each_size(|size, _| {
        let field = field(bench, size, 2, 4)?;
        same("three of two", map_more(&field, size, 3, MapFlags::empty()), Err(Errno::ENOMEM))?;
        same("nothing reserved for it", pool(bench, size), (4, 4, 2))?;
        let more = map_more(&field, size, 2, MapFlags::empty()).map_err(failed("mmap"))?;
        same("aligned", more % size.bytes(), 0)?;
        same("all reserved", pool(bench, size), (4, 4, 4))?;
        same("the pool keeps what is reserved", bench.memory().frames.resize_huge(size, 0), 4)?;
        field.memory().munmap(&field.space, more, 2 * size.bytes()).map_err(failed("munmap"))?;
        same("given up", pool(bench, size), (4, 4, 2))?;
        bench.exit(&field.space);
        same("after exit", pool(bench, size), (4, 4, 0))
    })
}

fn empty_pool(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 1, 2)?;
        let more = map_more(&field, size, 3, MapFlags::NORESERVE).map_err(failed("mmap"))?;
        let first = field.page_at(more);
        same("one is not reserved", fault(&field, first, Access::Write), Ok(()))?;
        same("the other is", fault(&field, first + pages, Access::Write), Err(FaultError::NoHugePage))?;
        field.fill(0, pages)?;
        same("none is left", fault(&field, first + pages, Access::Read), Err(FaultError::NoHugePage))?;
        bench.exit(&field.space);
        Ok(())
    })
}

fn bad_maps(bench: &Bench<'_>) -> Outcome {
    let size = HugeSize::Run;
    let field = field(bench, size, 1, 2)?;
    let map = |address: u64, flags: MapFlags| {
        let flags = flags | MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::HUGETLB;
        field.memory().mmap(&field.space, MapRequest { address, length: PAGE_SIZE, prot: read_write(), flags })
    };
    same("128 KiB", map(0, MapFlags::from_bits_retain(17 << 26)), Err(Errno::EINVAL))?;
    let inside = field.va(17).as_u64();
    let fixed = MapFlags::FIXED | MapFlags::from_bits_retain(16 << 26);
    same("inside a huge page", map(inside, fixed), Err(Errno::EINVAL))?;
    same("2 MiB, of which there is none", map(0, MapFlags::empty()), Err(Errno::ENOMEM))?;
    let at = map(0, MapFlags::from_bits_retain(16 << 26)).map_err(failed("a length that is rounded up"))?;
    same("munmap of a page", field.memory().munmap(&field.space, at, PAGE_SIZE), Err(Errno::EINVAL))?;
    same(
        "munmap from inside",
        field.memory().munmap(&field.space, at + PAGE_SIZE, 15 * PAGE_SIZE),
        Err(Errno::EINVAL),
    )?;
    same("munmap of all", field.memory().munmap(&field.space, at, 16 * PAGE_SIZE), Ok(()))
}

fn unmap(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 2, 2)?;
        field.fill(0, 2 * pages)?;
        let (done, cost) = bench.measure(|| field.unmap(0, pages));
        done?;
        let swaps = if size == HugeSize::Run { "x=16 links=0" } else { "x=0 links=1" };
        cost.must_be(&format!("T={} U=0 s=0 I=1 D=1 walk=0 asid=0 {swaps}", flushes(bench, size)))?;
        same("free again, and not reserved", pool(bench, size), (2, 1, 0))?;
        field.verify(pages, pages)?;
        bench.exit(&field.space);
        same("after exit", pool(bench, size), (2, 2, 0))
    })
}

fn dont_need(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 2, 2)?;
        field.fill(0, 2 * pages)?;
        same("from inside a huge page", field.advise(1, pages, advice::DONTNEED), Err(Errno::EINVAL))?;
        // Rounded down to whole ones.
        field.advise(0, 2 * pages - 1, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
        same("free and reserved", pool(bench, size), (2, 1, 1))?;
        bench.audit()?;
        field.verify(pages, pages)?;
        field.verify_zero(0, pages)?;
        same("taken again", pool(bench, size), (2, 0, 0))?;
        bench.exit(&field.space);
        Ok(())
    })
}

fn refused_advice(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 1, 1)?;
        field.fill(0, pages)?;
        for advice in [advice::PAGEOUT, advice::COLD, advice::FREE, advice::WIPEONFORK] {
            same("advice", field.advise(0, pages, advice), Err(Errno::EINVAL))?;
        }
        same("a border inside", field.advise(0, 1, advice::DONTFORK), Err(Errno::EINVAL))?;
        field.verify(0, pages)?;
        bench.exit(&field.space);
        Ok(())
    })
}

fn protect(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 2, 2)?;
        field.fill(0, 2 * pages)?;
        must(field.protect(0, 1, Prot::READ).is_err(), "mprotect of a part of a huge page")?;
        let (done, cost) = bench.measure(|| field.protect(0, pages, Prot::READ));
        done?;
        cost.must_be(&format!("T={} U=0 folds=0 I=1 D=1", flushes(bench, size)))?;
        same("a write", fault(&field, 3, Access::Write), Err(FaultError::Denied))?;
        field.verify(0, pages)?;
        field.protect(0, pages, Prot::empty())?;
        let (none, level) = entry(&field, 0);
        must(level == size.level() && none.is_present() && !none.is_valid(), "no access, and not so in the entry")?;
        same("a read", fault(&field, 3, Access::Read), Err(FaultError::Denied))?;
        bench.audit()?;
        field.protect(0, pages, read_write())?;
        must(entry(&field, 0).0.is_writable(), "a page that is the space's alone is not writable at once")?;
        field.verify(0, 2 * pages)?;
        bench.audit()?;
        bench.exit(&field.space);
        same("after exit", pool(bench, size), (2, 2, 0))
    })
}

fn move_pages(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 3, 3)?;
        field.fill(0, 2 * pages)?;
        let fixed = MoveFlags::MAYMOVE | MoveFlags::FIXED;
        let refused = Err(Errno::EINVAL);
        same("to inside a huge page", field.move_pages(0, pages, 8 * pages + 1), refused)?;
        same("from inside one", field.move_pages(1, pages, 8 * pages), refused)?;
        same("to be longer", field.remap((0, pages), 2 * pages, None, MoveFlags::MAYMOVE), refused)?;
        let keeping = fixed | MoveFlags::DONTUNMAP;
        same("and stay", field.remap((0, pages), pages, Some(8 * pages), keeping), refused)?;
        let frame = entry(&field, pages).0.frame();
        let (moved, cost) = bench.measure(|| field.move_pages(pages, 2 * pages, 8 * pages));
        moved.map_err(failed("mremap"))?;
        cost.must_be("U=0 folds=0")?;
        if size == HugeSize::Run {
            // The page, and the table that is made for it is not flushed.
            cost.must_be(&format!("T={} I=1 D=1", operations(bench, 16)))?;
        }
        same("frame", entry(&field, 8 * pages).0.frame(), frame)?;
        same("one is reserved still", pool(bench, size), (3, 1, 1))?;
        bench.audit()?;
        field.verify_moved(pages, pages, 8 * pages)?;
        field.verify(0, pages)?;
        field.fill(9 * pages, pages)?;
        same("and taken", pool(bench, size), (3, 0, 0))?;
        bench.exit(&field.space);
        same("after exit", pool(bench, size), (3, 3, 0))
    })
}

fn fork(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 3, 5)?;
        field.fill(0, 2 * pages)?;
        let (child, cost) = bench.measure(|| field.fork());
        let child = child?;
        cost.must_be("U=0 T=1 asid=1")?;
        same("nothing is taken", pool(bench, size), (5, 3, 1))?;
        let frame = entry(&field, 0).0.frame();
        same("shared", entry(&child, 0).0.frame(), frame)?;
        child.verify(0, 2 * pages)?;
        bench.audit()?;
        child.store(3, 0, &[1, 2, 3])?;
        same("a copy", pool(bench, size), (5, 2, 1))?;
        same("of the whole", entry(&child, pages - 1).0.frame() == entry(&field, pages - 1).0.frame(), false)?;
        field.verify(0, pages)?;
        child.verify(4, pages - 4)?;
        // Nobody else maps it any more.
        field.store(0, 0, &field.content(0))?;
        same("in place", entry(&field, 0).0.frame(), frame)?;
        field.store(pages, 0, &field.content(pages))?;
        same("another copy", pool(bench, size), (5, 1, 1))?;
        bench.audit()?;
        child.exit();
        field.verify(0, 2 * pages)?;
        bench.exit(&field.space);
        same("after exit", pool(bench, size), (5, 5, 0))
    })
}

fn reserved_keeps(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 1, 1)?;
        field.fill(0, pages)?;
        let child = field.fork()?;
        child.verify(0, pages)?;
        let frame = entry(&field, 0).0.frame();
        same("the child has none to copy to", fault(&child, 0, Access::Write), Err(FaultError::NoHugePage))?;
        field.store(0, 0, &field.content(0))?;
        same("in place", entry(&field, 0).0.frame(), frame)?;
        lost_for_good(bench, &child, size)?;
        // Nor does a child of it find anything else.
        let grandchild = child.fork()?;
        same("a grandchild", fault(&grandchild, 0, Access::Read), Err(FaultError::NoHugePage))?;
        bench.exit(&grandchild.space);
        // Who empties the place says that nothing is wanted there.
        child.advise(0, pages, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
        child.verify_zero(0, pages)?;
        bench.audit()?;
        child.exit();
        field.verify(0, pages)?;
        bench.exit(&field.space);
        Ok(())
    })
}

/// What a child has lost does not come back as zeros, though the pool has pages again.
fn lost_for_good(bench: &Bench<'_>, child: &Field<'_, '_>, size: HugeSize) -> Outcome {
    same("the child has lost it", fault(child, 0, Access::Read), Err(FaultError::NoHugePage))?;
    let total = pool(bench, size).0;
    same("another page", bench.memory().frames.resize_huge(size, total + 1), total + 1)?;
    for access in [Access::Read, Access::Write] {
        same("which is not what was lost", fault(child, 0, access), Err(FaultError::NoHugePage))?;
    }
    bench.audit()
}

fn dont_need_shared(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 1, 1)?;
        field.fill(0, pages)?;
        let child = field.fork()?;
        field.advise(0, pages, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
        same("reserved again", pool(bench, size), (1, 1, 1))?;
        lost_for_good(bench, &child, size)?;
        child.exit();
        field.verify_zero(0, pages)?;
        bench.exit(&field.space);
        Ok(())
    })
}

fn populate(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 1, 4)?;
        let faults = bench.memory().count().faults_huge.get();
        let more = map_more(&field, size, 2, MapFlags::POPULATE).map_err(failed("mmap"))?;
        same("faults", bench.memory().count().faults_huge.get() - faults, 2)?;
        same("taken", pool(bench, size), (4, 2, 1))?;
        field.verify_zero(field.page_at(more), 2 * pages)?;
        field.advise(0, pages, advice::POPULATE_WRITE).map_err(failed("MADV_POPULATE_WRITE"))?;
        same("all taken", pool(bench, size), (4, 1, 0))?;
        bench.exit(&field.space);
        Ok(())
    })
}

fn pin(bench: &Bench<'_>) -> Outcome {
    each_size(|size, _| {
        let field = field(bench, size, 1, 1)?;
        field.touch(0, 1)?;
        let pinned = field.memory().pin_user_pages(&field.space, field.va(0), 1, true);
        same("a pin", pinned.map(|pinned| pinned.pages()).err(), Some(Errno::EFAULT))?;
        bench.exit(&field.space);
        Ok(())
    })
}

fn poison(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 2, 3)?;
        field.fill(0, 2 * pages)?;
        let head = entry(&field, 0).0.frame();
        let (bad, free) = (bench.memory().frames.bad_count(), bench.memory().frames.free_count());
        let (done, cost) = bench.measure(|| field.advise(5, 1, advice::HWPOISON));
        done.map_err(failed("MADV_HWPOISON"))?;
        // One flush, one reference, and no batch: the walk finds the head alone.
        cost.must_be(&format!("T={} I=1 D=1 U=0 W=1 f=1 k=0 c=0 b=0 n=0", flushes(bench, size)))?;
        same("a page of the pool is gone", pool(bench, size), (2, 1, 0))?;
        let frames = bench.memory().frames.free_count();
        same("and free but for the bad one", frames - free, pages - 1)?;
        same("bad frames", bench.memory().frames.bad_count() - bad, 1)?;
        same("pages of huge pages", field.space.huge_pages(), pages as i64)?;
        same("the entry", bad_frame(entry(&field, pages - 1).0), Some(head))?;
        bench.audit()?;
        for access in [Access::Read, Access::Write] {
            same("a touch", fault(&field, 0, access), Err(FaultError::Poisoned(size.shift())))?;
        }
        same("again", field.advise(0, 1, advice::HWPOISON), Err(Errno::EHWPOISON))?;
        field.verify(pages, pages)?;
        bench.exit(&field.space);
        same("after exit", pool(bench, size), (2, 2, 0))
    })
}

fn poison_shared(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 1, 1)?;
        field.fill(0, pages)?;
        let child = field.fork()?;
        let (done, cost) = bench.measure(|| child.advise(0, 1, advice::HWPOISON));
        done.map_err(failed("MADV_HWPOISON"))?;
        cost.must_be(&format!("T={} I=2 D=2 f=2 W=2", 2 * flushes(bench, size)))?;
        let lost = Err(FaultError::Poisoned(size.shift()));
        same("both", [fault(&field, 1, Access::Read), fault(&child, 1, Access::Read)], [lost, lost])?;
        // A child of theirs too, and at another address.
        let grandchild = child.fork()?;
        same("a grandchild", fault(&grandchild, 1, Access::Read), lost)?;
        field.move_pages(0, pages, 8 * pages).map_err(failed("mremap"))?;
        same("moved", fault(&field, 8 * pages, Access::Read), lost)?;
        bench.audit()?;
        bench.exit(&grandchild.space);
        child.exit();
        bench.exit(&field.space);
        same("after exit", pool(bench, size), (0, 0, 0))
    })
}

/// The call says that it failed, and all is as before.
fn poison_refused(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 1, 1)?;
        field.fill(0, pages)?;
        bench.memory().inject.fail(Point::HugeUnmap, 0);
        let (done, cost) = bench.measure(|| field.advise(0, 1, advice::HWPOISON));
        same("MADV_HWPOISON", done, Err(Errno::EBUSY))?;
        cost.must_be("T=0 s=0 x=0 links=0 f=0 put_back=1")?;
        same("pool", pool(bench, size), (1, 0, 0))?;
        bench.audit()?;
        field.verify(0, pages)?;
        bench.exit(&field.space);
        same("after exit", pool(bench, size), (1, 1, 0))
    })
}

fn dont_need_poison(bench: &Bench<'_>) -> Outcome {
    each_size(|size, pages| {
        let field = field(bench, size, 1, 1)?;
        field.fill(0, pages)?;
        field.advise(0, 1, advice::HWPOISON).map_err(failed("MADV_HWPOISON"))?;
        let lost = Err(FaultError::Poisoned(size.shift()));
        field.advise(0, pages, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
        same("no page for it", fault(&field, 0, Access::Read), lost)?;
        bench.audit()?;
        bench.memory().frames.resize_huge(size, 1);
        field.advise(0, pages, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
        same("one is reserved for it", pool(bench, size), (1, 1, 1))?;
        field.verify_zero(0, pages)?;
        bench.exit(&field.space);
        Ok(())
    })
}
