//! What is done when no slot is free: slots that only the cache uses are taken back (reference A12).

use super::cluster::SLOTS;
use super::{Swap, SwapEntry};
use crate::frame::Orphan;
use crate::memory::Memory;

impl Swap {
    /// Frees slots that are in use only because a folio is cached there which is in memory: after a page-out that failed, say (A12).
    /// Folios that somebody has locked are passed by. `orphan` gets those that nothing else held. Returns how many left the cache.
    pub fn free_cached(&self, memory: &Memory, mut orphan: impl FnMut(Orphan)) -> usize {
        let mut left = 0;
        for (device, swap) in self.devices() {
            for (index, cluster) in swap.clusters.iter().enumerate() {
                let mut from = 0;
                loop {
                    // One at a time: a folio's lock is not taken under that of a cluster.
                    let Some(at) = cluster.lock().uncounted_from(from) else { break };
                    from = at + 1;
                    let entry = SwapEntry { device, slot: (index * SLOTS + at) as u32 };
                    left += usize::from(self.free_cached_at(memory, entry, &mut orphan));
                }
            }
        }
        left
    }

    fn free_cached_at(&self, memory: &Memory, entry: SwapEntry, orphan: &mut impl FnMut(Orphan)) -> bool {
        let Some((folio, _)) = self.try_find(memory, entry) else { return false };
        let done = folio.try_lock().is_some_and(|locked| self.free_if_unused(&locked));
        if done {
            memory.defer_split(folio);
        }
        self.free_unneeded(folio);
        if let Some(last) = folio.put(1) {
            orphan(last);
        }
        done
    }
}
