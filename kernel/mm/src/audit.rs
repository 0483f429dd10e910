//! The audit: everything counted again from the tables, and compared with what memory management believes.
//!
//! It reads raw entries and trusts nothing else: not the code that owns the Contiguous bit, not the accounts, not the map counts.
//! Rules that speak of folios and slots are held here, as the machine below knows neither: MS-16, MS-43 and MS-45. So are the
//! invariants of blocks (reference 2.14) but for I5, which is about the order of events and so not to be seen in a table.

mod files;
mod folios;
mod huge;
mod swapped;
mod tables;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use mmu::{Pfn, VirtAddr};

use crate::folio::Folio;
use crate::frame::HugeSize;
use crate::memory::Memory;
use crate::space::Space;
use crate::swap::SwapEntry;

/// What is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// All sixteen entries of a block are contiguous, or none.
    I1,
    /// The entries of a contiguous block map one aligned run, alike but for access flag and dirty state.
    I2,
    /// A contiguous entry is valid.
    I3,
    /// A swap entry has none of the bits that hardware, or other kinds of entries, give a meaning to.
    I6,
    /// A contiguous block lies in one folio (this is also I4).
    Ms16,
    /// Accounts, map counts, references and swap counts are what the tables say.
    Ms43,
    /// A page that is swapped out is not marked exclusive, and a swap entry that says it was is the only one.
    Ms45,
    /// An entry suits its area, and its page (reference 4.1, 4.4, 4.16).
    Entry,
    /// While nothing runs no folio is locked, every one in use is on an LRU list, and those mapped in part wait for a split.
    Rest,
}

impl Rule {
    /// How documents name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::I1 => "I1",
            Self::I2 => "I2",
            Self::I3 => "I3",
            Self::I6 => "I6",
            Self::Ms16 => "MS-16",
            Self::Ms43 => "MS-43",
            Self::Ms45 => "MS-45",
            Self::Entry => "entry",
            Self::Rest => "rest",
        }
    }
}

/// Where something is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The space with this number.
    Space(u64),
    /// The entry for this address, in the space with this number.
    Entry(u64, VirtAddr),
    /// The folio with this first frame.
    Folio(Pfn),
    /// This page of the folio with this first frame.
    Page(Pfn, usize),
    /// A slot of a swap device.
    Slot(SwapEntry),
    /// The pool of huge pages of this size.
    Pool(HugeSize),
    /// All memory files.
    Files,
}

/// The first thing that does not add up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The rule that is broken.
    pub rule: Rule,
    /// What was compared.
    pub what: &'static str,
    /// Where.
    pub place: Place,
    /// What is there.
    pub found: u64,
    /// What would be right.
    pub right: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Space(space) => write!(out, "space {space}"),
            Self::Entry(space, address) => write!(out, "address {address} of space {space}"),
            Self::Folio(head) => write!(out, "folio {head}"),
            Self::Page(head, page) => write!(out, "page {page} of folio {head}"),
            Self::Pool(size) => write!(out, "the pool of huge pages of {} bytes", size.bytes()),
            Self::Files => out.write_str("all files"),
            Self::Slot(entry) => write!(out, "slot {} of swap device {}", entry.slot, entry.device),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, what, place, found, right } = self;
        write!(out, "{}: {what}, {place}: {found:#x} instead of {right:#x}", rule.name())
    }
}

impl core::error::Error for Finding {}

/// `found` must be `right`.
fn same(rule: Rule, what: &'static str, place: Place, found: u64, right: u64) -> Result<(), Finding> {
    if found == right { Ok(()) } else { Err(Finding { rule, what, place, found, right }) }
}

/// Something that holds or not must be as it is right.
fn is(rule: Rule, what: &'static str, place: Place, found: bool, right: bool) -> Result<(), Finding> {
    same(rule, what, place, u64::from(found), u64::from(right))
}

/// What the tables say, gathered space by space.
#[derive(Debug, Default)]
struct Seen {
    /// Folios that entries map, or the swap cache or a file holds, by first frame.
    folios: BTreeMap<Pfn, SeenFolio>,
    /// Slots that entries, or files, name.
    slots: BTreeMap<SwapEntry, SeenSlot>,
    /// By size: for how many huge pages there is room in areas that reserve, and how much of it is not empty.
    huge_places: [u64; HugeSize::COUNT],
    huge_filled: [u64; HugeSize::COUNT],
}

/// What entries and slots say of a folio.
#[derive(Debug)]
struct SeenFolio {
    /// How many entries map each page.
    maps: Vec<u64>,
    /// How many slots hold it in the swap cache.
    cached: u64,
    /// How many pages of it a file has.
    filed: u64,
}

impl Seen {
    /// What was seen of a folio.
    fn folio(&mut self, folio: &Folio<'_>) -> &mut SeenFolio {
        let unseen = || SeenFolio { maps: vec![0; folio.pages()], cached: 0, filed: 0 };
        self.folios.entry(folio.head()).or_insert_with(unseen)
    }
}

/// What entries say of a slot.
#[derive(Clone, Copy, Debug, Default)]
struct SeenSlot {
    /// How many name it, a file's index among them.
    entries: u64,
    /// Whether one of them says that its page was exclusive.
    exclusive: bool,
}

/// Walks all the tables of `spaces`, which are all that have pages or slots, and compares. Nothing may run meanwhile.
///
/// # Errors
/// The first thing that does not add up.
pub fn recount(memory: &Memory, spaces: &[Arc<Space>]) -> Result<(), Finding> {
    let mut seen = Seen::default();
    spaces.iter().try_for_each(|space| tables::recount(memory, space, &mut seen))?;
    huge::recount(memory, &seen)?;
    files::recount(memory, &mut seen)?;
    swapped::recount(memory, &mut seen)?;
    folios::recount(memory, &seen)
}

#[cfg(test)]
mod tests;
