//! A program's memory, as system calls read and write it: always checked, EFAULT when the program could not have done it itself.

use alloc::string::String;
use alloc::vec::Vec;

use mm::Errno;

use crate::arch::uaccess;

/// Reads bytes.
pub fn read_bytes(into: &mut [u8], from: u64) -> Result<(), Errno> {
    uaccess::copy_in(into, from).map_err(|_| Errno::EFAULT)
}

/// Writes bytes.
pub fn write_bytes(to: u64, bytes: &[u8]) -> Result<(), Errno> {
    uaccess::copy_out(to, bytes).map_err(|_| Errno::EFAULT)
}

/// Reads a structure of `N` 64-bit words.
pub fn read_words<const N: usize>(from: u64) -> Result<[u64; N], Errno> {
    let mut bytes = [[0; 8]; N];
    read_bytes(bytes.as_flattened_mut(), from)?;
    Ok(bytes.map(u64::from_le_bytes))
}

/// Writes a structure of `N` 64-bit words.
pub fn write_words<const N: usize>(to: u64, words: [u64; N]) -> Result<(), Errno> {
    write_bytes(to, words.map(u64::to_le_bytes).as_flattened())
}

/// Reads a path: bytes up to a zero.
pub fn read_path(from: u64) -> Result<String, Errno> {
    const LONGEST: usize = 4096;
    let mut path = Vec::new();
    let mut byte = [0];
    while path.len() < LONGEST {
        read_bytes(&mut byte, from.wrapping_add(path.len() as u64))?;
        if byte == [0] {
            return Ok(String::from_utf8_lossy(&path).into_owned());
        }
        path.extend(byte);
    }
    Err(Errno::ENAMETOOLONG)
}
