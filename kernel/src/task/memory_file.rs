//! Memory files as programs have them: `memfd_create`.

use alloc::format;

use mm::file::Seals;
use mm::{Errno, OpenFile};

use super::file::{File, Kind, Stat};

/// A memory file that is open.
pub struct MemoryFile(OpenFile<'static>);

impl MemoryFile {
    /// A new one, without a byte, sealed from the beginning as `seals` says.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(name: &str, seals: Seals) -> Result<Self, Errno> {
        let file = crate::memory().open_named_file(&format!("/memfd:{name} (deleted)"), 0)?;
        file.set_seals(seals);
        Ok(Self(file))
    }

    /// What `/proc` calls it.
    pub fn path(&self) -> &str {
        self.0.name()
    }
}

impl File for MemoryFile {
    fn stat(&self) -> Stat {
        let (inode, size) = (inode(&self.0), self.0.size());
        Stat { kind: Kind::Regular, permissions: 0o777, inode, size, device: (0, 0) }
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<usize, Errno> {
        self.0.read(at, into)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<usize, Errno> {
        self.0.write(at, bytes)
    }

    fn end(&self) -> Option<u64> {
        Some(self.0.size())
    }

    fn truncate(&self, size: u64) -> Result<(), Errno> {
        self.0.resize(size)
    }

    fn memory(&self) -> Option<&OpenFile<'static>> {
        Some(&self.0)
    }
}

/// The number of a file, which is never 0.
pub fn inode(file: &mm::file::MemoryFile) -> u64 {
    u64::from(file.id().number()) + 1
}
