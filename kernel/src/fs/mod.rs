//! The files that programs find by a path. Nothing is stored: the tree says what there is, and the content is made when it is read.
//!
//! `tree` (paths to nodes) and what formats a content from plain values are pure and tested on the host; `open` and `live` ask the
//! kernel for these values.

pub mod tree;

#[cfg(target_os = "none")]
mod device;
#[cfg(target_os = "none")]
mod directory;
#[cfg(target_os = "none")]
mod live;
#[cfg(target_os = "none")]
mod open;
#[cfg(target_os = "none")]
mod text;

#[cfg(target_os = "none")]
pub use open::{find, open, stat};
