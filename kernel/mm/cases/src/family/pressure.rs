//! Reclaim from the LRU lists (reference 4.1, 4.24, 4.26): folios that several spaces share, and which folios it takes. And swapoff (4.30).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use mm::folio::Folio;
use mm::inject::{Point, Times};
use mm::lru::{FolioList, LruList};
use mm::map::MapFlags;
use mm::reclaim::reclaim_folios;
use mm::swap::SwapEntry;
use mm::vma::Prot;
use mm::{Errno, Memory};
use mmu::Descriptor;

use crate::Case;
use crate::bench::Bench;
use crate::check::{Outcome, failed, must, same, within};
use crate::family::counts::row;
use crate::field::{Field, Size, advice, read_write};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "4.1 one space: what reclaim of a table costs", run: |bench| shared_by(bench, 1) },
    Case { name: "4.1 two spaces share what is reclaimed", run: |bench| shared_by(bench, 2) },
    Case { name: "4.1 eight spaces share what is reclaimed", run: |bench| shared_by(bench, 8) },
    Case { name: "4.1 eight spaces, folios in no order", run: shared_in_disorder },
    Case { name: "4.26 what is used has a second chance", run: second_chance },
    Case { name: "4.26 what is used again and again is active", run: used_again },
    Case { name: "4.26 a shared page is used if any of its spaces does", run: used_by_one },
    Case { name: "4.26 what was given up goes first", run: given_up_first },
    Case { name: "T-P-4 reclaim leaves a locked area", run: locked },
    Case { name: "T-P-9 swapoff after partial failures", run: swapoff },
    Case { name: "4.30 swapoff brings back what lies beside an empty entry", run: swapoff_beside_nothing },
    Case { name: "T-P-9 swapoff of shared pages, and of pages without access", run: swapoff_of_all_kinds },
    Case { name: "T-P-9 swapoff that finds no memory", run: swapoff_in_vain },
];

/// Pages of a folio, folios of a table.
const PAGES: usize = 16;
const FOLIOS: usize = 32;
const TABLE: usize = FOLIOS * PAGES;

/// Takes folios off their list.
pub(super) fn isolate<'m>(memory: &'m Memory, folios: impl Iterator<Item = Folio<'m>>) -> Result<FolioList, String> {
    let mut list = FolioList::new();
    for folio in folios {
        must(memory.lru.isolate(folio), "a folio is on no list")?;
        list.push_back(folio);
    }
    Ok(list)
}

/// A field of a table's folios, and those who share all of it; the first is the field itself.
fn family<'b, 'm>(bench: &'b Bench<'m>, spaces: usize) -> Result<Vec<Field<'b, 'm>>, String> {
    let mut family = alloc::vec![bench.filled(Size(64), TABLE)?];
    for _ in 1..spaces {
        let child = family[0].fork()?;
        // It has run, so that there is something to flush.
        child.read(0, 1)?;
        family.push(child);
    }
    Ok(family)
}

/// Everything is out, and comes back right for everybody.
fn must_be_out(bench: &Bench<'_>, family: Vec<Field<'_, '_>>) -> Outcome {
    for field in &family {
        same("swapped out", field.how_many(0, TABLE, Descriptor::is_swap), TABLE)?;
        same("accounts", field.accounts(), (0, TABLE as i64))?;
    }
    bench.audit()?;
    family.iter().try_for_each(|field| field.verify(0, TABLE))?;
    family.into_iter().for_each(Field::exit);
    Ok(())
}

/// TLBI, DSB ISHST and DSB ISH of a table's folios that so many spaces map, in one list.
fn cost_of(bench: &Bench<'_>, way: &str, spaces: usize) -> String {
    let all = FOLIOS * spaces;
    match way {
        // A run of 512 pages a space is one operation on every CPU, and what is complete is so for all.
        "gather" => format!("T={spaces} I=1 D=1 k={all} W={}", if spaces == 1 { 1 } else { all }),
        way => {
            let one = row(bench, way, Size(64));
            // The last DSB of a folio's row is the one before it is written, whoever has mapped it.
            let (tlbi, stores, complete) = (one.get("T") as usize, one.get("I") as usize, one.get("D") as usize);
            let complete = FOLIOS + all * (complete - 1);
            format!("T={} I={} D={complete} k={}", all * tlbi, all * stores, all * one.get("k") as usize)
        }
    }
}

fn shared_by(bench: &Bench<'_>, spaces: usize) -> Outcome {
    bench.each_way(|way| {
        let family = family(bench, spaces)?;
        let mut list = isolate(bench.memory(), (0..FOLIOS).map(|folio| family[0].folio(folio * PAGES)))?;
        let (freed, cost) = bench.measure(|| reclaim_folios(bench.memory(), &mut list));
        same("pages freed", freed, TABLE)?;
        cost.must_be(&cost_of(bench, way, spaces))?;
        must_be_out(bench, family)
    })
}

/// Every other folio first, from the last on: no two of them touch, and there is no room for so many runs.
fn shared_in_disorder(bench: &Bench<'_>) -> Outcome {
    bench.set("unmap=gather")?;
    let family = family(bench, 8)?;
    let order = (0..FOLIOS).rev().filter(|folio| folio % 2 == 0).chain((0..FOLIOS).filter(|folio| folio % 2 == 1));
    let mut list = isolate(bench.memory(), order.map(|folio| family[0].folio(folio * PAGES)))?;
    let (freed, cost) = bench.measure(|| reclaim_folios(bench.memory(), &mut list));
    same("pages freed", freed, TABLE)?;
    cost.must_be("T=8 I=1 D=1")?;
    must_be_out(bench, family)
}

/// Folios that nobody has used for long, in the order in which they came.
fn unused<'b, 'm>(bench: &'b Bench<'m>, folios: usize) -> Result<Field<'b, 'm>, String> {
    same("folios on the lists", bench.memory().lru.reclaimable(), 0)?;
    let field = bench.filled(Size(64), folios * PAGES)?;
    field.advise(0, folios * PAGES, advice::COLD).map_err(failed("MADV_COLD"))?;
    Ok(field)
}

fn second_chance(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        let field = unused(bench, 2)?;
        field.read(3, 1)?;
        same("pages freed", bench.memory().shrink(1).freed, PAGES)?;
        field.must_look(0, 2 * PAGES, "C16 E16")?;
        let folio = field.folio(0);
        must(folio.is_referenced() && !folio.is_active(), "it was used once")?;
        same("young entries", field.how_many(0, PAGES, Descriptor::is_young), 0)?;
        // Not used since.
        same("pages freed", bench.memory().shrink(1).freed, PAGES)?;
        same("swapped out", field.how_many(0, 2 * PAGES, Descriptor::is_swap), 2 * PAGES)?;
        field.verify(0, 2 * PAGES)?;
        field.exit();
        Ok(())
    })
}

fn used_again(bench: &Bench<'_>) -> Outcome {
    let field = unused(bench, 3)?;
    for round in 1..3 {
        field.read(3, 1)?;
        same("pages freed", bench.memory().shrink(1).freed, PAGES)?;
        same("swapped out", field.how_many(0, 3 * PAGES, Descriptor::is_swap), round * PAGES)?;
    }
    must(field.folio(0).is_active(), "it is not active")?;
    same("active pages", bench.memory().lru.size(LruList::ActiveAnon).1, PAGES)?;
    // The active list is the longer one now, so its front is looked at again.
    same("pages freed", bench.memory().shrink(1).freed, PAGES)?;
    field.verify(0, 3 * PAGES)
}

fn used_by_one(bench: &Bench<'_>) -> Outcome {
    let parent = unused(bench, 2)?;
    let children = [parent.fork()?, parent.fork()?];
    // Their entries are old; of the first folio one is used, by a child.
    parent.advise(0, 2 * PAGES, advice::COLD).map_err(failed("MADV_COLD"))?;
    children[1].read(7, 1)?;
    same("pages freed", bench.memory().shrink(1).freed, PAGES)?;
    for field in [&parent, &children[0], &children[1]] {
        field.must_look(0, 2 * PAGES, "C16 S16")?;
    }
    same("young entries", children[1].how_many(0, PAGES, Descriptor::is_young), 0)?;
    children.iter().chain([&parent]).try_for_each(|field| field.verify(0, 2 * PAGES))
}

fn given_up_first(bench: &Bench<'_>) -> Outcome {
    let field = unused(bench, 3)?;
    field.advise(PAGES, 2 * PAGES, advice::FREE).map_err(failed("MADV_FREE"))?;
    let free = bench.memory().swap.free_count();
    same("pages freed", bench.memory().shrink(1).freed, 2 * PAGES)?;
    field.must_look(0, 3 * PAGES, "C16 N32")?;
    same("free slots", bench.memory().swap.free_count(), free)?;
    field.verify(0, PAGES)?;
    field.verify_zero(PAGES, 2 * PAGES)
}

fn locked(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        bench.set_size(Size(64));
        let field = Field::of_kind(bench, bench.space()?, Field::BASE, PAGES, MapFlags::PRIVATE | MapFlags::LOCKED)?;
        field.fill(0, PAGES)?;
        let entries: Vec<_> = (0..PAGES).map(|page| field.entry(page)).collect();
        let mut list = isolate(bench.memory(), core::iter::once(field.folio(0)))?;
        let (freed, cost) = bench.measure(|| reclaim_folios(bench.memory(), &mut list));
        same("pages freed", freed, 0)?;
        // Its mark says so: it is not looked for in any table, and takes no slots.
        cost.must_be("W=0 T=0 x=0 s=0 U=0 put_back=0")?;
        must(!field.folio(0).is_swap_cache(), "a locked folio has swap slots")?;
        must((0..PAGES).all(|page| field.entry(page) == entries[page]), "an entry has changed")?;
        must(field.folio(0).is_active(), "a locked folio is not active")?;
        field.verify(0, PAGES)?;
        field.exit();
        Ok(())
    })
}

/// The swap device that cases have.
const DEVICE: u8 = 0;

/// Takes the device out of use; whatever `look` finds then, it is in use again.
fn without_swap(bench: &Bench<'_>, look: impl FnOnce() -> Outcome) -> Outcome {
    let memory = bench.memory();
    memory.swapoff(DEVICE).map_err(failed("swapoff"))?;
    let found = same("slots", memory.swap.total(), 0)
        .and_then(|()| same("swapoff again", memory.swapoff(DEVICE), Err(Errno::EINVAL)))
        .and_then(|()| look());
    memory.swapon(DEVICE).map_err(failed("swapon"))?;
    same("swapon again", memory.swapon(DEVICE), Err(Errno::EBUSY))?;
    found?;
    same("slots in use", memory.swap.total() - memory.swap.free_count(), 0)
}

fn swapoff(bench: &Bench<'_>) -> Outcome {
    bench.each_way(|_| {
        for (point, page) in [(Point::SwapDup, 21), (Point::Share, 37), (Point::SwapAlloc, 0)] {
            let field = bench.filled(Size(64), 4 * PAGES)?;
            bench.memory().inject.fail(point, page);
            field.page_out(0, 4 * PAGES)?;
            bench.memory().inject.clear();
            must(field.how_many(0, 4 * PAGES, Descriptor::is_swap) > PAGES, "too little is out")?;
            let checked = without_swap(bench, || {
                same("present", field.how_many(0, 4 * PAGES, Descriptor::is_present), 4 * PAGES)?;
                same("accounts", field.accounts(), (4 * PAGES as i64, 0))?;
                // There is nowhere to go.
                field.page_out(0, 4 * PAGES)?;
                same("present", field.how_many(0, 4 * PAGES, Descriptor::is_present), 4 * PAGES)?;
                field.verify(0, 4 * PAGES)
            });
            within(&format!("{point:?}"), checked)?;
            field.page_out(0, 4 * PAGES)?;
            same("swapped out", field.how_many(0, 4 * PAGES, Descriptor::is_swap), 4 * PAGES)?;
            field.verify(0, 4 * PAGES)?;
            field.exit();
        }
        Ok(())
    })
}

/// Slot 0 is never used: its entry would be an empty one, and is not to be taken for that.
fn swapoff_beside_nothing(bench: &Bench<'_>) -> Outcome {
    // The first slot is the next one.
    without_swap(bench, || Ok(()))?;
    bench.set_size(Size(4));
    let field = bench.field(Size(4), PAGES)?;
    field.fill(1, 3)?;
    field.page_out(0, 4)?;
    let slots =
        [1, 2, 3].map(|page| SwapEntry::from_descriptor(field.entry(page)).map_or(0, |swapped| swapped.entry.slot));
    same("slots", slots, [1, 2, 3])?;
    // An exclusive entry has a bit of its own.
    let child = field.fork()?;
    bench.set_size(Size(16));
    without_swap(bench, || same("accounts", (field.accounts(), child.accounts()), ((3, 0), (3, 0))))?;
    child.verify(1, 3)?;
    field.verify(1, 3)?;
    same("an empty entry", field.entry(0), Descriptor::NONE)
}

fn swapoff_of_all_kinds(bench: &Bench<'_>) -> Outcome {
    let parent = bench.filled(Size(64), 3 * PAGES)?;
    parent.page_out(0, 3 * PAGES)?;
    let child = parent.fork()?;
    parent.protect(PAGES, PAGES, Prot::empty())?;
    child.advise(0, 1, advice::DONTNEED).map_err(failed("MADV_DONTNEED"))?;
    without_swap(bench, || {
        same("accounts", (parent.accounts(), child.accounts()), ((48, 0), (47, 0)))?;
        same("no access", parent.how_many(PAGES, PAGES, |entry| entry.is_present() && !entry.is_valid()), PAGES)?;
        bench.audit()
    })?;
    must(parent.load(PAGES, 0).is_err(), "what may not be read is read")?;
    parent.protect(PAGES, PAGES, read_write())?;
    parent.verify(0, 3 * PAGES)?;
    child.verify_zero(0, 1)?;
    child.verify(1, 3 * PAGES - 1)
}

fn swapoff_in_vain(bench: &Bench<'_>) -> Outcome {
    let memory = bench.memory();
    let field = bench.filled(Size(64), 2 * PAGES)?;
    field.page_out(0, 2 * PAGES)?;
    // The first page comes back alone, as a large folio is not to be had, and the next not at all.
    memory.inject.arm(Point::LargeFolioAlloc, 0, Times::Always);
    memory.inject.arm(Point::FolioAlloc, 1, Times::Always);
    let result = memory.swapoff(DEVICE);
    memory.inject.clear();
    same("swapoff", result, Err(Errno::ENOMEM))?;
    same("in use", memory.swap.is_in_use(DEVICE), Some(true))?;
    same("accounts", field.accounts(), (1, 2 * PAGES as i64 - 1))?;
    field.page_out(0, 1)?;
    same("accounts", field.accounts(), (0, 2 * PAGES as i64))?;
    field.verify(0, 2 * PAGES)
}
