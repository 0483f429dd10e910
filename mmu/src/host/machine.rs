//! The machine: a handle over memory and CPUs that answers the door's verbs, and has the model judge every one of them.

use std::boxed::Box;
use std::panic::Location;
use std::string::ToString;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use super::config::Config;
use super::cpu::Cpu;
use super::event::{Event, Record, Seen};
use super::memory::Memory;
use super::random::Random;
use super::turns;
use crate::addr::{Asid, PAGE_SIZE, Pfn, PhysAddr};
use crate::descriptor::Descriptor;
use crate::door::{self, Mark, Run};
use crate::events::{Dsb, Events};
use crate::fact::Fact;
use crate::features::Features;
use crate::model::{self, Judged, Line, Means, Model, Verdict, Write};
use crate::slot::CONT_PTES;
use crate::tlb_op::{Form, TlbOp};

/// Set in `watched` while CPUs take turns.
pub(super) const RUNNING: u8 = 1;
/// Set in `watched` while events are logged.
const LOGGING: u8 = 2;

/// What all handles share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) features: Features,
    pub(super) memory: Memory,
    pub(super) adversary: bool,
    strict: bool,
    cpus: Box<[Cpu]>,
    pub(super) watched: AtomicU8,
    log: Mutex<Vec<Record>>,
    model: Mutex<Model>,
    random: Mutex<Random>,
}

/// A simulated machine. Clones are the same machine.
#[derive(Clone, Debug)]
pub struct Machine(pub(super) Arc<Shared>);

/// What the environment adds to every seed.
fn more_seed() -> u64 {
    std::env::var("UNFOLD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0)
}

/// Locks, whatever a panic elsewhere has done to the lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Table pages that the model has room for, if memory has that many frames.
const TABLES: usize = 2048;

impl Machine {
    /// Builds a machine. RAM is zero, no table is active. The variable UNFOLD_SEED, if it is a number, makes another machine of each
    /// seed; in a build with mutants UNFOLD_MUTANT chooses one.
    pub fn new(config: Config) -> Self {
        #[cfg(feature = "mutants")]
        crate::mutant::choose_by_environment();
        turns::begin();
        let cpus = config.cpus.max(1);
        let frames = (config.ram_bytes / PAGE_SIZE) as usize;
        let model = Model::new(model::Config {
            features: config.features,
            cpus,
            first_frame: config.ram_start.frame(),
            frames,
            block: CONT_PTES,
            tables: frames.min(TABLES),
            stale: model::Config::STALE,
        });
        Self(Arc::new(Shared {
            features: config.features,
            memory: Memory::new(config.ram_start, config.ram_bytes),
            adversary: config.adversary,
            strict: config.strict,
            cpus: (0..cpus).map(|_| Cpu::new()).collect(),
            watched: AtomicU8::new(0),
            log: Mutex::new(Vec::new()),
            model: Mutex::new(model),
            random: Mutex::new(Random::new(config.seed.wrapping_add(more_seed()))),
        }))
    }

    /// Starts to log events.
    pub fn log_on(&self) {
        self.0.watched.fetch_or(LOGGING, Ordering::Relaxed);
    }

    /// Stops logging and returns what was logged.
    pub fn take_log(&self) -> Vec<Record> {
        self.0.watched.fetch_and(!LOGGING, Ordering::Relaxed);
        core::mem::take(&mut lock(&self.0.log))
    }

    /// How many CPUs there are.
    pub fn cpus(&self) -> usize {
        self.0.cpus.len()
    }

    /// The counters of a CPU.
    pub fn events_of(&self, cpu: usize) -> &Events {
        &self.0.cpus[cpu].events
    }

    /// What the CPUs can do.
    #[inline]
    pub fn features(&self) -> Features {
        self.0.features
    }

    /// The CPU that this thread is: 0 outside of a run, if no other was named.
    #[inline]
    pub fn cpu(&self) -> usize {
        if self.0.watched.load(Ordering::Relaxed) & RUNNING == 0 { 0 } else { turns::current_cpu() }
    }

    #[inline]
    pub(super) fn this_cpu(&self) -> &Cpu {
        self.cpu_at(self.cpu())
    }

    pub(super) fn cpu_at(&self, cpu: usize) -> &Cpu {
        &self.0.cpus[cpu]
    }

    /// What the model holds of everything so far.
    pub fn verdict(&self) -> Verdict {
        *lock(&self.0.model).verdict()
    }

    /// Looks into the model.
    pub fn with_model<R>(&self, look: impl FnOnce(&Model) -> R) -> R {
        look(&lock(&self.0.model))
    }

    pub(super) fn random(&self, limit: usize) -> usize {
        lock(&self.0.random).below(limit)
    }

    #[inline]
    pub(crate) fn events(&self) -> &Events {
        &self.this_cpu().events
    }

    #[inline]
    fn is_watched(&self) -> bool {
        self.0.watched.load(Ordering::Relaxed) != 0
    }

    /// Does `work` as one event: another CPU may come before it, none inside it.
    #[inline]
    pub(super) fn step<R: Seen>(&self, line: Line, event: Event, work: impl FnOnce() -> R) -> R {
        if self.0.adversary {
            self.let_another_disturb(line);
        }
        if !self.is_watched() {
            return work();
        }
        turns::before(event, line);
        let result = work();
        self.record(event, result.seen(), line);
        result
    }

    /// Now and then a walker on another CPU, or its program, updates an entry.
    fn let_another_disturb(&self, line: Line) {
        const ONE_IN: usize = 16;
        let choice = self.random(ONE_IN * 2 * self.cpus());
        let (cpu, dirty) = (choice / 2 % self.cpus(), choice % 2 == 0);
        if choice < 2 * self.cpus() && cpu != self.cpu() {
            self.disturb(cpu, dirty, line);
        }
    }

    /// Has the model judge an event of this thread's CPU, as part of the event itself.
    ///
    /// # Panics
    /// With the verdict, if a rule is broken, or nothing can be said any more, and the machine is strict.
    pub(super) fn tell(&self, line: Line, event: impl FnOnce(&mut Model, usize) -> Judged) {
        let cpu = self.cpu();
        let number = self.0.cpus[cpu].told.fetch_add(1, Ordering::Relaxed) + 1;
        if !door::is_told(number) {
            return;
        }
        let mut model = lock(&self.0.model);
        let found = model.judge(cpu, number, line, |model| event(model, cpu));
        let complaint = match (found, model.verdict()) {
            (Some(breach), _) => breach.to_string(),
            (None, verdict @ Verdict::Unknown(_)) => verdict.to_string(),
            (None, _) => return,
        };
        drop(model);
        if self.0.strict && !std::thread::panicking() {
            panic!("{complaint}");
        }
    }

    /// Logs an event, if a log is kept.
    #[cold]
    pub(super) fn record(&self, event: Event, seen: u64, location: Line) {
        if self.0.watched.load(Ordering::Relaxed) & LOGGING != 0 {
            lock(&self.0.log).push(Record { cpu: self.cpu(), event, seen, location });
        }
    }
}

/// The door's verbs.
impl Machine {
    #[inline]
    #[track_caller]
    pub(crate) fn load(&self, address: PhysAddr) -> u64 {
        let line = Location::caller();
        self.step(line, Event::Load(address), || {
            let seen = self.0.memory.word(address).load(Ordering::Acquire);
            self.tell(line, |model, cpu| model.load(cpu, address, Descriptor::from_bits(seen)));
            seen
        })
    }

    /// Where nobody watches it is told as one event.
    #[track_caller]
    pub(crate) fn load_run(&self, address: PhysAddr, entries: &mut [Descriptor]) {
        let places = (0..).map(|index| address.add_bytes(8 * index));
        if self.is_watched() || self.0.adversary {
            return places.zip(entries).for_each(|(place, entry)| *entry = Descriptor::from_bits(self.load(place)));
        }
        for (place, entry) in places.clone().zip(entries.iter_mut()) {
            *entry = Descriptor::from_bits(self.0.memory.word(place).load(Ordering::Acquire));
        }
        self.tell(Location::caller(), |model, cpu| {
            places.zip(entries).try_for_each(|(place, entry)| model.load(cpu, place, *entry))
        });
    }

    /// One change of a descriptor that has just been made.
    fn tell_write(&self, line: Line, address: PhysAddr, old: u64, new: u64, means: Means) {
        let write = Write { old: Descriptor::from_bits(old), new: Descriptor::from_bits(new), means };
        self.tell(line, |model, cpu| model.write(cpu, address, write));
    }

    #[inline]
    #[track_caller]
    pub(crate) fn store(&self, address: PhysAddr, value: u64) {
        let line = Location::caller();
        self.step(line, Event::Store(address, value), || {
            let word = self.0.memory.word(address);
            let old = word.load(Ordering::Relaxed);
            word.store(value, Ordering::Release);
            self.tell_write(line, address, old, value, Means::Store);
        });
    }

    #[inline]
    #[track_caller]
    pub(crate) fn store_run(&self, address: PhysAddr, count: usize, first: u64, step: u64) {
        for (place, value) in door::places(address, count, first, step) {
            self.store(place, value);
        }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn swap(&self, address: PhysAddr, value: u64) -> u64 {
        let line = Location::caller();
        self.step(line, Event::Swap(address, value), || {
            let old = self.0.memory.word(address).swap(value, Ordering::AcqRel);
            self.tell_write(line, address, old, value, Means::Swap);
            old
        })
    }

    #[inline]
    #[track_caller]
    pub(crate) fn swap_run(&self, address: PhysAddr, count: usize, first: u64, step: u64) -> Run {
        let mut run = Run::of(self.swap(address, first));
        for (place, value) in door::places(address, count, first, step).skip(1) {
            run.add(self.swap(place, value));
        }
        run
    }

    #[inline]
    #[track_caller]
    pub(crate) fn compare_exchange(&self, address: PhysAddr, old: u64, new: u64) -> Result<u64, u64> {
        let line = Location::caller();
        self.step(line, Event::CompareExchange(address, old, new), || {
            let result = self.0.memory.word(address).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire);
            match result {
                Ok(_) => self.tell_write(line, address, old, new, Means::Exchange),
                Err(seen) => {
                    self.tell(line, |model, cpu| model.exchange_failed(cpu, address, Descriptor::from_bits(seen)));
                }
            }
            result
        })
    }

    #[track_caller]
    pub(crate) fn activate(&self, root: PhysAddr, asid: Asid) {
        let line = Location::caller();
        self.step(line, Event::Activate(root, asid), || {
            self.this_cpu().set_root(root, asid);
            self.tell(line, |model, cpu| model.activate(cpu, root, asid));
        });
    }

    #[inline]
    #[track_caller]
    pub(crate) fn tlbi(&self, op: TlbOp) {
        let line = Location::caller();
        assert!(
            op.form != Form::Range || self.0.features.range_tlbi,
            "UNDEFINED: TLBI by range on a CPU without FEAT_TLBIRANGE"
        );
        self.step(line, Event::Tlbi(op), || self.tell(line, |model, cpu| model.tlbi(cpu, op)));
    }

    #[inline]
    #[track_caller]
    pub(crate) fn dsb(&self, kind: Dsb) {
        let line = Location::caller();
        self.step(line, Event::Dsb(kind), || self.tell(line, |model, cpu| model.dsb(cpu, kind)));
    }

    #[inline]
    #[track_caller]
    pub(crate) fn isb(&self) {
        let line = Location::caller();
        self.step(line, Event::Isb, || self.tell(line, |model, cpu| model.isb(cpu)));
    }

    /// Nothing counts instructions here.
    #[inline]
    #[track_caller]
    pub(crate) fn mark(&self, mark: Mark) -> u32 {
        self.step(Location::caller(), Event::Mark(mark), || ());
        0
    }

    #[inline]
    #[track_caller]
    pub(crate) fn fact(&self, fact: Fact) {
        let line = Location::caller();
        self.step(line, Event::Fact(fact), || {
            self.tell(line, |model, cpu| model.fact(cpu, fact));
            if let Fact::End(_) = fact {
                self.tell(line, |model, cpu| model.check_counters(cpu, self.events()));
            }
        });
    }

    #[track_caller]
    pub(crate) fn clear_pages(&self, frame: Pfn, count: usize) {
        let line = Location::caller();
        self.step(line, Event::ClearPages(frame, count), || {
            self.tell(line, |model, cpu| model.pages_written(cpu, frame, count));
            self.0.memory.clear(frame, count);
        });
    }

    #[track_caller]
    pub(crate) fn copy_pages(&self, to: Pfn, from: Pfn, count: usize) {
        let line = Location::caller();
        self.step(line, Event::CopyPages(to, from, count), || {
            self.tell(line, |model, cpu| model.pages_read(cpu, from, count));
            self.tell(line, |model, cpu| model.pages_written(cpu, to, count));
            self.0.memory.copy(to, from, count);
        });
    }

    #[track_caller]
    pub(crate) fn transfer_pages(&self, to: Pfn, from: Pfn, count: usize) {
        let line = Location::caller();
        self.step(line, Event::TransferPages(to, from, count), || {
            self.tell(line, |model, cpu| model.pages_transferred(cpu, from, count));
            self.tell(line, |model, cpu| model.pages_written(cpu, to, count));
            self.0.memory.copy(to, from, count);
        });
    }

    #[track_caller]
    pub(crate) fn pages_are_zero(&self, frame: Pfn, count: usize) -> bool {
        let line = Location::caller();
        self.step(line, Event::ScanPages(frame, count), || {
            self.tell(line, |model, cpu| model.pages_read(cpu, frame, count));
            self.0.memory.is_zero(frame, count)
        })
    }

    #[track_caller]
    pub(crate) fn read_bytes(&self, from: PhysAddr, buffer: &mut [u8]) {
        let line = Location::caller();
        self.step(line, Event::ReadBytes(from, buffer.len()), || self.0.memory.read(from, buffer));
    }

    #[track_caller]
    pub(crate) fn write_bytes(&self, to: PhysAddr, bytes: &[u8]) {
        let line = Location::caller();
        self.step(line, Event::WriteBytes(to, bytes.len()), || self.0.memory.write(to, bytes));
    }

    #[track_caller]
    pub(crate) fn clean_to_unification(&self, frame: Pfn, count: usize) {
        self.step(Location::caller(), Event::CleanToUnification(frame, count), || ());
    }

    #[track_caller]
    pub(crate) fn invalidate_instructions(&self) {
        let line = Location::caller();
        self.step(line, Event::InvalidateInstructions, || {
            self.tell(line, |model, cpu| model.instructions_changed(cpu));
        });
    }
}
