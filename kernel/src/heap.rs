//! The kernel's heap: a buddy system behind a lock that waits by `yield`; and what may take how much of it. When it is full it takes more
//! of the frames, as long as there are any.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering};

use boot::PhysRange;
use buddy_system_allocator::Heap;
use mmu::LINEAR_BASE;

use crate::arch::cpu::SpinLock;
use crate::machine::machine;

/// Blocks of up to 2^(ORDER - 1) bytes: more than any heap will have.
const ORDER: usize = 36;
/// The heap is this part of memory: the frame array takes 1/128, swap maps and the rest less than as much again.
const SHARE: u64 = 16;
const SMALLEST: u64 = 4 << 20;
const LARGEST: u64 = 1 << 30;
/// What it takes of the frames at a time when it is full.
const GROWTH: usize = 64 << 10;

/// What may take a part of the heap, so that programs can not take all of it: what the kernel needs for itself, and the little that each
/// process has besides, find their room in the rest.
#[derive(Clone, Copy, Debug)]
pub enum Share {
    /// The kernel stacks of tasks.
    Stacks,
    /// Bytes in pipes.
    Pipes,
    /// Areas and reverse maps, of all processes.
    Areas,
    /// Arguments and environments on their way to new programs.
    Texts,
    /// What memory files know of their pages.
    MemoryFiles,
    /// Files whose content is made when it is read, directories, and the lists of pages that a device has pinned, as long as they are open.
    Listings,
}

/// See [`refused`].
static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// Bytes of the last block that there was no room for, if that has happened: a panic may have come of it.
pub fn refused() -> Option<usize> {
    Some(REFUSED.load(Ordering::Relaxed)).filter(|&bytes| bytes > 0)
}

/// What is claimed of each share.
static CLAIMED: [AtomicUsize; 6] = [const { AtomicUsize::new(0) }; 6];

impl Share {
    /// All of them that are claimed here, with names for programs. What the others take is counted elsewhere.
    pub const CLAIMED: [(Self, &str); 3] =
        [(Self::Pipes, "pipes"), (Self::Texts, "texts"), (Self::Listings, "listings")];

    /// Bytes of it that are claimed.
    pub fn claimed(self) -> usize {
        CLAIMED[self as usize].load(Ordering::Relaxed)
    }

    /// Bytes that it may take.
    pub fn bytes(self) -> usize {
        let parts = match self {
            Self::Stacks | Self::Areas => 4,
            Self::Pipes | Self::Texts => 8,
            Self::MemoryFiles | Self::Listings => 16,
        };
        machine().heap.size() as usize / parts
    }

    /// Claims bytes of it; `None` if there are not so many left.
    pub fn claim(self, bytes: usize) -> Option<Claim> {
        let mut claim = Claim { share: self, bytes: 0 };
        claim.grow(bytes).then_some(claim)
    }
}

/// Bytes of a share that somebody may use; given back when it is dropped.
#[derive(Debug)]
pub struct Claim {
    share: Share,
    bytes: usize,
}

impl Claim {
    /// Claims more; false, and nothing more, if there are not so many left.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let most = self.share.bytes();
        let more = |claimed: usize| claimed.checked_add(bytes).filter(|&sum| sum <= most);
        let grown = CLAIMED[self.share as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if grown {
            self.bytes += bytes;
        }
        grown
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMED[self.share as usize].fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct KernelHeap(SpinLock<Heap<ORDER>>);

#[global_allocator]
static HEAP: KernelHeap = KernelHeap(SpinLock::new(Heap::new()));

// SAFETY: the buddy system hands out blocks that are aligned, in its memory, and not handed out twice; the lock makes it shared.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let found = self.0.lock().alloc(layout);
        let found = found.or_else(|()| if self.grow(layout) { self.0.lock().alloc(layout) } else { Err(()) });
        found.inspect_err(|()| REFUSED.store(layout.size(), Ordering::Relaxed)).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller promises that `block` came from `alloc` with this layout.
            unsafe { self.0.lock().dealloc(block, layout) };
        }
    }
}

impl KernelHeap {
    /// Takes a block of the frames for what does not fit. It stays with the heap. Nothing is reclaimed for it, as whoever allocates may
    /// hold any lock but that of a table.
    #[cold]
    fn grow(&self, layout: Layout) -> bool {
        let wanted = layout.size().max(layout.align()).max(GROWTH).next_power_of_two();
        let Some(range) = crate::memory::take_frames(wanted as u64) else { return false };
        let address = |physical: u64| (LINEAR_BASE | physical) as usize;
        // SAFETY: nobody else has the frames, and they are in the linear map.
        unsafe { self.0.lock().add_to_heap(address(range.start), address(range.end)) };
        true
    }
}

/// Bytes in blocks that somebody has, and bytes there are.
pub fn in_use() -> [usize; 2] {
    let heap = HEAP.0.lock();
    [heap.stats_alloc_actual(), heap.stats_total_bytes()]
}

/// How much of `memory` bytes the heap shall have: a power of two, so that the buddy system uses it whole.
pub const fn size_for(memory: u64) -> u64 {
    let share = memory / SHARE;
    let share = if share < SMALLEST { SMALLEST } else { share };
    let share = if share > LARGEST { LARGEST } else { share };
    1 << share.ilog2()
}

/// Gives the heap its memory.
///
/// # Safety
/// The range is memory that nothing else uses, mapped in the linear map.
pub unsafe fn init(range: PhysRange) {
    // SAFETY: the caller's promise.
    unsafe { HEAP.0.lock().init((LINEAR_BASE | range.start) as usize, range.size() as usize) };
}
