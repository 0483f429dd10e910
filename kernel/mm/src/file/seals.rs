//! Seals: what nobody may do to a memory file any more (F_ADD_SEALS). They are for those who share a file and do not trust each other.

use core::sync::atomic::Ordering;

use bitflags::bitflags;
use mmu::mutant::{self, Mutant};

use super::{Backing, Contents, FileId, MemoryFile, OpenFile, Place};
use crate::errno::Errno;
use crate::memory::Memory;
use crate::vma::{Area, Prot};

bitflags! {
    /// Seals, with Linux's numbers. F_SEAL_FUTURE_WRITE is not among them.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Seals: u32 {
        /// There are no more to come.
        const SEAL = 1;
        /// It may not become shorter.
        const SHRINK = 2;
        /// It may not become longer.
        const GROW = 4;
        /// Its contents may not change.
        const WRITE = 8;
        /// It may not become executable, or not any more; nothing here could change that.
        const EXEC = 0x20;
    }
}

/// Of a file's count of shared maps on their way: there will be none that could be written.
const DENIED: i32 = i32::MIN;

impl Contents {
    /// What nobody may do to it.
    pub(super) fn seals(&self) -> Seals {
        self.seals
    }

    /// Whether it may be `size` bytes long, as far as seals go.
    ///
    /// # Errors
    /// `EPERM`.
    pub(super) fn check_size(&self, size: u64) -> Result<(), Errno> {
        let forbidden = if size < self.size() { Seals::SHRINK } else { Seals::GROW };
        if size != self.size() && self.seals.contains(forbidden) { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// Whether it may be written up to the byte `end`.
    ///
    /// # Errors
    /// `EPERM`.
    pub(super) fn check_write(&self, end: u64) -> Result<(), Errno> {
        let is_sealed = mutant::or(Mutant::SealedIsWritten, self.seals.contains(Seals::WRITE), false);
        if is_sealed { Err(Errno::EPERM) } else { self.check_size(end.max(self.size())) }
    }
}

/// A shared map of a file on its way into a space: no seal comes in between.
#[derive(Debug)]
pub(crate) struct MapUnderway<'f>(&'f MemoryFile);

impl Drop for MapUnderway<'_> {
    fn drop(&mut self) {
        self.0.maps_underway.fetch_sub(1, Ordering::Release);
    }
}

impl MemoryFile {
    /// Before a shared map of it is made, through which it may be written. `None` if it may only be read.
    ///
    /// # Errors
    /// `EPERM` if `write` is asked for, and the file is sealed against it.
    pub(crate) fn begin_shared_map(&self, write: bool) -> Result<Option<MapUnderway<'_>>, Errno> {
        let more = |count: i32| (count >= 0).then_some(count + 1);
        match self.maps_underway.fetch_update(Ordering::Acquire, Ordering::Relaxed, more) {
            Ok(_) => Ok(Some(MapUnderway(self))),
            Err(_) if write => Err(Errno::EPERM),
            Err(_) => Ok(None),
        }
    }
}

impl Memory {
    /// Whether what maps this file shared may become writable: not once it is sealed against it.
    pub(crate) fn may_be_written(&self, file: FileId) -> bool {
        self.files.get(file).is_none_or(|file| !file.contents().seals().contains(Seals::WRITE))
    }

    /// Whether an area may have this protection, as far as seals of its file go.
    ///
    /// # Errors
    /// `EACCES`.
    pub(crate) fn check_seals(&self, area: &Area, prot: Prot) -> Result<(), Errno> {
        match area.backing {
            Backing::Shared(file) if prot.contains(Prot::WRITE) && !self.may_be_written(file) => Err(Errno::EACCES),
            _ => Ok(()),
        }
    }
}

impl OpenFile<'_> {
    /// What nobody may do to it.
    pub fn seals(&self) -> Seals {
        self.contents().seals()
    }

    /// Says how a new file is sealed: by [`Seals::SEAL`], which forbids any other, unless somebody says so.
    pub fn set_seals(&self, seals: Seals) {
        self.contents_mut().seals = seals;
    }

    /// Adds seals.
    ///
    /// # Errors
    /// `EPERM` if it takes no more; `EBUSY` if it is to be sealed against writes and somebody maps it shared, or has pinned a page of it.
    pub fn seal(&self, more: Seals) -> Result<(), Errno> {
        let mut contents = self.contents_mut();
        if contents.seals.contains(Seals::SEAL) {
            return Err(Errno::EPERM);
        }
        if more.contains(Seals::WRITE) && !contents.seals.contains(Seals::WRITE) {
            self.deny_writes(&contents)?;
        }
        contents.seals |= more;
        Ok(())
    }

    fn deny_writes(&self, contents: &Contents) -> Result<(), Errno> {
        let count = &self.maps_underway;
        count.compare_exchange(0, DENIED, Ordering::AcqRel, Ordering::Relaxed).map_err(|_| Errno::EBUSY)?;
        let areas = self.memory().anon.get(self.areas());
        let is_mapped = areas.is_some_and(|areas| areas.extents().iter().any(|extent| extent.backing.is_shared()));
        if is_mapped || contents.is_pinned(self.memory()) {
            count.store(0, Ordering::Release);
            return Err(Errno::EBUSY);
        }
        Ok(())
    }
}

impl Contents {
    /// Whether somebody accesses a page of it by its physical address.
    fn is_pinned(&self, memory: &Memory) -> bool {
        self.parts().any(|part| match part.place {
            Place::Memory(frame) => (0..part.pages).any(|page| memory.frames.folio_of(frame.add(page)).maybe_pinned()),
            Place::Swap(_) => false,
        })
    }
}
