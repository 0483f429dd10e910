//! The machine: a handle over memory and CPUs that answers the door's verbs. As long as nobody watches (no run of several CPUs, no
//! log) a verb costs one check more than its work.

use std::boxed::Box;
use std::panic::Location;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use super::event::{Event, Record, Seen};
use super::memory::Memory;
use super::random::Random;
use super::tlb::Tlb;
use super::turns;
use crate::addr::{Asid, Pfn, PhysAddr};
use crate::door::{Fact, Mark, Run};
use crate::events::{Dsb, Events};
use crate::features::Features;
use crate::tlb_op::{Scope, TlbOp};

/// What machine to build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Where RAM starts.
    pub ram_start: PhysAddr,
    /// How much there is.
    pub ram_bytes: u64,
    /// CPUs.
    pub cpus: usize,
    /// What they can do.
    pub features: Features,
    /// Decides what the architecture leaves open: which folded blocks a TLB holds as one entry.
    pub seed: u64,
}

impl Default for Config {
    /// 64 MiB, one CPU with all features but BBM level 3.
    fn default() -> Self {
        let features = Features {
            range_tlbi: true,
            level_hint: true,
            bbm_level: 2,
            hardware_access: true,
            hardware_dirty: true,
            lse: true,
            asid_bits: 16,
        };
        Self { ram_start: PhysAddr::new(0x4000_0000), ram_bytes: 64 << 20, cpus: 1, features, seed: 1 }
    }
}

/// A CPU: its counters, TTBR0_EL1 and TLB.
#[derive(Debug)]
#[repr(align(128))] // counters of two CPUs never share a cache line
pub(super) struct Cpu {
    pub(super) events: Events,
    ttbr0: AtomicU64,
    tlb: Mutex<Tlb>,
    /// Entries in `tlb`, so that an invalidation need not look into an empty one.
    held: AtomicU64,
}

/// Set in `watched` while CPUs take turns.
pub(super) const RUNNING: u8 = 1;
/// Set in `watched` while events are logged.
const LOGGING: u8 = 2;

/// What all handles share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) features: Features,
    pub(super) memory: Memory,
    cpus: Box<[Cpu]>,
    pub(super) watched: AtomicU8,
    log: Mutex<Vec<Record>>,
}

/// A simulated machine. Clones are the same machine.
#[derive(Clone, Debug)]
pub struct Machine(pub(super) Arc<Shared>);

/// Locks, whatever a panic elsewhere has done to the lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const ASID_SHIFT: u32 = 48;
/// TTBR0_EL1 before the first activation: no table.
const NO_TABLE: u64 = u64::MAX;

impl Cpu {
    fn new(random: Random) -> Self {
        Self {
            events: Events::new(),
            ttbr0: AtomicU64::new(NO_TABLE),
            tlb: Mutex::new(Tlb::new(random)),
            held: AtomicU64::new(0),
        }
    }

    /// The root of the user tables and the ASID, once there is one.
    pub(super) fn root(&self) -> Option<(PhysAddr, Asid)> {
        let value = self.ttbr0.load(Ordering::Relaxed);
        let root = PhysAddr::new(value & ((1 << ASID_SHIFT) - 1));
        (value != NO_TABLE).then_some((root, Asid::new((value >> ASID_SHIFT) as u16)))
    }

    /// Lets `work` use the TLB.
    pub(super) fn with_tlb<R>(&self, work: impl FnOnce(&mut Tlb) -> R) -> R {
        let mut tlb = lock(&self.tlb);
        let result = work(&mut tlb);
        self.held.store(tlb.len() as u64, Ordering::Release);
        result
    }

    fn invalidate(&self, op: TlbOp, features: Features) {
        if self.held.load(Ordering::Acquire) > 0 {
            self.with_tlb(|tlb| tlb.invalidate(op, features));
        }
    }
}

impl Machine {
    /// Builds a machine. RAM is zero, no table is active.
    pub fn new(config: Config) -> Self {
        let mut random = Random::new(config.seed);
        let cpus = (0..config.cpus.max(1)).map(|_| Cpu::new(Random::new(random.next()))).collect();
        Self(Arc::new(Shared {
            features: config.features,
            memory: Memory::new(config.ram_start, config.ram_bytes),
            cpus,
            watched: AtomicU8::new(0),
            log: Mutex::new(Vec::new()),
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

    /// The CPU that this thread is: 0 outside of a run.
    #[inline]
    pub fn cpu(&self) -> usize {
        if self.0.watched.load(Ordering::Relaxed) & RUNNING == 0 { 0 } else { turns::current_cpu() }
    }

    #[inline]
    pub(super) fn this_cpu(&self) -> &Cpu {
        &self.0.cpus[self.cpu()]
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
    #[track_caller]
    pub(super) fn step<R: Seen>(&self, event: Event, work: impl FnOnce() -> R) -> R {
        if !self.is_watched() {
            return work();
        }
        let location = Location::caller();
        turns::before(event, location);
        let result = work();
        self.record(event, result.seen(), location);
        result
    }

    /// Logs an event, if a log is kept.
    #[cold]
    pub(super) fn record(&self, event: Event, seen: u64, location: &'static Location<'static>) {
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
        self.step(Event::Load(address), || self.0.memory.word(address).load(Ordering::Acquire))
    }

    #[inline]
    #[track_caller]
    pub(crate) fn store(&self, address: PhysAddr, value: u64) {
        self.step(Event::Store(address, value), || self.0.memory.word(address).store(value, Ordering::Release));
    }

    #[inline]
    #[track_caller]
    pub(crate) fn store_run(&self, address: PhysAddr, count: usize, first: u64, step: u64) {
        for index in 0..count as u64 {
            self.store(address.add_bytes(8 * index), first.wrapping_add(index.wrapping_mul(step)));
        }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn swap(&self, address: PhysAddr, value: u64) -> u64 {
        self.step(Event::Swap(address, value), || self.0.memory.word(address).swap(value, Ordering::AcqRel))
    }

    #[inline]
    #[track_caller]
    pub(crate) fn swap_run(&self, address: PhysAddr, count: usize, first: u64, step: u64) -> Run {
        let old = self.swap(address, first);
        let mut run = Run { first: old, any: old, all: old };
        for index in 1..count as u64 {
            let old = self.swap(address.add_bytes(8 * index), first.wrapping_add(index.wrapping_mul(step)));
            run.any |= old;
            run.all &= old;
        }
        run
    }

    #[inline]
    #[track_caller]
    pub(crate) fn compare_exchange(&self, address: PhysAddr, old: u64, new: u64) -> Result<u64, u64> {
        self.step(Event::CompareExchange(address, old, new), || {
            self.0.memory.word(address).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
        })
    }

    #[track_caller]
    pub(crate) fn activate(&self, root: PhysAddr, asid: Asid) {
        self.step(Event::Activate(root, asid), || {
            let value = (u64::from(asid.as_u16()) << ASID_SHIFT) | root.as_u64();
            self.this_cpu().ttbr0.store(value, Ordering::Relaxed);
        });
    }

    #[inline]
    #[track_caller]
    pub(crate) fn tlbi(&self, op: TlbOp) {
        self.step(Event::Tlbi(op), || {
            assert!(
                op.form != crate::tlb_op::Form::Range || self.0.features.range_tlbi,
                "UNDEFINED: TLBI by range on a CPU without FEAT_TLBIRANGE"
            );
            match op.scope {
                Scope::Local => self.this_cpu().invalidate(op, self.0.features),
                Scope::Broadcast => self.0.cpus.iter().for_each(|cpu| cpu.invalidate(op, self.0.features)),
            }
        });
    }

    #[inline]
    #[track_caller]
    pub(crate) fn dsb(&self, kind: Dsb) {
        self.step(Event::Dsb(kind), || ());
    }

    #[inline]
    #[track_caller]
    pub(crate) fn isb(&self) {
        self.step(Event::Isb, || ());
    }

    /// Nothing counts instructions here.
    #[inline]
    #[track_caller]
    pub(crate) fn mark(&self, mark: Mark) -> u32 {
        self.step(Event::Mark(mark), || ());
        0
    }

    #[inline]
    #[track_caller]
    pub(crate) fn fact(&self, fact: Fact) {
        self.step(Event::Fact(fact), || ());
    }

    #[track_caller]
    pub(crate) fn clear_pages(&self, frame: Pfn, count: usize) {
        self.step(Event::ClearPages(frame, count), || self.0.memory.clear(frame, count));
    }

    #[track_caller]
    pub(crate) fn copy_pages(&self, to: Pfn, from: Pfn, count: usize) {
        self.step(Event::CopyPages(to, from, count), || self.0.memory.copy(to, from, count));
    }

    #[track_caller]
    pub(crate) fn pages_are_zero(&self, frame: Pfn, count: usize) -> bool {
        self.step(Event::ScanPages(frame, count), || self.0.memory.is_zero(frame, count))
    }

    #[track_caller]
    pub(crate) fn read_bytes(&self, from: PhysAddr, buffer: &mut [u8]) {
        self.step(Event::ReadBytes(from, buffer.len()), || self.0.memory.read(from, buffer));
    }

    #[track_caller]
    pub(crate) fn write_bytes(&self, to: PhysAddr, bytes: &[u8]) {
        self.step(Event::WriteBytes(to, bytes.len()), || self.0.memory.write(to, bytes));
    }

    #[track_caller]
    pub(crate) fn clean_to_unification(&self, frame: Pfn, count: usize) {
        self.step(Event::CleanToUnification(frame, count), || ());
    }

    #[track_caller]
    pub(crate) fn invalidate_instructions(&self) {
        self.step(Event::InvalidateInstructions, || ());
    }
}
