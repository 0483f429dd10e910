//! The slots of the swap devices: each in use is accounted for by entries or by the cache, and what it caches is nobody's own.

use alloc::vec::Vec;

use super::{Finding, Place, Rule, Seen, SeenSlot, is, same};
use crate::folio::Folio;
use crate::memory::Memory;
use crate::swap::{SwapEntry, UsedSlot};

/// Compares every slot in use with the entries that name it, and notes the folios that are cached.
pub(super) fn recount(memory: &Memory, seen: &mut Seen) -> Result<(), Finding> {
    // Room for all, since nothing may be allocated while a cluster is locked.
    let mut used: Vec<UsedSlot> = Vec::with_capacity(memory.swap.total() - memory.swap.free_count());
    memory.swap.for_each_used(|slot| used.push(slot));
    for slot in used {
        let named = seen.slots.remove(&slot.entry).unwrap_or_default();
        check_slot(&slot, named)?;
        if let Some((index, page)) = slot.cached {
            let folio = Folio::at(&memory.frames, index);
            check_cached(&folio, page, slot.entry, named)?;
            seen.folio(&folio).cached += 1;
        }
    }
    match seen.slots.first_key_value() {
        None => Ok(()),
        Some((&entry, named)) => same(Rule::Ms43, "entries of a free slot", Place::Slot(entry), named.entries, 0),
    }
}

fn check_slot(slot: &UsedSlot, named: SeenSlot) -> Result<(), Finding> {
    let place = Place::Slot(slot.entry);
    same(Rule::Ms43, "swap count", place, slot.count as u64, named.entries)?;
    is(Rule::Ms43, "in use for an entry or the cache", place, slot.count > 0 || slot.cached.is_some(), true)?;
    if named.exclusive {
        same(Rule::Ms45, "entries of an exclusive page", place, named.entries, 1)?;
    }
    Ok(())
}

/// The slot's folio knows it, and a page that a swap entry stands for is not marked exclusive: its entry remembers that.
fn check_cached(folio: &Folio<'_>, page: usize, entry: SwapEntry, named: SeenSlot) -> Result<(), Finding> {
    let place = Place::Slot(entry);
    is(Rule::Ms43, "its folio is in the swap cache", place, folio.is_swap_cache(), true)?;
    let known = folio.swap_entry(page);
    same(Rule::Ms43, "the slot that its folio knows", place, u64::from(known.slot), u64::from(entry.slot))?;
    if named.entries > 0 {
        is(Rule::Ms45, "marked exclusive while swapped out", place, folio.is_exclusive(page), false)?;
    }
    if named.exclusive {
        same(Rule::Ms45, "mappings of a page whose swap entry is exclusive", place, folio.page_maps(page) as u64, 0)?;
    }
    Ok(())
}
