//! `badswap [SIZE]`: what a program sees of a swap device that fails. Writes SIZE bytes (64K), pages them out, and reads every page
//! with a handler for SIGBUS. A page that can not be read back is reported, and then the kernel is asked to read it too (`write`).
//! Every other page must be as it was written; a bad page that is given up (MADV_DONTNEED) is an empty one again.

#![cfg_attr(target_os = "none", no_std, no_main)]

user::program!(program::main);

#[cfg(target_os = "none")]
mod program {
    use user::args::Args;
    use user::numbers::size;
    use user::pattern::Fill;
    use user::sigbus::{self, Told};
    use user::sys::{self, Error, PAGE, advice, number};
    use user::{eprintln, println};

    const WORDS: usize = PAGE as usize / 8;

    pub fn main(args: &Args) -> u8 {
        let length = args.iter().next().map_or(Some(64 << 10), size).filter(|&size| size > 0 && size % PAGE == 0);
        let Some(length) = length else {
            eprintln!("usage: badswap [SIZE]");
            return 2;
        };
        match run(length) {
            Ok(()) => 0,
            Err((what, Error(error))) => {
                eprintln!("badswap: {what} failed with error {error}");
                1
            }
        }
    }

    type Failed = (&'static str, Error);

    fn run(length: u64) -> Result<(), Failed> {
        sigbus::handle().map_err(|error| ("rt_sigaction", error))?;
        let address = sys::map(length, sys::PROT_READ | sys::PROT_WRITE).map_err(|error| ("mmap", error))?;
        for page in 0..length / PAGE {
            Fill::Pattern.write(words(address, page), page * WORDS as u64, 1);
        }
        advise(address, length, advice::PAGEOUT)?;
        let mut right = 0;
        for page in 0..length / PAGE {
            if let Some(told) = sigbus::load(address + page * PAGE) {
                report(address + page * PAGE, page, told)?;
            } else if Fill::Pattern.first_wrong(words(address, page), page * WORDS as u64, 1).is_none() {
                right += 1;
            } else {
                println!("page {page}: not what was written");
            }
        }
        println!("{right} pages are as they were written");
        Ok(())
    }

    /// The words of a page of the map.
    fn words(address: u64, page: u64) -> &'static mut [u64] {
        // SAFETY: inside the map, which stays; no page is used by two at a time.
        unsafe { core::slice::from_raw_parts_mut((address + page * PAGE) as *mut u64, WORDS) }
    }

    fn advise(address: u64, length: u64, advice: u64) -> Result<(), Failed> {
        // SAFETY: the map is ours, and its contents are looked at only as they must be after the advice.
        unsafe { sys::advise(address, length, advice) }.map(|_| ()).map_err(|error| ("madvise", error))
    }

    /// Says what a page does that can not be read.
    fn report(address: u64, page: u64, told: Told) -> Result<(), Failed> {
        let place = if told.address == address { "its address" } else { "another address" };
        println!("page {page}: SIGBUS with code {} and {place}", told.code);
        // SAFETY: the kernel only reads the byte, or does not.
        match unsafe { sys::call(number::WRITE, [1, address, 1, 0, 0, 0]) } {
            Ok(_) => println!("page {page}: the kernel can read it"),
            Err(Error(error)) => println!("page {page}: write ends with error {error}"),
        }
        advise(address, PAGE, advice::DONTNEED)?;
        let state = if sigbus::load(address).is_some() { "still bad" } else { "empty" };
        println!("page {page}: {state} when it was given up");
        Ok(())
    }
}
