//! The hardware, observed: each verb does what it does, and the model judges it. Both happen under one lock, so that the model sees the
//! events of several CPUs in the order in which they took effect.
//!
//! What the model finds goes to a hook of the kernel's, after the lock is released: it ends the machine, or, for a warning, notes it.

extern crate alloc;

use core::panic::Location;

use super::hardware::{self, next_event_number};
use super::{Door, Mark, Run, places};
use crate::addr::{Asid, Pfn, PhysAddr};
use crate::descriptor::Descriptor;
use crate::events::{Dsb, Events};
use crate::fact::Fact;
use crate::features::Features;
use crate::model::{Breach, Judged, Line, Means, Model, Write};
use crate::tlb_op::TlbOp;

/// What is told of a breach.
pub type Report = fn(&Breach);

struct Observer {
    model: Model,
    report: Report,
}

static OBSERVER: spin::mutex::SpinMutex<Option<Observer>, Relax> = spin::mutex::SpinMutex::new(None);

struct Relax;

impl spin::RelaxStrategy for Relax {
    fn relax() {
        crate::wait::relax();
    }
}

/// From now on everything that passes through the door is held against `model`; `report` is told of breaches. Before the first use of
/// the door.
pub fn observe(model: Model, report: Report) {
    *OBSERVER.lock() = Some(Observer { model, report });
}

/// Looks into the model, if there is one.
pub fn with_model<R>(look: impl FnOnce(&Model) -> R) -> Option<R> {
    OBSERVER.lock().as_ref().map(|observer| look(&observer.model))
}

/// The hardware, with an observer beside it.
#[derive(Debug)]
pub(super) struct Machine {
    hardware: hardware::Machine,
}

impl Door {
    /// Opens the door to the hardware, observed.
    ///
    /// # Safety
    /// As without an observer: the linear map is in place and writable for all RAM, TPIDR_EL1 of every CPU that uses the door points at
    /// its own [`PerCpu`](super::PerCpu), and [`set_features`](super::set_features) has been called.
    pub const unsafe fn open() -> Self {
        Self { machine: Machine { hardware: hardware::Machine::new() } }
    }
}

/// Tells the model of an event of this CPU.
struct Tell<'a> {
    observer: &'a mut Option<Observer>,
    cpu: usize,
    line: Line,
    found: Option<(Breach, Report)>,
}

impl Tell<'_> {
    fn event(&mut self, judge: impl FnOnce(&mut Model, usize) -> Judged) {
        let number = next_event_number();
        if !super::is_told(number) {
            return;
        }
        let Some(observer) = self.observer else { return };
        let (cpu, line) = (self.cpu, self.line);
        if let Some(breach) = observer.model.judge(cpu, number, line, |model| judge(model, cpu)) {
            self.found.get_or_insert((breach, observer.report));
        }
    }

    fn write(&mut self, address: PhysAddr, old: u64, new: u64, means: Means) {
        let write = Write { old: Descriptor::from_bits(old), new: Descriptor::from_bits(new), means };
        self.event(|model, cpu| model.write(cpu, address, write));
    }
}

/// The verbs of the door.
impl Machine {
    /// Does something and tells of it, as one.
    #[track_caller]
    fn observed<R>(&self, work: impl FnOnce(&hardware::Machine, &mut Tell<'_>) -> R) -> R {
        let line = Location::caller();
        let mut observer = OBSERVER.lock();
        let mut tell = Tell { observer: &mut observer, cpu: self.hardware.cpu(), line, found: None };
        let result = work(&self.hardware, &mut tell);
        let found = tell.found;
        drop(observer);
        if let Some((breach, report)) = found {
            report(&breach);
        }
        result
    }

    #[track_caller]
    pub(super) fn load(&self, address: PhysAddr) -> u64 {
        self.observed(|hardware, tell| {
            let seen = hardware.load(address);
            tell.event(|model, cpu| model.load(cpu, address, Descriptor::from_bits(seen)));
            seen
        })
    }

    #[track_caller]
    pub(super) fn load_run(&self, address: PhysAddr, entries: &mut [Descriptor]) {
        for (index, entry) in (0..).zip(entries) {
            *entry = Descriptor::from_bits(self.load(address.add_bytes(8 * index)));
        }
    }

    #[track_caller]
    pub(super) fn store(&self, address: PhysAddr, value: u64) {
        self.store_run(address, 1, value, 0);
    }

    #[track_caller]
    pub(super) fn store_run(&self, address: PhysAddr, count: usize, first: u64, step: u64) {
        self.observed(|hardware, tell| {
            for (place, value) in places(address, count, first, step) {
                let old = hardware.load(place);
                hardware.store(place, value);
                tell.write(place, old, value, Means::Store);
            }
        });
    }

    #[track_caller]
    pub(super) fn swap(&self, address: PhysAddr, value: u64) -> u64 {
        self.swap_run(address, 1, value, 0).first
    }

    #[track_caller]
    pub(super) fn swap_run(&self, address: PhysAddr, count: usize, first: u64, step: u64) -> Run {
        self.observed(|hardware, tell| {
            let mut swap = |place, value| {
                let old = hardware.swap(place, value);
                tell.write(place, old, value, Means::Swap);
                old
            };
            let mut run = Run::of(swap(address, first));
            places(address, count, first, step).skip(1).for_each(|(place, value)| run.add(swap(place, value)));
            run
        })
    }

    #[track_caller]
    pub(super) fn compare_exchange(&self, address: PhysAddr, old: u64, new: u64) -> Result<u64, u64> {
        self.observed(|hardware, tell| {
            let result = hardware.compare_exchange(address, old, new);
            match result {
                Ok(_) => tell.write(address, old, new, Means::Exchange),
                Err(seen) => {
                    tell.event(|model, cpu| model.exchange_failed(cpu, address, Descriptor::from_bits(seen)));
                }
            }
            result
        })
    }

    #[track_caller]
    pub(super) fn activate(&self, root: PhysAddr, asid: Asid) {
        self.observed(|hardware, tell| {
            hardware.activate(root, asid);
            tell.event(|model, cpu| model.activate(cpu, root, asid));
        });
    }

    #[track_caller]
    pub(super) fn tlbi(&self, op: TlbOp) {
        self.observed(|hardware, tell| {
            hardware.tlbi(op);
            tell.event(|model, cpu| model.tlbi(cpu, op));
        });
    }

    #[track_caller]
    pub(super) fn dsb(&self, kind: Dsb) {
        self.observed(|hardware, tell| {
            hardware.dsb(kind);
            tell.event(|model, cpu| model.dsb(cpu, kind));
        });
    }

    #[track_caller]
    pub(super) fn isb(&self) {
        self.observed(|hardware, tell| {
            hardware.isb();
            tell.event(Model::isb);
        });
    }

    #[inline(always)]
    pub(super) fn mark(&self, mark: Mark) -> u32 {
        self.hardware.mark(mark)
    }

    #[track_caller]
    pub(super) fn fact(&self, fact: Fact) {
        self.observed(|hardware, tell| {
            hardware.fact(fact);
            tell.event(|model, cpu| model.fact(cpu, fact));
            if let Fact::End(_) = fact {
                tell.event(|model, cpu| model.check_counters(cpu, hardware.events()));
            }
        });
    }

    #[track_caller]
    pub(super) fn clear_pages(&self, frame: Pfn, count: usize) {
        self.observed(|hardware, tell| {
            tell.event(|model, cpu| model.pages_written(cpu, frame, count));
            hardware.clear_pages(frame, count);
        });
    }

    #[track_caller]
    pub(super) fn copy_pages(&self, to: Pfn, from: Pfn, count: usize) {
        self.observed(|hardware, tell| {
            tell.event(|model, cpu| model.pages_read(cpu, from, count));
            tell.event(|model, cpu| model.pages_written(cpu, to, count));
            hardware.copy_pages(to, from, count);
        });
    }

    #[track_caller]
    pub(super) fn transfer_pages(&self, to: Pfn, from: Pfn, count: usize) {
        self.observed(|hardware, tell| {
            tell.event(|model, cpu| model.pages_transferred(cpu, from, count));
            tell.event(|model, cpu| model.pages_written(cpu, to, count));
            hardware.transfer_pages(to, from, count);
        });
    }

    #[track_caller]
    pub(super) fn pages_are_zero(&self, frame: Pfn, count: usize) -> bool {
        self.observed(|hardware, tell| {
            tell.event(|model, cpu| model.pages_read(cpu, frame, count));
            hardware.pages_are_zero(frame, count)
        })
    }

    pub(super) fn read_bytes(&self, from: PhysAddr, buffer: &mut [u8]) {
        self.hardware.read_bytes(from, buffer);
    }

    pub(super) fn write_bytes(&self, to: PhysAddr, bytes: &[u8]) {
        self.hardware.write_bytes(to, bytes);
    }

    pub(super) fn clean_to_unification(&self, frame: Pfn, count: usize) {
        self.hardware.clean_to_unification(frame, count);
    }

    #[track_caller]
    pub(super) fn invalidate_instructions(&self) {
        self.observed(|hardware, tell| {
            hardware.invalidate_instructions();
            tell.event(Model::instructions_changed);
        });
    }

    pub(super) fn features(&self) -> Features {
        self.hardware.features()
    }

    pub(super) fn cpu(&self) -> usize {
        self.hardware.cpu()
    }

    pub(super) fn events(&self) -> &'static Events {
        self.hardware.events()
    }
}
