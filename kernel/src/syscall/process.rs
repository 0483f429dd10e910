//! The process itself, and the thread that asks: its end, its identity, its scheduling.

use alloc::format;

use mm::Errno;

use super::{Arguments, Call, Outcome, call, interval, missing_part, user};
use crate::task::files;
use crate::task::handle::family;
use crate::task::schedule;
use crate::task::{ExitStatus, Process};

pub const CALLS: &[Call] = &[
    call(93, exit),
    call(94, exit_group),
    call(96, set_tid_address),
    call(122, sched_setaffinity),
    call(123, sched_getaffinity),
    call(124, sched_yield),
    call(154, setpgid),
    call(155, getpgid),
    call(156, getsid),
    call(157, setsid),
    call(167, prctl),
    call(168, getcpu),
    call(172, identity),
    call(173, parent),
    call(174, nothing),
    call(175, nothing),
    call(176, nothing),
    call(177, nothing),
    call(178, thread),
    call(261, prlimit64),
    call(293, rseq),
];

fn exit(process: &mut Process, &[status, ..]: &Arguments) -> Outcome {
    process.leave(ExitStatus::Exited(status as u8));
    Ok(0)
}

fn exit_group(process: &mut Process, &[status, ..]: &Arguments) -> Outcome {
    process.end(ExitStatus::Exited(status as u8));
    Ok(0)
}

/// getuid, geteuid, getgid, getegid: the program is root's.
fn nothing(_: &mut Process, _: &Arguments) -> Outcome {
    Ok(0)
}

fn sched_yield(_: &mut Process, _: &Arguments) -> Outcome {
    schedule::yield_now();
    Ok(0)
}

/// getpid.
fn identity(process: &mut Process, _: &Arguments) -> Outcome {
    Ok(process.pid().into())
}

/// gettid.
fn thread(process: &mut Process, _: &Arguments) -> Outcome {
    Ok(process.thread().into())
}

fn parent(process: &mut Process, _: &Arguments) -> Outcome {
    Ok(family().parent(process.pid()).into())
}

/// A process number, an int in a register, in which 0 is the process that asks.
fn number(process: &Process, pid: u64) -> Result<u32, Errno> {
    match pid as i32 {
        ..0 => Err(Errno::ESRCH),
        0 => Ok(process.pid()),
        pid => Ok(pid as u32),
    }
}

fn getpgid(process: &mut Process, &[pid, ..]: &Arguments) -> Outcome {
    Ok(family().group(number(process, pid)?)?.into())
}

fn getsid(process: &mut Process, &[pid, ..]: &Arguments) -> Outcome {
    Ok(family().session(number(process, pid)?)?.into())
}

fn setpgid(process: &mut Process, &[pid, group, ..]: &Arguments) -> Outcome {
    let pid = number(process, pid)?;
    let group = match group as i32 {
        ..0 => return Err(Errno::EINVAL),
        0 => pid,
        group => group as u32,
    };
    family().set_group(process.pid(), pid, group)?;
    Ok(0)
}

fn setsid(process: &mut Process, _: &Arguments) -> Outcome {
    Ok(family().new_session(process.pid())?.into())
}

/// Whether a process number, an int in a register, is 0 or the process that asks.
fn is_self(process: &Process, pid: u64) -> bool {
    number(process, pid) == Ok(process.pid())
}

/// The word at the address becomes 0 when the thread ends, and its futex is woken.
fn set_tid_address(process: &mut Process, &[address, ..]: &Arguments) -> Outcome {
    process.farewell.cleared = address;
    Ok(process.thread().into())
}

/// Declined, as kernels built without it do; every glibc program asks, so it is not worth noting.
fn rseq(_: &mut Process, _: &Arguments) -> Outcome {
    Err(Errno::ENOSYS)
}

/// One CPU, number 0: bytes of the mask that are written.
const MASK: u64 = 8;

fn sched_getaffinity(process: &mut Process, &[pid, size, to, ..]: &Arguments) -> Outcome {
    if !is_self(process, pid) {
        return Err(Errno::ESRCH);
    }
    if size < MASK || size % MASK != 0 {
        return Err(Errno::EINVAL);
    }
    user::write_words(to, [1])?;
    Ok(MASK)
}

fn sched_setaffinity(process: &mut Process, &[pid, size, from, ..]: &Arguments) -> Outcome {
    if !is_self(process, pid) {
        return Err(Errno::ESRCH);
    }
    let mut byte = [0];
    if size > 0 {
        user::read_bytes(&mut byte, from)?;
    }
    if byte[0] & 1 != 0 { Ok(0) } else { Err(Errno::EINVAL) }
}

fn getcpu(_: &mut Process, &[cpu, node, ..]: &Arguments) -> Outcome {
    for to in [cpu, node] {
        if to != 0 {
            user::write_bytes(to, &[0; 4])?;
        }
    }
    Ok(0)
}

fn prctl(process: &mut Process, &[operation, argument, ..]: &Arguments) -> Outcome {
    const SET_NAME: u32 = 15;
    const GET_NAME: u32 = 16;
    const SET_VMA: u32 = 0x5356_4D41;
    match operation as u32 {
        interval::PRCTL => interval::prctl(argument),
        SET_NAME => {
            let mut name = [0; 16];
            for (index, byte) in name.iter_mut().take(15).enumerate() {
                user::read_bytes(core::slice::from_mut(byte), argument.wrapping_add(index as u64))?;
                if *byte == 0 {
                    break;
                }
            }
            process.handle.about().name = name;
            Ok(0)
        }
        GET_NAME => {
            let name = process.handle.about().name;
            user::write_bytes(argument, &name).map(|()| 0)
        }
        // Names for maps: declined, as kernels built without them do; allocators try it and do not mind.
        SET_VMA => Err(Errno::EINVAL),
        other => {
            missing_part(process, &format!("prctl {other}"));
            Err(Errno::EINVAL)
        }
    }
}

/// The limits that there are; none can be changed.
fn prlimit64(process: &mut Process, &[pid, resource, new, old, ..]: &Arguments) -> Outcome {
    const KINDS: u32 = 16;
    const INFINITE: u64 = u64::MAX;
    const STACK: u32 = 3;
    const CORE: u32 = 4;
    const PROCESSES: u32 = 6;
    const FILES: u32 = 7;
    const LOCKED_MEMORY: u32 = 8;
    if !is_self(process, pid) {
        return Err(Errno::ESRCH);
    }
    let resource = resource as u32;
    if resource >= KINDS {
        return Err(Errno::EINVAL);
    }
    if new != 0 {
        missing_part(process, "setrlimit");
        return Err(Errno::EPERM);
    }
    let limit = match resource {
        STACK => crate::task::STACK_SIZE,
        CORE => 0,
        PROCESSES => schedule::most_tasks() as u64,
        FILES => files::MOST as u64,
        LOCKED_MEMORY => 8 << 20,
        _ => INFINITE,
    };
    if old != 0 {
        user::write_words(old, [limit, limit])?;
    }
    Ok(0)
}
