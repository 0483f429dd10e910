//! A folded folio that several CPUs are at: what the tests of interleavings begin with.

use std::sync::Arc;

use mm::fault::Access;
use mm::map::{MapFlags, MapRequest};
use mm::space::advice::{FREE, PAGEOUT};
use mm::swap::{Drive, RamDevice};
use mm::vma::Prot;
use mm::{Memory, Space};
use mmu::host::{self, Config, Machine};
use mmu::model::Verdict;
use mmu::{Descriptor, Door, PAGE_SIZE, VirtAddr};

pub const BASE: VirtAddr = VirtAddr::new(0x55_0000_0000);
/// Where nothing is mapped, nor any table but the first.
pub const EMPTY: VirtAddr = VirtAddr::new(0x65_0000_0000);
pub const PAGES: u64 = 16;
/// Faults that one access may take.
const TRIES: usize = 10_000;

/// Three CPUs, a space with one 64 KiB folio, folded, all pages written, and a swap device that is synchronous until told otherwise.
pub struct Ground {
    pub machine: Machine,
    pub memory: Memory,
    pub drive: Arc<Drive>,
    pub space: Arc<Space>,
}

pub fn ground(way: &str) -> Ground {
    let machine = Machine::new(Config { cpus: 3, ..Config::default() });
    let first = Config::default().ram_start.frame();
    let pages = (Config::default().ram_bytes / PAGE_SIZE) as usize;
    let memory = Memory::new(Door::simulated(&machine), &[first..first.add(pages)]).unwrap();
    let drive = Arc::new(Drive::new(RamDevice::new(&memory.frames, 1024).unwrap()));
    memory.swap.add_device(Box::new(drive.clone())).unwrap();
    for (key, value) in [("thp", "64K=always"), ("unmap", way)] {
        memory.policy().parse(key, value).unwrap();
    }
    let space = memory.create_space().unwrap();
    let request = MapRequest {
        address: BASE.as_u64(),
        length: PAGES * PAGE_SIZE,
        prot: Prot::READ | Prot::WRITE,
        flags: MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED,
    };
    memory.mmap(&space, request).unwrap();
    let ground = Ground { machine, memory, drive, space };
    ground.memory.activate(&ground.space);
    for page in 0..PAGES {
        ground.write(page, page);
    }
    ground
}

impl Drop for Ground {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.machine.verdict(), Verdict::Pass);
        }
    }
}

impl Ground {
    pub fn address(page: u64) -> VirtAddr {
        BASE.add_pages(page as usize)
    }

    /// A program's access, faulting as often as it takes.
    pub fn retry<T>(&self, page: u64, access: Access, attempt: impl Fn(VirtAddr) -> Result<T, host::Fault>) -> T {
        for _ in 0..TRIES {
            match attempt(Self::address(page)) {
                Ok(value) => return value,
                Err(_) => self.memory.fault(&self.space, Self::address(page), access).expect("a program was killed"),
            }
        }
        panic!("page {page} faults for ever");
    }

    pub fn write(&self, page: u64, value: u64) {
        self.retry(page, Access::Write, |address| self.machine.user_write_u64(address, value));
    }

    pub fn read(&self, page: u64) -> u64 {
        self.retry(page, Access::Read, |address| self.machine.user_read_u64(address))
    }

    pub fn page_out(&self) {
        self.memory.madvise(&self.space, BASE.as_u64(), PAGES * PAGE_SIZE, PAGEOUT).unwrap();
    }

    pub fn free(&self) {
        self.memory.madvise(&self.space, BASE.as_u64(), PAGES * PAGE_SIZE, FREE).unwrap();
    }

    /// The raw entry of a page.
    pub fn entry(&self, page: u64) -> Descriptor {
        let table = self.space.tables.find(&self.memory, Self::address(page)).unwrap();
        self.memory.door.load(table.slot(Self::address(page)))
    }

    pub fn count(&self, name: &str) -> u64 {
        let at = mm::count::Counters::NAMES.iter().position(|&known| known == name).unwrap();
        self.memory.count_all()[at]
    }
}

/// The ways to unmap.
pub const WAYS: [&str; 3] = ["page", "folio", "gather"];
