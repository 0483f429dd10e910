//! From the first instruction to `kernel_main` with the MMU on.
//!
//! The order: `head.s` (header, EL2 to EL1, early tables, MMU on, upper half) → [`start`] (first character, device tree, the
//! kernel's own map) → `kernel_main` of the crate `kernel`, with a [`BootInfo`]. Other CPUs, when the kernel has them started:
//! `head.s` → [`secondary`] → `kernel_secondary`.
//!
//! 1. Nothing about the machine is a constant: memory, CPUs, UART, GIC, command line and initrd come from the device tree.
//! 2. What fails early says so, on the UART if the device tree names one, else through semihosting.
//! 3. No page is both writable and executable, in any of its mappings, from the kernel's own map on.
#![no_std]

#[cfg(test)]
extern crate std;

#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
mod early;
pub mod fdt;
mod info;
pub mod map;
mod memory;
#[cfg(target_os = "none")]
pub mod secondary;
#[cfg(target_os = "none")]
pub mod start;

pub use info::{BootInfo, Cpu, Gic, MAX_CPUS, Machine, PsciConduit, Uart};
pub use map::{DEVICE_BASE, device_address};
pub use memory::{MAX_RANGES, PhysRange, Ranges};
