//! What the kernel does on CPU 0, as lists of steps: plain data, which the search runs and which can be run elsewhere too.

use std::fmt;

use mmu::{Depth, Dsb, Scope};

use crate::entry::Entry;

/// What is stored in an entry. The valid ones are made from what was gathered of the old entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum New {
    /// Nothing.
    None,
    /// A swap entry.
    Swap,
    /// A member of a folded block.
    Folded,
    /// A page of its own.
    Plain,
    /// A page of its own, clean, whatever was gathered.
    Clean,
    /// What was gathered, but read-only.
    ReadOnly,
}

/// An invalidation of some pages of the block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tlbi {
    /// The first page.
    pub first: u8,
    /// How many.
    pub pages: u8,
    /// Leaf entries alone, or walk caches too.
    pub depth: Depth,
    /// For whom.
    pub scope: Scope,
    /// Whether it names the ASID of the program on CPU 1.
    pub right_asid: bool,
}

/// One step: nothing of CPU 1 comes between its parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Takes the table's lock. Fault handlers wait for it.
    Lock,
    /// Gives it back.
    Unlock,
    /// Reads an entry, and gathers its access flag and dirty state.
    Load(u8),
    /// Swaps an entry for none or a swap entry, and gathers what the old one had.
    Swap(u8, Entry),
    /// Stores an entry, whatever is there.
    Store(u8, New),
    /// Write-protects an entry by compare-and-swap.
    Protect(u8),
    /// Clears the Contiguous bit of an entry by compare-and-swap.
    Split(u8),
    /// Takes the access flag away by compare-and-swap.
    Age(u8),
    /// A CPU with hardware access flags walks this entry alone.
    Touch(u8),
    /// Takes the table out of the level above.
    Unlink,
    /// A barrier.
    Dsb(Dsb),
    /// An invalidation.
    Tlbi(Tlbi),
    /// The folio is dirty if what was gathered is.
    MarkDirty,
    /// Copies a frame to the device, if its folio is dirty.
    Copy(u8),
    /// Gives a frame to a new owner.
    Free(u8),
    /// Gives the table's frame to a new owner.
    FreeTable,
    /// The operation is declared done: from here on no access passes that the entries do not permit. So does the end of a program.
    Declare,
}

/// A list of steps, and what it starts from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// Whether the block is folded when it starts. All entries are valid, writable, young and clean.
    pub folded: bool,
    /// Whether the fault handler believes the access flag and dirty state of the block where it should look at the entry that hardware
    /// looks at (rule MS-08).
    pub trusts_gathered: bool,
}

/// The operations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Sets the Contiguous bit, by break-before-make.
    Fold,
    /// Clears it, by break-before-make.
    Unfold,
    /// Write-protects a block, which stays folded.
    Protect,
    /// Unmaps a block with one flush, completed late; then writes the pages to the device and frees them.
    PageOut,
    /// The same, with swap entries put in place at once.
    PageOutInOnePass,
    /// A page-out that fails at once: the block is mapped again as it was, without a wait for the flush.
    Restore,
    /// One that fails half way: the second half is mapped again, as pages of their own.
    PartialRestore,
    /// Unfolds, and pages out the second page alone.
    PageOutOne,
    /// Unmaps a block, and frees its pages and its table.
    Unlink,
    /// A page-out whose flush is still under way when another operation relies on the entries.
    PageOutMet,
    /// Takes the access flags away; then a CPU with hardware access flags sets one of them.
    Age,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Fold,
        Self::Unfold,
        Self::Protect,
        Self::PageOut,
        Self::PageOutInOnePass,
        Self::Restore,
        Self::PartialRestore,
        Self::PageOutOne,
        Self::Unlink,
        Self::PageOutMet,
        Self::Age,
    ];

    /// The correct program for a block of `pages`.
    pub fn program(self, pages: u8) -> Program {
        let steps = match self {
            Self::Fold => locked(convert(pages, New::Folded)),
            Self::Unfold => locked(convert(pages, New::Plain)),
            Self::Protect => locked([each(0..pages, Step::Protect), flush(0, pages, Depth::Leaf)].concat()),
            Self::PageOut => [locked(unmap(pages)), complete(), write_and_free(0..pages)].concat(),
            Self::PageOutInOnePass => page_out_in_one_pass(pages),
            Self::Restore => {
                let work = [clear(pages), begin_flush(0, pages, Depth::Leaf), each(0..pages, folded)];
                [locked(work.concat()), complete()].concat()
            }
            Self::PartialRestore => partial_restore(pages),
            Self::PageOutOne => page_out_one(pages),
            Self::Unlink => unlink(pages),
            Self::PageOutMet => {
                let other = locked(flush(0, pages, Depth::WalkCaches));
                [locked(unmap(pages)), other, vec![Step::Declare], complete(), write_and_free(0..pages)].concat()
            }
            Self::Age => [locked(each(0..pages, Step::Age)), vec![Step::Touch(0)]].concat(),
        };
        Program { steps, folded: self != Self::Fold, trusts_gathered: false }
    }
}

fn each(pages: impl Iterator<Item = u8>, step: impl Fn(u8) -> Step) -> Vec<Step> {
    pages.map(step).collect()
}

fn folded(page: u8) -> Step {
    Step::Store(page, New::Folded)
}

fn locked(steps: Vec<Step>) -> Vec<Step> {
    [vec![Step::Lock], steps, vec![Step::Unlock]].concat()
}

/// What makes an invalidation complete.
fn complete() -> Vec<Step> {
    vec![Step::Dsb(Dsb::Ish)]
}

/// An invalidation after the stores it is about, not yet complete.
fn begin_flush(first: u8, pages: u8, depth: Depth) -> Vec<Step> {
    let op = Tlbi { first, pages, depth, scope: Scope::Broadcast, right_asid: true };
    vec![Step::Dsb(Dsb::IshSt), Step::Tlbi(op)]
}

fn flush(first: u8, pages: u8, depth: Depth) -> Vec<Step> {
    [begin_flush(first, pages, depth), complete()].concat()
}

fn clear(pages: u8) -> Vec<Step> {
    each(0..pages, |page| Step::Swap(page, Entry::NONE))
}

/// Break-before-make: the sequence of R_DDMVT.
fn convert(pages: u8, new: New) -> Vec<Step> {
    [clear(pages), flush(0, pages, Depth::Leaf), each(0..pages, |page| Step::Store(page, new))].concat()
}

/// Clears all, and starts a flush that is completed after the lock is given back.
fn unmap(pages: u8) -> Vec<Step> {
    let swap_entries = each(0..pages, |page| Step::Store(page, New::Swap));
    [clear(pages), begin_flush(0, pages, Depth::Leaf), vec![Step::MarkDirty], swap_entries].concat()
}

fn write_and_free(pages: impl Iterator<Item = u8> + Clone) -> Vec<Step> {
    [each(pages.clone(), Step::Copy), each(pages, Step::Free)].concat()
}

fn page_out_in_one_pass(pages: u8) -> Vec<Step> {
    let swaps = each(0..pages, |page| Step::Swap(page, Entry::SWAP));
    let work = [swaps, vec![Step::MarkDirty]].concat();
    [locked(work), flush(0, pages, Depth::Leaf), write_and_free(0..pages)].concat()
}

/// The flush is completed before a part of the block is made valid in another form.
fn partial_restore(pages: u8) -> Vec<Step> {
    let half = pages / 2;
    let work = [
        clear(pages),
        begin_flush(0, pages, Depth::Leaf),
        vec![Step::MarkDirty],
        each(0..half, |page| Step::Store(page, New::Swap)),
        complete(),
        each(half..pages, |page| Step::Store(page, New::Plain)),
    ];
    [locked(work.concat()), complete(), write_and_free(0..half)].concat()
}

fn page_out_one(pages: u8) -> Vec<Step> {
    let work = [
        convert(pages, New::Plain),
        vec![Step::Swap(1, Entry::SWAP)],
        begin_flush(1, 1, Depth::Leaf),
        vec![Step::MarkDirty],
    ];
    [locked(work.concat()), complete(), write_and_free(1..2)].concat()
}

fn unlink(pages: u8) -> Vec<Step> {
    let work = [clear(pages), vec![Step::Unlink], flush(0, pages, Depth::WalkCaches)];
    [locked(work.concat()), each(0..pages, Step::Free), vec![Step::FreeTable]].concat()
}

impl fmt::Display for New {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::None => "none",
            Self::Swap => "a swap entry",
            Self::Folded => "what was gathered, contiguous",
            Self::Plain => "what was gathered, not contiguous",
            Self::Clean => "a clean page, not contiguous",
            Self::ReadOnly => "what was gathered, read-only",
        })
    }
}

impl fmt::Display for Tlbi {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let depth = if self.depth == Depth::Leaf { "leaf" } else { "leaf and walk-cache" };
        let scope = if self.scope == Scope::Broadcast { "broadcast" } else { "local" };
        let asid = if self.right_asid { "" } else { " of another ASID" };
        write!(out, "{scope} TLBI, {depth} entries{asid}, pages {} to {}", self.first, self.first + self.pages - 1)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock => write!(out, "takes the table's lock"),
            Self::Unlock => write!(out, "gives the table's lock back"),
            Self::Load(page) => write!(out, "reads entry {page}"),
            Self::Swap(page, entry) => write!(out, "swaps entry {page} for {entry}"),
            Self::Store(page, new) => write!(out, "stores {new} in entry {page}"),
            Self::Protect(page) => write!(out, "write-protects entry {page}"),
            Self::Split(page) => write!(out, "clears the Contiguous bit of entry {page}"),
            Self::Age(page) => write!(out, "takes the access flag of entry {page} away"),
            Self::Touch(page) => write!(out, "walks entry {page}, and hardware sets its access flag"),
            Self::Unlink => write!(out, "takes the table out of the level above"),
            Self::Dsb(kind) => write!(out, "DSB {}", Dsb::NAMES[*kind as usize].to_uppercase()),
            Self::Tlbi(op) => write!(out, "{op}"),
            Self::MarkDirty => write!(out, "marks the folio dirty if an entry was"),
            Self::Copy(page) => write!(out, "copies frame {page} to the device if the folio is dirty"),
            Self::Free(page) => write!(out, "gives frame {page} to a new owner"),
            Self::FreeTable => write!(out, "gives the table's frame to a new owner"),
            Self::Declare => write!(out, "declares the operation done"),
        }
    }
}
