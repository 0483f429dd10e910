//! Signals between processes: handlers, waits that they interrupt, waits for them.

use core::sync::atomic::{AtomicU64, Ordering};

use user::check::Checks;
use user::process::{self, DEFAULT, End, Handler, IGNORE, RESTART, bit, signal, spawn, wait_for};
use user::sys::{self, Error, error, number};

pub const CHECKS: Checks = &[
    ("SIGCHLD tells of a child's end", child_ends),
    ("a signal interrupts a wait, or the wait goes on", interrupted),
    ("a wait for a signal ends when it comes", suspended),
    ("a signal that is blocked can be asked for", asked_for),
    ("a wait for all signals leaves SIGKILL alone", killed_in_wait),
    ("a long populate leaves others their turns, and ends when it is killed", killed_at_work),
    ("a stack for handlers stays while one runs on it", stack_in_use),
    ("a stack for handlers that disarms itself is back after one", stack_disarmed),
    ("a handler whose stack has no room is a SIGSEGV", no_room),
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

/// What a handler on a stack of its own was told of it, and what became of its attempt to do without.
static TOLD: [AtomicU64; 2] = [const { AtomicU64::new(u64::MAX) }; 2];

extern "C" fn ask_for_stack(_: u64) {
    // SAFETY: there is no stack afterwards, or the one that the handler runs on, as before.
    let old = unsafe { process::set_stack(process::NO_STACK) };
    let told = old.map_or_else(|Error(error)| [0, error as u64], |[_, flags, _]| [1, flags]);
    TOLD.iter().zip(told).for_each(|(to, word)| to.store(word, Ordering::Relaxed));
}

const STACK: u64 = 32 << 10;

/// Has SIGUSR1 handled on a stack with these flags. What the handler was told, and what the stack is afterwards.
fn handled_on_stack(flags: u64) -> Result<([u64; 2], Option<process::Stack>), Error> {
    let stack = [sys::map(STACK, sys::PROT_READ | sys::PROT_WRITE)?, flags, STACK];
    // SAFETY: the map is new.
    unsafe { process::set_stack(stack) }?;
    process::handle(signal::USR1, ask_for_stack as Handler as usize as u64, process::ON_STACK)?;
    process::kill(process::own_number() as i64, signal::USR1)?;
    process::handle(signal::USR1, DEFAULT, 0)?;
    // SAFETY: there is none afterwards.
    let after = unsafe { process::set_stack(process::NO_STACK) }?;
    // SAFETY: no handler runs.
    unsafe { sys::unmap(stack[0], STACK) }?;
    Ok((TOLD.each_ref().map(|word| word.load(Ordering::Relaxed)), (after == stack).then_some(after)))
}

fn stack_in_use() -> Result<bool, Error> {
    let (told, after) = handled_on_stack(0)?;
    Ok(told == [0, error::EPERM as u64] && after.is_some())
}

fn stack_disarmed() -> Result<bool, Error> {
    const AUTODISARM: u64 = 1 << 31;
    const DISABLED: u64 = 2;
    let (told, after) = handled_on_stack(AUTODISARM)?;
    Ok(told == [1, DISABLED] && after.is_some())
}

fn no_room() -> Result<bool, Error> {
    let child = spawn(|| {
        let Ok(nowhere) = sys::map(STACK, 0) else { return 1 };
        // SAFETY: nothing else is there, nor can be.
        let set = unsafe { process::set_stack([nowhere, 0, STACK]) };
        let handled = process::handle(signal::USR1, note as Handler as usize as u64, process::ON_STACK);
        let sent = process::kill(process::own_number() as i64, signal::USR1);
        u8::from(set.and(handled).and(sent).is_ok())
    })?;
    Ok(wait_for(child)? == End::Killed(signal::SEGV))
}

/// A child that makes 1 TiB readable, which takes longer than anybody waits.
fn killed_at_work() -> Result<bool, Error> {
    const SIZE: u64 = 1 << 40;
    const PRIVATE_ANONYMOUS_NORESERVE: u64 = 0x4022;
    let child = spawn(|| {
        // SAFETY: a map of its own, where nothing was, of which it is read.
        unsafe {
            let area = sys::call(number::MMAP, [0, SIZE, sys::PROT_READ, PRIVATE_ANONYMOUS_NORESERVE, u64::MAX, 0]);
            let populated = area.and_then(|area| sys::advise(area, SIZE, sys::advice::POPULATE_READ));
            populated.map_or(1, |_| 0)
        }
    })?;
    process::sleep(20_000_000)?;
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
