//! A program's loads and stores for the test cases, made by the MMU: by LDTR and STTR in the program's space, so that the tables are
//! walked by hardware, TLBs answer, and hardware sets access flag and dirty state where it can.

use alloc::sync::Arc;

use cases::{Cpu, output};
use mm::{Memory, Space};
use mmu::{PhysAddr, VirtAddr};

use crate::arch::{cpus, uaccess};

/// This CPU, which leaves the space after each access.
#[derive(Clone, Copy, Debug)]
pub struct Mmu;

impl Cpu for Mmu {
    fn access(&self, memory: &Memory, space: &Arc<Space>, address: VirtAddr, write: bool) -> Option<PhysAddr> {
        memory.activate(space);
        // A fault shall be seen here, not resolved.
        let hook = uaccess::replace_fault_hook(None);
        let done = touch(address, write);
        uaccess::replace_fault_hook(hook);
        memory.deactivate();
        place(memory, space, address).filter(|_| done)
    }
}

/// Another CPU, which stays in the space that it has entered, so that its TLB keeps what it holds. Its faults are seen, since it has
/// no hook to resolve them.
#[derive(Clone, Copy, Debug)]
pub struct OtherCpu;

impl OtherCpu {
    /// Its number.
    pub const NUMBER: usize = 1;

    /// Reads a byte; `None` if that faults.
    pub fn read(address: VirtAddr) -> Option<u8> {
        cpus::call(Self::NUMBER, || {
            let mut byte = [0];
            uaccess::copy_in(&mut byte, address.as_u64()).ok().map(|()| byte[0])
        })
    }

    /// Writes a byte with the value it has; whether that did not fault.
    pub fn write(address: VirtAddr) -> bool {
        cpus::call(Self::NUMBER, || touch(address, true))
    }
}

impl Cpu for OtherCpu {
    fn access(&self, memory: &Memory, space: &Arc<Space>, address: VirtAddr, write: bool) -> Option<PhysAddr> {
        let done = cpus::call(Self::NUMBER, || touch(address, write));
        place(memory, space, address).filter(|_| done)
    }

    fn enter(&self, memory: &Memory, space: &Arc<Space>) {
        cpus::call(Self::NUMBER, || memory.activate(space));
    }

    fn leave(&self, memory: &Memory) {
        cpus::call(Self::NUMBER, || memory.deactivate());
    }
}

/// Reads a byte of the space that this CPU runs in, and writes it back; whether that did not fault.
fn touch(address: VirtAddr, write: bool) -> bool {
    let mut byte = [0];
    let at = address.as_u64();
    uaccess::copy_in(&mut byte, at).is_ok() && (!write || uaccess::copy_out(at, &byte).is_ok())
}

/// Where the tables say that a byte is.
fn place(memory: &Memory, space: &Space, address: VirtAddr) -> Option<PhysAddr> {
    let (entry, level) = space.tables.look(memory, address);
    entry.is_valid().then(|| output(entry, level, address))
}
