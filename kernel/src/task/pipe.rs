//! Pipes: bytes in order from one end to the other, in the kernel's memory.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mm::Errno;

use super::wait::WaitQueue;
use crate::arch::cpu::SpinLock;
use crate::machine::machine;

/// Bytes that a pipe takes, as on Linux.
pub const CAPACITY: usize = 64 << 10;
/// Up to so many bytes are written as one (PIPE_BUF).
pub const ATOMIC: usize = 4096;
/// Full pipes may take this part of the heap.
const SHARE: u64 = 8;

static PIPES: AtomicUsize = AtomicUsize::new(0);

struct Pipe {
    state: SpinLock<State>,
    /// Readers wait here for bytes.
    readers: WaitQueue,
    /// Writers wait here for room.
    writers: WaitQueue,
}

struct State {
    bytes: VecDeque<u8>,
    is_read: bool,
    is_written: bool,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        PIPES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The end that is read; closed when it is dropped.
pub struct Reader {
    pipe: Arc<Pipe>,
    /// O_NONBLOCK.
    pub never_waits: AtomicBool,
}

/// The end that is written; closed when it is dropped.
pub struct Writer {
    pipe: Arc<Pipe>,
    /// O_NONBLOCK.
    pub never_waits: AtomicBool,
}

/// What a pipe is good for at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ready {
    /// For as many bytes.
    For(usize),
    /// For none, as the other end is closed.
    Closed,
    /// For none yet.
    NotYet,
}

/// Both ends of a new pipe.
///
/// # Errors
/// `ENFILE` if there are too many pipes for the heap.
pub fn new(never_waits: bool) -> Result<(Reader, Writer), Errno> {
    let most = (machine().heap.size() / SHARE / CAPACITY as u64) as usize;
    if PIPES.fetch_add(1, Ordering::Relaxed) >= most {
        PIPES.fetch_sub(1, Ordering::Relaxed);
        return Err(Errno::ENFILE);
    }
    let pipe = Arc::new(Pipe {
        state: SpinLock::new(State { bytes: VecDeque::new(), is_read: true, is_written: true }),
        readers: WaitQueue::new("for bytes in a pipe"),
        writers: WaitQueue::new("for room in a pipe"),
    });
    let reader = Reader { pipe: pipe.clone(), never_waits: AtomicBool::new(never_waits) };
    Ok((reader, Writer { pipe, never_waits: AtomicBool::new(never_waits) }))
}

impl Reader {
    /// Whether there is something to read.
    pub fn ready(&self) -> Ready {
        let state = self.pipe.state.lock();
        match state.bytes.len() {
            0 if state.is_written => Ready::NotYet,
            0 => Ready::Closed,
            count => Ready::For(count),
        }
    }

    /// Takes the first bytes, at most `most`.
    pub fn take(&self, most: usize) -> Vec<u8> {
        let mut state = self.pipe.state.lock();
        let count = most.min(state.bytes.len());
        let bytes = state.bytes.drain(..count).collect();
        drop(state);
        self.pipe.writers.wake_all();
        bytes
    }

    /// Puts bytes back that nobody could take after all.
    pub fn put_back(&self, bytes: &[u8]) {
        let mut state = self.pipe.state.lock();
        bytes.iter().rev().for_each(|&byte| state.bytes.push_front(byte));
    }

    /// Where one waits until it is ready.
    pub fn queue(&self) -> &WaitQueue {
        &self.pipe.readers
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.pipe.state.lock().is_read = false;
        self.pipe.writers.wake_all();
    }
}

impl Writer {
    /// Whether there is room.
    pub fn ready(&self) -> Ready {
        let state = self.pipe.state.lock();
        match CAPACITY.saturating_sub(state.bytes.len()) {
            _ if !state.is_read => Ready::Closed,
            0 => Ready::NotYet,
            room => Ready::For(room),
        }
    }

    /// Puts bytes in, for which there is room.
    pub fn put(&self, bytes: &[u8]) {
        self.pipe.state.lock().bytes.extend(bytes);
        self.pipe.readers.wake_all();
    }

    /// Where one waits until it is ready.
    pub fn queue(&self) -> &WaitQueue {
        &self.pipe.writers
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.pipe.state.lock().is_written = false;
        self.pipe.readers.wake_all();
    }
}
