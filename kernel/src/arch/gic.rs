//! A GICv3 (Arm IHI 0069): as much of it as one CPU and its private timer interrupt need.
//!
//! Our own, because the kept driver waits by `core::hint::spin_loop`, which is an ISB here.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use aarch64_cpu::registers::{CNTV_CTL_EL0, MPIDR_EL1, Readable, Writeable};
use boot::{Gic, device_address};

/// GICD_CTLR: affinity routing, and interrupts of group 1 (the non-secure view).
const GICD_CTLR: u64 = 0x0000;
const ENABLE_GROUP1: u32 = 1 << 1;
const AFFINITY_ROUTING: u32 = 1 << 4;
/// GICR_WAKER.
const GICR_WAKER: u64 = 0x0014;
const PROCESSOR_SLEEP: u32 = 1 << 1;
const CHILDREN_ASLEEP: u32 = 1 << 2;
/// GICR_TYPER: affinity in bits 63:32, bit 4 on the last redistributor.
const GICR_TYPER: u64 = 0x0008;
const LAST: u64 = 1 << 4;
/// Registers of private interrupts lie in the second 64 KiB frame.
const SGI_FRAME: u64 = 0x1_0000;
const GICR_IGROUPR0: u64 = SGI_FRAME + 0x0080;
const GICR_ISENABLER0: u64 = SGI_FRAME + 0x0100;
/// From one redistributor to the next.
const STRIDE: u64 = 0x2_0000;
/// Interrupt numbers from here on say that there is none.
const SPECIAL: u32 = 1020;

static TIMER: AtomicU32 = AtomicU32::new(SPECIAL);

/// Sets up the distributor and this CPU's redistributor and interface, with only the timer's interrupt enabled.
///
/// Returns `false` if no redistributor is this CPU's.
pub fn init(gic: Gic, timer: Option<u32>) -> bool {
    let distributor = device_address(gic.distributor.start);
    let Some(redistributor) = redistributor(gic) else { return false };
    write(distributor + GICD_CTLR, AFFINITY_ROUTING | ENABLE_GROUP1);
    write(redistributor + GICR_WAKER, read(redistributor + GICR_WAKER) & !PROCESSOR_SLEEP);
    while read(redistributor + GICR_WAKER) & CHILDREN_ASLEEP != 0 {
        super::cpu::yield_now();
    }
    if let Some(number @ 16..32) = timer {
        write(redistributor + GICR_IGROUPR0, u32::MAX);
        write(redistributor + GICR_ISENABLER0, 1 << number);
        TIMER.store(number, Ordering::Relaxed);
    }
    interface();
    super::exception::set_interrupt_handler(handle);
    true
}

/// The redistributor whose affinity is this CPU's.
fn redistributor(gic: Gic) -> Option<u64> {
    let mpidr = MPIDR_EL1.get();
    let affinity = (mpidr & 0xff_ffff) | (mpidr >> 32 & 0xff) << 24;
    let mut base = device_address(gic.redistributors.start);
    let end = device_address(gic.redistributors.end);
    while base < end {
        // SAFETY: boot has mapped the redistributors of all CPUs; the loop ends at the last one.
        let kind = unsafe { ((base + GICR_TYPER) as *const u64).read_volatile() };
        if kind >> 32 == affinity {
            return Some(base);
        }
        if kind & LAST != 0 {
            return None;
        }
        base += STRIDE;
    }
    None
}

/// The CPU interface: system registers on, all priorities, group 1. Before the first interval, so the barrier is boot's.
fn interface() {
    // SAFETY: interrupts are masked; the registers concern nothing else.
    unsafe {
        asm!(
            "msr S3_0_C12_C12_5, {one}",  // ICC_SRE_EL1
            "isb",
            "msr S3_0_C4_C6_0, {all}",    // ICC_PMR_EL1
            "msr S3_0_C12_C12_7, {one}",  // ICC_IGRPEN1_EL1
            "isb",
            one = in(reg) 1_u64,
            all = in(reg) 0xff_u64,
            options(nostack, preserves_flags)
        );
    }
}

/// Takes a pending interrupt: the timer's is turned off, any other is a surprise that is ended.
fn handle() {
    let number: u64;
    // SAFETY: acknowledging an interrupt (ICC_IAR1_EL1) is what a handler does.
    unsafe { asm!("mrs {}, S3_0_C12_C12_0", out(reg) number, options(nostack, preserves_flags)) };
    if number as u32 >= SPECIAL {
        return;
    }
    if number as u32 == TIMER.load(Ordering::Relaxed) {
        CNTV_CTL_EL0.set(0);
    } else {
        log::warn!("interrupt {number} that nobody asked for");
    }
    // SAFETY: ends the interrupt acknowledged above (ICC_EOIR1_EL1).
    unsafe { asm!("msr S3_0_C12_C12_1, {}", in(reg) number, options(nostack, preserves_flags)) };
}

fn read(address: u64) -> u32 {
    // SAFETY: a register of the GIC, which boot has mapped.
    unsafe { (address as *const u32).read_volatile() }
}

fn write(address: u64, value: u32) {
    // SAFETY: as `read`.
    unsafe { (address as *mut u32).write_volatile(value) }
}
