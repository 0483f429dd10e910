//! Processes making others, and threads: clone in its two forms, execve, and the parent's wait.

use alloc::string::String;
use alloc::vec::Vec;

use mm::Errno;

use super::{Arguments, Call, Outcome, call, ended_wait, missing_part, user};
use crate::fs;
use crate::fs::tree::{Found, Node};
use crate::task::exec::{Exec, exec};
use crate::task::family::Which;
use crate::task::fork::{Start, add_thread, fork};
use crate::task::handle::family;
use crate::task::status::Signal;
use crate::task::{ExitStatus, Process};

pub const CALLS: &[Call] = &[call(220, clone), call(221, execve), call(260, wait4), call(435, clone3)];

/// Flags of clone, with Linux's values.
mod flag {
    pub const SIGNAL: u64 = 0xff;
    pub const VM: u64 = 0x100;
    pub const FS: u64 = 0x200;
    pub const FILES: u64 = 0x400;
    pub const SIGHAND: u64 = 0x800;
    pub const VFORK: u64 = 0x4000;
    pub const THREAD: u64 = 0x1_0000;
    pub const SYSVSEM: u64 = 0x4_0000;
    pub const SETTLS: u64 = 0x8_0000;
    pub const PARENT_SETTID: u64 = 0x10_0000;
    pub const CHILD_CLEARTID: u64 = 0x20_0000;
    pub const DETACHED: u64 = 0x40_0000;
    pub const CHILD_SETTID: u64 = 0x100_0000;

    /// What goes with a new process and with a new thread: SYSVSEM is about what nobody has here.
    const BOTH: u64 = SIGNAL | VM | SETTLS | PARENT_SETTID | CHILD_CLEARTID | DETACHED | CHILD_SETTID | SYSVSEM;
    /// What a process can be made with.
    pub const PROCESS: u64 = BOTH | VFORK;
    /// What a thread shares.
    pub const SHARED: u64 = VM | FS | FILES | SIGHAND | THREAD;
    /// What a thread can be made with.
    pub const WITH_THREAD: u64 = BOTH | SHARED;
}

fn clone(
    process: &mut Process,
    &[flags, stack, parent_number, thread_pointer, child_number, _]: &Arguments,
) -> Outcome {
    let flags = flags as u32 as u64;
    let is_set = |flag: u64| flags & flag != 0;
    if is_set(flag::THREAD) && !is_set(flag::SIGHAND) || is_set(flag::SIGHAND) && !is_set(flag::VM) {
        return Err(Errno::EINVAL);
    }
    let start = Start {
        stack: (stack != 0).then_some(stack),
        thread_pointer: is_set(flag::SETTLS).then_some(thread_pointer),
        number_at: is_set(flag::CHILD_SETTID).then_some(child_number),
        cleared: if is_set(flag::CHILD_CLEARTID) { child_number } else { 0 },
    };
    let number_at = is_set(flag::PARENT_SETTID).then_some(parent_number);
    if is_set(flag::THREAD) {
        if flags & !flag::WITH_THREAD != 0 || flags & flag::SHARED != flag::SHARED {
            return Err(missing_part(process, "clone of a thread that does not share all that threads share"));
        }
        return add_thread(process, start, number_at).map(u64::from);
    }
    if flags & !flag::PROCESS != 0 || is_set(flag::VM) != is_set(flag::VFORK) {
        return Err(missing_part(
            process,
            "clone of a process that shares more than memory until it runs another program",
        ));
    }
    if flags & flag::SIGNAL != Signal::CHLD.0.into() {
        return Err(missing_part(process, "clone of a process that ends with another signal than SIGCHLD"));
    }
    let pid = fork(process, start, is_set(flag::VM))?;
    if let Some(address) = number_at {
        // The child is there, so it is too late for an error.
        let _ = user::write_bytes(address, &pid.to_le_bytes());
    }
    Ok(pid.into())
}

/// Declined, as kernels built without it do: libc then takes clone. Every libc asks, so it is not worth noting.
fn clone3(_: &mut Process, _: &Arguments) -> Outcome {
    Err(Errno::ENOSYS)
}

fn execve(process: &mut Process, &[path, arguments, environment, ..]: &Arguments) -> Outcome {
    let path = user::read_path(path)?;
    let mut room = user::TextRoom::new().ok_or(Errno::E2BIG)?;
    let mut arguments = user::read_texts(arguments, &mut room)?;
    let environment = user::read_texts(environment, &mut room)?;
    if arguments.is_empty() {
        // As on Linux, a program always has a name.
        arguments.push(Vec::new());
    }
    let found = program(process, &path)?;
    exec(process, &Exec { path: &found, arguments: &arguments, environment: &environment })?;
    Ok(0)
}

/// The program that a path leads to, by its path without links.
fn program(process: &mut Process, path: &str) -> Result<String, Errno> {
    match fs::find(process, path, true) {
        Ok(Found { node: Node::Program(_), path }) => Ok(path),
        Ok(_) => Err(Errno::EACCES),
        Err(error) => {
            if error == Errno::ENOENT && !path.is_empty() {
                process.handle.missing().note(&alloc::format!("the program {}", path.escape_debug()));
            }
            Err(error)
        }
    }
}

/// Bytes of a `rusage`, which is all zero.
const USAGE: usize = 144;

fn wait4(process: &mut Process, &[pid, status_at, options, usage, ..]: &Arguments) -> Outcome {
    const NOHANG: u32 = 1;
    const UNTRACED: u32 = 2;
    const CONTINUED: u32 = 8;
    /// __WNOTHREAD and __WALL; __WCLONE would ask for children of another signal than SIGCHLD.
    const ANY_KIND: u32 = 0x2000_0000 | 0x4000_0000;
    let options = options as u32;
    if options & !(NOHANG | UNTRACED | CONTINUED | ANY_KIND) != 0 {
        return Err(Errno::EINVAL);
    }
    let own = process.pid();
    let which = match pid as i32 {
        i32::MIN => return Err(Errno::ESRCH),
        -1 => Which::Any,
        0 => Which::Group(family().group(own)?),
        pid @ ..=-2 => Which::Group(pid.unsigned_abs()),
        pid => Which::Child(pid as u32),
    };
    let ask = || family().ask_for(own, which, false).transpose();
    let found = if options & NOHANG != 0 {
        match ask() {
            Some(found) => found?,
            None => return Ok(0),
        }
    } else {
        let handle = process.handle.clone();
        match process.sleep(&[&handle.children], "for a child to end", None, ask) {
            Ok(found) => found?,
            Err(end) => return Err(ended_wait(process, end)),
        }
    };
    tell(found, status_at, usage)
}

fn tell((pid, status): (u32, ExitStatus), status_at: u64, usage: u64) -> Outcome {
    if status_at != 0 {
        user::write_bytes(status_at, &status.wait_status().to_le_bytes())?;
    }
    if usage != 0 {
        user::write_bytes(usage, &[0; USAGE])?;
    }
    Ok(pid.into())
}
