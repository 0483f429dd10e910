//! One random call.

use core::ptr;

use user::process::{self, CLOEXEC, NONBLOCK};
use user::sys::{self, Error, PAGE, number};

use super::child::Child;

/// Files that are opened, among others.
const PATHS: &[&core::ffi::CStr] = &[
    c"/proc/self/maps",
    c"/proc/self/smaps",
    c"/proc/self/smaps_rollup",
    c"/proc/self/pagemap",
    c"/proc/self/status",
    c"/proc/self/stat",
    c"/proc/100/smaps",
    c"/proc/101/pagemap",
    c"/proc/meminfo",
    c"/proc/vmstat",
    c"/proc",
    c"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/stats/nr_anon",
    c"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled",
    c"/sys/kernel/unfold/counters",
    c"/sys/kernel/unfold/policy/unmap",
    c"/dev/zero",
    c"/dev/urandom",
    c"/bin/fuzz",
    c"nothing/../here",
];

/// Words that are written to them.
const WORDS: &[&[u8]] = &[b"always", b"never\n", b"madvise", b"inherit", b"gather", b"page", b"folio", b"?"];

/// Calls whose arguments are all random. Not among them: what ends or stops a process for good, signals to others, other programs, and
/// waits without an end.
const WILD: &[u64] = &[
    17, 23, 25, 29, 46, 48, 49, 50, 56, 61, 62, 65, 66, 67, 68, 69, 70, 71, 78, 79, 80, 96, 99, 113, 114, 122, 123,
    124, 132, 134, 135, 136, 153, 155, 156, 160, 165, 166, 167, 168, 169, 172, 173, 174, 178, 179, 214, 215, 216, 222,
    226, 228, 229, 230, 231, 232, 233, 261, 278, 279, 280, 284, 291, 293, 439, 440, 450, 511,
];

/// Makes one.
pub fn make_one(child: &mut Child) {
    match child.random.below(32) {
        0..=3 => map(child),
        4..=9 => touch(child),
        10 | 11 => unmap(child),
        12 | 13 => move_range(child),
        14 | 15 => protect(child),
        16..=20 => advise(child),
        21 => lock(child),
        22..=24 => look(child),
        25 => file(child),
        26 => transfer(child),
        27 => pipe(child),
        28 => heap(child),
        29 => wait(child),
        _ => wild(child),
    }
}

fn call(number: u64, arguments: [u64; 6]) -> Result<u64, Error> {
    // SAFETY: none is needed to be wild: this process may die of it, and others have nothing of it.
    unsafe { sys::call(number, arguments) }
}

fn map(child: &mut Child) {
    const FLAGS: [u64; 8] = [0, 0, 0, 0x4000, 0x8000, 0x2000, 0x10, 0x10_0000];
    let length = child.pages() * PAGE;
    let (hint, _) = child.range();
    let kind = if child.random.once_in(8) { 0x28 } else { 0x22 };
    let flags = kind | child.random.one(&FLAGS);
    let is_fixed = flags & 0x10_0010 != 0;
    let address = if is_fixed || child.random.once_in(3) { hint & !(PAGE - 1) } else { 0 };
    // Never over the program itself.
    let address = if is_fixed && !is_ours(address, length) { 0 } else { address };
    let protection = child.random.one(&[3, 3, 3, 1, 0, 7]);
    if let Ok(address) = call(number::MMAP, [address, length, protection, flags, u64::MAX, 0]) {
        child.remember(address, length);
    }
}

/// Whether a range is where maps go, above the program and its heap, below its stack.
fn is_ours(address: u64, length: u64) -> bool {
    const LOW: u64 = 0xAAAB_0000_0000;
    const HIGH: u64 = 0xFFFF_F800_0000;
    address >= LOW && address.checked_add(length).is_some_and(|end| end <= HIGH)
}

/// Reads or writes pages, by itself or through the kernel.
fn touch(child: &mut Child) {
    let (address, length) = child.range();
    if !is_ours(address, length) {
        return;
    }
    let step = child.random.one(&[PAGE, PAGE, 16 * PAGE, 5 * PAGE]);
    let how = child.random.below(40);
    for at in (address..address + length).step_by(step as usize).take(128) {
        let _ = match how {
            0..=24 => call(number::GETRANDOM, [at, 1 + at % 64, 0, 0, 0, 0]),
            25..=37 => call(number::WRITE, [1, at, 8, 0, 0, 0]),
            // SAFETY: an address of a map of this process's own, if it still is one; otherwise this ends the process, which may be.
            38 => Ok(unsafe { ptr::read_volatile(at as *const u8) }.into()),
            _ => {
                // SAFETY: the same.
                unsafe { ptr::write_volatile(at as *mut u8, how as u8) };
                Ok(0)
            }
        };
    }
}

fn unmap(child: &mut Child) {
    let (address, length) = child.range();
    if is_ours(address, length) {
        let _ = call(number::MUNMAP, [address, length, 0, 0, 0, 0]);
    }
}

fn move_range(child: &mut Child) {
    let ((address, length), (target, _)) = (child.range(), child.range());
    let new_length = if child.random.once_in(2) { length } else { child.pages() * PAGE };
    let mut flags = child.random.one(&[0, 1, 1, 1, 3, 5, 7, 4, 8]);
    if !is_ours(target, new_length) {
        flags &= !2;
    }
    if !is_ours(address, length) {
        return;
    }
    if let Ok(address) = call(number::MREMAP, [address, length, new_length, flags, target & !(PAGE - 1), 0]) {
        child.remember(address, new_length);
    }
}

fn protect(child: &mut Child) {
    let (address, length) = child.range();
    if is_ours(address, length) {
        let protection = child.random.one(&[0, 1, 3, 3, 3, 5, 7, 99]);
        let _ = call(number::MPROTECT, [address, length, protection, 0, 0, 0]);
    }
}

fn advise(child: &mut Child) {
    let (address, length) = child.range();
    let advice = if child.random.once_in(3) {
        child.random.below(32)
    } else {
        child.random.one(&[21, 21, 21, 4, 8, 20, 14, 23])
    };
    if is_ours(address, length) {
        let _ = call(number::MADVISE, [address, length, advice, 0, 0, 0]);
    }
}

fn lock(child: &mut Child) {
    let (address, length) = child.range();
    let _ = match child.random.below(8) {
        0..=2 => call(number::MLOCK, [address, length, 0, 0, 0, 0]),
        3 => call(number::MLOCK2, [address, length, child.random.below(3), 0, 0, 0]),
        4 | 5 => call(number::MUNLOCK, [address, length, 0, 0, 0, 0]),
        6 => call(number::MLOCKALL, [child.random.below(9), 0, 0, 0, 0, 0]),
        _ => call(number::MUNLOCKALL, [0; 6]),
    };
}

/// Opens a file, reads from it, closes it.
fn look(child: &mut Child) {
    let path = child.random.one(PATHS);
    let flags = child.random.one(&[0, 0, 0, 1, 2, 0o4_0000, CLOEXEC, 0o1000_0000]);
    let Ok(file) = process::open(path, flags) else { return };
    let file = file as u64;
    let mut buffer = [0u8; 4096];
    let to = if child.random.once_in(4) { child.range().0 } else { buffer.as_mut_ptr().addr() as u64 };
    let length = child.random.one(&[8, 4096, 4096, 100]);
    for _ in 0..child.random.below(6) {
        let at = if child.random.once_in(2) { child.range().0 >> 9 & !7 } else { child.random.below(10_000) };
        let _ = match child.random.below(4) {
            0 | 1 => call(number::READ, [file, to, length, 0, 0, 0]),
            2 => call(number::PREAD64, [file, to, length, at, 0, 0]),
            _ => call(number::GETDENTS64, [file, to, length, 0, 0, 0]),
        };
    }
    let word = child.random.one(WORDS);
    let _ = call(number::WRITE, [file, word.as_ptr().addr() as u64, word.len() as u64, 0, 0, 0]);
    let _ = call(number::CLOSE, [file, 0, 0, 0, 0, 0]);
}

/// Something about a descriptor.
fn file(child: &mut Child) {
    let descriptor = child.random.below(12);
    let argument = child.random.below(70);
    let _ = match child.random.below(5) {
        0 => call(number::CLOSE, [3 + descriptor, 0, 0, 0, 0, 0]),
        1 => call(number::DUP3, [descriptor, 3 + argument, 0, 0, 0, 0]),
        2 => call(number::FCNTL, [descriptor, child.random.below(8), argument, 0, 0, 0]),
        3 => call(number::LSEEK, [descriptor, argument, child.random.below(4), 0, 0, 0]),
        _ => call(number::FSTAT, [descriptor, child.range().0, 0, 0, 0, 0]),
    };
}

/// From one of its files to another.
fn transfer(child: &mut Child) {
    let (from, to) = (child.random.below(12), child.random.below(12));
    let _ = call(number::SENDFILE, [to, from, 0, child.pages() * 64, 0, 0]);
}

/// Pipes that make nobody wait: most of them stay open.
fn pipe(child: &mut Child) {
    let mut ends = [0u32; 2];
    let to = ends.as_mut_ptr().addr() as u64;
    if call(number::PIPE2, [to, NONBLOCK | child.random.one(&[0, CLOEXEC]), 0, 0, 0, 0]).is_err() {
        // No descriptor is left: some are given back.
        for descriptor in 3..40 {
            let _ = call(number::CLOSE, [descriptor, 0, 0, 0, 0, 0]);
        }
        return;
    }
    let [read, write] = ends.map(u64::from);
    let (address, length) = child.range();
    let _ = call(number::WRITE, [write, address, length, 0, 0, 0]);
    let (address, length) = child.range();
    if is_ours(address, length.min(1 << 20)) {
        let _ = call(number::READ, [read, address, length.min(1 << 20), 0, 0, 0]);
    }
    if child.random.once_in(2) {
        let _ = call(number::CLOSE, [child.random.one(&[read, write]), 0, 0, 0, 0, 0]);
    }
}

fn heap(child: &mut Child) {
    if let Ok(end) = call(number::BRK, [0; 6]) {
        let change = child.pages() * PAGE;
        // The program keeps nothing on its heap.
        let end = if child.random.once_in(2) { end + change } else { end.saturating_sub(change) };
        if let Ok(now) = call(number::BRK, [end, 0, 0, 0, 0, 0]) {
            child.remember(now.saturating_sub(change) & !(PAGE - 1), change);
        }
    }
}

/// Waits for a child that has ended, or lets others go first.
fn wait(child: &mut Child) {
    const NOHANG: u64 = 1;
    let _ = match child.random.below(3) {
        0 => call(number::SCHED_YIELD, [0; 6]),
        _ => call(number::WAIT4, [u64::MAX, 0, NOHANG, 0, 0, 0]),
    };
}

/// Any call, with arguments that make no sense together.
fn wild(child: &mut Child) {
    let number = child.random.one(WILD);
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = match child.random.below(6) {
            0 => child.random.number(),
            1 => child.random.below(64),
            2 => u64::MAX - child.random.below(120),
            3 => child.range().1,
            _ => child.range().0,
        };
    }
    if !is_harmless(number, &arguments) {
        return;
    }
    let _ = call(number, arguments);
}

/// Whether it does not take the ground from under this program: code, stack, or the way out.
fn is_harmless(number: u64, arguments: &[u64; 6]) -> bool {
    match number {
        number::MMAP | number::MUNMAP | number::MPROTECT | number::MREMAP | number::MADVISE => {
            is_ours(arguments[0], arguments[1]) && (number != number::MREMAP || arguments[3] & 2 == 0)
        }
        number::BRK => arguments[0] == 0,
        _ => true,
    }
}
