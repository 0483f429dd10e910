//! Pipes: bytes in order from one end to the other, in the kernel's memory.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::ptr;

use mm::Errno;

use super::file::{File, Kind, Stat, event};
use super::wait::WaitQueue;
use crate::arch::cpu::SpinLock;
use crate::heap::{Claim, Share};

/// Bytes that a pipe takes, as on Linux.
pub const CAPACITY: usize = 64 << 10;
/// Up to so many bytes are written as one (PIPE_BUF).
pub const ATOMIC: usize = 4096;

struct Pipe {
    state: SpinLock<State>,
    /// Readers wait here for bytes.
    readers: WaitQueue,
    /// Writers wait here for room.
    writers: WaitQueue,
    _room: Claim,
}

struct State {
    bytes: VecDeque<u8>,
    is_read: bool,
    is_written: bool,
}

/// The end that is read; closed when it is dropped.
pub struct Reader(Arc<Pipe>);

/// The end that is written; closed when it is dropped.
pub struct Writer(Arc<Pipe>);

/// Both ends of a new pipe.
///
/// # Errors
/// `ENFILE` if there are too many pipes for the heap.
pub fn new() -> Result<(Reader, Writer), Errno> {
    let room = Share::Pipes.claim(CAPACITY).ok_or(Errno::ENFILE)?;
    let pipe = Arc::new(Pipe {
        state: SpinLock::new(State { bytes: VecDeque::new(), is_read: true, is_written: true }),
        readers: WaitQueue::new("for bytes in a pipe"),
        writers: WaitQueue::new("for room in a pipe"),
        _room: room,
    });
    Ok((Reader(pipe.clone()), Writer(pipe)))
}

impl Pipe {
    fn stat(&self) -> Stat {
        let inode = ptr::from_ref(self).addr() as u64 >> 4;
        Stat { kind: Kind::Pipe, permissions: 0o600, inode, size: 0, device: (0, 0) }
    }
}

impl File for Reader {
    fn stat(&self) -> Stat {
        self.0.stat()
    }

    /// Takes the first bytes.
    fn read(&self, _: u64, into: &mut [u8]) -> Result<usize, Errno> {
        let mut state = self.0.state.lock();
        if state.bytes.is_empty() && state.is_written {
            return Err(Errno::EAGAIN);
        }
        let count = into.len().min(state.bytes.len());
        for (to, byte) in into.iter_mut().zip(state.bytes.drain(..count)) {
            *to = byte;
        }
        drop(state);
        self.0.writers.wake_all();
        Ok(count)
    }

    fn take_back(&self, bytes: &[u8]) {
        let mut state = self.0.state.lock();
        bytes.iter().rev().for_each(|&byte| state.bytes.push_front(byte));
    }

    fn poll(&self) -> u16 {
        let state = self.0.state.lock();
        let is_full = if state.bytes.is_empty() { 0 } else { event::IN };
        is_full | if state.is_written { 0 } else { event::HUNG_UP }
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.readers)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.state.lock().is_read = false;
        self.0.writers.wake_all();
    }
}

impl File for Writer {
    fn stat(&self) -> Stat {
        self.0.stat()
    }

    /// Puts bytes in: up to [`ATOMIC`] of them whole or not at all, of more as many as there is room for.
    fn write(&self, _: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let mut state = self.0.state.lock();
        if !state.is_read {
            return Err(Errno::EPIPE);
        }
        let room = CAPACITY.saturating_sub(state.bytes.len());
        let least = if bytes.len() <= ATOMIC { bytes.len() } else { 1 };
        if room < least {
            return Err(Errno::EAGAIN);
        }
        let count = room.min(bytes.len());
        state.bytes.extend(&bytes[..count]);
        drop(state);
        self.0.readers.wake_all();
        Ok(count)
    }

    fn poll(&self) -> u16 {
        let state = self.0.state.lock();
        match CAPACITY.saturating_sub(state.bytes.len()) {
            _ if !state.is_read => event::OUT | event::ERROR,
            0 => 0,
            _ => event::OUT,
        }
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.writers)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.state.lock().is_written = false;
        self.0.readers.wake_all();
    }
}
