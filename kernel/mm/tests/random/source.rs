//! The file that all spaces can map, and what a page of an area comes from.

use std::cell::RefCell;
use std::rc::Rc;

use mmu::{CONT_PTES, PAGE_SIZE};

use crate::shadow::FrameId;
use crate::world::{WORDS, offset};

/// Pages that the file has at most.
pub const FILE_PAGES: usize = 4 * CONT_PTES;

/// What a page comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Nothing: it is anonymous.
    Own,
    /// A page of the file.
    Shared(usize),
    /// A page of the file until it is copied.
    Private(usize),
    /// A copy of a page of the file.
    Copy(usize),
}

impl Source {
    /// The page of the file, whoever has a copy of it.
    pub fn page(self) -> Option<usize> {
        match self {
            Self::Own => None,
            Self::Shared(page) | Self::Private(page) | Self::Copy(page) => Some(page),
        }
    }

    /// The page of the file that is mapped there for everybody to see.
    pub fn shared(self) -> Option<usize> {
        if let Self::Shared(page) = self { Some(page) } else { None }
    }

    /// The page of the file that is seen there.
    pub fn seen(self) -> Option<usize> {
        self.page().filter(|_| !matches!(self, Self::Copy(_)))
    }

    /// The same, once a copy is given up.
    pub fn uncopied(self) -> Self {
        if let Self::Copy(page) = self { Self::Private(page) } else { self }
    }
}

/// What the file must hold.
pub struct FileShadow {
    /// Pages that it has; it is mapped beyond.
    pub size: usize,
    pub words: [[u64; WORDS]; FILE_PAGES],
    /// The frames of its pages that a device has pinned.
    pub frames: [Option<FrameId>; FILE_PAGES],
}

/// The file, as all shadows know it.
pub type SharedFile = Rc<RefCell<FileShadow>>;

impl FileShadow {
    /// All of it, nothing written.
    pub fn new() -> SharedFile {
        Rc::new(RefCell::new(Self { size: FILE_PAGES, words: [[0; WORDS]; FILE_PAGES], frames: [None; FILE_PAGES] }))
    }

    /// It ends here from now on. Returns the pinned frames that were cut off.
    pub fn resize(&mut self, pages: usize) -> Vec<FrameId> {
        self.size = pages;
        self.words[pages..].fill([0; WORDS]);
        self.frames[pages..].iter_mut().filter_map(Option::take).collect()
    }

    /// The last page ends in its middle: what lay behind reads as zeros if the file grows again.
    pub fn cut_inside(&mut self, page: usize) {
        let is_cut = |&word: &usize| offset(word) >= PAGE_SIZE / 2;
        (0..WORDS).filter(is_cut).for_each(|word| self.words[page][word] = 0);
    }

    /// No device has this frame pinned any more.
    pub fn unpin(&mut self, frame: FrameId) {
        self.frames.iter_mut().filter(|pinned| **pinned == Some(frame)).for_each(|pinned| *pinned = None);
    }

    /// Which page has a pinned frame.
    pub fn page_of(&self, frame: FrameId) -> Option<usize> {
        self.frames.iter().position(|&pinned| pinned == Some(frame))
    }
}
