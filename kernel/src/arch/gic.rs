//! A GICv3 (Arm IHI 0069): as much of it as the first CPU's timer interrupt needs, and the interrupt that wakes another CPU.
//!
//! Our own, because the kept driver waits by `core::hint::spin_loop`, which is an ISB here.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use aarch64_cpu::registers::{CNTV_CTL_EL0, MPIDR_EL1, Readable, Writeable};
use boot::{Gic, device_address};
use spin::once::Once;

use super::cpu::{Yield, yield_now};

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

/// The software-generated interrupt that wakes a CPU.
const WAKE: u32 = 0;

static GIC: Once<Gic, Yield> = Once::new();
static TIMER: AtomicU32 = AtomicU32::new(SPECIAL);

/// Sets up the distributor and the first CPU's redistributor and interface, with only the timer's interrupt enabled.
///
/// Returns `false` if no redistributor is this CPU's.
pub fn init(gic: Gic, timer: Option<u32>) -> bool {
    let Some(redistributor) = redistributor(gic) else { return false };
    write(device_address(gic.distributor.start) + GICD_CTLR, AFFINITY_ROUTING | ENABLE_GROUP1);
    let timer = timer.filter(|number| (16..32).contains(number));
    init_cpu(redistributor, timer.map_or(0, |number| 1 << number));
    TIMER.store(timer.unwrap_or(SPECIAL), Ordering::Relaxed);
    GIC.call_once(|| gic);
    super::exception::set_interrupt_handler(handle);
    true
}

/// Sets up another CPU's redistributor and interface, from that CPU, with only the interrupt that wakes it enabled.
///
/// Returns `false` if [`init`] has not found a GIC, or no redistributor is this CPU's.
pub fn init_secondary() -> bool {
    let Some(redistributor) = GIC.get().and_then(|&gic| redistributor(gic)) else { return false };
    init_cpu(redistributor, 1 << WAKE);
    true
}

/// Wakes this CPU's redistributor, enables these of its private interrupts, and turns the interface on.
fn init_cpu(redistributor: u64, enabled: u32) {
    write(redistributor + GICR_WAKER, read(redistributor + GICR_WAKER) & !PROCESSOR_SLEEP);
    while read(redistributor + GICR_WAKER) & CHILDREN_ASLEEP != 0 {
        yield_now();
    }
    write(redistributor + GICR_IGROUPR0, u32::MAX);
    write(redistributor + GICR_ISENABLER0, enabled);
    interface();
}

/// Makes the interrupt pending that ends the WFI of the CPU with this affinity. What that CPU is to see must be ordered before.
pub fn wake(affinity: u64) {
    let level = |number: u32| affinity >> (8 * number) & 0xff;
    // ICC_SGI1R_EL1: Aff0 as one bit of 16, and which 16 (RS); Aff1, Aff2, Aff3.
    let target = 1 << (level(0) & 0xf) | (level(0) >> 4) << 44 | level(1) << 16 | level(2) << 32 | level(4) << 48;
    // SAFETY: an interrupt, which the other CPU handles.
    unsafe {
        asm!("msr S3_0_C12_C11_5, {}", in(reg) target | u64::from(WAKE) << 24, options(nostack, preserves_flags))
    };
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

/// Takes a pending interrupt, if there is one: the timer's is turned off, the one that wakes has done so by now, any other is a
/// surprise that is ended.
pub(super) fn handle() {
    let number: u64;
    // SAFETY: acknowledging an interrupt (ICC_IAR1_EL1) is what a handler does.
    unsafe { asm!("mrs {}, S3_0_C12_C12_0", out(reg) number, options(nostack, preserves_flags)) };
    if number as u32 >= SPECIAL {
        return;
    }
    if number as u32 == TIMER.load(Ordering::Relaxed) {
        CNTV_CTL_EL0.set(0);
    } else if number as u32 != WAKE {
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
