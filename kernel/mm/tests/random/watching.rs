//! userfaultfd in a shadow: which pages are watched, and which of those are protected. A write to a protected page, or the first touch of
//! a missing one, must come to the monitor; nothing else may. The test is the monitor, and answers as it was told last.
//!
//! Pages of files and huge pages outlive their entries, so protection does too: markers stand for those that are not there (reference
//! 1.5, 4.18). A page that a shared area maps is missing only where its file has a hole.

use mm::Errno;
use mm::fault::Access;
use mm::uffd::Notice;
use mm::vma::AreaFlags;

use crate::checked::{Checked, Returned};
use crate::operation::{Answer, Operation, Pages};
use crate::shadow::{Page, Places, Shadow};
use crate::source::Source;
use crate::world::{at, failed};

impl Page {
    /// Whether it stays protected while it is not there.
    pub fn keeps_mark(&self) -> bool {
        (self.source != Source::Own || self.huge.is_some()) && self.watch.contains(AreaFlags::UFFD_WP)
    }
}

impl Shadow {
    /// Has pages watched from now on in these modes; nobody does if there are none.
    fn watch(&mut self, pages: Pages, modes: AreaFlags) -> Result<(), Errno> {
        let begins_nowhere = self.page(pages.0).is_none() && !modes.is_empty();
        if begins_nowhere || self.cuts_huge(pages) {
            return Err(Errno::EINVAL);
        }
        for page in self.some_of(pages) {
            page.watch = modes;
            page.marked &= modes.contains(AreaFlags::UFFD_WP);
        }
        Ok(())
    }

    /// Protects pages that are there or keep it otherwise, or no longer; up to the first whose writes are not watched.
    fn mark(&mut self, pages: Pages, on: bool, there: &Places) -> Result<(), Errno> {
        let mut result = Err(Errno::ENOENT);
        for number in pages.iter() {
            let Some(page) = self.page_mut(number) else { continue };
            if !page.watch.contains(AreaFlags::UFFD_WP) {
                return Err(Errno::ENOENT);
            }
            page.marked = on && page.ruined.is_none() && (there.contains(&number) || page.keeps_mark());
            result = Ok(());
        }
        result
    }

    /// How the monitor's attempt to fill a page must end.
    fn fill_result(&self, number: usize, answer: Answer, is_there: bool) -> Result<(), Errno> {
        let Some(page) = self.page(number).filter(|page| !page.watch.is_empty()) else {
            return if answer == Answer::Leave { Ok(()) } else { Err(Errno::ENOENT) };
        };
        match answer {
            Answer::Leave => Ok(()),
            Answer::Zero if page.huge.is_some() => Err(Errno::EINVAL),
            _ if self.is_inside_huge(number) => Err(Errno::EINVAL),
            Answer::Protected(_) if !page.watch.contains(AreaFlags::UFFD_WP) => Err(Errno::EINVAL),
            _ if self.is_beyond_end(number) => Err(Errno::EFAULT),
            _ if is_there => Err(Errno::EEXIST),
            _ => Ok(()),
        }
    }

    /// The monitor has filled a page.
    fn fill(&mut self, number: usize, answer: Answer) {
        let value = match answer {
            Answer::Leave | Answer::Zero => 0,
            Answer::Copy(value) | Answer::Protected(value) => value,
        };
        self.refill(number, value);
        if let Some(page) = self.page_mut(number) {
            page.marked = matches!(answer, Answer::Protected(_));
        }
    }

    /// Whether an access that the area allows is the monitor's to decide.
    pub fn asks(&self, number: usize, access: Access, is_there: bool) -> bool {
        let Some(page) = self.page(number) else { return false };
        let is_missing = !is_there && page.watch.contains(AreaFlags::UFFD_MISSING);
        is_missing || page.marked && access == Access::Write
    }
}

impl Checked<'_> {
    /// Carries an operation of userfaultfd out.
    pub fn watching(&mut self, operation: &Operation) -> Result<Returned, String> {
        let pages = self.shadow().whole(operation.pages());
        let (there, filled) = (self.there(pages), self.filled(pages));
        let barrier = self.barrier(operation);
        let before = self.world.struck();
        let result = self.world.call(self.running, operation);
        let excused = self.excuses(result, before) || self.lacks_huge(operation, result);
        let right = match *operation {
            Operation::Watch(pages, modes) => self.shadow_mut().watch(pages, modes),
            Operation::Unwatch(pages) => self.shadow_mut().watch(pages, AreaFlags::empty()),
            Operation::Mark(pages, on) => {
                let end = barrier.unwrap_or(pages.0 + pages.1);
                let done = self.shadow_mut().mark(Pages(pages.0, end - pages.0), on, &there);
                if excused {
                    self.adopt_marks(pages);
                }
                if barrier.is_some() && (done.is_ok() || end == pages.0) { Err(Errno::EINVAL) } else { done }
            }
            Operation::Fill(pages, answer) => self.note_filled(pages, answer, &filled),
            _ => Ok(()),
        };
        if result == right || excused { Ok(result) } else { Err(format!("returns {result:?} instead of {right:?}")) }
    }

    /// After a failure for want of memory some areas of a range are protected, and others not.
    fn adopt_marks(&mut self, pages: Pages) {
        for number in pages.iter() {
            let is_marked = crate::view::is_marked(self.world.entry(self.running, number));
            self.shadow_mut().page_mut(number).into_iter().for_each(|page| page.marked &= is_marked);
        }
    }

    /// Those of the pages that are not to be filled: where anything is, or in a shared area the file has the page.
    fn filled(&self, pages: Pages) -> Places {
        let is_filled = |page: usize| {
            let shared = self.shadow().page(page).and_then(|page| page.source.shared());
            !self.world.entry(self.running, page).is_absent() || shared.is_some_and(|page| self.world.file_has(page))
        };
        pages.iter().filter(|&page| is_filled(page)).collect()
    }

    /// Pages were filled, up to the first that could not be: how that must have ended.
    fn note_filled(&mut self, pages: Pages, answer: Answer, filled: &Places) -> Returned {
        let shadow = self.shadow();
        let right = pages.iter().try_for_each(|page| shadow.fill_result(page, answer, filled.contains(&page)));
        let now = self.filled(self.shadow().whole(pages));
        now.difference(filled).for_each(|&page| self.shadow_mut().fill(page, answer));
        right
    }

    /// The neighbours of a page, not of its own huge page, where nothing is.
    pub fn absent_around(&self, page: usize) -> Places {
        let whole = self.shadow().whole(Pages(page, 1)).iter();
        let is_absent = |&page: &usize| self.world.entry(self.running, page).is_absent() && !whole.contains(&page);
        Pages(page, 1).widened().iter().filter(is_absent).collect()
    }

    /// A fault has brought a watched page in, and none of these: each of an area's pages is its monitor's to tell of, one by one.
    pub fn must_stay_absent(&self, page: usize, absent: Places) -> Result<(), String> {
        let is_there = |&page: &usize| !self.world.entry(self.running, page).is_absent();
        match absent.into_iter().find(is_there) {
            None => Ok(()),
            Some(other) => Err(format!("a fault at page {page}, which is watched, brings page {other} in too")),
        }
    }

    /// The monitor was asked about a page, and must have been. Whether the program tries again.
    pub fn answer(&mut self, page: usize, access: Access, notice: Notice) -> Result<bool, String> {
        let first = self.shadow().whole(Pages(page, 1)).0;
        // Of a file, which is copied before a write of the copy is asked about.
        self.note_copies(Pages(page, 1));
        let is_there = self.is_there(page);
        let right = (at(first, 0).page(), access, is_there) == (notice.address, notice.access, notice.is_protected);
        if !right || !self.shadow().asks(page, access, is_there) {
            return Err(format!("the monitor is asked of page {page}, there: {is_there}: {notice:?}"));
        }
        if self.monitor == Answer::Leave {
            return Ok(false);
        }
        if is_there {
            let pages = self.shadow().whole(Pages(page, 1));
            self.watching(&Operation::Mark(pages, false))?.map_err(failed("taking the protection away"))?;
            return Ok(true);
        }
        let (may_protect, is_huge) = self
            .shadow()
            .page(page)
            .map_or((false, false), |page| (page.watch.contains(AreaFlags::UFFD_WP), page.huge.is_some()));
        let answer = match self.monitor {
            Answer::Protected(value) if !may_protect || access == Access::Write => Answer::Copy(value),
            Answer::Zero if is_huge => Answer::Copy(0),
            answer => answer,
        };
        let filled = self.watching(&Operation::Fill(Pages(first, 1), answer))?;
        // After an injected failure the program asks again; where there is no memory it asks in vain.
        Ok(filled.is_ok() || !(self.world.size.is_little() || self.may_lack(Pages(page, 1))))
    }

    /// A mark goes with a page that is discarded. Whether the page has one still.
    pub fn is_marked(&mut self, page: usize) -> Result<bool, String> {
        if !self.shadow().page(page).is_some_and(|page| page.marked) {
            return Ok(false);
        }
        let entry = self.world.entry(self.running, page);
        self.shadow_mut().see_mark(page, entry.is_none())
    }
}

impl Shadow {
    /// A page that is marked is seen to be there, or not. Whether it is marked still.
    pub fn see_mark(&mut self, number: usize, is_gone: bool) -> Result<bool, String> {
        let Some(page) = self.page_mut(number) else { return Ok(false) };
        if is_gone && page.marked {
            if !page.may_go() {
                return Err(format!("page {number}, which was protected, has gone"));
            }
            page.marked = false;
        }
        Ok(page.marked)
    }
}
