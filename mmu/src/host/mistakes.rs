//! Mistakes that the door lets nobody make: for scenarios that show what the model finds in them.

use std::panic::Location;
use std::sync::atomic::Ordering;

use super::machine::Machine;
use crate::addr::Asid;
use crate::slot::Table;

impl Machine {
    /// Writes TTBR0_EL1 and leaves the ISB out, which [`Door::activate`](crate::Door::activate) never does (MS-28).
    #[track_caller]
    pub fn activate_without_isb(&self, root: Table, asid: Asid) {
        self.activate(root.address(), asid);
    }

    /// An event that this CPU numbers and the model is never told of: a hole in what was observed (MS-51).
    #[track_caller]
    pub fn lose_event(&self) {
        self.this_cpu().told.fetch_add(1, Ordering::Relaxed);
        // The next event shows the gap.
        self.tell(Location::caller(), |_, _| Ok(()));
    }
}
