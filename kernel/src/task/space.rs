//! A program's address space, as this floor and the system calls use it. The only file here that talks to memory management.

use alloc::string::String;
use alloc::sync::Arc;

use mm::fault::FaultError;
use mm::file::Backing;
use mm::map::{MapFlags, MapRequest};
pub use mm::mlock::LockAll;
pub use mm::remap::{MoveFlags, MoveRequest};
use mm::sync::GiveWay;
use mm::usage::Usage;
use mm::vma::{Area, Prot};
use mm::{Errno, OpenFile, Pinned, Space};
use mmu::{PAGE_SIZE, USER_END, VirtAddr};
use spin::once::Once;

use super::futex_queue::Key;
use super::memory_file::inode;
use super::{out_of_memory, schedule, userfault};
use crate::arch::cpu::SpinLock;
use crate::arch::uaccess;
use crate::arch::user::{Access, UserFault};
use crate::walk::{Tables, Walk};

/// An address space; its memory goes when it is dropped. Whether it has the code that handlers of signals return to is told with it.
pub struct UserSpace(Arc<Space>, Once<(), GiveWay>);

/// A map to make.
#[derive(Clone, Copy, Debug)]
pub struct Map {
    /// Where; 0 for anywhere.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// PROT_… bits of Linux.
    pub protection: u64,
    /// MAP_… bits of Linux.
    pub flags: u64,
}

impl Map {
    /// MAP_PRIVATE, MAP_ANONYMOUS and MAP_FIXED_NOREPLACE: new memory at the address, or none.
    pub const NEW_THERE: u64 = 0x10_0022;

    fn request(self) -> MapRequest {
        let flags = MapFlags::from_bits_retain(self.flags as u32);
        let prot = Prot::from_bits_truncate(self.protection as u32);
        MapRequest { address: self.address, length: self.length, prot, flags }
    }
}

/// Memory and swap of the machine, in bytes.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Totals {
    pub total: u64,
    pub free: u64,
    pub swap_total: u64,
    pub swap_free: u64,
}

/// The space that each CPU runs in, for faults of the kernel on a program's behalf.
static CURRENT: [SpinLock<Option<Arc<Space>>>; mm::MAX_CPUS] = [const { SpinLock::new(None) }; mm::MAX_CPUS];

fn current() -> &'static SpinLock<Option<Arc<Space>>> {
    &CURRENT[crate::memory().door.cpu() % mm::MAX_CPUS]
}

/// Resolves a fault of a kernel copy as one of the program itself. No lock is held here, so the task may sleep for the answer of whoever
/// watches the memory.
fn kernel_copy_fault(fault: UserFault) -> bool {
    let space = current().lock().clone();
    space.is_some_and(|space| match resolve(&space, fault.address, fault.access) {
        Err(FaultError::Watched(notice)) => userfault::ask_for_copy(notice),
        result => result.is_ok(),
    })
}

/// Makes this CPU run in `space`, if it does not yet.
pub(super) fn run_in(space: &Arc<Space>) {
    let mut current = current().lock();
    if current.as_ref().is_none_or(|active| !Arc::ptr_eq(active, space)) {
        crate::memory().activate(space);
        *current = Some(space.clone());
    }
}

/// Where memory is used up, others may have to end for it.
fn resolve(space: &Arc<Space>, address: u64, access: Access) -> Result<(), FaultError> {
    loop {
        match crate::memory().fault(space, VirtAddr::new(address), access) {
            Err(FaultError::OutOfMemory) if out_of_memory::end_largest() => {}
            result => return result,
        }
    }
}

impl UserSpace {
    /// A new, empty space.
    ///
    /// # Errors
    /// When there is no memory for its tables.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self(crate::memory().create_space()?, Once::new()))
    }

    /// A space with the same areas and the same pages, shared until one of the two writes.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn fork(&self) -> Result<Self, Errno> {
        let made = if self.1.is_completed() { Once::initialized(()) } else { Once::new() };
        Ok(Self(crate::memory().fork_space(&self.0)?, made))
    }

    /// Has `make` put into the space what it has once, if it was not done yet, for whichever thread comes first. Whether it is there.
    pub(super) fn make_once(&self, make: impl FnOnce(&Self) -> bool) -> bool {
        self.1.try_call_once(|| if make(self) { Ok(()) } else { Err(()) }).is_ok()
    }

    /// The task that asks runs in it from now on.
    pub fn enter(&self) {
        uaccess::set_fault_hook(kernel_copy_fault);
        schedule::set_space(Some(&self.0));
    }

    /// What a task that is to run in it needs.
    pub fn inner(&self) -> &Arc<Space> {
        &self.0
    }

    /// Makes the access possible, if the program may make it.
    ///
    /// # Errors
    /// Why it may not, or can not.
    pub fn fault(&self, address: u64, access: Access) -> Result<(), FaultError> {
        resolve(&self.0, address, access)
    }

    /// Maps memory; its address.
    ///
    /// # Errors
    /// Linux's.
    pub fn mmap(&self, map: Map) -> Result<u64, Errno> {
        crate::memory().mmap(&self.0, map.request())
    }

    /// Maps a file from the byte at `offset` on; the address.
    ///
    /// # Errors
    /// Linux's.
    pub fn mmap_file(&self, map: Map, file: &OpenFile<'static>, offset: u64) -> Result<u64, Errno> {
        crate::memory().mmap_file(&self.0, map.request(), file, offset)
    }

    /// Whether all of a range is mapped: the pages of memory files are nowhere else, so that nothing else is to be done for msync.
    ///
    /// # Errors
    /// Linux's.
    pub fn msync(&self, address: u64, length: u64) -> Result<(), Errno> {
        crate::memory().msync(&self.0, address, length)
    }

    /// Removes maps.
    ///
    /// # Errors
    /// Linux's.
    pub fn munmap(&self, address: u64, length: u64) -> Result<(), Errno> {
        crate::memory().munmap(&self.0, address, length)
    }

    /// Moves or resizes a map; where it is then.
    ///
    /// # Errors
    /// Linux's.
    pub fn mremap(&self, request: MoveRequest) -> Result<u64, Errno> {
        crate::memory().mremap(&self.0, request)
    }

    /// Changes protection.
    ///
    /// # Errors
    /// Linux's.
    pub fn mprotect(&self, address: u64, length: u64, protection: u64) -> Result<(), Errno> {
        crate::memory().mprotect(&self.0, address, length, Prot::from_bits_truncate(protection as u32))
    }

    /// Gives advice.
    ///
    /// # Errors
    /// Linux's.
    pub fn madvise(&self, address: u64, length: u64, advice: u64) -> Result<(), Errno> {
        crate::memory().madvise(&self.0, address, length, advice as u32)
    }

    /// Locks maps in memory, whose pages come as they are touched if `on_fault` says so.
    ///
    /// # Errors
    /// Linux's.
    pub fn mlock(&self, address: u64, length: u64, on_fault: bool) -> Result<(), Errno> {
        crate::memory().mlock(&self.0, address, length, on_fault)
    }

    /// Unlocks maps.
    ///
    /// # Errors
    /// Linux's.
    pub fn munlock(&self, address: u64, length: u64) -> Result<(), Errno> {
        crate::memory().munlock(&self.0, address, length)
    }

    /// Locks all maps.
    ///
    /// # Errors
    /// Linux's.
    pub fn mlockall(&self, what: LockAll) -> Result<(), Errno> {
        crate::memory().mlockall(&self.0, what)
    }

    /// Unlocks all maps.
    ///
    /// # Errors
    /// Linux's.
    pub fn munlockall(&self) -> Result<(), Errno> {
        crate::memory().munlockall(&self.0)
    }

    /// Whether each page of an area from an address on is in memory.
    pub fn resident(&self, area: &Area, address: u64, pages: &mut [u8]) {
        crate::memory().resident_of(&self.0, area, VirtAddr::new(address), pages);
    }

    /// Moves the end of the heap, if it can; where it is then.
    pub fn brk(&self, end: u64) -> u64 {
        crate::memory().brk(&self.0, end)
    }

    /// Says where the heap starts.
    pub fn set_heap_start(&self, start: u64) {
        crate::memory().set_brk_start(&self.0, start);
    }

    /// The first area that ends after an address.
    pub fn area_from(&self, address: u64) -> Option<Area> {
        self.0.layout().read().areas.first_from(VirtAddr::new(address)).copied()
    }

    /// Where the heap starts and ends.
    pub fn heap(&self) -> (u64, u64) {
        let layout = self.0.layout().read();
        (layout.brk_start, layout.brk)
    }

    /// What the tables, and swap, have of an area.
    pub fn usage(&self, area: &Area) -> Usage {
        crate::memory().usage_of(&self.0, area)
    }

    /// The words of pagemap from an address on.
    pub fn pagemap(&self, address: u64, words: &mut [u64]) {
        crate::memory().pagemap(&self.0, VirtAddr::new(address), words);
    }

    /// Pins whole pages, to write or only to read them by their physical addresses.
    ///
    /// # Errors
    /// Linux's.
    pub fn pin(&self, address: u64, length: u64, write: bool) -> Result<Pinned<'static>, Errno> {
        if address.checked_add(length).is_none_or(|end| end > USER_END) {
            return Err(Errno::EFAULT);
        }
        crate::memory().pin_user_pages(&self.0, VirtAddr::new(address), (length / PAGE_SIZE) as usize, write)
    }

    /// The memory file that an area maps: its number, and its name.
    pub fn file_of(&self, area: &Area) -> Option<(u64, String)> {
        let file = crate::memory().files.get(area.backing.file()?)?;
        let name = if file.name().is_empty() { "/dev/zero (deleted)" } else { file.name() };
        // As on Linux: a line break in it would begin another line.
        Some((inode(&file), name.replace('\n', "\\012")))
    }

    /// What the word at an address is as a futex: of this space alone if it is private, and of the file if it lies in a shared map.
    ///
    /// # Errors
    /// `EFAULT` if nothing is mapped there that could be shared.
    pub fn futex(&self, address: u64, is_private: bool) -> Result<Key, Errno> {
        let private = Key::Private(Arc::as_ptr(&self.0).addr(), address);
        if is_private {
            return Ok(private);
        }
        let place = VirtAddr::new(address);
        let area = self.area_from(address).filter(|area| area.contains(place)).ok_or(Errno::EFAULT)?;
        Ok(match area.backing {
            Backing::Shared(file) => Key::Shared(file.number(), area.index_of(place) * PAGE_SIZE + address % PAGE_SIZE),
            _ => private,
        })
    }

    /// Pages present, the most there were, those of them that are memory files', and those swapped out.
    pub fn accounts(&self) -> [u64; 4] {
        let (anonymous, of_files) = (self.0.anon_pages(), self.0.file_pages());
        [anonymous + of_files, self.0.peak(), of_files, self.0.swap_entries()].map(|pages| pages.max(0) as u64)
    }

    /// Pages that its translation tables take.
    pub fn table_pages(&self) -> u64 {
        self.0.tables.count(crate::memory())
    }

    /// The way of an address through the tables.
    pub fn walk(&self, address: u64) -> Walk {
        let memory = crate::memory();
        let tables = Tables { door: &memory.door, is_memory: &|table| memory.frames.contains(table.frame()) };
        tables.walk(self.0.tables.root(), VirtAddr::new(address))
    }

    /// What the machine has, for sysinfo.
    pub fn totals(&self) -> Totals {
        let bytes = |pages: usize| pages as u64 * PAGE_SIZE;
        let memory = crate::memory();
        // The device is made of memory, which programs do not see then.
        let swap_total = bytes(memory.swap.total());
        Totals {
            total: bytes(memory.frames.total()).saturating_sub(swap_total),
            free: bytes(memory.frames.free_count()),
            swap_total,
            swap_free: bytes(memory.swap.free_count()),
        }
    }
}

impl Drop for UserSpace {
    fn drop(&mut self) {
        let memory = crate::memory();
        let is_active = current().lock().take_if(|active| Arc::ptr_eq(active, &self.0)).is_some();
        if is_active {
            memory.deactivate();
        }
        memory.destroy_space(&self.0);
    }
}
