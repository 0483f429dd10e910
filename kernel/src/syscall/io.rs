//! Reading and writing open files. Here a program waits and its memory is copied; what there is to read is the file's to say.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use mm::Errno;

use super::{Arguments, Call, Outcome, call, ended_wait, user};
use crate::task::Process;
use crate::task::file::{Kind, OpenFile, flags};
use crate::task::pipe::ATOMIC;
use crate::task::signals::Info;
use crate::task::status::Signal;

pub const CALLS: &[Call] = &[
    call(62, lseek),
    call(63, read),
    call(64, write),
    call(65, readv),
    call(66, writev),
    call(67, pread64),
    call(68, pwrite64),
    call(69, preadv),
    call(70, pwritev),
    call(71, sendfile),
];

/// Bytes that go between a program and a file at a time: more than a pipe takes as one, so that no part of a longer write need be whole.
const CHUNK: u64 = 2 * ATOMIC as u64;
/// The most that one call transfers on Linux: the largest int, rounded down to a page.
const MOST: u64 = 0x7FFF_F000;

/// The open file that a descriptor stands for.
pub fn open_file(process: &Process, descriptor: u64) -> Result<Arc<OpenFile>, Errno> {
    Ok(process.files().get(descriptor).ok_or(Errno::EBADF)?.file.clone())
}

/// What transfers between a program's memory and a file: position in the file, address, length.
type Transfer = fn(&mut Process, &OpenFile, u64, u64, u64) -> Outcome;

/// Reads from position `at`, as much as there is; waits for the first bytes.
fn read_at(process: &mut Process, open: &OpenFile, at: u64, to: u64, length: u64) -> Outcome {
    if !open.is_read() {
        return Err(Errno::EBADF);
    }
    let length = length.min(MOST);
    let mut buffer = vec![0; length.min(CHUNK) as usize];
    let mut done = 0;
    while done < length {
        let room = &mut buffer[..(length - done).min(CHUNK) as usize];
        let waits = done == 0 && !open.never_waits();
        let read = attempt(process, open, waits, || open.file.read(at + done, room)).and_then(|count| {
            let told = user::write_bytes(to.wrapping_add(done), &room[..count]);
            told.inspect_err(|_| open.file.take_back(&room[..count])).map(|()| count as u64)
        });
        match read {
            Ok(count) => {
                done += count;
                if count < room.len() as u64 {
                    break;
                }
            }
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Writes all of it at position `at`, waiting for room; an error only if nothing could be written.
fn write_at(process: &mut Process, open: &OpenFile, at: u64, from: u64, length: u64) -> Outcome {
    if !open.is_written() {
        return Err(Errno::EBADF);
    }
    let length = length.min(MOST);
    let mut buffer = vec![0; length.min(CHUNK) as usize];
    let mut done = 0;
    while done < length {
        let chunk = &mut buffer[..(length - done).min(CHUNK) as usize];
        let waits = !open.never_waits();
        let written = user::read_bytes(chunk, from.wrapping_add(done))
            .and_then(|()| attempt(process, open, waits, || open.file.write(at + done, chunk)));
        match written {
            Ok(0) => break,
            Ok(count) => done += count as u64,
            Err(error) => {
                note_broken(process, error);
                if done == 0 {
                    return Err(error);
                }
                process.note_finished();
                break;
            }
        }
    }
    Ok(done)
}

/// Who writes to a pipe that nobody reads gets a signal beside the error.
fn note_broken(process: &Process, error: Errno) {
    if error == Errno::EPIPE {
        process.signals().raise(Info::sent_by(Signal::PIPE, process.pid()));
    }
}

/// Does what may have to wait, again and again if it may wait.
fn attempt(
    process: &mut Process,
    open: &OpenFile,
    waits: bool,
    mut act: impl FnMut() -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let Some(queue) = open.file.queue().filter(|_| waits) else { return act() };
    let ready = || match act() {
        Err(Errno::EAGAIN) => None,
        outcome => Some(outcome),
    };
    match process.sleep(&[queue], queue.what(), None, ready) {
        Ok(outcome) => outcome,
        Err(end) => Err(ended_wait(process, end)),
    }
}

/// Where a read or write at the file's own position starts.
fn start(open: &OpenFile) -> u64 {
    if open.flags() & flags::APPEND != 0 && open.is_written() {
        return open.file.end().unwrap_or(0);
    }
    open.position()
}

/// Transfers at the file's own position, and moves it.
fn advance(process: &mut Process, open: &OpenFile, address: u64, length: u64, transfer: Transfer) -> Outcome {
    if open.file.end().is_none() {
        return transfer(process, open, 0, address, length);
    }
    let at = start(open);
    let done = transfer(process, open, at, address, length)?;
    open.set_position(at + done);
    Ok(done)
}

fn read(process: &mut Process, &[descriptor, to, length, ..]: &Arguments) -> Outcome {
    let open = open_file(process, descriptor)?;
    advance(process, &open, to, length, read_at)
}

fn write(process: &mut Process, &[descriptor, from, length, ..]: &Arguments) -> Outcome {
    let open = open_file(process, descriptor)?;
    advance(process, &open, from, length, write_at)
}

/// The file and the position of a call that names it, and leaves the file's own where it is.
fn positioned(process: &Process, descriptor: u64, at: u64) -> Result<Arc<OpenFile>, Errno> {
    let open = open_file(process, descriptor)?;
    if at > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    if open.file.end().is_some() { Ok(open) } else { Err(Errno::ESPIPE) }
}

fn pread64(process: &mut Process, &[descriptor, to, length, at, ..]: &Arguments) -> Outcome {
    let open = positioned(process, descriptor, at)?;
    read_at(process, &open, at, to, length)
}

fn pwrite64(process: &mut Process, &[descriptor, from, length, at, ..]: &Arguments) -> Outcome {
    let open = positioned(process, descriptor, at)?;
    write_at(process, &open, at, from, length)
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

/// Does `transfer` for each vector, given how much is done, until one is cut short; an error only if the first bytes failed.
fn each_vector(
    process: &mut Process,
    list: &[[u64; 2]],
    mut transfer: impl FnMut(&mut Process, u64, u64, u64) -> Outcome,
) -> Outcome {
    let mut done = 0;
    for &[address, length] in list {
        match transfer(process, done, address, length) {
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

fn vectored(process: &mut Process, &[descriptor, list, count, ..]: &Arguments, transfer: Transfer) -> Outcome {
    let (open, list) = (open_file(process, descriptor)?, vectors(list, count)?);
    each_vector(process, &list, |process, _, address, length| advance(process, &open, address, length, transfer))
}

fn readv(process: &mut Process, arguments: &Arguments) -> Outcome {
    vectored(process, arguments, read_at)
}

fn writev(process: &mut Process, arguments: &Arguments) -> Outcome {
    vectored(process, arguments, write_at)
}

fn vectored_at(process: &mut Process, &[descriptor, list, count, at, ..]: &Arguments, transfer: Transfer) -> Outcome {
    let (open, list) = (positioned(process, descriptor, at)?, vectors(list, count)?);
    each_vector(process, &list, |process, done, address, length| transfer(process, &open, at + done, address, length))
}

fn preadv(process: &mut Process, arguments: &Arguments) -> Outcome {
    vectored_at(process, arguments, read_at)
}

fn pwritev(process: &mut Process, arguments: &Arguments) -> Outcome {
    vectored_at(process, arguments, write_at)
}

/// Reads at a position of one file, and writes what was read at the other's own; how much.
fn send(process: &mut Process, to: &OpenFile, from: &OpenFile, at: u64, buffer: &mut [u8]) -> Outcome {
    let count = from.file.read(at, buffer)?;
    if count == 0 {
        return Ok(0);
    }
    let position = start(to);
    let sent = attempt(process, to, !to.never_waits(), || to.file.write(position, &buffer[..count]))? as u64;
    to.set_position(position + sent);
    Ok(sent)
}

/// From one file to another, without a way through the program's memory. Some of it, if it is much: between two devices that never end
/// nobody else would run meanwhile.
fn sendfile(process: &mut Process, &[to, from, at, length, ..]: &Arguments) -> Outcome {
    const AT_ONCE: u64 = 1 << 20;
    let (to, from) = (open_file(process, to)?, open_file(process, from)?);
    if !from.is_read() || !to.is_written() {
        return Err(Errno::EBADF);
    }
    if from.file.end().is_none() {
        return Err(Errno::EINVAL);
    }
    let start = if at == 0 { from.position() } else { user::read_words::<1>(at)?[0] };
    let mut buffer = vec![0; CHUNK as usize];
    let mut done = 0;
    while done < length.min(AT_ONCE) {
        let room = &mut buffer[..(length - done).min(CHUNK) as usize];
        match send(process, &to, &from, start + done, room) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) => {
                note_broken(process, error);
                if done == 0 {
                    return Err(error);
                }
                process.note_finished();
                break;
            }
        }
    }
    if at == 0 {
        from.set_position(start + done);
    } else {
        user::write_words(at, [start + done])?;
    }
    Ok(done)
}

fn lseek(process: &mut Process, &[descriptor, offset, whence, ..]: &Arguments) -> Outcome {
    const SET: u32 = 0;
    const CURRENT: u32 = 1;
    const END: u32 = 2;
    const DATA: u32 = 3;
    const HOLE: u32 = 4;
    let open = open_file(process, descriptor)?;
    let end = open.file.end().ok_or(Errno::ESPIPE)?;
    let base = match whence as u32 {
        SET => 0,
        CURRENT => open.position(),
        END if open.file.stat().kind == Kind::Directory => return Err(Errno::EINVAL),
        END => end,
        DATA | HOLE => {
            let file = open.file.memory().ok_or(Errno::EINVAL)?;
            let position = file.seek(offset, whence as u32 == DATA)?;
            open.set_position(position);
            return Ok(position);
        }
        _ => return Err(Errno::EINVAL),
    };
    let position = base.checked_add_signed(offset as i64).filter(|&at| at <= i64::MAX as u64).ok_or(Errno::EINVAL)?;
    open.set_position(position);
    Ok(position)
}
