//! Who watches an area by userfaultfd, and what he is asked.

use core::num::NonZeroU32;

use mmu::{Access, VirtAddr};

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
