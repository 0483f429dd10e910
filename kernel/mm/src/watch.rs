//! Who watches an area by userfaultfd, and what he is asked.

use core::num::NonZeroU32;

use mmu::{Access, VirtAddr};

use crate::sync::{Relax, assert_may_wait};

/// Who watches: a number that means something to those who gave it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Monitor(pub NonZeroU32);

/// What a monitor is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Who is asked.
    pub monitor: Monitor,
    /// The page.
    pub address: VirtAddr,
    /// What was tried.
    pub access: Access,
    /// Whether the page is there, and protected; else it is missing.
    pub is_protected: bool,
}

/// How whoever watches is asked in the middle of a call; nobody is where nobody has said.
static ASK: spin::once::Once<fn(Notice) -> bool, Relax> = spin::once::Once::new();

/// Says how a monitor is asked, once for a run of the machine. The function returns when the monitor has answered, and the access is to be
/// tried again; or with false, if it is not.
pub fn set_ask(ask: fn(Notice) -> bool) {
    ASK.call_once(|| ask);
}

/// Asks a monitor, with no lock held. Whether the access is to be tried again.
pub(crate) fn ask(notice: Notice) -> bool {
    assert_may_wait();
    ASK.get().is_some_and(|ask| ask(notice))
}
