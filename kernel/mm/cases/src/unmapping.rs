//! Unmapping one folio, apart from the walk that finds it and the write that follows: what reference 2.9 counts.

use alloc::string::String;
use alloc::vec::Vec;
use core::slice;

use mm::folio::{Folio, FolioLock};
use mm::frame::OrphanList;
use mm::policy::Unmap;
use mm::swap::Written;
use mm::tlb::{BatchFlush, Deferred};
use mm::unmap::{try_to_unmap, unmap_batch};

use crate::bench::Bench;
use crate::check::{Outcome, failed, must};
use crate::columns::Columns;

/// What came of it.
pub struct Unmapped {
    /// Whether no mapping is left.
    pub whole: bool,
    /// What it cost: up to the flush before the write-out, that included.
    pub cost: Columns,
}

/// Takes a folio out of its spaces, in the way that the policy says. It stays in the swap cache, and on its list.
///
/// # Errors
/// If it can not be isolated, locked, or given swap slots.
pub fn unmap_folio(bench: &Bench<'_>, folio: Folio<'_>) -> Result<Unmapped, String> {
    unmap_prepared(bench, folio, |folio| folio.set_dirty(true))
}

/// The same; `prepare` comes after the folio has its swap slots.
///
/// # Errors
/// As [`unmap_folio`].
pub fn unmap_prepared(
    bench: &Bench<'_>,
    folio: Folio<'_>,
    prepare: impl FnOnce(&Folio<'_>),
) -> Result<Unmapped, String> {
    let memory = bench.memory();
    let result = unmap_isolated(bench, folio, |folio| {
        if !folio.is_swap_cache() {
            memory.swap.alloc(memory, folio).map_err(failed("swap slots"))?;
        }
        prepare(folio);
        Ok(())
    })?;
    must(memory.lru.putback(folio).is_none(), "nothing holds the folio any more")?;
    Ok(result)
}

/// Takes a lazily freed folio out of its spaces, in the way that the policy says. If no mapping is left it is freed.
///
/// # Errors
/// If it can not be isolated or locked.
pub fn discard_folio(bench: &Bench<'_>, folio: Folio<'_>) -> Result<Unmapped, String> {
    let memory = bench.memory();
    let result = unmap_isolated(bench, folio, |_| Ok(()))?;
    if let Some(orphan) = memory.lru.putback(folio) {
        let mut owed = OrphanList::new();
        owed.push(memory, orphan);
        Deferred::new().free(memory, &mut owed);
    }
    Ok(result)
}

/// Unmaps a folio, which is on no list then. The flush is complete.
fn unmap_isolated(
    bench: &Bench<'_>,
    folio: Folio<'_>,
    prepare: impl FnOnce(&FolioLock<'_>) -> Outcome,
) -> Result<Unmapped, String> {
    let memory = bench.memory();
    must(memory.lru.isolate(folio), "the folio is on no list")?;
    let locked = folio.try_lock().ok_or("the folio is locked")?;
    prepare(&locked)?;
    let result = if memory.policy().unmap() == Unmap::Gather {
        let mut flush = BatchFlush::with_room_for(2);
        let (_, cost) = bench.measure(|| unmap_batch(memory, slice::from_ref(&locked), &mut flush));
        flush.flush(memory);
        Unmapped { whole: !locked.is_mapped(), cost }
    } else {
        let mut deferred = Deferred::new();
        let (whole, cost) = bench.measure(|| {
            let whole = try_to_unmap(memory, &locked, &mut deferred);
            if whole && locked.is_dirty() {
                deferred.flush(memory);
            }
            whole
        });
        deferred.flush(memory);
        Unmapped { whole, cost }
    };
    Ok(result)
}

/// Takes folios out together, by `gather`, and returns what that cost, flush included.
///
/// # Errors
/// If one can not be isolated, locked, given swap slots, or unmapped.
pub fn unmap_together(bench: &Bench<'_>, folios: &[Folio<'_>]) -> Result<Columns, String> {
    let memory = bench.memory();
    let mut batch = Vec::new();
    for folio in folios {
        must(memory.lru.isolate(*folio), "a folio is on no list")?;
        let locked = folio.try_lock().ok_or("a folio is locked")?;
        memory.swap.alloc(memory, &locked).map_err(failed("swap slots"))?;
        locked.set_dirty(true);
        batch.push(locked);
    }
    let mut flush = BatchFlush::with_room_for(batch.len() + 1);
    let ((), cost) = bench.measure(|| unmap_batch(memory, &batch, &mut flush));
    flush.flush(memory);
    drop(batch);
    for folio in folios {
        must(!folio.is_mapped(), "a mapping is left")?;
        must(memory.lru.putback(*folio).is_none(), "nothing holds the folio any more")?;
    }
    Ok(cost)
}

/// Writes a mapped folio to its swap slots, as an attempt at reclaim does that fails later: it stays cached there.
///
/// # Errors
/// If it can not be isolated, locked, given swap slots, or written.
pub fn write_only(bench: &Bench<'_>, folio: Folio<'_>) -> Result<Written, String> {
    let memory = bench.memory();
    must(memory.lru.isolate(folio), "the folio is on no list")?;
    let locked = folio.try_lock().ok_or("the folio is locked")?;
    memory.swap.alloc(memory, &locked).map_err(failed("swap slots"))?;
    let written = memory.swap.write_out(memory, &locked).map_err(failed("the write"))?;
    drop(locked);
    must(memory.lru.putback(folio).is_none(), "nothing holds the folio any more")?;
    Ok(written)
}

/// Tries to unmap a folio that has no swap slots, which must not be done. Whether it was.
///
/// # Errors
/// If it can not be isolated or locked.
pub fn unmap_uncached(bench: &Bench<'_>, folio: Folio<'_>) -> Result<bool, String> {
    let memory = bench.memory();
    must(memory.lru.isolate(folio), "the folio is on no list")?;
    let locked = folio.try_lock().ok_or("the folio is locked")?;
    if memory.policy().unmap() == Unmap::Gather {
        let mut flush = BatchFlush::with_room_for(2);
        unmap_batch(memory, slice::from_ref(&locked), &mut flush);
        flush.flush(memory);
    } else {
        let mut deferred = Deferred::new();
        try_to_unmap(memory, &locked, &mut deferred);
        deferred.flush(memory);
    }
    let unmapped = !locked.is_mapped();
    drop(locked);
    must(memory.lru.putback(folio).is_none(), "nothing holds the folio any more")?;
    Ok(unmapped)
}
