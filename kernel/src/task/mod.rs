//! Programs at EL0: found in the initrd, loaded, run to their end, and what becomes of one that goes wrong.
//!
//! 1. What is pure (reading ELF files and archives, laying out a stack, signals) knows nothing of the machine and is tested on the host.
//! 2. Only `space` talks to memory management; only `load` and the system calls write to a program's memory.
//! 3. System calls are a floor above: whoever runs a program says what handles them.
//! 4. Everything a program sees repeats from run to run: addresses, random numbers, time.

pub mod elf;
pub mod files;
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
mod fault;
#[cfg(target_os = "none")]
mod load;
#[cfg(target_os = "none")]
mod process;
#[cfg(target_os = "none")]
mod report;
#[cfg(target_os = "none")]
mod run;
#[cfg(target_os = "none")]
pub mod space;

pub use stack::STACK_SIZE;
pub use status::ExitStatus;

/// The number of the one process, and of its one thread.
pub const PID: u64 = 100;

#[cfg(target_os = "none")]
pub use process::Process;
#[cfg(target_os = "none")]
pub use run::{Launch, run};
