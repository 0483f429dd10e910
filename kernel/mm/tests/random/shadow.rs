//! The shadow of a space: what each page must hold, and what each call must return.

use mm::Errno;
use mm::fault::{Access, FaultError};
use mm::space::advice;
use mm::vma::Prot;

use crate::operation::{Operation, Pages, RW};
use crate::world::{PAGES, WORDS, allows};

/// A mapped page.
#[derive(Clone, Copy)]
struct Page {
    prot: Prot,
    words: [u64; WORDS],
}

impl Page {
    fn fresh(prot: Prot) -> Option<Self> {
        Some(Self { prot, words: [0; WORDS] })
    }
}

/// What a space must look like to its program.
pub struct Shadow {
    /// `None` where nothing is mapped.
    pages: [Option<Page>; PAGES],
}

impl Shadow {
    /// All mapped, nothing written.
    pub fn new() -> Self {
        Self { pages: [Page::fresh(RW); PAGES] }
    }

    /// How an access must end, faults resolved.
    pub fn access(&self, page: usize, access: Access) -> Result<(), FaultError> {
        let page = self.pages[page].ok_or(FaultError::NotMapped)?;
        if allows(page.prot, access) { Ok(()) } else { Err(FaultError::Denied) }
    }

    /// What a word must hold; 0 where nothing is mapped.
    pub fn word(&self, page: usize, word: usize) -> u64 {
        self.pages[page].map_or(0, |page| page.words[word])
    }

    /// The program has stored a value.
    pub fn store(&mut self, page: usize, word: usize, value: u64) {
        if let Some(page) = &mut self.pages[page] {
            page.words[word] = value;
        }
    }

    /// Does what an operation that is not an access does. Returns what it must return.
    pub fn apply(&mut self, operation: &Operation) -> Result<(), Errno> {
        match *operation {
            Operation::Map(pages, prot) => pages.iter().for_each(|page| self.pages[page] = Page::fresh(prot)),
            Operation::Unmap(pages) => pages.iter().for_each(|page| self.pages[page] = None),
            Operation::Protect(pages, prot) => return self.protect(pages, prot),
            Operation::Advise(pages, advice) => return self.advise(pages, advice),
            _ => {}
        }
        Ok(())
    }

    /// mremap of a range in one area. Where a table page could not be had what was at the target is gone, and nothing else.
    pub fn relocate(&mut self, pages: Pages, to: usize, keeps: bool, failed: bool) -> Result<(), Errno> {
        if overlap(pages, to) {
            return Err(Errno::EINVAL);
        }
        for (from, to) in pages.iter().zip(to..) {
            self.pages[to] = None;
            if !failed {
                self.pages[to] = self.pages[from];
                self.pages[from] = self.pages[from].filter(|_| keeps).and_then(|page| Page::fresh(page.prot));
            }
        }
        if failed { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// mremap of any other range.
    pub fn refuse(&self, pages: Pages, to: usize) -> Result<(), Errno> {
        Err(if overlap(pages, to) { Errno::EINVAL } else { Errno::EFAULT })
    }

    /// mprotect stops at the first hole.
    fn protect(&mut self, pages: Pages, prot: Prot) -> Result<(), Errno> {
        pages.iter().try_for_each(|page| {
            self.pages[page].as_mut().ok_or(Errno::ENOMEM)?.prot = prot;
            Ok(())
        })
    }

    fn advise(&mut self, pages: Pages, advice: u32) -> Result<(), Errno> {
        match advice {
            advice::POPULATE_READ => return self.populate(pages, Access::Read),
            advice::POPULATE_WRITE => return self.populate(pages, Access::Write),
            advice::DONTNEED => pages.iter().for_each(|page| self.empty(page)),
            _ => {}
        }
        // A hole stops nothing.
        if pages.iter().all(|page| self.pages[page].is_some()) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    fn empty(&mut self, page: usize) {
        if let Some(page) = &mut self.pages[page] {
            page.words = [0; WORDS];
        }
    }

    fn populate(&self, pages: Pages, access: Access) -> Result<(), Errno> {
        pages.iter().try_for_each(|page| match self.access(page, access) {
            Ok(()) => Ok(()),
            Err(FaultError::NotMapped) => Err(Errno::ENOMEM),
            Err(_) => Err(Errno::EINVAL),
        })
    }
}

/// Whether pages and those they are to move to have some in common.
const fn overlap(pages: Pages, to: usize) -> bool {
    pages.0 < to + pages.1 && to < pages.0 + pages.1
}
