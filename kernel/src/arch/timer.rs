//! Time: the generic timer's virtual counter. Under `-icount` it counts instructions, not wall time.

use aarch64_cpu::registers::{CNTFRQ_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVCT_EL0, Readable, Writeable};

/// Nanoseconds since the machine started.
pub fn now_ns() -> u64 {
    let (ticks, frequency) = (u128::from(CNTVCT_EL0.get()), u128::from(CNTFRQ_EL0.get()));
    (ticks * 1_000_000_000 / frequency.max(1)) as u64
}

/// Ticks of the counter in a second.
pub fn frequency() -> u64 {
    CNTFRQ_EL0.get()
}

/// Has the timer interrupt at `deadline`, a time of [`now_ns`], and not before. There is one deadline: the last one that was set.
pub fn interrupt_at(deadline: u64) {
    let ticks = u128::from(deadline) * u128::from(frequency()) / 1_000_000_000;
    CNTV_CVAL_EL0.set(u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1));
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET);
}

/// Sleeps until `deadline`, a time of [`now_ns`]. The timer's interrupt wakes the CPU although it is masked.
pub fn sleep_until(deadline: u64) {
    interrupt_at(deadline);
    while now_ns() < deadline {
        super::cpu::wait_for_interrupt();
    }
    CNTV_CTL_EL0.set(0);
}
