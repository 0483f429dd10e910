//! Plays a program through the real door of a simulated machine: CPU 0 does its steps, CPU 1 has the space active, and CPU 2 is the
//! other operation that a page-out may meet.

use mmu::host::{Config, Machine};
use mmu::model::{Breach, Verdict};
use mmu::range::{Means, Run, plan};
use mmu::{
    Access, Asid, CONT_PTES, Cause, Depth, Descriptor, Door, Dsb, Fact, Features, Operation, PAGE_SIZE, Pfn,
    Protection, Role, Scope, Slot, Table, VirtAddr,
};
use search::{Entry, Kind, New, Program, Step, Tlbi};

/// Entries in a block.
pub const PAGES: u8 = CONT_PTES as u8;

const BASE: VirtAddr = VirtAddr::new(0x55_0080_0000);
const ASID: Asid = Asid::new(1);
const OTHER_ASID: Asid = Asid::new(2);
const RW: Protection = Protection { read: true, write: true, execute: false };
const RAM: u64 = 64 * PAGE_SIZE;
const KERNEL: usize = 0;
const PROGRAM: usize = 1;
const OTHER: usize = 2;

/// A machine in the middle of a program.
pub struct Stage {
    machine: Machine,
    door: Door,
    above: Table,
    table: Table,
    frames: Pfn,
    operation: Operation,
    /// The CPU that does the next step.
    cpu: usize,
    locks: usize,
    locked: bool,
    gathered: Descriptor,
    folio_dirty: bool,
    trusts_gathered: bool,
}

impl Stage {
    /// A space with one block, as `program` wants it.
    pub fn new(kind: Kind, program: &Program, features: Features) -> Self {
        let machine = Machine::new(Config { ram_bytes: RAM, cpus: 3, features, strict: false, ..Config::default() });
        let door = Door::simulated(&machine);
        let first = Config::default().ram_start.frame();
        let [root, upper, above, table] =
            [0, 1, 2, 3].map(|level: u8| door.new_table(first.add(usize::from(level)).start(), level));
        for (table, next) in [(root, upper), (upper, above), (above, table)] {
            door.swap_table(table.upper_slot(BASE), Descriptor::table(next.address()));
        }
        let frames = first.add(CONT_PTES);
        door.fact(Fact::FrameRole(frames, CONT_PTES, Role::Folio));
        let page = Descriptor::user_page(frames, RW).make_young().with_contiguous(program.folded);
        door.store_run(table.slot(BASE), page, CONT_PTES);
        door.dsb(Dsb::Ish);
        for cpu in [KERNEL, PROGRAM] {
            machine.on_cpu(cpu, || door.activate(root, ASID));
        }
        door.fact(Fact::Begin(operation(kind)));
        Self {
            machine,
            door,
            above,
            table,
            frames,
            operation: operation(kind),
            cpu: KERNEL,
            locks: 0,
            locked: false,
            gathered: Descriptor::NONE,
            folio_dirty: false,
            trusts_gathered: program.trusts_gathered,
        }
    }

    fn slot(&self, page: u8) -> Slot {
        self.table.slot(address(page))
    }

    fn frame(&self, page: u8) -> Pfn {
        self.frames.add(usize::from(page))
    }

    /// Does one step of the kernel.
    pub fn step(&mut self, step: Step) {
        if step == Step::Lock {
            self.locks += 1;
            if self.locks == 2 {
                self.cpu = OTHER;
            }
        }
        let machine = self.machine.clone();
        machine.on_cpu(self.cpu, || self.act(step));
        if step == Step::Declare {
            self.cpu = KERNEL;
        }
    }

    /// The program on CPU 0 returns.
    pub fn end(&self) {
        self.door.fact(Fact::End(self.operation));
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Lock => self.lock(),
            Step::Unlock => self.unlock(),
            Step::Declare => self.door.fact(Fact::End(Operation::Protect)),
            Step::Load(page) => self.gather(self.door.load(self.slot(page))),
            Step::Swap(page, entry) => self.gather(self.door.swap(self.slot(page), absent(page, entry))),
            Step::Store(page, new) => self.door.store(self.slot(page), self.made(page, new)),
            Step::Protect(page) => self.update(page, Descriptor::write_protect),
            Step::Split(page) => self.update(page, |entry| entry.with_contiguous(false)),
            Step::Age(page) => self.update(page, Descriptor::make_old),
            Step::Touch(page) => self.update(page, Descriptor::make_young),
            Step::Unlink => {
                self.door.swap_table(self.above.upper_slot(BASE), Descriptor::NONE);
            }
            Step::Dsb(kind) => self.door.dsb(kind),
            Step::Tlbi(op) => self.invalidate(op),
            Step::MarkDirty => self.folio_dirty |= self.gathered.is_dirty(),
            Step::Copy(page) if self.folio_dirty => self.door.fact(Fact::DataRead(self.frame(page), 1)),
            Step::Copy(_) => {}
            Step::Free(page) => self.door.fact(Fact::FrameRole(self.frame(page), 1, Role::Freed)),
            Step::FreeTable => self.door.free_table(self.table),
        }
    }

    fn lock(&mut self) {
        if self.cpu == OTHER {
            self.door.fact(Fact::Begin(Operation::Protect));
        }
        self.door.fact(Fact::Lock(self.table.address().frame()));
        self.locked = true;
    }

    /// The other operation looks at the entries before it lets go of the lock, and finds nothing to protect.
    fn unlock(&mut self) {
        if self.cpu == OTHER {
            for page in 0..PAGES {
                self.door.load(self.slot(page));
            }
        }
        self.door.fact(Fact::Unlock(self.table.address().frame()));
        self.locked = false;
    }

    fn gather(&mut self, old: Descriptor) {
        if old.is_valid() {
            self.gathered = self.gathered.gather(old);
        }
    }

    fn made(&self, page: u8, new: New) -> Descriptor {
        let plain = Descriptor::user_page(self.frame(page), RW);
        let gathered = plain.gather(self.gathered);
        match new {
            New::None => Descriptor::NONE,
            New::Swap => absent(page, Entry::SWAP),
            New::Folded => gathered.with_contiguous(true),
            New::Plain => gathered,
            New::Clean => plain.make_young(),
            New::ReadOnly => gathered.with_contiguous(true).write_protect(),
        }
    }

    fn update(&self, page: u8, change: impl Fn(Descriptor) -> Descriptor) {
        self.door.update(self.slot(page), change);
    }

    fn invalidate(&self, op: Tlbi) {
        let run = Run {
            asid: if op.right_asid { ASID } else { OTHER_ASID },
            start: address(op.first),
            pages: usize::from(op.pages),
            level: if op.depth == Depth::Leaf { 3 } else { 0 },
            depth: op.depth,
            scope: op.scope,
        };
        let features = self.door.features();
        let means = Means { range: features.range_tlbi, level_hint: features.level_hint };
        plan(run, means).for_each(|op| self.door.invalidate(op, Cause::Test));
    }

    /// The program on CPU 1 accesses a page; a fault is handled there, unless the lock is taken.
    pub fn access(&mut self, page: u8, access: Access) {
        let machine = self.machine.clone();
        machine.on_cpu(PROGRAM, || {
            if machine.access(address(page), access).is_err() && !self.locked {
                self.handle(page, access);
            }
        });
    }

    fn handle(&mut self, page: u8, access: Access) {
        // It finds the table by a walk, as every handler does: one that was unlinked may be gone.
        if self.door.load_table(self.above.upper_slot(BASE)).is_none() {
            return;
        }
        let entry = self.door.load(self.slot(page));
        if !entry.is_valid() || (access == Access::Write && !entry.is_writable()) {
            return;
        }
        self.door.fact(Fact::Begin(Operation::Fault));
        self.lock();
        let members = if entry.is_folded() { 0..PAGES } else { page..page + 1 };
        let gathered = members.clone().fold(entry, |sum, member| sum.gather(self.door.load(self.slot(member))));
        let satisfied = gathered.is_young() && (access == Access::Read || gathered.is_dirty());
        if !(self.trusts_gathered && satisfied) {
            members.clone().for_each(|member| self.update(member, |entry| raised(entry, access)));
        }
        self.door.dsb(Dsb::NshSt);
        let (first, pages) = (members.start, members.end - members.start);
        self.invalidate(Tlbi { first, pages, depth: Depth::Leaf, scope: Scope::Local, right_asid: true });
        self.door.dsb(Dsb::Nsh);
        self.door.fact(Fact::Resolved(self.slot(page), access));
        self.unlock();
        self.door.fact(Fact::End(Operation::Fault));
    }

    /// What the model has found first: a breach, or a warning.
    pub fn breach(&self) -> Option<Breach> {
        match self.machine.verdict() {
            Verdict::Pass => self.machine.with_model(|model| model.warnings().next().copied()),
            Verdict::Breach(breach) => Some(breach),
            Verdict::Unknown(why) => panic!("the model does not know: {why}"),
        }
    }
}

fn address(page: u8) -> VirtAddr {
    BASE.add_pages(usize::from(page))
}

fn absent(page: u8, entry: Entry) -> Descriptor {
    if entry == Entry::NONE { Descriptor::NONE } else { Descriptor::from_bits((u64::from(page) + 1) << 12) }
}

fn raised(entry: Descriptor, access: Access) -> Descriptor {
    if access == Access::Write { entry.make_young().make_dirty() } else { entry.make_young() }
}

/// As what memory management does such a thing.
fn operation(kind: Kind) -> Operation {
    match kind {
        Kind::Fold | Kind::Unfold => Operation::Fault,
        Kind::Protect => Operation::Protect,
        Kind::Age => Operation::Advise,
        Kind::Unlink => Operation::Unmap,
        Kind::PageOut
        | Kind::PageOutInOnePass
        | Kind::Restore
        | Kind::PartialRestore
        | Kind::PageOutOne
        | Kind::PageOutMet => Operation::Reclaim,
    }
}
