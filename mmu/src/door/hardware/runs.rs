//! Runs of descriptors, which an observer would take one by one: each is a loop of few instructions over the table's memory.

use core::sync::atomic::{Ordering, fence};

use super::{Machine, atomic_at, compare_exclusive, compare_lse, lse, pointer, swap_lse};
use crate::addr::PhysAddr;
use crate::door::Run;

impl Machine {
    /// Reads descriptors, at most `count`, until `matches` holds of one. Returns that one, and how many came before it.
    #[inline(always)]
    pub(in crate::door) fn find(
        &self,
        address: PhysAddr,
        count: usize,
        matches: impl Fn(usize, u64) -> bool,
    ) -> Option<(usize, u64)> {
        let mut entry = pointer(address);
        for index in 0..count {
            let value = atomic_at(entry).load(Ordering::Relaxed);
            if matches(index, value) {
                return Some((index, value));
            }
            entry = entry.wrapping_add(1);
        }
        None
    }

    #[inline(always)]
    pub(in crate::door) fn store_run(&self, address: PhysAddr, count: usize, first: u64, step: u64) {
        // Of a run one barrier does what `store` does for each: no entry is visible before the pages' contents.
        fence(Ordering::Release);
        let mut entry = pointer(address);
        let end = entry.wrapping_add(count);
        let mut value = first;
        while entry != end {
            atomic_at(entry).store(value, Ordering::Relaxed);
            entry = entry.wrapping_add(1);
            value = value.wrapping_add(step);
        }
    }

    #[inline(always)]
    pub(in crate::door) fn swap_run(&self, address: PhysAddr, count: usize, first: u64, step: u64) -> Run {
        if lse() {
            swap_each(address, count, first, step, swap_lse)
        } else {
            swap_each(address, count, first, step, |entry, value| atomic_at(entry).swap(value, Ordering::Relaxed))
        }
    }

    /// Changes `count` descriptors, each by compare-and-swap until it holds. Returns the old ones, and how many compare-and-swaps it took.
    #[inline(always)]
    pub(in crate::door) fn exchange_run(
        &self,
        address: PhysAddr,
        count: usize,
        change: impl Fn(u64) -> u64,
    ) -> (Run, u64) {
        if lse() {
            exchange_each(address, count, change, compare_lse)
        } else {
            exchange_each(address, count, change, compare_exclusive)
        }
    }
}

#[inline(always)]
fn swap_each(address: PhysAddr, count: usize, first: u64, step: u64, swap: impl Fn(*mut u64, u64) -> u64) -> Run {
    let mut value = first;
    each(address, count, |entry| {
        let old = swap(entry, value);
        value = value.wrapping_add(step);
        old
    })
}

#[inline(always)]
fn exchange_each(
    address: PhysAddr,
    count: usize,
    change: impl Fn(u64) -> u64,
    compare: impl Fn(*mut u64, u64, u64) -> u64,
) -> (Run, u64) {
    let mut exchanges = count as u64;
    let run = each(address, count, |entry| {
        let mut old = atomic_at(entry).load(Ordering::Relaxed);
        loop {
            let seen = compare(entry, old, change(old));
            if seen == old {
                return old;
            }
            exchanges += 1;
            old = seen;
        }
    });
    (run, exchanges)
}

/// Does `work`, which returns what was there, to each entry of a run.
#[inline(always)]
fn each(address: PhysAddr, count: usize, mut work: impl FnMut(*mut u64) -> u64) -> Run {
    let mut entry = pointer(address);
    let end = entry.wrapping_add(count);
    let mut sum = Run::of(work(entry));
    loop {
        entry = entry.wrapping_add(1);
        if entry == end {
            return sum;
        }
        sum.add(work(entry));
    }
}
