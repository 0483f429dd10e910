//! The door: the only way to a table page in use, to TLBI, and to the barriers that order the two.
//!
//! The verbs and their counting are the same everywhere. Behind them is the [`Machine`]: hardware in the kernel, a simulation on
//! the host. One folded run is one event with a length, so counting costs one addition a run.

#[cfg(target_os = "none")]
mod hardware;
mod mutate;
#[cfg(all(target_os = "none", feature = "check"))]
mod observed;
#[cfg(any(not(target_os = "none"), feature = "check"))]
mod one_by_one;
#[cfg(target_os = "none")]
mod page_data;

#[cfg(all(target_os = "none", not(feature = "check")))]
use hardware::Machine;
#[cfg(target_os = "none")]
pub(crate) use hardware::current_cpu;
#[cfg(target_os = "none")]
pub use hardware::{PerCpu, set_features};
#[cfg(all(target_os = "none", feature = "check"))]
use observed::Machine;
#[cfg(all(target_os = "none", feature = "check"))]
pub use observed::{Report, observe, with_model};

#[cfg(any(not(target_os = "none"), feature = "check"))]
pub(crate) use mutate::is_told;
#[cfg(any(not(target_os = "none"), feature = "check"))]
pub(crate) use one_by_one::places;

#[cfg(not(target_os = "none"))]
use crate::host::Machine;

use crate::addr::{Asid, ENTRIES, Pfn, PhysAddr};
use crate::descriptor::{Descriptor, NEXT_PAGE};
use crate::events::{Dsb, Events};
use crate::fact::{Fact, Role};
use crate::features::Features;
use crate::mutant::{Mutant, is};
use crate::slot::{Slot, Table, UpperSlot};
use crate::tlb_op::{Cause, TlbOp};

/// Points in the kernel's work that an observer outside can see: each is a `hint` with this number, which CPUs execute as a no-op.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mark {
    /// A measured interval begins.
    Begin = 0x60,
    /// It ends.
    End = 0x61,
    /// Unmapping.
    Unmap = 0x62,
    /// The zero scan.
    Scan = 0x63,
    /// Copying to or from the swap device.
    Copy = 0x64,
    /// Anything else.
    Other = 0x65,
}

/// The handle. Holding one gives access to every table; which entries may be touched is for the locks of `mm` to say.
#[derive(Debug)]
pub struct Door {
    machine: Machine,
}

/// The result of swapping a run of descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) any: u64,
    pub(crate) all: u64,
}

impl Run {
    /// A run of one.
    #[inline(always)]
    pub(crate) const fn of(old: u64) -> Self {
        Self { first: old, any: old, all: old }
    }

    /// One more.
    #[inline(always)]
    pub(crate) const fn add(&mut self, old: u64) {
        self.any |= old;
        self.all &= old;
    }

    /// The first old value with the access flag and dirty state of the whole run. A clear READ_ONLY bit occurs only together with
    /// WRITE (reference 2.2), so the run holds a hardware-dirty entry exactly if READ_ONLY is not set in all.
    fn gathered(self) -> Descriptor {
        let first = Descriptor::from_bits(self.first);
        if !first.is_present() || is(Mutant::SiblingFlagsLost) {
            return first;
        }
        let (any, all) = (Descriptor::from_bits(self.any), Descriptor::from_bits(self.all));
        let mut sum = first;
        if any.is_young() {
            sum = sum.make_young();
        }
        if !all.is_read_only() || Descriptor::from_bits(self.any & self.first_mask()).is_dirty() {
            sum = sum.make_dirty();
        }
        sum
    }

    /// The software dirty bit alone: READ_ONLY is kept set so that only that bit speaks.
    const fn first_mask(self) -> u64 {
        1 << 55
    }
}

#[cfg(not(target_os = "none"))]
impl Door {
    /// Opens the door to a simulated machine.
    pub fn simulated(machine: &Machine) -> Self {
        Self { machine: machine.clone() }
    }
}

// Where the model watches every verb knows who called it, so that verdicts can name the line; a kernel without it pays nothing.
impl Door {
    /// Whether facts reach anybody: what must be looked up to tell one need not be otherwise.
    pub const IS_WATCHED: bool = cfg!(any(not(target_os = "none"), feature = "check"));

    /// Reads a last-level descriptor.
    #[inline(always)]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn load(&self, slot: Slot) -> Descriptor {
        self.events().reads.add(1);
        Descriptor::from_bits(self.machine.load(slot.address()))
    }

    /// Reads last-level descriptors from `slot` on, at most `count`, until `matches` holds of one; it is told which it looks at. Returns
    /// that one, and how many came before it.
    #[inline(always)]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn find(
        &self,
        slot: Slot,
        count: usize,
        matches: impl Fn(usize, Descriptor) -> bool,
    ) -> Option<(usize, Descriptor)> {
        let matches = |index, entry| matches(index, Descriptor::from_bits(entry));
        let found = self.machine.find(slot.address(), count, matches);
        self.events().reads.add(found.map_or(count, |(index, _)| index + 1) as u64);
        found.map(|(index, entry)| (index, Descriptor::from_bits(entry)))
    }

    /// Reads all descriptors of a table, of any level: for an audit, which looks at everything while nothing runs.
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn load_all(&self, table: Table, entries: &mut [Descriptor; ENTRIES]) {
        let events = self.events();
        if table.level() == 3 { &events.reads } else { &events.table_reads }.add(ENTRIES as u64);
        self.machine.load_run(table.address(), entries);
    }

    /// Writes a last-level descriptor over one that hardware can not be updating: an invalid one.
    #[inline(always)]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn store(&self, slot: Slot, value: Descriptor) {
        self.events().stores.add(1);
        self.machine.store(slot.address(), value.bits());
    }

    /// Writes `count` descriptors, each the next page of the one before.
    #[inline(always)]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn store_run(&self, slot: Slot, first: Descriptor, count: usize) {
        self.events().stores.add(count as u64);
        self.machine.store_run(slot.address(), count, first.bits(), NEXT_PAGE);
    }

    /// Empties `count` descriptors that are invalid already, so that hardware is not updating them.
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn store_run_none(&self, slot: Slot, count: usize) {
        self.events().stores.add(count as u64);
        self.machine.store_run(slot.address(), count, 0, 0);
    }

    /// Swaps a last-level descriptor, which is how one that hardware may update is cleared.
    #[inline(always)]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn swap(&self, slot: Slot, value: Descriptor) -> Descriptor {
        self.events().swaps.add(1);
        Descriptor::from_bits(self.machine.swap(slot.address(), value.bits()))
    }

    /// Clears `count` descriptors. Returns the first with the access flag and dirty state of all.
    #[inline(always)]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn clear_run(&self, slot: Slot, count: usize) -> Descriptor {
        self.events().swaps.add(count as u64);
        self.machine.swap_run(slot.address(), count, 0, 0).gathered()
    }

    /// Swaps `count` descriptors for `first` and its successors. Returns the first old one with the flags of all.
    #[inline(always)]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn swap_run(&self, slot: Slot, first: Descriptor, count: usize) -> Descriptor {
        self.events().swaps.add(count as u64);
        self.machine.swap_run(slot.address(), count, first.bits(), NEXT_PAGE).gathered()
    }

    /// Changes a descriptor that hardware may be updating, by compare-and-swap until it holds. Returns the old one.
    #[inline]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn update(&self, slot: Slot, change: impl Fn(Descriptor) -> Descriptor) -> Descriptor {
        Descriptor::from_bits(self.exchange_run(slot, 1, change).first)
    }

    /// [`update`](Self::update) for `count` descriptors. Returns the first old one with the flags of all.
    #[inline]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn update_run(&self, slot: Slot, count: usize, change: impl Fn(Descriptor) -> Descriptor) -> Descriptor {
        self.exchange_run(slot, count, change).gathered()
    }

    #[inline(always)]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    fn exchange_run(&self, slot: Slot, count: usize, change: impl Fn(Descriptor) -> Descriptor) -> Run {
        if is(Mutant::PlainUpdate) {
            return mutate::update_plainly(self, slot, count, change);
        }
        let change = |old| change(Descriptor::from_bits(old)).bits();
        let (run, exchanges) = self.machine.exchange_run(slot.address(), count, change);
        self.events().update_reads.add(count as u64);
        self.events().exchanges.add(exchanges);
        run
    }

    /// Reads a descriptor of levels 0 to 2.
    #[inline(always)]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn load_table(&self, slot: UpperSlot) -> Descriptor {
        self.events().table_reads.add(1);
        Descriptor::from_bits(self.machine.load(slot.address()))
    }

    /// Writes a descriptor of levels 0 to 2 and returns the one it replaces.
    #[inline]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn swap_table(&self, slot: UpperSlot, value: Descriptor) -> Descriptor {
        self.events().table_stores.add(1);
        // A walker that follows the link must find the zeros of a new table, not what its frame held before.
        core::sync::atomic::fence(core::sync::atomic::Ordering::Release);
        Descriptor::from_bits(self.machine.swap(slot.address(), value.bits()))
    }

    /// Makes the frame at `address` an empty table of `level`. The store that links it is what publishes it.
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn new_table(&self, address: PhysAddr, level: u8) -> Table {
        self.machine.clear_pages(address.frame(), 1);
        self.fact(Fact::FrameRole(address.frame(), 1, Role::Table { level }));
        Table::new(address, level)
    }

    /// Says that a table is no longer reachable from any CPU.
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn free_table(&self, table: Table) {
        self.fact(Fact::FrameRole(table.address().frame(), 1, Role::Freed));
    }

    /// Makes this CPU translate user addresses by `root` under `asid`: both in one write to TTBR0_EL1 (TCR_EL1.A1 is 0), then ISB.
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn activate(&self, root: Table, asid: Asid) {
        self.machine.activate(root.address(), asid);
        self.isb();
    }

    /// Issues one TLBI. It is complete only after [`dsb`](Self::dsb).
    #[inline(always)]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn invalidate(&self, op: TlbOp, cause: Cause) {
        let Some(op) = mutate::tlbi(op, cause) else { return };
        self.events().tlbi[op.kind()].add(mutate::tlbi_count());
        self.events().tlbi_causes[cause as usize].add(mutate::tlbi_count());
        self.machine.tlbi(op);
    }

    /// Issues a DSB.
    #[inline(always)]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn dsb(&self, kind: Dsb) {
        if mutate::dsb(kind) {
            self.events().dsb[kind as usize].add(1);
            self.machine.dsb(kind);
        }
    }

    /// Issues an ISB.
    #[inline(always)]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn isb(&self) {
        if mutate::isb() {
            self.events().isb.add(1);
            self.machine.isb();
        }
    }

    /// Makes instructions that were just written to `count` frames visible to fetches (DDI 0487, B2.7.4.2).
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn sync_instructions(&self, frame: Pfn, count: usize) {
        self.machine.clean_to_unification(frame, count);
        self.dsb(Dsb::Ish);
        self.machine.invalidate_instructions();
        self.dsb(Dsb::Ish);
        self.isb();
    }

    /// Marks the begin of a phase for an observer outside, by a no-op that it knows, and returns the instructions that this machine
    /// has executed, modulo 2^32 (PMU event 0x08). 0 where nothing counts them.
    #[inline(always)]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn mark(&self, mark: Mark) -> u32 {
        self.machine.mark(mark)
    }

    /// Tells a fact.
    #[inline(always)]
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn fact(&self, fact: Fact) {
        self.machine.fact(fact);
    }

    /// Fills `count` frames with zero.
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn clear_pages(&self, frame: Pfn, count: usize) {
        self.machine.clear_pages(frame, count);
    }

    /// Copies `count` frames.
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn copy_pages(&self, to: Pfn, from: Pfn, count: usize) {
        self.machine.copy_pages(to, from, count);
    }

    /// Copies `count` frames as a device does that was told to earlier: when it likes, whoever writes them meanwhile. What it has got
    /// is right only for what was not written since.
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn transfer_pages(&self, to: Pfn, from: Pfn, count: usize) {
        self.machine.transfer_pages(to, from, count);
    }

    /// Whether `count` frames hold nothing but zero.
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn pages_are_zero(&self, frame: Pfn, count: usize) -> bool {
        self.machine.pages_are_zero(frame, count)
    }

    /// Copies memory at `from`, within one frame, into `buffer`.
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn read_bytes(&self, from: PhysAddr, buffer: &mut [u8]) {
        self.machine.read_bytes(from, buffer);
    }

    /// Copies `bytes` into memory at `to`, within one frame.
    #[cfg_attr(any(not(target_os = "none"), feature = "check"), track_caller)]
    pub fn write_bytes(&self, to: PhysAddr, bytes: &[u8]) {
        self.machine.write_bytes(to, bytes);
    }

    /// What the CPU can do.
    #[inline(always)]
    pub fn features(&self) -> Features {
        self.machine.features()
    }

    /// The number of the CPU that asks, from 0.
    #[inline(always)]
    pub fn cpu(&self) -> usize {
        self.machine.cpu()
    }

    /// The counters of the CPU that asks.
    #[inline(always)]
    pub fn events(&self) -> &Events {
        self.machine.events()
    }
}
