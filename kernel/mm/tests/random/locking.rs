//! mlock in a shadow: which pages are locked. Once such a page has been seen in memory it must stay there, whatever is paged out or
//! reclaimed, until it is unlocked or taken away by the program itself.

use mm::Errno;
use mm::mlock::LockAll;
use mm::vma::AreaFlags;

use crate::checked::{Checked, Returned};
use crate::operation::{Operation, Pages};
use crate::shadow::{Page, Shadow};
use crate::view::Entry;
use crate::world::FIELD;

/// How an area is locked.
const LOCKED: AreaFlags = AreaFlags::LOCKED;
const ON_FAULT: AreaFlags = AreaFlags::LOCKED.union(AreaFlags::LOCK_ON_FAULT);
const ALL: Pages = Pages(FIELD.start, FIELD.end - FIELD.start);

impl Shadow {
    fn lock(&mut self, pages: Pages, flags: AreaFlags) {
        for page in self.some_of(pages) {
            page.locked = if page.droppable || page.huge.is_some() { AreaFlags::empty() } else { flags };
            page.kept &= !flags.is_empty();
        }
    }

    /// A hole is an error, once all else is done.
    fn holes(&self, pages: Pages) -> Result<(), Errno> {
        if pages.iter().all(|page| self.page(page).is_some()) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// A page of a locked area is seen. Whether it is where it must be.
    pub fn sees_locked(&mut self, number: usize, entry: Entry) -> bool {
        let Some(page) = self.page_mut(number).filter(|page| !page.locked.is_empty()) else { return true };
        let stays = entry.is_present() || !page.kept;
        page.kept = entry.is_present();
        stays
    }
}

impl Checked<'_> {
    /// Carries an operation of mlock out.
    pub fn locking(&mut self, operation: &Operation) -> Result<Returned, String> {
        let pages = operation.pages();
        let there = self.there(pages);
        let before = self.world.struck();
        let result = self.world.call(self.running, operation);
        let there = self.there_since(pages, there);
        let excused = self.excuses(result, before) || self.lacks_huge(operation, result);
        let right = match *operation {
            Operation::Lock(_, on_fault) => {
                let shadow = self.shadow_mut();
                shadow.lock(pages, if on_fault { ON_FAULT } else { LOCKED });
                let holes = shadow.holes(pages);
                let populated = || {
                    let is_there = |page| there.contains(&page);
                    shadow.populate(pages, Page::is_locked_to_be_written, is_there).map_err(|_| Errno::ENOMEM)
                };
                holes.and_then(|()| if on_fault { Ok(()) } else { populated() })
            }
            Operation::Unlock(_) => {
                self.shadow_mut().lock(pages, AreaFlags::empty());
                self.shadow().holes(pages)
            }
            Operation::LockAll(what) => {
                self.lock_all(what);
                Ok(())
            }
            _ => {
                self.shadow_mut().lock(ALL, AreaFlags::empty());
                self.shadow_mut().future = AreaFlags::empty();
                Ok(())
            }
        };
        self.note_copies(if matches!(operation, Operation::Lock(..)) { pages } else { ALL });
        if result == right || excused { Ok(result) } else { Err(format!("returns {result:?} instead of {right:?}")) }
    }

    fn lock_all(&mut self, what: LockAll) {
        let flags = if what.contains(LockAll::ON_FAULT) { ON_FAULT } else { LOCKED };
        let shadow = self.shadow_mut();
        shadow.future = if what.contains(LockAll::FUTURE) { flags } else { AreaFlags::empty() };
        if what.contains(LockAll::CURRENT) {
            shadow.lock(ALL, flags);
        }
    }

    /// mincore says of each page what is to be seen of it. What is not mapped of a file may be in memory or not.
    pub fn mincore(&self, pages: Pages) -> Result<(), String> {
        let view = crate::view::look(&self.world);
        let found = self.world.resident(self.running, pages);
        for (page, found) in pages.iter().zip(found) {
            let entry = view.spaces[self.running].pages[page].entry;
            if entry.is_absent() && self.shadow().has_page_of_file(Pages(page, 1)) {
                continue;
            }
            let right = entry.is_present() || matches!(entry, Entry::Bad | Entry::Swapped { cached: Some(_), .. });
            if (found != 0) != right {
                return Err(format!("page {page}: mincore says {found}, and it is {entry:?}"));
            }
        }
        Ok(())
    }
}
