//! Signals that processes send to each other, and what one asks for about its own.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use mm::Errno;

use super::{Arguments, Call, Outcome, call, ended_wait, missing_part, time, user};
use crate::arch::timer;
use crate::task::family::FIRST;
use crate::task::handle::{Handle, family};
use crate::task::signals::{Action, AlternateStack, Info};
use crate::task::status::Signal;
use crate::task::{ExitStatus, NoUse, Process, deliver};

pub const CALLS: &[Call] = &[
    call(129, kill),
    call(130, tkill),
    call(131, tgkill),
    call(132, sigaltstack),
    call(133, rt_sigsuspend),
    call(134, rt_sigaction),
    call(135, rt_sigprocmask),
    call(136, rt_sigpending),
    call(137, rt_sigtimedwait),
    call(139, rt_sigreturn),
];

/// Bytes of a set of signals.
const SET: u64 = 8;

/// The signal of this number, an int in a register; `None` for 0, which only asks whether one could be sent.
fn signal(process: &mut Process, number: u64) -> Result<Option<Signal>, Errno> {
    if number as u32 == 0 {
        return Ok(None);
    }
    let signal = Signal::from_number(u64::from(number as u32)).ok_or(Errno::EINVAL)?;
    if signal.is_stop() {
        return Err(missing_part(process, "a signal that stops a process"));
    }
    Ok(Some(signal))
}

fn kill(process: &mut Process, &[pid, number, ..]: &Arguments) -> Outcome {
    let signal = signal(process, number)?;
    let own = process.pid();
    let processes = family();
    let targets: Vec<Arc<Handle>> = match pid as i32 {
        0 => processes.alive_in(processes.group(own)?),
        -1 => processes.alive().into_iter().filter(|target| target.pid != own && target.pid != FIRST).collect(),
        group @ ..=-2 => processes.alive_in(group.unsigned_abs()),
        pid => match processes.with_thread(pid as u32) {
            Some(target) => vec![target],
            // One that has ended, and was not asked for, takes any signal.
            None if processes.exists(pid as u32) => return Ok(0),
            None => vec![],
        },
    };
    drop(processes);
    if targets.is_empty() {
        return Err(Errno::ESRCH);
    }
    if let Some(signal) = signal {
        targets.iter().for_each(|target| target.send(Info::sent_by(signal, own)));
    }
    Ok(0)
}

/// Sends a thread a signal, of process `group` if that is named.
fn send_to_thread(process: &mut Process, group: Option<u64>, thread: u64, number: u64) -> Outcome {
    if thread as i32 <= 0 || group.is_some_and(|group| group as i32 <= 0) {
        return Err(Errno::EINVAL);
    }
    let (signal, thread) = (signal(process, number)?, thread as u32);
    let target = family().with_thread(thread).ok_or(Errno::ESRCH)?;
    if group.is_some_and(|group| group as u32 != target.pid) {
        return Err(Errno::ESRCH);
    }
    // A first thread that has ended before the others takes any signal.
    match signal {
        Some(signal)
            if !target.send_to(thread, Info::sent_to_thread(signal, process.pid())) && thread != target.pid =>
        {
            Err(Errno::ESRCH)
        }
        _ => Ok(0),
    }
}

fn tkill(process: &mut Process, &[thread, number, ..]: &Arguments) -> Outcome {
    send_to_thread(process, None, thread, number)
}

fn tgkill(process: &mut Process, &[group, thread, number, ..]: &Arguments) -> Outcome {
    send_to_thread(process, Some(group), thread, number)
}

/// Sleeps until a signal comes, with others blocked meanwhile.
fn rt_sigsuspend(process: &mut Process, &[set, size, ..]: &Arguments) -> Outcome {
    if size != SET {
        return Err(Errno::EINVAL);
    }
    let [set] = user::read_words(set)?;
    process.signals().begin_wait(set);
    // It ends by a signal: nothing else is waited for. It is not made again after the handler.
    match process.sleep(&[], "for a signal", None, || None::<()>) {
        Ok(()) | Err(_) => Err(Errno::EINTR),
    }
}

/// Sleeps until one of a set of signals comes, which the process blocks; its number.
fn rt_sigtimedwait(process: &mut Process, &[set, info_at, timeout, size, ..]: &Arguments) -> Outcome {
    if size != SET {
        return Err(Errno::EINVAL);
    }
    let [set] = user::read_words(set)?;
    let deadline = match timeout {
        0 => None,
        timeout => Some(timer::now_ns().saturating_add(time::read_span(timeout)?)),
    };
    let take = || process.signals().take_awaited(set);
    let info = match process.sleep(&[], "for a signal", deadline, take) {
        Ok(info) => info,
        Err(NoUse::Signal) => return Err(Errno::EINTR),
        Err(end @ NoUse::TimedOut) => return Err(ended_wait(process, end)),
    };
    if info_at != 0 {
        user::write_bytes(info_at, &info.bytes())?;
    }
    Ok(info.signal.0.into())
}

fn rt_sigaction(process: &mut Process, &[number, new, old, size, ..]: &Arguments) -> Outcome {
    let signal = Signal::from_number(u64::from(number as u32)).ok_or(Errno::EINVAL)?;
    if size != SET {
        return Err(Errno::EINVAL);
    }
    let before = process.signals().action(signal);
    if new != 0 {
        let [handler, flags, restorer, mask] = user::read_words(new)?;
        if !process.signals().set_action(signal, Action { handler, flags, restorer, mask }) {
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
    let before = process.signals().blocked();
    if new != 0 {
        let [set] = user::read_words(new)?;
        process.signals().set_blocked(match how as u32 {
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
    let mut signals = process.signals();
    let pending = signals.pending() & signals.blocked();
    drop(signals);
    user::write_bytes(to, &pending.to_le_bytes()[..size as usize])?;
    Ok(0)
}

/// Gives x0 its old value, as all registers.
fn rt_sigreturn(process: &mut Process, _: &Arguments) -> Outcome {
    if deliver::sigreturn(process) {
        return Ok(process.context.x[0]);
    }
    log::info!("{}: rt_sigreturn, and its stack has no frame of a signal", process.label());
    process.end(ExitStatus::Killed(Signal::SEGV));
    Ok(0)
}

fn sigaltstack(process: &mut Process, &[new, old, ..]: &Arguments) -> Outcome {
    let sp = process.context.sp;
    let before = process.signals().stack().told(sp);
    if new != 0 {
        let [address, flags, size] = user::read_words(new)?;
        process.signals().set_stack(AlternateStack { address, flags: flags as u32, size }, sp)?;
    }
    if old != 0 {
        user::write_words(old, [before.address, before.flags.into(), before.size])?;
    }
    Ok(0)
}
