//! Programs at EL0: found in the initrd, loaded, run to their end, and what becomes of one that goes wrong.
//!
//! 1. What is pure (reading ELF files and archives, laying out a stack, signals, families) knows nothing of the machine and is tested on
//!    the host.
//! 2. Only `space` and, for memory that is watched, `userfault` talk to memory management; only `load`, `deliver`, `fork` and
//!    the system calls write to a program's memory.
//! 3. System calls are a floor above: whoever runs a program says what handles them.
//! 4. A thread is a task of the scheduler's. Its task alone uses its view of the process; what threads share has a lock, or is in the
//!    `handle`, which others have of a process.
//! 5. The kernel runs with interrupts masked and leaves a task only where the task says so. No lock is held there but those of memory
//!    management that allow it.
//! 6. Everything a program sees repeats from run to run: addresses, random numbers, time, whose turn it is.

pub mod about;
pub mod elf;
pub mod family;
pub mod files;
pub mod futex_queue;
pub mod hwcap;
pub mod initrd;
pub mod missing;
pub mod random;
pub mod signal_frame;
pub mod signals;
pub mod stack;
pub mod status;

#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
pub mod deliver;
#[cfg(target_os = "none")]
pub mod exec;
#[cfg(target_os = "none")]
pub mod farewell;
#[cfg(target_os = "none")]
mod fault;
#[cfg(target_os = "none")]
pub mod file;
#[cfg(target_os = "none")]
pub mod fork;
#[cfg(target_os = "none")]
pub mod futex;
#[cfg(target_os = "none")]
pub mod handle;
#[cfg(target_os = "none")]
mod load;
#[cfg(target_os = "none")]
pub mod memory_file;
#[cfg(target_os = "none")]
mod out_of_memory;
#[cfg(target_os = "none")]
pub mod pipe;
#[cfg(target_os = "none")]
mod process;
#[cfg(target_os = "none")]
mod reclaim;
#[cfg(target_os = "none")]
mod report;
#[cfg(target_os = "none")]
mod run;
#[cfg(target_os = "none")]
pub mod schedule;
#[cfg(target_os = "none")]
pub mod space;
#[cfg(target_os = "none")]
pub mod userfault;
#[cfg(target_os = "none")]
pub mod wait;
#[cfg(target_os = "none")]
mod writeback;

pub use stack::STACK_SIZE;
pub use status::ExitStatus;

#[cfg(target_os = "none")]
pub use process::{NoUse, Process, World};
#[cfg(target_os = "none")]
pub use run::{Launch, run};
#[cfg(target_os = "none")]
pub use schedule::spawn_kernel;
#[cfg(target_os = "none")]
pub use wait::WaitQueue;

/// Starts what programs and kernel tasks run by.
#[cfg(target_os = "none")]
pub fn start() {
    schedule::start(handle::kill_all);
}
