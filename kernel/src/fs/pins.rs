//! `/dev/pins`: a device that a program gives its pages to, and that writes to them and reads them later by their physical addresses, as
//! one with DMA does (reference 4.23).
//!
//! An open file holds one range, from [`PIN_TO_READ`] or [`PIN_TO_WRITE`] to [`UNPIN`] or until nobody has the file any more. A position
//! in the file is an offset into that range. What the program does to its memory meanwhile makes no difference to the device.

use mm::{Errno, Pinned};
use mmu::PAGE_SIZE;

use crate::arch::cpu::SpinLock;
use crate::arch::uaccess;
use crate::heap::{Claim, Share};
use crate::task::Process;
use crate::task::file::{File, Kind, Stat};

/// Pins the range whose address and length, two words, the argument points to; the device will only read it. As `_IOW('p', 1, 16)`.
const PIN_TO_READ: u32 = 0x4010_7001;
/// The same, and the device will write there as well.
const PIN_TO_WRITE: u32 = 0x4010_7002;
/// Gives the range back. As `_IO('p', 3)`.
const UNPIN: u32 = 0x7003;

/// The device, as one open file has it.
#[derive(Default)]
pub struct Pins(SpinLock<Option<Range>>);

/// A range that is pinned.
struct Range {
    pinned: Pinned<'static>,
    is_written: bool,
    /// For the list of its frames.
    _room: Claim,
}

impl Range {
    fn bytes(&self) -> u64 {
        self.pinned.pages() as u64 * PAGE_SIZE
    }

    /// Does `access` to each page of `length` bytes from `at` on, as far as there are some: the page, the offset in it, and how many bytes
    /// are done and how many are next. How many bytes that were.
    fn each_page(&self, at: u64, length: usize, mut access: impl FnMut(usize, usize, usize, usize)) -> usize {
        let length = self.bytes().saturating_sub(at).min(length as u64) as usize;
        let mut done = 0;
        while done < length {
            let position = at + done as u64;
            let offset = position % PAGE_SIZE;
            let count = ((PAGE_SIZE - offset) as usize).min(length - done);
            access((position / PAGE_SIZE) as usize, offset as usize, done, count);
            done += count;
        }
        length
    }
}

impl Pins {
    /// What `stat` tells: a device of those that Linux calls miscellaneous.
    pub const STAT: Stat = Stat { kind: Kind::Character, permissions: 0o600, inode: 10, size: 0, device: (10, 0) };

    fn pin(&self, process: &Process, argument: u64, is_written: bool) -> Result<(), Errno> {
        let mut words = [[0; 8]; 2];
        uaccess::copy_in(words.as_flattened_mut(), argument).map_err(|_| Errno::EFAULT)?;
        let [address, length] = words.map(u64::from_le_bytes);
        if length == 0 || length % PAGE_SIZE != 0 {
            return Err(Errno::EINVAL);
        }
        if self.0.lock().is_some() {
            return Err(Errno::EBUSY);
        }
        let room = usize::try_from(length / PAGE_SIZE * size_of::<u64>() as u64).ok();
        let room = room.and_then(|bytes| Share::Listings.claim(bytes)).ok_or(Errno::ENOMEM)?;
        let pinned = process.space.pin(address, length, is_written)?;
        let mut held = self.0.lock();
        if held.is_some() {
            // Another one was faster, while pages came in.
            return Err(Errno::EBUSY);
        }
        *held = Some(Range { pinned, is_written, _room: room });
        Ok(())
    }

    fn unpin(&self) -> Result<(), Errno> {
        let range = self.0.lock().take();
        range.map(|range| range.pinned.unpin()).ok_or(Errno::EINVAL)
    }
}

impl File for Pins {
    fn stat(&self) -> Stat {
        Self::STAT
    }

    /// What the device sees.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<usize, Errno> {
        let held = self.0.lock();
        let range = held.as_ref().ok_or(Errno::EINVAL)?;
        Ok(range.each_page(at, into.len(), |page, offset, done, count| {
            range.pinned.read(page, offset, &mut into[done..done + count]);
        }))
    }

    /// Has the device write.
    fn write(&self, at: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let held = self.0.lock();
        let range = held.as_ref().ok_or(Errno::EINVAL)?;
        if !range.is_written {
            return Err(Errno::EACCES);
        }
        if at >= range.bytes() {
            return Err(Errno::ENOSPC);
        }
        Ok(range.each_page(at, bytes.len(), |page, offset, done, count| {
            range.pinned.write(page, offset, &bytes[done..done + count]);
        }))
    }

    fn end(&self) -> Option<u64> {
        Some(self.0.lock().as_ref().map_or(0, Range::bytes))
    }

    fn ioctl(&self, process: &mut Process, request: u32, argument: u64) -> Result<u64, Errno> {
        match request {
            PIN_TO_READ => self.pin(process, argument, false)?,
            PIN_TO_WRITE => self.pin(process, argument, true)?,
            UNPIN => self.unpin()?,
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }
}
