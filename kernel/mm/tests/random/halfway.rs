//! Areas held against the shadow: each page's is what the program asked for. And operations that fail for want of memory where areas
//! change: some stop halfway, as Linux's do, and how far they came only the areas tell. They must have come so far in order, or not at all.

use mm::inject::Point;
use mm::space::advice::{POPULATE_READ, POPULATE_WRITE};
use mm::vma::{Area, AreaFlags};
use mmu::VirtAddr;

use crate::checked::{Checked, Returned};
use crate::operation::Operation::{
    Advise, Lock, LockAll, Map, MapFile, MapHuge, Move, Protect, Unlock, UnlockAll, Unmap, Unwatch, Watch,
};
use crate::operation::{Operation, Pages};
use crate::shadow::Page;
use crate::source::Source;
use crate::world::{FIELD, World, at};

/// How an area is locked.
const LOCKED: AreaFlags = AreaFlags::LOCKED.union(AreaFlags::LOCK_ON_FAULT);

impl Page {
    /// Whether it may lie at this address of an area.
    fn fits(&self, area: &Area, address: VirtAddr) -> bool {
        let file = |page: usize, shared: bool| {
            let place = (area.backing.file().is_some(), area.index_of(address), area.backing.is_shared());
            place == (true, page as u64, shared)
        };
        let fits_source = match self.source {
            Source::Own => area.backing.file().is_none(),
            Source::Shared(page) => file(page, true),
            Source::Private(page) | Source::Copy(page) => file(page, false),
        };
        let has = |flag| area.flags.contains(flag);
        let huge = area.huge().map(|size| (size, !has(AreaFlags::NORESERVE)));
        // What may be dropped has that flag too, from the start.
        let wiped = self.wiped || self.droppable;
        fits_source
            && area.prot == self.prot
            && huge == self.huge.map(|huge| (huge.size, huge.reserves))
            && (has(AreaFlags::DROPPABLE), has(AreaFlags::DONTFORK)) == (self.droppable, self.stays)
            && has(AreaFlags::WIPEONFORK) == wiped
            && (area.flags & AreaFlags::UFFD, area.flags & LOCKED) == (self.watch, self.locked)
    }
}

impl World<'_> {
    /// Whether the area at a page of a space is one for this, or there is none if this is nothing.
    fn fits(&self, space: usize, number: usize, page: Option<&Page>) -> bool {
        let address = at(number, 0).page();
        let layout = self.space(space).layout().read();
        match (page, layout.areas.find(address)) {
            (None, None) => true,
            (Some(page), Some(area)) => page.fits(area, address),
            _ => false,
        }
    }
}

/// What a space had before an operation.
pub struct Before {
    pages: Vec<Option<Page>>,
    failures: u64,
}

impl Checked<'_> {
    /// What there is, if the next change of an area may fail.
    pub fn before(&self) -> Option<Before> {
        let inject = &self.world.memory.inject;
        let pages = || FIELD.map(|page| self.shadow().page(page).copied()).collect();
        inject.is_armed(Point::Extent).then(|| Before { pages: pages(), failures: inject.failures(Point::Extent) })
    }

    /// If an operation has failed where an area was to change, takes over how far it has come.
    pub fn note_halfway(
        &mut self,
        operation: &Operation,
        before: Option<Before>,
        result: Returned,
    ) -> Result<(), String> {
        let Some(Before { pages, failures }) = before else { return Ok(()) };
        if result.is_ok() || self.world.memory.inject.failures(Point::Extent) == failures {
            return Ok(());
        }
        match *operation {
            Map(at, ..) | MapFile(at, ..) | MapHuge(at, ..) => self.restore(&pages, at),
            Move(from, to, _) => self.restore(&pages, Pages(to, self.shadow().rounded(from).1)),
            Unmap(_) => self.restore(&pages, Pages(0, 0)),
            Advise(_, POPULATE_READ | POPULATE_WRITE) => {}
            Protect(..) | Advise(..) | Watch(..) | Unwatch(_) | Lock(..) | Unlock(_) | LockAll(_) | UnlockAll => {
                return self.restore_rest(&pages);
            }
            _ => {}
        }
        Ok(())
    }

    /// All is as it was before; but what was at the place that was to be taken may have gone, all of it.
    fn restore(&mut self, before: &[Option<Page>], taken: Pages) {
        let running = self.running;
        let is_gone = taken.1 > 0 && taken.iter().all(|page| self.world.fits(running, page, None));
        for (number, page) in before.iter().enumerate() {
            let page = page.filter(|_| !(is_gone && taken.iter().contains(&number)));
            self.shadow_mut().put(number, page);
        }
    }

    /// From some page on all is as it was before.
    fn restore_rest(&mut self, before: &[Option<Page>]) -> Result<(), String> {
        let running = self.running;
        let mut stopped = None;
        for (number, page) in before.iter().enumerate() {
            let fits = |page: Option<&Page>| self.world.fits(running, number, page);
            match (fits(self.shadow().page(number)), fits(page.as_ref()), stopped) {
                // Nothing was to change there.
                (true, true, _) | (true, false, None) => {}
                (true, false, Some(stop)) => {
                    return Err(format!("page {number} has changed, and page {stop} before it has not"));
                }
                (false, ..) => {
                    stopped = stopped.or(Some(number));
                    self.shadow_mut().put(number, *page);
                }
            }
        }
        Ok(())
    }

    /// Each page lies in the area that it must lie in.
    pub fn areas_fit(&self) -> Result<(), String> {
        for (space, shadow) in self.shadows.iter().enumerate() {
            let Some(shadow) = shadow else { continue };
            if let Some(page) = FIELD.into_iter().find(|&page| !self.world.fits(space, page, shadow.page(page))) {
                let area = self.world.space(space).layout().read().areas.find(at(page, 0)).copied();
                return Err(format!("page {page} of space {space} lies in {area:?}"));
            }
        }
        Ok(())
    }
}
