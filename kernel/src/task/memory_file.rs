//! Memory files as programs have them: `memfd_create`, and files in `/tmp` that have no name.

use alloc::format;

use mm::file::Seals;
use mm::{Errno, OpenFile};

use super::file::{File, Kind, Stat};

/// A memory file that is open.
pub struct MemoryFile {
    file: OpenFile<'static>,
    permissions: u32,
}

impl MemoryFile {
    /// A new one, without a byte, sealed from the beginning as `seals` says.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(name: &str, seals: Seals) -> Result<Self, Errno> {
        let file = Self::unlinked(&format!("/memfd:{name} (deleted)"), 0o777)?;
        file.file.set_seals(seals);
        Ok(file)
    }

    /// One that no path leads to, whatever `path` it is shown by, without a byte.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn unlinked(path: &str, permissions: u32) -> Result<Self, Errno> {
        Ok(Self { file: crate::memory().open_named_file(path, 0)?, permissions })
    }

    /// What `/proc` calls it.
    pub fn path(&self) -> &str {
        self.file.name()
    }
}

impl File for MemoryFile {
    fn stat(&self) -> Stat {
        let (inode, size) = (inode(&self.file), self.file.size());
        Stat { kind: Kind::Regular, permissions: self.permissions, inode, size, device: (0, 0) }
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<usize, Errno> {
        self.file.read(at, into)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<usize, Errno> {
        self.file.write(at, bytes)
    }

    fn end(&self) -> Option<u64> {
        Some(self.file.size())
    }

    fn truncate(&self, size: u64) -> Result<(), Errno> {
        self.file.resize(size)
    }

    fn memory(&self) -> Option<&OpenFile<'static>> {
        Some(&self.file)
    }
}

/// The number of a file, which is never 0.
pub fn inode(file: &mm::file::MemoryFile) -> u64 {
    u64::from(file.id().number()) + 1
}
