//! Known defects, each of which can be switched on by name: a checker is believed only when it has been seen to fail.
//!
//! One build with the feature `mutants` has them all, and one of them is chosen when it starts. Code asks [`is`] at the place where the
//! defect would be; without the feature the answer is always no, and nothing of it is left in the program. What becomes of a TLBI, a
//! barrier or a counter is decided in one place, at the door (`door/mutate.rs`).
//!
//! A mutant has its number in the reference (section 11 there), where it has one; the rule that must be named when it is caught, where
//! it breaks one; and the test that must fail: a case by its number (behind `host:` where the guest can not show it), or a test of
//! `kernel/mm/tests` by its name.

#[cfg(feature = "mutants")]
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

#[cfg(feature = "mutants")]
macro_rules! names {
    ($first:literal $(, $more:literal)*) => {
        concat!($first $(, ", ", $more)*)
    };
}

macro_rules! mutants {
    ($($variant:ident = $name:literal, $number:literal, $rule:literal, $test:literal, $text:literal;)*) => {
        /// A known defect.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Mutant {
            $(#[doc = $text] $variant,)*
        }

        #[cfg(feature = "mutants")]
        impl Mutant {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// Their names, for people who asked for another.
            pub const NAMES: &'static str = names!($($name),*);

            /// What is known of it.
            pub const fn about(self) -> About {
                match self {
                    $(Self::$variant => About { name: $name, number: $number, rule: $rule, test: $test, text: $text },)*
                }
            }
        }
    };
}

/// What is known of a mutant.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct About {
    /// Its name, as on a command line.
    pub name: &'static str,
    /// Its number in the reference, or nothing.
    pub number: &'static str,
    /// The rule that must be named, or nothing.
    pub rule: &'static str,
    /// The test that must fail: the beginning of a case's name, or file and function of a test.
    pub test: &'static str,
    /// What is wrong.
    pub text: &'static str,
}

mutants! {
    // TLBI and barriers.

    NoDsbBeforeTlbi = "no-dsb-before-tlbi", "", "MS-20", "T-U-3",
        "No DSB stands between the stores to entries and the TLBI for them.";
    NoDsbAfterTlbi = "no-dsb-after-tlbi", "", "MS-21", "T-U-3",
        "No DSB completes a TLBI.";
    NoIsb = "no-isb", "", "MS-28", "T-F-1",
        "No ISB follows the last write: of TTBR0_EL1, or of instructions.";
    LocalTlbi = "local-tlbi", "", "MS-22", "interleaving::every_cpu_forgets_what_was_unmapped",
        "A TLBI reaches its own CPU alone where a broadcast is needed.";
    WrongAsid = "wrong-asid", "", "MS-23", "T-U-3",
        "A TLBI names another space's ASID.";
    UnmaskedOperand = "unmasked-operand", "", "MS-24", "T-S-9",
        "The sign bits of a high address spill into the TTL and ASID fields of an operand.";
    WrongLevel = "wrong-level", "M39", "MS-25", "T-U-3",
        "A level hint names level 2 for entries of level 3.";
    LeafOnly = "leaf-only", "", "MS-26", "T-Z-1 munmap of one table",
        "Walk caches keep a table that was unlinked: the TLBI is one for leaf entries.";
    ShortRange = "short-range", "M38", "MS-27", "5 data after swap-in: folio",
        "NUM of a range operation is one too small.";
    FirstPageOnly = "first-page-only", "M17", "MS-14", "T-I-1",
        "Of a run of pages only the first is invalidated (T-T-9 with plain entries).";
    UnflushedConvert = "no-tlbi-in-convert", "", "MS-12", "T-U-3",
        "Break without invalidate: the Contiguous bit changes and no TLBI comes in between.";
    UnflushedUnmap = "no-tlbi-in-unmap", "", "MS-42", "T-I-1",
        "Pages are copied out and freed, and no TLBI was issued for their entries (T-T-8).";
    UnflushedZap = "no-tlbi-in-zap", "", "MS-40", "T-Z-1",
        "Pages are freed by munmap, and no TLBI was issued for their entries.";
    UnflushedProtect = "no-tlbi-in-mprotect", "", "MS-07", "T-Z-5",
        "mprotect takes a permission away and issues no TLBI.";
    UnflushedMove = "no-tlbi-in-mremap", "", "MS-07", "T-Z-8",
        "mremap moves entries and issues no TLBI for where they were.";
    UnflushedFork = "no-tlbi-in-fork", "", "MS-07", "T-C-4",
        "fork write-protects the parent's entries and issues no TLBI.";
    UnflushedAccess = "no-tlbi-after-access-flags", "", "", "T-U-12",
        "Access flags of a contiguous block change, and no TLBI follows.";
    UnflushedAdvise = "no-tlbi-in-madvise", "", "MS-07", "T-L-2",
        "MADV_FREE makes entries clean and issues no TLBI: a later store would not be seen.";
    UnflushedReplace = "no-tlbi-before-copy", "", "MS-04", "4.4",
        "Copy on write makes the new entry without invalidating the old one.";
    UnflushedRollover = "no-tlbi-at-rollover", "", "MS-30", "spaces::more_spaces_than_asids_roll_over_and_never_mix",
        "ASIDs are given out again, and what their last users had is not invalidated.";
    UnflushedPending = "no-tlbi-for-deferred", "", "MS-41", "interleaving::who_comes_after_a_deferral_completes_it",
        "Whoever has to complete a deferred flush issues the barriers without the TLBI.";
    FlushEachPage = "flush-each-page", "", "", "T-S-2",
        "A batch is invalidated page by page where one range operation would do.";

    // What the door does to entries, and tells.

    PlainUpdate = "plain-update", "", "MS-06", "host:T-U-13",
        "An entry that hardware may be updating is changed by a load and a store.";
    SiblingFlagsLost = "sibling-flags-lost", "M21", "MS-15", "T-U-17",
        "Of a block that is cleared, only the first entry's access flag and dirty state are kept (T-T-10).";
    LostEvent = "lost-event", "", "MS-51", "T-F-1",
        "An event of the door is not told to the model.";
    UncountedTlbi = "uncounted-tlbi", "", "MS-50", "T-Z-1",
        "A TLBI is issued and not counted.";

    // The Contiguous bit.

    FoldUnlike = "fold-unlike-entries", "M23", "", "T-F-9",
        "A block is folded although one of its entries has another permission.";
    FoldMisaligned = "fold-misaligned-frame", "M24", "MS-10", "T-F-12",
        "A block is folded although its frames are not aligned.";
    FoldAlignedToFour = "fold-aligned-to-four", "", "MS-10", "T-F-12",
        "A block starts at any fourth entry instead of any sixteenth.";
    FoldAcrossFolios = "fold-across-folios", "", "", "T-F-7",
        "A block is folded that is made of several folios (what MS-16 warns of).";
    ContiguousLeftBehind = "contiguous-left-behind", "M25", "MS-10", "T-U-1",
        "One entry keeps the Contiguous bit when its block is unfolded.";
    ContiguousWithoutAccess = "contiguous-without-access", "M26", "MS-10", "T-U-19",
        "Entries without any access carry the Contiguous bit.";
    EndNotUnfolded = "end-not-unfolded", "M28", "MS-13", "T-U-6",
        "A block that the end of a cleared run cuts is not unfolded.";
    YoungOfOneEntry = "young-of-one-entry", "M29", "", "T-U-11",
        "The access flag goes from one entry of a block only.";
    FlagsOfOneEntry = "flags-of-one-entry", "M30", "", "T-U-15",
        "Without hardware access flags, only the entry that faulted gets its flag.";
    GatheredFlagsHideEntry = "gathered-flags-hide-entry", "", "MS-08", "T-U-15",
        "A sibling's access flag is taken for the entry's own: its fault is resolved for ever and never ends.";
    UnfoldToUnmap = "unfold-to-unmap", "", "", "T-S-2",
        "A block that is unmapped whole is unfolded first.";

    // Unmapping: batches, failures, swap entries.

    RestoreFailingRunOnly = "restore-failing-run-only", "M1", "", "T-RB-3",
        "When a sub-batch fails, those behind it are not put back.";
    RestoreFromStart = "restore-from-start", "M2", "", "T-RB-2",
        "Entries are put back from the start of the batch on.";
    RestoreFirstFrame = "restore-first-frame", "M3", "", "T-RB-2",
        "Entries are put back in their place, with the frames of the first.";
    RestoreWithoutDsb = "restore-without-dsb", "", "MS-21", "T-RB-11",
        "A part of a block comes back in another form before its TLBI is complete (hazard H4).";
    FailAfterShare = "fail-after-share", "M4", "", "T-S-2",
        "The unmap fails although the exclusive marks are gone and all went well.";
    CountsNotUndone = "counts-not-undone", "M5", "", "T-RB-4",
        "Swap counts stay raised when the folio turns out to be pinned.";
    ExclusiveBitOmitted = "exclusive-bit-omitted", "M7", "", "T-I-1",
        "Swap entries do not say that their pages were exclusive.";
    ExclusiveMarkKept = "exclusive-mark-kept", "M9", "", "T-RB-2",
        "Pages stay marked exclusive when they are swapped out.";
    BatchIgnoresWrite = "batch-ignores-write", "M10", "MS-45", "T-S-14",
        "One batch holds writable and read-only entries.";
    BatchCrossesArea = "batch-crosses-area", "M11", "", "T-S-18",
        "A batch goes beyond the end of its area.";
    BatchCrossesTable = "batch-crosses-table", "M12", "", "T-S-19",
        "A batch goes beyond the end of its table.";
    ReferencesDropped = "references-dropped-on-failure", "M14", "", "T-RB-2",
        "A failure drops the references of the whole batch.";
    AccountedEarly = "accounted-before-success", "M15", "", "T-RB-1",
        "The space's counters change before it is known that the step succeeds.";
    LengthNotReset = "length-not-reset", "M16", "", "T-S-20",
        "A batch's length survives its turn: the next one drops as many references.";
    NoFlushBeforeWriteOut = "no-flush-before-write-out", "M18", "MS-21", "T-I-2",
        "A folio is copied to the device before its TLBI is complete (T-T-7).";
    KeptBeforeFlush = "kept-before-flush", "", "MS-21",
        "interleaving::a_folio_that_went_in_part_is_flushed_before_it_is_let_go",
        "A folio of which a part was unmapped goes back to its list before its TLBI is complete.";
    GatherCopiesEarly = "gather-copies-early", "", "MS-42", "T-I-1",
        "A batch of gather is copied out before its flush.";
    NoGeneration = "no-generation", "M19", "MS-41", "interleaving::who_comes_after_a_deferral_completes_it",
        "A deferred flush is not recorded, so nobody completes it.";
    MapcountIgnored = "mapcount-ignored", "M44", "", "T-C-3",
        "A folio that others map too is paged out.";
    ForkKeepsSwapExclusive = "fork-keeps-swap-exclusive", "M8", "", "T-I-6",
        "Swap entries still say after a fork that their pages are exclusive.";
    ForkLeavesWritable = "fork-leaves-writable", "M48", "MS-42", "T-C-1",
        "The parent's entries stay writable after a fork.";
    PinnedPageShared = "pinned-page-shared", "", "", "T-C-5",
        "fork shares a page that is pinned instead of copying it.";
    PinnedWithoutUnsharing = "pinned-without-unsharing", "", "", "4.23 a page pinned to be read",
        "A page that others map too is pinned to be read as it is.";
    PinnedWithoutSecondLook = "pinned-without-second-look", "", "", "pins::a_pin_comes_too_late",
        "A pin is taken on what an entry said before, without another look at it.";
    CutSkipsPrivate = "cut-skips-private", "", "", "FILE what is cut off",
        "ftruncate takes what it cuts off out of shared areas alone.";
    CutSkipsSwapped = "cut-skips-swapped", "", "", "FILE a cut inside a page that is in swap",
        "ftruncate leaves what it cuts of a page that is in swap.";
    CutLeavesBytes = "cut-leaves-bytes", "", "", "FILE a folio that reaches over the end",
        "What ftruncate cuts off inside a page is there again when the file grows.";
    MappedOverEnd = "mapped-over-end", "", "", "FILE an access beyond the end",
        "A folio that reaches over the end of its file is mapped whole.";
    CutLeaksSlots = "cut-leaks-slots", "", "", "FILE what is cut off in swap gives its slots back",
        "The slots of pages that are cut off a file keep their counts.";
    SwappedPagesForgotten = "swapped-pages-forgotten", "", "", "FILE page-out in all ways",
        "A folio leaves its file for swap, and the file does not know where.";
    FileCountKept = "file-count-kept", "", "", "FILE page-out in all ways",
        "A folio comes back into its file, whose count of its slots stays.";
    FilePageClean = "file-page-clean", "", "", "FILE what was written by a call goes to swap",
        "A folio that comes into a file is taken for clean, and so is not written to swap.";
    FilePageLeavesInUse = "file-page-leaves-in-use", "", "", "files::no_store_is_lost_to_a_page_out",
        "A folio leaves its file without a look whether somebody has mapped it again.";
    SwapoffSkipsFiles = "swapoff-skips-files", "", "", "T-P-9 swapoff of memory files",
        "swapoff does not look for slots of memory files.";
    SwapoffSkipsNoAccess = "swapoff-skips-no-access", "", "", "T-P-9 swapoff of shared pages",
        "swapoff passes over areas without access.";
    SwapoffStaysOff = "swapoff-stays-off", "", "", "T-P-9 swapoff that finds no memory",
        "A device whose swapoff has failed is not in use again.";
    PunchTakesCopies = "punch-takes-copies", "", "", "FILE a hole is punched",
        "A hole that is made in a file takes the copies of private areas out too.";
    SealedIsWritten = "sealed-is-written", "", "", "FILE seals",
        "A file that is sealed against writes can be written by a call.";
    PrivateWritesFile = "private-writes-file", "", "", "FILE a private map reads",
        "A page of a file is mapped writable in a private area.";
    CopyGivenBack = "copy-given-back", "", "", "file_swap::a_private_write_ends_where_memory_is_short",
        "A write to a private page of a file that was in swap gives the copy's page up when the file's is back, and begins anew.";
    BorderLetGo = "border-let-go", "", "", "file_swap::a_hole_is_punched_where_memory_is_short",
        "While the page at one end of a hole comes back from swap, that at the other end may go there.";
    HoleFilledTwice = "hole-filled-twice", "", "", "files::two_first_touches_find_one_folio",
        "A hole of a file is filled without another look whether it still is one.";
    ReusedWhileShared = "reused-while-shared", "", "", "4.1 a page written in place",
        "A page is taken for the space's alone though others map pages of its folio.";
    ChildNotInAncestors = "child-not-in-ancestors", "", "", "4.1 four spaces",
        "A child's area is not entered in the anon_vmas of its ancestors.";
    SharedPageInOwnAnonVma = "shared-page-in-own-anon-vma", "", "", "4.1 a shared page that comes back",
        "A shared page that is read back belongs to the anon_vma of whoever came first.";
    LockedAreaPagedOut = "locked-area-paged-out", "", "", "T-P-4",
        "Pages of a locked area are paged out.";
    DroppableLocked = "droppable-locked", "", "", "4.24 what may be dropped",
        "mlock keeps pages that were mapped to be dropped.";
    LockedTakesSlots = "locked-takes-slots", "", "", "T-P-4 reclaim",
        "A folio that is marked as locked gets swap slots before its areas are asked.";
    LockedKeepsSlots = "locked-keeps-slots", "", "", "4.24 a folio found locked late",
        "A folio that turns out to be locked when it is unmapped keeps its swap slots.";
    LockedAreaUnmapped = "locked-area-unmapped", "M46", "", "T-P-4 an unmap leaves",
        "Reclaim unmaps a folio from a locked area.";
    UnlockedStays = "unlocked-stays", "", "", "4.24 mlock brings in",
        "munlock leaves folios on the list of those that stay.";
    TouchedNotMarked = "touched-not-marked", "", "", "4.24 mlock on fault",
        "What is touched in an area that is locked on fault is not marked as locked.";
    FutureNotLocked = "future-not-locked", "", "", "4.24 mlockall",
        "mlockall locks nothing that is mapped later.";
    ChildLocked = "child-locked", "", "", "T-P-4 a folio that a child shares",
        "A child inherits that its parent's areas are locked.";
    PopulatedAsReadable = "populated-as-readable", "", "", "POPULATE what the area does not allow",
        "MADV_POPULATE_READ takes what the CPU could read for what the area allows to be read.";
    BatchOverflowForgotten = "batch-overflow-forgotten", "", "", "reclaim::a_batch_without_room",
        "What a batch of gather has no room to remember is not flushed.";
    UseIgnored = "use-ignored", "", "", "4.26 what is used",
        "Reclaim takes no notice of access flags.";
    FirstUserAlone = "first-user-alone", "", "", "4.26 a shared page is used",
        "Reclaim looks at the access flags of the first space alone that maps a folio.";
    UffdBitLost = "uffd-bit-lost", "M47", "", "T-S-26",
        "A swap entry does not keep the uffd bit of its entry.";
    MarkLostOnSwapIn = "mark-lost-on-swap-in", "", "", "T-S-26",
        "A page that userfaultfd protects is protected no longer when it comes back from swap.";
    RestoreUnmarked = "restore-unmarked", "", "", "T-S-28 an unmap that fails",
        "Entries that an unmap puts back in place of its markers are not protected.";
    FilledOver = "filled-over", "", "MS-01", "4.18 a missing page is told",
        "A monitor fills a page without a look whether it is still missing.";
    FilledOpen = "filled-open", "", "", "4.18 a page is filled and protected",
        "What a monitor fills and protects at once is not protected.";
    MissingNotTold = "missing-not-told", "", "", "4.18 a missing page is told",
        "The first touch of a page that userfaultfd watches is resolved without its monitor.";
    MarkIgnoredInBatch = "mark-ignored-in-batch", "", "MS-45", "T-S-27",
        "A batch mixes entries that userfaultfd protects with others.";
    SwappedNotMarked = "swapped-not-marked", "", "", "4.18 swap entries are protected",
        "userfaultfd's protection passes over pages that are swapped out.";
    WatchedWriteAllowed = "watched-write-allowed", "", "", "4.18 a write is told",
        "A write to a page that userfaultfd protects is resolved without its monitor.";
    WatchedAreaGetsLarge = "watched-area-gets-large", "", "", "4.18 a watched area gets single pages",
        "A fault in an area that userfaultfd watches maps more than one page.";
    MarksOutliveWatch = "marks-outlive-watch", "", "", "4.18 an area is watched no longer",
        "Pages stay protected that userfaultfd watches no longer.";
    MarksKeptByChild = "marks-kept-by-child", "", "", "4.6 nobody watches a child",
        "A child's entries keep the marks of its parent's userfaultfd.";
    MarkLostByUnshare = "mark-lost-by-unshare", "", "", "4.23 a protected page that is unshared",
        "The copy of a page that is pinned to be read has not the mark of userfaultfd that the page had.";
    CopyForReaderClean = "copy-for-reader-clean", "", "", "4.23 what was copied for a pin",
        "The copy of a page that is pinned to be read is clean, and a child that shares it later loses it with its parent's MADV_FREE.";
    MarksKeptOnMove = "marks-kept-on-move", "", "", "4.17 nobody watches what has moved",
        "Entries that mremap has moved keep the marks of userfaultfd.";
    MarkerNotLeftByZap = "marker-not-left-by-zap", "", "", "1.5 a zap leaves markers",
        "MADV_DONTNEED and ftruncate forget which pages of a file userfaultfd protects.";
    MarkerNotLeftByUnmap = "marker-not-left-by-unmap", "", "", "1.5 an unmap leaves markers",
        "Reclaim forgets which pages of a file userfaultfd protects.";
    MarkerUnasked = "marker-unasked", "", "", "1.5 half of a block is protected",
        "Markers are left in a watched area for pages that were not protected.";
    MarkerOfFirstAlone = "marker-of-first-alone", "", "", "1.5 a zap leaves markers",
        "Of a batch only the first page leaves a marker.";
    MarkerOutlivesArea = "marker-outlives-area", "", "", "4.18 markers go with their area",
        "munmap leaves markers.";
    MarkerForgotten = "marker-forgotten", "", "", "4.18 a fault on a marker",
        "A fault on a marker maps the page without protection.";
    AbsentNotMarked = "absent-not-marked", "", "", "4.18 pages of a file that are not there",
        "userfaultfd's protection passes over pages of a file that are not mapped.";
    NotListed = "not-listed-for-swapoff", "M43", "", "T-P-9",
        "A space with swap entries is not listed for swapoff.";
    NoWholeAsid = "no-whole-asid-fallback", "M40", "", "T-S-13",
        "512 pages are invalidated one by one instead of by one ASIDE1IS.";

    // Moving.

    MoveFlushedLate = "move-flushed-late", "", "MS-42", "moving::a_page_moved_is_flushed_before_reclaim_finds_it",
        "mremap flushes the old addresses after it has given up the locks under which reclaim looks for the pages.";
    MoveIgnoresWrite = "move-ignores-write", "", "MS-45", "4.17 a move keeps",
        "One batch of mremap holds writable and read-only entries, and all become as the first.";
    DirtyLostOnMove = "dirty-lost-on-move", "", "", "T-Z-8",
        "mremap sets entries without the dirty state that they had.";
    ContiguousKeptOnMove = "contiguous-kept-on-move", "", "MS-10", "T-Z-9",
        "Entries that were folded carry the Contiguous bit to an address that is not congruent.";
    IndexRecomputed = "index-recomputed", "", "", "T-Z-8",
        "An area that moved counts its pages anew, so that reclaim looks for them in the wrong place.";
    MovedTableLeafOnly = "moved-table-leaf-only", "", "MS-26", "4.17 a table moves",
        "A table moves, and the TLBI leaves walk caches the old way to it.";
    TableMovedUnlocked = "table-moved-unlocked", "", "MS-42",
        "moving::a_table_does_not_move_under_reclaim",
        "A table moves while reclaim may be about to lock it, and then flushes the addresses it had.";

    // Splitting.

    SplitNotDeferred = "split-not-deferred", "M45", "", "T-Z-2",
        "A folio that was unmapped in part is not queued for a split.";
    SplitLosesExclusive = "split-loses-exclusive", "", "", "4.20 a split keeps",
        "The parts of a split folio are not marked exclusive as its pages were.";
    SplitInUse = "split-in-use", "", "", "4.20 a folio in use",
        "A folio is split though it is pinned, or somebody else refers to it.";
    SplitLeavesFold = "split-leaves-fold", "", "", "4.20 a split of every size",
        "Blocks of a split folio stay folded.";
    PartNotOnLru = "part-not-on-lru", "", "", "4.20 a split keeps",
        "The parts of a split folio are on no list, where reclaim would find them.";
    FreedStaysQueued = "freed-stays-queued", "", "", "4.20 the queue",
        "A folio that is freed stays on the queue of folios to be split.";
    SplitUnlocked = "split-unlocked", "", "", "splitting::a_split_meets_dontneed",
        "The tables that map a folio are not locked while it is split.";
    PutBeforeFlush = "put-before-flush", "", "MS-40", "splitting::no_split_between_munmap_and_its_flush",
        "munmap gives up its references before its flush: a split frees the pages meanwhile.";
    CompletedOnce = "completed-once", "", "MS-41", "splitting::an_advice_that_splits_meets_page_out_of_a_neighbour",
        "A walk that gave its table up for a split completes nothing that was deferred since.";
    FullSwapKeepsWhole = "full-swap-keeps-whole", "", "", "T-P-7",
        "A large folio that finds no run of swap slots stays in memory instead of being split.";

    // Lazily freed memory.

    DiscardReferenced = "discard-referenced", "M31", "", "T-L-3",
        "A lazily freed folio is discarded although somebody refers to it.";
    SwapBackedByReference = "swap-backed-by-reference", "M33", "", "T-L-3",
        "A lazily freed folio is made swap-backed again because somebody refers to it, though nobody wrote to it.";
    DiscardDirty = "discard-dirty", "", "MS-44", "T-L-2",
        "A lazily freed folio is discarded although it was written since.";
    DirtyBeforeReferences = "dirty-before-references", "", "", "discard::a_write_through_a_reference_is_not_discarded",
        "Whether a lazily freed folio was written is asked before who refers to it: who writes, and lets go in between, is missed.";
    RestoreReadOnly = "restore-read-only", "", "MS-44", "T-L-2",
        "Entries that an unmap cleared come back read-only.";
    DiscardNotAwaited = "discard-not-awaited", "", "MS-21", "discard::a_first_touch_after_a_discard_waits_for_its_flush",
        "An entry that was discarded can be filled before its TLBI is complete.";
    FreeUnfolds = "free-unfolds", "", "", "T-L-1",
        "MADV_FREE unfolds the blocks of which it clears access flag and dirty state.";

    // Swap-in, faults, freeing.

    SlotFreedWhileCached = "slot-freed-while-cached", "M34", "", "T-I-5",
        "A slot is free as soon as no entry names it, although a folio is cached for it.";
    SwapInNotCongruent = "swap-in-not-congruent", "M36", "", "T-I-4",
        "A large folio is read for slots that do not lie as its addresses do.";
    SlotZeroRead = "slot-zero-read", "", "", "4.30 swapoff brings back what lies beside",
        "An empty entry before that of slot 1 is taken for the entry of slot 0.";
    ZeroMarkKept = "zero-mark-kept", "M37", "", "4.8",
        "A slot keeps its zero mark when it is written.";
    FreedUnderWriteback = "freed-under-writeback", "", "", "4.9 bytes, however long the device takes",
        "A folio leaves the swap cache, and its slots and frames are free, while the device writes it.";
    PendingTakenForDone = "pending-taken-for-done", "", "", "4.9 bytes, however long the device takes",
        "Reclaim frees a folio as soon as the device has accepted it.";
    WrittenTwice = "written-twice", "", "", "4.9 reclaim leaves a folio under writeback alone",
        "Reclaim writes a folio that is being written already.";
    WriteErrorForgotten = "write-error-forgotten", "", "", "4.9 a write that fails later",
        "A folio whose write has failed is taken for written.";
    ReadErrorIgnored = "read-error-ignored", "", "", "6 the device fails to read",
        "What was in the frame before is mapped when the device fails to read.";
    SpuriousIsFatal = "spurious-is-fatal", "M42", "",
        "interleaving::a_fault_in_the_window_of_an_unfold_is_spurious",
        "A fault at an entry that allows the access, as after an unfold, is taken for a bad access.";
    NoSecondLook = "no-second-look", "", "MS-06", "interleaving::a_first_touch_looks_again_before_it_maps",
        "A first touch maps its folio without looking whether another CPU was faster.";
    TableLinkedTwice = "table-linked-twice", "", "MS-03", "interleaving::a_new_table_is_linked_once",
        "A table is linked without looking whether another CPU was faster.";
    ReplacedDirectly = "replaced-directly", "", "MS-01", "4.4",
        "Copy on write stores the new entry over the old one: no break before make.";
    FreedBeforeFlush = "freed-before-flush", "", "MS-40", "T-Z-1",
        "Pages are freed before their translations are flushed.";
    TableFreedEarly = "table-freed-early", "", "MS-40", "T-Z-1 munmap of all",
        "A table page is freed before its translations are flushed.";
    FirstAddressOnly = "first-address-only", "", "MS-40", "T-Z-1 munmap of all",
        "Of all that munmap took away, tables included, only the first address is flushed.";

    // Huge pages, and memory that is bad.

    BlockFlushedAsPage = "block-flushed-as-page", "", "MS-25", "4.22 munmap of a huge page",
        "The level hint for a block of 2 MiB is that of the last level.";
    ForkLeavesHugeWritable = "fork-leaves-huge-writable", "", "", "4.6 fork shares huge pages",
        "fork leaves huge pages writable in the parent.";
    ChildReserves = "child-reserves", "", "", "4.6 fork shares huge pages",
        "A child takes its parent's reservations of huge pages for its own.";
    ReservationKept = "reservation-kept", "", "", "4.22 a map that can not be reserved",
        "munmap keeps what was reserved for huge pages that were never touched.";
    HugeCopiedInPart = "huge-copied-in-part", "", "", "4.6 fork shares huge pages",
        "Of a huge page that is written beside a child only the first 4 KiB are copied.";
    HugeReusedWhileShared = "huge-reused-while-shared", "", "", "4.6 fork shares huge pages",
        "A huge page is written in place though a child maps it too.";
    NotReservedAgain = "not-reserved-again", "", "", "4.22 MADV_DONTNEED reserves",
        "MADV_DONTNEED of a huge page keeps no page for the next touch.";
    LostPageEmpty = "lost-page-empty", "", "", "4.22 who reserved keeps the page",
        "A child finds zeros where its parent took a huge page from it, once the pool has another.";
    HugeUnmapSaysDone = "huge-unmap-says-done", "", "", "1.13 R2",
        "A huge page that could not be unmapped is said to be.";
    BadFrameFreed = "bad-frame-freed", "", "", "1.3 a huge page of bad memory",
        "Bad memory goes back to the free lists.";
}

/// The mutant that was chosen, counted from 1; 0 for none.
#[cfg(feature = "mutants")]
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Whether this is the defect that was chosen. Without the feature it never is.
#[inline(always)]
pub fn is(mutant: Mutant) -> bool {
    #[cfg(feature = "mutants")]
    {
        CHOSEN.load(Ordering::Relaxed) == mutant as u8 + 1
    }
    #[cfg(not(feature = "mutants"))]
    {
        let _ = mutant;
        false
    }
}

/// What is right, or with this defect what is wrong.
#[inline(always)]
pub fn or<T>(mutant: Mutant, right: T, wrong: T) -> T {
    if is(mutant) { wrong } else { right }
}

/// `now`, or with this defect the greatest value that it was ever called with.
#[inline(always)]
pub fn greatest(mutant: Mutant, now: usize) -> usize {
    #[cfg(feature = "mutants")]
    {
        static GREATEST: AtomicUsize = AtomicUsize::new(0);
        if is(mutant) {
            return GREATEST.fetch_max(now, Ordering::Relaxed).max(now);
        }
    }
    let _ = mutant;
    now
}

/// Switches a defect on, for good.
#[cfg(feature = "mutants")]
pub fn choose(mutant: Mutant) {
    CHOSEN.store(mutant as u8 + 1, Ordering::Relaxed);
}

/// Switches on the defect that the variable UNFOLD_MUTANT names, if it names one.
///
/// # Panics
/// If there is no such defect, with the list of those that there are.
#[cfg(all(feature = "mutants", not(target_os = "none")))]
pub(crate) fn choose_by_environment() {
    let Ok(name) = std::env::var("UNFOLD_MUTANT") else { return };
    match Mutant::named(&name) {
        Some(mutant) => choose(mutant),
        None => panic!("UNFOLD_MUTANT={name}: the value must be one of: {}", Mutant::NAMES),
    }
}

#[cfg(feature = "mutants")]
impl Mutant {
    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mutant| mutant.about().name == name)
    }
}

#[cfg(all(test, feature = "mutants"))]
mod tests;
