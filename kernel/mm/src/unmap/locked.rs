//! Unmapping meets a locked area: its entries stay (reference 4.24).

use crate::folio::FolioLock;
use crate::memory::Memory;
use crate::tlb::Deferred;

use super::walk::FolioWalk;

/// Counts the folio's entries in a locked area, one by one, and leaves them as they are. If they are all that the folio has pages, in one
/// table, it is marked, so that reclaim does not come for it again.
pub(super) fn keep(memory: &Memory, folio: &FolioLock<'_>, walk: &mut FolioWalk<'_>, deferred: &mut Deferred) {
    let mut seen = 0;
    let mut tables = None;
    while seen < folio.pages() {
        let Some((table, ..)) = walk.next(deferred) else { return };
        if *tables.get_or_insert(table.start()) != table.start() {
            return;
        }
        seen += 1;
    }
    memory.mark(folio.folio(), true);
}
