//! Reverse maps: from a folio to every (space, address) that may map it.
//!
//! A folio names an anon_vma and its page offset there; the anon_vma lists the extents: the areas whose pages may be its folios, with
//! the offset of their first page. An area and its extent change together, under the anon_vma's lock. Holding an extent does not
//! prove that an entry maps the folio: the walk looks.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mmu::VirtAddr;

use crate::errno::Errno;
use crate::memory::Memory;
use crate::space::Space;
use crate::sync::{Lock, Rank, ReadGuard, RwLock, WriteGuard};
use crate::vma::{Area, AreaFlags};

/// Which anon_vma: an index that fits the 28 bits a frame has for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AnonVmaId(u32);

impl AnonVmaId {
    /// The id with this number, as a frame keeps it.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// Its number, below 2^28.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// An area of a space whose pages may belong to an anon_vma.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The space.
    pub space: Arc<Space>,
    /// The first address.
    pub start: VirtAddr,
    /// One past the last.
    pub end: VirtAddr,
    /// The page offset of `start` in the anon_vma's linear space.
    pub pgoff: u64,
    /// The area's flags.
    pub flags: AreaFlags,
}

impl Extent {
    /// Where the extent maps the pages `index..index + count` of the anon_vma, as a range of addresses; `None` if nowhere.
    pub fn addresses(&self, index: u64, count: usize) -> Option<(VirtAddr, VirtAddr)> {
        let pages = self.end.page_number() - self.start.page_number();
        let first = index.max(self.pgoff);
        let last = (index + count as u64).min(self.pgoff + pages);
        let address = |offset: u64| self.start.add_pages((offset - self.pgoff) as usize);
        (first < last).then(|| (address(first), address(last)))
    }

    fn of(space: &Arc<Space>, area: &Area) -> Self {
        Self { space: space.clone(), start: area.start, end: area.end, pgoff: area.pgoff, flags: area.flags }
    }
}

/// The extents of one anon_vma.
#[derive(Debug)]
pub struct AnonVma {
    extents: RwLock<Vec<Extent>>,
}

impl AnonVma {
    /// The extents, locked for reading: areas neither move nor vanish meanwhile.
    pub fn extents(&self) -> ReadGuard<'_, Vec<Extent>> {
        self.extents.read()
    }

    /// Keeps reclaim from looking for pages while they move: it finds each at its old address before, and at its new one afterwards.
    pub(crate) fn hold(&self) -> WriteGuard<'_, Vec<Extent>> {
        self.extents.write()
    }
}

/// All anon_vmas, by id. An id is used again once its last extent is gone: no page can be mapped through it then.
#[derive(Debug)]
pub struct AnonVmas {
    slots: Lock<Slots>,
}

#[derive(Debug)]
struct Slots {
    used: Vec<Option<Arc<AnonVma>>>,
    free: Vec<u32>,
}

const MAX_IDS: usize = 1 << 28;

impl AnonVmas {
    /// None yet.
    pub const fn new() -> Self {
        // The table is only ever held for a look-up, inside any other lock but those of frames.
        Self { slots: Lock::new(Rank::Lru, Slots { used: Vec::new(), free: Vec::new() }) }
    }

    /// A new one with no extent.
    ///
    /// # Errors
    /// `ENOMEM` when no id or no memory is left.
    pub fn create(&self) -> Result<AnonVmaId, Errno> {
        let fresh = Arc::new(AnonVma { extents: RwLock::new(Rank::AnonVma, Vec::new()) });
        let mut slots = self.slots.lock();
        if let Some(id) = slots.free.pop() {
            slots.used[id as usize] = Some(fresh);
            return Ok(AnonVmaId(id));
        }
        if slots.used.len() == MAX_IDS || slots.used.try_reserve(1).is_err() {
            return Err(Errno::ENOMEM);
        }
        slots.used.push(Some(fresh));
        Ok(AnonVmaId(slots.used.len() as u32 - 1))
    }

    /// The one with this id; `None` if it is gone.
    pub fn get(&self, id: AnonVmaId) -> Option<Arc<AnonVma>> {
        self.slots.lock().used.get(id.0 as usize)?.clone()
    }

    fn release(&self, id: AnonVmaId) {
        let mut slots = self.slots.lock();
        let gone = slots.used[id.0 as usize].take();
        slots.free.push(id.0);
        drop(slots);
        drop(gone);
    }

    /// How many there are, for tests that look for leaks.
    pub fn len(&self) -> usize {
        let slots = self.slots.lock();
        slots.used.len() - slots.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for AnonVmas {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes the extents follow a change of the areas of `space`: `removed` are gone, `added` are there. Areas without an anon_vma have
/// no extent. Called with the areas locked for writing.
pub fn replace(memory: &Memory, space: &Arc<Space>, removed: &[Area], added: &[Area]) {
    for area in added {
        if let Some(anon) = area.anon.and_then(|id| memory.anon.get(id)) {
            anon.extents.write().push(Extent::of(space, area));
        }
    }
    for area in removed {
        let Some((id, anon)) = area.anon.and_then(|id| Some((id, memory.anon.get(id)?))) else { continue };
        let empty = {
            let mut extents = anon.extents.write();
            // An area that stays in part was added anew above, so exactly one extent of the old shape goes.
            if let Some(index) = extents.iter().position(|extent| {
                Arc::ptr_eq(&extent.space, space)
                    && (extent.start, extent.end, extent.flags) == (area.start, area.end, area.flags)
            }) {
                extents.swap_remove(index);
            }
            extents.is_empty()
        };
        if empty {
            memory.anon.release(id);
        }
    }
}
