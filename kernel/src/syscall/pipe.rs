//! Pipes: making them, and reads and writes that wait for the other end.

use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use mm::Errno;

use super::{Arguments, Call, Outcome, call, ended_wait, user};
use crate::task::Process;
use crate::task::files::Open;
use crate::task::pipe::{self, ATOMIC, Reader, Ready, Writer};
use crate::task::signals::Info;
use crate::task::status::Signal;
use crate::task::stream::Stream;

pub const CALLS: &[Call] = &[call(59, pipe2)];

fn pipe2(process: &mut Process, &[to, flags, ..]: &Arguments) -> Outcome {
    const CLOEXEC: u64 = 0o200_0000;
    const NONBLOCK: u64 = 0o4000;
    if flags & !(CLOEXEC | NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let (reader, writer) = pipe::new(flags & NONBLOCK != 0)?;
    let close_on_exec = flags & CLOEXEC != 0;
    let mut open = |stream| process.files.open(Open { stream, close_on_exec }, 0).ok_or(Errno::EMFILE);
    let read = open(Stream::Reader(reader.into()))?;
    let write = open(Stream::Writer(writer.into()));
    let told = write.and_then(|write| {
        let numbers = [(read as u32).to_le_bytes(), (write as u32).to_le_bytes()];
        user::write_bytes(to, numbers.as_flattened())
    });
    if told.is_err() {
        drop(process.files.close(read));
        drop(write.map(|write| process.files.close(write)));
    }
    told.map(|()| 0)
}

/// Reads what there is, up to `length` bytes; waits for the first one.
pub fn read(process: &mut Process, reader: &Reader, to: u64, length: u64) -> Outcome {
    if length == 0 {
        return Ok(0);
    }
    let most = usize::try_from(length).unwrap_or(usize::MAX).min(pipe::CAPACITY);
    let ready = || match reader.ready() {
        Ready::NotYet => None,
        Ready::Closed => Some(Vec::new()),
        Ready::For(_) => Some(reader.take(most)),
    };
    let bytes = if reader.never_waits.load(Ordering::Relaxed) {
        ready().ok_or(Errno::EAGAIN)?
    } else {
        match process.sleep(&[reader.queue()], "for bytes in a pipe", None, ready) {
            Ok(bytes) => bytes,
            Err(end) => return Err(ended_wait(process, end)),
        }
    };
    if let Err(error) = user::write_bytes(to, &bytes) {
        reader.put_back(&bytes);
        return Err(error);
    }
    Ok(bytes.len() as u64)
}

/// Writes all of it, waiting for room; up to [`ATOMIC`] bytes at once or not at all. A pipe that nobody reads is an error, and a signal.
pub fn write(process: &mut Process, writer: &Writer, from: u64, length: u64) -> Outcome {
    let at_once = if length <= ATOMIC as u64 { length as usize } else { 1 };
    let mut done = 0;
    while done < length {
        let mut chunk = vec![0; (length - done).min(ATOMIC as u64) as usize];
        let written = user::read_bytes(&mut chunk, from.wrapping_add(done))
            .and_then(|()| write_chunk(process, writer, &chunk, at_once));
        match written {
            Ok(count) => done += count as u64,
            Err(error) if done == 0 => return Err(error),
            Err(_) => {
                process.note_finished();
                break;
            }
        }
    }
    Ok(done)
}

/// Writes as much of the chunk as there is room for, at least `at_once` bytes.
fn write_chunk(process: &mut Process, writer: &Writer, chunk: &[u8], at_once: usize) -> Result<usize, Errno> {
    let ready = || match writer.ready() {
        Ready::For(room) if room >= at_once => Some(Ok(room.min(chunk.len()))),
        Ready::For(_) | Ready::NotYet => None,
        Ready::Closed => Some(Err(Errno::EPIPE)),
    };
    let room = if writer.never_waits.load(Ordering::Relaxed) {
        ready().unwrap_or(Err(Errno::EAGAIN))
    } else {
        match process.sleep(&[writer.queue()], "for room in a pipe", None, ready) {
            Ok(room) => room,
            Err(end) => return Err(ended_wait(process, end)),
        }
    };
    match room {
        Ok(count) => {
            writer.put(&chunk[..count]);
            Ok(count)
        }
        Err(error) => {
            if error == Errno::EPIPE {
                process.handle.send(Info::sent_by(Signal::PIPE, process.pid()));
            }
            Err(error)
        }
    }
}
