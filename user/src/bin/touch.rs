//! `touch SIZE STEP...`: touches pages of one map as told, and checks what they hold.
//!
//! A step is `ACTION` for the whole map, or `ACTION:A-B` for pages A to B (`ACTION:A` for one). Actions:
//! `write`, `read`, `check` (every byte is what `write` last put there, or zero), `pageout`, `cold`, `free`, `drop`
//! (MADV_DONTNEED), `hugepage`, `nohugepage`, `populate-read`, `populate-write`, `protect-none`, `protect-read`, `protect-write`,
//! `unmap`. One line is printed for each step, after it is done. Example: `touch 256K write pageout read:3 check`.

#![cfg_attr(target_os = "none", no_std, no_main)]

user::program!(program::main);

#[cfg(target_os = "none")]
mod program {
    use core::ops::Range;

    use user::args::Args;
    use user::numbers::{range, size};
    use user::pattern::Fill;
    use user::sys::{self, PAGE, advice};
    use user::{eprintln, println};

    const USAGE: &str = "usage: touch SIZE ACTION[:PAGE[-PAGE]]...
actions: write read check pageout cold free drop hugepage nohugepage populate-read populate-write
         protect-none protect-read protect-write unmap";
    const WORDS: usize = PAGE as usize / 8;
    /// The largest map: for each of its pages the program remembers when it was last written.
    const MOST_PAGES: u64 = 1 << 18;

    /// The map and, for each page, the round of its last `write` (0: it holds zeros).
    struct Map {
        address: u64,
        pages: u64,
        rounds: &'static mut [u32],
    }

    pub fn main(args: &Args) -> u8 {
        match run(args) {
            Ok(()) => 0,
            Err(status) => status,
        }
    }

    fn run(args: &Args) -> Result<(), u8> {
        let mut words = args.iter();
        let length = words.next().and_then(size).filter(|size| size.is_multiple_of_page()).ok_or_else(usage)?;
        let mut map = Map::new(length)?;
        for (step, word) in (1..).zip(words) {
            let (action, pages) = word.split_once(':').unwrap_or((word, ""));
            let pages = if pages.is_empty() { Some(0..map.pages) } else { range(pages) };
            let pages = pages.filter(|pages| pages.end <= map.pages).ok_or_else(usage)?;
            map.step(action, pages, step)?;
            println!("{word}: done");
        }
        Ok(())
    }

    fn usage() -> u8 {
        eprintln!("{USAGE}");
        2
    }

    trait PageMultiple {
        fn is_multiple_of_page(&self) -> bool;
    }

    impl PageMultiple for u64 {
        fn is_multiple_of_page(&self) -> bool {
            *self > 0 && self % PAGE == 0 && self / PAGE <= MOST_PAGES
        }
    }

    impl Map {
        fn new(length: u64) -> Result<Self, u8> {
            let pages = length / PAGE;
            let address = map(length)?;
            let rounds = map(pages * 4)?;
            // SAFETY: a new map of that many zeroed words, which nothing else knows.
            let rounds = unsafe { core::slice::from_raw_parts_mut(rounds as *mut u32, pages as usize) };
            Ok(Self { address, pages, rounds })
        }

        fn step(&mut self, action: &str, pages: Range<u64>, round: u32) -> Result<(), u8> {
            let address = self.address + pages.start * PAGE;
            let length = (pages.end - pages.start) * PAGE;
            let done = match action {
                "write" => {
                    self.write(pages, round);
                    return Ok(());
                }
                "read" => {
                    self.read(pages);
                    return Ok(());
                }
                "check" => return self.check(pages),
                // SAFETY: what the person at the keyboard asked for: a later step may die of it.
                "unmap" => unsafe { sys::unmap(address, length) },
                _ => match (protection_of(action), advice_of(action)) {
                    // SAFETY: as above.
                    (Some(protection), _) => unsafe { sys::protect(address, length, protection) },
                    (_, Some(advice)) => self.advise(&pages, advice),
                    _ => return Err(usage()),
                },
            };
            done.map(|_| ()).map_err(|error| {
                eprintln!(
                    "touch: {action} of pages {} to {} failed with error {}",
                    pages.start,
                    pages.end - 1,
                    error.0
                );
                1
            })
        }

        fn advise(&mut self, pages: &Range<u64>, advice: u64) -> Result<u64, sys::Error> {
            if matches!(advice, advice::DONTNEED | advice::FREE) {
                self.rounds[pages.start as usize..pages.end as usize].fill(0);
            }
            // SAFETY: `rounds` has just been told when the contents go.
            unsafe { sys::advise(self.address + pages.start * PAGE, (pages.end - pages.start) * PAGE, advice) }
        }

        /// The words of one page.
        fn page(&mut self, page: u64) -> &mut [u64] {
            // SAFETY: inside the map, and borrowed from it.
            unsafe { core::slice::from_raw_parts_mut((self.address + page * PAGE) as *mut u64, WORDS) }
        }

        fn write(&mut self, pages: Range<u64>, round: u32) {
            for page in pages {
                Fill::Pattern.write(self.page(page), page * WORDS as u64, round.into());
                self.rounds[page as usize] = round;
            }
        }

        fn read(&mut self, pages: Range<u64>) {
            for page in pages {
                // SAFETY: a word of the map; volatile, so that the access happens.
                unsafe { self.page(page).as_ptr().read_volatile() };
            }
        }

        fn check(&mut self, pages: Range<u64>) -> Result<(), u8> {
            for page in pages {
                let round = self.rounds[page as usize];
                let fill = if round == 0 { Fill::Zero } else { Fill::Pattern };
                if let Some((place, expected, found)) =
                    fill.first_wrong(self.page(page), page * WORDS as u64, round.into())
                {
                    eprintln!(
                        "touch: page {page}: byte {place:#x} of the map is {found:#04x}, must be {expected:#04x}"
                    );
                    return Err(1);
                }
            }
            Ok(())
        }
    }

    fn map(length: u64) -> Result<u64, u8> {
        sys::map(length, sys::PROT_READ | sys::PROT_WRITE).map_err(|error| {
            eprintln!("touch: mmap of {length} bytes failed with error {}", error.0);
            1
        })
    }

    fn protection_of(action: &str) -> Option<u64> {
        Some(match action {
            "protect-none" => 0,
            "protect-read" => sys::PROT_READ,
            "protect-write" => sys::PROT_READ | sys::PROT_WRITE,
            _ => return None,
        })
    }

    fn advice_of(action: &str) -> Option<u64> {
        Some(match action {
            "pageout" => advice::PAGEOUT,
            "cold" => advice::COLD,
            "free" => advice::FREE,
            "drop" => advice::DONTNEED,
            "hugepage" => advice::HUGEPAGE,
            "nohugepage" => advice::NOHUGEPAGE,
            "populate-read" => advice::POPULATE_READ,
            "populate-write" => advice::POPULATE_WRITE,
            _ => return None,
        })
    }
}
