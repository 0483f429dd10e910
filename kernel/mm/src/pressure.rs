//! Memory that is short: whoever needs a page gets some back first (direct reclaim), waits for what is being written, or goes without.
//!
//! Large folios are not worth it: where memory is short there are smaller ones. Beside this a task of the kernel's may get memory back
//! while others run (background reclaim): it asks [`Memory::shortage`], and calls [`Memory::balance`].

use core::sync::atomic::{AtomicBool, Ordering};

use spin::once::Once;

use crate::frame::Shortage;
use crate::memory::Memory;
use crate::shrink::Shrunk;
use crate::sync::{Relax, assert_may_reclaim};

/// Pages that whoever needs one gets back.
const DIRECT: usize = 32;

/// What is known of the search for memory.
#[derive(Debug)]
pub(crate) struct Pressure {
    /// Waits for writes to the swap device; whether there was anything to wait for.
    wait: Once<fn() -> bool, Relax>,
    /// The last search found nothing: there is none while memory is left.
    fruitless: AtomicBool,
}

impl Pressure {
    pub(crate) const fn new() -> Self {
        Self { wait: Once::new(), fruitless: AtomicBool::new(false) }
    }
}

impl Memory {
    /// Says how one waits until writes to the swap device are complete, once: the function returns whether there was something to wait
    /// for.
    pub fn set_wait_for_writes(&self, wait: fn() -> bool) {
        self.pressure.wait.call_once(|| wait);
    }

    /// How short memory is.
    #[inline]
    pub fn shortage(&self) -> Shortage {
        self.frames.shortage()
    }

    /// A step of background reclaim: gets some of the pages back that are missing up to the high watermark. What came of it; `None` if
    /// enough are free, or will be once they are written.
    pub fn balance(&self) -> Option<Shrunk> {
        self.frames.look();
        let missing = self.frames.missing().saturating_sub(self.swap.pages_in_writing());
        (missing > 0).then(|| self.note_search(self.shrink(missing)))
    }

    /// Called before a page is taken: gets some back where few are left.
    pub(crate) fn make_room(&self) {
        if self.shortage() == Shortage::Min && !self.pressure.fruitless.load(Ordering::Relaxed) {
            self.direct_reclaim();
        }
    }

    /// Called where no page is left. Whether it is worth another look.
    pub(crate) fn find_room(&self) -> bool {
        self.direct_reclaim().freed > 0 || self.wait_for_writes()
    }

    /// Waits for writes to the swap device. Whether there was anything to wait for, and a way to.
    pub(crate) fn wait_for_writes(&self) -> bool {
        self.pressure.wait.get().is_some_and(|wait| wait())
    }

    fn direct_reclaim(&self) -> Shrunk {
        assert_may_reclaim();
        self.count().direct_reclaims.add(1);
        self.note_search(self.shrink(DIRECT))
    }

    fn note_search(&self, shrunk: Shrunk) -> Shrunk {
        self.frames.look();
        self.pressure.fruitless.store(shrunk.pages() == 0, Ordering::Relaxed);
        shrunk
    }
}
