//! Futexes, and what is made of them: a lock and a condition, which take the ways through the kernel that those of the C libraries take.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::sys::{Error, call, error, number};

/// What is asked for, with Linux's numbers; with PRIVATE for threads of one process.
#[expect(missing_docs, reason = "the names are Linux's own")]
pub mod operation {
    pub const WAIT: u64 = 0;
    pub const WAKE: u64 = 1;
    pub const REQUEUE: u64 = 3;
    pub const CMP_REQUEUE: u64 = 4;
    pub const WAIT_BITSET: u64 = 9;
    pub const WAKE_BITSET: u64 = 10;
    pub const PRIVATE: u64 = 128;
}

/// The system call: word, operation, value, timeout or count, other word, third value.
///
/// # Errors
/// Those of `futex`.
pub fn futex(
    word: &AtomicU32,
    operation: u64,
    value: u32,
    fourth: u64,
    other: Option<&AtomicU32>,
    third: u32,
) -> Result<u64, Error> {
    let address = |word: &AtomicU32| word.as_ptr().addr() as u64;
    let other = other.map_or(0, address);
    // SAFETY: the kernel reads the word, and the time if the fourth argument is the address of one.
    unsafe { call(number::FUTEX, [address(word), operation, value.into(), fourth, other, third.into()]) }
}

/// Waits until the word is woken, if it is `value`; also returns when it is not, or for a signal.
///
/// # Errors
/// Others of `futex`.
pub fn wait(word: &AtomicU32, value: u32) -> Result<(), Error> {
    looks_again(futex(word, operation::WAIT | operation::PRIVATE, value, 0, None, 0))
}

/// The same for a word that other processes may wake, or the kernel.
///
/// # Errors
/// As [`wait`].
pub fn wait_shared(word: &AtomicU32, value: u32) -> Result<(), Error> {
    looks_again(futex(word, operation::WAIT, value, 0, None, 0))
}

fn looks_again(outcome: Result<u64, Error>) -> Result<(), Error> {
    match outcome {
        Ok(_) | Err(Error(error::EAGAIN | error::EINTR)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Waits up to so many nanoseconds.
///
/// # Errors
/// Those of `futex`.
pub fn wait_for(word: &AtomicU32, value: u32, nanoseconds: u64) -> Result<u64, Error> {
    const SECOND: u64 = 1_000_000_000;
    let span = [nanoseconds / SECOND, nanoseconds % SECOND];
    futex(word, operation::WAIT | operation::PRIVATE, value, span.as_ptr().addr() as u64, None, 0)
}

/// Wakes up to `most` waiters; how many.
///
/// # Errors
/// Those of `futex`.
pub fn wake(word: &AtomicU32, most: u32) -> Result<u64, Error> {
    futex(word, operation::WAKE | operation::PRIVATE, most, 0, None, 0)
}

/// A lock: 0 free, 1 held, 2 held and waited for.
#[derive(Debug)]
pub struct Lock(AtomicU32);

impl Lock {
    /// A free one.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Takes it.
    pub fn lock(&self) {
        if self.0.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.lock_waited_for();
        }
    }

    fn lock_waited_for(&self) {
        while self.0.swap(2, Ordering::Acquire) != 0 {
            let waited = wait(&self.0, 2);
            assert!(waited.is_ok(), "a lock: {waited:?}");
        }
    }

    /// Gives it back.
    pub fn unlock(&self) {
        if self.0.swap(0, Ordering::Release) == 2 {
            let woken = wake(&self.0, 1);
            assert!(woken.is_ok(), "a lock: {woken:?}");
        }
    }
}

impl Default for Lock {
    fn default() -> Self {
        Self::new()
    }
}

/// A condition that threads wait for with a lock held.
#[derive(Debug)]
pub struct Condition(AtomicU32);

impl Condition {
    /// One that nobody waits for.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Gives the lock back, waits until somebody signals, and takes it again; it may also return for no reason.
    pub fn wait(&self, lock: &Lock) {
        let turn = self.0.load(Ordering::Relaxed);
        lock.unlock();
        let waited = wait(&self.0, turn);
        assert!(waited.is_ok(), "a condition: {waited:?}");
        // Others may have been put into the lock's queue with this one.
        lock.lock_waited_for();
    }

    /// Has all waiters go on, one at a time: one is woken, the others wait for the lock. The caller holds it.
    pub fn signal_all(&self, lock: &Lock) {
        let turn = self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        // So that unlocking wakes whoever is moved there.
        lock.0.store(2, Ordering::Relaxed);
        let all = u64::from(i32::MAX as u32);
        let done = futex(&self.0, operation::CMP_REQUEUE | operation::PRIVATE, 1, all, Some(&lock.0), turn);
        assert!(done.is_ok(), "a condition: {done:?}");
    }
}

impl Default for Condition {
    fn default() -> Self {
        Self::new()
    }
}
