//! Every case on simulated machines: one with all features, and two like older CPUs. Programs access memory through the machine's
//! TLB, so a translation that nobody invalidated is used.
//!
//! `CASE=text cargo test -p cases` runs the cases whose names contain the text. There must be one.

mod locks;
mod refusals;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cases::{Bench, Cpu, Outcome};
use mm::swap::{Drive, RamDevice};
use mm::{Memory, Space};
use mmu::host::cpus::{CORTEX_A72, MAX, NEOVERSE_N1};
use mmu::host::{Access, Config, Machine};
use mmu::model::Verdict;
use mmu::{Door, Features, Pfn, PhysAddr, VirtAddr};

/// A CPU that runs a space at a time, as the kernel's do.
struct SimulatedCpu {
    machine: Machine,
    /// The number of the space that runs; 0 for none.
    running: Cell<u64>,
}

impl SimulatedCpu {
    fn new(machine: Machine) -> Self {
        Self { machine, running: Cell::new(0) }
    }
}

impl Cpu for SimulatedCpu {
    fn access(&self, memory: &Memory, space: &Arc<Space>, address: VirtAddr, write: bool) -> Option<PhysAddr> {
        self.enter(memory, space);
        self.machine.access(address, if write { Access::Write } else { Access::Read }).ok()
    }

    fn enter(&self, memory: &Memory, space: &Arc<Space>) {
        if self.running.replace(space.id()) != space.id() {
            memory.activate(space);
        }
    }

    fn leave(&self, memory: &Memory) {
        self.running.set(0);
        memory.deactivate();
    }
}

/// How large the large cases are here: three batches of `gather`, the last one not full.
const MEGABYTES: usize = 72;

/// Runs cases one after the other on one machine.
fn run_on<'a>(features: Features, cases: impl Iterator<Item = (&'a str, fn(&Bench<'_>) -> Outcome)>) -> Outcome {
    let config = Config { ram_bytes: 192 << 20, features, ..Config::default() };
    let machine = Machine::new(config);
    let first = Pfn::new(config.ram_start.as_u64() >> 12);
    let memory = Memory::new(Door::simulated(&machine), &[first..first.add((config.ram_bytes >> 12) as usize)]);
    let memory = memory.map_err(|error| format!("memory: {error:?}"))?;
    let slots = (MEGABYTES + 8) << 8;
    let ram = RamDevice::new(&memory.frames, slots).map_err(|error| format!("device: {error:?}"))?;
    let drive = Arc::new(Drive::new(ram));
    memory.swap.add_device(Box::new(drive.clone())).map_err(|error| format!("device: {error:?}"))?;
    let cpu = SimulatedCpu::new(machine);
    for (name, case) in cases {
        Bench::new(&memory, &cpu, MEGABYTES)
            .with_drive(Some(&drive))
            .run(case)
            .map_err(|error| format!("{name}: {error}"))?;
    }
    match cpu.machine.verdict() {
        Verdict::Pass => Ok(()),
        verdict => Err(format!("the model's verdict: {verdict}")),
    }
}

/// Runs one case on a machine of its own, with all features.
fn one_on_max(case: fn(&Bench<'_>) -> Outcome) -> Outcome {
    run_on(MAX, std::iter::once(("", case)))
}

/// What a case left behind must not disturb the next.
#[test]
fn in_a_row() {
    if let Err(error) = run_on(MAX, cases::all().map(|case| (case.name, case.run))) {
        panic!("{error}");
    }
}

fn run_all(profile: &str, features: Features) {
    let chosen = std::env::var("CASE").unwrap_or_default();
    let mut passed = 0;
    let mut failed = Vec::new();
    for case in cases::all().filter(|case| case.name.contains(&chosen)) {
        let outcome = catch_unwind(AssertUnwindSafe(|| run_on(features, std::iter::once((case.name, case.run)))));
        match outcome {
            Ok(Ok(())) => passed += 1,
            Ok(Err(error)) => failed.push(format!("{}: {error}", case.name)),
            Err(panic) => {
                let verdict = panic.downcast_ref::<String>().map_or("panicked", String::as_str);
                failed.push(format!("{}: {verdict}", case.name));
            }
        }
    }
    println!("{profile}: {passed} passed, {} failed", failed.len());
    // `./qemu-run.sh mutants` knows the beginning of it: a defect is not caught by a case that there is not.
    assert!(passed + failed.len() > 0, "no case has a name with `{chosen}` in it");
    assert!(
        failed.is_empty(),
        "{profile}: {} of {} cases failed:\n{}",
        failed.len(),
        passed + failed.len(),
        failed.join("\n")
    );
}

#[test]
fn on_max() {
    run_all("max", MAX);
}

#[test]
fn on_neoverse_n1() {
    run_all("neoverse-n1", NEOVERSE_N1);
}

#[test]
fn on_cortex_a72() {
    run_all("cortex-a72", CORTEX_A72);
}

#[test]
fn names_are_distinct() {
    let mut names: Vec<_> = cases::all().map(|case| case.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
