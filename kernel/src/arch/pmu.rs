//! The PMU: instructions by event counter 0.
//!
//! Event 0x08 (INST_RETIRED) counts under QEMU with `-icount` only, exactly: a reading after n instructions is n + 1 more than the one
//! before. It counts all CPUs of the machine, whichever has the counter. Cycle counter and CNTVCT also advance in WFI and are not used.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aarch64_cpu::registers::{ID_AA64DFR0_EL1, Readable};

const INST_RETIRED: u64 = 0x08;
/// PMCR_EL0: enable, reset event counters, 64-bit event counters (PMUv3p5).
const E: u64 = 1;
const P: u64 = 1 << 1;
const LP: u64 = 1 << 7;
/// PMUVer from which event counters may have 64 bits.
const PMU_V3P5: u64 = 6;
const NOT_ARM: u64 = 15;

static PRESENT: AtomicBool = AtomicBool::new(false);
static WIDE: AtomicBool = AtomicBool::new(false);
/// Of the first CPU's counter, if it has 32 bits: its last value, and what the wraps before it sum up to.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Starts this CPU's counter of instructions, at EL1 and EL0. EL0 itself can not read the PMU. Done before the first interval, so the
/// barrier is boot's.
pub fn init() {
    let version = ID_AA64DFR0_EL1.read(ID_AA64DFR0_EL1::PMUVer);
    if version == 0 || version == NOT_ARM {
        return;
    }
    let wide = version >= PMU_V3P5;
    let control = E | P | if wide { LP } else { 0 };
    // SAFETY: PMU registers change nothing but counters.
    unsafe {
        asm!(
            "msr pmuserenr_el0, xzr",
            "msr pmintenclr_el1, {all}",
            "msr pmcntenclr_el0, {all}",
            "msr pmevtyper0_el0, {event}",
            "msr pmevcntr0_el0, xzr",
            "msr pmcr_el0, {control}",
            "msr pmcntenset_el0, {first}",
            "isb",
            all = in(reg) 0xffff_ffff_u64,
            event = in(reg) INST_RETIRED,
            control = in(reg) control,
            first = in(reg) 1_u64,
            options(nostack, preserves_flags)
        );
    }
    WIDE.store(wide, Ordering::Relaxed);
    PRESENT.store(true, Ordering::Relaxed);
}

/// Whether there is a PMU to count with.
pub fn is_present() -> bool {
    PRESENT.load(Ordering::Relaxed)
}

/// Instructions retired so far, by the first CPU's counter, which only that CPU may ask for; 0 for ever without `-icount` or without a
/// PMU. A 32-bit counter is extended, so it must be read at least once in 2³² instructions (about twelve seconds of QEMU's time).
#[inline]
pub fn instructions() -> u64 {
    if !PRESENT.load(Ordering::Relaxed) {
        return 0;
    }
    let count = read();
    if WIDE.load(Ordering::Relaxed) {
        return count;
    }
    let last = LAST.load(Ordering::Relaxed);
    let sum = last + u64::from((count as u32).wrapping_sub(last as u32));
    LAST.store(sum, Ordering::Relaxed);
    sum
}

#[inline(always)]
fn read() -> u64 {
    let count;
    // SAFETY: reads a counter. Not `nomem`: it must stay where it stands among the work that it measures.
    unsafe { asm!("mrs {}, pmevcntr0_el0", out(reg) count, options(nostack, preserves_flags)) };
    count
}
