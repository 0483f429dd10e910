//! A simulated machine with memory management on it, and a program that accesses its memory: what all the tests here begin with.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod ground;

use std::sync::Arc;

use mm::fault::{Access, FaultError};
use mm::folio::Folio;
use mm::map::{MapFlags, MapRequest};
use mm::space::advice::PAGEOUT;
use mm::swap::RamDevice;
use mm::vma::Prot;
use mm::{Errno, Memory, Space};
use mmu::host::{self, Config, Machine, program};
use mmu::model::Verdict;
use mmu::{Descriptor, Door, Features, Pfn, PhysAddr, VirtAddr};

/// Read and write.
pub const RW: Prot = Prot::READ.union(Prot::WRITE);
/// Where tests map: 2 MiB-aligned.
pub const BASE: u64 = 0x55_0080_0000;
/// A private anonymous map.
pub const PRIVATE: MapFlags = MapFlags::PRIVATE.union(MapFlags::ANONYMOUS);
/// The same at a fixed place.
pub const FIXED: MapFlags = PRIVATE.union(MapFlags::FIXED);

/// A machine, its memory, and one space that runs on it.
pub struct Bench {
    pub machine: Machine,
    pub memory: Memory,
    pub space: Arc<Space>,
}

/// What the door and memory management have counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub swaps: u64,
    pub stores: u64,
    pub tlbi: u64,
    pub ishst: u64,
    pub ish: u64,
    pub unfolds: u64,
    pub folds: u64,
}

impl Bench {
    /// 64 MiB, 32 MiB of swap, a CPU with everything, and folios of the sizes that `thp` says.
    pub fn new(thp: &str) -> Self {
        Self::on(Config::default(), thp)
    }

    /// The same with a CPU that leaves access flags and dirty state to software, and has no range TLBI.
    pub fn simple(thp: &str) -> Self {
        let features = Features { asid_bits: 16, ..Features::default() };
        Self::on(Config { features, ..Config::default() }, thp)
    }

    pub fn on(config: Config, thp: &str) -> Self {
        let machine = Machine::new(config);
        let first = Pfn::new(config.ram_start.as_u64() >> 12);
        let last = Pfn::new((config.ram_start.as_u64() + config.ram_bytes) >> 12);
        let memory = Memory::new(Door::simulated(&machine), &[first..last]).expect("memory");
        let device = RamDevice::new(&memory.frames, 8192).expect("a device");
        memory.swap.add_device(Box::new(device)).expect("a place for the device");
        memory.policy().parse("thp", thp).expect("sizes");
        let space = memory.create_space().expect("a space");
        memory.activate(&space);
        Self { machine, memory, space }
    }

    /// Maps `pages` pages at a page number relative to [`BASE`].
    pub fn map(&self, page: u64, pages: u64, prot: Prot) -> u64 {
        let request = MapRequest { address: BASE + page * 4096, length: pages * 4096, prot, flags: FIXED };
        self.memory.mmap(&self.space, request).expect("mmap")
    }

    /// The address of a page.
    pub fn at(&self, page: u64) -> VirtAddr {
        VirtAddr::new(BASE + page * 4096)
    }

    pub fn unmap(&self, page: u64, pages: u64) {
        self.memory.munmap(&self.space, BASE + page * 4096, pages * 4096).expect("munmap");
    }

    pub fn protect(&self, page: u64, pages: u64, prot: Prot) -> Result<(), Errno> {
        self.memory.mprotect(&self.space, BASE + page * 4096, pages * 4096, prot)
    }

    pub fn advise(&self, page: u64, pages: u64, advice: u32) -> Result<(), Errno> {
        self.memory.madvise(&self.space, BASE + page * 4096, pages * 4096, advice)
    }

    /// Stores a word as the program, faults resolved.
    pub fn write(&self, page: u64, value: u64) -> Result<(), FaultError> {
        self.attempt(page, Access::Write, |machine, at| machine.user_write_u64(at, value))
    }

    /// Loads a word as the program, faults resolved.
    pub fn read(&self, page: u64) -> Result<u64, FaultError> {
        self.attempt(page, Access::Read, |machine, at| machine.user_read_u64(at))
    }

    fn attempt<R>(
        &self,
        page: u64,
        access: Access,
        act: impl Fn(&Machine, VirtAddr) -> Result<R, host::Fault>,
    ) -> Result<R, FaultError> {
        for _ in 0..8 {
            if let Ok(result) = act(&self.machine, self.at(page)) {
                return Ok(result);
            }
            self.memory.fault(&self.space, self.at(page), access)?;
        }
        panic!("an access to page {page} faults for ever");
    }

    /// Writes every page of a range with its number.
    pub fn fill(&self, page: u64, pages: u64) {
        (page..page + pages).for_each(|page| self.write(page, page ^ 0xABCD).expect("a write"));
    }

    /// Every page of a range has its number.
    pub fn verify(&self, page: u64, pages: u64) {
        (page..page + pages).for_each(|page| assert_eq!(self.read(page), Ok(page ^ 0xABCD), "page {page}"));
    }

    /// The raw entry of a page.
    pub fn entry(&self, page: u64) -> Descriptor {
        match self.space.tables.find(&self.memory, self.at(page)) {
            Some(table) => self.memory.door.load(table.slot(self.at(page))),
            None => Descriptor::NONE,
        }
    }

    /// Where a page is.
    pub fn frame(&self, page: u64) -> PhysAddr {
        assert!(self.entry(page).is_present(), "page {page} is not present: {}", self.entry(page));
        self.entry(page).address()
    }

    /// The folio that a page belongs to, and which of its pages it is.
    pub fn folio(&self, page: u64) -> (Folio<'_>, usize) {
        let frame = self.frame(page).frame();
        let folio = self.memory.frames.folio_of(frame);
        (folio, folio.index_of(frame))
    }

    /// How many entries of a range are folded, present and not folded, swapped, none.
    pub fn shape(&self, page: u64, pages: u64) -> [usize; 4] {
        let mut shape = [0; 4];
        for page in page..page + pages {
            let entry = self.entry(page);
            let kind = match () {
                () if entry.is_folded() => 0,
                () if entry.is_present() => 1,
                () if entry.is_swap() => 2,
                () => 3,
            };
            shape[kind] += 1;
        }
        shape
    }

    /// Forgets every translation, as whoever changes entries by hand must.
    pub fn forget(&self) {
        mm::tlb::flush_space(&self.memory, &self.space, mmu::Cause::Test);
    }

    /// No CPU runs in the space, or holds anything of it: entries may be set whatever was there.
    pub fn rest(&self) {
        self.memory.deactivate();
        self.forget();
    }

    /// The value of a counter of memory management.
    pub fn count(&self, name: &str) -> u64 {
        let place = mm::count::Counters::NAMES.iter().position(|&known| known == name).expect("a counter");
        self.memory.count_all()[place]
    }

    /// What has been counted so far.
    pub fn counts(&self) -> Counts {
        let events = self.memory.door.events();
        Counts {
            swaps: events.swaps.get(),
            stores: events.stores.get(),
            tlbi: events.tlbi.iter().map(mmu::Counter::get).sum(),
            ishst: events.dsb[mmu::Dsb::IshSt as usize].get(),
            ish: events.dsb[mmu::Dsb::Ish as usize].get(),
            unfolds: self.count("unfolds"),
            folds: self.count("folds"),
        }
    }

    /// What an action costs.
    pub fn cost(&self, action: impl FnOnce()) -> Counts {
        let before = self.counts();
        action();
        let after = self.counts();
        Counts {
            swaps: after.swaps - before.swaps,
            stores: after.stores - before.stores,
            tlbi: after.tlbi - before.tlbi,
            ishst: after.ishst - before.ishst,
            ish: after.ish - before.ish,
            unfolds: after.unfolds - before.unfolds,
            folds: after.folds - before.folds,
        }
    }

    /// Frames and swap slots that are free.
    pub fn stock(&self) -> (usize, usize) {
        (self.memory.frames.free_count(), self.memory.swap.free_count())
    }

    /// Everything counted again agrees with what memory management believes.
    pub fn audit(&self) {
        if let Err(finding) = mm::audit::recount(&self.memory, std::slice::from_ref(&self.space)) {
            panic!("{finding}");
        }
        assert_eq!(self.memory.defects(), 0);
    }
}

/// `pages` filled pages, paged out.
pub fn swapped(thp: &str, pages: u64) -> Bench {
    let bench = Bench::new(thp);
    bench.map(0, pages, RW);
    bench.fill(0, pages);
    bench.advise(0, pages, PAGEOUT).unwrap();
    assert_eq!(bench.shape(0, pages), [0, 0, pages as usize, 0]);
    bench.audit();
    bench
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.memory.deactivate();
            self.memory.destroy_space(&self.space);
            assert_eq!(self.memory.defects(), 0);
            assert_eq!(self.machine.verdict(), Verdict::Pass);
        }
    }
}

/// What a CPU does, and in which space.
pub type Work<'a> = (&'a Arc<Space>, Box<dyn FnOnce() + Send + 'a>);

/// Runs programs, one on each CPU.
pub fn run<'a>(bench: &'a Bench, seed: u64, works: Vec<Work<'a>>) {
    let enter = |(space, work): Work<'a>| {
        program(move || {
            bench.memory.activate(space);
            work();
            bench.memory.deactivate();
        })
    };
    bench.machine.run(seed, works.into_iter().map(enter).collect());
    bench.memory.activate(&bench.space);
}

/// Runs programs in the bench's space, one on each CPU.
pub fn run_in_one<'a>(bench: &'a Bench, seed: u64, works: Vec<Box<dyn FnOnce() + Send + 'a>>) {
    run(bench, seed, works.into_iter().map(|work| (&bench.space, work)).collect());
}
