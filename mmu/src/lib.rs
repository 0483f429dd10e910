//! The machine below memory management: addresses, stage 1 descriptors, TLB operations, barriers, and the one door to them.
//!
//! 1. Only [`Door`] stores to a table page in use, issues TLBI, or issues the barriers that order them.
//! 2. Everything that passes through the door is counted where it is done; nothing else raises those counters.
//! 3. Descriptors, operations and plans are plain values; their arithmetic is tested on the host against vectors.
//! 4. Descriptors in memory are atomics, because hardware updates them too (FEAT_HAFDBS).
//! 5. On the host the same door opens to a simulated machine, so that memory management runs under `cargo test`.
//! 6. Nothing here knows what a folio is.
#![no_std]

#[cfg(not(target_os = "none"))]
extern crate std;

mod addr;
mod descriptor;
mod door;
mod events;
mod fact;
mod features;
#[cfg(not(target_os = "none"))]
pub mod host;
#[cfg(any(not(target_os = "none"), feature = "check"))]
pub mod model;
pub mod mutant;
pub mod range;
mod slot;
mod tlb_op;
mod wait;

pub use addr::*;
pub use descriptor::{Descriptor, MAIR, NEXT_PAGE, Protection, STAGE1};
pub use door::{Door, Mark};
#[cfg(target_os = "none")]
pub use door::{PerCpu, set_features};
#[cfg(all(target_os = "none", feature = "check"))]
pub use door::{Report, observe, with_model};
pub use events::{Counter, Dsb, Events};
pub use fact::{Access, Fact, Operation, Role};
pub use features::Features;
pub use slot::{CONT_PTES, ContBlock, Slot, Table, UpperSlot};
pub use tlb_op::{Cause, Depth, Form, KINDS, Scope, TlbOp};
pub use wait::{current_cpu, relax, switch_point};
