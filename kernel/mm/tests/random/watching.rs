//! userfaultfd in a shadow: which pages are watched, and which of those are protected. A write to a protected page, or the first touch of
//! a missing one, must come to the monitor; nothing else may. The test is the monitor, and answers as it was told last.

use mm::Errno;
use mm::fault::Access;
use mm::uffd::Notice;
use mm::vma::AreaFlags;

use crate::checked::{Checked, Returned};
use crate::operation::{Answer, Operation, Pages};
use crate::shadow::Shadow;
use crate::world::{at, failed};

impl Shadow {
    /// Has pages watched from now on in these modes.
    fn watch(&mut self, pages: Pages, modes: AreaFlags) -> Result<(), Errno> {
        if self.page(pages.0).is_none() {
            return Err(Errno::EINVAL);
        }
        self.set_watch(pages, modes);
        Ok(())
    }

    fn set_watch(&mut self, pages: Pages, modes: AreaFlags) {
        for page in self.some_of(pages) {
            page.watch = modes;
            page.marked &= modes.contains(AreaFlags::UFFD_WP);
        }
    }

    /// Protects pages that are there, or no longer; up to the first whose writes are not watched.
    fn mark(&mut self, pages: Pages, on: bool, is_there: impl Fn(usize) -> bool) -> Result<(), Errno> {
        let mut result = Err(Errno::ENOENT);
        for number in pages.iter() {
            let Some(page) = self.page_mut(number) else { continue };
            if !page.watch.contains(AreaFlags::UFFD_WP) {
                return Err(Errno::ENOENT);
            }
            page.marked = on && is_there(number);
            result = Ok(());
        }
        result
    }

    /// How the monitor's attempt to fill a page must end.
    fn fill_result(&self, page: usize, answer: Answer, is_there: bool) -> Result<(), Errno> {
        let watch = self.page(page).map_or(AreaFlags::empty(), |page| page.watch);
        match answer {
            Answer::Leave => Ok(()),
            _ if watch.is_empty() => Err(Errno::ENOENT),
            Answer::Protected(_) if !watch.contains(AreaFlags::UFFD_WP) => Err(Errno::EINVAL),
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
        if let Some(page) = self.page_mut(number) {
            page.refill(value);
            page.marked = matches!(answer, Answer::Protected(_));
        }
    }

    /// Whether an access that the area allows is the monitor's to decide.
    pub fn asks(&self, number: usize, access: Access, is_there: bool) -> bool {
        let Some(page) = self.page(number) else { return false };
        if is_there { page.marked && access == Access::Write } else { page.watch.contains(AreaFlags::UFFD_MISSING) }
    }
}

impl Checked<'_> {
    /// Carries an operation of userfaultfd out.
    pub fn watching(&mut self, operation: &Operation) -> Result<Returned, String> {
        // The shadow knows nothing of markers; cases and `markers.rs` do.
        let is_huge = |pages: Pages| {
            let mut ends = pages.iter();
            ends.any(|page| self.shadow().page(page).is_some_and(|page| page.huge.is_some()))
        };
        if matches!(*operation, Operation::Watch(pages, _) if self.shadow().has_page_of_file(pages) || is_huge(pages)) {
            return Ok(Ok(()));
        }
        let there = self.there(operation.pages());
        let before = self.world.struck();
        let result = self.world.call(self.running, operation);
        let excused = self.excuses(result, before);
        let is_there = |page| there.contains(&page);
        let right = match *operation {
            Operation::Watch(pages, modes) => self.shadow_mut().watch(pages, modes),
            Operation::Unwatch(pages) => {
                self.shadow_mut().set_watch(pages, AreaFlags::empty());
                Ok(())
            }
            Operation::Mark(pages, on) => self.shadow_mut().mark(pages, on, is_there),
            Operation::Fill(pages, answer) => {
                let shadow = self.shadow();
                let right = pages.iter().try_for_each(|page| shadow.fill_result(page, answer, is_there(page)));
                let now = self.there(pages);
                now.difference(&there).for_each(|&page| self.shadow_mut().fill(page, answer));
                right
            }
            _ => Ok(()),
        };
        if result == right || excused { Ok(result) } else { Err(format!("returns {result:?} instead of {right:?}")) }
    }

    /// The monitor was asked about a page, and must have been. Whether the program tries again.
    pub fn answer(&mut self, page: usize, access: Access, notice: Notice) -> Result<bool, String> {
        let is_there = !self.world.entry(self.running, page).is_none();
        let right = (at(page, 0).page(), access, is_there) == (notice.address, notice.access, notice.is_protected);
        if !right || !self.shadow().asks(page, access, is_there) {
            return Err(format!("the monitor is asked of page {page}, there: {is_there}: {notice:?}"));
        }
        if self.monitor == Answer::Leave {
            return Ok(false);
        }
        if is_there {
            self.watching(&Operation::Mark(Pages(page, 1), false))?.map_err(failed("taking the protection away"))?;
            return Ok(true);
        }
        let may_protect = self.shadow().page(page).is_some_and(|page| page.watch.contains(AreaFlags::UFFD_WP));
        let answer = match self.monitor {
            Answer::Protected(value) if !may_protect || access == Access::Write => Answer::Copy(value),
            answer => answer,
        };
        let filled = self.watching(&Operation::Fill(Pages(page, 1), answer))?;
        // After an injected failure the program asks again; where there is no memory it asks in vain.
        Ok(filled.is_ok() || !self.world.size.is_little())
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
