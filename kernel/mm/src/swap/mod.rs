//! Swap: slots, how many entries name each, and the cache of folios that are on their way out or in.
//!
//! A slot is free, or in use because it has a count, or is cached, or both. The count is the number of swap entries in all tables that
//! name it, or 1 for the memory file that has its page there. While a folio is cached it has one reference a page for it, and its slots
//! stay in use whatever their counts.
//!
//! | file | holds |
//! |---|---|
//! | this one | devices, slots given out, counts |
//! | `cluster`, `counts`, `slots`, `entry` | 512 slots, how often each is named, which cluster to take them from, how entries name them |
//! | `cache` | folios on their way out or in |
//! | `io` | writing them out and reading them in, completions |
//! | `device`, `ram`, `drive` | what a device is; one in memory; one that takes its time and has faults |
//!
//! Nothing here changes a count under another lock than that of the cluster.

mod cache;
mod cluster;
mod counts;
mod device;
mod drive;
pub mod entry;
mod full;
mod io;
mod ram;
mod slots;

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use spin::once::Once;

use crate::errno::Errno;
use crate::folio::{Folio, FolioLock};
use crate::frame::Orphan;
use crate::inject::Point;
use crate::memory::Memory;
use crate::sync::Relax;

use cluster::{Extension, RaiseError, SLOTS, new_extension};
use slots::Clusters;

pub use device::{Completion, Finished, SwapDevice, SwapError};
pub use drive::Drive;
pub use entry::{SwapEntry, Swapped, bad_frame, bad_memory};
pub use io::Written;
pub use ram::RamDevice;

/// Devices at most.
const MAX_DEVICES: usize = 4;

/// No run of slots of the folio's size is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SwapFull;

/// Why counts were not raised. None of the run was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DupError {
    /// An entry names a slot that holds nothing.
    Unused,
    /// A count is so high that it needs room elsewhere, and there is none.
    NoMemory,
}

/// What is kept of a slot in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UsedSlot {
    /// The slot.
    pub(crate) entry: SwapEntry,
    /// How many swap entries name it.
    pub(crate) count: usize,
    /// The first frame of the folio that is cached there, and the page of it.
    pub(crate) cached: Option<(u32, usize)>,
}

#[derive(Debug)]
struct Device {
    backing: Box<dyn SwapDevice>,
    clusters: Clusters,
    /// Whether slots are given out.
    in_use: AtomicBool,
}

/// All swap devices.
#[derive(Debug)]
pub struct Swap {
    devices: [Once<Device, Relax>; MAX_DEVICES],
    count: AtomicUsize,
    /// Extensions of counts that are refused before one is made.
    refused: AtomicUsize,
    /// Pages that devices have yet to write.
    in_writing: AtomicUsize,
}

impl Swap {
    /// Without a device.
    pub const fn new() -> Self {
        Self {
            devices: [const { Once::new() }; MAX_DEVICES],
            count: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            in_writing: AtomicUsize::new(0),
        }
    }

    /// Adds a device; slots are taken from the devices in the order in which they came.
    ///
    /// # Errors
    /// `ENOMEM` if what is kept of each slot does not fit into the heap, `EINVAL` for too many devices or slots.
    pub fn add_device(&self, backing: Box<dyn SwapDevice>) -> Result<u8, Errno> {
        let slots = backing.slots();
        if slots >= SwapEntry::SLOT_LIMIT {
            return Err(Errno::EINVAL);
        }
        let clusters = Clusters::new(slots)?;
        let place = self.count.fetch_add(1, Ordering::AcqRel);
        if place >= MAX_DEVICES {
            self.count.fetch_sub(1, Ordering::AcqRel);
            return Err(Errno::EINVAL);
        }
        self.devices[place].call_once(|| Device { backing, clusters, in_use: AtomicBool::new(true) });
        Ok(place as u8)
    }

    fn devices(&self) -> impl Iterator<Item = (u8, &Device)> {
        (0u8..).zip(&self.devices).map_while(|(place, device)| Some((place, device.get()?)))
    }

    /// Those that slots are given out of.
    fn devices_in_use(&self) -> impl Iterator<Item = (u8, &Device)> {
        self.devices().filter(|(_, device)| device.in_use.load(Ordering::Acquire))
    }

    /// Whether slots of a device are given out; `None` if there is no such device.
    pub fn is_in_use(&self, device: u8) -> Option<bool> {
        Some(self.devices.get(usize::from(device))?.get()?.in_use.load(Ordering::Acquire))
    }

    /// Says whether slots of a device are given out, from its first cluster on. Whether that was otherwise before.
    pub(crate) fn set_in_use(&self, device: u8, in_use: bool) -> bool {
        let Some(device) = self.devices.get(usize::from(device)).and_then(Once::get) else { return false };
        device.clusters.start_anew();
        device.in_use.swap(in_use, Ordering::AcqRel) != in_use
    }

    /// Slots of a device that are in use.
    pub(crate) fn used(&self, device: u8) -> usize {
        let device = self.devices.get(usize::from(device)).and_then(Once::get);
        device.map_or(0, |device| device.clusters.total() - device.clusters.free())
    }

    /// # Panics
    /// For an entry of a device that was never added.
    #[inline]
    fn device(&self, entry: SwapEntry) -> &Device {
        match self.devices[usize::from(entry.device)].get() {
            Some(device) => device,
            None => panic!("no swap device {}", entry.device),
        }
    }

    /// Slots of all devices that can be used.
    pub fn total(&self) -> usize {
        self.devices_in_use().map(|(_, device)| device.clusters.total()).sum()
    }

    /// Whether any slot is free.
    pub fn has_free(&self) -> bool {
        self.devices_in_use().any(|(_, device)| device.clusters.has_free())
    }

    /// Slots of all devices that are free.
    pub fn free_count(&self) -> usize {
        self.devices_in_use().map(|(_, device)| device.clusters.free()).sum()
    }

    /// Pages that devices have yet to write.
    pub fn pages_in_writing(&self) -> usize {
        self.in_writing.load(Ordering::Relaxed)
    }

    /// Gives a folio slots, naturally aligned, and enters it into the cache with one reference a page. Their counts are 0.
    ///
    /// # Errors
    /// If no device has such a run: the folio can be split, and smaller ones tried.
    pub fn alloc(&self, memory: &Memory, folio: &FolioLock<'_>) -> Result<(), SwapFull> {
        debug_assert!(folio.is_uptodate() && !folio.is_swap_cache());
        // Apart, since a batch asks for those of files later, whatever its order.
        let point = if folio.is_file() { Point::FileSlots } else { Point::SwapAlloc };
        if memory.inject.strikes(point, folio.pages()) {
            return Err(SwapFull);
        }
        let folio = folio.folio();
        let taken = self.devices_in_use().any(|(device, swap)| {
            let enter = |slot: usize| folio.enter_swap_cache(SwapEntry { device, slot: slot as u32 });
            swap.clusters.take(folio.order(), folio.index(), enter)
        });
        if !taken {
            return Err(SwapFull);
        }
        // It may have been mapped in part a moment ago; now it is reclaim's.
        memory.deferred.remove(folio);
        Ok(())
    }

    /// One more swap entry for each of `count` pages of a cached folio. All or none.
    ///
    /// # Errors
    /// If a count has no room to grow.
    #[inline]
    pub fn dup(&self, folio: &Folio<'_>, first: usize, count: usize) -> Result<(), DupError> {
        let entry = folio.swap_entry(first);
        let (mut cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        if cluster.raise_used(at, count).is_ok() {
            return Ok(());
        }
        drop(cluster);
        self.dup_extended(entry, count)
    }

    /// One more swap entry for each of `count` slots, which do not cross a cluster. All or none.
    ///
    /// # Errors
    /// If a slot is not in use, or a count has no room to grow.
    #[inline]
    pub fn dup_entries(&self, entry: SwapEntry, count: usize) -> Result<(), DupError> {
        let (mut cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        match cluster.raise(at, count) {
            Ok(()) => Ok(()),
            Err(RaiseError::Unused) => Err(DupError::Unused),
            Err(RaiseError::NeedsExtension) => {
                drop(cluster);
                self.dup_extended(entry, count)
            }
        }
    }

    /// Gives the cluster an extension, got without its lock, and tries again from the start.
    #[cold]
    fn dup_extended(&self, entry: SwapEntry, count: usize) -> Result<(), DupError> {
        let extension = self.extension()?;
        let (mut cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        cluster.extend(extension);
        cluster.raise(at, count).map_err(|_| DupError::Unused)
    }

    /// From now on there is no memory for the next `count` extensions: for tests.
    pub fn refuse_extensions(&self, count: usize) {
        self.refused.store(count, Ordering::Relaxed);
    }

    fn extension(&self) -> Result<Extension, DupError> {
        let refuse = |left: usize| left.checked_sub(1);
        if self.refused.fetch_update(Ordering::Relaxed, Ordering::Relaxed, refuse).is_ok() {
            return Err(DupError::NoMemory);
        }
        new_extension().ok_or(DupError::NoMemory)
    }

    /// Gives the cluster of `entry` room for counts of any height. The caller holds no lock under which memory may not be waited for.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn extend(&self, entry: SwapEntry) -> Result<(), DupError> {
        let extension = self.extension()?;
        let (mut cluster, _) = self.device(entry).clusters.lock(entry.slot as usize);
        cluster.extend(extension);
        Ok(())
    }

    /// One swap entry less for each of `count` pages of a cached folio. The slots stay in use while it is cached.
    #[inline]
    pub fn put(&self, folio: &Folio<'_>, first: usize, count: usize) {
        let entry = folio.swap_entry(first);
        let (mut cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        let freed = cluster.lower(at, count);
        debug_assert_eq!(freed, 0, "slots of a cached folio came free");
    }

    /// One swap entry less for each of `count` slots, any run of a device. Slots that nothing names or caches are free then. A folio
    /// that is cached for slots without a count is of no use any more: if nobody is at it, it leaves the cache, and `orphan` gets it
    /// if that was all that held it.
    pub fn put_entries(&self, memory: &Memory, entry: SwapEntry, count: usize, mut orphan: impl FnMut(Orphan)) {
        let mut done = 0;
        while done < count {
            let entry = entry.advance(done);
            let length = entry.left_in_cluster().min(count - done);
            self.put_in_cluster(memory, entry, length, &mut orphan);
            done += length;
        }
    }

    fn put_in_cluster(&self, memory: &Memory, entry: SwapEntry, count: usize, orphan: &mut impl FnMut(Orphan)) {
        let slot = entry.slot as usize;
        let clusters = &self.device(entry).clusters;
        let any_cached = {
            let (mut cluster, at) = clusters.lock(slot);
            let freed = cluster.lower(at, count);
            clusters.note_freed(slot, &mut cluster, freed);
            freed < count && cluster.any_cached(at, count)
        };
        let mut done = 0;
        while any_cached && done < count {
            done += self.drop_unneeded(memory, entry.advance(done), orphan);
        }
    }

    /// How many swap entries name the slot.
    pub fn count(&self, entry: SwapEntry) -> usize {
        let (cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        cluster.count(at)
    }

    /// Whether the slot is in use.
    pub fn is_used(&self, entry: SwapEntry) -> bool {
        let (cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        cluster.is_used(at)
    }

    /// Shows `see` every slot in use, under the lock of its cluster: for an audit.
    pub(crate) fn for_each_used(&self, mut see: impl FnMut(UsedSlot)) {
        for (device, swap) in self.devices() {
            for (index, cluster) in swap.clusters.iter().enumerate() {
                let cluster = cluster.lock();
                let exists = |at: &usize| (1..=swap.clusters.total()).contains(&(index * SLOTS + at));
                for at in (0..SLOTS).filter(exists).filter(|&at| cluster.is_used(at)) {
                    let entry = SwapEntry { device, slot: (index * SLOTS + at) as u32 };
                    see(UsedSlot { entry, count: cluster.count(at), cached: cluster.cached(at) });
                }
            }
        }
    }
}

impl Default for Swap {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
