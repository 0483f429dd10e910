//! Reverse maps: from a folio to every (space, address) that may map it.
//!
//! A folio names an anon_vma and its page offset there; the anon_vma lists the extents: the areas whose pages may be its folios, with
//! the offset of their first page. An area and its extent change together, under the anon_vma's lock. Holding an extent does not
//! prove that an entry maps the folio: the walk looks.
//!
//! An area owns one anon_vma, to which its new pages belong. After a fork a child maps pages of its parent's as well, so its areas have
//! extents in the anon_vmas of its ancestors too: the chain. Pages that are new in the child go to its own, where the walk meets the
//! child and its children alone. The areas that map a memory file are kept in the same way, in a place of the file's own that has no
//! relatives; an area with private copies of a file's pages has an anon_vma for them besides. A chain is a list: nothing recurses,
//! however many generations there are.

mod extents;
mod follow;
mod heir;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Deref;

use crate::budget::{ANON_VMA, Budget};
use crate::errno::Errno;
use crate::file::{FileId, Files};
use crate::inject::Point;
use crate::memory::Memory;
use crate::space::Space;
use crate::sync::{Lock, Rank, ReadGuard, RwLock, WriteGuard};
use crate::vma::Area;

pub use extents::{Extent, Extents};
pub use follow::replace;
pub(crate) use heir::{Heir, create, inherit};

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

/// Where an area has extents, from the anon_vma that all relatives share to the one made last. The owner's is among them.
type Chain = Arc<Vec<AnonVmaId>>;

/// The areas that may map the folios of one anon_vma.
#[derive(Debug)]
pub struct AnonVma {
    members: RwLock<Members>,
}

/// What an anon_vma knows of the areas in it.
#[derive(Debug)]
pub struct Members {
    extents: Extents,
    /// Where the areas that own this anon_vma have extents.
    chain: Chain,
    /// How many areas own it, all of one space, and forks that are about to enter one. Its folios may outlive them in other spaces.
    owners: usize,
    /// For the space with this number, a child of the owners': what its areas own.
    heir: Option<(u64, AnonVmaId)>,
    /// The file whose areas these are.
    file: Option<FileId>,
}

impl Members {
    /// Puts the extents of areas that come in place of those of areas that go.
    ///
    /// # Errors
    /// `ENOMEM`, with nothing changed, if there are more of them and no memory for that.
    fn replace<'a>(
        &mut self,
        memory: &Memory,
        space: &Arc<Space>,
        removed: impl Iterator<Item = &'a Area> + Clone,
        added: impl Iterator<Item = &'a Area> + Clone,
    ) -> Result<(), Errno> {
        let (old, new) = (removed.clone().count(), added.clone().count());
        let more = new.saturating_sub(old);
        if more > 0 && memory.inject.strikes(Point::Extent, more) {
            return Err(Errno::ENOMEM);
        }
        self.extents.reserve(more)?;
        memory.anon.budget.change(old, new)?;
        removed.for_each(|area| self.extents.remove(space, area));
        added.for_each(|area| self.extents.insert(Extent::of(space, area)));
        self.extents.shrink();
        Ok(())
    }
}

impl Deref for Members {
    type Target = Extents;

    fn deref(&self) -> &Extents {
        &self.extents
    }
}

impl AnonVma {
    /// The extents, locked for reading: areas neither move nor vanish meanwhile.
    pub fn extents(&self) -> ReadGuard<'_, Members> {
        self.members.read()
    }

    /// The file whose areas these are, if they are one's.
    pub(crate) fn file(&self) -> Option<FileId> {
        self.members.read().file
    }

    fn chain(&self) -> Chain {
        self.members.read().chain.clone()
    }

    /// Keeps reclaim from looking for pages while they move: it finds each at its old address before, and at its new one afterwards.
    pub(crate) fn hold(&self) -> WriteGuard<'_, Members> {
        self.members.write()
    }
}

/// All anon_vmas, by id. An id is used again once its last extent is gone: no page can be mapped through it then.
#[derive(Debug)]
pub struct AnonVmas {
    slots: Lock<Slots>,
    /// What areas, extents and anon_vmas may take of the heap.
    pub budget: Budget,
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
        let slots = Lock::new(Rank::Lru, Slots { used: Vec::new(), free: Vec::new() });
        Self { slots, budget: Budget::new() }
    }

    /// A new one for the areas that map a file, which owns it.
    pub(crate) fn create_for_file(&self) -> Result<AnonVmaId, Errno> {
        self.create_below(&[], 1)
    }

    /// Says whose areas these are.
    pub(crate) fn set_file(&self, id: AnonVmaId, file: FileId) {
        if let Some(anon) = self.get(id) {
            anon.members.write().file = Some(file);
        }
    }

    /// One owns it no longer, without having an extent there.
    pub(crate) fn give_up(&self, id: AnonVmaId) {
        if let Some(anon) = self.get(id) {
            self.change(id, &anon, |members| members.owners -= 1);
        }
    }

    /// A new one whose areas have extents in those of `ancestors` too.
    fn create_below(&self, ancestors: &[AnonVmaId], owners: usize) -> Result<AnonVmaId, Errno> {
        let mut chain = Vec::new();
        chain.try_reserve_exact(ancestors.len() + 1).map_err(|_| Errno::ENOMEM)?;
        chain.extend_from_slice(ancestors);
        self.budget.change(0, ANON_VMA)?;
        let mut slots = self.slots.lock();
        let id = slots.take().inspect_err(|_| self.count_out())?;
        chain.push(id);
        let members = Members { extents: Extents::default(), chain: Arc::new(chain), owners, heir: None, file: None };
        slots.used[id.0 as usize] = Some(Arc::new(AnonVma { members: RwLock::new(Rank::AnonVma, members) }));
        Ok(id)
    }

    /// The one with this id; `None` if it is gone.
    pub fn get(&self, id: AnonVmaId) -> Option<Arc<AnonVma>> {
        self.slots.lock().used.get(id.0 as usize)?.clone()
    }

    /// The one that all relatives of this one have extents in: where a folio belongs which any of them may map.
    pub fn common(&self, id: AnonVmaId) -> AnonVmaId {
        self.get(id).map_or(id, |anon| anon.chain()[0])
    }

    /// All that keep an area's extents, in the order in which they are locked together: its file's, then ancestors first.
    ///
    /// # Errors
    /// `ENOMEM` if there is no memory for the list.
    pub(crate) fn family(&self, area: &Area, files: &Files) -> Result<Vec<Arc<AnonVma>>, Errno> {
        let chain = area.anon.and_then(|id| self.get(id)).map(|anon| anon.chain());
        let file = area.backing.file().and_then(|id| files.get(id)).map(|file| file.areas());
        let ids = file.iter().chain(chain.iter().flat_map(|chain| chain.iter()));
        let mut family = Vec::new();
        family.try_reserve_exact(ids.clone().count()).map_err(|_| Errno::ENOMEM)?;
        family.extend(ids.filter_map(|&id| self.get(id)));
        Ok(family)
    }

    /// Changes an anon_vma, and releases it if nothing is left of it.
    fn change<R>(&self, id: AnonVmaId, anon: &AnonVma, change: impl FnOnce(&mut Members) -> R) -> R {
        let mut members = anon.members.write();
        let result = change(&mut members);
        let is_unused = members.extents.is_empty() && members.owners == 0;
        drop(members);
        if is_unused {
            self.release(id);
        }
        result
    }

    fn release(&self, id: AnonVmaId) {
        let mut slots = self.slots.lock();
        let gone = slots.used[id.0 as usize].take();
        slots.free.push(id.0);
        drop(slots);
        drop(gone);
        self.count_out();
    }

    /// The budget has one anon_vma less to bear.
    fn count_out(&self) {
        // To take less than before always succeeds.
        let _ = self.budget.change(ANON_VMA, 0);
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

impl Slots {
    /// An id that nothing has.
    fn take(&mut self) -> Result<AnonVmaId, Errno> {
        if let Some(id) = self.free.pop() {
            return Ok(AnonVmaId(id));
        }
        if self.used.len() == MAX_IDS || self.used.try_reserve(1).is_err() {
            return Err(Errno::ENOMEM);
        }
        self.used.push(None);
        Ok(AnonVmaId(self.used.len() as u32 - 1))
    }
}

impl Default for AnonVmas {
    fn default() -> Self {
        Self::new()
    }
}
