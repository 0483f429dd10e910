//! The machine's memory management: the one `mm::Memory`, made of what boot has left free, with its switches and its swap device.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use boot::PhysRange;
use mm::frame::MAX_ORDER;
use mm::swap::{Drive, RamDevice};
use mm::{Errno, HugeSize, Memory};
use mmu::{Door, PAGE_SIZE, Pfn, PhysAddr};

use crate::arch::cpu::Yield;
use crate::command_line::{HugePages, Options, SwapOption};
use crate::heap::Share;
use crate::machine::machine;

static MEMORY: spin::once::Once<Memory, Yield> = spin::once::Once::new();
static DRIVE: spin::once::Once<Arc<Drive>, Yield> = spin::once::Once::new();

/// The number of the swap device.
const SWAP_DEVICE: u8 = 0;

/// Takes the swap device that a path names out of use, or into use again.
///
/// # Errors
/// `ENOENT` if there is no such device; otherwise those of [`Memory::swapoff`] and [`Memory::swapon`].
pub fn use_swap(path: &str, in_use: bool) -> Result<(), Errno> {
    if path != RamDevice::PATH || drive().is_none() {
        return Err(Errno::ENOENT);
    }
    if in_use { memory().swapon(SWAP_DEVICE) } else { memory().swapoff(SWAP_DEVICE) }
}

/// Memory management.
///
/// # Panics
/// Before [`start`].
pub fn memory() -> &'static Memory {
    MEMORY.get().expect("asked for before memory management has started")
}

/// The swap device, if there is one.
pub fn drive() -> Option<&'static Drive> {
    DRIVE.get().map(|drive| &**drive)
}

/// Starts memory management as the command line says.
///
/// # Errors
/// What there is too little of, or which switch is wrong, in words.
// The value that it makes is large, and the stack is wanted again by all that runs afterwards.
#[inline(never)]
pub fn start(options: &Options) -> Result<(), String> {
    // SAFETY: boot has made the linear map and set TPIDR_EL1, `kernel_main` has told the features.
    let door = unsafe { Door::open() };
    let free = free_frames();
    let too_little = |error| {
        let free = mebibytes(&free);
        format!("{free} MiB of free memory are too little to manage it: {error}; give the machine more (--mem)")
    };
    // Made where it stays: each place that it passed through on the way would take its size of the stack.
    let memory = MEMORY.try_call_once(|| Memory::new(door, &free).map_err(too_little))?;
    memory.anon.budget.limit_to(Share::Areas.bytes());
    memory.files.budget.limit_to(Share::MemoryFiles.bytes());
    for (key, value) in &options.policy {
        memory.policy().set(key, value, &memory.door.features()).map_err(|error| error.to_string())?;
    }
    // Before anything else has taken parts of 2 MiB.
    set_aside(memory, &options.huge_pages)?;
    add_swap(memory, &options.swap)
}

fn free_frames() -> Vec<Range<Pfn>> {
    let free = machine().take_free();
    let pages = free.as_slice().iter().map(PhysRange::pages_inside).filter(|range| !range.is_empty());
    pages.map(|range| PhysAddr::new(range.start).frame()..PhysAddr::new(range.end).frame()).collect()
}

/// Takes frames for ever, a power of two of bytes. `None` if there are none, or memory management has not started.
pub fn take_frames(bytes: u64) -> Option<PhysRange> {
    let order = (bytes / PAGE_SIZE).ilog2() as usize;
    let block = MEMORY.get()?.frames.alloc(Some(order).filter(|&order| order <= MAX_ORDER)?)?;
    Some(PhysRange::new(block.publish().head().start().as_u64(), bytes))
}

fn mebibytes(frames: &[Range<Pfn>]) -> u64 {
    frames.iter().map(|range| (range.end.as_u64() - range.start.as_u64()) * PAGE_SIZE).sum::<u64>() >> 20
}

/// Fills the pools of huge pages.
fn set_aside(memory: &Memory, wanted: &HugePages) -> Result<(), String> {
    for (size, &count) in HugeSize::ALL.into_iter().zip(wanted) {
        let got = memory.frames.resize_huge(size, count);
        if got < count {
            let kibibytes = size.bytes() >> 10;
            return Err(format!(
                "of {count} huge pages of {kibibytes} KiB only {got} fit into memory: \
                 give the machine more (--mem) or ask for fewer (--hugepages)"
            ));
        }
    }
    Ok(())
}

/// Ticks of its clock that a write to an asynchronous swap device takes.
const LATENCY: u64 = 3;

/// The swap device in memory, if there shall be one.
fn add_swap(memory: &Memory, option: &SwapOption) -> Result<(), String> {
    let slots = (option.bytes / PAGE_SIZE) as usize;
    if slots == 0 {
        return Ok(());
    }
    let free = (memory.frames.free_count() as u64 * PAGE_SIZE) >> 20;
    let no_room = |_| {
        let wanted = option.bytes >> 20;
        format!(
            "a swap device of {wanted} MiB does not fit into {free} MiB of free memory: \
             give the machine more (--mem) or the device less (--swap)"
        )
    };
    let drive = Arc::new(Drive::new(RamDevice::new(&memory.frames, slots).map_err(no_room)?));
    drive.set_latency(if option.is_async { LATENCY } else { 0 });
    drive.set_unreadable(option.unreadable.clone());
    drive.set_unwritable(option.unwritable.clone());
    memory.swap.add_device(Box::new(drive.clone())).map_err(no_room)?;
    DRIVE.call_once(|| drive);
    Ok(())
}
