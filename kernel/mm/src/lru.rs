//! Lists of folios, linked through the frame array, and the LRU lists that reclaim takes from.

use core::sync::atomic::Ordering;

use crate::folio::Folio;
use crate::frame::{Frame, Frames, MAX_ORDER, NIL, Orphan};
use crate::sync::{Lock, Rank};

/// A doubly linked list of folios. `LINKS` says which of a folio's frames has the links: 0 for the head, and the folio is in at most
/// one such list. Whoever has the list owns the links of its members.
#[derive(Debug)]
pub struct LinkedFolios<const LINKS: usize> {
    first: u32,
    last: u32,
    folios: usize,
    pages: usize,
}

/// A list linked through the heads: what reclaim works on.
pub type FolioList = LinkedFolios<0>;

impl<const LINKS: usize> LinkedFolios<LINKS> {
    /// An empty list.
    pub const fn new() -> Self {
        Self { first: NIL, last: NIL, folios: 0, pages: 0 }
    }

    /// Whether it has no folio.
    pub fn is_empty(&self) -> bool {
        self.folios == 0
    }

    /// How many folios it has.
    pub fn len(&self) -> usize {
        self.folios
    }

    /// How many pages they have.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Adds a folio at the end.
    pub fn push_back(&mut self, folio: Folio<'_>) {
        let links = links_in::<LINKS>(folio.frames());
        let index = folio.index();
        let frame = links(index);
        frame.next.store(NIL, Ordering::Relaxed);
        frame.prev.store(self.last, Ordering::Relaxed);
        match self.last {
            NIL => self.first = index,
            last => links(last).next.store(index, Ordering::Relaxed),
        }
        self.last = index;
        self.folios += 1;
        self.pages += folio.pages();
    }

    /// Takes the first folio out.
    pub fn pop_front<'m>(&mut self, frames: &'m Frames) -> Option<Folio<'m>> {
        let folio = self.first(frames)?;
        self.remove(folio);
        Some(folio)
    }

    /// The first folio.
    pub fn first<'m>(&self, frames: &'m Frames) -> Option<Folio<'m>> {
        (self.first != NIL).then(|| Folio::at(frames, self.first))
    }

    /// Takes out a folio, which is in this list.
    pub fn remove(&mut self, folio: Folio<'_>) {
        let links = links_in::<LINKS>(folio.frames());
        let frame = links(folio.index());
        let (next, prev) = (frame.next.load(Ordering::Relaxed), frame.prev.load(Ordering::Relaxed));
        match prev {
            NIL => self.first = next,
            _ => links(prev).next.store(next, Ordering::Relaxed),
        }
        match next {
            NIL => self.last = prev,
            _ => links(next).prev.store(prev, Ordering::Relaxed),
        }
        self.folios -= 1;
        self.pages -= folio.pages();
    }

    /// The folios, from the first on.
    pub fn iter<'m>(&self, frames: &'m Frames) -> impl Iterator<Item = Folio<'m>> + use<'m, LINKS> {
        let links = links_in::<LINKS>(frames);
        let step = move |at: &u32| Some(links(*at).next.load(Ordering::Relaxed)).filter(|&next| next != NIL);
        core::iter::successors(Some(self.first).filter(|&first| first != NIL), step).map(|at| Folio::at(frames, at))
    }
}

/// Where the links of the folio with a given head are.
fn links_in<'m, const LINKS: usize>(frames: &'m Frames) -> impl Fn(u32) -> &'m Frame + Copy {
    move |head| frames.frame(head + LINKS as u32)
}

impl<const LINKS: usize> Default for LinkedFolios<LINKS> {
    fn default() -> Self {
        Self::new()
    }
}

/// Which list a folio belongs on, by its flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum LruList {
    /// Anonymous memory not used lately.
    InactiveAnon,
    /// Anonymous memory in use.
    ActiveAnon,
    /// Lazily freed memory, which needs no swap.
    LazyFree,
    /// Memory that may not be reclaimed.
    Unevictable,
}

impl LruList {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// The list for `folio`.
    pub fn of(folio: &Folio<'_>) -> Self {
        if folio.is_unevictable() {
            Self::Unevictable
        } else if !folio.is_swap_backed() {
            Self::LazyFree
        } else if folio.is_active() {
            Self::ActiveAnon
        } else {
            Self::InactiveAnon
        }
    }
}

/// What a look at the lists finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// Anonymous folios of each order (Linux's `nr_anon`).
    pub folios: [usize; MAX_ORDER + 1],
    /// Pages of them that entries map.
    pub mapped: usize,
    /// Pages of folios in the swap cache.
    pub swap_cached: usize,
    /// Pages of folios that are locked in memory.
    pub locked: usize,
}

/// The lists. A folio on one says so in its state, and there is no reference for it. A change of the flags that choose the list moves
/// it only when it is filed anew.
#[derive(Debug)]
pub struct Lru {
    lists: Lock<[FolioList; LruList::COUNT]>,
}

impl Lru {
    /// With nothing on the lists.
    pub const fn new() -> Self {
        Self { lists: Lock::new(Rank::Lru, [const { FolioList::new() }; LruList::COUNT]) }
    }

    /// Puts a folio on the list that its flags say.
    pub fn add(&self, folio: Folio<'_>) {
        let mut lists = self.lists.lock();
        debug_assert!(!folio.is_on_lru());
        Self::put_on(&mut lists, folio);
    }

    /// Moves a folio to the end of the list that its flags say, if it is on any.
    pub fn refile(&self, folio: Folio<'_>) {
        let mut lists = self.lists.lock();
        if Self::take_off(&mut lists, folio) {
            Self::put_on(&mut lists, folio);
        }
    }

    /// Makes a folio one whose contents need no swap, on the list of its kind (Linux's folio_mark_lazyfree). Nothing changes, and the
    /// answer is false, if it is one already, or is not on a list: somebody is reclaiming it.
    pub(crate) fn mark_lazy_free(&self, folio: Folio<'_>) -> bool {
        let mut lists = self.lists.lock();
        if !folio.is_swap_backed() || folio.is_swap_cache() || !Self::take_off(&mut lists, folio) {
            return false;
        }
        folio.set_active(false);
        folio.set_referenced(false);
        folio.set_swap_backed(false);
        Self::put_on(&mut lists, folio);
        true
    }

    /// Takes a folio off, with a reference for the caller. False if it is on no list, or about to be freed.
    pub fn isolate(&self, folio: Folio<'_>) -> bool {
        let mut lists = self.lists.lock();
        if !folio.is_on_lru() || !folio.try_get() {
            return false;
        }
        Self::take_off(&mut lists, folio);
        true
    }

    /// Takes up to `max_pages` pages off the front of a list, each folio with a reference for the caller.
    pub fn isolate_front(&self, frames: &Frames, list: LruList, max_pages: usize) -> FolioList {
        let mut taken = FolioList::new();
        let mut lists = self.lists.lock();
        while taken.pages() < max_pages {
            let Some(folio) = lists[list as usize].first(frames) else { break };
            if !folio.try_get() {
                // Somebody is freeing it and waits for the lock: out of the way, and still on the list.
                lists[list as usize].remove(folio);
                lists[list as usize].push_back(folio);
                break;
            }
            Self::take_off(&mut lists, folio);
            taken.push_back(folio);
        }
        taken
    }

    /// Puts an isolated folio back on the list that its flags say, and gives up the reference that isolation took.
    pub fn putback(&self, folio: Folio<'_>) -> Option<Orphan> {
        self.add(folio);
        folio.put(1)
    }

    /// Folios and pages on a list.
    pub fn size(&self, list: LruList) -> (usize, usize) {
        let lists = self.lists.lock();
        (lists[list as usize].len(), lists[list as usize].pages())
    }

    /// Looks at all folios on the lists.
    pub fn census(&self, frames: &Frames) -> Census {
        let mut census = Census::default();
        let lists = self.lists.lock();
        for folio in lists.iter().flat_map(|list| list.iter(frames)) {
            let when = |condition: bool| if condition { folio.pages() } else { 0 };
            census.swap_cached += when(folio.is_swap_cache());
            census.locked += when(folio.is_mlocked());
            if folio.mapping().is_some() && !folio.is_file() {
                census.folios[folio.order()] += 1;
                census.mapped += folio.mapped_pages();
            }
        }
        census
    }

    /// Pages on the lists that reclaim takes from.
    pub fn reclaimable(&self) -> usize {
        let lists = self.lists.lock();
        [LruList::InactiveAnon, LruList::ActiveAnon, LruList::LazyFree]
            .iter()
            .map(|&list| lists[list as usize].pages())
            .sum()
    }

    /// Takes a folio that lost its last reference off the lists.
    #[inline]
    pub(crate) fn forget(&self, frames: &Frames, orphan: &Orphan) {
        self.take_out(Folio::at(frames, orphan.index()));
    }

    /// Takes a folio off the lists without a reference. Whether it was on one.
    pub(crate) fn take_out(&self, folio: Folio<'_>) -> bool {
        folio.is_on_lru() && Self::take_off(&mut self.lists.lock(), folio)
    }

    fn put_on(lists: &mut [FolioList; LruList::COUNT], folio: Folio<'_>) {
        let list = LruList::of(&folio) as usize;
        folio.set_lru_list(Some(list));
        lists[list].push_back(folio);
    }

    /// Whether it was on a list.
    fn take_off(lists: &mut [FolioList; LruList::COUNT], folio: Folio<'_>) -> bool {
        let Some(list) = folio.lru_list() else { return false };
        lists[list].remove(folio);
        folio.set_lru_list(None);
        true
    }
}

impl Default for Lru {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
