//! Files by their path: opening them, and what they are.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use mm::Errno;

use super::descriptors::give;
use super::io::open_file;
use super::{Arguments, Call, Outcome, call, user};
use crate::fs;
use crate::fs::tree::{Found, Node};
use crate::task::Process;
use crate::task::file::Stat;

pub const CALLS: &[Call] = &[
    call(17, getcwd),
    call(46, ftruncate),
    call(47, fallocate),
    call(48, faccessat),
    call(49, chdir),
    call(50, fchdir),
    call(56, openat),
    call(61, getdents64),
    call(78, readlinkat),
    call(79, newfstatat),
    call(80, fstat),
    call(291, statx),
    call(439, faccessat),
];

/// AT_FDCWD, as an int.
const HERE: u32 = -100i32 as u32;
const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const AT_EMPTY_PATH: u64 = 0x1000;

/// A path as a call has it, made absolute if it starts from an open directory.
fn path(process: &Process, directory: u64, path: u64) -> Result<String, Errno> {
    let path = user::read_path(path)?;
    if path.starts_with('/') || path.is_empty() || directory as u32 == HERE {
        return Ok(path);
    }
    let open = open_file(process, directory)?;
    open.file.entries()?;
    Ok(format!("{}/{path}", open.path))
}

/// If a path leads nowhere, notes it, since a program may well count on that file. Escaped: a line break in it could begin a line that
/// looks like a record of the kernel's.
fn noted<T>(process: &mut Process, path: &str, outcome: Result<T, Errno>) -> Result<T, Errno> {
    if matches!(outcome, Err(Errno::ENOENT)) && !path.is_empty() {
        process.handle.missing().note(&format!("the file {}", path.escape_debug()));
    }
    outcome
}

fn find(process: &mut Process, directory: u64, from: u64, follows: bool) -> Result<Found, Errno> {
    let path = path(process, directory, from)?;
    let found = fs::find(process, &path, follows);
    noted(process, &path, found)
}

fn openat(process: &mut Process, &[directory, from, flags, mode, ..]: &Arguments) -> Outcome {
    let flags = flags as u32;
    let path = path(process, directory, from)?;
    let open = fs::open(process, &path, flags, mode as u32);
    let open = noted(process, &path, open)?;
    give(process, open, flags)
}

/// Root may do everything but write what can not be written, and run what is no program.
fn faccessat(process: &mut Process, &[directory, from, mode, ..]: &Arguments) -> Outcome {
    const EXECUTE: u64 = 1;
    const WRITE: u64 = 2;
    if mode & !7 != 0 {
        return Err(Errno::EINVAL);
    }
    let found = find(process, directory, from, true)?;
    let stat = fs::stat(process, &found);
    if mode & EXECUTE != 0 && stat.permissions & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    if mode & WRITE != 0 && matches!(found.node, Node::Program(_)) {
        return Err(Errno::EROFS);
    }
    Ok(0)
}

fn readlinkat(process: &mut Process, &[directory, from, to, size, ..]: &Arguments) -> Outcome {
    if size as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    let Node::Link(target) = find(process, directory, from, false)?.node else { return Err(Errno::EINVAL) };
    let length = target.len().min(size as usize);
    user::write_bytes(to, &target.as_bytes()[..length])?;
    Ok(length as u64)
}

/// What a call asks about: an open file, or what a path leads to.
fn status(process: &mut Process, directory: u64, from: u64, flags: u64) -> Result<Stat, Errno> {
    if flags & AT_EMPTY_PATH != 0 && (from == 0 || user::read_path(from)?.is_empty()) {
        return match directory as u32 {
            HERE => fs::find(process, ".", true).map(|found| fs::stat(process, &found)),
            _ => Ok(open_file(process, directory)?.file.stat()),
        };
    }
    let found = find(process, directory, from, flags & AT_SYMLINK_NOFOLLOW == 0)?;
    Ok(fs::stat(process, &found))
}

fn newfstatat(process: &mut Process, &[directory, from, to, flags, ..]: &Arguments) -> Outcome {
    let stat = status(process, directory, from, flags)?;
    write_stat(to, &stat)
}

fn fstat(process: &mut Process, &[descriptor, to, ..]: &Arguments) -> Outcome {
    write_stat(to, &open_file(process, descriptor)?.file.stat())
}

/// Bytes that are best read at a time, and those that a block counts.
const BLOCK: u64 = 1024;
const SECTOR: u64 = 512;

fn write_stat(to: u64, stat: &Stat) -> Outcome {
    let (major, minor) = stat.device;
    let mut words = [0; 16];
    words[1] = stat.inode;
    words[2] = u64::from(stat.mode()) | 1 << 32; // st_mode, st_nlink
    words[4] = u64::from(major << 8 | minor); // st_rdev
    words[6] = stat.size;
    words[7] = BLOCK; // st_blksize
    words[8] = stat.size.div_ceil(SECTOR);
    user::write_words(to, words)?;
    Ok(0)
}

fn statx(process: &mut Process, &[directory, from, flags, _, to, _]: &Arguments) -> Outcome {
    /// STATX_BASIC_STATS: all that `stat` tells.
    const BASIC: u64 = 0x7FF;
    let stat = status(process, directory, from, flags)?;
    let (major, minor) = stat.device;
    let mut words = [0; 32];
    words[0] = BASIC | BLOCK << 32; // stx_mask, stx_blksize
    words[2] = 1; // stx_nlink
    words[3] = u64::from(stat.mode()) << 32;
    words[4] = stat.inode;
    words[5] = stat.size;
    words[6] = stat.size.div_ceil(SECTOR);
    words[16] = u64::from(major) | u64::from(minor) << 32;
    user::write_words(to, words)?;
    Ok(0)
}

/// As many entries of a directory as fit, from its position on.
fn getdents64(process: &mut Process, &[descriptor, to, size, ..]: &Arguments) -> Outcome {
    const HEADER: usize = 19;
    let open = open_file(process, descriptor)?;
    let entries = open.file.entries()?;
    let position = usize::try_from(open.position()).unwrap_or(usize::MAX);
    let mut bytes: Vec<u8> = Vec::new();
    let mut next = position;
    for entry in entries.get(position..).unwrap_or_default() {
        let length = (HEADER + entry.name.len() + 1).next_multiple_of(8);
        if bytes.len() + length > size as u32 as usize {
            break;
        }
        next += 1;
        let end = bytes.len() + length;
        bytes.extend(entry.inode.to_le_bytes());
        bytes.extend((next as u64).to_le_bytes());
        bytes.extend((length as u16).to_le_bytes());
        bytes.push(entry.kind as u8);
        bytes.extend(entry.name.bytes());
        bytes.resize(end, 0);
    }
    if bytes.is_empty() && position < entries.len() {
        return Err(Errno::EINVAL);
    }
    user::write_bytes(to, &bytes)?;
    open.set_position(next as u64);
    Ok(bytes.len() as u64)
}

fn ftruncate(process: &mut Process, &[descriptor, size, ..]: &Arguments) -> Outcome {
    let open = open_file(process, descriptor)?;
    if size > i64::MAX as u64 || !open.is_written() {
        return Err(Errno::EINVAL);
    }
    open.file.truncate(size).map(|()| 0)
}

fn fallocate(process: &mut Process, &[descriptor, mode, offset, length, ..]: &Arguments) -> Outcome {
    const KEEP_SIZE: u32 = 1;
    const PUNCH_HOLE: u32 = 2;
    let open = open_file(process, descriptor)?;
    let mode = mode as u32;
    if offset > i64::MAX as u64 || length == 0 || length > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    if mode & !(KEEP_SIZE | PUNCH_HOLE) != 0 || mode == PUNCH_HOLE {
        return Err(Errno::EOPNOTSUPP);
    }
    if !open.is_written() {
        return Err(Errno::EBADF);
    }
    let file = open.file.memory().ok_or(if open.file.end().is_none() { Errno::ESPIPE } else { Errno::EOPNOTSUPP })?;
    if mode & PUNCH_HOLE != 0 { file.punch(offset, length) } else { file.fill(offset, length, mode == KEEP_SIZE) }?;
    Ok(0)
}

fn getcwd(process: &mut Process, &[to, size, ..]: &Arguments) -> Outcome {
    let text = format!("{}\0", process.directory());
    if (text.len() as u64) > size {
        return Err(Errno::ERANGE);
    }
    user::write_bytes(to, text.as_bytes())?;
    Ok(text.len() as u64)
}

fn chdir(process: &mut Process, &[from, ..]: &Arguments) -> Outcome {
    let found = find(process, HERE.into(), from, true)?;
    if !found.node.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    process.set_directory(found.path);
    Ok(0)
}

fn fchdir(process: &mut Process, &[descriptor, ..]: &Arguments) -> Outcome {
    let open = open_file(process, descriptor)?;
    open.file.entries()?;
    process.set_directory(open.path.clone());
    Ok(0)
}
