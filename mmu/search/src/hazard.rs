//! What must never be reachable. These are harms, not rules: nothing here knows what the rules ask for, so the search can judge them.

use std::fmt;

use crate::machine::State;

/// A harm.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Hazard {
    /// The program accessed a frame that belongs to someone else.
    UseAfterFree,
    /// A table walk read, or hardware updated, memory that was a table once.
    FreedTable,
    /// A write was acknowledged, and what will be read back is older.
    LostWrite,
    /// A page was written, and nothing says so: no entry, no value that the kernel gathered, no folio.
    LostDirty,
    /// An access passed that the entries no longer permit, after the operation was declared done.
    StalePermission,
    /// An access met two translations of different size, where that may raise a TLB conflict abort.
    Conflict,
    /// The same, where the result may be none of the two.
    Poison,
    /// An access that the entries permit faults again and again.
    NoProgress,
}

impl fmt::Display for Hazard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::UseAfterFree => "access to a freed frame",
            Self::FreedTable => "walk of a freed table",
            Self::LostWrite => "write lost",
            Self::LostDirty => "dirty state lost",
            Self::StalePermission => "access by a withdrawn permission",
            Self::Conflict => "TLB conflict abort",
            Self::Poison => "TLB conflict, result unknown",
            Self::NoProgress => "endless fault",
        })
    }
}

/// Whether a page that was written and is still needed has nobody left who says that it is dirty. `holding` says whether the kernel is
/// still at work, with what it gathered in its hands.
pub(crate) fn lost_dirty(state: &State, holding: bool) -> bool {
    let gathered = holding && state.gathered.is_dirty();
    let all_dirty = gathered || state.folio_dirty || state.entries.iter().any(|e| e.is_folded() && e.is_dirty());
    let lost = |page: usize| {
        let needed = state.unsaved & !state.freed & (1 << page) != 0;
        needed && !state.entries[page].is_dirty()
    };
    !all_dirty && (0..state.entries.len()).any(lost)
}
