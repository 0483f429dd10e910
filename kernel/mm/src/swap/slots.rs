//! The clusters of one device: which of them to look into for a run of slots.
//!
//! A cluster serves folios of one order until it is empty again, so that runs stay whole. Each CPU goes on in the cluster that it
//! used last for an order; then it looks for another of that order, then for an empty one, by bits, 64 clusters in a word. The bits
//! only say where to look: what holds is under the cluster's lock, and that is where they are changed. A single page that finds no slot
//! there takes any that is left in a cluster of another order.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::cluster::{Cluster, SLOTS};
use crate::MAX_CPUS;
use crate::errno::Errno;
use crate::frame::MAX_ORDER;
use crate::sync::{Guard, Lock, Rank};

const ORDERS: usize = MAX_ORDER + 1;
/// No cluster was used last.
const NONE: u32 = u32::MAX;

/// One bit for each cluster.
#[derive(Debug)]
struct ClusterBits(Box<[AtomicU64]>);

impl ClusterBits {
    fn new(clusters: usize) -> Result<Self, Errno> {
        let mut words = Vec::new();
        words.try_reserve_exact(clusters.div_ceil(64)).map_err(|_| Errno::ENOMEM)?;
        words.extend((0..clusters.div_ceil(64)).map(|_| AtomicU64::new(0)));
        Ok(Self(words.into_boxed_slice()))
    }

    /// Sets or clears a bit. Most often it is right already, and nothing is written.
    fn put(&self, cluster: usize, value: bool) {
        let (word, bit) = (&self.0[cluster / 64], 1 << (cluster % 64));
        if (word.load(Ordering::Relaxed) & bit != 0) == value {
            return;
        }
        if value {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// The first cluster from `from` on whose bit is set.
    fn next(&self, from: usize) -> Option<usize> {
        let mut mask = u64::MAX << (from % 64);
        (from / 64..self.0.len()).find_map(|word| {
            let bits = self.0[word].load(Ordering::Relaxed) & mask;
            mask = u64::MAX;
            (bits != 0).then(|| word * 64 + bits.trailing_zeros() as usize)
        })
    }
}

/// All clusters of a device.
#[derive(Debug)]
pub(super) struct Clusters {
    clusters: Box<[Lock<Cluster>]>,
    empty: ClusterBits,
    /// Clusters of an order that may have a free run.
    partial: [ClusterBits; ORDERS],
    last: [[AtomicU32; ORDERS]; MAX_CPUS],
    total: usize,
}

impl Clusters {
    /// Clusters for `slots` slots, of which slot 0 is never used.
    pub(super) fn new(slots: usize) -> Result<Self, Errno> {
        let count = slots.div_ceil(SLOTS);
        let mut clusters = Vec::new();
        clusters.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        clusters.extend((0..count).map(|index| {
            let mut cluster = Cluster::new((slots - index * SLOTS).min(SLOTS));
            if index == 0 {
                cluster.spoil(0, 1);
            }
            Lock::new(Rank::Cluster, cluster)
        }));
        let mut partial = [const { None }; ORDERS];
        for bits in &mut partial {
            *bits = Some(ClusterBits::new(count)?);
        }
        let empty = ClusterBits::new(count)?;
        (0..count).for_each(|index| empty.put(index, true));
        Ok(Self {
            clusters: clusters.into_boxed_slice(),
            empty,
            partial: partial.map(|bits| bits.unwrap_or(ClusterBits(Box::new([])))),
            last: [const { [const { AtomicU32::new(NONE) }; ORDERS] }; MAX_CPUS],
            total: slots.saturating_sub(1),
        })
    }

    /// Forgets where slots were taken last.
    pub(super) fn start_anew(&self) {
        self.last.iter().flatten().for_each(|last| last.store(NONE, Ordering::Relaxed));
    }

    /// Slots that can be used.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Slots that are free, counted cluster by cluster: no common count has to be kept on every allocation.
    pub(super) fn free(&self) -> usize {
        self.clusters.iter().map(|cluster| cluster.lock().free()).sum()
    }

    /// Whether any slot is free.
    pub(super) fn has_free(&self) -> bool {
        self.clusters.iter().any(|cluster| cluster.lock().free() > 0)
    }

    /// The cluster of a slot, locked, and the slot's place in it.
    #[inline]
    pub(super) fn lock(&self, slot: usize) -> (Guard<'_, Cluster>, usize) {
        (self.clusters[slot / SLOTS].lock(), slot % SLOTS)
    }

    /// The clusters, for a recount.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Lock<Cluster>> {
        self.clusters.iter()
    }

    /// Records that slots of the cluster of `slot` came free.
    #[inline]
    pub(super) fn note_freed(&self, slot: usize, cluster: &mut Cluster, freed: usize) {
        if freed > 0 {
            self.file_freed(slot / SLOTS, cluster);
        }
    }

    fn file_freed(&self, index: usize, cluster: &mut Cluster) {
        let Some(order) = cluster.order() else { return };
        if cluster.is_empty() {
            cluster.set_order(None);
            self.partial[order].put(index, false);
            self.empty.put(index, true);
        } else {
            self.partial[order].put(index, true);
        }
    }

    /// Takes a run for a folio whose first frame is `frame`, and runs `enter` with its first slot under the cluster's lock. False if
    /// there is no run.
    pub(super) fn take(&self, order: usize, frame: u32, enter: impl Fn(usize)) -> bool {
        let last = &self.last[mmu::current_cpu() % MAX_CPUS][order];
        let hint = last.load(Ordering::Relaxed);
        if hint != NONE && self.take_in(hint as usize, order, frame, &enter) {
            return true;
        }
        for list in [&self.partial[order], &self.empty] {
            let mut from = 0;
            while let Some(index) = list.next(from) {
                if self.take_in(index, order, frame, &enter) {
                    last.store(index as u32, Ordering::Relaxed);
                    return true;
                }
                from = index + 1;
            }
        }
        order == 0 && (0..self.clusters.len()).any(|index| self.take_single(index, frame, &enter))
    }

    /// Takes a slot of a cluster that serves folios of a larger order.
    fn take_single(&self, index: usize, frame: u32, enter: &impl Fn(usize)) -> bool {
        let mut cluster = self.clusters[index].lock();
        let Some(at) = cluster.order().and_then(|_| cluster.find_single()) else { return false };
        cluster.take(at, 0, frame);
        enter(index * SLOTS + at);
        true
    }

    fn take_in(&self, index: usize, order: usize, frame: u32, enter: &impl Fn(usize)) -> bool {
        let mut cluster = self.clusters[index].lock();
        let fresh = cluster.order().is_none();
        if !fresh && cluster.order() != Some(order) {
            return false;
        }
        if fresh {
            cluster.set_order(Some(order));
        }
        let Some(at) = cluster.find(order) else {
            if fresh {
                cluster.set_order(None);
            } else {
                self.partial[order].put(index, false);
            }
            return false;
        };
        if fresh {
            self.empty.put(index, false);
            self.partial[order].put(index, true);
        }
        cluster.take(at, order, frame);
        enter(index * SLOTS + at);
        true
    }
}
