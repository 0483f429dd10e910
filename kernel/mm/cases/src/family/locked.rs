//! Reference 4.24 and T-P-4: areas that are locked in memory.

use mm::Errno;
use mm::lru::LruList;
use mm::map::MapFlags;
use mm::mlock::LockAll;
use mm::reclaim::reclaim_folios;
use mmu::PAGE_SIZE;

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same};
use crate::field::{Field, Size, advice};
use crate::unmapping::unmap_folio;

use super::pressure::isolate;

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "T-P-4 an unmap leaves the entries of a locked area", run: unmap_leaves_entries },
    Case { name: "T-P-4 a folio that a child shares stays if its parent's area is locked", run: shared_with_a_child },
    Case { name: "4.24 a folio found locked late keeps no slots", run: found_late },
    Case { name: "4.24 mlock brings in, munlock lets go", run: lock_and_unlock },
    Case { name: "4.24 mlock on fault marks what is touched", run: lock_on_fault },
    Case { name: "4.24 mlockall of what will be mapped", run: lock_all },
    Case { name: "4.24 what may be dropped is brought in by mlock, and not kept", run: lock_droppable },
    Case { name: "4.24 ranges that mlock refuses", run: refusals },
];

fn lock(field: &Field<'_, '_>, bench: &Bench<'_>, first: usize, count: usize, on_fault: bool) -> Result<(), Errno> {
    let length = count as u64 * PAGE_SIZE;
    bench.memory().mlock(&field.space, field.va(first).as_u64(), length, on_fault)
}

fn unlock(field: &Field<'_, '_>, bench: &Bench<'_>, first: usize, count: usize) -> Outcome {
    let length = count as u64 * PAGE_SIZE;
    bench.memory().munlock(&field.space, field.va(first).as_u64(), length).map_err(failed("munlock"))
}

fn unevictable(bench: &Bench<'_>) -> usize {
    bench.memory().lru.size(LruList::Unevictable).1
}

fn unmap_leaves_entries(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = bench.filled(Size(64), 16)?;
        lock(&field, bench, 0, 16, false).map_err(failed("mlock"))?;
        let before = field.shape(0, 16);
        let unmapped = unmap_folio(bench, field.folio(0))?;
        must(!unmapped.whole, "the folio was unmapped")?;
        unmapped.cost.must_be("W=16 x=0 s=0 T=0 I=0 D=0 U=0 k=0 f=0")?;
        field.must_look(0, 16, &before)?;
        must(field.folio(0).is_mlocked() && field.folio(0).is_unevictable(), "the folio is not marked")?;
        same("MADV_PAGEOUT", field.advise(0, 16, advice::PAGEOUT), Err(Errno::EINVAL))?;
        field.verify(0, 16)?;
        field.unmap(0, 16)?;
        same("unevictable pages", unevictable(bench), 0)
    })
}

fn shared_with_a_child(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = bench.filled(Size(64), 16)?;
        lock(&field, bench, 0, 16, false).map_err(failed("mlock"))?;
        let child = field.fork()?;
        let before = field.shape(0, 16);
        let unmapped = unmap_folio(bench, field.folio(0))?;
        must(!unmapped.whole, "the folio was unmapped")?;
        field.must_look(0, 16, &before)?;
        same("present in the parent", field.accounts(), (16, 0))?;
        child.verify(0, 16)?;
        // The child has nothing locked: the advice suits its area, though its folio stays.
        same("MADV_PAGEOUT by the child", child.advise(0, 16, advice::PAGEOUT), Ok(()))?;
        same("MADV_PAGEOUT by the parent", field.advise(0, 16, advice::PAGEOUT), Err(Errno::EINVAL))?;
        child.exit();
        field.verify(0, 16)?;
        field.unmap(0, 16)
    })
}

/// What is unmapped of a large folio takes its mark along (as on Linux): reclaim finds out by its entries that it is locked.
fn found_late(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = bench.filled(Size(64), 16)?;
        lock(&field, bench, 0, 16, false).map_err(failed("mlock"))?;
        field.unmap(0, 1)?;
        must(!field.folio(1).is_mlocked(), "the mark stayed")?;
        let free = bench.memory().swap.free_count();
        let mut list = isolate(bench.memory(), core::iter::once(field.folio(1)))?;
        // The one that nothing maps goes as the others are split off.
        same("pages freed", reclaim_folios(bench.memory(), &mut list), 1)?;
        must((1..16).all(|page| field.folio(page).is_mlocked()), "a folio is not marked again")?;
        must((1..16).all(|page| !field.folio(page).is_swap_cache()), "a locked folio has swap slots")?;
        same("free slots", bench.memory().swap.free_count(), free)?;
        same("present and swapped", field.accounts(), (15, 0))?;
        field.verify(1, 15)?;
        field.exit();
        Ok(())
    })
}

fn lock_and_unlock(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(64), 48)?;
    lock(&field, bench, 0, 32, false).map_err(failed("mlock"))?;
    same("present pages", field.accounts(), (32, 0))?;
    same("folded entries", field.how_many(0, 48, |entry| entry.is_folded()), if bench.folds() { 32 } else { 0 })?;
    same("unevictable pages", unevictable(bench), 32)?;
    unlock(&field, bench, 16, 16)?;
    same("unevictable pages", unevictable(bench), 16)?;
    field.page_out(16, 16)?;
    same("present and swapped", field.accounts(), (16, 16))?;
    unlock(&field, bench, 0, 16)?;
    field.page_out(0, 16)?;
    same("present and swapped", field.accounts(), (0, 32))?;
    same("areas", field.space.layout().read().areas.len(), 1)
}

fn lock_on_fault(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(64), 32)?;
    field.touch(0, 1)?;
    lock(&field, bench, 0, 32, true).map_err(failed("mlock2"))?;
    same("present and unevictable", (field.accounts().0, unevictable(bench)), (16, 16))?;
    field.touch(16, 1)?;
    same("present and unevictable", (field.accounts().0, unevictable(bench)), (32, 32))?;
    unlock(&field, bench, 0, 32)?;
    same("unevictable pages", unevictable(bench), 0)
}

fn lock_all(bench: &Bench<'_>) -> Outcome {
    let memory = bench.memory();
    let field = bench.field(Size(64), 16)?;
    memory.mlockall(&field.space, LockAll::CURRENT | LockAll::FUTURE).map_err(failed("mlockall"))?;
    same("present pages", field.accounts(), (16, 0))?;
    let later = Field::new(bench, field.space.clone(), field.va(64), 16)?;
    same("present pages", field.accounts(), (32, 0))?;
    same("MADV_PAGEOUT", later.advise(0, 16, advice::PAGEOUT), Err(Errno::EINVAL))?;
    memory.munlockall(&field.space).map_err(failed("munlockall"))?;
    same("unevictable pages", unevictable(bench), 0)?;
    later.page_out(0, 16)?;
    let last = Field::new(bench, field.space.clone(), field.va(128), 16)?;
    same("present and swapped", last.accounts(), (16, 16))
}

/// As on Linux (VM_DROPPABLE in mlock_fixup).
fn lock_droppable(bench: &Bench<'_>) -> Outcome {
    let field = Field::of_kind(bench, bench.space()?, Field::BASE, 16, MapFlags::DROPPABLE)?;
    lock(&field, bench, 0, 16, false).map_err(failed("mlock"))?;
    same("present and unevictable", (field.accounts().0, unevictable(bench)), (16, 0))?;
    bench.memory().mlockall(&field.space, LockAll::CURRENT).map_err(failed("mlockall"))?;
    same("MADV_DONTNEED", field.advise(0, 16, advice::DONTNEED), Ok(()))?;
    same("present pages", field.accounts().0, 0)
}

fn refusals(bench: &Bench<'_>) -> Outcome {
    let field = bench.field(Size(64), 16)?;
    let memory = bench.memory();
    let (start, end) = (field.va(0).as_u64(), field.va(16).as_u64());
    same("a hole", memory.mlock(&field.space, start, 17 * PAGE_SIZE, false), Err(Errno::ENOMEM))?;
    same("nothing", memory.mlock(&field.space, end, 0, false), Ok(()))?;
    same("no address", memory.mlock(&field.space, u64::MAX - 5, PAGE_SIZE, false), Err(Errno::EINVAL))?;
    same("munlock of a hole", memory.munlock(&field.space, end, 1), Err(Errno::ENOMEM))?;
    // The bytes that a program names are part of pages, which are locked whole.
    lock(&field, bench, 0, 16, false).map_err(failed("mlock"))?;
    let inside = memory.munlock(&field.space, start + 5 * PAGE_SIZE + 100, 2 * PAGE_SIZE);
    same("inside", inside, Ok(()))?;
    same("areas", field.space.layout().read().areas.len(), 3)
}
