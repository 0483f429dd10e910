//! `swapout [SIZE] [--fill zero|pattern] [--repeat N] [--verify] [--hugepage] [--quiet]`: the benchmark of a page-out.
//!
//! Maps SIZE bytes (256M), fills them, asks for `madvise(MADV_PAGEOUT)` of all of them in one call, and prints how long that call
//! took by CLOCK_MONOTONIC. With `--verify` every byte is then read back, from the swap device, and compared. It knows nothing of
//! folios: their size is the kernel's choice. Nothing is printed, and no page touched, between the two readings of the clock.
//! With `--quiet` only what goes wrong is printed.

#![cfg_attr(target_os = "none", no_std, no_main)]

user::program!(program::main);

#[cfg(target_os = "none")]
mod program {
    use user::args::Args;
    use user::numbers::size;
    use user::pattern::Fill;
    use user::{eprintln, println, sys};

    const USAGE: &str = "usage: swapout [SIZE] [--fill zero|pattern] [--repeat N] [--verify] [--hugepage] [--quiet]";

    struct Options {
        size: u64,
        fill: Fill,
        repeat: u64,
        verify: bool,
        hugepage: bool,
        quiet: bool,
    }

    pub fn main(args: &Args) -> u8 {
        let Some(options) = parse(args) else {
            eprintln!("{USAGE}");
            return 2;
        };
        match run(&options) {
            Ok(()) => 0,
            Err(status) => status,
        }
    }

    fn parse(args: &Args) -> Option<Options> {
        let mut options =
            Options { size: 256 << 20, fill: Fill::Zero, repeat: 1, verify: false, hugepage: false, quiet: false };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            match word {
                "--fill" => options.fill = Fill::from_name(words.next()?)?,
                "--repeat" => options.repeat = size(words.next()?)?,
                "--verify" => options.verify = true,
                "--hugepage" => options.hugepage = true,
                "--quiet" => options.quiet = true,
                _ => options.size = size(word)?,
            }
        }
        (options.size > 0 && options.size % sys::PAGE == 0).then_some(options)
    }

    fn run(options: &Options) -> Result<(), u8> {
        let address =
            sys::map(options.size, sys::PROT_READ | sys::PROT_WRITE).map_err(|error| failed("mmap", error))?;
        if options.hugepage {
            advise("madvise(MADV_HUGEPAGE)", address, options.size, sys::advice::HUGEPAGE)?;
        }
        // SAFETY: the map is this long, readable and writable, and only `words` uses it; paging out keeps its contents.
        let words = unsafe { core::slice::from_raw_parts_mut(address as *mut u64, options.size as usize / 8) };
        for round in 1..=options.repeat {
            options.fill.write(words, 0, round);
            let before = sys::monotonic();
            advise("madvise(MADV_PAGEOUT)", address, options.size, sys::advice::PAGEOUT)?;
            let taken = sys::monotonic() - before;
            report(options, round, taken);
            if options.verify {
                verify(options, words, round)?;
            }
        }
        // SAFETY: `words` is not used any more.
        unsafe { sys::unmap(address, options.size) }.map_err(|error| failed("munmap", error))?;
        Ok(())
    }

    fn report(options: &Options, round: u64, nanoseconds: u64) {
        if options.quiet {
            return;
        }
        let pages = options.size / sys::PAGE;
        println!(
            "round {round}: {}.{:02} MiB, {}, madvise {nanoseconds} ns, {} ns a page",
            options.size >> 20,
            ((options.size & 0xF_FFFF) * 100) >> 20,
            options.fill.name(),
            nanoseconds / pages
        );
    }

    fn verify(options: &Options, words: &[u64], round: u64) -> Result<(), u8> {
        match options.fill.first_wrong(words, 0, round) {
            None if options.quiet => Ok(()),
            None => {
                println!("round {round}: all {} bytes are right after swap-in", options.size);
                Ok(())
            }
            Some((place, expected, found)) => {
                eprintln!("swapout: round {round}: byte {place:#x} is {found:#04x}, must be {expected:#04x}");
                Err(1)
            }
        }
    }

    fn advise(what: &str, address: u64, length: u64, advice: u64) -> Result<(), u8> {
        // SAFETY: the advice used here changes no contents.
        unsafe { sys::advise(address, length, advice) }.map(|_| ()).map_err(|error| failed(what, error))
    }

    fn failed(what: &str, error: sys::Error) -> u8 {
        eprintln!("swapout: {what} failed with error {}", error.0);
        1
    }
}
