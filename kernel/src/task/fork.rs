//! Makes a child of a process, or another thread of it.

use alloc::boxed::Box;
use alloc::sync::Arc;

use mm::Errno;

use super::family::Pid;
use super::farewell::Farewell;
use super::process::Process;
use super::{handle, run, schedule};
use crate::arch::uaccess;

/// How the first thread of a child, or a new thread, differs from the one that makes it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Start {
    /// Where its stack starts, if not where the maker's is.
    pub stack: Option<u64>,
    /// Its TPIDR_EL0.
    pub thread_pointer: Option<u64>,
    /// Where in its memory its number goes.
    pub number_at: Option<u64>,
    /// The word that becomes 0 at its end.
    pub cleared: u64,
}

/// Makes a child; its number. If it `borrows` its parent's memory, the parent's thread sleeps until it ends or runs another program
/// (`vfork`).
///
/// # Errors
/// `EAGAIN` if there are too many processes, `ENOMEM` if there is no memory for it.
pub fn fork(parent: &mut Process, start: Start, borrows: bool) -> Result<Pid, Errno> {
    let space = if borrows { parent.space.clone() } else { Arc::new(parent.space.fork()?) };
    let handle = handle::add_child(&parent.handle, parent.thread())?;
    let child = parent.child(space, handle.clone());
    if let Err(error) = begin(child, start) {
        handle::family().forget(handle.pid);
        return Err(error);
    }
    if borrows {
        handle.wait_for_memory(|| parent.signals().is_doomed());
    }
    Ok(handle.pid)
}

/// Makes a thread; its number, which is told at `number_at` before it runs, if that is an address.
///
/// # Errors
/// `EAGAIN` if there are too many threads.
pub fn add_thread(process: &mut Process, start: Start, number_at: Option<u64>) -> Result<Pid, Errno> {
    let number = handle::add_thread(&process.handle, process.thread())?;
    if let Some(address) = number_at {
        // As on Linux, who can not be told the number lives without.
        let _ = uaccess::copy_out(address, &number.to_le_bytes());
    }
    let thread = process.new_thread(number);
    begin(thread, start).inspect_err(|_| handle::forget_thread(&process.handle, number))?;
    Ok(number)
}

/// Has a new thread run, as soon as it is its turn.
fn begin(mut thread: Process, start: Start) -> Result<(), Errno> {
    thread.context.sp = start.stack.unwrap_or(thread.context.sp);
    thread.context.tpidr = start.thread_pointer.unwrap_or(thread.context.tpidr);
    thread.farewell = Farewell { cleared: start.cleared, locks: 0 };
    let (label, space, handle, number) =
        (thread.label(), thread.space.inner().clone(), thread.handle.clone(), thread.thread());
    let life = move || {
        if let Some(address) = start.number_at {
            // As on Linux, one that can not be told its number lives without.
            let _ = uaccess::copy_out(address, &number.to_le_bytes());
        }
        run::live(thread);
    };
    let task = schedule::spawn(&label, Some(space), Box::new(life)).map_err(|schedule::TooMany| Errno::EAGAIN)?;
    handle.add_task(number, task);
    Ok(())
}
