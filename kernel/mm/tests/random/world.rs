//! The machine with memory management and a few spaces, and the calls that operations make there.

use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use mm::fault::{Access, FaultError};
use mm::file::FileId;
use mm::frame::{FreshFolio, Shortage};
use mm::inject::Point;
use mm::lru::FolioList;
use mm::map::{MapFlags, MapRequest};
use mm::reclaim::reclaim_folios;
use mm::remap::{MoveFlags, MoveRequest};
use mm::space::advice;
use mm::swap::{Drive, RamDevice, bad_frame};
use mm::uffd::{Contents, Monitor};
use mm::vma::Prot;
use mm::{Errno, HugeCounts, HugeSize, Memory, OpenFile, Pinned, Space, audit};
use mmu::host::{Config, Machine};
use mmu::{Cause, Descriptor, Door, Features, PAGE_SIZE, Pfn, Scope, TlbOp, VirtAddr};

use crate::operation::{Answer, Kind, Operation, Pages, RW};
use crate::source::FILE_PAGES;

/// Pages of the field that each space has.
pub const PAGES: usize = 128 + 512;
/// All of them.
pub const FIELD: Range<usize> = 0..PAGES;
/// Words of each page that are used: one for each program.
pub const WORDS: usize = 2;
/// Spaces at most. Two are there from the start; the others are their children, as long as they live.
pub const SPACES: usize = 4;
/// Pins at most that a device has at a time.
pub const PINS: usize = 3;
/// Where the field has room for a huge page of the larger size.
pub const BLOCK: Pages = Pages(128, 512);
/// Huge pages that are set aside at first, of each size: so few that some must do without.
const POOLS: [usize; HugeSize::COUNT] = [4, 1];
/// Huge pages that a pool may have, of each size.
pub const POOL_LIMITS: [usize; HugeSize::COUNT] = [8, 2];
/// Where the field starts: it reaches from one table into the next, which it fills, so that a folio of 2 MiB has room.
const BASE: VirtAddr = VirtAddr::new(0x55_0080_0000 - 128 * PAGE_SIZE);
/// Where the flags of mmap have log2 of the size of huge pages.
const HUGE_SHIFT: u32 = 26;
/// Who watches by userfaultfd.
const MONITOR: Monitor = Monitor(NonZeroU32::MIN);
/// The swap device's number.
const DEVICE: u8 = 0;
/// ASIDs run out soon.
const ASID_BITS: &str = "4";

/// What a machine has, its swap device included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    ram: u64,
    slots: usize,
}

impl Size {
    /// Enough for all pages of all spaces, in memory and on the device.
    pub const ROOMY: Self = Self { ram: 32 << 20, slots: 6 * 512 };
    /// The device is not enough for the pages of one space, so that it gets full, and its runs come to pieces.
    pub const LITTLE_SWAP: Self = Self { ram: 24 << 20, slots: 600 };
    /// Memory is not enough, and has few large folios.
    pub const LITTLE_MEMORY: Self = Self { ram: 7 << 20, slots: 1000 };

    /// Huge pages of each size that are set aside at first.
    fn pools(self) -> [usize; HugeSize::COUNT] {
        if self.is_little() { [POOLS[0], 0] } else { POOLS }
    }

    /// Whether there may be no memory left.
    pub fn is_little(self) -> bool {
        self == Self::LITTLE_MEMORY
    }
}

/// A machine with memory management and its swap device.
pub struct Board {
    size: Size,
    machine: Machine,
    device: Arc<Drive>,
    memory: Memory,
}

/// What runs on a board.
pub struct World<'b> {
    pub size: Size,
    pub machine: &'b Machine,
    pub device: &'b Drive,
    pub memory: &'b Memory,
    /// The file that spaces map, and the space that keeps it by a map of its own.
    file: (FileId, Arc<Space>),
    /// By number; `None` for one that is not there.
    pub spaces: [Option<Arc<Space>>; SPACES],
    /// What there was before the field was mapped.
    stock: [usize; 4],
}

/// The address of a word.
pub fn at(page: usize, word: usize) -> VirtAddr {
    BASE.add_pages(page).add_bytes(offset(word))
}

/// Where in its page a word is. Words of a page lie far apart.
pub const fn offset(word: usize) -> u64 {
    (word * 3 * 1024 + 40) as u64
}

/// The address and length in bytes of pages.
fn range(pages: Pages) -> (u64, u64) {
    (at(pages.0, 0).page().as_u64(), pages.1 as u64 * PAGE_SIZE)
}

/// The error of a step that can not go wrong.
pub fn failed<E: std::fmt::Debug>(what: &str) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error:?}")
}

impl Board {
    /// A machine on which nothing runs yet.
    pub fn new(size: Size, features: Features, cpus: usize, seed: u64) -> Self {
        let Size { ram, slots } = size;
        let machine =
            Machine::new(Config { ram_bytes: ram, features, cpus, seed, adversary: cpus > 1, ..Config::default() });
        let first = Config::default().ram_start.frame();
        let all: [Range<Pfn>; 1] = [first..first.add((ram / PAGE_SIZE) as usize)];
        let memory = Memory::new(Door::simulated(&machine), &all).expect("memory");
        let device = Arc::new(Drive::new(RamDevice::new(&memory.frames, slots).expect("a device")));
        memory.swap.add_device(Box::new(device.clone())).expect("a place for the device");
        memory.policy().parse("asid_bits", ASID_BITS).expect("a right value");
        memory.policy().parse("thp", "64K=always").expect("a right value");
        Self { size, machine, device, memory }
    }
}

impl<'b> World<'b> {
    /// Two spaces that have their fields mapped, nothing touched.
    pub fn new(board: &'b Board) -> Self {
        let Board { size, machine, device, memory } = board;
        let stock = stock(memory);
        let spaces = std::array::from_fn(|number| (number < 2).then(|| memory.create_space().expect("a space")));
        let file = make_file(memory).expect("a file");
        for (huge, count) in HugeSize::ALL.into_iter().zip(size.pools()) {
            memory.frames.resize_huge(huge, count);
        }
        let world = Self { size: *size, machine, device, memory, file, spaces, stock };
        for space in [0, 1] {
            world.call(space, &Operation::Map(Pages(0, PAGES), RW, Kind::Ordinary)).expect("mmap");
        }
        world
    }

    /// A space.
    ///
    /// # Panics
    /// If it is not there.
    pub fn space(&self, number: usize) -> &Arc<Space> {
        self.spaces[number].as_ref().expect("a space")
    }

    /// Makes a child of a space. One of its number that was there must have gone.
    pub fn fork(&mut self, parent: usize, child: usize) -> Result<(), Errno> {
        self.spaces[child] = Some(self.memory.fork_space(self.space(parent))?);
        Ok(())
    }

    /// A space that does not run goes, if it is there.
    pub fn exit(&mut self, space: usize) {
        if let Some(space) = self.spaces[space].take() {
            self.memory.destroy_space(&space);
        }
    }

    fn open_file(&self) -> OpenFile<'_> {
        self.memory.reopen_file(self.file.0).expect("the file is mapped")
    }

    /// Whether the file has a page, in memory or in swap.
    pub fn file_has(&self, page: usize) -> bool {
        let offset = page as u64 * PAGE_SIZE;
        self.open_file().seek(offset, true) == Ok(offset)
    }

    /// Whether a page of a space is anonymous memory, there or swapped out.
    pub fn is_own(&self, space: usize, page: usize) -> bool {
        let entry = self.entry(space, page);
        let of_file = || entry.is_present() && self.memory.frames.folio_of(entry.frame()).is_file();
        !(entry.is_absent() || of_file())
    }

    /// Whether what a page of a space had is bad memory.
    pub fn is_bad(&self, space: usize, page: usize) -> bool {
        bad_frame(self.entry(space, page)).is_some()
    }

    /// The entry of a page of a space; inside a block that of the page.
    pub fn entry(&self, space: usize, page: usize) -> Descriptor {
        let address = at(page, 0).page();
        let (entry, level) = self.space(space).tables.look(self.memory, address);
        let inside = if level == 2 && entry.is_present() { address.index(3) } else { 0 };
        entry.advance(inside)
    }

    /// Whether pages lie in one area.
    pub fn is_one_area(&self, space: usize, pages: Pages) -> bool {
        let (start, length) = range(pages);
        let layout = self.space(space).layout().read();
        layout.areas.find(VirtAddr::new(start)).is_some_and(|area| area.end.as_u64() >= start + length)
    }

    /// A device pins pages.
    pub fn pin(&self, space: usize, pages: Pages, access: Access) -> Result<Pinned<'b>, Errno> {
        let address = at(pages.0, 0).page();
        self.memory.pin_user_pages(self.space(space), address, pages.1, access == Access::Write)
    }

    /// Carries an operation out that is neither a program's or a device's access nor begins or ends a space. Spaces stay active as they
    /// are, but after `Enter` and `Rollover`.
    pub fn call(&self, space: usize, operation: &Operation) -> Result<(), Errno> {
        let (memory, space) = (self.memory, self.space(space));
        match *operation {
            Operation::Write(..)
            | Operation::WriteShort(..)
            | Operation::Read(_)
            | Operation::Fork(_)
            | Operation::Exit(_) => Ok(()),
            Operation::Pin(..) | Operation::Unpin(_) | Operation::DeviceWrite(..) | Operation::DeviceRead(_) => Ok(()),
            Operation::Map(pages, prot, kind) => {
                let private = if kind == Kind::Droppable { MapFlags::DROPPABLE } else { MapFlags::PRIVATE };
                let flags = private | MapFlags::ANONYMOUS | MapFlags::FIXED;
                let (address, length) = range(pages);
                memory.mmap(space, MapRequest { address, length, prot, flags }).map(drop)
            }
            Operation::MapFile(pages, first, prot, shared) => {
                let kind = if shared { MapFlags::SHARED } else { MapFlags::PRIVATE };
                let (address, length) = range(pages);
                let request = MapRequest { address, length, prot, flags: kind | MapFlags::FIXED };
                memory.mmap_file(space, request, &self.open_file(), first as u64 * PAGE_SIZE).map(drop)
            }
            Operation::MapHuge(pages, size, prot, reserves) => {
                let kind = MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED | MapFlags::HUGETLB;
                let kind = kind | MapFlags::from_bits_retain(size.shift() << HUGE_SHIFT);
                let flags = if reserves { kind } else { kind | MapFlags::NORESERVE };
                let (address, length) = range(pages);
                memory.mmap(space, MapRequest { address, length, prot, flags }).map(drop)
            }
            Operation::Pool(size, count) => {
                memory.frames.resize_huge(size, count);
                Ok(())
            }
            Operation::Poison(page) => {
                let (address, length) = range(Pages(page, 1));
                memory.madvise(space, address, length, advice::HWPOISON)
            }
            Operation::Resize(pages) => self.open_file().resize(pages as u64 * PAGE_SIZE),
            Operation::CutInside(page) => self.open_file().resize(page as u64 * PAGE_SIZE + PAGE_SIZE / 2),
            Operation::Unmap(pages) => memory.munmap(space, range(pages).0, range(pages).1),
            Operation::Protect(pages, prot) => memory.mprotect(space, range(pages).0, range(pages).1, prot),
            Operation::Advise(pages, advice) => memory.madvise(space, range(pages).0, range(pages).1, advice),
            Operation::Move(pages, to, flags) => {
                let (old, length) = range(pages);
                let flags = MoveFlags::MAYMOVE | MoveFlags::FIXED | flags;
                let new_address = range(Pages(to, 0)).0;
                let request = MoveRequest { old, old_length: length, new_length: length, flags, new_address };
                memory.mremap(space, request).map(drop)
            }
            Operation::Reclaim(pages) => {
                self.reclaim(space, pages);
                Ok(())
            }
            Operation::Child => {
                let child = memory.fork_space(space)?;
                memory.destroy_space(&child);
                Ok(())
            }
            Operation::Set(key, value) => {
                memory.policy().parse(key, value).expect("a right value");
                Ok(())
            }
            Operation::Enter(space) => {
                memory.activate(self.space(space));
                Ok(())
            }
            Operation::Rollover(spaces) => self.run_short_lived(space, spaces),
            Operation::Shrink(pages) => {
                memory.shrink_deferred_splits(pages);
                Ok(())
            }
            Operation::Press(pages) => {
                memory.shrink(pages);
                Ok(())
            }
            Operation::Swapoff => {
                let result = memory.swapoff(DEVICE);
                if result.is_ok() {
                    let left: i64 = self.spaces.iter().flatten().map(|space| space.swap_entries()).sum();
                    assert_eq!(left, 0, "swap entries after swapoff");
                    memory.swapon(DEVICE).expect("swapon of what is off");
                }
                let given_up = result == Err(Errno::EBUSY) && self.device.pending() == 0;
                assert!(!given_up, "swapoff gave up though nothing was being written");
                Ok(())
            }
            Operation::Forget => {
                memory.door.invalidate(TlbOp::all(Scope::Local), Cause::Test);
                Ok(())
            }
            Operation::Latency(ticks) => {
                self.device.set_latency(ticks);
                Ok(())
            }
            Operation::Tick => {
                self.tick();
                Ok(())
            }
            Operation::Watch(pages, modes) => memory.uffd_register(space, range(pages), MONITOR, modes),
            Operation::Unwatch(pages) => memory.uffd_unregister(space, range(pages), MONITOR),
            Operation::Mark(pages, on) => memory.uffd_protect(space, range(pages), on),
            Operation::Fill(pages, answer) => pages.iter().try_for_each(|page| self.fill(space, page, answer)),
            Operation::Answer(_) | Operation::Mincore(_) => Ok(()),
            Operation::Lock(pages, on_fault) => memory.mlock(space, range(pages).0, range(pages).1, on_fault),
            Operation::Unlock(pages) => memory.munlock(space, range(pages).0, range(pages).1),
            Operation::LockAll(what) => memory.mlockall(space, what),
            Operation::UnlockAll => memory.munlockall(space),
            Operation::Fail(point, after) => {
                memory.inject.clear();
                memory.inject.fail(point, after);
                Ok(())
            }
        }
    }

    /// The monitor fills a missing page.
    fn fill(&self, space: &Arc<Space>, page: usize, answer: Answer) -> Result<(), Errno> {
        let bytes = |value: u64| {
            let mut bytes = [0; PAGE_SIZE as usize];
            (0..WORDS).for_each(|word| bytes[offset(word) as usize..][..8].copy_from_slice(&value.to_le_bytes()));
            bytes
        };
        let address = at(page, 0).page().as_u64();
        let (value, is_protected) = match answer {
            Answer::Leave => return Ok(()),
            Answer::Zero => (0, false),
            Answer::Copy(value) => (value, false),
            Answer::Protected(value) => (value, true),
        };
        if answer != Answer::Zero && self.memory.uffd_unit(space, address) > PAGE_SIZE {
            return self.memory.uffd_fill_huge(space, address, is_protected, |_, to| {
                *to = bytes(value);
                Ok(())
            });
        }
        match answer {
            Answer::Leave => Ok(()),
            Answer::Zero => self.memory.uffd_fill(space, address, Contents::Zero),
            Answer::Copy(value) => self.memory.uffd_fill(space, address, Contents::Bytes(&bytes(value))),
            Answer::Protected(value) => self.memory.uffd_fill(space, address, Contents::Protected(&bytes(value))),
        }
    }

    /// Whether each page is in memory, as mincore says; of holes, not.
    pub fn resident(&self, space: usize, pages: Pages) -> Vec<u8> {
        let space = self.space(space);
        let layout = space.layout().read();
        let of_page = |page| {
            let (address, mut found) = (at(page, 0).page(), [0]);
            let area = layout.areas.find(address);
            area.inspect(|area| self.memory.resident_of(space, area, address, &mut found));
            found[0]
        };
        pages.iter().map(of_page).collect()
    }

    /// Spaces that run for a moment, before `space` runs again.
    fn run_short_lived(&self, space: &Arc<Space>, spaces: usize) -> Result<(), Errno> {
        (0..spaces).try_for_each(|_| {
            let other = self.memory.create_space()?;
            self.memory.activate(&other);
            self.memory.activate(space);
            self.memory.destroy_space(&other);
            Ok(())
        })
    }

    /// Reclaims the folios that pages belong to, whoever maps them besides, as direct reclaim does that has found them on its list.
    fn reclaim(&self, space: &Arc<Space>, pages: Pages) {
        let mut list = FolioList::new();
        for address in pages.iter().map(|page| at(page, 0)) {
            let Some(table) = space.lock_table(self.memory, address) else { continue };
            let entry = self.memory.door.load(table.slot(address));
            if entry.is_present() && !entry.is_special() {
                let folio = self.memory.frames.folio_of(entry.frame());
                if self.memory.lru.isolate(folio) {
                    list.push_back(folio);
                }
            }
        }
        reclaim_folios(self.memory, &mut list);
    }

    /// A fault of a program. `None` if it failed for nothing but an injected failure: the program may try again.
    pub fn fault(&self, space: usize, address: VirtAddr, access: Access) -> Option<Result<(), FaultError>> {
        let before = self.struck();
        let result = self.memory.fault(self.space(space), address, access);
        let injected = matches!(result, Err(FaultError::OutOfMemory | FaultError::SwapRead)) && self.struck() > before;
        (!injected).then_some(result)
    }

    /// All writes to the swap device complete.
    pub fn settle(&self) {
        while self.device.pending() > 0 {
            self.tick();
        }
    }

    /// The swap device's time goes on.
    fn tick(&self) {
        self.device.tick();
        self.memory.run_completions();
    }

    /// Takes memory until who needs a page has to get some back first.
    pub fn make_short(&self) -> Vec<FreshFolio<'b>> {
        let is_short = || self.memory.shortage() == Shortage::Min;
        std::iter::from_fn(|| if is_short() { None } else { self.memory.frames.alloc(0) }).collect()
    }

    /// Gives it back.
    pub fn end_shortage(&self, taken: Vec<FreshFolio<'b>>) {
        drop(taken);
        // Has a look at how much is free.
        self.memory.balance();
    }

    /// Huge pages that a pool has.
    pub fn pool(&self, size: HugeSize) -> HugeCounts {
        self.memory.frames.huge_counts(size)
    }

    /// How often a point has failed as it was told.
    pub fn struck(&self) -> u64 {
        Point::ALL.iter().map(|&point| self.memory.inject.failures(point)).sum()
    }

    /// Everything counted again. No CPU may run.
    pub fn audit(&self) -> Result<(), String> {
        let spaces: Vec<_> = self.spaces.iter().flatten().cloned().collect();
        audit::recount(self.memory, &spaces).map_err(|finding| finding.to_string())?;
        if self.memory.defects() == 0 { Ok(()) } else { Err(format!("{} defects noted", self.memory.defects())) }
    }

    /// Takes all apart: nothing may be left, but for `poisoned` frames that are bad.
    pub fn end(mut self, poisoned: usize) -> Result<(), String> {
        self.memory.deactivate();
        (0..SPACES).for_each(|space| self.exit(space));
        self.memory.destroy_space(&self.file.1);
        self.settle();
        for size in HugeSize::ALL {
            let left = self.memory.frames.resize_huge(size, 0);
            if left > 0 {
                return Err(format!("{left} huge pages of {size:?} are in use"));
            }
        }
        let bad = self.memory.frames.bad_count();
        if bad != poisoned {
            return Err(format!("{bad} frames are bad instead of {poisoned}"));
        }
        let left = stock(self.memory);
        let what = "free frames, free slots, anon_vmas, defects";
        if left == self.stock { Ok(()) } else { Err(format!("{what}: {left:?} instead of {:?}", self.stock)) }
    }
}

/// A file that a space of its own keeps.
fn make_file(memory: &Memory) -> Result<(FileId, Arc<Space>), Errno> {
    let keeper = memory.create_space()?;
    let length = FILE_PAGES as u64 * PAGE_SIZE;
    let file = memory.open_file(length)?;
    let request = MapRequest { address: 0, length, prot: RW, flags: MapFlags::SHARED };
    memory.mmap_file(&keeper, request, &file, 0)?;
    Ok((file.id(), keeper))
}

/// What must be in the end as it was before: free frames or bad ones, free slots, anon_vmas, defects.
fn stock(memory: &Memory) -> [usize; 4] {
    let frames = &memory.frames;
    [frames.free_count() + frames.bad_count(), memory.swap.free_count(), memory.anon.len(), memory.defects() as usize]
}

/// Whether a protection allows an access.
pub fn allows(prot: Prot, access: Access) -> bool {
    match access {
        Access::Write => prot.contains(Prot::WRITE),
        Access::Read | Access::Execute => !prot.is_empty(),
    }
}
