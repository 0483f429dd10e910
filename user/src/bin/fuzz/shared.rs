//! What the threads of a child share, beside its memory: where it has mapped something, and which files it has open. A child of its own
//! has a copy.

use core::sync::atomic::{AtomicU64, Ordering};

use user::sys::{PAGE, call, number};

/// Areas that are kept in mind.
const AREAS: usize = 12;
/// Files that are.
const FILES: usize = 6;

/// Where something was mapped, with how many bytes; it may not be there any more, and half of a pair may be another thread's.
static AREA: [[AtomicU64; 2]; AREAS] = [const { [const { AtomicU64::new(0) }; 2] }; AREAS];
/// Descriptors that may be open.
static FILE: [AtomicU64; FILES] = [const { AtomicU64::new(0) }; FILES];
/// Where the heap begins.
static HEAP: AtomicU64 = AtomicU64::new(0);

/// Notes where the heap begins: there is nothing in it.
pub fn start() {
    // SAFETY: asks only.
    let end = unsafe { call(number::BRK, [0; 6]) }.unwrap_or(u64::MAX);
    HEAP.store(end.next_multiple_of(PAGE), Ordering::Relaxed);
}

/// Whether a range is where maps go, above the program, below its stack.
pub fn is_ours(address: u64, length: u64) -> bool {
    const HIGH: u64 = 0xFFFF_F800_0000;
    address >= HEAP.load(Ordering::Relaxed) && address.checked_add(length).is_some_and(|end| end <= HIGH)
}

/// An area; `which` is any number.
pub fn area(which: u64) -> (u64, u64) {
    let [address, length] = &AREA[which as usize % AREAS];
    (address.load(Ordering::Relaxed), length.load(Ordering::Relaxed))
}

/// Keeps an area in mind, for another one.
pub fn set_area(which: u64, (address, length): (u64, u64)) {
    let [to, bytes] = &AREA[which as usize % AREAS];
    to.store(address, Ordering::Relaxed);
    bytes.store(length, Ordering::Relaxed);
}

/// A descriptor.
pub fn file(which: u64) -> u64 {
    FILE[which as usize % FILES].load(Ordering::Relaxed)
}

/// Keeps a descriptor in mind; the one that was there before.
pub fn set_file(which: u64, descriptor: u64) -> u64 {
    FILE[which as usize % FILES].swap(descriptor, Ordering::Relaxed)
}
