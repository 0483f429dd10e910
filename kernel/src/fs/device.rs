//! The character devices that need no device.

use mm::Errno;

use super::tree::Device;
use crate::arch::cpu::SpinLock;
use crate::task::file::{File, Kind, Stat};
use crate::task::random::Random;

/// What `/dev/random` gives: like everything random here, the same in every run.
static RANDOM: SpinLock<Option<Random>> = SpinLock::new(None);

impl File for Device {
    fn stat(&self) -> Stat {
        let minor = match self {
            Self::Null => 3,
            Self::Zero => 5,
            Self::Random => 9,
        };
        Stat { kind: Kind::Character, permissions: 0o666, inode: minor.into(), size: 0, device: (1, minor) }
    }

    fn read(&self, _: u64, into: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Null => return Ok(0),
            Self::Zero => into.fill(0),
            Self::Random => RANDOM.lock().get_or_insert_with(Random::new).fill(into),
        }
        Ok(into.len())
    }

    fn write(&self, _: u64, bytes: &[u8]) -> Result<usize, Errno> {
        Ok(bytes.len())
    }

    /// One can go to any position, and it makes no difference.
    fn end(&self) -> Option<u64> {
        Some(0)
    }
}
