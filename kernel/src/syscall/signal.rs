//! Signals that a program sends to itself, and what it asks for about them.

use mm::Errno;

use super::process::is_self;
use super::{Arguments, Call, Outcome, call, missing_part, user};
use crate::task::signals::{Action, AlternateStack};
use crate::task::status::Signal;
use crate::task::{ExitStatus, PID, Process, deliver};

pub const CALLS: &[Call] = &[
    call(129, kill),
    call(130, tkill),
    call(131, tgkill),
    call(132, sigaltstack),
    call(134, rt_sigaction),
    call(135, rt_sigprocmask),
    call(136, rt_sigpending),
    call(139, rt_sigreturn),
];

/// Bytes of a set of signals.
const SET: u64 = 8;

/// Sends signal `number`, an int in a register, to the program itself; 0 only asks whether that could be done.
fn send(process: &mut Process, number: u64) -> Outcome {
    if number as u32 == 0 {
        return Ok(0);
    }
    let signal = Signal::from_number(u64::from(number as u32)).ok_or(Errno::EINVAL)?;
    if signal.is_stop() {
        return Err(missing_part(process, "a signal that stops it"));
    }
    process.signals.raise(signal);
    Ok(0)
}

fn kill(process: &mut Process, &[pid, number, ..]: &Arguments) -> Outcome {
    // 0 and -PID name its process group, -1 all but itself and init.
    let own_group = (pid as i32).unsigned_abs() == PID as u32;
    if is_self(pid) || own_group { send(process, number) } else { Err(Errno::ESRCH) }
}

fn tkill(process: &mut Process, &[thread, number, ..]: &Arguments) -> Outcome {
    match thread as i32 {
        ..=0 => Err(Errno::EINVAL),
        thread if thread as u64 == PID => send(process, number),
        _ => Err(Errno::ESRCH),
    }
}

fn tgkill(process: &mut Process, &[group, thread, number, ..]: &Arguments) -> Outcome {
    match (group as i32, thread as i32) {
        (..=0, _) | (_, ..=0) => Err(Errno::EINVAL),
        (group, thread) if group as u64 == PID && thread as u64 == PID => send(process, number),
        _ => Err(Errno::ESRCH),
    }
}

fn rt_sigaction(process: &mut Process, &[number, new, old, size, ..]: &Arguments) -> Outcome {
    let signal = Signal::from_number(u64::from(number as u32)).ok_or(Errno::EINVAL)?;
    if size != SET {
        return Err(Errno::EINVAL);
    }
    let before = process.signals.action(signal);
    if new != 0 {
        let [handler, flags, restorer, mask] = user::read_words(new)?;
        if !process.signals.set_action(signal, Action { handler, flags, restorer, mask }) {
            return Err(Errno::EINVAL);
        }
    }
    if old != 0 {
        user::write_words(old, [before.handler, before.flags, before.restorer, before.mask])?;
    }
    Ok(0)
}

fn rt_sigprocmask(process: &mut Process, &[how, new, old, size, ..]: &Arguments) -> Outcome {
    const BLOCK: u32 = 0;
    const UNBLOCK: u32 = 1;
    const SET_MASK: u32 = 2;
    if size != SET {
        return Err(Errno::EINVAL);
    }
    let before = process.signals.blocked();
    if new != 0 {
        let [set] = user::read_words(new)?;
        process.signals.set_blocked(match how as u32 {
            BLOCK => before | set,
            UNBLOCK => before & !set,
            SET_MASK => set,
            _ => return Err(Errno::EINVAL),
        });
    }
    if old != 0 {
        user::write_words(old, [before])?;
    }
    Ok(0)
}

fn rt_sigpending(process: &mut Process, &[to, size, ..]: &Arguments) -> Outcome {
    if size > SET {
        return Err(Errno::EINVAL);
    }
    let pending = process.signals.pending() & process.signals.blocked();
    user::write_bytes(to, &pending.to_le_bytes()[..size as usize])?;
    Ok(0)
}

/// Gives x0 its old value, as all registers.
fn rt_sigreturn(process: &mut Process, _: &Arguments) -> Outcome {
    if deliver::sigreturn(process) {
        return Ok(process.context.x[0]);
    }
    log::info!("{}: rt_sigreturn, and its stack has no frame of a signal", process.name);
    process.end(ExitStatus::Killed(Signal::SEGV));
    Ok(0)
}

fn sigaltstack(process: &mut Process, &[new, old, ..]: &Arguments) -> Outcome {
    const SMALLEST: u64 = 5120;
    const AUTODISARM: u32 = 1 << 31;
    const ON_STACK: u32 = 1;
    let before = process.signals.stack;
    if new != 0 {
        let [address, flags, size] = user::read_words(new)?;
        let flags = flags as u32;
        match flags & !AUTODISARM {
            AlternateStack::DISABLED => process.signals.stack = AlternateStack { address: 0, flags, size: 0 },
            0 | ON_STACK if size < SMALLEST => return Err(Errno::ENOMEM),
            0 | ON_STACK => process.signals.stack = AlternateStack { address, flags: flags & AUTODISARM, size },
            _ => return Err(Errno::EINVAL),
        }
    }
    if old != 0 {
        user::write_words(old, [before.address, before.flags.into(), before.size])?;
    }
    Ok(0)
}
