//! Futexes: threads wait for a word of their memory to change, and others that have changed it wake them.
//!
//! No wake-up is lost: the word is looked at, and its waiter queued, with nothing between, as a task leaves the CPU only where it says
//! so. Where the word's page is not there, it is brought in first, and the look begins anew.

use alloc::sync::Arc;

use mm::Errno;

use super::futex_queue::FutexQueue;
pub use super::futex_queue::{ANY, Key};
use super::process::{NoUse, Process};
use super::schedule::{self, Task};
use crate::arch::cpu::SpinLock;
use crate::arch::uaccess;

static WAITERS: SpinLock<FutexQueue<Arc<Task>>> = SpinLock::new(FutexQueue::new());

/// Why a wait for a futex has ended without a wake-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotWoken {
    /// It has not begun: the word is another one.
    Changed,
    /// The word can not be read.
    Fault,
    /// A signal, or the time.
    NoUse(NoUse),
}

/// Reads the word at `address`, wherever its page is, and does `act` with it before anybody else runs.
///
/// # Errors
/// `EFAULT`.
pub fn with_word<R>(address: u64, act: impl FnOnce(u32) -> R) -> Result<R, Errno> {
    let mut word = [0; 4];
    while uaccess::without_faults(|| uaccess::copy_in(&mut word, address)).is_err() {
        uaccess::copy_in(&mut word, address).map_err(|_| Errno::EFAULT)?;
    }
    Ok(act(u32::from_le_bytes(word)))
}

/// Sleeps until somebody wakes the futex at `address`, whose key is `key`, with one of `bits`, if the word there is `value`.
///
/// # Errors
/// [`NotWoken`]; the time is over at `deadline`.
pub fn wait(
    process: &Process,
    (address, key): (u64, Key),
    value: u32,
    bits: u32,
    deadline: Option<u64>,
) -> Result<(), NotWoken> {
    let enter = |word| (word == value).then(|| WAITERS.lock().add(key, bits, schedule::current()));
    let number = with_word(address, enter).map_err(|_| NotWoken::Fault)?.ok_or(NotWoken::Changed)?;
    let woken = process.sleep(&[], "for a futex", deadline, || (!WAITERS.lock().waits(number)).then_some(()));
    woken.or_else(|why| if WAITERS.lock().leave(number) { Err(NotWoken::NoUse(why)) } else { Ok(()) })
}

/// Wakes up to `most` that wait for a futex with one of `bits`; how many.
pub fn wake(key: Key, bits: u32, most: usize) -> usize {
    let woken = WAITERS.lock().wake(key, bits, most);
    woken.iter().for_each(schedule::wake);
    woken.len()
}

/// Has up to `most` that wait for one futex wait for another one; how many.
pub fn requeue(from: Key, to: Key, most: usize) -> usize {
    WAITERS.lock().requeue(from, to, most)
}
