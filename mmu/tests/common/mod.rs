//! A machine with a small address space, built through the door as a kernel would.
#![allow(dead_code, reason = "each test file uses some of it")]

use mmu::host::{Config, Machine};
use mmu::{Asid, Cause, Descriptor, Door, Dsb, Features, Pfn, Protection, Slot, Table, TlbOp, VirtAddr};

pub const RW: Protection = Protection { read: true, write: true, execute: false };
pub const RO: Protection = Protection { read: true, write: false, execute: false };

/// 2 MiB-aligned; the last-level table of a space maps the 2 MiB from here on.
pub const BASE: VirtAddr = VirtAddr::new(0x55_0080_0000);
pub const ASID: Asid = Asid::new(1);

/// Accesses that meet every translation that a CPU may hold: each is a throw of a coin at least.
pub const TRIES: usize = 32;

/// A machine and the frames not yet given out.
pub struct Ground {
    pub machine: Machine,
    pub door: Door,
    next: Pfn,
}

/// An address space that has one last-level table.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    pub root: Table,
    pub middle: Table,
    pub last: Table,
    pub asid: Asid,
}

impl Ground {
    pub fn new(cpus: usize) -> Self {
        Self::with(cpus, Config::default().features)
    }

    pub fn with(cpus: usize, features: Features) -> Self {
        Self::build(Config { cpus, features, ..Config::default() })
    }

    pub fn build(config: Config) -> Self {
        let machine = Machine::new(config);
        let door = Door::simulated(&machine);
        Self { machine, door, next: config.ram_start.frame() }
    }

    /// `count` frames, aligned to `count`.
    pub fn frames(&mut self, count: usize) -> Pfn {
        while !self.next.is_aligned(count) {
            self.next = self.next.add(1);
        }
        let first = self.next;
        self.next = first.add(count);
        first
    }

    pub fn table(&mut self, level: u8) -> Table {
        let frame = self.frames(1);
        self.door.new_table(frame.start(), level)
    }

    pub fn space(&mut self, asid: Asid) -> Space {
        let [root, upper, middle, last] = [0, 1, 2, 3].map(|level| self.table(level));
        for (table, next) in [(root, upper), (upper, middle), (middle, last)] {
            self.door.swap_table(table.upper_slot(BASE), Descriptor::table(next.address()));
        }
        self.door.dsb(Dsb::IshSt);
        Space { root, middle, last, asid }
    }

    /// A space of ASID 1, active on this CPU.
    pub fn active_space(&mut self) -> Space {
        let space = self.space(ASID);
        self.door.activate(space.root, space.asid);
        space
    }

    /// Issues an invalidation with the barriers that belong to it.
    pub fn complete(&self, op: TlbOp) {
        self.door.dsb(Dsb::IshSt);
        self.door.invalidate(op, Cause::Test);
        self.door.dsb(Dsb::Ish);
    }
}

impl Space {
    pub fn slot(&self, page: usize) -> Slot {
        self.last.slot(BASE.add_pages(page))
    }
}

pub fn page(number: usize) -> VirtAddr {
    BASE.add_pages(number)
}

pub fn young(frame: Pfn, protection: Protection) -> Descriptor {
    Descriptor::user_page(frame, protection).make_young()
}

pub fn dirty(frame: Pfn) -> Descriptor {
    young(frame, RW).make_dirty()
}
