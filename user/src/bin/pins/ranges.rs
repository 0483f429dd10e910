//! What one program does to memory that is pinned.

use user::check::Checks;
use user::memory_file::{self, MemoryFile};
use user::sys::{self, Error, PAGE, PROT_READ, PROT_WRITE, advice, error};
use user::told::{self, PRESENT, SWAPPED};

use super::device::{Device, Memory, PAGES, request};

/// The checks.
pub const CHECKS: Checks = &[
    ("the device sees what the program writes, and the program what the device writes", both_ways),
    ("what can not be pinned, or not be done with a pin, is refused", refusals),
    ("memory never touched is pinned as it is read: zeros, or a page of its own", untouched),
    ("page-out leaves pinned pages where they are, and takes them after the pin", page_out),
    ("memory that is swapped out comes back to be pinned", swapped),
    ("after munmap the frames are the device's, and nobody else's", unmapped),
    ("after munmap and the pin the frames are free", freed),
    ("after MADV_DONTNEED the program has zeros, the device its page", dropped),
    ("MADV_FREE and page-out do not take a pinned page", lazily_freed),
    ("mprotect is none of the device's business, and copies nothing", protected),
    ("mremap moves a pinned page, not its frame", moved),
    ("a page of a memory file is pinned for all that see it, until it is truncated", of_file),
];

fn both_ways() -> Result<bool, Error> {
    let memory = Memory::new()?;
    let device = Device::writing(memory.page(4), 3)?;
    memory.put(5, 77);
    device.set_word(2, 88)?;
    let seen = [device.word(0)?, device.word(1)?, memory.get(6)] == [5, 77, 88];
    // Across the border of two pages, whose frames need not be neighbours.
    device.set_word_at(PAGE - 4, u64::MAX)?;
    let high = memory.get(5) == 77 | 0xFFFF_FFFF;
    Ok(seen && high && memory.is_whole_but(5, 7))
}

fn refusals() -> Result<bool, Error> {
    use request::{PIN_TO_READ, PIN_TO_WRITE};
    const EBUSY: i32 = 16;
    const EACCES: i32 = 13;
    const ENOSPC: i32 = 28;
    const ENOTTY: i32 = 25;
    let memory = Memory::new()?;
    let at = memory.address;
    let device = Device::open()?;
    let fails = |result: Result<u64, Error>, number| result == Err(Error(number));
    let mut right = fails(device.word(0), error::EINVAL) && fails(device.unpin(), error::EINVAL);
    right &= fails(device.control(0x7004, 0), ENOTTY) && fails(device.control(PIN_TO_READ, 8), error::EFAULT);
    right &= fails(device.pin(PIN_TO_READ, at, 0), error::EINVAL);
    right &= fails(device.pin(PIN_TO_READ, at, 100), error::EINVAL);
    right &= fails(device.pin(PIN_TO_READ, at + 8, PAGE), error::EINVAL);
    right &= fails(device.pin(PIN_TO_READ, at, 1 << 46), error::ENOMEM);
    right &= fails(device.pin(PIN_TO_READ, 0, PAGE), error::EFAULT);
    right &= fails(device.pin(PIN_TO_READ, 0xFFFF_8000_0020_0000, PAGE), error::EFAULT);
    right &= fails(device.pin(PIN_TO_READ, 0xFFFF_FFFF_FFFF_F000, 2 * PAGE), error::EFAULT);
    memory.protect(PROT_READ)?;
    right &= fails(device.pin(PIN_TO_WRITE, at, PAGE), error::EFAULT);
    right &= device.pin(PIN_TO_READ, at, PAGE) == Ok(0);
    right &= fails(device.pin(PIN_TO_READ, at, PAGE), EBUSY);
    right &= fails(device.set_word(0, 5), EACCES) && device.word(0) == Ok(1);
    right &= device.unpin() == Ok(0);
    memory.protect(PROT_READ | PROT_WRITE)?;
    right &= device.pin(PIN_TO_WRITE, at, PAGE) == Ok(0);
    // Behind the end there is nothing to read, and no room.
    right &= fails(device.set_word(1, 5), ENOSPC) && fails(device.word(1), 0);
    // None of what failed has left a pin.
    device.unpin()?;
    memory.page_out()?;
    Ok(right && memory.told()?.iter().all(|word| word & SWAPPED != 0) && memory.is_whole_but(0, 0))
}

fn untouched() -> Result<bool, Error> {
    let memory = Memory::untouched()?;
    let zero = Device::reading(memory.page(2), 1)?.word(0)? == 0;
    let device = Device::writing(memory.page(3), 1)?;
    device.set_word(0, 9)?;
    memory.put(2, 8);
    Ok(zero && memory.get(3) == 9 && memory.get(2) == 8)
}

fn page_out() -> Result<bool, Error> {
    let memory = Memory::new()?;
    let before = memory.told()?;
    let device = Device::writing(memory.address, PAGES)?;
    memory.page_out()?;
    let stays = memory.told()? == before && before.iter().all(|word| word & PRESENT != 0);
    device.set_word(7, 70)?;
    let seen = memory.get(7) == 70;
    device.unpin()?;
    memory.page_out()?;
    let goes = memory.told()?.iter().all(|word| word & SWAPPED != 0);
    // What the device wrote is what was written out.
    Ok(stays && seen && goes && memory.get(7) == 70 && memory.is_whole_but(7, 8))
}

fn swapped() -> Result<bool, Error> {
    let memory = Memory::new()?;
    memory.page_out()?;
    let out = memory.told()?[5] & SWAPPED != 0;
    let device = Device::writing(memory.page(4), 3)?;
    let same = device.word(1)? == 6;
    device.set_word(1, 60)?;
    Ok(out && same && memory.get(5) == 60 && memory.is_whole_but(5, 6))
}

/// Bytes of memory that show whether frames are free.
const MANY: u64 = 4 << 20;

fn unmapped() -> Result<bool, Error> {
    let memory = Memory::new()?;
    let frame = memory.frame(3)?;
    let device = Device::writing(memory.page(3), 1)?;
    drop(memory);
    // If the frame were free, this would have it.
    let others = sys::map(MANY, PROT_READ | PROT_WRITE)?;
    let word = |page: u64| (others + page * PAGE) as *mut u64;
    // SAFETY: words of a map of our own.
    (0..MANY / PAGE).for_each(|page| unsafe { word(page).write_volatile(page) });
    let kept = device.word(0)? == 4;
    device.set_word(0, 0xBAD)?;
    // SAFETY: as above.
    let unhurt = (0..MANY / PAGE).all(|page| unsafe { word(page).read_volatile() } == page);
    let frames = told::pagemap::<{ (MANY / PAGE) as usize }>(others)?;
    let elsewhere = frames.iter().all(|word| Some(word & told::FRAME) != frame);
    // SAFETY: it is not used again.
    unsafe { sys::unmap(others, MANY) }?;
    Ok(frame.is_some() && kept && unhurt && elsewhere && device.word(0)? == 0xBAD)
}

fn freed() -> Result<bool, Error> {
    let address = sys::map(MANY, PROT_READ | PROT_WRITE)?;
    let device = Device::writing(address, MANY / PAGE)?;
    let [with, _] = told::free();
    // SAFETY: it is not used again.
    unsafe { sys::unmap(address, MANY) }?;
    let [unmapped, _] = told::free();
    drop(device);
    let [without, _] = told::free();
    // A few pages of tables come and go.
    let (all, few) = (MANY >> 10, 64);
    Ok(unmapped < with + few && without + few > with + all)
}

fn dropped() -> Result<bool, Error> {
    let memory = Memory::new()?;
    let device = Device::writing(memory.page(3), 1)?;
    memory.advise(advice::DONTNEED)?;
    let zeros = (0..PAGES).all(|page| memory.get(page) == 0);
    let kept = device.word(0)? == 4;
    memory.put(3, 5);
    device.set_word(0, 6)?;
    Ok(zeros && kept && memory.get(3) == 5 && device.word(0)? == 6)
}

fn lazily_freed() -> Result<bool, Error> {
    let memory = Memory::new()?;
    let frame = memory.frame(3)?;
    let device = Device::writing(memory.page(3), 1)?;
    memory.advise(advice::FREE)?;
    memory.page_out()?;
    let stays = memory.frame(3)? == frame && frame.is_some();
    device.set_word(0, 6)?;
    Ok(stays && memory.get(3) == 6)
}

fn protected() -> Result<bool, Error> {
    let memory = Memory::new()?;
    let frame = memory.frame(3)?;
    let device = Device::writing(memory.page(3), 1)?;
    memory.protect(0)?;
    device.set_word(0, 6)?;
    memory.protect(PROT_READ)?;
    let seen = memory.get(3) == 6;
    memory.protect(PROT_READ | PROT_WRITE)?;
    memory.put(3, 7);
    Ok(seen && device.word(0)? == 7 && memory.frame(3)? == frame && memory.is_whole_but(3, 4))
}

fn moved() -> Result<bool, Error> {
    const MAY_MOVE_TO: u64 = 3;
    let (memory, place) = (Memory::new()?, Memory::untouched()?);
    let frame = memory.frame(3)?;
    let device = Device::writing(memory.page(3), 1)?;
    // SAFETY: nothing is read at the old address.
    unsafe { sys::remap(memory.address, PAGES * PAGE, PAGES * PAGE, MAY_MOVE_TO, place.address) }?;
    device.set_word(0, 6)?;
    place.put(4, 50);
    Ok(place.get(3) == 6 && place.frame(3)? == frame && place.is_whole_but(3, 5))
}

fn of_file() -> Result<bool, Error> {
    let file = MemoryFile::new(c"pinned", PAGES * PAGE)?;
    let address = file.map(PAGES * PAGE, memory_file::SHARED, 0)?;
    let device = Device::writing(address + 3 * PAGE, 1)?;
    file.set_word(3 * PAGE, 7)?;
    let seen = device.word(0)? == 7;
    device.set_word(0, 8)?;
    let shown = file.word(3 * PAGE)? == 8;
    file.resize(0)?;
    file.resize(PAGES * PAGE)?;
    let apart = file.word(3 * PAGE)? == 0 && device.word(0)? == 8;
    device.set_word(0, 9)?;
    let still = file.word(3 * PAGE)? == 0;
    // SAFETY: it is not used again.
    unsafe { sys::unmap(address, PAGES * PAGE) }?;
    user::process::close(file.0)?;
    Ok(seen && shown && apart && still)
}
