//! Memory files: what `memfd_create` makes, and what a shared anonymous map is behind the scenes. Their pages are in memory or in swap,
//! like those of Linux's shmem, and belong to the file however many areas map them.
//!
//! A file has its pages by index (`index`): folios, with one reference for each page, or slots, with one count each (`swap`). It has a
//! place among the reverse maps, where the areas that map it are: so whoever walks from a folio to its entries (reclaim, the audit)
//! finds those of a file as it finds those of anonymous memory. It lives as long as somebody has it open or an area maps it.
//!
//! Its contents are locked to read by who maps a page of it, and to write by who adds or cuts off pages: what is cut off is taken out of
//! every table meanwhile, and no fault can map it again before it is gone.

mod contents;
mod index;
mod open;
mod range;
mod seals;
mod seen;
mod swap;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicI32, AtomicI64, AtomicUsize, Ordering};

pub(crate) use contents::Contents;
pub(crate) use index::{Part, Place};
pub use open::{MAX_SIZE, OpenFile};
pub use seals::Seals;
pub(crate) use swap::{Brought, Stays};

use crate::budget::Budget;
use crate::errno::Errno;
use crate::frame::HugeSize;
use crate::memory::Memory;
use crate::rmap::AnonVmaId;
use crate::sync::{Lock, Rank, ReadGuard, RwLock};

/// Which file: an index that an area has room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileId(u32);

impl FileId {
    /// Its number. A file that is gone leaves its number to another.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// What the pages of an area come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Backing {
    /// Nothing: they are zero at first, and the area's own.
    #[default]
    Anonymous,
    /// A file, whose own pages they are.
    Shared(FileId),
    /// A file until they are written; then they are the area's own, anonymous copies.
    Private(FileId),
    /// The pool of huge pages of this size.
    HugeTlb(HugeSize),
}

impl Backing {
    /// The size of huge pages, if they are such.
    pub const fn huge(self) -> Option<HugeSize> {
        match self {
            Self::HugeTlb(size) => Some(size),
            _ => None,
        }
    }

    /// The file, if there is one.
    pub const fn file(self) -> Option<FileId> {
        match self {
            Self::Anonymous | Self::HugeTlb(_) => None,
            Self::Shared(file) | Self::Private(file) => Some(file),
        }
    }

    /// Whether there is neither a file nor a pool. Markers of userfaultfd are for areas that have one, also where a page of theirs is
    /// anonymous.
    pub const fn is_anonymous(self) -> bool {
        matches!(self, Self::Anonymous)
    }

    /// Whether what is written there is seen by all who map the file.
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::Shared(_))
    }
}

/// A memory file.
#[derive(Debug)]
pub struct MemoryFile {
    id: FileId,
    /// What people see of it; empty for one behind a shared anonymous map.
    name: String,
    /// Its place among the reverse maps.
    areas: AnonVmaId,
    /// Areas that map it, and those who have it open.
    users: AtomicUsize,
    /// Shared maps that are being made; below 0 once the file is sealed against writes.
    maps_underway: AtomicI32,
    contents: RwLock<Contents>,
}

impl MemoryFile {
    /// Which it is.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// What it was called; empty for one behind a shared anonymous map.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The areas that map it, as a reverse map.
    pub(crate) fn areas(&self) -> AnonVmaId {
        self.areas
    }

    /// What it has, locked to read: nothing is cut off meanwhile.
    pub(crate) fn contents(&self) -> ReadGuard<'_, Contents> {
        self.contents.read()
    }

    /// One more uses it, unless nobody does.
    fn try_add_user(&self) -> bool {
        let raise = |users: usize| (users > 0).then_some(users + 1);
        self.users.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raise).is_ok()
    }

    /// One more uses it.
    pub(crate) fn add_user(&self) {
        self.users.fetch_add(1, Ordering::Relaxed);
    }
}

/// All files, by id.
#[derive(Debug)]
pub struct Files {
    slots: Lock<Vec<Option<Arc<MemoryFile>>>>,
    pages: AtomicI64,
    swapped: AtomicI64,
    /// What of the heap it may take to know which folios they have.
    pub budget: Budget,
}

impl Files {
    /// None yet.
    pub const fn new() -> Self {
        // Only ever held for a look-up, inside any other lock but those of frames.
        Self {
            slots: Lock::new(Rank::Lru, Vec::new()),
            pages: AtomicI64::new(0),
            swapped: AtomicI64::new(0),
            budget: Budget::new(),
        }
    }

    /// The file with this id; `None` if it is gone, which it is not as long as an area has it.
    pub fn get(&self, id: FileId) -> Option<Arc<MemoryFile>> {
        self.slots.lock().get(id.0 as usize)?.clone()
    }

    /// All there are: for an audit.
    ///
    /// # Errors
    /// `ENOMEM` if there is no memory for the list.
    pub fn all(&self) -> Result<Vec<Arc<MemoryFile>>, Errno> {
        let count = self.slots.lock().len();
        let mut all = Vec::new();
        all.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        all.extend(self.slots.lock().iter().take(count).flatten().cloned());
        Ok(all)
    }

    /// Pages that files have in memory (Linux's Shmem).
    pub fn pages(&self) -> i64 {
        self.pages.load(Ordering::Relaxed)
    }

    /// Pages that files have in swap.
    pub fn swapped(&self) -> i64 {
        self.swapped.load(Ordering::Relaxed)
    }

    fn count_swapped(&self, pages: i64) {
        self.swapped.fetch_add(pages, Ordering::Relaxed);
    }

    fn count_pages(&self, pages: i64) {
        self.pages.fetch_add(pages, Ordering::Relaxed);
    }

    /// Enters what `make` makes of an id.
    fn enter(&self, make: impl FnOnce(FileId) -> Arc<MemoryFile>) -> Result<Arc<MemoryFile>, Errno> {
        let mut slots = self.slots.lock();
        let free = slots.iter().position(Option::is_none);
        let at = free.unwrap_or(slots.len());
        if free.is_none() {
            slots.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            slots.push(None);
        }
        let file = make(FileId(at as u32));
        slots[at] = Some(file.clone());
        Ok(file)
    }
}

impl Default for Files {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// A new file without pages, that one user has.
    fn create_file(&self, name: &str) -> Result<Arc<MemoryFile>, Errno> {
        let mut own = String::new();
        own.try_reserve_exact(name.len()).map_err(|_| Errno::ENOMEM)?;
        own.push_str(name);
        let areas = self.anon.create_for_file()?;
        let contents = RwLock::new(Rank::File, Contents::new());
        let (users, maps_underway) = (AtomicUsize::new(1), AtomicI32::new(0));
        let made = self.files.enter(|id| Arc::new(MemoryFile { id, name: own, areas, users, maps_underway, contents }));
        match &made {
            Ok(file) => self.anon.set_file(areas, file.id),
            Err(_) => self.anon.give_up(areas),
        }
        made
    }

    /// One uses the file no longer. With the last one it goes, and its pages with it.
    pub(crate) fn put_file(&self, file: &MemoryFile) {
        if file.users.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        if file.contents_mut().take_out(self, (0, u64::MAX)).is_err() {
            self.note_defect("a file keeps pages at its end");
        }
        self.anon.give_up(file.areas);
        let gone = self.files.slots.lock()[file.id.0 as usize].take();
        drop(gone);
    }
}
