//! `steps [SIZE]`: a map of SIZE bytes (256M) with data in every page, taken through what memory management does with it: out to swap,
//! in again by reading, protected and made writable again, unmapped while it is there and while it is out.
//!
//! unfold measures each step under its name (`user::sys::measured`): `./qemu-run.sh steps` makes a table of them. Every byte is compared
//! in between, where it is not measured.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
user::program!(program::main);

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod program {
    use user::args::Args;
    use user::eprintln;
    use user::numbers::size;
    use user::pattern::Fill;
    use user::sys::{self, PAGE, advice, measured};

    /// What is said of a step that failed.
    type Failure = (&'static str, sys::Error);

    pub fn main(args: &Args) -> u8 {
        let Some(size) = args.iter().next().map_or(Some(256 << 20), size).filter(|&size| size > 0 && size % PAGE == 0)
        else {
            eprintln!("usage: steps [SIZE]");
            return 2;
        };
        match present(size).and_then(|()| swapped_out(size)) {
            Ok(()) => 0,
            Err((what, error)) => {
                eprintln!("steps: {what} failed with error {}", error.0);
                1
            }
        }
    }

    /// The steps of memory that comes back.
    fn present(size: u64) -> Result<(), Failure> {
        let mut map = Map::filled(size, 1)?;
        measured(c"page-out", || map.advise("MADV_PAGEOUT", advice::PAGEOUT))?;
        measured(c"swap-in by reading", || map.read_each_page());
        map.check(1)?;
        measured(c"mprotect, read-only", || map.protect(sys::PROT_READ))?;
        measured(c"mprotect, writable", || map.protect(sys::PROT_READ | sys::PROT_WRITE))?;
        map.check(1)?;
        measured(c"munmap, present", || map.unmap())
    }

    /// The steps of memory that does not.
    fn swapped_out(size: u64) -> Result<(), Failure> {
        let map = Map::filled(size, 2)?;
        map.advise("MADV_PAGEOUT", advice::PAGEOUT)?;
        measured(c"munmap, swapped out", || map.unmap())
    }

    /// A private anonymous map.
    struct Map {
        address: u64,
        size: u64,
    }

    impl Map {
        /// A new one, full of the pattern of a round.
        fn filled(size: u64, round: u64) -> Result<Self, Failure> {
            let address = sys::map(size, sys::PROT_READ | sys::PROT_WRITE).map_err(|error| ("mmap", error))?;
            let mut map = Self { address, size };
            Fill::Pattern.write(map.words(), 0, round);
            Ok(map)
        }

        fn words(&mut self) -> &mut [u64] {
            // SAFETY: the map is this long and may be read and written whenever this is called, and nothing else uses it.
            unsafe { core::slice::from_raw_parts_mut(self.address as *mut u64, self.size as usize / 8) }
        }

        /// One word of each page.
        fn read_each_page(&self) {
            for page in (self.address..self.address + self.size).step_by(PAGE as usize) {
                // SAFETY: inside of the map, which may be read.
                let _ = unsafe { (page as *const u64).read_volatile() };
            }
        }

        fn check(&mut self, round: u64) -> Result<(), Failure> {
            match Fill::Pattern.first_wrong(self.words(), 0, round) {
                None => Ok(()),
                Some((place, expected, found)) => {
                    eprintln!("steps: byte {place:#x} is {found:#04x}, must be {expected:#04x}");
                    Err(("the comparison", sys::Error(0)))
                }
            }
        }

        fn advise(&self, what: &'static str, advice: u64) -> Result<(), Failure> {
            // SAFETY: the advice used here changes no contents.
            unsafe { sys::advise(self.address, self.size, advice) }.map(|_| ()).map_err(|error| (what, error))
        }

        fn protect(&self, protection: u64) -> Result<(), Failure> {
            // SAFETY: it is used again only when it may be.
            unsafe { sys::protect(self.address, self.size, protection) }
                .map(|_| ())
                .map_err(|error| ("mprotect", error))
        }

        fn unmap(self) -> Result<(), Failure> {
            // SAFETY: the map is given up.
            unsafe { sys::unmap(self.address, self.size) }.map(|_| ()).map_err(|error| ("munmap", error))
        }
    }
}
