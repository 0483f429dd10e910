//! Checks of time and of the instruction counter.

use alloc::string::String;

use super::ensure;
use crate::arch::{pmu, timer};

pub(super) fn sleep() -> Result<(), String> {
    const NAP: u64 = 2_000_000;
    for _ in 0..5 {
        let start = timer::now_ns();
        timer::sleep_until(start + NAP);
        let slept = timer::now_ns() - start;
        // Wall time is never judged; a second would mean that the interrupt did not wake the CPU.
        ensure!((NAP..1_000_000_000).contains(&slept), "slept {slept} ns instead of {NAP}");
    }
    Ok(())
}

/// What the counter advances over `count` NOPs, read right before and right behind them.
macro_rules! nops {
    ($count:literal) => {{
        let (start, end): (u32, u32);
        // SAFETY: reads a counter.
        unsafe {
            core::arch::asm!("mrs {start:x}, pmevcntr0_el0", concat!(".rept ", $count), "nop", ".endr",
                "mrs {end:x}, pmevcntr0_el0", start = out(reg) start, end = out(reg) end, options(nostack));
        }
        end.wrapping_sub(start)
    }};
}

/// n instructions between two readings count as n + 1, as there is one reading among them.
pub(super) fn instructions() -> Result<(), String> {
    if !pmu::is_present() || pmu::instructions() == 0 {
        return Ok(()); // without icount the event does not count
    }
    let counted = [nops!(0), nops!(10), nops!(1000)];
    ensure!(counted == [1, 11, 1001], "0, 10, 1000 instructions are counted as {counted:?}");
    let (first, second) = (pmu::instructions(), pmu::instructions());
    ensure!((1..20).contains(&(second - first)), "a reading costs {}", second - first);
    Ok(())
}
