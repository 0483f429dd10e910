//! The stage: a simulated machine behind the real door, with spaces, tables and frames that scenarios call by number.

use std::collections::BTreeMap;

use mmu::host::{Config, Machine};
use mmu::{
    Asid, Cause, Descriptor, Door, Dsb, Fact, PAGE_SIZE, Pfn, PhysAddr, Slot, TABLE_SPAN, Table, TlbOp, VirtAddr,
};

use crate::verb::{Place, Tlbi, Verb, range_fields};
use crate::words::{Run, Wrong};

/// Page 0: the last-level table of each space maps the 2 MiB from here on.
pub const PAGES: VirtAddr = VirtAddr::new(0x55_0080_0000);
/// Tables lie in the first 2 MiB of memory; frame 0 is behind them.
const FRAMES_BEHIND: u64 = TABLE_SPAN;
/// Memory for them and for frames 0 to 1023.
const RAM: u64 = FRAMES_BEHIND + 1024 * PAGE_SIZE;

/// What frame 0 stands for.
pub fn frame_zero() -> Pfn {
    PhysAddr::new(Config::default().ram_start.as_u64() + FRAMES_BEHIND).frame()
}

/// An address space: where its root is, and the table above its last-level one.
#[derive(Clone, Copy, Debug)]
struct Space {
    root: Table,
    above: Table,
    asid: Asid,
}

/// The machine and what is on it.
pub struct Stage {
    /// The machine.
    pub machine: Machine,
    door: Door,
    spaces: BTreeMap<usize, Space>,
    tables: BTreeMap<usize, Table>,
    next_table: Pfn,
}

impl Stage {
    /// An empty one.
    pub fn new(config: Config) -> Self {
        let machine = Machine::new(Config { ram_bytes: RAM, strict: false, ..config });
        let door = Door::simulated(&machine);
        Self { machine, door, spaces: BTreeMap::new(), tables: BTreeMap::new(), next_table: config.ram_start.frame() }
    }

    /// The number of the last-level table at this address, if it is one.
    pub fn table_at(&self, address: PhysAddr) -> Option<usize> {
        self.tables.iter().find(|(_, table)| table.address() == address).map(|(&number, _)| number)
    }

    /// Does what a line says, as this CPU.
    pub fn play(&mut self, cpu: usize, verb: &Verb) -> Result<(), Wrong> {
        let machine = self.machine.clone();
        machine.on_cpu(cpu, || self.act(verb))
    }

    fn act(&mut self, verb: &Verb) -> Result<(), Wrong> {
        let door = &self.door;
        match *verb {
            Verb::Space(number, asid) => self.make_space(number, Asid::new(asid)),
            Verb::NewTable(number) => {
                let table = self.new_table(3);
                self.tables.insert(number, table);
            }
            Verb::Link(table, space) => self.link(space, Descriptor::table(self.table(table)?.address()))?,
            // A block has bit 1 clear where a page has it set.
            Verb::LinkBlock(space, entry) => self.link(space, Descriptor::from_bits(entry.bits() & !2))?,
            Verb::Unlink(space) => self.link(space, Descriptor::NONE)?,
            Verb::FreeTable(table) => door.free_table(self.table(table)?),
            Verb::Run(space, asid, isb) => {
                let space = self.space(space)?;
                let asid = asid.map_or(space.asid, Asid::new);
                if isb {
                    door.activate(space.root, asid);
                } else {
                    self.machine.activate_without_isb(space.root, asid);
                }
            }
            Verb::Tlbi(tlbi) => self.tlbi(tlbi)?,
            Verb::Miscount(tlbi) => door.events().tlbi[operation(&tlbi).kind()].add(1),
            Verb::Dsb(kind) => door.dsb(kind),
            Verb::Isb => door.isb(),
            Verb::Access(page, access) => {
                // A fault is as good an answer as any: the model judges the rest.
                let _ = self.machine.access(PAGES.add_pages(page), access);
            }
            Verb::Lose => self.machine.lose_event(),
            Verb::Load(..) | Verb::Store(..) | Verb::Swap(..) | Verb::Update(..) | Verb::Poke(..) => {
                self.change(verb)?;
            }
            _ => self.tell(verb)?,
        }
        Ok(())
    }

    /// Reads and changes of last-level entries.
    fn change(&self, verb: &Verb) -> Result<(), Wrong> {
        let door = &self.door;
        match *verb {
            Verb::Load(place) => {
                let first = self.slot(place)?;
                for index in 0..place.pages.count {
                    door.load(first.add(index));
                }
            }
            Verb::Store(place, entry) if entry.is_present() => {
                door.store_run(self.slot(place)?, entry, place.pages.count);
            }
            Verb::Store(place, entry) => {
                let first = self.slot(place)?;
                (0..place.pages.count).for_each(|index| door.store(first.add(index), entry));
            }
            Verb::Swap(place, entry) if entry.is_none() => {
                door.clear_run(self.slot(place)?, place.pages.count);
            }
            Verb::Swap(place, entry) => {
                door.swap_run(self.slot(place)?, entry, place.pages.count);
            }
            Verb::Update(place, change) => {
                door.update_run(self.slot(place)?, place.pages.count, change);
            }
            Verb::Poke(place, entry) => {
                door.write_bytes(self.slot(place)?.address(), &entry.bits().to_le_bytes());
            }
            _ => {}
        }
        Ok(())
    }

    /// What memory management says, and does to whole frames.
    fn tell(&self, verb: &Verb) -> Result<(), Wrong> {
        let door = &self.door;
        match *verb {
            Verb::Role(Run { first, count }, role) => door.fact(Fact::FrameRole(frame(first), count, role)),
            Verb::Zero(Run { first, count }) => door.clear_pages(frame(first), count),
            Verb::Transfer(Run { first, count }, to) => door.transfer_pages(frame(to), frame(first), count),
            Verb::Copy(Run { first, count }, to) => door.copy_pages(frame(to), frame(first), count),
            Verb::WriteOut(Run { first, count }) => {
                door.fact(Fact::DataRead(frame(first), count));
                let mut bytes = [0; PAGE_SIZE as usize];
                (0..count).for_each(|page| door.read_bytes(frame(first + page).start(), &mut bytes));
            }
            Verb::Begin(operation) => door.fact(Fact::Begin(operation)),
            Verb::End(operation) => door.fact(Fact::End(operation)),
            Verb::Lock(table) => door.fact(Fact::Lock(self.table(table)?.address().frame())),
            Verb::Unlock(table) => door.fact(Fact::Unlock(self.table(table)?.address().frame())),
            Verb::Batch(place) => door.fact(Fact::Batch(self.slot(place)?, place.pages.count)),
            Verb::Discard(place, written) => door.fact(Fact::Discard(self.slot(place)?, place.pages.count, written)),
            Verb::Resolved(place, access) => door.fact(Fact::Resolved(self.slot(place)?, access)),
            Verb::NoAbort => door.fact(Fact::NoAbort),
            Verb::SnapshotBegin(place) => door.fact(Fact::SnapshotBegin(self.slot(place)?)),
            Verb::SnapshotEnd(place, entry) => door.fact(Fact::SnapshotEnd(self.slot(place)?, entry)),
            _ => {}
        }
        Ok(())
    }

    fn tlbi(&self, tlbi: Tlbi) -> Result<(), Wrong> {
        if tlbi.form == mmu::Form::Range && !self.machine.features().range_tlbi {
            return Err("these CPUs have no TLBI by range: `features range=on`".to_owned());
        }
        self.door.invalidate(operation(&tlbi), Cause::Test);
        Ok(())
    }

    fn new_table(&mut self, level: u8) -> Table {
        let frame = self.next_table;
        self.next_table = frame.add(1);
        self.door.new_table(frame.start(), level)
    }

    fn make_space(&mut self, number: usize, asid: Asid) {
        let [root, upper, above, last] = [0, 1, 2, 3].map(|level| self.new_table(level));
        for (table, next) in [(root, upper), (upper, above), (above, last)] {
            self.door.swap_table(table.upper_slot(PAGES), Descriptor::table(next.address()));
        }
        self.door.dsb(Dsb::IshSt);
        self.spaces.insert(number, Space { root, above, asid });
        self.tables.insert(number, last);
    }

    fn link(&self, space: usize, entry: Descriptor) -> Result<(), Wrong> {
        self.door.swap_table(self.space(space)?.above.upper_slot(PAGES), entry);
        Ok(())
    }

    fn space(&self, number: usize) -> Result<Space, Wrong> {
        self.spaces
            .get(&number)
            .copied()
            .ok_or_else(|| format!("there is no space {number}; `space {number}` makes it"))
    }

    fn table(&self, number: usize) -> Result<Table, Wrong> {
        let table = self.tables.get(&number).copied();
        table.ok_or_else(|| format!("there is no table {number}; `space {number}` or `new table {number}` makes it"))
    }

    fn slot(&self, place: Place) -> Result<Slot, Wrong> {
        Ok(self.table(place.table)?.slot(PAGES.add_pages(place.pages.first)))
    }
}

fn frame(number: usize) -> Pfn {
    frame_zero().add(number)
}

/// The operation that a line stands for.
fn operation(&Tlbi { form, depth, scope, pages, asid, level, operand }: &Tlbi) -> TlbOp {
    let pages = pages.unwrap_or(Run { first: 0, count: 2 });
    let start = PAGES.add_pages(pages.first);
    let asid = Asid::new(asid);
    let by_name = match form {
        mmu::Form::Page | mmu::Form::PageAnyAsid => TlbOp::page(asid, start, level, depth, scope),
        mmu::Form::Range => {
            let (scale, num) = range_fields(pages.count).unwrap_or_default();
            TlbOp::range(asid, start, scale, num, level, depth, scope)
        }
        mmu::Form::Asid => TlbOp::asid(asid, scope),
        mmu::Form::All => TlbOp::all(scope),
    };
    // An instruction for any ASID has zeros in that field.
    let field = if form == mmu::Form::PageAnyAsid { by_name.operand & !(0xffff << 48) } else { by_name.operand };
    TlbOp { form, operand: operand.unwrap_or(field), ..by_name }
}
