//! unfold: a small arm64 kernel for seeing, counting and checking what memory management does to the TLB.
//!
//! 1. Floors: `arch`, `dev`, `task`, `fs`, `syscall`, `lab`, from the ground up. A floor uses those below it, never one above; where one
//!    below must ask one above, it calls a hook that the one above has installed. Beside the floors stand single files: `walk` and
//!    `command_line` are pure and below them all; `machine`, `heap` and `memory` use `arch`; `check` uses `dev` as well; `start` uses
//!    all, and none uses it.
//! 2. Only `mmu`'s door issues TLBI, DSB and ISB, and only it stores to a table in use. `core::hint::spin_loop` is an ISB here:
//!    waiting is `yield`.
//! 3. The kernel runs with interrupts masked; they are taken from EL0, and where the kernel waits for one. A task gives the CPU away
//!    only where it says so.
//! 4. There is no tick while one task alone could run. Time passes by instructions (`-icount`), so nothing happens between two readings
//!    but the work itself.
//! 5. The kernel does not touch FP or SIMD registers: they are the program's, saved and restored at its entry (`arch::user`).
//! 6. User memory is read and written only through `arch::uaccess`, with PAN on; a wild pointer is an error value.
//! 7. What a program does ends at worst the program. What the kernel does not expect ends the machine, with a report and a
//!    failure status.
//! 8. Nothing about the machine is a constant: it comes from the device tree (`boot`) and the ID registers (`arch::features`).
#![cfg_attr(not(test), no_std)]

extern crate alloc;

#[cfg(target_os = "none")]
pub mod arch;
#[cfg(target_os = "none")]
pub mod check;
pub mod command_line;
#[cfg(target_os = "none")]
pub mod dev;
pub mod fs;
#[cfg(target_os = "none")]
pub mod heap;
pub mod lab;
#[cfg(target_os = "none")]
pub mod machine;
#[cfg(target_os = "none")]
pub mod memory;
#[cfg(target_os = "none")]
pub mod start;
#[cfg(target_os = "none")]
pub mod syscall;
pub mod task;
pub mod walk;

#[cfg(target_os = "none")]
pub use memory::memory;
