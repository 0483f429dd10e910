//! Power: other CPUs on, the machine off and reset, through PSCI, by the conduit that the device tree names.

use core::sync::atomic::{AtomicU8, Ordering};

use boot::PsciConduit;
use mmu::PhysAddr;
use smccc::{Hvc, Smc, psci};

const NONE: u8 = 0;
const HVC: u8 = 1;
const SMC: u8 = 2;
static CONDUIT: AtomicU8 = AtomicU8::new(NONE);

/// Says how PSCI is reached.
pub fn init(conduit: Option<PsciConduit>) {
    let value = match conduit {
        None => NONE,
        Some(PsciConduit::Hvc) => HVC,
        Some(PsciConduit::Smc) => SMC,
    };
    CONDUIT.store(value, Ordering::Relaxed);
}

/// PSCI's version, if there is one.
pub fn version() -> Option<psci::Version> {
    match CONDUIT.load(Ordering::Relaxed) {
        HVC => psci::version::<Hvc>().ok(),
        SMC => psci::version::<Smc>().ok(),
        _ => None,
    }
}

/// Starts the CPU with this affinity at `entry`, with `context` in x0.
///
/// # Errors
/// What PSCI says, or that there is none.
pub fn cpu_on(affinity: u64, entry: PhysAddr, context: u64) -> Result<(), psci::Error> {
    match CONDUIT.load(Ordering::Relaxed) {
        HVC => psci::cpu_on::<Hvc>(affinity, entry.as_u64(), context),
        SMC => psci::cpu_on::<Smc>(affinity, entry.as_u64(), context),
        _ => Err(psci::Error::NotSupported),
    }
}

/// Turns the machine off. Where there is no PSCI it only stops.
pub fn off() -> ! {
    let _ = match CONDUIT.load(Ordering::Relaxed) {
        HVC => psci::system_off::<Hvc>(),
        SMC => psci::system_off::<Smc>(),
        _ => Ok(()),
    };
    stop()
}

/// Starts the machine anew.
pub fn reset() -> ! {
    let _ = match CONDUIT.load(Ordering::Relaxed) {
        HVC => psci::system_reset::<Hvc>(),
        SMC => psci::system_reset::<Smc>(),
        _ => Ok(()),
    };
    stop()
}

fn stop() -> ! {
    loop {
        super::cpu::wait_for_interrupt();
    }
}
