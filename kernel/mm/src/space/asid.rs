//! ASIDs: which space may run under which identifier (reference 3.8).
//!
//! Identifiers are given out in order, within a generation. When they run out a new generation begins: everything is flushed on every
//! CPU, and only the spaces that run at that moment keep theirs. A space that comes back later takes a new one. Since no identifier is
//! used twice in a generation, one that a dead space had needs no flush of its own.

use core::sync::atomic::{AtomicU64, Ordering};

use mmu::{Asid, Cause, Dsb, Scope, Table, TlbOp};

use crate::MAX_CPUS;
use crate::memory::Memory;
use crate::sync::{Lock, Rank};

/// Bits of an identifier in a [`Context`]; the generation is above them.
const ID_BITS: u32 = 16;
const ID_MASK: u64 = (1 << ID_BITS) - 1;
const ONE_GENERATION: u64 = 1 << ID_BITS;

/// What a space holds: its identifier and the generation that gave it. 0 before it first runs.
#[derive(Debug, Default)]
pub(crate) struct Context(AtomicU64);

impl Context {
    /// None given yet.
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The identifier, perhaps of a generation that is over: then no TLB holds anything of the space.
    #[inline(always)]
    pub(crate) fn asid(&self) -> Asid {
        Asid::new((self.0.load(Ordering::Relaxed) & ID_MASK) as u16)
    }
}

/// The identifiers of a machine.
#[derive(Debug)]
pub struct Asids {
    hardware_bits: u8,
    state: Lock<State>,
    /// The context each CPU runs; 0 where none, or where the rollover has just collected it.
    running: [AtomicU64; MAX_CPUS],
}

#[derive(Debug)]
struct State {
    generation: u64,
    next: u64,
    /// What ran at the last rollover, of the generation before; still in use until its CPU switches.
    reserved: [u64; MAX_CPUS],
    rollovers: u64,
}

impl Asids {
    /// With none given out, for CPUs with identifiers of `hardware_bits`.
    pub const fn new(hardware_bits: u8) -> Self {
        let state = State { generation: ONE_GENERATION, next: 1, reserved: [0; MAX_CPUS], rollovers: 0 };
        Self { hardware_bits, state: Lock::new(Rank::Frames, state), running: [const { AtomicU64::new(0) }; MAX_CPUS] }
    }

    /// How often a new generation began.
    pub fn rollovers(&self) -> u64 {
        self.state.lock().rollovers
    }

    /// Makes this CPU translate by `root` under the identifier of `context`. All under one lock: a rollover between choosing the
    /// identifier and using it would hand the one that this CPU still walks with to another space.
    pub(super) fn switch_to(&self, memory: &Memory, context: &Context, root: Table) {
        let mut state = self.state.lock();
        let mut value = context.0.load(Ordering::Relaxed);
        if value & !ID_MASK != state.generation {
            value = self.renew(memory, &mut state, value);
            context.0.store(value, Ordering::Relaxed);
        }
        memory.door.activate(root, Asid::new((value & ID_MASK) as u16));
        self.running[memory.door.cpu() % MAX_CPUS].store(value, Ordering::Relaxed);
    }

    /// Makes this CPU translate by `root`, which is empty, under the reserved identifier.
    pub(super) fn leave(&self, memory: &Memory, root: Table) {
        let _state = self.state.lock();
        memory.door.activate(root, Asid::RESERVED);
        self.running[memory.door.cpu() % MAX_CPUS].store(0, Ordering::Relaxed);
    }

    /// Whether some CPU runs `context`.
    pub(super) fn is_running(&self, context: &Context) -> bool {
        let value = context.0.load(Ordering::Relaxed);
        value != 0 && self.running.iter().any(|running| running.load(Ordering::Relaxed) == value)
    }

    /// A context of this generation for a space whose own is of an older one, or that has none.
    fn renew(&self, memory: &Memory, state: &mut State, old: u64) -> u64 {
        // A space that another CPU was running at the rollover keeps its identifier: that CPU's TLB is filling under it.
        if old != 0 && state.reserved.contains(&old) {
            let renewed = state.generation | (old & ID_MASK);
            for reserved in state.reserved.iter_mut().filter(|reserved| **reserved == old) {
                *reserved = renewed;
            }
            return renewed;
        }
        let limit = 1 << self.hardware_bits.min(memory.policy().asid_bits());
        loop {
            if state.next >= limit {
                self.roll_over(memory, state);
            }
            let id = state.next;
            state.next += 1;
            if !state.reserved.iter().any(|reserved| reserved & ID_MASK == id) {
                return state.generation | id;
            }
        }
    }

    /// Begins a generation: what runs is reserved, everything else is forgotten by every TLB.
    fn roll_over(&self, memory: &Memory, state: &mut State) {
        state.generation += ONE_GENERATION;
        state.next = 1;
        state.rollovers += 1;
        for (reserved, running) in state.reserved.iter_mut().zip(&self.running) {
            *reserved = running.load(Ordering::Relaxed);
        }
        memory.door.dsb(Dsb::IshSt);
        memory.door.invalidate(TlbOp::all(Scope::Broadcast), Cause::Rollover);
        memory.door.dsb(Dsb::Ish);
    }
}
