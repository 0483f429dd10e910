//! Input and output: descriptors that stand for the UART, and a file tree in which nothing is.

use alloc::format;
use alloc::vec::Vec;

use mm::Errno;

use super::{Arguments, Call, Outcome, call, missing_part, time, user};
use crate::task::Process;
use crate::task::console;
use crate::task::files::{Open, Stream};

pub const CALLS: &[Call] = &[
    call(23, dup),
    call(24, dup3),
    call(25, fcntl),
    call(29, ioctl),
    call(48, faccessat),
    call(439, faccessat),
    call(56, openat),
    call(57, close),
    call(62, lseek),
    call(63, read),
    call(64, write),
    call(65, readv),
    call(66, writev),
    call(73, ppoll),
    call(78, readlinkat),
    call(79, newfstatat),
    call(80, fstat),
];

/// Bytes that go between a program and the UART at a time.
const CHUNK: usize = 256;
/// The most that one call transfers on Linux: the largest int, rounded down to a page.
const MOST: u64 = 0x7FFF_F000;

fn stream(process: &Process, descriptor: u64) -> Result<Open, Errno> {
    process.files.get(descriptor).ok_or(Errno::EBADF)
}

fn dup(process: &mut Process, &[old, ..]: &Arguments) -> Outcome {
    duplicate(process, old, 0, false)
}

fn duplicate(process: &mut Process, old: u64, least: u64, close_on_exec: bool) -> Outcome {
    let open = Open { close_on_exec, ..stream(process, old)? };
    process.files.open(open, least).ok_or(Errno::EMFILE)
}

fn dup3(process: &mut Process, &[old, new, flags, ..]: &Arguments) -> Outcome {
    if flags & !O_CLOEXEC != 0 || old as u32 == new as u32 {
        return Err(Errno::EINVAL);
    }
    let open = Open { close_on_exec: flags != 0, ..stream(process, old)? };
    if process.files.replace(new, open) { Ok(new) } else { Err(Errno::EBADF) }
}

const O_WRONLY: u64 = 1;
const O_CLOEXEC: u64 = 0o200_0000;

fn fcntl(process: &mut Process, &[descriptor, command, argument, ..]: &Arguments) -> Outcome {
    const F_DUPFD: u32 = 0;
    const F_GETFD: u32 = 1;
    const F_SETFD: u32 = 2;
    const F_GETFL: u32 = 3;
    const F_DUPFD_CLOEXEC: u32 = 1030;
    const FD_CLOEXEC: u64 = 1;
    let open = stream(process, descriptor)?;
    let command = command as u32;
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC if argument >= crate::task::files::Files::MOST as u64 => Err(Errno::EINVAL),
        F_DUPFD => duplicate(process, descriptor, argument, false),
        F_DUPFD_CLOEXEC => duplicate(process, descriptor, argument, true),
        F_GETFD => Ok(if open.close_on_exec { FD_CLOEXEC } else { 0 }),
        F_SETFD => {
            process.files.get_mut(descriptor).ok_or(Errno::EBADF)?.close_on_exec = argument & FD_CLOEXEC != 0;
            Ok(0)
        }
        F_GETFL => Ok(if open.stream == Stream::Output { O_WRONLY } else { 0 }),
        _ => Err(missing_part(process, &format!("fcntl {command}"))),
    }
}

/// The UART is no terminal to a program: its output is not edited, so that what a program writes is what comes out.
fn ioctl(process: &mut Process, &[descriptor, ..]: &Arguments) -> Outcome {
    stream(process, descriptor)?;
    Err(Errno::ENOTTY)
}

fn close(process: &mut Process, &[descriptor, ..]: &Arguments) -> Outcome {
    if process.files.close(descriptor) { Ok(0) } else { Err(Errno::EBADF) }
}

fn lseek(process: &mut Process, &[descriptor, ..]: &Arguments) -> Outcome {
    stream(process, descriptor)?;
    Err(Errno::ESPIPE)
}

fn read(process: &mut Process, &[descriptor, to, length, ..]: &Arguments) -> Outcome {
    if stream(process, descriptor)?.stream != Stream::Input {
        return Err(Errno::EBADF);
    }
    read_stream(to, length)
}

/// Reads what has come in, and does not wait for more: with nothing there, the input is at its end.
fn read_stream(to: u64, length: u64) -> Outcome {
    let mut buffer = [0; CHUNK];
    let mut done = 0;
    while done < length.min(MOST) {
        let room = (length - done).min(CHUNK as u64) as usize;
        let count = console::read(&mut buffer[..room]);
        user::write_bytes(to.wrapping_add(done), &buffer[..count])?;
        done += count as u64;
        if count < room {
            break;
        }
    }
    Ok(done)
}

fn write(process: &mut Process, &[descriptor, from, length, ..]: &Arguments) -> Outcome {
    if stream(process, descriptor)?.stream != Stream::Output {
        return Err(Errno::EBADF);
    }
    write_stream(from, length)
}

/// Writes all of it, or as much as can be read; EFAULT only if nothing could be.
fn write_stream(from: u64, length: u64) -> Outcome {
    let mut buffer = [0; CHUNK];
    let mut done = 0;
    while done < length.min(MOST) {
        let chunk = &mut buffer[..(length - done).min(CHUNK as u64) as usize];
        match user::read_bytes(chunk, from.wrapping_add(done)) {
            Ok(()) => console::write(chunk),
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
        done += chunk.len() as u64;
    }
    Ok(done)
}

/// The (address, length) pairs of a scatter list.
fn vectors(from: u64, count: u64) -> Result<Vec<[u64; 2]>, Errno> {
    const MOST_VECTORS: u64 = 1024;
    if count > MOST_VECTORS {
        return Err(Errno::EINVAL);
    }
    let vectors: Vec<[u64; 2]> =
        (0..count).map(|index| user::read_words(from.wrapping_add(index * 16))).collect::<Result<_, _>>()?;
    if vectors.iter().any(|vector| vector[1] > i64::MAX as u64) {
        return Err(Errno::EINVAL);
    }
    Ok(vectors)
}

/// Does `transfer` for each vector, until one is cut short; an error only if the first bytes failed.
fn each_vector(vectors: &[[u64; 2]], transfer: fn(u64, u64) -> Outcome) -> Outcome {
    let mut done = 0;
    for &[address, length] in vectors {
        match transfer(address, length) {
            Ok(count) => {
                done += count;
                if count < length {
                    break;
                }
            }
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done)
}

fn readv(process: &mut Process, &[descriptor, list, count, ..]: &Arguments) -> Outcome {
    if stream(process, descriptor)?.stream != Stream::Input {
        return Err(Errno::EBADF);
    }
    each_vector(&vectors(list, count)?, read_stream)
}

fn writev(process: &mut Process, &[descriptor, list, count, ..]: &Arguments) -> Outcome {
    if stream(process, descriptor)?.stream != Stream::Output {
        return Err(Errno::EBADF);
    }
    each_vector(&vectors(list, count)?, write_stream)
}

/// The UART is always ready: input never makes a program wait, output is taken at once.
fn ppoll(process: &mut Process, &[list, count, timeout, ..]: &Arguments) -> Outcome {
    const IN: u16 = 1;
    const OUT: u16 = 4;
    const INVALID: u16 = 0x20;
    if count > crate::task::files::Files::MOST as u64 {
        return Err(Errno::EINVAL);
    }
    let mut ready = 0;
    for index in 0..count {
        let at = list.wrapping_add(index * 8);
        let [entry] = user::read_words(at)?;
        let (descriptor, events) = (entry as u32, (entry >> 32) as u16);
        let found = match process.files.get(descriptor.into()) {
            _ if descriptor > i32::MAX as u32 => 0,
            None => INVALID,
            Some(Open { stream: Stream::Input, .. }) => events & IN,
            Some(Open { stream: Stream::Output, .. }) => events & OUT,
        };
        user::write_bytes(at.wrapping_add(6), &found.to_le_bytes())?;
        ready += u64::from(found != 0);
    }
    if ready > 0 {
        return Ok(ready);
    }
    if timeout == 0 {
        return Err(missing_part(process, "ppoll that waits for ever"));
    }
    time::sleep(time::read_span(timeout)?);
    Ok(0)
}

/// Says that a path leads nowhere, and notes it, since a program may well count on that file. Escaped: a line break in it could begin
/// a line that looks like a record of the kernel's.
fn absent(process: &mut Process, what: &str, path: u64) -> Outcome {
    let path = user::read_path(path)?;
    process.missing.note(format!("{what} {}", path.escape_debug()));
    Err(Errno::ENOENT)
}

fn openat(process: &mut Process, &[_, path, ..]: &Arguments) -> Outcome {
    absent(process, "the file", path)
}

fn faccessat(process: &mut Process, &[_, path, ..]: &Arguments) -> Outcome {
    absent(process, "the file", path)
}

/// Every static glibc program asks for /proc/self/exe and lives on without: that is not worth noting.
fn readlinkat(_: &mut Process, &[_, path, _, size, ..]: &Arguments) -> Outcome {
    if size as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    user::read_path(path)?;
    Err(Errno::ENOENT)
}

fn newfstatat(process: &mut Process, &[descriptor, path, to, flags, ..]: &Arguments) -> Outcome {
    const AT_EMPTY_PATH: u64 = 0x1000;
    if flags & AT_EMPTY_PATH != 0 && (path == 0 || user::read_path(path)?.is_empty()) {
        return fstat(process, &[descriptor, to, 0, 0, 0, 0]);
    }
    absent(process, "the file", path)
}

/// A character device with the numbers of the first serial port, ttyS0: 4, 64.
fn fstat(process: &mut Process, &[descriptor, to, ..]: &Arguments) -> Outcome {
    const CHARACTER_DEVICE: u64 = 0o2_0620;
    const DEVICE: u64 = 4 << 8 | 64;
    stream(process, descriptor)?;
    let mut words = [0; 16];
    words[1] = 1; // st_ino
    words[2] = CHARACTER_DEVICE | 1 << 32; // st_mode, st_nlink
    words[4] = DEVICE; // st_rdev
    words[7] = 1024; // st_blksize
    user::write_words(to, words)?;
    Ok(0)
}
