//! The CPU and what belongs to every arm64 machine: exceptions, user entry, user memory, interrupts, time, power.

pub mod backtrace;
pub mod context;
pub mod cpu;
pub mod cpus;
pub mod exception;
pub mod features;
pub mod gic;
pub mod pmu;
pub mod psci;
pub mod semihosting;
pub mod syndrome;
pub mod tables;
pub mod timer;
pub mod uaccess;
pub mod user;
