//! Who waits for which futex, in the order in which they came. Pure: what a waiter is, is up to whoever asks.
//!
//! There are at most as many waiters as tasks, so one list holds all of them.

use alloc::vec::Vec;

/// What a futex is: two words of user memory are one futex if their keys are equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// An address of one space, which has this number.
    Private(usize, u64),
    /// A byte of a memory file, which has this number, whoever maps it.
    Shared(u32, u64),
}

/// Wakes with any bit: what those wait and wake with that name none.
pub const ANY: u32 = u32::MAX;

#[derive(Debug)]
struct Waiter<T> {
    number: u64,
    key: Key,
    bits: u32,
    who: T,
}

/// All waiters.
#[derive(Debug)]
pub struct FutexQueue<T> {
    waiters: Vec<Waiter<T>>,
    next: u64,
}

impl<T: Clone> FutexQueue<T> {
    /// With nobody in it.
    pub const fn new() -> Self {
        Self { waiters: Vec::new(), next: 0 }
    }

    /// Has `who` wait until somebody wakes the futex with one of `bits`; the number of this wait.
    pub fn add(&mut self, key: Key, bits: u32, who: T) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiters.push(Waiter { number, key, bits, who });
        number
    }

    /// Whether nobody has woken this wait.
    pub fn waits(&self, number: u64) -> bool {
        self.waiters.iter().any(|waiter| waiter.number == number)
    }

    /// A waiter waits no longer; false if somebody has woken it already.
    pub fn leave(&mut self, number: u64) -> bool {
        let before = self.waiters.len();
        self.waiters.retain(|waiter| waiter.number != number);
        self.waiters.len() < before
    }

    /// Wakes up to `most` that wait with one of `bits`, those that came first.
    pub fn wake(&mut self, key: Key, bits: u32, most: usize) -> Vec<T> {
        let mut woken = Vec::new();
        self.waiters.retain(|waiter| {
            let is_woken = woken.len() < most && waiter.key == key && waiter.bits & bits != 0;
            if is_woken {
                woken.push(waiter.who.clone());
            }
            !is_woken
        });
        woken
    }

    /// Has up to `most` that wait for `from` wait for `to` instead, behind those that do already; how many.
    pub fn requeue(&mut self, from: Key, to: Key, most: usize) -> usize {
        let mut moved = Vec::new();
        let mut index = 0;
        while index < self.waiters.len() && moved.len() < most {
            if self.waiters[index].key == from {
                moved.push(Waiter { key: to, ..self.waiters.remove(index) });
            } else {
                index += 1;
            }
        }
        let count = moved.len();
        self.waiters.extend(moved);
        count
    }
}

impl<T: Clone> Default for FutexQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Key = Key::Private(1, 0x1000);
    const OTHER: Key = Key::Private(1, 0x1004);

    #[test]
    fn those_that_came_first_are_woken_first() {
        let mut queue = FutexQueue::new();
        let numbers = ['a', 'b', 'c'].map(|who| queue.add(ONE, ANY, who));
        queue.add(OTHER, ANY, 'x');
        queue.add(Key::Private(2, 0x1000), ANY, 'y');
        queue.add(Key::Shared(1, 0x1000), ANY, 'z');
        assert_eq!(queue.wake(ONE, ANY, 2), ['a', 'b']);
        assert_eq!(numbers.map(|number| queue.waits(number)), [false, false, true]);
        assert!(queue.leave(numbers[2]) && !queue.leave(numbers[2]) && !queue.leave(numbers[0]));
        assert_eq!(queue.wake(ONE, ANY, 9), []);
        assert_eq!(queue.wake(Key::Shared(1, 0x1000), ANY, 9), ['z']);
    }

    #[test]
    fn bits_choose() {
        let mut queue = FutexQueue::new();
        queue.add(ONE, 1, 'a');
        queue.add(ONE, 6, 'b');
        assert_eq!(queue.wake(ONE, 8, 9), []);
        assert_eq!(queue.wake(ONE, 2, 9), ['b']);
        assert_eq!(queue.wake(ONE, ANY, 9), ['a']);
    }

    #[test]
    fn moved_waiters_stand_behind() {
        let mut queue = FutexQueue::new();
        for who in ['a', 'b', 'c'] {
            queue.add(ONE, ANY, who);
        }
        queue.add(OTHER, ANY, 'x');
        assert_eq!(queue.requeue(ONE, OTHER, 2), 2);
        assert_eq!(queue.wake(OTHER, ANY, 9), ['x', 'a', 'b']);
        assert_eq!(queue.requeue(ONE, ONE, 9), 1, "to itself");
        assert_eq!(queue.wake(ONE, ANY, 9), ['c']);
    }
}
