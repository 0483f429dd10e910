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

    /// What the words of a page must hold; 0 where nothing is mapped.
    pub fn words(&self, page: usize) -> [u64; WORDS] {
        self.pages[page].map_or([0; WORDS], |page| page.words)
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
