//! Calls about files: those that tell, those that keep memory, pipes, and a device that pins pages.

use core::ffi::CStr;

use user::process::{self, CLOEXEC, NONBLOCK};
use user::sys::{PAGE, number};

use super::calls::call;
use super::child::Child;
use super::ground;
use super::shared::is_ours;

/// Files that are opened, among others.
const PATHS: &[&CStr] = &[
    c"/proc/self/maps",
    c"/proc/self/smaps",
    c"/proc/self/smaps_rollup",
    c"/proc/self/pagemap",
    c"/proc/self/status",
    c"/proc/self/stat",
    c"/proc/self/statm",
    c"/proc/self/cmdline",
    c"/proc/self/exe",
    c"/proc/100/smaps",
    c"/proc/meminfo",
    c"/proc/vmstat",
    c"/proc/swaps",
    c"/proc/stat",
    c"/proc",
    c"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/stats/nr_anon",
    c"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/stats/nr_anon_partially_mapped",
    c"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/stats",
    c"/sys/kernel/mm/hugepages/hugepages-64kB/free_hugepages",
    c"/sys/kernel/unfold/counters",
    c"/sys/kernel/unfold/heap",
    c"/dev/zero",
    c"/dev/urandom",
    c"/dev/pins",
    c"/bin/fuzz",
    c"nothing/../here",
];

/// Opens a file, reads from it, and mostly closes it.
pub fn look(child: &mut Child) {
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
    if child.random.once_in(4) {
        child.remember_file(file);
    } else {
        let _ = call(number::CLOSE, [file, 0, 0, 0, 0, 0]);
    }
}

/// Something about a descriptor.
pub fn descriptor(child: &mut Child) {
    let descriptor = child.file();
    let argument = child.random.below(70);
    let _ = match child.random.below(7) {
        0 if descriptor > 2 => call(number::CLOSE, [descriptor, 0, 0, 0, 0, 0]),
        1 => call(number::DUP3, [descriptor, 3 + argument, 0, 0, 0, 0]),
        2 => call(number::FCNTL, [descriptor, child.random.below(8), argument, 0, 0, 0]),
        3 => call(number::LSEEK, [descriptor, argument * PAGE / 4, child.random.below(6), 0, 0, 0]),
        4 => call(number::FTRUNCATE, [descriptor, child.pages() * PAGE / 2, 0, 0, 0, 0]),
        _ => call(number::FSTAT, [descriptor, child.range().0, 0, 0, 0, 0]),
    };
}

/// From one of its files to another.
pub fn transfer(child: &mut Child) {
    let (from, to) = (child.file(), child.file());
    let _ = call(number::SENDFILE, [to, from, 0, child.pages() * 64, 0, 0]);
}

/// A pipe that makes nobody wait: most of them stay open.
pub fn pipe(child: &mut Child) {
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

/// A memory file: a new one, or what is done to one.
pub fn memory_file(child: &mut Child) {
    const ADD_SEALS: u64 = 1033;
    const GET_SEALS: u64 = 1034;
    if child.random.once_in(3) {
        let flags = child.random.one(&[0, 1, 2, 2, 2, 8, 16, 4, 24]);
        if let Ok(file) = call(number::MEMFD_CREATE, [c"fuzz".as_ptr().addr() as u64, flags, 0, 0, 0, 0]) {
            let _ = call(number::FTRUNCATE, [file, child.pages() * PAGE, 0, 0, 0, 0]);
            child.remember_file(file);
        }
        return;
    }
    let file = child.file();
    let (offset, length) = (child.random.below(64) * PAGE / 2, child.pages() * PAGE / 2);
    let (address, _) = child.range();
    let _ = match child.random.below(10) {
        0 | 1 => call(number::FALLOCATE, [file, child.random.one(&[0, 1, 3, 3, 2, 16]), offset, length, 0, 0]),
        2 => call(number::FTRUNCATE, [file, length, 0, 0, 0, 0]),
        3 | 4 => call(number::PWRITE64, [file, address, length, offset, 0, 0]),
        5 | 6 => call(number::PREAD64, [file, address, length, offset, 0, 0]),
        7 => call(number::LSEEK, [file, offset, child.random.one(&[3, 4]), 0, 0, 0]),
        8 => call(number::FCNTL, [file, ADD_SEALS, child.random.one(&[1, 2, 4, 8, 16, 32, 99]), 0, 0, 0]),
        _ => call(number::FCNTL, [file, GET_SEALS, 0, 0, 0, 0]),
    };
}

/// The device that pins pages: one is opened, or one that is open is told something.
pub fn pins(child: &mut Child) {
    const PIN_TO_READ: u64 = 0x4010_7001;
    const PIN_TO_WRITE: u64 = 0x4010_7002;
    const UNPIN: u64 = 0x7003;
    let (start, length) = child.range();
    let range = [start, length];
    let range = range.as_ptr().addr() as u64;
    if child.random.once_in(2) {
        if let Ok(device) = process::open(c"/dev/pins", 2) {
            let device = device as u64;
            let request = child.random.one(&[PIN_TO_READ, PIN_TO_WRITE]);
            let _ = call(number::IOCTL, [device, request, range, 0, 0, 0]);
            child.remember_file(device);
        }
        return;
    }
    let device = child.file();
    let (address, _) = child.range();
    let at = child.random.below(64) * PAGE / 2;
    let _ = match child.random.below(5) {
        0 => call(number::IOCTL, [device, UNPIN, 0, 0, 0, 0]),
        1 => call(number::IOCTL, [device, PIN_TO_WRITE, range, 0, 0, 0]),
        2 => call(number::PREAD64, [device, address, length, at, 0, 0]),
        _ => call(number::PWRITE64, [device, address, length, at, 0, 0]),
    };
}

/// A switch of the kernel's, the pool of huge pages, or the swap device; once in a while, with a word that makes no sense.
pub fn switch(child: &mut Child) {
    match child.random.below(16) {
        0 => ground::use_swap(false),
        1..=4 => ground::use_swap(true),
        _ => {
            let (path, words) = child.random.one(ground::SWITCHES);
            let words = if child.random.once_in(8) { &["?"] } else { words };
            ground::write(path, child.random.one(words).as_bytes());
        }
    }
}
