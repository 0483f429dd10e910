//! The machine as the kernel knows it once it has started: what boot found, what the CPU can do, memory that nobody has.

use boot::{BootInfo, PhysRange, Ranges};
use spin::once::Once;

use crate::arch::cpu::{SpinLock, Yield};
use crate::arch::features::Features;

/// The machine.
pub struct Machine {
    /// What boot found.
    pub info: &'static BootInfo,
    /// What the CPU can do.
    pub features: Features,
    /// The kernel's heap.
    pub heap: PhysRange,
    free: SpinLock<Ranges>,
}

impl Machine {
    /// Memory that nobody has: for the frame allocator, once devices in memory have taken theirs.
    pub fn free(&self) -> Ranges {
        *self.free.lock()
    }

    /// Takes memory for good: `size` bytes aligned to `align`.
    pub fn take(&self, size: u64, align: u64) -> Option<PhysRange> {
        self.free.lock().take(size, align)
    }
}

static MACHINE: Once<Machine, Yield> = Once::new();

/// Says what the machine is; once.
pub fn set(info: &'static BootInfo, features: Features, heap: PhysRange, free: Ranges) -> &'static Machine {
    MACHINE.call_once(|| Machine { info, features, heap, free: SpinLock::new(free) })
}

/// The machine.
///
/// # Panics
/// Before `kernel_main` has got so far.
pub fn machine() -> &'static Machine {
    MACHINE.get().expect("asked for before the kernel has started")
}
