//! Memory management of unfold: folios, contiguous PTEs, reverse maps, swap, and the three ways to unmap.
//!
//! 1. One value, [`Memory`], holds all the state and is only used through `&Memory`. Nothing assumes one CPU.
//! 2. Descriptors, TLB operations and barriers pass through its [`Door`](mmu::Door); there is no other way to them here.
//! 3. Only `contpte` knows the Contiguous bit, and `hugetlb`, whose pages are always mapped as a whole.
//! 4. A frame or a table goes back to a free list only as `Flushed`, which only a finished flush makes.
//! 5. Locks come from `sync` and have ranks. A function that needs a table's lock takes its guard.
//! 6. What is counted is counted where it is done.
//! 7. The same code runs in the kernel and, on a simulated machine, under `cargo test`.
#![cfg_attr(target_os = "none", no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod aging;
pub mod audit;
mod bits;
pub mod budget;
mod cold;
mod completion;
pub mod contpte;
pub mod count;
pub mod deferred;
pub mod errno;
pub mod fault;
pub mod file;
pub mod folio;
mod fork;
pub mod frame;
mod hugetlb;
pub mod inject;
mod lazyfree;
pub mod lru;
pub mod map;
mod marker;
pub mod memory;
pub mod mlock;
mod moving;
pub mod pageout;
pub mod pgtable;
pub mod pin;
mod poison;
pub mod policy;
mod pressure;
mod protect;
pub mod reclaim;
pub mod remap;
pub mod rmap;
mod shrink;
pub mod space;
mod split;
pub mod swap;
mod swapoff;
pub mod sync;
pub mod tlb;
pub mod uffd;
pub mod unmap;
pub mod usage;
pub mod vma;
mod walk;
mod watch;
mod zap;

pub use errno::Errno;
pub use file::OpenFile;
pub use frame::{HugeCounts, HugeSize, Orphan};
pub use memory::Memory;
pub use pin::Pinned;
pub use shrink::Shrunk;
pub use space::Space;
pub use tlb::Flushed;

/// CPUs that the counters and ranks have room for.
pub const MAX_CPUS: usize = 8;
