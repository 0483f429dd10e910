//! The device, and memory to give it.

use user::memory_file::MemoryFile;
use user::process;
use user::sys::{self, Error, PAGE, advice, call};
use user::told::{self, FRAME, PRESENT};

/// ioctl.
const IOCTL: u64 = 29;

/// What the device can be told.
pub mod request {
    /// Pin a range that the device will only read.
    pub const PIN_TO_READ: u64 = 0x4010_7001;
    /// Pin a range that the device will write.
    pub const PIN_TO_WRITE: u64 = 0x4010_7002;
    /// Give the range back.
    pub const UNPIN: u64 = 0x7003;
}

/// An open device: at most one pinned range. Dropping it closes it.
pub struct Device(MemoryFile);

impl Device {
    /// One that has pinned nothing.
    pub fn open() -> Result<Self, Error> {
        const READ_WRITE: u64 = 2;
        process::open(c"/dev/pins", READ_WRITE).map(|descriptor| Self(MemoryFile(descriptor)))
    }

    /// One that has pinned pages to write them.
    pub fn writing(address: u64, pages: u64) -> Result<Self, Error> {
        let device = Self::open()?;
        device.pin(request::PIN_TO_WRITE, address, pages * PAGE).map(|_| device)
    }

    /// One that has pinned pages to read them.
    pub fn reading(address: u64, pages: u64) -> Result<Self, Error> {
        let device = Self::open()?;
        device.pin(request::PIN_TO_READ, address, pages * PAGE).map(|_| device)
    }

    /// Pins a range.
    pub fn pin(&self, request: u64, address: u64, length: u64) -> Result<u64, Error> {
        let range = [address, length];
        self.control(request, range.as_ptr().addr() as u64)
    }

    /// Any request.
    pub fn control(&self, request: u64, argument: u64) -> Result<u64, Error> {
        // SAFETY: the kernel reads a range at most, or refuses.
        unsafe { call(IOCTL, [self.0.0 as u64, request, argument, 0, 0, 0]) }
    }

    /// Gives the range back.
    pub fn unpin(&self) -> Result<u64, Error> {
        self.control(request::UNPIN, 0)
    }

    /// The word that the device reads at the start of a page of its range.
    pub fn word(&self, page: u64) -> Result<u64, Error> {
        self.0.word(page * PAGE)
    }

    /// Has the device write a word at the start of a page of its range.
    pub fn set_word(&self, page: u64, word: u64) -> Result<u64, Error> {
        self.0.set_word(page * PAGE, word)
    }

    /// The same, at any byte of it.
    pub fn set_word_at(&self, at: u64, word: u64) -> Result<u64, Error> {
        self.0.set_word(at, word)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = process::close(self.0.0);
    }
}

/// Pages of a [`Memory`].
pub const PAGES: u64 = 16;

/// Private memory of [`PAGES`] pages that may be one folio; the first word of each is its number and one. Dropping it unmaps it.
pub struct Memory {
    map: u64,
    /// Where its pages are.
    pub address: u64,
}

impl Memory {
    /// Memory that nobody has touched.
    pub fn untouched() -> Result<Self, Error> {
        let map = sys::map(2 * PAGES * PAGE, sys::PROT_READ | sys::PROT_WRITE)?;
        Ok(Self { map, address: map.next_multiple_of(PAGES * PAGE) })
    }

    /// Memory that is full.
    pub fn new() -> Result<Self, Error> {
        let memory = Self::untouched()?;
        (0..PAGES).for_each(|page| memory.put(page, page + 1));
        Ok(memory)
    }

    /// Where a page is.
    pub fn page(&self, page: u64) -> u64 {
        self.address + page * PAGE
    }

    /// Writes the first word of a page.
    pub fn put(&self, page: u64, word: u64) {
        // SAFETY: a page of a map of our own, of which raw words alone are used.
        unsafe { (self.page(page) as *mut u64).write_volatile(word) };
    }

    /// Reads the first word of a page.
    pub fn get(&self, page: u64) -> u64 {
        // SAFETY: as above.
        unsafe { (self.page(page) as *const u64).read_volatile() }
    }

    /// Whether all pages but those from `first` to before `end` are as they were made.
    pub fn is_whole_but(&self, first: u64, end: u64) -> bool {
        (0..PAGES).all(|page| (first..end).contains(&page) || self.get(page) == page + 1)
    }

    /// The words of pagemap.
    pub fn told(&self) -> Result<[u64; PAGES as usize], Error> {
        told::pagemap(self.address)
    }

    /// The frame of a page, if it is in memory.
    pub fn frame(&self, page: u64) -> Result<Option<u64>, Error> {
        let word = self.told()?[page as usize];
        Ok((word & PRESENT != 0).then_some(word & FRAME))
    }

    /// Gives advice about all of it.
    pub fn advise(&self, advice: u64) -> Result<u64, Error> {
        // SAFETY: raw words alone are read of it, whatever they are then.
        unsafe { sys::advise(self.address, PAGES * PAGE, advice) }
    }

    /// Pages all of it out, as far as that can be.
    pub fn page_out(&self) -> Result<u64, Error> {
        self.advise(advice::PAGEOUT)
    }

    /// Changes the protection of all of it.
    pub fn protect(&self, protection: u64) -> Result<u64, Error> {
        // SAFETY: who asks knows what may be done to it then.
        unsafe { sys::protect(self.address, PAGES * PAGE, protection) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it is not used again.
        let _ = unsafe { sys::unmap(self.map, 2 * PAGES * PAGE) };
    }
}
