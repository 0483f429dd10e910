//! Memory files, as system calls have them.

use core::ffi::CStr;

use crate::sys::{self, Error, call, number};

/// MAP_SHARED.
pub const SHARED: u64 = 1;
/// MAP_PRIVATE.
pub const PRIVATE: u64 = 2;
/// MAP_ANONYMOUS.
const ANONYMOUS: u64 = 0x20;

/// SEEK_DATA.
pub const DATA: u64 = 3;
/// SEEK_HOLE.
pub const HOLE: u64 = 4;
/// FALLOC_FL_KEEP_SIZE.
pub const KEEP_SIZE: u64 = 1;
/// FALLOC_FL_PUNCH_HOLE.
pub const PUNCH_HOLE: u64 = 2;

/// A memory file that is open. Dropping it leaves it open.
#[derive(Clone, Copy, Debug)]
pub struct MemoryFile(pub i32);

impl MemoryFile {
    /// A new one of so many bytes.
    pub fn new(name: &CStr, size: u64) -> Result<Self, Error> {
        Self::create(name, 0, size)
    }

    /// The same for one that can be sealed.
    pub fn sealable(name: &CStr, size: u64) -> Result<Self, Error> {
        const ALLOW_SEALING: u64 = 2;
        Self::create(name, ALLOW_SEALING, size)
    }

    fn create(name: &CStr, flags: u64, size: u64) -> Result<Self, Error> {
        // SAFETY: the kernel only reads the name.
        let descriptor = unsafe { call(number::MEMFD_CREATE, [name.as_ptr().addr() as u64, flags, 0, 0, 0, 0]) }?;
        let file = Self(descriptor as i32);
        file.resize(size)?;
        Ok(file)
    }

    /// ftruncate.
    pub fn resize(self, size: u64) -> Result<(), Error> {
        // SAFETY: touches no memory but maps of the file, of which raw bytes alone are read.
        unsafe { call(number::FTRUNCATE, [self.0 as u64, size, 0, 0, 0, 0]) }.map(|_| ())
    }

    /// lseek to `offset` from the end: where that is.
    pub fn seek_end(self, offset: u64) -> Result<u64, Error> {
        const SEEK_END: u64 = 2;
        self.seek(offset, SEEK_END)
    }

    /// lseek.
    pub fn seek(self, offset: u64, whence: u64) -> Result<u64, Error> {
        // SAFETY: touches no memory.
        unsafe { call(number::LSEEK, [self.0 as u64, offset, whence, 0, 0, 0]) }
    }

    /// fallocate.
    pub fn allocate(self, mode: u64, offset: u64, length: u64) -> Result<(), Error> {
        // SAFETY: touches no memory but maps of the file, of which raw bytes alone are read.
        unsafe { call(number::FALLOCATE, [self.0 as u64, mode, offset, length, 0, 0]) }.map(|_| ())
    }

    /// fcntl with F_ADD_SEALS.
    pub fn seal(self, seals: u64) -> Result<(), Error> {
        // SAFETY: touches no memory.
        unsafe { call(number::FCNTL, [self.0 as u64, 1033, seals, 0, 0, 0]) }.map(|_| ())
    }

    /// fcntl with F_GET_SEALS.
    pub fn seals(self) -> Result<u64, Error> {
        // SAFETY: touches no memory.
        unsafe { call(number::FCNTL, [self.0 as u64, 1034, 0, 0, 0, 0]) }
    }

    /// `st_size`.
    pub fn size(self) -> Result<u64, Error> {
        let mut stat = [0u64; 16];
        // SAFETY: `stat` is as long as Linux's.
        unsafe { call(number::FSTAT, [self.0 as u64, stat.as_mut_ptr().addr() as u64, 0, 0, 0, 0]) }?;
        Ok(stat[6])
    }

    /// pread64 to an address.
    ///
    /// # Safety
    /// What is there may be overwritten.
    pub unsafe fn read_to(self, at: u64, address: u64, length: u64) -> Result<u64, Error> {
        // SAFETY: the caller's duty.
        unsafe { call(number::PREAD64, [self.0 as u64, address, length, at, 0, 0]) }
    }

    /// The word at `at`.
    pub fn word(self, at: u64) -> Result<u64, Error> {
        let mut word = 0u64;
        // SAFETY: the word is overwritten.
        let read = unsafe { self.read_to(at, (&raw mut word).addr() as u64, 8) }?;
        if read == 8 { Ok(word) } else { Err(Error(0)) }
    }

    /// pwrite64 of a word.
    pub fn set_word(self, at: u64, word: u64) -> Result<u64, Error> {
        // SAFETY: the kernel only reads the word.
        unsafe { call(number::PWRITE64, [self.0 as u64, (&raw const word).addr() as u64, 8, at, 0, 0]) }
    }

    /// A map from `offset` on, readable and writable.
    pub fn map(self, length: u64, kind: u64, offset: u64) -> Result<u64, Error> {
        // SAFETY: a new map, at an address that the kernel chooses, overlays nothing.
        unsafe { call(number::MMAP, [0, length, sys::PROT_READ | sys::PROT_WRITE, kind, self.0 as u64, offset]) }
    }
}

/// New memory that children share.
pub fn map_shared(length: u64) -> Result<u64, Error> {
    // SAFETY: as above.
    unsafe { call(number::MMAP, [0, length, sys::PROT_READ | sys::PROT_WRITE, SHARED | ANONYMOUS, u64::MAX, 0]) }
}

/// msync with MS_SYNC.
pub fn sync(address: u64, length: u64) -> Result<u64, Error> {
    // SAFETY: changes no memory.
    unsafe { call(number::MSYNC, [address, length, 4, 0, 0, 0]) }
}
