//! `pressure PART [SIZE]`: a program that needs more memory than there is.
//!
//! * `alone SIZE`: fills SIZE bytes twice, and compares all of them each time.
//! * `together SIZE`: the same in two processes at once; each has half of it, and both share a quarter from before the fork.
//! * `file SIZE`: the same in a memory file of SIZE bytes, by one process and then by two that share it.
//! * `swapoff`: has the swap device taken out of use while all of a map is there, and then into use again.
//! * `hog`: a child takes memory until it is killed; then its parent must be told, and have all its own.
//! * `alone-hog`: takes memory until it is killed.

#![cfg_attr(target_os = "none", no_std, no_main)]

user::program!(program::main);

#[cfg(target_os = "none")]
mod program {
    use core::ffi::CStr;

    use user::args::Args;
    use user::filled::{Failure, Map};
    use user::memory_file::{MemoryFile, SHARED};
    use user::numbers::size;
    use user::process::{self, End, signal};
    use user::sys::{advice, number};
    use user::{eprintln, println, sys};

    const USAGE: &str = "usage: pressure alone SIZE | together SIZE | file SIZE | swapoff | hog | alone-hog";
    /// What a hog takes at a time.
    const BITE: u64 = 16 << 20;

    pub fn main(args: &Args) -> u8 {
        let mut words = args.iter();
        let (part, amount) = (words.next().unwrap_or(""), words.next().and_then(size).unwrap_or(0));
        let amount = amount / (8 * sys::PAGE) * (8 * sys::PAGE);
        let done = match part {
            "alone" if amount > 0 => alone(amount, 1),
            "together" if amount > 0 => together(amount),
            "file" if amount > 0 => file(amount),
            "swapoff" => swapoff(),
            "hog" => hog(),
            "alone-hog" => take_all(),
            _ => {
                eprintln!("{USAGE}");
                return 2;
            }
        };
        match done {
            Ok(()) => 0,
            Err((what, error)) => {
                eprintln!("pressure: {what} failed with error {}", error.0);
                1
            }
        }
    }

    fn alone(amount: u64, round: u64) -> Result<(), Failure> {
        let mut map = Map::filled(amount, round)?;
        map.check(round)?;
        map.fill(round + 1);
        map.check(round + 1)?;
        println!("process {}: {} MiB are right", process::own_number(), amount >> 20);
        map.unmap()
    }

    fn together(amount: u64) -> Result<(), Failure> {
        let mut shared = Map::filled(amount / 4, 9)?;
        let child = process::spawn(|| u8::from(alone(amount / 2, 3).and_then(|()| shared.check(9)).is_err()));
        let child = child.map_err(|error| ("fork", error))?;
        alone(amount / 2, 5)?;
        shared.check(9)?;
        must_end(child, End::Exited(0))
    }

    /// What one process writes, by its map, another one finds by its own and by calls, and the other way round.
    fn file(amount: u64) -> Result<(), Failure> {
        let open = MemoryFile::new(c"pressure", amount).map_err(|error| ("memfd_create", error))?;
        let address = open.map(amount, SHARED, 0).map_err(|error| ("mmap", error))?;
        let mut map = Map::of(address, amount);
        map.fill(3);
        map.check(3)?;
        let child = process::spawn(|| {
            u8::from(map.check(3).map(|()| map.fill(4)).and_then(|()| same(open, &mut map)).is_err())
        });
        must_end(child.map_err(|error| ("fork", error))?, End::Exited(0))?;
        same(open, &mut map)?;
        map.check(4)?;
        println!("{} MiB of a file are right", amount >> 20);
        map.unmap()?;
        process::close(open.0).map(|_| ()).map_err(|error| ("close", error))
    }

    /// Each page begins with the word that a call reads there.
    fn same(open: MemoryFile, map: &mut Map) -> Result<(), Failure> {
        for (page, words) in (0..).zip(map.pages()) {
            let read = open.word(page * sys::PAGE).map_err(|error| ("pread64", error))?;
            if read != words[0] {
                eprintln!("page {page} of the file begins with {read:#x}, that of its map with {:#x}", words[0]);
                return Err(("the comparison with the file", sys::Error(0)));
            }
        }
        Ok(())
    }

    /// The child must end so.
    fn must_end(child: u64, wanted: End) -> Result<(), Failure> {
        let end = process::wait_for(child).map_err(|error| ("wait4", error))?;
        if end == wanted {
            return Ok(());
        }
        eprintln!("process {child} ended with {end:?}, not {wanted:?}");
        Err(("a child", sys::Error(0)))
    }

    /// The call on the device must end so; 0 is no error.
    fn swap(what: &'static str, number: u64, device: &CStr, error: i32) -> Result<(), Failure> {
        // SAFETY: the kernel reads the path alone.
        let result = unsafe { sys::call(number, [device.as_ptr().addr() as u64, 0, 0, 0, 0, 0]) };
        let found = result.err().map_or(0, |error| error.0);
        if found == error {
            return Ok(());
        }
        eprintln!("{what}: error {found} instead of {error}");
        Err((what, sys::Error(found)))
    }

    fn swapoff() -> Result<(), Failure> {
        const ENOENT: i32 = 2;
        const EBUSY: i32 = 16;
        const EINVAL: i32 = 22;
        const DEVICE: &CStr = c"/dev/ram0";
        let mut map = Map::filled(BITE, 7)?;
        let open = MemoryFile::new(c"swapoff", BITE).map_err(|error| ("memfd_create", error))?;
        let mut of_file = Map::of(open.map(BITE, SHARED, 0).map_err(|error| ("mmap", error))?, BITE);
        of_file.fill(8);
        of_file.advise("MADV_PAGEOUT", advice::PAGEOUT)?;
        map.advise("MADV_PAGEOUT", advice::PAGEOUT)?;
        swap("swapoff of what is not there", number::SWAPOFF, c"/dev/ram1", ENOENT)?;
        swap("swapon of what is on", number::SWAPON, DEVICE, EBUSY)?;
        swap("swapoff", number::SWAPOFF, DEVICE, 0)?;
        swap("swapoff of what is off", number::SWAPOFF, DEVICE, EINVAL)?;
        map.check(7)?;
        of_file.check(8)?;
        map.advise("MADV_PAGEOUT", advice::PAGEOUT)?;
        swap("swapon", number::SWAPON, DEVICE, 0)?;
        map.advise("MADV_PAGEOUT", advice::PAGEOUT)?;
        map.check(7)?;
        println!("all is right without swap and with it");
        Ok(())
    }

    fn take_all() -> Result<(), Failure> {
        loop {
            Map::filled(BITE, 1)?;
        }
    }

    fn hog() -> Result<(), Failure> {
        let mut own = Map::filled(BITE, 7)?;
        for _ in 0..2 {
            let child = process::spawn(|| u8::from(take_all().is_err())).map_err(|error| ("fork", error))?;
            must_end(child, End::Killed(signal::KILL))?;
        }
        println!("two hogs were killed");
        own.check(7)
    }
}
