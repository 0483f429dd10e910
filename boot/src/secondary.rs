//! CPUs other than the first: what one needs to come up on the kernel's own map, and its first Rust code.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::registers::{Readable, TCR_EL1, TTBR1_EL1};
use mmu::PhysAddr;

use crate::info::BootInfo;
use crate::start;

/// Most CPUs that run, the first one included: each has a stack in the image.
pub const MAX_RUNNING: usize = 8;

/// What the first CPU translates by. head.s reads the first two, with the MMU off.
#[repr(C)]
struct Registers {
    tcr: AtomicU64,
    upper_root: AtomicU64,
    empty_root: AtomicU64,
}

#[unsafe(no_mangle)]
static first_cpu_registers: Registers =
    Registers { tcr: AtomicU64::new(0), upper_root: AtomicU64::new(0), empty_root: AtomicU64::new(0) };

unsafe extern "C" {
    static _image_start: u8;
    fn secondary_start();
}

unsafe extern "Rust" {
    /// The kernel's entry for CPU `number`.
    fn kernel_secondary(number: usize) -> !;
}

/// Has other CPUs find the map that this one is on. Returns the physical address where PSCI shall start them, each with its number
/// in x0: from 1 to below [`MAX_RUNNING`], and no two the same.
pub fn prepare(info: &BootInfo) -> PhysAddr {
    first_cpu_registers.tcr.store(TCR_EL1.get(), Ordering::Relaxed);
    first_cpu_registers.upper_root.store(TTBR1_EL1.get(), Ordering::Relaxed);
    first_cpu_registers.empty_root.store(info.empty_table().as_u64(), Ordering::Relaxed);
    clean_registers();
    let offset = secondary_start as *const () as u64 - &raw const _image_start as u64;
    PhysAddr::new(info.image.start + offset)
}

/// Writes the registers back to memory, where a CPU without caches finds them.
fn clean_registers() {
    const LINE: usize = 16; // the smallest that there is
    let start = &raw const first_cpu_registers as usize;
    for line in (start..start + size_of::<Registers>()).step_by(LINE) {
        // SAFETY: cleaning a cache line changes no data.
        unsafe { asm!("dc cvac, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier. It orders the cleaning before the call that starts a CPU, and no table is concerned, so it is boot's.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}

/// head.s comes here on the kernel's own map and the CPU's own stack.
#[unsafe(no_mangle)]
extern "C" fn secondary_rust(number: usize) -> ! {
    start::enter_cpu(number);
    start::leave_identity_map(first_cpu_registers.empty_root.load(Ordering::Relaxed));
    // SAFETY: kernel_secondary has this signature.
    unsafe { kernel_secondary(number) }
}
