//! What a thread does at its end for others that wait for it: a word becomes 0 and its futex is woken, by which others join it, and
//! locks that it still holds are marked as given up (robust lists).

use alloc::sync::Arc;

use mm::Errno;

use super::futex::{self, ANY, with_word};
use super::process::Process;
use crate::arch::uaccess;
use crate::arch::user::Access;

/// What is to be done; nothing, where an address is 0.
#[derive(Clone, Copy, Default, Debug)]
pub struct Farewell {
    /// The word that becomes 0, as long as others use the memory: CLONE_CHILD_CLEARTID, `set_tid_address`.
    pub cleared: u64,
    /// The list of locks that it holds: `set_robust_list`.
    pub locks: u64,
}

/// Bits of the word of a lock: its owner, that its owner is dead, that others wait.
const OWNER: u32 = 0x3FFF_FFFF;
const DEAD: u32 = 0x4000_0000;
const WAITED_FOR: u32 = 0x8000_0000;

impl Process {
    /// Does so. What the thread's memory does not allow is left undone.
    pub(super) fn say_farewell(&mut self) {
        let Farewell { cleared, locks } = core::mem::take(&mut self.farewell);
        if locks != 0 {
            let _ = self.give_up_locks(locks);
        }
        if cleared != 0 && Arc::strong_count(&self.space) > 1 && uaccess::copy_out(cleared, &[0; 4]).is_ok() {
            self.wake_one(cleared);
        }
    }

    fn wake_one(&self, address: u64) {
        if let Ok(key) = self.space.futex(address, false) {
            futex::wake(key, ANY, 1);
        }
    }

    /// Gives up each lock of a list: its head has the first entry, how far an entry's lock is from it, and an entry that is just being
    /// put in or taken out. The last entry points at the head.
    fn give_up_locks(&self, head: u64) -> Result<(), Errno> {
        /// A list that is longer is no list.
        const MOST: usize = 2048;
        let [first, offset, pending] = [0, 8, 16].map(|at| word(head.wrapping_add(at)));
        let (offset, pending) = (offset?, pending?);
        let mut entry = first?;
        for _ in 0..MOST {
            if entry == head {
                break;
            }
            // Before the lock is given up: whoever takes it may change the list.
            let next = word(entry);
            if entry != pending {
                self.give_up(entry.wrapping_add(offset), false)?;
            }
            entry = next?;
        }
        if pending != 0 {
            self.give_up(pending.wrapping_add(offset), true)?;
        }
        Ok(())
    }

    fn give_up(&self, lock: u64, is_pending: bool) -> Result<(), Errno> {
        if lock % 4 != 0 {
            return Err(Errno::EFAULT);
        }
        let mark = |word: u32| {
            let is_own = word & OWNER == self.thread();
            let dead = (word & WAITED_FOR | DEAD).to_le_bytes();
            let is_marked = is_own && uaccess::without_faults(|| uaccess::copy_out(lock, &dead)).is_ok();
            // One that is free, and was just being given up: who waits for it was not woken yet.
            let wakes = is_marked && word & WAITED_FOR != 0 || is_pending && word == 0;
            (!is_own || is_marked).then_some(wakes)
        };
        loop {
            if let Some(wakes) = with_word(lock, mark)? {
                if wakes {
                    self.wake_one(lock);
                }
                return Ok(());
            }
            self.space.fault(lock, Access::Write).map_err(|_| Errno::EFAULT)?;
        }
    }
}

/// A word of 64 bits.
fn word(address: u64) -> Result<u64, Errno> {
    let mut bytes = [0; 8];
    uaccess::copy_in(&mut bytes, address).map_err(|_| Errno::EFAULT)?;
    Ok(u64::from_le_bytes(bytes))
}
