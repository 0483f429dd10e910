//! Huge pages that are watched: the monitor fills each as a whole, protected at once, and is told of the first write to it.

use user::process;
use user::sys::{self, Error, PAGE, advice, error};

use super::program::{
    ALLOW, COPY, MISSING, PROTECTED, REGISTER, WRITE_PROTECTED, WRITEPROTECT, end, load, next, open, request, store,
};

/// log2 of the bytes of a huge page, of each size.
const SHIFTS: [u64; 2] = [16, 21];
/// Huge pages that are mapped of each size.
const COUNT: u64 = 2;

pub fn watched() -> Result<bool, Error> {
    let mut ok = true;
    for shift in SHIFTS {
        let size = 1 << shift;
        let (descriptor, base) = (open()?, sys::map_huge(COUNT * size, shift)?);
        let mut area = [base, COUNT * size, MISSING | PROTECTED, 0];
        request(descriptor, REGISTER, &mut area)?;
        // No huge page of zeros.
        ok &= area[3] == 1 << 2 | 1 << 3 | 1 << 6;
        let small = request(descriptor, COPY, &mut [base, base, PAGE, 0, 0]);
        ok &= small == Err(Error(error::EINVAL));
        let [told, tell] = process::pipe(0)?;
        let monitor = process::spawn(|| serve_for_ever(descriptor, base, size, tell).unwrap_or(1))?;
        let last = size / PAGE - 1;
        for turn in 0..2 {
            // Missing: the second is copied before its write is told.
            ok &= (load(base, 0), load(base, last)) == (1, last + 1);
            for page in [3, size / PAGE + 5] {
                let mut huge = [9];
                store(base, page, 77);
                ok &= process::read(told, &mut huge)? == 1 && u64::from(huge[0]) == page * PAGE / size;
                ok &= load(base, page) == 77;
            }
            ok &= load(base, last) == last + 1;
            if turn == 0 {
                // Contents are the monitor's to give again.
                // SAFETY: none of them is used but as it comes back.
                unsafe { sys::advise(base, COUNT * size, advice::DONTNEED) }?;
            }
        }
        ok &= end(monitor)?;
        // SAFETY: not used again.
        unsafe { sys::unmap(base, COUNT * size) }?;
        [descriptor, told, tell].into_iter().try_for_each(|number| process::close(number).map(drop))?;
    }
    Ok(ok)
}

/// Copies what is missing, each page with its number in it, and lets be written what is protected, after it has told which huge page.
fn serve_for_ever(descriptor: i32, base: u64, size: u64, tell: i32) -> Result<u8, Error> {
    const PROTECT: u64 = 2;
    let from = sys::map(size, sys::PROT_READ | sys::PROT_WRITE)?;
    (0..size / PAGE).for_each(|page| store(from, page, page + 1));
    loop {
        let (flags, address) = next(descriptor)?;
        if flags == WRITE_PROTECTED {
            sys::write(tell, &[((address - base) / size) as u8])?;
            request(descriptor, WRITEPROTECT, &mut [address, size, ALLOW])?;
        } else {
            request(descriptor, COPY, &mut [address, from, size, PROTECT, 0])?;
        }
    }
}
