//! Unmapping meets a locked area: its entries stay (reference 4.24).

use crate::folio::FolioLock;
use crate::memory::Memory;
use crate::tlb::Deferred;

use super::walk::FolioWalk;

/// Counts the folio's entries in a locked area, one by one, and leaves them as they are; whether there is one. If they are all that the
/// folio has pages, in one table, it is marked, so that reclaim does not come for it again.
pub(super) fn keeps(memory: &Memory, folio: &FolioLock<'_>, walk: &mut FolioWalk<'_>, deferred: &mut Deferred) -> bool {
    let mut seen = 0;
    let mut first = None;
    while seen < folio.pages() {
        let Some((table, ..)) = walk.next(deferred) else { break };
        if *first.get_or_insert(table.start()) != table.start() {
            break;
        }
        seen += 1;
    }
    if seen == folio.pages() {
        memory.mark(folio.folio(), true);
    }
    memory.count().unmap_failures.add(u64::from(seen > 0));
    seen > 0
}
