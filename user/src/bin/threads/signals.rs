//! Signals to a thread, and to a process that has several.

use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicU32, AtomicU64};

use user::check::Checks;
use user::futex;
use user::process::{self, DEFAULT, Handler, NO_STACK, bit, signal};
use user::sys::{self, Error, call, error, number};
use user::thread::{self, Thread};

use super::futexes::until;

pub const CHECKS: Checks = &[
    ("a signal to a thread is handled there", to_a_thread),
    ("a signal to a process goes to a thread that does not block it", to_the_process),
    ("a signal that all block waits, and one thread takes it", awaited),
    ("a thread begins with what its maker blocks, and no stack for handlers", begins),
    ("there is no such thread", no_such),
];

/// The thread that has handled the last signal.
static HANDLED_BY: AtomicU64 = AtomicU64::new(0);
/// Threads wait here until they shall end.
static END: AtomicU32 = AtomicU32::new(0);

extern "C" fn note(_: u64) {
    HANDLED_BY.store(thread::own_thread(), SeqCst);
}

/// A thread that blocks these signals and waits.
fn waiter(blocked: u64) -> Result<Thread, Error> {
    static READY: AtomicU32 = AtomicU32::new(0);
    READY.store(0, SeqCst);
    let thread = thread::spawn(move || {
        let _ = process::set_blocked(blocked);
        READY.store(1, SeqCst);
        while END.load(SeqCst) == 0 {
            let _ = futex::wait(&END, 0);
        }
    })?;
    until(|| READY.load(SeqCst) == 1);
    Ok(thread)
}

fn end(threads: impl IntoIterator<Item = Thread>) -> Result<(), Error> {
    END.store(1, SeqCst);
    futex::wake(&END, 99)?;
    threads.into_iter().try_for_each(Thread::join)?;
    END.store(0, SeqCst);
    Ok(())
}

fn handled_by(thread: u64) -> bool {
    until(|| HANDLED_BY.load(SeqCst) != 0) && HANDLED_BY.swap(0, SeqCst) == thread
}

fn to_a_thread() -> Result<bool, Error> {
    process::handle(signal::USR1, note as Handler as usize as u64, process::RESTART)?;
    let threads = [waiter(0)?, waiter(0)?];
    let mut ok = true;
    for number in [threads[1].number, threads[0].number, process::own_number()] {
        thread::signal(number, signal::USR1)?;
        ok &= handled_by(number);
    }
    end(threads)?;
    process::handle(signal::USR1, DEFAULT, 0)?;
    Ok(ok)
}

fn to_the_process() -> Result<bool, Error> {
    let own = process::own_number();
    process::handle(signal::USR1, note as Handler as usize as u64, process::RESTART)?;
    let set = bit(signal::USR1);
    let threads = [waiter(set)?, waiter(0)?];
    process::kill(own as i64, signal::USR1)?;
    let first = handled_by(own);
    process::set_blocked(set)?;
    process::kill(own as i64, signal::USR1)?;
    let other = handled_by(threads[1].number);
    process::set_blocked(0)?;
    end(threads)?;
    process::handle(signal::USR1, DEFAULT, 0)?;
    Ok(first && other && HANDLED_BY.load(SeqCst) == 0)
}

fn awaited() -> Result<bool, Error> {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    let set = bit(signal::USR2);
    process::set_blocked(set)?;
    let thread = thread::spawn(move || {
        // SAFETY: the kernel reads the set.
        let taken = unsafe { call(number::SIGTIMEDWAIT, [(&raw const set).addr() as u64, 0, 0, 8, 0, 0]) };
        TAKEN.store(taken.unwrap_or(999), SeqCst);
    })?;
    process::sleep(2_000_000)?;
    process::kill(process::own_number() as i64, signal::USR2)?;
    thread.join()?;
    process::set_blocked(0)?;
    Ok(TAKEN.load(SeqCst) == signal::USR2)
}

fn begins() -> Result<bool, Error> {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    const SIZE: u64 = 16 << 10;
    let stack = sys::map(SIZE, sys::PROT_READ | sys::PROT_WRITE)?;
    // SAFETY: nothing else is there.
    unsafe { process::set_stack([stack, 0, SIZE]) }?;
    process::set_blocked(bit(signal::USR2))?;
    let thread = thread::spawn(|| {
        let mut set = 0u64;
        // SAFETY: the kernel writes the set.
        let _ = unsafe { call(number::SIGPROCMASK, [0, 0, (&raw mut set).addr() as u64, 8, 0, 0]) };
        // SAFETY: there is none then.
        let stack = unsafe { process::set_stack(NO_STACK) };
        SEEN.store(if stack == Ok(NO_STACK) { set } else { 0 }, SeqCst);
    })?;
    thread.join()?;
    process::set_blocked(0)?;
    // SAFETY: there is none then, and nobody refers to its memory.
    let own = unsafe { process::set_stack(NO_STACK).and_then(|own| sys::unmap(stack, SIZE).map(|_| own)) }?;
    Ok(SEEN.load(SeqCst) == bit(signal::USR2) && own == [stack, 0, SIZE])
}

fn no_such() -> Result<bool, Error> {
    let thread = thread::spawn(|| {})?;
    let number = thread.number;
    thread.join()?;
    let none = Err(Error(error::ESRCH));
    // SAFETY: the calls touch no memory.
    let tgkill = |group, thread| unsafe { call(number::TGKILL, [group, thread, 0, 0, 0, 0]) };
    let own = process::own_number();
    let gone = until(|| thread::signal(number, 0) == none);
    Ok(gone && tgkill(own + 1, own) == none && tgkill(own, own) == Ok(0) && tgkill(0, own) == Err(Error(error::EINVAL)))
}
