//! Files whose content is made when it is read: at position 0 anew, further on as it was then, so that who reads in pieces reads one
//! state. And files whose content does not change.

use alloc::boxed::Box;
use alloc::vec::Vec;

use mm::Errno;

use crate::arch::cpu::SpinLock;
use crate::task::file::{File, Stat};

/// Makes a content.
pub type Make = Box<dyn Fn() -> Vec<u8> + Send + Sync>;
/// Takes what a program writes.
pub type Take = fn(&[u8]) -> Result<(), Errno>;

/// A file whose content is made when it is read.
pub struct Text {
    /// What it is.
    pub stat: Stat,
    /// What makes its content.
    pub make: Make,
    /// What takes what is written to it, if something does.
    pub take: Option<Take>,
    /// What it was last.
    pub last: SpinLock<Option<Vec<u8>>>,
}

impl File for Text {
    fn stat(&self) -> Stat {
        self.stat
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<usize, Errno> {
        // Made without the lock: it may have to wait for a lock of memory management.
        let made = (at == 0 || self.last.lock().is_none()).then(|| (self.make)());
        let mut last = self.last.lock();
        if made.is_some() {
            *last = made;
        }
        Ok(copy(last.as_deref().unwrap_or_default(), at, into))
    }

    fn write(&self, _: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let take = self.take.ok_or(Errno::EINVAL)?;
        take(bytes).map(|()| bytes.len())
    }

    fn end(&self) -> Option<u64> {
        Some(0)
    }
}

/// A file whose content does not change.
pub struct Bytes {
    /// What it is.
    pub stat: Stat,
    /// Its content.
    pub bytes: &'static [u8],
}

impl File for Bytes {
    fn stat(&self) -> Stat {
        self.stat
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<usize, Errno> {
        Ok(copy(self.bytes, at, into))
    }

    fn end(&self) -> Option<u64> {
        Some(self.bytes.len() as u64)
    }
}

/// Copies what there is from a position on; how much.
fn copy(bytes: &[u8], at: u64, into: &mut [u8]) -> usize {
    let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
    let count = rest.len().min(into.len());
    into[..count].copy_from_slice(&rest[..count]);
    count
}
