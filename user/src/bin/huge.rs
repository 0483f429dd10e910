//! `huge`: what a program sees of huge pages of 64 KiB and 2 MiB (MAP_HUGETLB), and of memory that goes bad (MADV_HWPOISON). Run it with
//! pools: `--hugepages 64K:4,2M:4 run huge`.
//!
//! unfold measures some steps under their names; their counts are in the records (`--json`).

#![cfg_attr(target_os = "none", no_std, no_main)]

user::program!(program::main);

#[cfg(target_os = "none")]
mod program {
    use core::ffi::CStr;

    use user::args::Args;
    use user::filled::{Failure, Map};
    use user::process::{self, End};
    use user::sys::{self, Error, PAGE, advice, measured};
    use user::{eprintln, println, sigbus};

    const READ_WRITE: u64 = sys::PROT_READ | sys::PROT_WRITE;
    /// Pages of each size that there must be, none of them in use.
    const POOL: u64 = 4;

    /// A size, and the names of what is measured.
    struct Size {
        name: &'static str,
        shift: u64,
        steps: [&'static CStr; 4],
    }

    const SIZES: [Size; 2] = [
        Size {
            name: "64K",
            shift: 16,
            steps: [c"64K: first touch", c"64K: munmap of one", c"64K: fork", c"64K: MADV_HWPOISON"],
        },
        Size {
            name: "2M",
            shift: 21,
            steps: [c"2M: first touch", c"2M: munmap of one", c"2M: fork", c"2M: MADV_HWPOISON"],
        },
    ];

    pub fn main(_: &Args) -> u8 {
        let result = sigbus::handle().map_err(|error| ("rt_sigaction", error));
        let result = result.and_then(|()| SIZES.iter().try_for_each(huge_pages)).and_then(|()| small_pages());
        match result {
            Ok(()) => 0,
            Err((what, Error(error))) => {
                eprintln!("huge: {what} failed with error {error}");
                1
            }
        }
    }

    fn huge_pages(size: &Size) -> Result<(), Failure> {
        let bytes = 1 << size.shift;
        let [touch, unmap, fork, poison] = size.steps;
        let whole = sys::map_huge(POOL * bytes, size.shift).map_err(|error| ("mmap", error))?;
        println!("{}: {POOL} reserved, one more: error {}", size.name, refusal(sys::map_huge(bytes, size.shift)));
        measured(touch, || {
            // SAFETY: the first word of the map.
            unsafe { (whole as *mut u64).write_volatile(1) };
        });
        let mut map = Map::of(whole, POOL * bytes);
        map.fill(1);
        println!("{}: page out: error {}", size.name, refusal(map.try_advise(advice::PAGEOUT, 0, PAGE)));
        println!("{}: munmap of a page: error {}", size.name, refusal(map.try_unmap_part(0, PAGE)));
        map.protect(sys::PROT_READ)?;
        map.protect(READ_WRITE)?;
        map.check(1)?;
        // The third goes, so that the pool has one page for a child's copy; its neighbours keep the tables.
        let (mut map, back) = map.split(2 * bytes);
        let (third, last) = back.split(bytes);
        measured(unmap, || third.unmap())?;
        let child = measured(fork, || process::spawn(|| u8::from(child_writes(&mut map).is_err())));
        let child = child.map_err(|error| ("fork", error))?;
        let ended = process::wait_for(child).map_err(|error| ("wait4", error))?;
        println!("{}: a child writes its copy: {}", size.name, if ended == End::Exited(0) { "right" } else { "wrong" });
        map.check(1)?;
        measured(poison, || map.advise_part("MADV_HWPOISON", advice::HWPOISON, 0, PAGE))?;
        lost(size.name, map.address(), bytes);
        // What is not lost is as it was.
        let (_, mut second) = map.split(bytes);
        second.check_part(1, bytes)?;
        second.unmap()?;
        last.unmap()
    }

    fn refusal<T>(result: Result<T, Error>) -> i32 {
        result.map_or_else(|Error(error)| error, |_| 0)
    }

    /// A child gets a copy of the page that it writes, and shares the other.
    fn child_writes(map: &mut Map) -> Result<(), Failure> {
        if let Some(page) = map.pages().next() {
            page[0] = !page[0];
            page[0] = !page[0];
        }
        map.check(1)
    }

    /// A map of small pages, in whatever folios the policy has: of which one page is lost.
    fn small_pages() -> Result<(), Failure> {
        let map = Map::filled(64 << 10, 2)?;
        let bad = 5 * PAGE;
        measured(c"4K: MADV_HWPOISON", || map.advise_part("MADV_HWPOISON", advice::HWPOISON, bad, PAGE))?;
        lost("4K", map.address() + bad, PAGE);
        println!("4K: again: error {}", refusal(map.try_advise(advice::HWPOISON, bad, PAGE)));
        let (mut before, after) = map.split(bad);
        before.check(2)?;
        after.split(PAGE).1.check_part(2, bad + PAGE)
    }

    /// Says what a load from the first address that is lost raises, and one from the last.
    fn lost(name: &str, address: u64, bytes: u64) {
        for at in [address, address + bytes - 1] {
            match sigbus::load(at) {
                None => println!("{name}: no signal"),
                Some(told) => {
                    let place = if told.address == at { "its address" } else { "another address" };
                    println!("{name}: SIGBUS with code {}, {place}, 2^{} bytes are lost", told.code, told.lost);
                }
            }
        }
    }
}
