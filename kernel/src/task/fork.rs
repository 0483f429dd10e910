//! Makes a child of a process.

use alloc::boxed::Box;
use alloc::sync::Arc;

use mm::Errno;

use super::family::Pid;
use super::process::Process;
use super::{handle, run, schedule};
use crate::arch::uaccess;

/// How the child differs from its parent.
#[derive(Clone, Copy, Default, Debug)]
pub struct Fork {
    /// Where its stack starts, if not where the parent's is.
    pub stack: Option<u64>,
    /// Its TPIDR_EL0.
    pub thread_pointer: Option<u64>,
    /// Where in its memory its number goes.
    pub number_at: Option<u64>,
    /// It borrows its parent's memory, who sleeps until it ends or runs another program (`vfork`).
    pub borrows: bool,
}

/// Makes a child; its number.
///
/// # Errors
/// `EAGAIN` if there are too many processes, `ENOMEM` if there is no memory for it.
pub fn fork(parent: &mut Process, how: &Fork) -> Result<Pid, Errno> {
    let space = if how.borrows { parent.space.clone() } else { Arc::new(parent.space.fork()?) };
    let handle = handle::add_child(&parent.handle)?;
    let mut child = parent.child(space, handle.clone());
    child.context.sp = how.stack.unwrap_or(child.context.sp);
    child.context.tpidr = how.thread_pointer.unwrap_or(child.context.tpidr);
    let (label, space, number_at) = (child.label(), child.space.inner().clone(), how.number_at);
    let begin = move || {
        if let Some(address) = number_at {
            // As on Linux, a child that can not be told its number lives without.
            let _ = uaccess::copy_out(address, &child.pid().to_le_bytes());
        }
        run::live(child);
    };
    match schedule::spawn(&label, Some(space), Box::new(begin)) {
        Ok(task) => handle.set_task(task),
        Err(schedule::TooMany) => {
            handle::family().forget(handle.pid);
            return Err(Errno::EAGAIN);
        }
    }
    if how.borrows {
        handle.wait_for_memory(&parent.handle);
    }
    Ok(handle.pid)
}
