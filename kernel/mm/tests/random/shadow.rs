//! The shadow of a space: what each page must hold, and what each call must return.

use std::collections::BTreeSet;

use mm::fault::{Access, FaultError};
use mm::remap::MoveFlags;
use mm::space::advice;
use mm::vma::{AreaFlags, Prot};
use mm::{Errno, HugeSize};

use crate::operation::{Kind, Operation, Pages, RW};
use crate::source::{SharedFile, Source};
use crate::world::{PAGES, WORDS, allows};

/// Pages of a space.
pub type Places = BTreeSet<usize>;

/// A frame that is pinned, by a number of the test's own.
pub type FrameId = u32;

/// What huge pages an area has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Huge {
    pub size: HugeSize,
    /// Whether one is reserved for each place where none is.
    pub reserves: bool,
}

/// A mapped page.
#[derive(Clone, Copy)]
pub struct Page {
    pub prot: Prot,
    pub source: Source,
    words: [u64; WORDS],
    /// Which of the words may as well be 0, as MADV_FREE gave them up and they were not written since.
    given_up: [bool; WORDS],
    /// Whether any word was written since: then the others are what they were at that moment.
    settled: bool,
    /// MADV_DONTFORK.
    pub stays: bool,
    /// MADV_WIPEONFORK.
    pub wiped: bool,
    /// MAP_DROPPABLE: any of its words may be 0 at any time.
    pub droppable: bool,
    /// How userfaultfd watches it.
    pub watch: AreaFlags,
    /// Whether writes to it are the monitor's to allow.
    pub marked: bool,
    /// How it is locked.
    pub locked: AreaFlags,
    /// Whether it is locked and was in memory since.
    pub kept: bool,
    /// The huge page that it is a part of.
    pub huge: Option<Huge>,
    /// How every access ends, as what was there is lost.
    pub ruined: Option<FaultError>,
    /// The frame that it has while a device has that one pinned.
    frame: Option<FrameId>,
}

impl Page {
    fn fresh(prot: Prot, kind: Kind, source: Source, locked: AreaFlags) -> Option<Self> {
        let droppable = kind == Kind::Droppable;
        Some(Self {
            prot,
            source,
            words: [0; WORDS],
            given_up: [false; WORDS],
            settled: true,
            stays: false,
            wiped: false,
            droppable,
            watch: AreaFlags::empty(),
            marked: false,
            locked: if droppable { AreaFlags::empty() } else { locked },
            kept: false,
            huge: None,
            ruined: None,
            frame: None,
        })
    }

    /// A part of a huge page. It can not be locked.
    fn of_huge(prot: Prot, huge: Huge) -> Option<Self> {
        let fresh = Self::fresh(prot, Kind::Ordinary, Source::Own, AreaFlags::empty())?;
        Some(Self { huge: Some(huge), ..fresh })
    }

    /// Emptied while its area stays.
    fn emptied(self) -> Self {
        Self { marked: self.marked && self.keeps_mark(), ..self.empty() }
    }

    fn empty(self) -> Self {
        let source = self.source.uncopied();
        let (words, given_up) = ([0; WORDS], [false; WORDS]);
        Self { source, words, given_up, marked: false, kept: false, ruined: None, frame: None, ..self }
    }

    /// The same, watched by nobody.
    fn unwatched(self) -> Self {
        Self { watch: AreaFlags::empty(), marked: false, ..self }
    }

    /// What was there is lost: every access ends so.
    pub fn ruin(&mut self, error: FaultError) {
        *self = Self { ruined: Some(error), marked: false, kept: false, frame: None, ..*self };
    }

    /// Whether mlock brings it in to be written: what all share is not dirtied for nothing.
    pub fn is_locked_to_be_written(&self) -> bool {
        self.prot.contains(Prot::WRITE) && self.source.shared().is_none()
    }

    /// Whether it may be discarded at any time, whatever it holds.
    pub fn may_go(&self) -> bool {
        self.droppable || !self.settled
    }

    /// A word is seen to be `found`. Whether it may be.
    fn sees(&mut self, word: usize, found: u64) -> bool {
        let right = self.words[word];
        if found == right {
            // A page that was written once more is not discarded any more.
            self.given_up[word] &= !self.settled;
            return true;
        }
        if found == 0 && self.droppable {
            // The others may have been written since.
            self.words[word] = 0;
            return true;
        }
        if found != 0 || !self.given_up[word] {
            return false;
        }
        // All of a page goes at once: what was not written since is 0.
        for (value, given_up) in self.words.iter_mut().zip(&mut self.given_up).filter(|(_, given_up)| **given_up) {
            (*value, *given_up) = (0, false);
        }
        true
    }

    fn note(&mut self, advice: u32) -> Result<(), Errno> {
        match advice {
            advice::KEEPONFORK if self.droppable => return Err(Errno::EINVAL),
            advice::DONTFORK => self.stays = true,
            advice::DOFORK => self.stays = false,
            advice::WIPEONFORK => self.wiped = true,
            advice::KEEPONFORK => self.wiped = false,
            _ => {}
        }
        Ok(())
    }

    /// What a child has of it.
    fn inherited(self) -> Option<Self> {
        let kept = if self.wiped || self.droppable { self.empty() } else { Self { frame: None, ..self } };
        // Nothing is reserved for a child.
        let huge = self.huge.map(|huge| Huge { reserves: false, ..huge });
        (!self.stays).then_some(Self { locked: AreaFlags::empty(), kept: false, huge, ..kept.unwatched() })
    }
}

/// What a space must look like to its program.
pub struct Shadow {
    /// `None` where nothing is mapped. Not an array: a dozen shadows would fill the stack of a test.
    pages: Vec<Option<Page>>,
    file: SharedFile,
    /// How what is mapped from now on is locked.
    pub future: AreaFlags,
}

impl Shadow {
    /// All mapped, nothing written.
    pub fn new(file: &SharedFile) -> Self {
        let future = AreaFlags::empty();
        Self { pages: vec![Page::fresh(RW, Kind::Ordinary, Source::Own, future); PAGES], file: file.clone(), future }
    }

    /// That of a child.
    pub fn fork(&self) -> Self {
        let pages = self.pages.iter().map(|page| page.and_then(Page::inherited)).collect();
        Self { pages, file: self.file.clone(), future: AreaFlags::empty() }
    }

    /// A page, if anything is mapped there.
    pub fn page(&self, page: usize) -> Option<&Page> {
        self.pages[page].as_ref()
    }

    pub fn page_mut(&mut self, page: usize) -> Option<&mut Page> {
        self.pages[page].as_mut()
    }

    /// Has a page be this.
    pub fn put(&mut self, number: usize, page: Option<Page>) {
        self.pages[number] = page;
    }

    /// Whether what was at a page is lost.
    pub fn is_ruined(&self, page: usize) -> bool {
        self.pages[page].is_some_and(|page| page.ruined.is_some())
    }

    /// Those of the pages where anything is mapped.
    pub fn some_of(&mut self, pages: Pages) -> impl Iterator<Item = &mut Page> {
        self.pages[pages.iter()].iter_mut().flatten()
    }

    /// How an access must end, faults resolved.
    pub fn access(&self, number: usize, access: Access) -> Result<(), FaultError> {
        let page = self.pages[number].ok_or(FaultError::NotMapped)?;
        if !allows(page.prot, access) {
            return Err(FaultError::Denied);
        }
        if let Some(error) = page.ruined {
            return Err(error);
        }
        if self.is_beyond_end(number) { Err(FaultError::BeyondEnd) } else { Ok(()) }
    }

    /// Whether a page that nothing was done to is found in the file.
    pub fn is_of_file(&self, page: usize) -> bool {
        self.pages[page].is_some_and(|page| page.source.seen().is_some())
    }

    /// What the words of a page must hold; 0 where nothing is mapped.
    pub fn words(&self, page: usize) -> [u64; WORDS] {
        let seen = |page: Page| page.source.seen().map_or(page.words, |page| self.file.borrow().words[page]);
        self.pages[page].map_or([0; WORDS], seen)
    }

    /// The program sees what a word holds. Whether it may be so.
    pub fn sees(&mut self, page: usize, word: usize, found: u64) -> bool {
        if self.is_of_file(page) {
            return found == self.words(page)[word];
        }
        self.pages[page].as_mut().map_or(found == 0, |page| page.sees(word, found))
    }

    /// The program has stored a value.
    pub fn store(&mut self, page: usize, word: usize, value: u64) {
        self.copy(page);
        if let Some(page) = &mut self.pages[page] {
            if let Source::Shared(of_file) = page.source {
                self.file.borrow_mut().words[of_file][word] = value;
            }
            page.words[word] = value;
            page.given_up[word] = false;
            page.settled = true;
        }
    }

    /// A page that was missing holds this value everywhere from now on: in the file, where it is mapped shared.
    pub fn refill(&mut self, page: usize, value: u64) {
        self.copy(page);
        if let Some(page) = &mut self.pages[page] {
            if let Source::Shared(of_file) = page.source {
                self.file.borrow_mut().words[of_file] = [value; WORDS];
            }
            (page.words, page.given_up, page.settled, page.frame) = ([value; WORDS], [false; WORDS], true, None);
        }
    }

    /// Whether the file ends before a page.
    pub fn is_beyond_end(&self, page: usize) -> bool {
        let of_file = self.pages[page].and_then(|page| page.source.page());
        of_file.is_some_and(|page| page >= self.file.borrow().size)
    }

    /// A page of the file that is mapped for itself alone is copied there.
    pub fn copy(&mut self, page: usize) {
        let words = self.words(page);
        if let Some(page @ Page { source: Source::Private(_), .. }) = &mut self.pages[page] {
            page.source = Source::Copy(page.source.page().unwrap_or_default());
            (page.words, page.given_up, page.settled) = (words, [false; WORDS], true);
        }
    }

    /// The file ends here from now on: copies of what was cut off go too.
    pub fn cut(&mut self, pages: usize) {
        let is_cut = |page: &&mut Page| page.source.page().is_some_and(|page| page >= pages);
        for page in self.pages.iter_mut().flatten().filter(is_cut) {
            *page = Self::uncopied(*page);
        }
    }

    /// A page of which a copy was cut off, if there was one.
    fn uncopied(page: Page) -> Page {
        Page { source: page.source.uncopied(), kept: false, ruined: None, frame: None, ..page }
    }

    /// The frame of a page, which is pinned from now on: `new`, unless it is known.
    pub fn pin(&mut self, page: usize, new: FrameId) -> FrameId {
        let Some(page) = &mut self.pages[page] else { return new };
        match page.source.seen() {
            Some(of_file) => *self.file.borrow_mut().frames[of_file].get_or_insert(new),
            None => *page.frame.get_or_insert(new),
        }
    }

    /// Which page has a pinned frame.
    pub fn page_of(&self, frame: FrameId) -> Option<usize> {
        self.pages.iter().position(|page| page.is_some_and(|page| page.frame == Some(frame)))
    }

    /// No device has this frame pinned any more.
    pub fn unpin(&mut self, frame: FrameId) {
        self.pages.iter_mut().flatten().filter(|page| page.frame == Some(frame)).for_each(|page| page.frame = None);
    }

    /// Does what an operation that is not an access does. Returns what it must return, where these pages were there before.
    pub fn apply(&mut self, operation: &Operation, there: &Places) -> Result<(), Errno> {
        let future = self.future;
        match *operation {
            Operation::Map(pages, prot, kind) => {
                pages.iter().for_each(|page| self.pages[page] = Page::fresh(prot, kind, Source::Own, future));
            }
            Operation::MapFile(pages, first, prot, shared) => {
                let source = if shared { Source::Shared } else { Source::Private };
                let fresh = |at| Page::fresh(prot, Kind::Ordinary, source(at), future);
                pages.iter().zip(first..).for_each(|(page, at)| self.pages[page] = fresh(at));
            }
            Operation::MapHuge(pages, size, prot, reserves) => {
                let fresh = Page::of_huge(prot, Huge { size, reserves });
                pages.iter().for_each(|page| self.pages[page] = fresh);
            }
            Operation::Unmap(pages) => pages.iter().for_each(|page| self.pages[page] = None),
            Operation::Protect(pages, prot) => return self.protect(pages, prot),
            Operation::Advise(pages, advice) => return self.advise(pages, advice, there),
            Operation::Move(pages, to, flags) => self.relocate(pages, to, flags),
            _ => {}
        }
        Ok(())
    }

    /// The same where a border between areas that must not be stops the operation before this page.
    pub fn apply_up_to(&mut self, stop: usize, operation: &Operation, there: &Places) -> Result<(), Errno> {
        let pages = operation.pages();
        let done = Pages(pages.0, stop - pages.0);
        match *operation {
            Operation::Protect(_, prot) => self.protect(done, prot)?,
            Operation::Advise(_, advice) => drop(self.advise(done, advice, there)),
            _ => {}
        }
        Err(Errno::EINVAL)
    }

    /// mprotect stops at the first hole.
    fn protect(&mut self, pages: Pages, prot: Prot) -> Result<(), Errno> {
        pages.iter().try_for_each(|page| {
            self.pages[page].as_mut().ok_or(Errno::ENOMEM)?.prot = prot;
            Ok(())
        })
    }

    fn relocate(&mut self, pages: Pages, to: usize, flags: MoveFlags) {
        let pages = self.rounded(pages);
        for (page, to) in pages.iter().zip(to..) {
            self.pages[to] = self.pages[page].map(Page::unwatched);
            self.empty(page);
            if let Some(page) = &mut self.pages[page] {
                page.locked = AreaFlags::empty();
            }
            if !flags.contains(MoveFlags::DONTUNMAP) {
                self.pages[page] = None;
            }
        }
    }

    fn advise(&mut self, pages: Pages, advice: u32, there: &Places) -> Result<(), Errno> {
        let is_there = |page| there.contains(&page);
        let right = match advice {
            advice::POPULATE_READ => return self.populate(pages, |_| false, is_there),
            advice::POPULATE_WRITE => return self.populate(pages, |_| true, is_there),
            _ => self.suited(pages, advice),
        };
        match advice {
            advice::DONTNEED => right.iter().for_each(|page| {
                if self.is_whole(page, right) {
                    self.drop_page(page)
                }
            }),
            advice::FREE => right.iter().for_each(|page| self.give_up(page)),
            _ => self.some_of(right).try_for_each(|page| page.note(advice))?,
        }
        if right.1 < pages.1 {
            return Err(Errno::EINVAL);
        }
        // A hole stops nothing.
        if pages.iter().all(|page| self.pages[page].is_some()) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Those of the pages before the first that an advice does not suit.
    fn suited(&self, pages: Pages, advice: u32) -> Pages {
        let takes = matches!(advice, advice::DONTNEED | advice::FREE | advice::COLD | advice::PAGEOUT);
        let is_own = matches!(advice, advice::FREE | advice::WIPEONFORK);
        let is_small = matches!(advice, advice::FREE | advice::COLD | advice::PAGEOUT | advice::WIPEONFORK);
        if advice == advice::DONTNEED && self.is_inside_huge(pages.0) {
            return Pages(pages.0, 0);
        }
        let suits = |page: Page| {
            let unfit = takes && !page.locked.is_empty() || is_own && page.source != Source::Own;
            !(unfit || is_small && page.huge.is_some())
        };
        Pages(pages.0, pages.iter().take_while(|&page| self.pages[page].is_none_or(suits)).count())
    }

    fn drop_page(&mut self, page: usize) {
        if let Some(page) = &mut self.pages[page] {
            *page = page.emptied();
        }
    }

    fn empty(&mut self, page: usize) {
        if let Some(page) = &mut self.pages[page] {
            *page = page.empty();
        }
    }

    /// Whether a file is mapped at any of these pages.
    pub fn has_page_of_file(&self, pages: Pages) -> bool {
        pages.iter().any(|page| self.pages[page].is_some_and(|page| page.source != Source::Own))
    }

    fn give_up(&mut self, page: usize) {
        if let Some(page) = &mut self.pages[page] {
            if page.ruined.is_some() {
                return *page = page.empty();
            }
            (page.given_up, page.settled) = ([true; WORDS], false);
        }
    }

    /// How it must end that all pages are brought in: for writing where `writes` says so, and if these pages are there.
    pub fn populate(
        &self,
        pages: Pages,
        writes: impl Fn(&Page) -> bool,
        is_there: impl Fn(usize) -> bool,
    ) -> Result<(), Errno> {
        pages.iter().try_for_each(|page| {
            let write = self.pages[page].as_ref().is_some_and(&writes);
            let access = if write { Access::Write } else { Access::Read };
            match self.access(page, access) {
                Ok(()) if self.asks(page, access, is_there(page)) => Err(Errno::EFAULT),
                Ok(()) => Ok(()),
                Err(FaultError::NotMapped) => Err(Errno::ENOMEM),
                Err(FaultError::BeyondEnd | FaultError::NoHugePage) => Err(Errno::EFAULT),
                Err(FaultError::Poisoned(_)) => Err(Errno::EHWPOISON),
                Err(_) => Err(Errno::EINVAL),
            }
        })
    }
}
