//! The rules, in one list. Each says which rule of the manual (DDI 0487) it comes from, why it matters, and the shortest sequence of
//! events that breaks it. `docs/checking.md` explains how to add one.

use core::fmt;

/// How bad a breach is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Data or control can be lost: the run stops.
    Error,
    /// Wrong, though it needs more to go wrong as well: the run goes on and fails at its end.
    Warning,
    /// Right, and dearer than it need be: counted.
    Cost,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $level:ident, $text:literal;)*) => {
        /// A rule.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Rule {
            $($(#[$doc])* $name,)*
        }

        impl Rule {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its number, as in `MS-20`.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// How bad a breach of it is.
            pub const fn level(self) -> Level {
                match self {
                    $(Self::$name => Level::$level,)*
                }
            }

            /// The rule in one sentence.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

rules! {
    // Descriptor writes.

    /// R_WHZWS, R_DDMVT. A TLB may hold both addresses, or a mix of both, so a store may reach either page.
    ///
    /// Bad: an entry that maps frame A, cached, is stored over with one that maps frame B.
    OutputAddress = "MS-01", Error,
        "a valid entry never changes its output address directly: break, invalidate, make";
    /// R_WHZWS. Two memory types of one location at once lose coherence.
    ///
    /// Bad: a cached Normal entry is stored over with a Device entry of the same address.
    MemoryType = "MS-02", Error,
        "a valid entry never changes its memory type or shareability directly";
    /// R_WHZWS, R_KFLJB. A walk may have either, so that a page of data is taken for a table.
    ///
    /// Bad: an entry of level 2 that leads to a table is stored over with a block, or with another table.
    TableAndBlock = "MS-03", Error,
        "an entry never changes between table and block, or from one table to another, directly";
    /// R_FVQCK. Two translations of one address may then coexist: a conflict abort, or either of them.
    ///
    /// Bad: clear an entry, and make it valid with another frame before its invalidation is complete.
    UncleanMake = "MS-04", Error,
        "an entry becomes valid only once no CPU can hold another translation of its addresses";
    /// A table that something else writes to translates to anything.
    ///
    /// Bad: an entry read through the door holds what nobody stored there.
    ForeignStore = "MS-05", Error,
        "only the door, and hardware's own updates, write to tables in use";
    /// R_GPPYH and FEAT_HAFDBS. An access flag or a dirty state that hardware sets between load and store is lost, and with the latter
    /// a page of data.
    ///
    /// Bad: with hardware updates on, load a valid entry, change it, store it.
    PlainStore = "MS-06", Error,
        "an entry that hardware may update is changed by an atomic operation";
    /// R_GPPYH. Until the invalidation is complete the old permission is in force on some CPU.
    ///
    /// Bad: make an entry read-only and return to the program without a TLBI.
    TrustedTooEarly = "MS-07", Warning,
        "a permission that was taken away is relied on only once no CPU can hold it";
    /// A fault handler that looks at one entry's union of flags and leaves the one that was walked as it was is entered for ever.
    ///
    /// Bad: without hardware updates, only a sibling in the block has the access flag; the fault returns.
    NoProgress = "MS-08", Warning,
        "after a fault was resolved the entry itself allows the access";

    // Contiguous groups.

    /// R_NGLXZ. An inconsistent group may translate to any programmed value, or to none of them.
    ///
    /// Bad: set the Contiguous bit in fifteen entries and leave one out, then DSB.
    InconsistentGroup = "MS-10", Error,
        "the Contiguous bit is in all entries of an aligned group that agree, or in none";
    /// R_NGLXZ, R_DDMVT. Without BBM level 1 an entry of 64 KiB and one of 4 KiB for the same address may raise a conflict abort.
    ///
    /// Bad: clear a folded block and store its entries plain again without a TLBI in between.
    ContiguousWithoutBreak = "MS-11", Error,
        "the Contiguous bit changes only after the whole group was invalid and its invalidation complete";
    /// R_KHRBC, I_HYQMB. With BBM level 1 or 2 the change needs no break, but a conflict abort may occur until the TLBI completes; only
    /// level 3, or a CPU known never to raise one, needs no handler.
    ///
    /// Bad: with level 2 and no assumption, unfold a block without a flush in the middle.
    ElidedBreak = "MS-12", Error,
        "a break is left out only with BBM level 3 (or where no abort is assumed), and only if nothing but the Contiguous bit changes";
    /// R_JQQTC. A TLB may hold the whole block by any member: the change is seen at other addresses, or not at all.
    ///
    /// Bad: clear one entry of a folded block without unfolding it.
    PartOfGroup = "MS-13", Error,
        "a part of a folded block changes only after it was unfolded";
    /// A TLB may hold the members as pages: those that no operation named survive.
    ///
    /// Bad: clear a folded block, invalidate its first page, use the frames anew.
    PartlyFlushedGroup = "MS-14", Error,
        "the invalidation of a folded block covers every address of it";
    /// Hardware may have set the flags in any member.
    ///
    /// Bad: unfold a block of which only one entry is dirty, and store sixteen clean ones.
    LostFlags = "MS-15", Error,
        "fold and unfold keep the access flag and dirty state that any member had";
    /// A block over two folios outlives one of them.
    ///
    /// Bad: fold sixteen single pages that happen to lie in order.
    FoldedAcrossFolios = "MS-16", Warning,
        "a folded block lies in one folio";
    /// A reader without the lock may meet a block in the middle of its conversion.
    ///
    /// Bad: return the frame of one moment with the Contiguous bit of another.
    TornRead = "MS-17", Error,
        "a read without the lock returns what the entry was at one moment";
    /// The unfold costs 16 swaps, 16 stores and a flush that the clearing then makes useless.
    ///
    /// Dear: unfold a block and clear all of its entries one by one.
    UnfoldToUnmap = "MS-18", Cost,
        "a block that is unmapped whole needs no unfold";

    // TLBI and barriers.

    /// R_DDMVT. A walk after the TLBI may still read the old entry and put it back into the TLB.
    ///
    /// Bad: clear an entry, TLBI, DSB ISH.
    UnorderedTlbi = "MS-20", Error,
        "a DSB stands between the store to an entry and the TLBI for it";
    /// R_DDMVT. A TLBI is complete, on other CPUs above all, only after a DSB ISH of the CPU that issued it.
    ///
    /// Bad: clear an entry, DSB ISHST, TLBI, free the frame, DSB ISH.
    IncompleteTlbi = "MS-21", Error,
        "what was invalidated is relied on only after the DSB that completes the TLBI";
    /// A local operation does not reach the others.
    ///
    /// Bad: a space has run on two CPUs; one clears an entry and invalidates with VALE1.
    LocalTlbi = "MS-22", Error,
        "the invalidation reaches every CPU that may hold the translation";
    /// R_NWYRD. Entries of another ASID stay.
    ///
    /// Bad: clear an entry of ASID 1 and invalidate for ASID 2.
    WrongAsid = "MS-23", Error,
        "the invalidation names the ASID of the entry, and global entries by address";
    /// Bits of the address above 48 fall into the fields for TTL and ASID.
    ///
    /// Bad: shift a kernel address down by 12 and use it as an operand unmasked.
    UnmaskedOperand = "MS-24", Error,
        "the address in an operand is masked to its field";
    /// C5.5: with a level hint that is wrong, nothing need be invalidated.
    ///
    /// Bad: invalidate a page of level 3 with the hint for level 2.
    WrongLevel = "MS-25", Error,
        "a level hint is that of the entry, and is given only where the CPU has FEAT_TTL";
    /// Operations for the last level leave cached table entries alone: a walk goes on through a table that is gone.
    ///
    /// Bad: unlink a table, VALE1IS over its addresses, DSB, free the table.
    LeafOnly = "MS-26", Error,
        "where a table was unlinked the invalidation includes walk caches";
    /// C5.5: BaseADDR, SCALE and NUM cover an even number of pages; what is left over needs an operation of its own.
    ///
    /// Bad: clear 16 pages and invalidate a range of 14.
    ShortRange = "MS-27", Error,
        "range operations cover every page that was changed, with the granule in TG";
    /// B2.7, D8.16. Until a context synchronization event this CPU may go on with what it had.
    ///
    /// Bad: write TTBR0_EL1 and access memory without an ISB.
    MissingIsb = "MS-28", Warning,
        "an ISB follows a write of TTBR0_EL1, or an invalidation of instructions, before it is relied on";
    /// Every operation is broadcast and waited for.
    ///
    /// Dear: invalidate addresses that no CPU can hold, or sixteen pages one by one where the CPU has ranges.
    NeedlessTlbi = "MS-29", Cost,
        "an invalidation has something to invalidate, in as few operations as the CPU allows";
    /// R_NWYRD. Entries of the last user serve the next one.
    ///
    /// Bad: run space B under the ASID of space A, of which nothing was invalidated.
    ReusedAsid = "MS-30", Error,
        "an ASID is given to another space only after all of it was invalidated on every CPU";

    // Lifetime, batching, deferral.

    /// A stale translation reaches the next owner's data.
    ///
    /// Bad: clear an entry, free its frame, then invalidate.
    UsedTooEarly = "MS-40", Error,
        "a frame gets a new use only once no CPU can hold a translation to it";
    /// "Not present means not cached" is false while another CPU's flush is deferred.
    ///
    /// Bad: CPU 0 clears an entry and defers its flush; CPU 1 changes the protection of the range, finds nothing, and returns.
    PendingFlush = "MS-41", Error,
        "an operation that relies on entries being gone completes a deferred flush first";
    /// What a CPU stores through a stale entry after the copy is lost.
    ///
    /// Bad: clear a writable entry, copy its page to the swap device, then invalidate.
    LostWrite = "MS-42", Error,
        "a page is copied out only once no CPU can still write it";
    /// Memory management audits this itself: a leak, or a page freed under its user.
    ///
    /// Bad: unmap sixteen pages and lower the map count by fifteen.
    Accounts = "MS-43", Error,
        "map counts, references, slots and the accounts of a space are what the tables say";
    /// The rest of a batch would be lost, or come back with more rights than it had.
    ///
    /// Bad: clear sixteen entries, fail at the ninth, put one back.
    LostEntries = "MS-44", Error,
        "after a batch every entry that was cleared is a swap entry, or as it was, or empty where its page was given up";
    /// The swap-in would give a shared page away as exclusive, or a protection would be lost.
    ///
    /// Bad: clear four writable and four read-only entries as one batch.
    MixedBatch = "MS-45", Error,
        "the entries of a batch agree in write and uffd bits, and a swap entry's exclusive bit is its page's";
    /// Each part of a batch has its own TLBI and its own accounting.
    ///
    /// Dear: clear sixteen entries that map a folio in order, each with a TLBI.
    SplitBatch = "MS-46", Cost,
        "neighbouring entries that could be cleared together are";

    // The checker itself.

    /// A count that disagrees with the events is worth nothing.
    ///
    /// Bad: issue two TLBI and count one.
    Counters = "MS-50", Error,
        "the counters are the number of events";
    /// What was not seen was not judged.
    ///
    /// Bad: let more be replaced than the model has room for.
    LostEvents = "MS-51", Error,
        "a verdict rests on every event";
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.code())
    }
}
