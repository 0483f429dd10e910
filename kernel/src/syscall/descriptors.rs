//! Descriptors: copies of them, their flags, their end.

use alloc::format;
use alloc::sync::Arc;

use mm::Errno;
use mm::file::Seals;

use super::io::open_file;
use super::{Arguments, Call, Outcome, call, missing_part, user};
use crate::task::Process;
use crate::task::file::{File, OpenFile, flags};
use crate::task::files::{self, Open};
use crate::task::pipe;

pub const CALLS: &[Call] =
    &[call(23, dup), call(24, dup3), call(25, fcntl), call(29, ioctl), call(57, close), call(59, pipe2)];

/// Gives an open file the lowest free number; O_CLOEXEC of `flags` says that it goes with the program.
pub fn give(process: &mut Process, file: Arc<OpenFile>, flags: u32) -> Outcome {
    let close_on_exec = flags & flags::CLOEXEC != 0;
    process.files().open(Open { file, close_on_exec }, 0).ok_or(Errno::EMFILE)
}

fn dup(process: &mut Process, &[old, ..]: &Arguments) -> Outcome {
    duplicate(process, old, 0, false)
}

fn duplicate(process: &mut Process, old: u64, least: u64, close_on_exec: bool) -> Outcome {
    let open = Open { close_on_exec, file: open_file(process, old)? };
    process.files().open(open, least).ok_or(Errno::EMFILE)
}

fn dup3(process: &mut Process, &[old, new, flags, ..]: &Arguments) -> Outcome {
    if flags & !u64::from(flags::CLOEXEC) != 0 || old as u32 == new as u32 {
        return Err(Errno::EINVAL);
    }
    let open = Open { close_on_exec: flags != 0, file: open_file(process, old)? };
    let before = process.files().replace(new, open);
    before.map(|_| new).map_err(|_| Errno::EBADF)
}

fn fcntl(process: &mut Process, &[descriptor, command, argument, ..]: &Arguments) -> Outcome {
    const F_DUPFD: u32 = 0;
    const F_GETFD: u32 = 1;
    const F_SETFD: u32 = 2;
    const F_GETFL: u32 = 3;
    const F_SETFL: u32 = 4;
    const F_DUPFD_CLOEXEC: u32 = 1030;
    const F_ADD_SEALS: u32 = 1033;
    const F_GET_SEALS: u32 = 1034;
    const FD_CLOEXEC: u64 = 1;
    let Open { file, close_on_exec } = process.files().get(descriptor).ok_or(Errno::EBADF)?.clone();
    let command = command as u32;
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC if argument >= files::MOST as u64 => Err(Errno::EINVAL),
        F_DUPFD => duplicate(process, descriptor, argument, false),
        F_DUPFD_CLOEXEC => duplicate(process, descriptor, argument, true),
        F_GETFD => Ok(if close_on_exec { FD_CLOEXEC } else { 0 }),
        F_SETFD => {
            process.files().get_mut(descriptor).ok_or(Errno::EBADF)?.close_on_exec = argument & FD_CLOEXEC != 0;
            Ok(0)
        }
        F_GETFL => Ok(file.flags().into()),
        F_SETFL => {
            file.set_flags(argument as u32);
            Ok(0)
        }
        F_ADD_SEALS if !file.is_written() => Err(Errno::EPERM),
        F_ADD_SEALS => {
            let memory = file.file.memory().ok_or(Errno::EINVAL)?;
            memory.seal(Seals::from_bits(argument as u32).ok_or(Errno::EINVAL)?)?;
            Ok(0)
        }
        F_GET_SEALS => Ok(file.file.memory().ok_or(Errno::EINVAL)?.seals().bits().into()),
        _ => Err(missing_part(process, &format!("fcntl {command}"))),
    }
}

/// The UART is no terminal to a program: its output is not edited, so that what a program writes is what comes out.
fn ioctl(process: &mut Process, &[descriptor, request, argument, ..]: &Arguments) -> Outcome {
    let open = open_file(process, descriptor)?;
    open.file.ioctl(process, request as u32, argument)
}

fn close(process: &mut Process, &[descriptor, ..]: &Arguments) -> Outcome {
    let closed = process.files().close(descriptor);
    closed.map(|_| 0).ok_or(Errno::EBADF)
}

fn pipe2(process: &mut Process, &[to, flags, ..]: &Arguments) -> Outcome {
    let flags = flags as u32;
    if flags & !(flags::CLOEXEC | flags::NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let (reader, writer) = pipe::new()?;
    let read = give(process, end_of_pipe(reader, flags), flags)?;
    let write = give(process, end_of_pipe(writer, flags | flags::WRITE_ONLY), flags);
    let told = write.and_then(|write| {
        let numbers = [(read as u32).to_le_bytes(), (write as u32).to_le_bytes()];
        user::write_bytes(to, numbers.as_flattened())
    });
    if told.is_err() {
        let closed = [Ok(read), write].map(|number| number.ok().and_then(|number| process.files().close(number)));
        drop(closed);
    }
    told.map(|()| 0)
}

fn end_of_pipe(end: impl File + 'static, flags: u32) -> Arc<OpenFile> {
    let path = format!("pipe:[{}]", end.stat().inode);
    OpenFile::new(end, &path, flags)
}
