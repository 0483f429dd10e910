//! Swap: slots, how many entries name each, and the cache of folios that are on their way out or in.
//!
//! A slot is free, or in use because it has a count, or is cached, or both. The count is the number of swap entries in all tables
//! that name it. The swap cache is no structure of its own: a cluster knows which folio is cached at a slot, and the folio knows its
//! first slot. While a folio is cached it has one reference a page for it, and its slots stay in use whatever their counts.
//!
//! Nothing here changes a count under another lock than that of the cluster; a folio enters and leaves the cache under its own lock
//! as well.

mod cluster;
mod counts;
mod device;
pub mod entry;
mod full;
mod ram;
mod slots;

use alloc::boxed::Box;
use core::sync::atomic::{AtomicUsize, Ordering};

use mmu::{Fact, Mark};
use spin::once::Once;

use crate::errno::Errno;
use crate::folio::{Folio, FolioLock};
use crate::frame::{FreshFolio, Orphan};
use crate::inject::Point;
use crate::memory::Memory;
use crate::sync::Relax;

use cluster::{RaiseError, SLOTS, new_extension};
use slots::Clusters;

pub use device::{SwapDevice, SwapError};
pub use entry::{SwapEntry, Swapped};
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

/// How a folio's contents were kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// All zero: marked, and not written.
    Zero,
    /// On the device.
    Device,
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
}

/// All swap devices.
#[derive(Debug)]
pub struct Swap {
    devices: [Once<Device, Relax>; MAX_DEVICES],
    count: AtomicUsize,
}

impl Swap {
    /// Without a device.
    pub const fn new() -> Self {
        Self { devices: [const { Once::new() }; MAX_DEVICES], count: AtomicUsize::new(0) }
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
        self.devices[place].call_once(|| Device { backing, clusters });
        Ok(place as u8)
    }

    fn devices(&self) -> impl Iterator<Item = (u8, &Device)> {
        (0u8..).zip(&self.devices).map_while(|(place, device)| Some((place, device.get()?)))
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
        self.devices().map(|(_, device)| device.clusters.total()).sum()
    }

    /// Slots of all devices that are free.
    pub fn free_count(&self) -> usize {
        self.devices().map(|(_, device)| device.clusters.free()).sum()
    }

    /// Gives a folio slots, naturally aligned, and enters it into the cache with one reference a page. Their counts are 0.
    ///
    /// # Errors
    /// If no device has such a run: the folio can be split, and smaller ones tried.
    pub fn alloc(&self, memory: &Memory, folio: &FolioLock<'_>) -> Result<(), SwapFull> {
        debug_assert!(folio.is_uptodate() && !folio.is_swap_cache());
        if memory.inject.strikes(Point::SwapAlloc, folio.pages()) {
            return Err(SwapFull);
        }
        let folio = folio.folio();
        let taken = self.devices().any(|(device, swap)| {
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

    /// The folio cached at `entry` and which of its pages that is, with a reference for the caller; not if somebody is taking it away.
    fn try_find<'m>(&self, memory: &'m Memory, entry: SwapEntry) -> Option<(Folio<'m>, usize)> {
        let (cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        let (index, page) = cluster.cached(at)?;
        let folio = Folio::at(&memory.frames, index);
        folio.try_get().then_some((folio, page))
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
        let extension = new_extension().ok_or(DupError::NoMemory)?;
        let (mut cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        cluster.extend(extension);
        cluster.raise(at, count).map_err(|_| DupError::Unused)
    }

    /// Gives the cluster of `entry` room for counts of any height. The caller holds no lock under which memory may not be waited for.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn extend(&self, entry: SwapEntry) -> Result<(), DupError> {
        let extension = new_extension().ok_or(DupError::NoMemory)?;
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
            done += self.drop_unused(memory, entry.advance(done), orphan);
        }
    }

    /// Drops the folio cached at `entry` if it is of no use, without waiting. How many slots on to look further.
    fn drop_unused(&self, memory: &Memory, entry: SwapEntry, orphan: &mut impl FnMut(Orphan)) -> usize {
        let Some((folio, page)) = self.try_find(memory, entry) else { return 1 };
        let length = folio.pages() - page;
        self.free_unneeded(folio);
        if let Some(last) = folio.put(1) {
            orphan(last);
        }
        length
    }

    /// The folio cached at `entry`, with a reference for the caller, who locks it and looks whether it is still cached there.
    pub fn lookup<'m>(&self, memory: &'m Memory, entry: SwapEntry) -> Option<Folio<'m>> {
        loop {
            {
                let (cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
                let (index, _) = cluster.cached(at)?;
                let folio = Folio::at(&memory.frames, index);
                if folio.try_get() {
                    return Some(folio);
                }
            }
            // Somebody has frozen its references, to split it or to take it out of the cache: soon one or the other is done.
            mmu::relax();
        }
    }

    /// Whether a folio is cached at any of `count` slots, which do not cross a cluster.
    pub fn is_cached(&self, entry: SwapEntry, count: usize) -> bool {
        let (cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        cluster.any_cached(at, count)
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

    /// Enters a fresh folio that is about to be read in, with one reference a page beside the caller's. Its pages are those of the
    /// slots from `entry` on, which is a multiple of its size. It comes back locked, and is not up to date.
    ///
    /// # Errors
    /// The folio, if another is cached at any of the slots, or not all of them have a count: look at the entry again.
    pub fn add_to_cache<'m>(
        &self,
        memory: &'m Memory,
        entry: SwapEntry,
        folio: FreshFolio<'m>,
    ) -> Result<FolioLock<'m>, FreshFolio<'m>> {
        debug_assert!(core::ptr::eq(folio.frames(), &memory.frames));
        let (order, pages) = (folio.order(), folio.pages());
        let (mut cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        // Slots that were given up and taken again since the fault looked may be zero in part only.
        let alike = cluster.zero(at, pages).is_some();
        if at % pages != 0 || cluster.any_cached(at, pages) || !cluster.all_counted(at, pages) || !alike {
            return Err(folio);
        }
        let folio = folio.publish();
        let lock = folio.lock_fresh();
        cluster.cache(at, order, folio.index());
        folio.enter_swap_cache(entry);
        Ok(lock)
    }

    /// Takes a folio out of the cache. Its slots stay in use as far as entries name them; the references it had for being cached are
    /// the caller's.
    pub fn remove_from_cache(&self, folio: &FolioLock<'_>) {
        let entry = folio.swap_entry(0);
        let clusters = &self.device(entry).clusters;
        let (mut cluster, at) = clusters.lock(entry.slot as usize);
        let freed = cluster.uncache(at, folio.pages());
        clusters.note_freed(entry.slot as usize, &mut cluster, freed);
        folio.leave_swap_cache();
    }

    /// Takes an unmapped, clean folio out of the cache for good, if only the cache and the caller refer to it: it waits for a flush
    /// then.
    ///
    /// # Errors
    /// The folio, if it is dirty, or somebody else has got hold of it.
    pub fn detach<'m>(&self, memory: &'m Memory, folio: FolioLock<'m>) -> Result<Orphan, FolioLock<'m>> {
        debug_assert!(core::ptr::eq(folio.frames(), &memory.frames));
        let pages = folio.pages();
        if !folio.freeze(1 + pages) {
            return Err(folio);
        }
        // Dirtied through a mapping that is gone: whoever did it gave its reference up afterwards, so the flag is seen here.
        if folio.is_dirty() {
            folio.unfreeze(1 + pages);
            return Err(folio);
        }
        self.remove_from_cache(&folio);
        Ok(folio.into_orphan())
    }

    /// Takes a folio out of the cache if no entry names its slots any more: they are free then, the references go, and the only copy
    /// of its contents is the folio itself, so it is dirty. The caller has a reference.
    pub fn free_if_unused(&self, folio: &FolioLock<'_>) -> bool {
        if !folio.is_swap_cache() || folio.is_writeback() {
            return false;
        }
        let pages = folio.pages();
        if !self.uncache_if_unused(folio) {
            return false;
        }
        folio.set_dirty(true);
        let last = folio.put(pages);
        debug_assert!(last.is_none(), "the caller of free_if_unused had no reference");
        true
    }

    /// Takes a folio out of the cache that nothing maps and no entry names, unless somebody is at it. Whoever lets go of a mapping, an
    /// entry or the lock of a cached folio calls this afterwards: of two that meet, one finds the folio locked and leaves it to the
    /// other, who looks again once it has unlocked. The caller has a reference.
    pub fn free_unneeded(&self, folio: Folio<'_>) {
        while self.is_unneeded(folio) {
            let Some(locked) = folio.try_lock() else { return };
            if !locked.is_mapped() {
                self.free_if_unused(&locked);
            }
        }
    }

    /// Whether the cache holds a folio for nobody. Its lock need not be held: that it is cached is looked at under the cluster's.
    fn is_unneeded(&self, folio: Folio<'_>) -> bool {
        let Some(entry) = folio.cached_at() else { return false };
        let (cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        folio.cached_at() == Some(entry) && !folio.is_mapped() && cluster.none_counted(at, folio.pages())
    }

    fn uncache_if_unused(&self, folio: &Folio<'_>) -> bool {
        let (entry, pages) = (folio.swap_entry(0), folio.pages());
        let clusters = &self.device(entry).clusters;
        let (mut cluster, at) = clusters.lock(entry.slot as usize);
        if !cluster.none_counted(at, pages) {
            return false;
        }
        let freed = cluster.uncache(at, pages);
        clusters.note_freed(entry.slot as usize, &mut cluster, freed);
        folio.leave_swap_cache();
        true
    }

    /// A cached folio of `pages` pages was split into folios, which have its slots now. Their references are still frozen.
    pub(crate) fn split(&self, first: &Folio<'_>, pages: usize) {
        let entry = first.swap_entry(0);
        let (mut cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        for page in (0..pages).step_by(first.pages()) {
            cluster.cache(at + page, first.order(), first.index() + page as u32);
        }
    }

    /// Keeps the contents of a cached folio: zero marks if all of it is zero, else a write to the device. It is clean then.
    ///
    /// # Errors
    /// If the device fails; the folio is dirty then.
    pub fn write_out(&self, memory: &Memory, folio: &FolioLock<'_>) -> Result<Written, SwapError> {
        let (door, pages) = (&memory.door, folio.pages());
        let entry = folio.swap_entry(0);
        let slot = entry.slot as usize;
        let device = self.device(entry);
        // Before the contents are looked at, so that a later change is not taken for written.
        folio.set_dirty(false);
        door.fact(Fact::DataRead(folio.head(), pages));
        let began = door.mark(Mark::Scan);
        let zero = door.pages_are_zero(folio.head(), pages);
        let ended = door.mark(Mark::Other);
        memory.count().instructions_scan.add(u64::from(ended.wrapping_sub(began)));
        {
            let (mut cluster, at) = device.clusters.lock(slot);
            cluster.set_zero(at, pages, zero);
        }
        if zero {
            memory.count().pages_zero_marked.add(pages as u64);
            return Ok(Written::Zero);
        }
        let struck = memory.inject.strikes(Point::DeviceWrite, pages);
        let began = door.mark(Mark::Copy);
        let result = if struck { Err(SwapError) } else { device.backing.write(door, slot, folio.head(), pages) };
        let ended = door.mark(Mark::Other);
        memory.count().instructions_copy.add(u64::from(ended.wrapping_sub(began)));
        if result.is_err() {
            folio.set_dirty(true);
        }
        result.map(|()| Written::Device)
    }

    /// Fills a cached folio from its slots.
    ///
    /// # Errors
    /// If the device fails, or some of the slots are zero-marked and others are not.
    pub fn read_in(&self, memory: &Memory, folio: &FolioLock<'_>) -> Result<(), SwapError> {
        let (door, pages, entry) = (&memory.door, folio.pages(), folio.swap_entry(0));
        if self.zero_run(entry, pages).ok_or(SwapError)? {
            door.clear_pages(folio.head(), pages);
            return Ok(());
        }
        if memory.inject.strikes(Point::DeviceRead, pages) {
            return Err(SwapError);
        }
        let began = door.mark(Mark::Copy);
        let result = self.device(entry).backing.read(door, entry.slot as usize, folio.head(), pages);
        let ended = door.mark(Mark::Other);
        memory.count().instructions_copy.add(u64::from(ended.wrapping_sub(began)));
        result
    }

    /// Whether `count` slots, which do not cross a cluster, are zero-marked; `None` if some are and some are not.
    pub fn zero_run(&self, entry: SwapEntry, count: usize) -> Option<bool> {
        let (cluster, at) = self.device(entry).clusters.lock(entry.slot as usize);
        cluster.zero(at, count)
    }

    /// Whether writes to the entry's device are complete when they return.
    pub fn is_synchronous(&self, entry: SwapEntry) -> bool {
        self.device(entry).backing.is_synchronous()
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
