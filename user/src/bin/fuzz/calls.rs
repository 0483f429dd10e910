//! One random call.

use user::process::NOHANG;
use user::sys::{self, Error, number};

use super::child::Child;
use super::shared::is_ours;
use super::{files, memory, threads, times, watch};

/// Calls whose arguments are all random. Not among them: what ends a process for good, signals to others, other programs, and waits without
/// an end. Some are known to no kernel, or not to this one.
const WILD: &[u64] = &[
    17, 19, 23, 24, 25, 29, 46, 47, 48, 49, 50, 56, 59, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 73, 78, 79, 80, 95,
    96, 98, 99, 101, 113, 114, 115, 122, 123, 124, 132, 134, 135, 136, 137, 153, 154, 155, 156, 157, 160, 165, 166,
    167, 168, 169, 172, 173, 174, 178, 179, 214, 215, 216, 222, 224, 225, 226, 227, 228, 229, 230, 231, 232, 233, 239,
    261, 270, 271, 278, 279, 280, 282, 284, 291, 293, 435, 439, 440, 450, 511, 70_000,
];

/// Makes one.
pub fn make_one(child: &mut Child) {
    match child.random.below(64) {
        0..=6 => memory::map(child),
        7..=17 => memory::touch(child),
        18..=20 => memory::unmap(child),
        21..=24 => memory::move_range(child),
        25..=27 => memory::protect(child),
        28..=35 => memory::advise(child),
        36 | 37 => memory::lock(child),
        38..=40 => files::look(child),
        41 | 42 => files::descriptor(child),
        43 => files::transfer(child),
        44 => files::pipe(child),
        45 | 46 => files::memory_file(child),
        47 => files::pins(child),
        48 => files::switch(child),
        49 => memory::heap(child),
        50 | 51 => times::wait(child),
        52..=54 => threads::futex(child),
        55 => threads::start(child),
        56 => threads::about(child),
        57 | 58 => watch::make_one(child),
        59 => child.fork(),
        _ => wild(child),
    }
}

/// Makes a system call, whatever comes of it.
pub fn call(number: u64, arguments: [u64; 6]) -> Result<u64, Error> {
    // SAFETY: none is needed to be wild: this process may die of it, and others have nothing of it.
    unsafe { sys::call(number, arguments) }
}

/// Waits for a child that has ended.
pub fn reap() {
    let _ = call(number::WAIT4, [u64::MAX, 0, NOHANG, 0, 0, 0]);
}

/// Any call, with arguments that make no sense together.
fn wild(child: &mut Child) {
    let number = child.random.one(WILD);
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = match child.random.below(7) {
            0 => child.random.number(),
            1 => child.random.below(64),
            2 => u64::MAX - child.random.below(120),
            3 => child.range().1,
            4 => child.file(),
            _ => child.range().0,
        };
    }
    if is_harmless(number, &arguments) {
        let _ = call(number, arguments);
    }
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
