//! What machine to build.

use super::cpus;
use crate::addr::PhysAddr;
use crate::features::Features;

/// What machine to build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Where RAM starts.
    pub ram_start: PhysAddr,
    /// How much there is.
    pub ram_bytes: u64,
    /// CPUs.
    pub cpus: usize,
    /// What they can do.
    pub features: Features,
    /// Decides what the architecture leaves open: which of the translations that a CPU may hold an access takes.
    pub seed: u64,
    /// Whether CPUs also do what is merely allowed: fault through entries that have been relaxed since, set access flags and dirty state
    /// between any two steps of the others. Counts of faults are not exact then.
    pub adversary: bool,
    /// Whether a breach of a rule ends the run by a panic with the verdict. Otherwise the first one is kept.
    pub strict: bool,
}

impl Default for Config {
    /// 64 MiB, one CPU with all features but BBM level 3.
    fn default() -> Self {
        Self {
            ram_start: PhysAddr::new(0x4000_0000),
            ram_bytes: 64 << 20,
            cpus: 1,
            features: cpus::MAX,
            seed: 1,
            adversary: false,
            strict: true,
        }
    }
}
