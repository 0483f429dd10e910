//! CPUs other than the first: started through PSCI, asleep until they are given something to do.
//!
//! They sleep in WFI and never spin: under `-icount` all CPUs take turns, and one that spins costs the others virtual time. The first
//! CPU hands one a job through its mailbox, wakes it by an interrupt, and waits until the job is done. Interrupts stay masked: a
//! pending one ends WFI all the same.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use aarch64_cpu::registers::{MPIDR_EL1, Readable};
use boot::BootInfo;
use boot::secondary::{self, MAX_RUNNING};
use mmu::{Door, Dsb};
use smccc::psci::Error;
use spin::once::Once;

use super::cpu::{SpinLock, Yield, wait_for_interrupt, yield_now};
use super::features::Features;
use super::{gic, pmu, psci, timer};

/// Affinity fields of MPIDR_EL1.
const AFFINITY: u64 = 0xff_00ff_ffff;
/// How long a CPU may take to come up, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

/// CPUs that run, the first one included.
static RUNNING: AtomicUsize = AtomicUsize::new(1);
static MAILBOXES: [Mailbox; MAX_RUNNING] = [const { Mailbox::new() }; MAX_RUNNING];

/// What another CPU and the first know of each other.
struct Mailbox {
    /// The affinity by which the CPU is woken, once it is up.
    affinity: Once<u64, Yield>,
    /// What it is doing, or is to do.
    job: SpinLock<Option<Job>>,
}

impl Mailbox {
    const fn new() -> Self {
        Self { affinity: Once::new(), job: SpinLock::new(None) }
    }
}

/// A function for another CPU. Whoever puts it into a mailbox keeps it until the mailbox is empty again.
#[derive(Clone, Copy)]
struct Job {
    call: unsafe fn(*const ()),
    function: *const (),
}

// SAFETY: `Job::new` only takes functions that any CPU may call.
unsafe impl Send for Job {}

impl Job {
    fn new<F: Fn() + Sync>(function: &F) -> Self {
        /// # Safety
        /// `function` points at an `F`.
        unsafe fn call<F: Fn()>(function: *const ()) {
            // SAFETY: the caller's promise.
            unsafe { (*function.cast::<F>())() }
        }
        Self { call: call::<F>, function: (&raw const *function).cast() }
    }
}

/// Why a CPU, and all that the device tree lists behind it, are left off.
#[derive(Clone, Copy, Debug)]
pub enum NotStarted {
    /// There is no PSCI to start it.
    NoPsci,
    /// There is no GIC to wake it.
    NoGic,
    /// PSCI refuses.
    Refused {
        /// The CPU's.
        affinity: u64,
        /// What PSCI says.
        error: Error,
    },
    /// It does not come up.
    Silent {
        /// The CPU's.
        affinity: u64,
    },
}

impl fmt::Display for NotStarted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPsci => write!(out, "the other CPUs can not be started: the device tree names no PSCI"),
            Self::NoGic => write!(out, "the other CPUs can not be started: nothing would wake them without a GICv3"),
            Self::Refused { affinity, error } => write!(out, "CPU {affinity:#x} can not be started: {error}"),
            Self::Silent { affinity } => write!(out, "CPU {affinity:#x} was started, but has not come up"),
        }
    }
}

/// Starts the other CPUs that the device tree lists, at most [`MAX_RUNNING`] with the first.
///
/// # Errors
/// The first that fails ends it; those before it run.
pub fn start(info: &BootInfo, interrupts: bool) -> Result<(), NotStarted> {
    let cpus = info.machine.cpus();
    if cpus.len() < 2 {
        return Ok(());
    }
    if info.machine.psci.is_none() {
        return Err(NotStarted::NoPsci);
    }
    if !interrupts {
        return Err(NotStarted::NoGic);
    }
    let entry = secondary::prepare(info);
    let others = cpus.iter().map(|cpu| cpu.affinity).filter(|&affinity| affinity != own_affinity());
    // Numbers stay below how many there are: boot has mapped so many stacks.
    for (number, affinity) in (1..cpus.len().min(MAX_RUNNING)).zip(others) {
        psci::cpu_on(affinity, entry, number as u64).map_err(|error| NotStarted::Refused { affinity, error })?;
        if !comes_up(number) {
            return Err(NotStarted::Silent { affinity });
        }
        RUNNING.store(number + 1, Ordering::Relaxed);
    }
    Ok(())
}

fn comes_up(number: usize) -> bool {
    let end = timer::now_ns() + PATIENCE;
    while MAILBOXES[number].affinity.get().is_none() {
        if timer::now_ns() > end {
            return false;
        }
        yield_now();
    }
    true
}

/// How many CPUs run: their numbers are those below.
pub fn count() -> usize {
    RUNNING.load(Ordering::Relaxed)
}

/// Has CPU `number` call `function`, and waits for what it returns. Only the first CPU asks, one thing at a time. What it has left behind
/// in the CPU, such as the space that it runs in, is there at the next call.
///
/// # Panics
/// If that CPU does not run, or is the first.
pub fn call<R: Send>(number: usize, function: impl Fn() -> R + Sync) -> R {
    assert!((1..count()).contains(&number), "CPU {number} can not be asked: {} run", count());
    let answer = SpinLock::new(None);
    run(&MAILBOXES[number], &|| *answer.lock() = Some(function()));
    answer.into_inner().expect("the CPU has said that it is done")
}

fn run(mailbox: &Mailbox, function: &(impl Fn() + Sync)) {
    // SAFETY: boot has made the linear map and set TPIDR_EL1, `kernel_main` has told the features.
    let door = unsafe { Door::open() };
    *mailbox.job.lock() = Some(Job::new(function));
    // The job is visible before the interrupt, and that is sent before waiting begins.
    door.dsb(Dsb::IshSt);
    if let Some(&affinity) = mailbox.affinity.get() {
        gic::wake(affinity);
    }
    door.isb();
    while mailbox.job.lock().is_some() {
        yield_now();
    }
}

/// boot comes here, on CPU `number`.
#[unsafe(no_mangle)]
fn kernel_secondary(number: usize) -> ! {
    Features::read().enable();
    pmu::init();
    let mailbox = &MAILBOXES[number];
    if gic::init_secondary() {
        mailbox.affinity.call_once(own_affinity);
    }
    loop {
        wait_for_interrupt();
        gic::handle();
        let job = *mailbox.job.lock();
        if let Some(Job { call, function }) = job {
            // SAFETY: `run` keeps the function until the mailbox is empty.
            unsafe { call(function) };
            *mailbox.job.lock() = None;
        }
    }
}

fn own_affinity() -> u64 {
    MPIDR_EL1.get() & AFFINITY
}
