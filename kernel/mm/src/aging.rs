//! Aging: whether a folio was used since reclaim looked at it last (reference 4.26). Its access flags say so, in every area that maps it,
//! and its own flag: for two looks at most it is not known to be idle.
//!
//! Flags are taken away by whole runs of entries, folded blocks as they are. Their invalidation is issued and not awaited: a page that
//! looks old a little longer harms nobody.

use mmu::VirtAddr;
use mmu::mutant::{self, Mutant};

use crate::contpte::BatchRules;
use crate::folio::FolioLock;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::rmap::Extent;
use crate::walk::for_each_table_as_is;

/// How much a folio is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Usage {
    /// Nobody has used it for two looks, or ever since it was given up.
    Idle,
    /// It was used once: it has a second chance.
    Once,
    /// It is used again and again, or by several.
    Often,
}

/// Looks how much a folio was used since the last look, and takes the flags that say so away.
pub(crate) fn take_usage(memory: &Memory, folio: &FolioLock<'_>) -> Usage {
    let users = mutant::or(Mutant::UseIgnored, take_young(memory, folio), 0);
    let before = folio.is_referenced();
    folio.set_referenced(users > 0);
    match users {
        0 => Usage::Idle,
        1 if !before => Usage::Once,
        _ => Usage::Often,
    }
}

/// Takes the access flags of every mapping away. In how many areas any was set.
pub(crate) fn take_young(memory: &Memory, folio: &FolioLock<'_>) -> usize {
    let Some((id, index)) = folio.mapping() else { return 0 };
    let Some(anon) = memory.anon.get(id) else { return 0 };
    let extents = anon.extents();
    let first = mutant::or(Mutant::FirstUserAlone, usize::MAX, 1);
    extents
        .at(index, folio.pages())
        .take(first)
        .filter(|&(extent, range)| take_young_of(memory, folio, extent, range))
        .count()
}

/// Takes the access flags of the entries in one area away. Whether any was set.
fn take_young_of(memory: &Memory, folio: &FolioLock<'_>, extent: &Extent, range: (VirtAddr, VirtAddr)) -> bool {
    let mut young = false;
    for_each_table_as_is(memory, &extent.space, range, |table, start, stop| {
        young |= take_young_in_table(&table, folio, (start, stop));
        stop
    });
    young
}

fn take_young_in_table(
    table: &TableGuard<'_>,
    folio: &FolioLock<'_>,
    (mut address, stop): (VirtAddr, VirtAddr),
) -> bool {
    let mut young = false;
    while address < stop {
        let slot = table.slot(address);
        let entry = table.memory.door.load(slot);
        let mut count = 1;
        if entry.is_valid() && !entry.is_special() && folio.contains(entry.frame()) {
            let left = (stop.page_number() - address.page_number()) as usize;
            let most = left.min(folio.pages() - folio.index_of(entry.frame()));
            let (length, merged) = table.batch(slot, table.get(slot), most, BatchRules::default());
            count = length;
            if merged.is_young() {
                young |= table.clear_flush_young(slot, count);
            }
        }
        address = address.add_pages(count);
    }
    young
}
