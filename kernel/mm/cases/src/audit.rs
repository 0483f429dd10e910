//! Everything counted again from the tables, and compared with what memory management believes (reference 2.14, 4.2, 4.4, 4.25).
//!
//! The audit reads raw entries and trusts nothing else: not the Contiguous bit's owner, not the accounts, not the map counts.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use mm::folio::Folio;
use mm::swap::SwapEntry;
use mm::vma::{Area, Areas};
use mm::{Memory, Space};
use mmu::{CONT_PTES, Descriptor, ENTRIES, STAGE1, TABLE_SPAN, VirtAddr};

use crate::check::{Outcome, must, same, within};

const CONTIGUOUS: u64 = STAGE1::CONTIGUOUS.mask << STAGE1::CONTIGUOUS.shift;
/// What may differ between the entries of a folded block: access flag, and the two bits of dirty state (invariant I2).
const MAY_DIFFER: u64 = (1 << STAGE1::ACCESS.shift) | (1 << STAGE1::DIRTY.shift) | (1 << STAGE1::READ_ONLY.shift);
/// Bits that are never set in a swap entry: valid, type, present-invalid, and those that the format keeps at zero.
const NOT_IN_SWAP: u64 = 0b11 | 0b11 << 4 | 1 << 11 | 0b11 << 62;

/// What the tables say.
#[derive(Default)]
struct Seen {
    /// By first frame: how many entries map each page.
    folios: BTreeMap<u64, Vec<usize>>,
    /// How many entries name each slot.
    slots: BTreeMap<u64, (SwapEntry, usize)>,
}

/// Walks all the tables of `spaces` and compares. No other space may share a folio or a slot with them, and nothing may run.
///
/// # Errors
/// The first thing that does not add up, with its place.
pub fn recount(memory: &Memory, spaces: &[Arc<Space>]) -> Outcome {
    let mut seen = Seen::default();
    for space in spaces {
        let (anon, swap) = seen.space(memory, space)?;
        same("present pages of a space (ANONPAGES)", space.anon_pages(), anon)?;
        same("swap entries of a space (SWAPENTS)", space.swap_entries(), swap)?;
        must(swap == 0 || space.may_swap(), "a space with swap entries is not on the list for swapoff")?;
    }
    for (&head, maps) in &seen.folios {
        let folio = memory.frames.folio_of(mmu::Pfn::new(head));
        within(&format!("{folio:?}"), check_folio(&folio, maps))?;
    }
    for &(entry, count) in seen.slots.values() {
        same(&format!("count of {entry:?}"), memory.swap.count(entry), count)?;
        check_cached(memory, entry)?;
    }
    Ok(())
}

impl Seen {
    /// Walks a space. Returns its present pages and its swap entries.
    fn space(&mut self, memory: &Memory, space: &Arc<Space>) -> Result<(i64, i64), String> {
        let layout = space.layout().read();
        let mut spans: Vec<_> = layout.areas.iter().flat_map(spans_of).collect();
        spans.dedup();
        let (mut anon, mut swap) = (0, 0);
        for span in spans {
            let Some(table) = space.tables.find(memory, span) else { continue };
            let entries: Vec<_> =
                (0..ENTRIES).map(|index| memory.door.load(table.slot(span.add_pages(index)))).collect();
            within(&format!("table of {span}"), check_blocks(memory, &entries))?;
            for (index, &entry) in entries.iter().enumerate().filter(|(_, entry)| !entry.is_none()) {
                let address = span.add_pages(index);
                let kind = self.entry(memory, &layout.areas, address, entry);
                match within(&format!("entry {entry} at {address}"), kind)? {
                    Kind::Anon => anon += 1,
                    Kind::Swap => swap += 1,
                    Kind::Zero => {}
                }
            }
        }
        Ok((anon, swap))
    }

    fn entry(&mut self, memory: &Memory, areas: &Areas, address: VirtAddr, entry: Descriptor) -> Result<Kind, String> {
        let area = areas.find(address).ok_or("outside of any area")?;
        if !entry.is_present() {
            self.swap_entry(entry)?;
            return Ok(Kind::Swap);
        }
        if entry.is_special() {
            must(
                entry.frame() == memory.zero_frame() && !entry.is_writable(),
                "a special entry that is not the zero page",
            )?;
            return Ok(Kind::Zero);
        }
        self.page(memory, area, address, entry)?;
        Ok(Kind::Anon)
    }

    fn swap_entry(&mut self, entry: Descriptor) -> Outcome {
        same("bits that a swap entry has not (I6)", entry.bits() & NOT_IN_SWAP, 0)?;
        let swapped = SwapEntry::from_descriptor(entry).ok_or("neither none nor present nor a swap entry")?;
        must(swapped.entry.slot != 0, "slot 0")?;
        self.slots.entry(entry.bits() >> 6).or_insert((swapped.entry, 0)).1 += 1;
        Ok(())
    }

    fn page(&mut self, memory: &Memory, area: &Area, address: VirtAddr, entry: Descriptor) -> Outcome {
        let folio = memory.frames.folio_of(entry.frame());
        let page = folio.index_of(entry.frame());
        self.folios.entry(folio.head().as_u64()).or_insert_with(|| vec![0; folio.pages()])[page] += 1;
        let (anon, index) = folio.mapping().ok_or("its folio has no place in an anon_vma")?;
        same("anon_vma", Some(anon), area.anon)?;
        same("page offset in the anon_vma", index + page as u64, area.index_of(address))?;
        must(area.protection().write || !entry.is_writable(), "writable where the area is not")?;
        must(area.protection().read == entry.is_valid(), "valid in an area without access, or the reverse")?;
        must(folio.is_exclusive(page) || !entry.is_writable(), "a writable page that is not exclusive")
    }
}

enum Kind {
    Anon,
    Swap,
    Zero,
}

/// The start of every last-level table that an area reaches into.
fn spans_of(area: &Area) -> impl Iterator<Item = VirtAddr> + use<> {
    let (first, end) = (area.start.align_down(TABLE_SPAN), area.end);
    (0..).map(move |index| first.add_bytes(index * TABLE_SPAN)).take_while(move |&start| start < end)
}

/// Invariants I1 to I4 of a table's blocks.
fn check_blocks(memory: &Memory, entries: &[Descriptor]) -> Outcome {
    for (number, block) in entries.chunks(CONT_PTES).enumerate() {
        within(&format!("block {number}"), check_block(memory, block))?;
    }
    Ok(())
}

fn check_block(memory: &Memory, block: &[Descriptor]) -> Outcome {
    let marked = block.iter().filter(|entry| entry.bits() & CONTIGUOUS != 0).count();
    must(marked == 0 || marked == CONT_PTES, "some entries are contiguous and some are not (I1)")?;
    if marked == 0 {
        return Ok(());
    }
    must(block.iter().all(|entry| entry.is_valid()), "contiguous and not valid (I2, I3)")?;
    must(block[0].frame().is_aligned(CONT_PTES), "contiguous and not aligned (I2)")?;
    let alike = |index: usize| (block[index].bits() ^ block[0].advance(index).bits()) & !MAY_DIFFER == 0;
    must((1..CONT_PTES).all(alike), "contiguous entries that differ (I2)")?;
    let folio = memory.frames.folio_of(block[0].frame());
    must(folio.contains(block[CONT_PTES - 1].frame()), "contiguous beyond a folio (I4)")
}

/// Map counts, references and exclusive marks of a folio that entries map.
fn check_folio(folio: &Folio<'_>, maps: &[usize]) -> Outcome {
    let total: usize = maps.iter().sum();
    same("mapcount", folio.mapcount(), total)?;
    same("mapped pages", folio.mapped_pages(), maps.iter().filter(|&&count| count > 0).count())?;
    for (page, &count) in maps.iter().enumerate() {
        same(&format!("maps of page {page}"), folio.page_maps(page), count)?;
        // Of a page that was zapped the mark says nothing any more.
        must(!folio.is_exclusive(page) || count <= 1, "an exclusive page that is mapped more than once")?;
    }
    let cached = if folio.is_swap_cache() { folio.pages() } else { 0 };
    same("references", folio.refs(), total + cached)?;
    must(!folio.is_locked(), "locked")?;
    must(!folio.maybe_pinned(), "pinned")?;
    must(folio.is_on_lru(), "mapped and on no list")
}

/// A page whose slot is named by a swap entry, and which is cached: nothing may own it, as its entry remembers that.
fn check_cached(memory: &Memory, entry: SwapEntry) -> Outcome {
    let Some(folio) = memory.swap.lookup(memory, entry) else { return Ok(()) };
    let page = (0..folio.pages()).find(|&page| folio.swap_entry(page) == entry);
    let found = page.ok_or_else(|| format!("{entry:?} is cached by {folio:?}, which has other slots"));
    let orphan = folio.put(1);
    must(orphan.is_none(), "a cached folio without references")?;
    let page = found?;
    must(folio.page_maps(page) > 0 || !folio.is_exclusive(page), "a swapped page that is still marked exclusive")
}
