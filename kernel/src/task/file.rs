//! Open files: what a descriptor stands for. Its copies share its position and its flags.
//!
//! Each kind of file says how it is read and written at a position, what it is ready for, and what it is. None of that waits or touches a
//! program's memory: `EAGAIN` says "not yet", and the system calls wait and copy.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use mm::Errno;

use super::process::Process;
use super::wait::WaitQueue;

/// How a file was opened, with Linux's values for arm64.
pub mod flags {
    /// O_ACCMODE: reading, writing, or both.
    pub const ACCESS: u32 = 3;
    /// O_WRONLY.
    pub const WRITE_ONLY: u32 = 1;
    /// O_RDWR.
    pub const BOTH: u32 = 2;
    /// O_CREAT.
    pub const CREATE: u32 = 0o100;
    /// O_EXCL.
    pub const EXCLUSIVE: u32 = 0o200;
    /// O_TRUNC.
    pub const TRUNCATE: u32 = 0o1000;
    /// O_APPEND.
    pub const APPEND: u32 = 0o2000;
    /// O_NONBLOCK.
    pub const NONBLOCK: u32 = 0o4000;
    /// O_DIRECTORY.
    pub const DIRECTORY: u32 = 0o4_0000;
    /// O_NOFOLLOW.
    pub const NOFOLLOW: u32 = 0o10_0000;
    /// O_CLOEXEC.
    pub const CLOEXEC: u32 = 0o200_0000;
    /// O_PATH.
    pub const PATH: u32 = 0o1000_0000;
    /// O_TMPFILE, which has O_DIRECTORY in it.
    pub const TEMPORARY: u32 = 0o2000_0000 | DIRECTORY;
}

/// What a file is ready for, with the values of `poll`.
pub mod event {
    /// Something can be read.
    pub const IN: u16 = 1;
    /// Something can be written.
    pub const OUT: u16 = 4;
    /// Something is wrong with it.
    pub const ERROR: u16 = 8;
    /// The other end is closed.
    pub const HUNG_UP: u16 = 0x10;
    /// There is no such descriptor.
    pub const INVALID: u16 = 0x20;
}

/// The kinds of files that there are, as the upper bits of a mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A pipe.
    Pipe = 0o01,
    /// A character device.
    Character = 0o02,
    /// A directory.
    Directory = 0o04,
    /// Bytes.
    Regular = 0o10,
    /// A symbolic link.
    Link = 0o12,
}

/// What `stat` tells.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Who may do what with it.
    pub permissions: u32,
    /// Its number.
    pub inode: u64,
    /// Bytes in it, as far as they are known before it is read.
    pub size: u64,
    /// Which device it stands for: major and minor number.
    pub device: (u32, u32),
}

impl Stat {
    /// `st_mode`.
    pub const fn mode(&self) -> u32 {
        (self.kind as u32) << 12 | self.permissions
    }
}

/// One name in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// What it names.
    pub kind: Kind,
    /// Its number.
    pub inode: u64,
}

/// A kind of file.
pub trait File: Send + Sync {
    /// What it is.
    fn stat(&self) -> Stat;

    /// Fills `into` from position `at` on, as far as there is something; 0 at the end.
    ///
    /// # Errors
    /// `EAGAIN` if there is nothing yet; whoever asks may wait in [`queue`](Self::queue).
    fn read(&self, _at: u64, _into: &mut [u8]) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Takes back the last bytes read, which could not be delivered.
    fn take_back(&self, _bytes: &[u8]) {}

    /// Writes `bytes` at position `at`, or the first of them.
    ///
    /// # Errors
    /// `EAGAIN` if there is no room yet.
    fn write(&self, _at: u64, _bytes: &[u8]) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Where it ends; `None` if it has no positions.
    fn end(&self) -> Option<u64> {
        None
    }

    /// Makes it end elsewhere.
    ///
    /// # Errors
    /// `EINVAL` if that is not its to say.
    fn truncate(&self, _size: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    /// The memory file that it is: what a program can map.
    fn memory(&self) -> Option<&mm::OpenFile<'static>> {
        None
    }

    /// What it is ready for, as [`event`]s.
    fn poll(&self) -> u16 {
        event::IN | event::OUT
    }

    /// Where one waits until it is ready; `None` if it always is.
    fn queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// What a directory has.
    ///
    /// # Errors
    /// `ENOTDIR`.
    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        Err(Errno::ENOTDIR)
    }

    /// What only this kind of file can do.
    ///
    /// # Errors
    /// `ENOTTY` if it can not.
    fn ioctl(&self, _process: &mut Process, _request: u32, _argument: u64) -> Result<u64, Errno> {
        Err(Errno::ENOTTY)
    }
}

/// A file that is open.
pub struct OpenFile {
    /// What it is.
    pub file: Box<dyn File>,
    /// What it was opened by.
    pub path: String,
    flags: AtomicU32,
    position: AtomicU64,
}

impl OpenFile {
    /// Opens a file, at its start.
    pub fn new(file: impl File + 'static, path: &str, flags: u32) -> Arc<Self> {
        Self::boxed(Box::new(file), path, flags)
    }

    /// The same for a kind that is not known.
    pub fn boxed(file: Box<dyn File>, path: &str, flags: u32) -> Arc<Self> {
        const ONCE: u32 = flags::CREATE | flags::EXCLUSIVE | flags::TRUNCATE | flags::CLOEXEC;
        let (flags, position) = (AtomicU32::new(flags & !ONCE), AtomicU64::new(0));
        Arc::new(Self { file, path: path.into(), flags, position })
    }

    /// How it is open.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Changes those flags that can be changed (`F_SETFL`).
    pub fn set_flags(&self, new: u32) {
        const CHANGE: u32 = flags::APPEND | flags::NONBLOCK;
        self.flags.store(self.flags() & !CHANGE | new & CHANGE, Ordering::Relaxed);
    }

    /// Whether it never makes a program wait.
    pub fn never_waits(&self) -> bool {
        self.flags() & flags::NONBLOCK != 0
    }

    /// Whether it may be read.
    pub fn is_read(&self) -> bool {
        self.flags() & flags::ACCESS != flags::WRITE_ONLY && !self.is_path()
    }

    /// Whether it may be written.
    pub fn is_written(&self) -> bool {
        matches!(self.flags() & flags::ACCESS, flags::WRITE_ONLY | flags::BOTH) && !self.is_path()
    }

    fn is_path(&self) -> bool {
        self.flags() & flags::PATH != 0
    }

    /// Where the next read or write starts.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// Says where the next read or write starts.
    pub fn set_position(&self, position: u64) {
        self.position.store(position, Ordering::Relaxed);
    }
}
