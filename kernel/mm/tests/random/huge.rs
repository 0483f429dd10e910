//! Huge pages in a shadow: which pages are parts of one, so that no border of an area may come between them; and which of them are
//! reserved. A first touch of those must succeed whatever others do; of others it may find the pool empty.
//!
//! Who reserved a page keeps it: where a child shares it and there is none to copy to, the child loses it, and must never see anything else
//! in its place.

use mm::fault::FaultError;
use mm::space::advice;
use mm::vma::{Area, AreaFlags};
use mm::{Errno, HugeSize};

use crate::checked::Checked;
use crate::operation::{Operation, Pages};
use crate::shadow::Shadow;
use crate::world::{FIELD, PAGES, SPACES, World, at};

impl Shadow {
    /// Whether a page is a part of a huge page, and not its first.
    pub fn is_inside_huge(&self, page: usize) -> bool {
        let huge = (page < PAGES).then(|| self.page(page)?.huge).flatten();
        huge.is_some_and(|huge| !is_first(page, huge.size))
    }

    /// Whether a page is small, or the huge page that it is a part of lies whole in a range.
    pub fn is_whole(&self, page: usize, range: Pages) -> bool {
        let Some(huge) = self.page(page).and_then(|page| page.huge) else { return true };
        let parts = parts(page, huge.size);
        range.0 <= parts.0 && parts.0 + parts.1 <= range.0 + range.1
    }

    /// Whether a border comes inside a huge page if one does at both ends of a range.
    pub fn cuts_huge(&self, pages: Pages) -> bool {
        self.is_inside_huge(pages.0) || self.is_inside_huge(pages.0 + pages.1)
    }

    /// These pages, and the others of the huge pages that they are parts of.
    pub fn whole(&self, pages: Pages) -> Pages {
        let of = |page: usize| {
            let huge = (page < PAGES).then(|| self.page(page)?.huge).flatten();
            huge.map_or(Pages(page, 1), |huge| parts(page, huge.size))
        };
        let (first, last) = (of(pages.0), of(pages.0 + pages.1 - 1));
        Pages(first.0, last.0 + last.1 - first.0)
    }

    /// The pages that mremap moves: whole huge ones.
    pub fn rounded(&self, pages: Pages) -> Pages {
        let size = self.page(pages.0).and_then(|page| page.huge).map_or(1, |huge| huge.size.pages());
        Pages(pages.0, pages.1.next_multiple_of(size))
    }
}

/// Whether a huge page of this size can begin at a page.
fn is_first(page: usize, size: HugeSize) -> bool {
    at(page, 0).page().is_aligned(size.bytes())
}

/// All pages of the huge page that `page` is a part of.
fn parts(page: usize, size: HugeSize) -> Pages {
    let inside = at(page, 0).page().page_number() as usize % size.pages();
    Pages(page - inside, size.pages())
}

impl World<'_> {
    /// The parts of a range that lie in one area each, with that.
    fn areas_in(&self, space: usize, pages: Pages) -> Vec<(Pages, Area)> {
        let (start, end) = (at(pages.0, 0).page(), at(pages.0 + pages.1, 0).page());
        let layout = self.space(space).layout().read();
        let areas = layout.areas.iter().filter(|area| area.start < end && start < area.end);
        let page = |address: mmu::VirtAddr| (address.page_number() - at(0, 0).page().page_number()) as usize;
        let clip = |area: &Area| (page(area.start.max(start)), page(area.end.min(end)));
        areas.map(|area| (clip(area), *area)).map(|((first, end), area)| (Pages(first, end - first), area)).collect()
    }

    /// Whether no huge page of a size is free for who has not reserved one.
    fn lacks(&self, size: HugeSize) -> bool {
        let pool = self.pool(size);
        pool.free == pool.reserved
    }
}

impl Checked<'_> {
    /// Where an operation stops that changes areas one after another, since a border would come inside a huge page.
    pub fn barrier(&self, operation: &Operation) -> Option<usize> {
        let shadow = self.shadow();
        let pages = operation.pages();
        let changes = |area: &Area| match *operation {
            Operation::Protect(..) => true,
            Operation::Mark(..) => area.flags.contains(AreaFlags::UFFD_WP),
            Operation::Advise(_, advice) => note(area.flags, advice) != area.flags,
            _ => false,
        };
        if !matches!(operation, Operation::Protect(..) | Operation::Mark(..) | Operation::Advise(..)) {
            return None;
        }
        let areas = self.world.areas_in(self.running, pages);
        areas.into_iter().find(|(part, area)| changes(area) && shadow.cuts_huge(*part)).map(|(part, _)| part.0)
    }

    /// Why mmap must be refused before it does anything.
    pub fn map_refusal(&self, operation: &Operation) -> Option<Errno> {
        if let Operation::MapHuge(pages, size, _, true) = *operation {
            let pool = self.world.pool(size);
            if pool.free - pool.reserved < pages.1 / size.pages() {
                return Some(Errno::ENOMEM);
            }
        }
        self.shadow().cuts_huge(operation.pages()).then_some(Errno::EINVAL)
    }

    /// Why mremap must be refused before it does anything.
    pub fn move_refusal(&self, pages: Pages, to: usize, keeps: bool) -> Option<Errno> {
        let shadow = self.shadow();
        if pages.overlaps(Pages(to, pages.1)) {
            return Some(Errno::EINVAL);
        }
        let moved = shadow.rounded(pages);
        if let Some(huge) = shadow.page(pages.0).and_then(|page| page.huge) {
            let fits = is_first(pages.0, huge.size) && is_first(to, huge.size) && !keeps;
            if !fits {
                return Some(Errno::EINVAL);
            }
        }
        if !self.world.is_one_area(self.running, moved) {
            return Some(Errno::EFAULT);
        }
        shadow.cuts_huge(Pages(to, moved.1)).then_some(Errno::EINVAL)
    }

    /// Whether there may be no huge page for some of these pages: none is free that is not reserved, and they have not reserved any.
    pub fn may_lack(&self, pages: Pages) -> bool {
        let huge = pages.iter().filter_map(|page| self.shadow().page(page)?.huge);
        huge.filter(|huge| !huge.reserves).any(|huge| self.world.lacks(huge.size))
    }

    /// Whether an operation that brings pages in may have failed because there is no huge page.
    pub fn lacks_huge(&self, operation: &Operation, result: Result<(), Errno>) -> bool {
        match *operation {
            Operation::Advise(pages, advice::POPULATE_READ | advice::POPULATE_WRITE) => {
                result == Err(Errno::EFAULT) && self.may_lack(pages)
            }
            Operation::Fill(pages, _) | Operation::Lock(pages, false) => {
                result == Err(Errno::ENOMEM) && self.may_lack(pages)
            }
            _ => false,
        }
    }

    /// Notes what spaces have lost to those who reserved it: by an access, only where there was nothing else for these.
    pub fn note_lost(&mut self, by_access: bool) -> Result<(), String> {
        for space in 0..SPACES {
            let Some(shadow) = &mut self.shadows[space] else { continue };
            for number in FIELD {
                let Some(page) = shadow.page_mut(number).filter(|page| page.ruined.is_none()) else { continue };
                let Some(huge) = page.huge.filter(|huge| !huge.reserves) else { continue };
                if !self.world.entry(space, number).is_lost() {
                    continue;
                }
                if space == self.running || by_access && !self.world.lacks(huge.size) {
                    return Err(format!("page {number} of space {space} was taken away"));
                }
                page.ruin(FaultError::NoHugePage);
            }
        }
        Ok(())
    }

    /// After MADV_DONTNEED: what is bad stays so where a page must be reserved for each place that is empty, and there is none.
    pub fn note_kept_bad(&mut self, bad: &[usize]) {
        for &number in bad {
            let is_bad = self.world.is_bad(self.running, number);
            let Some(huge) = self.shadow().page(number).and_then(|page| page.huge) else { continue };
            let may_stay = is_bad && huge.reserves && self.world.lacks(huge.size);
            if let Some(page) = self.shadow_mut().page_mut(number).filter(|_| may_stay) {
                page.ruin(FaultError::Poisoned(huge.size.shift()));
            }
        }
    }
}

/// What the flags of an area are after an advice.
fn note(flags: AreaFlags, advice: u32) -> AreaFlags {
    match advice {
        advice::HUGEPAGE => flags.difference(AreaFlags::NOHUGEPAGE) | AreaFlags::HUGEPAGE,
        advice::NOHUGEPAGE => flags.difference(AreaFlags::HUGEPAGE) | AreaFlags::NOHUGEPAGE,
        advice::DONTFORK => flags | AreaFlags::DONTFORK,
        advice::DOFORK => flags.difference(AreaFlags::DONTFORK),
        advice::KEEPONFORK => flags.difference(AreaFlags::WIPEONFORK),
        _ => flags,
    }
}
