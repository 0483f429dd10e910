//! What the kernel tells about memory: pagemap, and how much is free.

use core::ffi::CStr;

use crate::sys::{Error, PAGE, call, number};
use crate::{numbers, process};

/// The bit of a word of pagemap that says that the page is in memory.
pub const PRESENT: u64 = 1 << 63;
/// That it is swapped out.
pub const SWAPPED: u64 = 1 << 62;
/// That only one process maps it.
pub const EXCLUSIVE: u64 = 1 << 56;
/// The frame of a page that is in memory.
pub const FRAME: u64 = (1 << 55) - 1;

/// The words of pagemap for the pages from an address on.
pub fn pagemap<const N: usize>(address: u64) -> Result<[u64; N], Error> {
    let file = process::open(c"/proc/self/pagemap", 0)?;
    let mut words = [[0u8; 8]; N];
    let read = read_at(file, words.as_flattened_mut(), address / PAGE * 8);
    process::close(file)?;
    read.map(|_| words.map(u64::from_le_bytes))
}

/// pread64.
pub fn read_at(file: i32, into: &mut [u8], at: u64) -> Result<u64, Error> {
    let (to, length) = (into.as_mut_ptr().addr() as u64, into.len() as u64);
    // SAFETY: the kernel writes into the slice.
    unsafe { call(number::PREAD64, [file as u64, to, length, at, 0, 0]) }
}

/// Free memory and swap in kilobytes.
pub fn free() -> [u64; 2] {
    numbers(c"/proc/meminfo", ["MemFree:", "SwapFree:"])
}

/// The numbers behind these names in a file of lines; 0 for what is not there.
pub fn numbers<const N: usize>(path: &CStr, names: [&str; N]) -> [u64; N] {
    let mut text = [0u8; 2048];
    let Ok(file) = process::open(path, 0) else { return [0; N] };
    let count = process::read(file, &mut text).unwrap_or(0);
    let _ = process::close(file);
    let text = core::str::from_utf8(&text[..count]).unwrap_or("");
    names.map(|name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("");
        line.split_whitespace().next().and_then(numbers::size).unwrap_or(0)
    })
}

/// How many processes and threads there are, as sysinfo counts them.
pub fn threads() -> u64 {
    const COUNT: usize = 10;
    let mut words = [0u64; 14];
    // SAFETY: the structure has as many words.
    let _ = unsafe { call(number::SYSINFO, [words.as_mut_ptr().addr() as u64, 0, 0, 0, 0, 0]) };
    words[COUNT] & 0xFFFF
}
