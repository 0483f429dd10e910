//! The files that programs find by a path. Nothing is stored: the tree says what there is, and the content is made when it is read.
//!
//! `tree` (paths to nodes) and `proc` (texts from plain values) are pure and tested on the host; `memory` and `process` ask the kernel
//! for these values.

pub mod proc;
pub mod tree;

#[cfg(target_os = "none")]
mod device;
#[cfg(target_os = "none")]
mod directory;
#[cfg(target_os = "none")]
mod live;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod open;
#[cfg(target_os = "none")]
mod pins;
#[cfg(target_os = "none")]
mod process;
#[cfg(target_os = "none")]
mod text;

#[cfg(target_os = "none")]
pub use memory::show_counters_by;
#[cfg(target_os = "none")]
pub use open::{find, open, stat};
