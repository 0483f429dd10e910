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
    /// Hands over the memory that nobody has, to the frame allocator: there is none left here then, so that nothing has two owners.
    pub fn take_free(&self) -> Ranges {
        core::mem::replace(&mut *self.free.lock(), Ranges::new())
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
