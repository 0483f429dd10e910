//! Signals between processes: handlers, waits that they interrupt, waits for them.

use core::sync::atomic::{AtomicU64, Ordering};

use user::process::{self, DEFAULT, End, Handler, IGNORE, RESTART, bit, signal, spawn, wait_for};
use user::sys::{self, Error, error, number};

use super::program::Check;

pub const CHECKS: &[(&str, Check)] = &[
    ("SIGCHLD tells of a child's end", child_ends),
    ("a signal interrupts a wait, or the wait goes on", interrupted),
    ("a wait for a signal ends when it comes", suspended),
    ("a signal that is blocked can be asked for", asked_for),
    ("a wait for all signals leaves SIGKILL alone", killed_in_wait),
    ("a child has handlers, and no signal that waits", inherited),
    ("children that nobody wants to hear of leave nothing", unheard),
];

/// The last signal that was handled, and how many were.
static LAST: AtomicU64 = AtomicU64::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);

extern "C" fn note(signal: u64) {
    LAST.store(signal, Ordering::Relaxed);
    COUNT.fetch_add(1, Ordering::Relaxed);
}

/// Has a signal noted; forgets those before.
fn note_signal(signal: u64, flags: u64) -> Result<(), Error> {
    LAST.store(0, Ordering::Relaxed);
    COUNT.store(0, Ordering::Relaxed);
    process::handle(signal, note as Handler as usize as u64, flags).map(|_| ())
}

fn noted() -> (u64, u64) {
    (LAST.load(Ordering::Relaxed), COUNT.load(Ordering::Relaxed))
}

fn child_ends() -> Result<bool, Error> {
    note_signal(signal::CHLD, RESTART)?;
    let child = spawn(|| 3)?;
    let end = wait_for(child)?;
    process::handle(signal::CHLD, DEFAULT, 0)?;
    Ok(end == End::Exited(3) && noted() == (signal::CHLD, 1))
}

/// A child that signals this process after a while, and then writes to the pipe.
fn signals_and_writes(write: i32) -> Result<u64, Error> {
    let parent = process::own_number();
    spawn(|| {
        let _ = process::sleep(2_000_000);
        let sent = process::kill(parent as i64, signal::USR1).is_ok();
        let _ = process::sleep(2_000_000);
        u8::from(!(sent && sys::write(write, b"x") == Ok(1)))
    })
}

fn interrupted() -> Result<bool, Error> {
    let [read, write] = process::pipe(0)?;
    let mut byte = [0];
    note_signal(signal::USR1, 0)?;
    let child = signals_and_writes(write)?;
    let stopped = process::read(read, &mut byte) == Err(Error(error::EINTR)) && noted() == (signal::USR1, 1);
    let then = process::read(read, &mut byte)? == 1 && wait_for(child)? == End::Exited(0);
    note_signal(signal::USR1, RESTART)?;
    let child = signals_and_writes(write)?;
    let went_on = process::read(read, &mut byte)? == 1 && noted() == (signal::USR1, 1);
    let ended = wait_for(child)? == End::Exited(0);
    note_signal(signal::USR1, RESTART)?;
    let child = signals_and_writes(write)?;
    let slept = process::sleep(900_000_000) == Err(Error(error::EINTR)) && noted().1 == 1;
    process::handle(signal::USR1, DEFAULT, 0)?;
    let last = process::read(read, &mut byte)? == 1 && wait_for(child)? == End::Exited(0);
    process::close(read)?;
    process::close(write)?;
    Ok(stopped && then && went_on && ended && slept && last)
}

fn suspended() -> Result<bool, Error> {
    note_signal(signal::USR2, 0)?;
    process::set_blocked(bit(signal::USR2))?;
    let parent = process::own_number();
    let child = spawn(|| u8::from(process::kill(parent as i64, signal::USR2).is_err()))?;
    let end = wait_for(child)?;
    let held = noted().1 == 0;
    let none = 0u64;
    // SAFETY: the kernel reads the set.
    let woken = unsafe { sys::call(number::SIGSUSPEND, [(&raw const none).addr() as u64, 8, 0, 0, 0, 0]) };
    let handled = noted() == (signal::USR2, 1);
    // What was blocked before the wait is blocked again: it stays with the next one.
    process::kill(parent as i64, signal::USR2)?;
    let held_again = noted().1 == 1;
    process::set_blocked(0)?;
    let let_go = noted().1 == 2;
    process::handle(signal::USR2, DEFAULT, 0)?;
    Ok(end == End::Exited(0) && held && woken == Err(Error(error::EINTR)) && handled && held_again && let_go)
}

/// Waits for a signal of a set, at most so long.
fn await_signal(set: u64, nanoseconds: u64) -> Result<u64, Error> {
    let span = [0, nanoseconds];
    // SAFETY: the kernel reads both.
    unsafe {
        let (set, span) = ((&raw const set).addr() as u64, span.as_ptr().addr() as u64);
        sys::call(number::SIGTIMEDWAIT, [set, 0, span, 8, 0, 0])
    }
}

fn asked_for() -> Result<bool, Error> {
    let set = bit(signal::CHLD) | bit(signal::USR1);
    process::set_blocked(set)?;
    let none = await_signal(set, 1_000_000) == Err(Error(error::EAGAIN));
    let child = spawn(|| 0)?;
    let ends = await_signal(set, 900_000_000)? == signal::CHLD;
    let end = wait_for(child)?;
    process::kill(process::own_number() as i64, signal::USR1)?;
    let own = await_signal(set, 0)? == signal::USR1;
    process::set_blocked(0)?;
    Ok(none && ends && own && end == End::Exited(0))
}

fn killed_in_wait() -> Result<bool, Error> {
    let child = spawn(|| await_signal(u64::MAX, 900_000_000).map_or(1, |signal| signal as u8))?;
    process::sleep(2_000_000)?;
    process::kill(child as i64, signal::KILL)?;
    Ok(wait_for(child)? == End::Killed(signal::KILL))
}

fn inherited() -> Result<bool, Error> {
    note_signal(signal::USR1, 0)?;
    process::set_blocked(bit(signal::USR1))?;
    process::kill(process::own_number() as i64, signal::USR1)?;
    let child = spawn(|| {
        let let_go = process::set_blocked(0).is_ok();
        let nothing_waits = noted().1 == 0;
        let sent = process::kill(process::own_number() as i64, signal::USR1).is_ok();
        u8::from(!(let_go && nothing_waits && sent && noted() == (signal::USR1, 1)))
    })?;
    let end = wait_for(child)?;
    process::set_blocked(0)?;
    let own = noted() == (signal::USR1, 1);
    process::handle(signal::USR1, DEFAULT, 0)?;
    Ok(own && end == End::Exited(0))
}

fn unheard() -> Result<bool, Error> {
    process::handle(signal::CHLD, IGNORE, 0)?;
    spawn(|| 3)?;
    spawn(|| 4)?;
    let none = process::wait(-1, 0) == Err(Error(error::ECHILD));
    process::handle(signal::CHLD, DEFAULT, 0)?;
    Ok(none)
}
