//! Devices of the machine, and what the kernel says through them.

pub mod log;
pub mod pl011;
pub mod record;
mod report;
