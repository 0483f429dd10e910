//! The memory of the process that counts what comes back: as much of it as before, whatever children do.

use user::process::{self, signal};
use user::sys::{Error, PAGE, call, number};

/// Has what it may write in pages of its own, and all it has locked. A page that it wrote later, while a child shared a folio of more than
/// one page with it, would be kept by that folio until somebody splits it; and what is not locked is swapped out when memory is short.
pub fn settle() -> Result<(), Error> {
    const CURRENT: u64 = 1;
    const HOUR: u64 = 3600 * 1_000_000_000;
    let sharer = process::spawn(|| u8::from(process::sleep(HOUR).is_err()))?;
    let mut maps = [0; 2048];
    let file = process::open(c"/proc/self/maps", 0)?;
    let count = process::read(file, &mut maps)?;
    process::close(file)?;
    core::str::from_utf8(&maps[..count]).unwrap_or("").lines().filter_map(writable).for_each(write_each);
    process::kill(sharer as i64, signal::KILL)?;
    process::wait_for(sharer)?;
    // SAFETY: changes nothing that a program sees.
    unsafe { call(number::MLOCKALL, [CURRENT, 0, 0, 0, 0, 0]) }.map(drop)
}

/// The area of a line of `maps`, if it may be written.
fn writable(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    rest.starts_with("rw").then_some((number(start)?, number(end)?))
}

fn write_each((start, end): (u64, u64)) {
    for page in (start / PAGE..end / PAGE).map(|page| page * PAGE) {
        let byte = core::ptr::with_exposed_provenance_mut::<u8>(page as usize);
        // SAFETY: the area is there and may be written, and the byte stays what it is.
        unsafe { byte.write_volatile(byte.read_volatile()) };
    }
}
