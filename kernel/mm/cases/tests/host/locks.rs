//! How often the lock of a swap cluster is taken. The kernel has no counter for it, so it is asserted here only.

use cases::{Bench, Field, Outcome, Size, WAYS};
use mm::map::MapFlags;
use mm::sync::{Rank, locks_taken};

use super::one_on_max;

/// The locks that `work` takes.
fn cluster_locks(work: impl FnOnce() -> Outcome) -> Result<u64, String> {
    let before = locks_taken(Rank::Cluster);
    work()?;
    Ok(locks_taken(Rank::Cluster) - before)
}

/// For each way, what page-out of a folio of 16 pages takes, and munmap of its swap entries.
fn of_each_way(bench: &Bench<'_>) -> Result<[(u64, u64); 3], String> {
    let mut locks = [(0, 0); 3];
    for (way, locks) in WAYS.iter().zip(&mut locks) {
        bench.set(&format!("unmap={way}"))?;
        let field = bench.filled(Size(64), 16)?;
        *locks = (cluster_locks(|| field.page_out(0, 16))?, cluster_locks(|| field.unmap(0, 16))?);
    }
    Ok(locks)
}

/// T-S-1, T-S-2 and T-Z-3: counts go up for a run under one lock, where `page` takes one a page (patch 6); they go down for a run under
/// one (patch 7), in every way. The rest of a page-out takes the same in each.
#[test]
fn a_run_of_slots_is_counted_under_one_lock() {
    one_on_max(|bench| {
        let locks = of_each_way(bench)?;
        let [(page, _), (folio, _), (gather, _)] = locks;
        let right = page == folio + 15 && folio == gather && locks.iter().all(|&(_, down)| down == 1);
        if right { Ok(()) } else { Err(format!("{WAYS:?} take {locks:?}")) }
    })
    .unwrap();
}

/// The same for shared memory, the second caller of both: a folio that leaves its file is counted under one lock, in every way, and
/// ftruncate gives a run of slots back under one.
#[test]
fn the_slots_of_a_file_are_counted_under_one_lock() {
    one_on_max(|bench| {
        let mut locks = [(0, 0); 3];
        for (way, locks) in WAYS.iter().zip(&mut locks) {
            bench.set(&format!("unmap={way}"))?;
            bench.set_size(Size(64));
            let file = bench.memory().open_file(1 << 16).map_err(|error| format!("{error:?}"))?;
            let field = Field::of_file(bench, bench.space()?, (Field::BASE, 16), (&file, 0), MapFlags::SHARED)?;
            field.fill(0, 16)?;
            let out = cluster_locks(|| field.page_out(0, 16))?;
            *locks = (out, cluster_locks(|| file.resize(0).map_err(|error| format!("{error:?}")))?);
        }
        // Slots taken, counted, marked as not zero, and left by the cache, each once; those of ftruncate counted.
        if locks == [(4, 1); 3] { Ok(()) } else { Err(format!("{WAYS:?} take {locks:?}")) }
    })
    .unwrap();
}
