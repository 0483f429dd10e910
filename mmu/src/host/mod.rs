//! The simulated machine that the door opens to on the host: physical memory, table walks, TLBs, and CPUs that interleave.
//!
//! 1. `mm` runs on it unchanged: [`Machine`] answers the door's verbs, and a test program's own loads and stores go through
//!    [`Machine::access`], so that stale data is really read.
//! 2. Its TLBs are the [model](crate::model): as stale as the architecture allows. An access takes what the table says, or one of the
//!    translations that its CPU may still hold, as the seed decides; and every event is judged.
//! 3. Several CPUs run each on a call stack of its own, one at a time; see [`Machine::run`]. Outside of it CPU 0 is implied, or
//!    the one that [`Machine::on_cpu`] names.
//! 4. Every event can be logged ([`Machine::log_on`]) with its place in the source.

mod access;
mod config;
mod cpu;
pub mod cpus;
mod event;
mod machine;
mod memory;
mod mistakes;
mod random;
mod schedule;
mod turns;
mod walk;

pub use crate::fact::Access;
pub use access::{Fault, FaultKind};
pub use config::Config;
pub use event::{Event, Record};
pub use machine::Machine;
pub use schedule::{Failure, FailureKind, Program, Report, Schedule, program};
pub use walk::Walk;

pub(crate) use turns::{current_cpu, relax, switch_point};
