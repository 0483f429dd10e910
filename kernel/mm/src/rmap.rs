//! Reverse maps: from a folio to every (space, address) that may map it.
//!
//! A folio names an anon_vma and its page offset there; the anon_vma lists the extents: the areas whose pages may be its folios, with
//! the offset of their first page. An area and its extent change together, under the anon_vma's lock. Holding an extent does not
//! prove that an entry maps the folio: the walk looks.
//!
//! An area owns one anon_vma, to which its new pages belong. After a fork a child maps pages of its parent's as well, so its areas have
//! extents in the anon_vmas of its ancestors too: the chain. Pages that are new in the child go to its own, where the walk meets the
//! child and its children alone. The areas that map a memory file are kept in the same way, in a place of the file's own that has no
//! relatives; an area with private copies of a file's pages has an anon_vma for them besides. Everything here is a list; nothing
//! recurses, however many generations there are.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Deref;

use mmu::VirtAddr;
use mmu::mutant::{self, Mutant};

use crate::budget::{ANON_VMA, Budget};
use crate::errno::Errno;
use crate::file::{Backing, FileId, Files};
use crate::inject::Point;
use crate::memory::Memory;
use crate::space::Space;
use crate::sync::{Lock, Rank, ReadGuard, RwLock, WriteGuard};
use crate::vma::{Area, AreaFlags, Change};

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
    /// What the area's pages come from.
    pub backing: Backing,
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
        let Area { start, end, pgoff, flags, backing, .. } = *area;
        Self { space: space.clone(), start, end, pgoff, flags, backing }
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
    extents: Vec<Extent>,
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
        mut added: impl DoubleEndedIterator<Item = &'a Area> + Clone,
    ) -> Result<(), Errno> {
        let (old, new) = (removed.clone().count(), added.clone().count());
        let more = new.saturating_sub(old);
        if more > 0 && memory.inject.strikes(Point::Extent, more) {
            return Err(Errno::ENOMEM);
        }
        self.extents.try_reserve(more).map_err(|_| Errno::ENOMEM)?;
        memory.anon.budget.change(old, new)?;
        for area in removed {
            let Some(index) = self.position(space, area) else { continue };
            match added.next_back() {
                Some(area) => self.extents[index] = Extent::of(space, area),
                None => drop(self.extents.swap_remove(index)),
            }
        }
        self.extents.extend(added.map(|area| Extent::of(space, area)));
        Ok(())
    }

    fn position(&self, space: &Arc<Space>, area: &Area) -> Option<usize> {
        self.extents.iter().position(|extent| {
            Arc::ptr_eq(&extent.space, space)
                && (extent.start, extent.end, extent.flags) == (area.start, area.end, area.flags)
        })
    }
}

impl Deref for Members {
    type Target = [Extent];

    fn deref(&self) -> &[Extent] {
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

    /// A new one with no extent and no relative.
    ///
    /// # Errors
    /// `ENOMEM` when no id or no memory is left.
    pub fn create(&self) -> Result<AnonVmaId, Errno> {
        self.create_below(&[], 0)
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
        let members = Members { extents: Vec::new(), chain: Arc::new(chain), owners, heir: None, file: None };
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

/// Makes the extents follow a change of the areas of `space`. Areas without an anon_vma and without a file have no extent. Called with
/// the areas locked for writing.
///
/// # Errors
/// `ENOMEM`, with nothing changed, if there is no memory for an extent more.
pub fn replace(memory: &Memory, space: &Arc<Space>, change: &Change) -> Result<(), Errno> {
    let places = Places::of(memory, change);
    let count = places.iter().count();
    let done = places.iter().take_while(|&place| enter(memory, space, change, place).is_ok()).count();
    if done < count {
        let back = change.reversed();
        let undone = places.iter().take(done).all(|place| enter(memory, space, &back, place).is_ok());
        if !undone {
            memory.note_defect("extents could not be taken back");
        }
        return Err(Errno::ENOMEM);
    }
    count_users(memory, change);
    Ok(())
}

/// Where the areas of a change have their extents. All in one change that have an anon_vma have the same, and all have the same file.
struct Places {
    file: Option<AnonVmaId>,
    owned: Option<AnonVmaId>,
    chain: Option<Chain>,
}

/// Who keeps the extents in a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// All that map this file.
    File(AnonVmaId),
    /// Those that own this anon_vma.
    Own(AnonVmaId),
    /// Those whose chain has this ancestor.
    Ancestor(AnonVmaId),
}

impl Places {
    fn of(memory: &Memory, change: &Change) -> Self {
        let areas = || change.removed().iter().chain(change.added());
        let file = areas().find_map(|area| memory.files.get(area.backing.file()?));
        let owned = areas().find_map(|area| area.anon);
        let chain = owned.and_then(|id| memory.anon.get(id)).map(|anon| anon.chain());
        Self { file: file.map(|file| file.areas()), owned, chain }
    }

    fn iter(&self) -> impl Iterator<Item = Place> {
        let in_chain = |&id: &AnonVmaId| if self.owned == Some(id) { Place::Own(id) } else { Place::Ancestor(id) };
        let chain = self.chain.iter().flat_map(|chain| chain.iter()).map(in_chain);
        let chain = chain.filter(|place| mutant::or(Mutant::ChildNotInAncestors, true, matches!(place, Place::Own(_))));
        self.file.map(Place::File).into_iter().chain(chain)
    }
}

/// Makes the extents in one place follow a change. One that is empty and not owned afterwards is gone.
fn enter(memory: &Memory, space: &Arc<Space>, change: &Change, place: Place) -> Result<(), Errno> {
    let (Place::File(id) | Place::Own(id) | Place::Ancestor(id)) = place;
    let Some(anon) = memory.anon.get(id) else { return Ok(()) };
    let has_extent = |area: &&Area| matches!(place, Place::File(_)) || area.anon.is_some();
    let (removed, added) = (change.removed().iter().filter(has_extent), change.added().iter().filter(has_extent));
    memory.anon.change(id, &anon, |members| {
        members.replace(memory, space, removed.clone(), added.clone())?;
        if matches!(place, Place::Own(_)) {
            members.owners = members.owners + added.count() - removed.count();
        }
        Ok(())
    })
}

/// Counts areas that map a file among its users.
fn count_users(memory: &Memory, change: &Change) {
    let (removed, added) = (change.removed(), change.added());
    let Some(file) = added.iter().chain(removed).find_map(|area| memory.files.get(area.backing.file()?)) else {
        return;
    };
    (removed.len()..added.len()).for_each(|_| file.add_user());
    (added.len()..removed.len()).for_each(|_| memory.put_file(&file));
}

/// What areas of a child own, kept from the moment it is found until the first of them is entered.
#[derive(Debug)]
pub(crate) struct Heir<'m> {
    memory: &'m Memory,
    id: AnonVmaId,
}

impl Heir<'_> {
    /// Which anon_vma it is.
    pub(crate) fn id(&self) -> AnonVmaId {
        self.id
    }
}

/// What areas of the space `child` own whose parents own `own`: the same for all of them, since they may map one folio in parts. It is
/// new, unless there is an ancestor that nobody owns any more: that is taken over, so that a chain of forks in which parents end before
/// their grandchildren begin does not grow. Only the space that owns `own` forks it, and its areas are locked for writing.
pub(crate) fn inherit<'m>(memory: &'m Memory, own: AnonVmaId, child: &Space) -> Result<Heir<'m>, Errno> {
    let parent = memory.anon.get(own).ok_or(Errno::ENOMEM)?;
    let (chain, known) = {
        let members = parent.members.read();
        (members.chain.clone(), members.heir.filter(|&(space, _)| space == child.id()))
    };
    let id = match known {
        Some((_, id)) => {
            memory.anon.get(id).ok_or(Errno::ENOMEM)?.members.write().owners += 1;
            id
        }
        // The nearest has the fewest extents, and so makes the shortest walks.
        None => match chain.iter().rev().find(|&&id| take_over(memory, id, &chain)) {
            Some(&id) => id,
            None => create_below(memory, &chain, 1)?,
        },
    };
    parent.members.write().heir = Some((child.id(), id));
    Ok(Heir { memory, id })
}

/// Makes an anon_vma that nobody owns that of areas with this chain, which it is in. Whether nobody owned it.
fn take_over(memory: &Memory, id: AnonVmaId, chain: &Chain) -> bool {
    let Some(anon) = memory.anon.get(id) else { return false };
    let mut members = anon.members.write();
    if members.owners > 0 {
        return false;
    }
    members.owners = 1;
    members.chain = chain.clone();
    true
}

impl Drop for Heir<'_> {
    fn drop(&mut self) {
        self.memory.anon.give_up(self.id);
    }
}

/// A new anon_vma without relatives, for an area that has none.
pub(crate) fn create(memory: &Memory) -> Result<AnonVmaId, Errno> {
    create_below(memory, &[], 0)
}

/// [`AnonVmas::create_below`] with the point where a test makes it fail.
fn create_below(memory: &Memory, ancestors: &[AnonVmaId], owners: usize) -> Result<AnonVmaId, Errno> {
    if memory.inject.strikes(Point::AnonVma, 1) {
        Err(Errno::ENOMEM)
    } else {
        memory.anon.create_below(ancestors, owners)
    }
}
