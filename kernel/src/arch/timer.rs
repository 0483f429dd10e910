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

/// Has the timer's interrupt come at `deadline`, a time of [`now_ns`]. Its handler turns the timer off.
pub fn arm(deadline: u64) {
    let ticks = u128::from(deadline) * u128::from(frequency()) / 1_000_000_000;
    CNTV_CVAL_EL0.set(u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1));
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET);
}

/// Has no interrupt come.
pub fn disarm() {
    CNTV_CTL_EL0.set(0);
}

/// Sleeps until `deadline`. The timer's interrupt wakes the CPU although it is masked.
pub fn sleep_until(deadline: u64) {
    arm(deadline);
    while now_ns() < deadline {
        super::cpu::wait_for_interrupt();
    }
    disarm();
}
