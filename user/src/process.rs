//! Processes, pipes and signals, as system calls have them.

use core::ffi::CStr;

use crate::sys::{self, Error, call, number};

/// Signals, with Linux's numbers.
#[expect(missing_docs, reason = "the names are Linux's own")]
pub mod signal {
    pub const BUS: u64 = 7;
    pub const KILL: u64 = 9;
    pub const USR1: u64 = 10;
    pub const SEGV: u64 = 11;
    pub const USR2: u64 = 12;
    pub const PIPE: u64 = 13;
    pub const TERM: u64 = 15;
    pub const CHLD: u64 = 17;
}

/// SIG_DFL.
pub const DEFAULT: u64 = 0;
/// SIG_IGN.
pub const IGNORE: u64 = 1;
/// SA_SIGINFO: the handler is told more, in a second argument, and what it has interrupted, in a third.
pub const INFO: u64 = 4;
/// SA_ONSTACK: the handler runs on the stack of [`set_stack`].
pub const ON_STACK: u64 = 0x0800_0000;
/// SA_RESTART: a call that the signal interrupts is made again.
pub const RESTART: u64 = 0x1000_0000;
/// WNOHANG.
pub const NOHANG: u64 = 1;
/// O_CLOEXEC.
pub const CLOEXEC: u64 = 0o200_0000;
/// O_NONBLOCK.
pub const NONBLOCK: u64 = 0o4000;

/// The number of this process.
pub fn own_number() -> u64 {
    // SAFETY: touches no memory.
    unsafe { call(number::GETPID, [0; 6]) }.unwrap_or(0)
}

/// The number of its parent.
pub fn parent_number() -> u64 {
    // SAFETY: touches no memory.
    unsafe { call(number::GETPPID, [0; 6]) }.unwrap_or(0)
}

/// A child with a copy of this memory; its number, and 0 in the child.
pub fn fork() -> Result<u64, Error> {
    // SAFETY: the child has memory of its own.
    unsafe { call(number::CLONE, [signal::CHLD, 0, 0, 0, 0, 0]) }
}

/// Has a child do `work` in memory of its own and exit with what that returns; the child's number.
pub fn spawn(work: impl FnOnce() -> u8) -> Result<u64, Error> {
    match fork()? {
        0 => sys::exit(work()),
        child => Ok(child),
    }
}

/// How a child ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It exited with this status.
    Exited(u8),
    /// This signal ended it.
    Killed(u64),
}

/// Waits for a child: its number and how it ended. `None` with [`NOHANG`], if it has not. `child` as `wait4` has it: -1 for any.
pub fn wait(child: i64, options: u64) -> Result<Option<(u64, End)>, Error> {
    let mut status = 0u32;
    // SAFETY: the kernel writes the status alone.
    let found = unsafe { call(number::WAIT4, [child as u64, (&raw mut status).addr() as u64, options, 0, 0, 0]) }?;
    let end = match status & 0x7f {
        0 => End::Exited((status >> 8) as u8),
        signal => End::Killed(signal.into()),
    };
    Ok((found != 0).then_some((found, end)))
}

/// Waits for this child: how it ended.
pub fn wait_for(child: u64) -> Result<End, Error> {
    wait(child as i64, 0).map(|found| found.map_or(End::Exited(255), |(_, end)| end))
}

/// Runs another program in this process.
pub fn execute(path: &CStr, arguments: &[&CStr]) -> Error {
    const MOST: usize = 8;
    let mut list = [0u64; MOST + 1];
    for (to, argument) in list[..MOST].iter_mut().zip(arguments) {
        *to = argument.as_ptr().addr() as u64;
    }
    // SAFETY: the kernel reads the texts; if it returns, nothing has changed.
    match unsafe { call(number::EXECVE, [path.as_ptr().addr() as u64, list.as_ptr().addr() as u64, 0, 0, 0, 0]) } {
        Ok(_) => Error(0),
        Err(error) => error,
    }
}

/// Both ends of a pipe: the one to read, the one to write.
pub fn pipe(flags: u64) -> Result<[i32; 2], Error> {
    let mut ends = [0i32; 2];
    // SAFETY: the kernel writes the two numbers.
    unsafe { call(number::PIPE2, [ends.as_mut_ptr().addr() as u64, flags, 0, 0, 0, 0]) }?;
    Ok(ends)
}

/// Opens a file with flags of `openat`; its descriptor.
pub fn open(path: &CStr, flags: u64) -> Result<i32, Error> {
    const HERE: u64 = -100i64 as u64;
    // SAFETY: the kernel reads the path.
    let file = unsafe { call(number::OPENAT, [HERE, path.as_ptr().addr() as u64, flags, 0, 0, 0]) }?;
    Ok(file as i32)
}

/// Closes a descriptor.
pub fn close(descriptor: i32) -> Result<u64, Error> {
    // SAFETY: touches no memory.
    unsafe { call(number::CLOSE, [descriptor as u64, 0, 0, 0, 0, 0]) }
}

/// Makes `new` stand for what `old` stands for.
pub fn duplicate(old: i32, new: i32) -> Result<u64, Error> {
    // SAFETY: touches no memory.
    unsafe { call(number::DUP3, [old as u64, new as u64, 0, 0, 0, 0]) }
}

/// Reads bytes; how many, 0 at the end.
pub fn read(descriptor: i32, into: &mut [u8]) -> Result<usize, Error> {
    let (to, length) = (into.as_mut_ptr().addr() as u64, into.len() as u64);
    // SAFETY: the kernel writes into the slice.
    unsafe { call(number::READ, [descriptor as u64, to, length, 0, 0, 0]) }.map(|count| count as usize)
}

/// Sends a signal; `process` as `kill` has it: negative for a group.
pub fn kill(process: i64, signal: u64) -> Result<u64, Error> {
    // SAFETY: touches no memory of this process; a handler does what it does.
    unsafe { call(number::KILL, [process as u64, signal, 0, 0, 0, 0]) }
}

/// A handler of signals.
pub type Handler = extern "C" fn(u64);

/// Says what is done about a signal: [`DEFAULT`], [`IGNORE`] or the address of a [`Handler`].
pub fn handle(signal: u64, action: u64, flags: u64) -> Result<u64, Error> {
    let action = [action, flags, 0, 0];
    // SAFETY: the kernel reads the action; without SA_RESTORER it gives the handler a way back itself.
    unsafe { call(number::SIGACTION, [signal, action.as_ptr().addr() as u64, 0, 8, 0, 0]) }
}

/// The stack for handlers: its address, its flags (SS_…) and its size.
pub type Stack = [u64; 3];
/// SS_DISABLE: no stack for handlers.
pub const NO_STACK: Stack = [0, 2, 0];

/// Sets the stack for handlers; what it was.
///
/// # Safety
/// Nothing else may be there.
pub unsafe fn set_stack(stack: Stack) -> Result<Stack, Error> {
    let mut old = Stack::default();
    let addresses = [stack.as_ptr().addr() as u64, old.as_mut_ptr().addr() as u64, 0, 0, 0, 0];
    // SAFETY: the kernel reads one and writes the other; the memory is the caller's duty.
    unsafe { call(number::SIGALTSTACK, addresses) }.map(|_| old)
}

/// The bit of a signal in a set.
pub const fn bit(signal: u64) -> u64 {
    1 << (signal - 1)
}

/// Blocks these signals and no others.
pub fn set_blocked(set: u64) -> Result<u64, Error> {
    const SET_MASK: u64 = 2;
    // SAFETY: the kernel reads the set.
    unsafe { call(number::SIGPROCMASK, [SET_MASK, (&raw const set).addr() as u64, 0, 8, 0, 0]) }
}

/// Sleeps; how much was left is not told when a signal comes.
pub fn sleep(nanoseconds: u64) -> Result<u64, Error> {
    const SECOND: u64 = 1_000_000_000;
    let span = [nanoseconds / SECOND, nanoseconds % SECOND];
    // SAFETY: the kernel reads the span.
    unsafe { call(number::NANOSLEEP, [span.as_ptr().addr() as u64, 0, 0, 0, 0, 0]) }
}
