//! The tables that this CPU uses, for reports and dumps.

use core::fmt::{self, Write};

use aarch64_cpu::registers::{Readable, TTBR0_EL1, TTBR1_EL1};
use mmu::{Descriptor, Door, LINEAR_BASE, PhysAddr, Table, VirtAddr};

use super::exception::probe;
use crate::walk::{Tables, Walk};

/// BADDR of TTBRn_EL1.
const ADDRESS: u64 = 0x0000_ffff_ffff_fffe;

/// Which half of the addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// TTBR0: the program.
    User,
    /// TTBR1: the kernel.
    Kernel,
}

impl Half {
    /// The half of an address.
    pub const fn of(address: VirtAddr) -> Self {
        if address.as_u64() >> 63 == 0 { Self::User } else { Self::Kernel }
    }

    /// Its level 0 table at this moment.
    pub fn root(self) -> Table {
        let register = match self {
            Self::User => TTBR0_EL1.get(),
            Self::Kernel => TTBR1_EL1.get(),
        };
        Table::new(PhysAddr::new(register & ADDRESS), 0)
    }

    /// Its first address.
    pub const fn base(self) -> VirtAddr {
        VirtAddr::new(match self {
            Self::User => 0,
            Self::Kernel => LINEAR_BASE,
        })
    }
}

/// The door of reports: the one of memory management may be what has failed.
fn door() -> Door {
    // SAFETY: boot has made the linear map and set TPIDR_EL1; `kernel_main` has called `set_features`, and before it has, a walk
    // only loads.
    unsafe { Door::open() }
}

fn is_memory(address: PhysAddr) -> bool {
    probe::read(LINEAR_BASE | address.as_u64()).is_none()
}

/// Walks an address of either half.
pub fn walk(address: VirtAddr) -> Walk {
    Tables { door: &door(), is_memory: &is_memory }.walk(Half::of(address).root(), address)
}

/// Prints every mapping of a half: `pt`.
pub fn dump(out: &mut dyn Write, half: Half) -> fmt::Result {
    dump_of(out, half.root(), half.base())
}

/// Prints every mapping under a level 0 table: that of a space which need not be active.
pub fn dump_of(out: &mut dyn Write, root: Table, base: VirtAddr) -> fmt::Result {
    Tables { door: &door(), is_memory: &is_memory }.dump(out, root, base)
}

/// Calls `found` with the first address and the descriptor of each page and block of a half.
pub fn for_each_leaf(half: Half, found: &mut dyn FnMut(VirtAddr, Descriptor)) {
    Tables { door: &door(), is_memory: &is_memory }.for_each_leaf(half.root(), half.base(), found);
}
