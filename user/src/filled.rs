//! A private anonymous map with data in every page, for programs that show what becomes of it.

use crate::eprintln;
use crate::pattern::Fill;
use crate::sys::{self, PAGE};

/// What is said of a step that failed: which it was, and the error.
pub type Failure = (&'static str, sys::Error);

/// Words of a page.
const WORDS: usize = PAGE as usize / 8;

/// The map. Dropping it leaves it mapped.
#[derive(Debug)]
pub struct Map {
    address: u64,
    size: u64,
}

impl Map {
    /// A new one, full of the pattern of a round.
    pub fn filled(size: u64, round: u64) -> Result<Self, Failure> {
        let address = sys::map(size, sys::PROT_READ | sys::PROT_WRITE).map_err(|error| ("mmap", error))?;
        let mut map = Self { address, size };
        map.fill(round);
        Ok(map)
    }

    /// A map that was made already, all of which may be read and written, and which nothing else uses.
    pub fn of(address: u64, size: u64) -> Self {
        Self { address, size }
    }

    /// Where it is.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its first bytes, a multiple of a page, and the rest.
    pub fn split(self, bytes: u64) -> (Self, Self) {
        (Self { size: bytes, ..self }, Self { address: self.address + bytes, size: self.size - bytes })
    }

    /// Fills all of it with the pattern of a round.
    pub fn fill(&mut self, round: u64) {
        Fill::Pattern.write(self.words(), 0, round);
    }

    /// Its words, by page.
    pub fn pages(&mut self) -> impl Iterator<Item = &mut [u64]> {
        self.words().chunks_mut(WORDS)
    }

    fn words(&mut self) -> &mut [u64] {
        // SAFETY: the map is this long and may be read and written whenever this is called, and nothing else uses it.
        unsafe { core::slice::from_raw_parts_mut(self.address as *mut u64, self.size as usize / 8) }
    }

    /// Reads one word of each page.
    pub fn read_each_page(&self) {
        for page in (self.address..self.address + self.size).step_by(PAGE as usize) {
            // SAFETY: inside of the map, which may be read.
            let _ = unsafe { (page as *const u64).read_volatile() };
        }
    }

    /// Compares every byte with the pattern of a round.
    pub fn check(&mut self, round: u64) -> Result<(), Failure> {
        self.check_part(round, 0)
    }

    /// The same for what is a part of what was filled, from this byte on.
    pub fn check_part(&mut self, round: u64, from: u64) -> Result<(), Failure> {
        match Fill::Pattern.first_wrong(self.words(), from / 8, round) {
            None => Ok(()),
            Some((place, expected, found)) => {
                eprintln!("byte {place:#x} is {found:#04x}, must be {expected:#04x}");
                Err(("the comparison", sys::Error(0)))
            }
        }
    }

    /// Gives the kernel advice about all of it.
    pub fn advise(&self, what: &'static str, advice: u64) -> Result<(), Failure> {
        self.advise_part(what, advice, 0, self.size)
    }

    /// Gives the kernel advice about a part. What that does to the contents is the caller's to know.
    pub fn advise_part(&self, what: &'static str, advice: u64, from: u64, length: u64) -> Result<(), Failure> {
        self.try_advise(advice, from, length).map_err(|error| (what, error))
    }

    /// The same, where it may be refused.
    pub fn try_advise(&self, advice: u64, from: u64, length: u64) -> Result<(), sys::Error> {
        // SAFETY: the map's own memory, which is plain data: any contents are sound.
        unsafe { sys::advise(self.address + from, length, advice) }.map(|_| ())
    }

    /// Unmaps a part, which nobody may use again; it may be refused.
    pub fn try_unmap_part(&self, from: u64, length: u64) -> Result<(), sys::Error> {
        // SAFETY: the caller's word.
        unsafe { sys::unmap(self.address + from, length) }.map(|_| ())
    }

    /// Changes its protection.
    pub fn protect(&self, protection: u64) -> Result<(), Failure> {
        // SAFETY: who reads or writes it has made that possible before.
        unsafe { sys::protect(self.address, self.size, protection) }.map(|_| ()).map_err(|error| ("mprotect", error))
    }

    /// Moves it to `to`, in place of what is there.
    pub fn relocate(&mut self, to: u64) -> Result<(), Failure> {
        const MAYMOVE_FIXED: u64 = 3;
        // SAFETY: nothing refers to the old place, and the caller has the new one.
        let moved = unsafe { sys::remap(self.address, self.size, self.size, MAYMOVE_FIXED, to) };
        self.address = moved.map_err(|error| ("mremap", error))?;
        Ok(())
    }

    /// Unmaps it.
    pub fn unmap(self) -> Result<(), Failure> {
        // SAFETY: the map is given up.
        unsafe { sys::unmap(self.address, self.size) }.map(|_| ()).map_err(|error| ("munmap", error))
    }
}
