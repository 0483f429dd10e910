//! Input and output: descriptors that stand for the UART or an end of a pipe, and a file tree in which nothing is.

use alloc::format;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use mm::Errno;

use super::{Arguments, Call, Outcome, call, missing_part, pipe, user};
use crate::task::Process;
use crate::task::console;
use crate::task::files::{self, Open};
use crate::task::stream::Stream;

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
    call(78, readlinkat),
    call(79, newfstatat),
    call(80, fstat),
];

/// Bytes that go between a program and the UART at a time.
const CHUNK: usize = 256;
/// The most that one call transfers on Linux: the largest int, rounded down to a page.
const MOST: u64 = 0x7FFF_F000;

fn open(process: &Process, descriptor: u64) -> Result<&Open<Stream>, Errno> {
    process.files.get(descriptor).ok_or(Errno::EBADF)
}

fn stream(process: &Process, descriptor: u64) -> Result<Stream, Errno> {
    Ok(open(process, descriptor)?.stream.clone())
}

fn dup(process: &mut Process, &[old, ..]: &Arguments) -> Outcome {
    duplicate(process, old, 0, false)
}

fn duplicate(process: &mut Process, old: u64, least: u64, close_on_exec: bool) -> Outcome {
    let open = Open { close_on_exec, stream: stream(process, old)? };
    process.files.open(open, least).ok_or(Errno::EMFILE)
}

fn dup3(process: &mut Process, &[old, new, flags, ..]: &Arguments) -> Outcome {
    if flags & !O_CLOEXEC != 0 || old as u32 == new as u32 {
        return Err(Errno::EINVAL);
    }
    let open = Open { close_on_exec: flags != 0, stream: stream(process, old)? };
    if process.files.replace(new, open) { Ok(new) } else { Err(Errno::EBADF) }
}

const O_WRONLY: u64 = 1;
const O_NONBLOCK: u64 = 0o4000;
const O_CLOEXEC: u64 = 0o200_0000;

fn fcntl(process: &mut Process, &[descriptor, command, argument, ..]: &Arguments) -> Outcome {
    const F_DUPFD: u32 = 0;
    const F_GETFD: u32 = 1;
    const F_SETFD: u32 = 2;
    const F_GETFL: u32 = 3;
    const F_SETFL: u32 = 4;
    const F_DUPFD_CLOEXEC: u32 = 1030;
    const FD_CLOEXEC: u64 = 1;
    let Open { stream, close_on_exec } = open(process, descriptor)?.clone();
    let command = command as u32;
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC if argument >= files::MOST as u64 => Err(Errno::EINVAL),
        F_DUPFD => duplicate(process, descriptor, argument, false),
        F_DUPFD_CLOEXEC => duplicate(process, descriptor, argument, true),
        F_GETFD => Ok(if close_on_exec { FD_CLOEXEC } else { 0 }),
        F_SETFD => {
            process.files.get_mut(descriptor).ok_or(Errno::EBADF)?.close_on_exec = argument & FD_CLOEXEC != 0;
            Ok(0)
        }
        F_GETFL => Ok(status(&stream)),
        F_SETFL => {
            if let Some(never_waits) = never_waits(&stream) {
                never_waits.store(argument & O_NONBLOCK != 0, Ordering::Relaxed);
            }
            Ok(0)
        }
        _ => Err(missing_part(process, &format!("fcntl {command}"))),
    }
}

/// The flag of a stream that can make a program wait.
fn never_waits(stream: &Stream) -> Option<&AtomicBool> {
    match stream {
        Stream::Input | Stream::Output => None,
        Stream::Reader(reader) => Some(&reader.never_waits),
        Stream::Writer(writer) => Some(&writer.never_waits),
    }
}

fn status(stream: &Stream) -> u64 {
    let access = if matches!(stream, Stream::Output | Stream::Writer(_)) { O_WRONLY } else { 0 };
    let never_waits = never_waits(stream).is_some_and(|flag| flag.load(Ordering::Relaxed));
    access | if never_waits { O_NONBLOCK } else { 0 }
}

/// The UART is no terminal to a program: its output is not edited, so that what a program writes is what comes out.
fn ioctl(process: &mut Process, &[descriptor, ..]: &Arguments) -> Outcome {
    stream(process, descriptor)?;
    Err(Errno::ENOTTY)
}

fn close(process: &mut Process, &[descriptor, ..]: &Arguments) -> Outcome {
    process.files.close(descriptor).map(|_| 0).ok_or(Errno::EBADF)
}

fn lseek(process: &mut Process, &[descriptor, ..]: &Arguments) -> Outcome {
    stream(process, descriptor)?;
    Err(Errno::ESPIPE)
}

fn read(process: &mut Process, &[descriptor, to, length, ..]: &Arguments) -> Outcome {
    let stream = stream(process, descriptor)?;
    read_stream(process, &stream, to, length)
}

fn read_stream(process: &mut Process, stream: &Stream, to: u64, length: u64) -> Outcome {
    match stream {
        Stream::Input => read_console(to, length),
        Stream::Reader(reader) => pipe::read(process, reader, to, length),
        Stream::Output | Stream::Writer(_) => Err(Errno::EBADF),
    }
}

/// Reads what has come in, and does not wait for more: with nothing there, the input is at its end.
fn read_console(to: u64, length: u64) -> Outcome {
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
    let stream = stream(process, descriptor)?;
    write_stream(process, &stream, from, length)
}

fn write_stream(process: &mut Process, stream: &Stream, from: u64, length: u64) -> Outcome {
    match stream {
        Stream::Output => write_console(from, length),
        Stream::Writer(writer) => pipe::write(process, writer, from, length),
        Stream::Input | Stream::Reader(_) => Err(Errno::EBADF),
    }
}

/// Writes all of it, or as much as can be read; EFAULT only if nothing could be.
fn write_console(from: u64, length: u64) -> Outcome {
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

/// Reads or writes a stream.
type Transfer = fn(&mut Process, &Stream, u64, u64) -> Outcome;

/// Does `transfer` for each vector, until one is cut short; an error only if the first bytes failed.
fn each_vector(process: &mut Process, &[descriptor, list, count, ..]: &Arguments, transfer: Transfer) -> Outcome {
    let stream = stream(process, descriptor)?;
    let mut done = 0;
    for [address, length] in vectors(list, count)? {
        match transfer(process, &stream, address, length) {
            Ok(count) => {
                done += count;
                if count < length {
                    break;
                }
            }
            Err(error) if done == 0 => return Err(error),
            Err(_) => {
                process.note_finished();
                break;
            }
        }
    }
    Ok(done)
}

fn readv(process: &mut Process, arguments: &Arguments) -> Outcome {
    each_vector(process, arguments, read_stream)
}

fn writev(process: &mut Process, arguments: &Arguments) -> Outcome {
    each_vector(process, arguments, write_stream)
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

/// A pipe; or a character device with the numbers of the first serial port, ttyS0: 4, 64.
fn fstat(process: &mut Process, &[descriptor, to, ..]: &Arguments) -> Outcome {
    const CHARACTER_DEVICE: u64 = 0o2_0620;
    const PIPE: u64 = 0o1_0600;
    const DEVICE: u64 = 4 << 8 | 64;
    let is_pipe = matches!(stream(process, descriptor)?, Stream::Reader(_) | Stream::Writer(_));
    let (mode, device) = if is_pipe { (PIPE, 0) } else { (CHARACTER_DEVICE, DEVICE) };
    let mut words = [0; 16];
    words[1] = 1; // st_ino
    words[2] = mode | 1 << 32; // st_mode, st_nlink
    words[4] = device; // st_rdev
    words[7] = 1024; // st_blksize
    user::write_words(to, words)?;
    Ok(0)
}
