//! Open directories: the names that were there when it was opened.

use alloc::vec::Vec;

use mm::Errno;

use crate::task::file::{Entry, File, Stat};

/// A directory.
pub struct OpenDirectory {
    /// What it is.
    pub stat: Stat,
    /// What it has, `.` and `..` among it.
    pub entries: Vec<Entry>,
}

impl File for OpenDirectory {
    fn stat(&self) -> Stat {
        self.stat
    }

    fn read(&self, _: u64, _: &mut [u8]) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    /// Positions are those of its entries.
    fn end(&self) -> Option<u64> {
        Some(self.entries.len() as u64)
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        Ok(self.entries.clone())
    }
}
