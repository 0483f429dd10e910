//! Memory files as programs have them: `memfd_create`.

use core::sync::atomic::{AtomicU64, Ordering};

use mm::{Errno, OpenFile};

use super::file::{File, Kind, Stat};

/// A memory file that is open.
pub struct MemoryFile {
    file: OpenFile<'static>,
    inode: u64,
}

impl MemoryFile {
    /// A new one, without a byte.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let file = crate::memory().open_file(0)?;
        Ok(Self { file, inode: NEXT.fetch_add(1, Ordering::Relaxed) })
    }
}

impl File for MemoryFile {
    fn stat(&self) -> Stat {
        let size = self.file.size();
        Stat { kind: Kind::Regular, permissions: 0o777, inode: self.inode, size, device: (0, 0) }
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<usize, Errno> {
        Ok(self.file.read(at, into))
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
