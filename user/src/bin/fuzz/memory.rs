//! Calls about memory.

use user::sys::{PAGE, number};

use super::calls::call;
use super::child::Child;
use super::shared::{self, is_ours};
use super::touch;

/// Flags of mmap that say where and how, one at a time: none, NORESERVE, POPULATE, LOCKED, FIXED, FIXED_NOREPLACE, GROWSDOWN, STACK.
const FLAGS: [u64; 10] = [0, 0, 0, 0x4000, 0x8000, 0x2000, FIXED, FIXED_NOREPLACE, 0x100, 0x2_0000];
const FIXED: u64 = 0x10;
const FIXED_NOREPLACE: u64 = 0x10_0000;
const ANONYMOUS: u64 = 0x20;
/// HUGETLB, of the usual size, of 64K, of 2M, of none that there is.
const HUGE: [u64; 4] = [0x4_0000, 0x4_0000 | 16 << 26, 0x4_0000 | 21 << 26, 0x4_0000 | 30 << 26];

/// Maps something, anonymous or a file, private or shared.
pub fn map(child: &mut Child) {
    let length = child.pages() * PAGE;
    let (hint, _) = child.range();
    let kind = child.random.one(&[2, 2, 2, 2, 2, 1, 3, 8]);
    let flags = kind | child.random.one(&FLAGS);
    let (of, file, offset) = match child.random.below(8) {
        0 | 1 => (0, child.file(), child.random.below(32) * PAGE),
        2 => (ANONYMOUS | child.random.one(&HUGE), u64::MAX, 0),
        _ => (ANONYMOUS, u64::MAX, 0),
    };
    let is_fixed = flags & (FIXED | FIXED_NOREPLACE) != 0;
    let address = if is_fixed || child.random.once_in(3) { hint & !(PAGE - 1) } else { 0 };
    // Never over the program itself.
    let address = if is_fixed && !is_ours(address, length) { 0 } else { address };
    let protection = child.random.one(&[3, 3, 3, 1, 0, 7]);
    if let Ok(address) = call(number::MMAP, [address, length, protection, flags | of, file, offset]) {
        child.remember(address, length);
    }
}

/// Reads or writes pages, by itself or through the kernel.
pub fn touch(child: &mut Child) {
    let (address, length) = child.range();
    if !is_ours(address, length) {
        return;
    }
    let step = child.random.one(&[PAGE, PAGE, 16 * PAGE, 5 * PAGE]);
    let how = child.random.below(40);
    for at in (address..address + length).step_by(step as usize).take(128) {
        let _ = match how {
            0..=9 => call(number::GETRANDOM, [at, 1 + at % 64, 0, 0, 0, 0]),
            10..=17 => call(number::WRITE, [1, at, 8, 0, 0, 0]),
            18 => call(number::READ, [child.file(), at, 2 * PAGE, 0, 0, 0]),
            19 => call(number::WRITE, [child.file(), at, 2 * PAGE, 0, 0, 0]),
            20..=26 => touch::read(at),
            _ => touch::write(at),
        };
    }
}

/// munmap.
pub fn unmap(child: &mut Child) {
    let (address, length) = child.range();
    if is_ours(address, length) {
        let _ = call(number::MUNMAP, [address, length, 0, 0, 0, 0]);
    }
}

/// mremap, with all its flags: MAYMOVE, FIXED, DONTUNMAP, and one that there is not.
pub fn move_range(child: &mut Child) {
    let ((address, length), (target, _)) = (child.range(), child.range());
    let new_length = match child.random.below(4) {
        0 | 1 => length,
        2 => child.pages() * PAGE,
        // What stays is part of what was there.
        _ => (length / 2) & !(PAGE - 1),
    };
    let old_length = if child.random.once_in(16) { 0 } else { length };
    let mut flags = child.random.one(&[0, 1, 1, 1, 3, 3, 5, 5, 7, 4, 2, 8]);
    if !is_ours(target, new_length) {
        flags &= !2;
    }
    if !is_ours(address, length) {
        return;
    }
    if let Ok(address) = call(number::MREMAP, [address, old_length, new_length, flags, target & !(PAGE - 1), 0]) {
        child.remember(address, new_length);
    }
}

/// mprotect.
pub fn protect(child: &mut Child) {
    let (address, length) = child.range();
    if is_ours(address, length) {
        let protection = child.random.one(&[0, 1, 3, 3, 3, 5, 7, 99]);
        let _ = call(number::MPROTECT, [address, length, protection, 0, 0, 0]);
    }
}

/// madvise with any advice, those that matter more often, and once in a while that memory is bad.
pub fn advise(child: &mut Child) {
    const HWPOISON: u64 = 100;
    let (address, length) = child.range();
    let advice = match child.random.below(96) {
        0..32 => child.random.below(32),
        32 => HWPOISON,
        33 => child.random.number(),
        _ => child.random.one(&[21, 21, 21, 4, 8, 20, 14, 23, 22, 9]),
    };
    let length = if advice == HWPOISON { PAGE } else { length };
    if is_ours(address, length) {
        // What others share is not paged out, and what is not there can not be advised about.
        if child.random.once_in(2) {
            for at in (address..address + length).step_by(PAGE as usize).take(64) {
                let _ = touch::write(at);
            }
        }
        let _ = call(number::MADVISE, [address, length, advice, 0, 0, 0]);
    }
}

/// mlock and its kin, msync, mincore.
pub fn lock(child: &mut Child) {
    let (address, length) = child.range();
    let _ = match child.random.below(12) {
        0..=2 => call(number::MLOCK, [address, length, 0, 0, 0, 0]),
        3 => call(number::MLOCK2, [address, length, child.random.below(3), 0, 0, 0]),
        4 | 5 => call(number::MUNLOCK, [address, length, 0, 0, 0, 0]),
        6 => call(number::MLOCKALL, [child.random.below(9), 0, 0, 0, 0, 0]),
        7 => call(number::MUNLOCKALL, [0; 6]),
        8 => call(number::MSYNC, [address, length, child.random.below(9), 0, 0, 0]),
        _ => call(number::MINCORE, [address, length, child.range().0, 0, 0, 0]),
    };
}

/// brk: the program keeps nothing on its heap.
pub fn heap(child: &mut Child) {
    if let Ok(end) = call(number::BRK, [0; 6]) {
        let change = child.pages() * PAGE;
        let end = if child.random.once_in(2) { end + change } else { end.saturating_sub(change) };
        if !shared::is_ours(end, 0) {
            return;
        }
        if let Ok(now) = call(number::BRK, [end, 0, 0, 0, 0, 0]) {
            child.remember(now.saturating_sub(change) & !(PAGE - 1), change);
        }
    }
}
