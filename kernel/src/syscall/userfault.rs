//! userfaultfd: its descriptor, with Linux's requests and structures. What a monitor is, is in `task::userfault`.

use alloc::boxed::Box;
use alloc::sync::Arc;

use mm::Errno;
use mm::uffd::Contents;
use mm::vma::AreaFlags;

use super::descriptors::give;
use super::{Arguments, Call, Outcome, call, user};
use crate::task::Process;
use crate::task::WaitQueue;
use crate::task::file::{File, Kind, OpenFile, Stat, event, flags};
use crate::task::userfault::{self, Monitor};

pub const CALLS: &[Call] = &[call(282, userfaultfd)];

const PAGE: u64 = 4096;

/// Requests, with Linux's numbers.
mod request {
    pub const API: u32 = 0xC018_AA3F;
    pub const REGISTER: u32 = 0xC020_AA00;
    pub const UNREGISTER: u32 = 0x8010_AA01;
    pub const WAKE: u32 = 0x8010_AA02;
    pub const COPY: u32 = 0xC028_AA03;
    pub const ZEROPAGE: u32 = 0xC020_AA04;
    pub const WRITEPROTECT: u32 = 0xC018_AA06;

    /// The bit of a request in the sets of those that there are.
    pub const fn bit(request: u32) -> u64 {
        1 << (request & 0xff)
    }
}

fn userfaultfd(process: &mut Process, &[flags, ..]: &Arguments) -> Outcome {
    const USER_MODE_ONLY: u32 = 1;
    let flags = flags as u32;
    if flags & !(flags::CLOEXEC | flags::NONBLOCK | USER_MODE_ONLY) != 0 {
        return Err(Errno::EINVAL);
    }
    let file = Descriptor(Monitor::new(process, flags & USER_MODE_ONLY == 0)?);
    give(process, OpenFile::new(file, "anon_inode:[userfaultfd]", flags & !USER_MODE_ONLY | flags::BOTH), flags)
}

/// The descriptor of a monitor; the monitor ends with it.
struct Descriptor(Arc<Monitor>);

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl File for Descriptor {
    fn stat(&self) -> Stat {
        Stat { kind: Kind::Regular, permissions: 0o600, inode: 1, size: 0, device: (0, 0) }
    }

    /// As many messages as there are and fit.
    fn read(&self, _: u64, into: &mut [u8]) -> Result<usize, Errno> {
        const MESSAGE: usize = 32;
        const PAGE_FAULT: u8 = 0x12;
        if !self.0.is_ready() || into.len() < MESSAGE {
            return Err(Errno::EINVAL);
        }
        let mut done = 0;
        for message in into.chunks_exact_mut(MESSAGE) {
            let Some(notice) = self.0.next_question() else { break };
            message.fill(0);
            message[0] = PAGE_FAULT;
            message[8..16].copy_from_slice(&userfault::flags(&notice).to_le_bytes());
            message[16..24].copy_from_slice(&notice.address.as_u64().to_le_bytes());
            done += MESSAGE;
        }
        if done == 0 { Err(Errno::EAGAIN) } else { Ok(done) }
    }

    fn poll(&self) -> u16 {
        match self.0.is_ready() {
            false => event::ERROR,
            true if self.0.is_asked() => event::IN,
            true => 0,
        }
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.readers)
    }

    fn ioctl(&self, _: &mut Process, request: u32, argument: u64) -> Outcome {
        let monitor = &*self.0;
        if request == request::API {
            return agree(monitor, argument);
        }
        if !monitor.is_ready() {
            return Err(Errno::EINVAL);
        }
        match request {
            request::REGISTER => register(monitor, argument),
            request::UNREGISTER => monitor.unregister(read_range(argument)?).map(|()| 0),
            request::WAKE => {
                monitor.wake(checked(read_range(argument)?)?);
                Ok(0)
            }
            request::COPY => copy(monitor, argument),
            request::ZEROPAGE => zeropage(monitor, argument),
            request::WRITEPROTECT => writeprotect(monitor, argument),
            _ => Err(Errno::EINVAL),
        }
    }
}

fn read_range(from: u64) -> Result<(u64, u64), Errno> {
    let [start, length] = user::read_words(from)?;
    Ok((start, length))
}

/// The same range, if it is in whole pages.
fn checked((start, length): (u64, u64)) -> Result<(u64, u64), Errno> {
    let fits = (start | length) % PAGE == 0 && length > 0 && start.checked_add(length).is_some();
    if fits { Ok((start, length)) } else { Err(Errno::EINVAL) }
}

/// Features, with Linux's numbers.
mod feature {
    /// Messages tell a write to what is protected from a first touch.
    const PAGEFAULT_FLAG_WP: u64 = 1 << 0;
    /// First touches of huge pages are watched.
    const MISSING_HUGETLBFS: u64 = 1 << 4;
    /// First touches of memory files are watched.
    const MISSING_SHMEM: u64 = 1 << 5;
    /// Writes to either are watched.
    const WP_HUGETLBFS_SHMEM: u64 = 1 << 12;

    pub const ALL: u64 = PAGEFAULT_FLAG_WP | MISSING_HUGETLBFS | MISSING_SHMEM | WP_HUGETLBFS_SHMEM;
}

/// Agrees on the version, and on features.
fn agree(monitor: &Monitor, at: u64) -> Outcome {
    const VERSION: u64 = 0xAA;
    const REQUESTS: u64 = request::bit(request::REGISTER) | request::bit(request::UNREGISTER) | 1 << 0x3F;
    let [version, features, _] = user::read_words(at)?;
    if version != VERSION || features & !feature::ALL != 0 || !monitor.make_ready() {
        user::write_words(at, [0; 3])?;
        return Err(Errno::EINVAL);
    }
    user::write_words(at, [VERSION, feature::ALL, REQUESTS])?;
    Ok(0)
}

fn register(monitor: &Monitor, at: u64) -> Outcome {
    const MISSING: u64 = 1;
    const PROTECTED: u64 = 2;
    const REQUESTS: u64 = request::bit(request::WAKE) | request::bit(request::COPY);
    let [start, length, mode, _] = user::read_words(at)?;
    if mode == 0 || mode & !(MISSING | PROTECTED) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut modes = AreaFlags::empty();
    modes.set(AreaFlags::UFFD_MISSING, mode & MISSING != 0);
    modes.set(AreaFlags::UFFD_WP, mode & PROTECTED != 0);
    monitor.register((start, length), modes)?;
    let protects = if mode & PROTECTED != 0 { request::bit(request::WRITEPROTECT) } else { 0 };
    // There is no huge page of zeros.
    let is_huge = crate::memory().uffd_meets_huge(monitor.space()?.inner(), (start, length));
    let zeros = if is_huge { 0 } else { request::bit(request::ZEROPAGE) };
    user::write_words(at.wrapping_add(24), [REQUESTS | protects | zeros])?;
    Ok(0)
}

/// A mode of requests that fill pages: nobody is woken.
const DONT_WAKE: u64 = 1;

fn copy(monitor: &Monitor, at: u64) -> Outcome {
    const PROTECT: u64 = 2;
    let [to, from, length, mode, _] = user::read_words(at)?;
    if mode & !(DONT_WAKE | PROTECT) != 0 || from.checked_add(length).is_none() {
        return Err(Errno::EINVAL);
    }
    let mut page = Box::new([0; PAGE as usize]);
    fill(monitor, (to, length), mode & DONT_WAKE == 0, at.wrapping_add(32), |space, done| {
        let is_protected = mode & PROTECT != 0;
        let unit = crate::memory().uffd_unit(space, to + done);
        if unit > PAGE {
            if length - done < unit {
                return Err(Errno::EINVAL);
            }
            let read = |page, bytes: &mut [u8; PAGE as usize]| {
                user::read_bytes(&mut bytes[..], from + done + page as u64 * PAGE)
            };
            crate::memory().uffd_fill_huge(space, to + done, is_protected, read)?;
            return Ok(unit);
        }
        user::read_bytes(&mut page[..], from + done)?;
        let contents = if is_protected { Contents::Protected(&page) } else { Contents::Bytes(&page) };
        crate::memory().uffd_fill(space, to + done, contents).map(|()| PAGE)
    })
}

fn zeropage(monitor: &Monitor, at: u64) -> Outcome {
    let [start, length, mode, _] = user::read_words(at)?;
    if mode & !DONT_WAKE != 0 {
        return Err(Errno::EINVAL);
    }
    fill(monitor, (start, length), mode & DONT_WAKE == 0, at.wrapping_add(24), |space, done| {
        crate::memory().uffd_fill(space, start + done, Contents::Zero).map(|()| PAGE)
    })
}

/// Fills a range page by page, as large as `fill_page` says, wakes who sleeps for what was filled, and says at `answer_at` how far it
/// came: `EAGAIN` if not to the end.
fn fill(
    monitor: &Monitor,
    range: (u64, u64),
    wakes: bool,
    answer_at: u64,
    mut fill_page: impl FnMut(&Arc<mm::Space>, u64) -> Result<u64, Errno>,
) -> Outcome {
    let (start, length) = checked(range)?;
    let space = monitor.space()?;
    let mut done = 0;
    let mut result = Ok(());
    while done < length && result.is_ok() {
        let filled = fill_page(space.inner(), done);
        done += filled.unwrap_or(0);
        result = filled.map(drop);
    }
    let answer = match result {
        Err(error) if done == 0 => (-i64::from(error.number())) as u64,
        _ => done,
    };
    user::write_words(answer_at, [answer])?;
    if wakes && done > 0 {
        monitor.wake((start, done));
    }
    match result {
        Err(error) if done == 0 => Err(error),
        Err(_) => Err(Errno::EAGAIN),
        Ok(()) => Ok(0),
    }
}

fn writeprotect(monitor: &Monitor, at: u64) -> Outcome {
    const PROTECT: u64 = 1;
    const DONT_WAKE: u64 = 2;
    let [start, length, mode] = user::read_words(at)?;
    if mode & !(PROTECT | DONT_WAKE) != 0 || mode == PROTECT | DONT_WAKE {
        return Err(Errno::EINVAL);
    }
    crate::memory().uffd_protect(monitor.space()?.inner(), (start, length), mode & PROTECT != 0)?;
    if mode == 0 {
        monitor.wake((start, length));
    }
    Ok(0)
}
