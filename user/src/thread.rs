//! Threads: made by `clone`, each with a stack of its own, and joined by the word that the kernel clears at its end.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::futex;
use crate::process::own_number;
use crate::sys::{self, Error, call, number};

/// What threads share: memory, files, the directory, handlers of signals, the process.
pub const SHARED: u64 = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000;
/// CLONE_SYSVSEM, CLONE_SETTLS, CLONE_PARENT_SETTID and CLONE_CHILD_CLEARTID.
const MORE: u64 = 0x4_0000 | 0x8_0000 | 0x10_0000 | 0x20_0000;
/// Bytes of a thread's stack, and the alignment of what is put at its upper end.
const STACK: u64 = 64 << 10;
const ALIGNMENT: usize = 16;

/// A thread. One that is not joined keeps its stack.
#[derive(Debug)]
pub struct Thread {
    /// Its number.
    pub number: u64,
    stack: u64,
    /// Where the word is that becomes 0 at its end.
    ends: u64,
}

/// What lies at the upper end of a thread's stack: the word that is 0 at its end, and what it does.
#[repr(C, align(16))]
struct Top<F> {
    ends: AtomicU32,
    work: F,
}

extern "C" fn run<R, F: FnOnce() -> R>(top: *const Top<F>) {
    // SAFETY: `spawn` has put it there for this thread, which takes it once.
    let work = unsafe { (&raw const (*top).work).read() };
    work();
}

/// Has a new thread do `work`, with an address that it finds in TPIDR_EL0. What the work returns is of no use to anybody.
///
/// # Errors
/// Those of `mmap` and `clone`: `EAGAIN` if there are too many threads.
pub fn spawn_with<R, F: FnOnce() -> R + Send + 'static>(thread_pointer: u64, work: F) -> Result<Thread, Error> {
    const { assert!(align_of::<Top<F>>() == ALIGNMENT && size_of::<Top<F>>() < STACK as usize / 2) };
    let stack = sys::map(STACK, sys::PROT_READ | sys::PROT_WRITE)?;
    let top = stack + STACK - size_of::<Top<F>>() as u64;
    let place = core::ptr::with_exposed_provenance_mut::<Top<F>>(top as usize);
    // SAFETY: inside the new map, which is aligned to a page; the size is a multiple of the alignment.
    unsafe { place.write(Top { ends: AtomicU32::new(1), work }) };
    // SAFETY: the word lies in the map, which is removed when it is 0 or the thread was not made.
    let ends = unsafe { &(*place).ends };
    let entry = run::<R, F> as extern "C" fn(*const Top<F>) as usize as u64;
    // SAFETY: the stack is the thread's own, and the word for its number lies in it; it touches what `work` touches.
    let made = unsafe { clone(SHARED | MORE, top, thread_pointer, ends.as_ptr().addr() as u64, entry) };
    match made {
        Ok(number) => Ok(Thread { number, stack, ends: ends.as_ptr().addr() as u64 }),
        Err(error) => {
            // SAFETY: nobody uses it: there is no thread.
            unsafe { sys::unmap(stack, STACK) }?;
            Err(error)
        }
    }
}

/// The same, with nothing in TPIDR_EL0.
///
/// # Errors
/// As [`spawn_with`].
pub fn spawn<R, F: FnOnce() -> R + Send + 'static>(work: F) -> Result<Thread, Error> {
    spawn_with(0, work)
}

/// The system call, behind which the new thread, or process, calls `entry` with the upper end of its stack, and ends. Its number goes to
/// `number_at`, if a flag says so, and is cleared there at its end, if one says that.
///
/// # Errors
/// Those of `clone`.
///
/// # Safety
/// The stack is the new one's alone, `entry` may be called so, and `number_at` may be written if the flags say so.
pub unsafe fn clone(flags: u64, top: u64, thread_pointer: u64, number_at: u64, entry: u64) -> Result<u64, Error> {
    let result: i64;
    // SAFETY: the new one has registers of its own, and does not come out of here; the rest is the caller's duty.
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 1f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, sp",
            "blr x9",
            "mov x0, xzr",
            "mov x8, {exit}",
            "svc #0",
            "1:",
            exit = const number::EXIT,
            inlateout("x0") flags => result,
            in("x1") top, in("x2") number_at, in("x3") thread_pointer, in("x4") number_at,
            in("x8") number::CLONE, in("x9") entry,
            clobber_abi("C"),
        );
    }
    if result < 0 { Err(Error(-result as i32)) } else { Ok(result as u64) }
}

impl Thread {
    /// Waits for its end.
    ///
    /// # Errors
    /// Those of `futex` and `munmap`.
    pub fn join(self) -> Result<(), Error> {
        // SAFETY: inside the stack, which is there until the thread is joined.
        let ends = unsafe { &*core::ptr::with_exposed_provenance::<AtomicU32>(self.ends as usize) };
        loop {
            let value = ends.load(Ordering::Acquire);
            if value == 0 {
                break;
            }
            futex::wait_shared(ends, value)?;
        }
        // SAFETY: its thread has ended, and nobody else knows of it.
        unsafe { sys::unmap(self.stack, STACK) }.map(drop)
    }
}

/// The number of the thread that asks.
pub fn own_thread() -> u64 {
    // SAFETY: touches no memory.
    unsafe { call(number::GETTID, [0; 6]) }.unwrap_or(0)
}

/// TPIDR_EL0 of the thread that asks.
pub fn thread_pointer() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, tpidr_el0", out(reg) value, options(nostack, nomem, preserves_flags)) };
    value
}

/// Sends a thread of this process a signal.
///
/// # Errors
/// `ESRCH` if there is no such thread.
pub fn signal(thread: u64, signal: u64) -> Result<u64, Error> {
    // SAFETY: touches no memory; a handler does what it does.
    unsafe { call(number::TGKILL, [own_number(), thread, signal, 0, 0, 0]) }
}

/// Ends the thread that asks, not its process.
pub fn exit(status: u8) -> ! {
    loop {
        // SAFETY: the call does not return.
        let _ = unsafe { call(number::EXIT, [status.into(), 0, 0, 0, 0, 0]) };
    }
}
