//! Memory that several threads use while one of them changes its maps.

use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicBool, AtomicU64};

use user::check::Checks;
use user::process;
use user::sys::{self, Error, PAGE, advice, call, number};
use user::thread::{self, Thread};

pub const CHECKS: Checks = &[
    ("memory that several threads write is paged out under them", paged_out),
    ("memory is discarded under a thread that writes it", discarded),
    ("a map is replaced under a thread that writes it", replaced),
    ("what the kernel copies into is paged out", copied_into),
    ("maps come and go in two threads at once", come_and_go),
];

const RW: u64 = sys::PROT_READ | sys::PROT_WRITE;
const PAGES: u64 = 64;

/// The map that a check is about, and whether its threads shall end.
static MAP: AtomicU64 = AtomicU64::new(0);
static ENDS: AtomicBool = AtomicBool::new(false);
/// What went wrong, by all threads.
static WRONG: AtomicU64 = AtomicU64::new(0);

fn word(page: u64, index: u64) -> &'static AtomicU64 {
    let address = MAP.load(SeqCst) + page * PAGE + index * 8;
    // SAFETY: inside the map, which is there as long as a check's threads are.
    unsafe { &*core::ptr::with_exposed_provenance(address as usize) }
}

fn begin() -> Result<(), Error> {
    MAP.store(sys::map(PAGES * PAGE, RW)?, SeqCst);
    ENDS.store(false, SeqCst);
    WRONG.store(0, SeqCst);
    Ok(())
}

/// Whether all went well.
fn end(threads: impl IntoIterator<Item = Thread>) -> Result<bool, Error> {
    ENDS.store(true, SeqCst);
    threads.into_iter().try_for_each(Thread::join)?;
    // SAFETY: no thread refers to it any more.
    unsafe { sys::unmap(MAP.load(SeqCst), PAGES * PAGE) }?;
    Ok(WRONG.load(SeqCst) == 0)
}

/// Counts in one word of each page; what it finds there is what it has written, or 0 if that `may_vanish`.
fn count(index: u64, may_vanish: bool) -> u64 {
    let mut round = 0;
    while !ENDS.load(SeqCst) {
        for page in 0..PAGES {
            let found = word(page, index).load(SeqCst);
            let fits = found == round || may_vanish && found == 0;
            WRONG.fetch_add(u64::from(!fits), SeqCst);
            word(page, index).store(round + 1, SeqCst);
        }
        round += 1;
    }
    round
}

fn advise(advice: u64) -> Result<u64, Error> {
    // SAFETY: the threads expect what becomes of the contents.
    unsafe { sys::advise(MAP.load(SeqCst), PAGES * PAGE, advice) }
}

fn paged_out() -> Result<bool, Error> {
    static ROUNDS: AtomicU64 = AtomicU64::new(0);
    begin()?;
    let spawn = |index| thread::spawn(move || ROUNDS.fetch_add(count(index, false), SeqCst));
    let threads = [spawn(0)?, spawn(1)?, spawn(511)?];
    for turn in 0..12 {
        process::sleep(4_000_000)?;
        advise(if turn % 3 == 2 { advice::COLD } else { advice::PAGEOUT })?;
    }
    Ok(end(threads)? && ROUNDS.load(SeqCst) > 12)
}

fn discarded() -> Result<bool, Error> {
    begin()?;
    let threads = [thread::spawn(|| count(0, true))?, thread::spawn(|| count(511, true))?];
    for turn in 0..12 {
        process::sleep(3_000_000)?;
        advise(if turn % 3 == 2 { advice::PAGEOUT } else { advice::DONTNEED })?;
    }
    end(threads)
}

/// A new map in place of the old one, all at once.
fn replace() -> Result<u64, Error> {
    const PRIVATE_ANONYMOUS_FIXED: u64 = 0x32;
    // SAFETY: the threads expect that what they have written is gone.
    unsafe { call(number::MMAP, [MAP.load(SeqCst), PAGES * PAGE, RW, PRIVATE_ANONYMOUS_FIXED, u64::MAX, 0]) }
}

fn replaced() -> Result<bool, Error> {
    begin()?;
    let threads = [thread::spawn(|| count(0, true))?, thread::spawn(|| count(8, true))?];
    for turn in 0..12 {
        process::sleep(3_000_000)?;
        if turn % 3 == 2 {
            advise(advice::PAGEOUT)?
        } else {
            replace()?
        };
    }
    end(threads)
}

fn copied_into() -> Result<bool, Error> {
    begin()?;
    let [read, write] = process::pipe(0)?;
    let thread = thread::spawn(move || {
        let mut value = 0;
        while !ENDS.load(SeqCst) {
            for page in 0..PAGES {
                value += 1;
                // SAFETY: the kernel reads and writes words of the map.
                let copied = unsafe {
                    let to = word(page, 3).as_ptr().addr() as u64;
                    sys::write(write, &u64::to_le_bytes(value)) == Ok(8)
                        && call(number::READ, [read as u64, to, 8, 0, 0, 0]) == Ok(8)
                };
                WRONG.fetch_add(u64::from(!copied || word(page, 3).load(SeqCst) != value), SeqCst);
            }
        }
    })?;
    for _ in 0..8 {
        process::sleep(2_000_000)?;
        advise(advice::PAGEOUT)?;
    }
    let ok = end([thread])?;
    process::close(read)?;
    process::close(write)?;
    Ok(ok)
}

fn come_and_go() -> Result<bool, Error> {
    begin()?;
    let work = |value: u64| {
        move || {
            while !ENDS.load(SeqCst) {
                let Ok(map) = sys::map(4 * PAGE, RW) else { break };
                let word = core::ptr::with_exposed_provenance_mut::<u64>(map as usize);
                // SAFETY: the map is this thread's own.
                let right = unsafe {
                    let fresh = word.read_volatile() == 0;
                    word.write_volatile(value);
                    let out = sys::advise(map, 4 * PAGE, advice::PAGEOUT).is_ok();
                    fresh && out && word.read_volatile() == value && sys::unmap(map, 4 * PAGE).is_ok()
                };
                WRONG.fetch_add(u64::from(!right), SeqCst);
            }
        }
    };
    let threads = [thread::spawn(work(11))?, thread::spawn(work(22))?];
    process::sleep(60_000_000)?;
    end(threads)
}
