//! A program's loads and stores for the test cases, made by the MMU: by LDTR and STTR in the program's space, so that the tables are
//! walked by hardware, TLBs answer, and hardware sets access flag and dirty state where it can.

use alloc::sync::Arc;

use cases::Cpu;
use mm::{Memory, Space};
use mmu::{PAGE_SIZE, PhysAddr, VirtAddr};

use crate::arch::uaccess;

/// This CPU.
#[derive(Clone, Copy, Debug)]
pub struct Mmu;

impl Cpu for Mmu {
    fn access(&self, memory: &Memory, space: &Arc<Space>, address: VirtAddr, write: bool) -> Option<PhysAddr> {
        memory.activate(space);
        // A fault shall be seen here, not resolved.
        let hook = uaccess::replace_fault_hook(None);
        let mut byte = [0];
        let at = address.as_u64();
        let read = uaccess::copy_in(&mut byte, at).is_ok();
        let done = read && (!write || uaccess::copy_out(at, &byte).is_ok());
        uaccess::replace_fault_hook(hook);
        memory.deactivate();
        let slot = space.tables.find(memory, address).filter(|_| done)?.slot(address);
        Some(memory.door.load(slot).address().add_bytes(at % PAGE_SIZE))
    }
}
