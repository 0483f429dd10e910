//! A program's memory, as system calls read and write it: always checked, EFAULT when the program could not have done it itself.

use alloc::string::String;
use alloc::vec::Vec;

use mm::Errno;

use crate::arch::uaccess;
use crate::heap::{Claim, Share};

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
    let path = read_text(from, LONGEST)?.ok_or(Errno::ENAMETOOLONG)?;
    Ok(String::from_utf8_lossy(&path).into_owned())
}

/// Room for the arguments and the environment of a new program, which pass through the kernel's heap.
#[derive(Debug)]
pub struct TextRoom {
    left: usize,
    claim: Claim,
}

impl TextRoom {
    /// Bytes that the texts of one program may take, with their pointers.
    const MOST: usize = 128 << 10;
    /// Bytes of the heap for each byte of them and for each text, at worst: they are there three times, in lists that double.
    const HEAP: [usize; 2] = [8, 256];

    /// For one program.
    pub fn new() -> Option<Self> {
        Some(Self { left: Self::MOST, claim: Share::Texts.claim(0)? })
    }

    /// Takes what a text of so many bytes needs; `None` if there is not so much.
    fn take(&mut self, bytes: usize) -> Option<()> {
        self.left = self.left.checked_sub(bytes + 1 + size_of::<u64>())?;
        self.claim.grow(bytes * Self::HEAP[0] + Self::HEAP[1]).then_some(())
    }
}

/// Reads a list of pointers to texts, up to a null pointer; a null list is empty.
///
/// # Errors
/// `E2BIG` if there is no room for them.
pub fn read_texts(from: u64, room: &mut TextRoom) -> Result<Vec<Vec<u8>>, Errno> {
    const POINTER: u64 = 8;
    let mut texts = Vec::new();
    if from == 0 {
        return Ok(texts);
    }
    loop {
        let [text] = read_words(from.wrapping_add(texts.len() as u64 * POINTER))?;
        if text == 0 {
            return Ok(texts);
        }
        let text = read_text(text, room.left)?.ok_or(Errno::E2BIG)?;
        room.take(text.len()).ok_or(Errno::E2BIG)?;
        texts.push(text);
    }
}

/// Reads bytes up to a zero; `None` if there are `limit` without one.
fn read_text(from: u64, limit: usize) -> Result<Option<Vec<u8>>, Errno> {
    let mut text = Vec::new();
    let mut byte = [0];
    while text.len() < limit {
        read_bytes(&mut byte, from.wrapping_add(text.len() as u64))?;
        if byte == [0] {
            return Ok(Some(text));
        }
        text.extend(byte);
    }
    Ok(None)
}
