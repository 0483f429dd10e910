//! Runs of descriptors for machines that take them one by one, as every access is an event of its own there.

use super::{Machine, Run};
use crate::addr::PhysAddr;

/// The addresses and values of a run.
pub(crate) fn places(address: PhysAddr, count: usize, first: u64, step: u64) -> impl Iterator<Item = (PhysAddr, u64)> {
    (0..count as u64).map(move |index| (address.add_bytes(8 * index), first.wrapping_add(index.wrapping_mul(step))))
}

impl Machine {
    /// Reads descriptors, at most `count`, until `matches` holds of one. Returns that one, and how many came before it.
    #[track_caller]
    pub(super) fn find(
        &self,
        address: PhysAddr,
        count: usize,
        matches: impl Fn(usize, u64) -> bool,
    ) -> Option<(usize, u64)> {
        for (index, (place, _)) in places(address, count, 0, 0).enumerate() {
            let value = self.load(place);
            if matches(index, value) {
                return Some((index, value));
            }
        }
        None
    }

    /// Changes `count` descriptors, each by compare-and-swap until it holds. Returns the old ones, and how many compare-and-swaps it took.
    #[track_caller]
    pub(super) fn exchange_run(&self, address: PhysAddr, count: usize, change: impl Fn(u64) -> u64) -> (Run, u64) {
        let mut exchanges = 0;
        let mut run = Run::of(self.exchange(address, &change, &mut exchanges));
        for (place, _) in places(address, count, 0, 0).skip(1) {
            run.add(self.exchange(place, &change, &mut exchanges));
        }
        (run, exchanges)
    }

    #[track_caller]
    fn exchange(&self, address: PhysAddr, change: impl Fn(u64) -> u64, exchanges: &mut u64) -> u64 {
        let mut old = self.load(address);
        loop {
            *exchanges += 1;
            match self.compare_exchange(address, old, change(old)) {
                Ok(_) => return old,
                Err(now) => old = now,
            }
        }
    }
}
