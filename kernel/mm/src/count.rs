//! What memory management counts, for each CPU, beside the door's own events: the columns of the reference, faults, folios, and
//! instructions by phase. A counter is raised only where the thing is done, by one addition for a run of n.

use mmu::Counter;

macro_rules! counters {
    ($(#[$of:meta])* $counters:ident: $($(#[$doc:meta])* $name:ident,)*) => {
        $(#[$of])*
        #[derive(Debug, Default)]
        pub struct $counters {
            $($(#[$doc])* pub $name: Counter,)*
        }

        impl $counters {
            /// The names, in the order of [`values`](Self::values).
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// The values now.
            pub fn values(&self) -> [u64; Self::NAMES.len()] {
                [$(self.$name.get()),*]
            }
        }
    };
}

counters! {
    /// The counters of one CPU.
    Counters:
    /// Public getter calls, which gather a block's flags (column g).
    getters,
    /// Blocks unfolded (U).
    unfolds,
    /// Blocks folded by conversion; those that a run of 16 stores makes are not among them.
    folds,
    /// Turns of the page-table walk of an unmap (W).
    walk_turns,
    /// Calls that raise swap counts (k).
    swap_dups,
    /// Changes of a space's page counters in an unmap (c).
    space_counts,
    /// Full memory barriers of an unmap: around the sharing of exclusive pages, before a decision to discard (b).
    full_barriers,
    /// Reference counts lowered in an unmap (f).
    ref_drops,
    /// Generations of a deferred flush (n).
    generations,
    /// Whole flushes that an operation owed to a deferred one.
    pending_flushes,
    /// Faults resolved by a new zero-filled folio.
    faults_anonymous,
    /// Faults resolved by a new huge page.
    faults_huge,
    /// Read faults resolved by the shared zero page.
    faults_zero_page,
    /// Faults resolved by copying.
    faults_copy,
    /// Write faults resolved by making an exclusive page writable in place.
    faults_reuse,
    /// Pages that fork copied, as they were pinned.
    fork_copies,
    /// Faults resolved by a page of a memory file.
    faults_file,
    /// Faults that set the access flag or dirty state for hardware that does not.
    faults_flags,
    /// Faults resolved from the swap device.
    faults_swap_major,
    /// Faults resolved from the swap cache.
    faults_swap_minor,
    /// Faults that the monitor of their area was asked about.
    faults_watched,
    /// Faults that found the entry already as needed.
    faults_spurious,
    /// Folios of a larger size that could not be had, so that a smaller one was taken.
    folio_fallbacks,
    /// Folios allocated for anonymous memory.
    folios_allocated,
    /// Folios allocated for memory files.
    folios_filed,
    /// Folios swapped out.
    folios_swapped_out,
    /// Pages swapped out.
    pages_swapped_out,
    /// Pages among them that were zero, marked instead of written.
    pages_zero_marked,
    /// Pages swapped in.
    pages_swapped_in,
    /// Writes that a swap device has completed some time after they were asked for.
    writes_completed,
    /// Writes that a swap device failed at.
    swap_write_errors,
    /// Reads that a swap device failed at.
    swap_read_errors,
    /// Folios that found no run of swap slots of their size and were split for it.
    swap_fallbacks,
    /// Folios split into single pages.
    split,
    /// Folios that could not be split, as somebody used them.
    split_failed,
    /// Folios queued for a split, as some of their pages were unmapped.
    split_deferred,
    /// Folios that an unmap put back.
    unmap_failures,
    /// Tables that mremap moved whole.
    tables_moved,
    /// Folios that an unmap refused: swap-backed and without swap slots, or the other way round, which can not be (Linux warns).
    unmap_warnings,
    /// Pages that MADV_FREE gave up.
    pglazyfree,
    /// Pages that reclaim discarded, because they were given up or may be dropped.
    pglazyfreed,
    /// Searches for memory on the LRU lists.
    shrinks,
    /// Pages that they got back, or began to write.
    pages_shrunk,
    /// Searches by whoever needed a page.
    direct_reclaims,
    /// Instructions of unmapping, from the entry of the rmap walk to the last entry written.
    instructions_unmap,
    /// Instructions of the zero scan.
    instructions_scan,
    /// Instructions of copying to and from the swap device.
    instructions_copy,
}

counters! {
    /// The counters of one CPU for folios of one size, with the names that Linux has for them (`hugepages-*kB/stats`).
    SizeCounters:
    /// First touches of anonymous memory that got one.
    anon_fault_alloc,
    /// First touches that could not have one, and took a smaller one.
    anon_fault_fallback,
    /// Written to a swap device.
    swpout,
    /// Split, as there was no run of slots for them.
    swpout_fallback,
    /// Read from a swap device.
    swpin,
    /// Swap-ins that could not have one, and took a smaller one.
    swpin_fallback,
    /// Split.
    split,
    /// Not split, as somebody used them.
    split_failed,
    /// Queued for a split.
    split_deferred,
}
