//! Futexes, and the locks that are made of them.

use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicU32, AtomicU64};

use user::check::Checks;
use user::futex::{self, Condition, Lock, futex, operation};
use user::process::{self, End, Handler, signal};
use user::sys::{self, Error, PAGE, call, error, number};
use user::thread;

pub const CHECKS: Checks = &[
    ("a lock that threads take turns at", lock),
    ("a condition that many wait for", condition),
    ("a wait ends at its time, absolute or not", times),
    ("a wait that has no reason does not begin", no_wait),
    ("a signal interrupts a wait, or it goes on", interrupted),
    ("bits choose who is woken", bits),
    ("waiters are moved from one futex to another", moved),
    ("processes wait for each other in shared memory", between_processes),
    ("a word that is swapped out is waited for", swapped),
    ("locks of a thread that has ended are given up", given_up),
];

const RW: u64 = sys::PROT_READ | sys::PROT_WRITE;
const PRIVATE: u64 = operation::PRIVATE;

/// Waits until `done` says so, giving way meanwhile; false if that takes too long.
pub fn until(done: impl Fn() -> bool) -> bool {
    for _ in 0..10_000 {
        if done() {
            return true;
        }
        let _ = process::sleep(100_000);
    }
    false
}

fn lock() -> Result<bool, Error> {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 400;
    static LOCK: Lock = Lock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let work = || {
        for _ in 0..ROUNDS {
            LOCK.lock();
            // Not one step: the CPU is taken away in the middle, now and then.
            let count = COUNT.load(Relaxed);
            for turn in 0..20_000 {
                core::hint::black_box(turn);
            }
            COUNT.store(count + 1, Relaxed);
            LOCK.unlock();
        }
    };
    let threads = [thread::spawn(work)?, thread::spawn(work)?, thread::spawn(work)?, thread::spawn(work)?];
    for thread in threads {
        thread.join()?;
    }
    Ok(COUNT.load(SeqCst) == THREADS * ROUNDS)
}

/// One thread hands out numbers, of which there is room for one, and several take them.
fn condition() -> Result<bool, Error> {
    const TAKERS: u64 = 3;
    const NUMBERS: u64 = 300;
    static LOCK: Lock = Lock::new();
    static CHANGED: Condition = Condition::new();
    static PLACE: AtomicU64 = AtomicU64::new(0);
    static SUM: AtomicU64 = AtomicU64::new(0);
    let take = || {
        loop {
            LOCK.lock();
            while PLACE.load(Relaxed) == 0 {
                CHANGED.wait(&LOCK);
            }
            let number = PLACE.load(Relaxed);
            if number < u64::MAX {
                PLACE.store(0, Relaxed);
                SUM.fetch_add(number, Relaxed);
            }
            CHANGED.signal_all(&LOCK);
            LOCK.unlock();
            if number == u64::MAX {
                break;
            }
        }
    };
    let threads = [thread::spawn(take)?, thread::spawn(take)?, thread::spawn(take)?];
    assert_eq!(threads.len() as u64, TAKERS);
    for number in (1..=NUMBERS).chain([u64::MAX]) {
        LOCK.lock();
        while PLACE.load(Relaxed) != 0 {
            CHANGED.wait(&LOCK);
        }
        PLACE.store(number, Relaxed);
        CHANGED.signal_all(&LOCK);
        LOCK.unlock();
    }
    for thread in threads {
        thread.join()?;
    }
    Ok(SUM.load(SeqCst) == NUMBERS * (NUMBERS + 1) / 2)
}

fn times() -> Result<bool, Error> {
    const SPAN: u64 = 5_000_000;
    static WORD: AtomicU32 = AtomicU32::new(7);
    let begin = sys::monotonic();
    let relative = futex::wait_for(&WORD, 7, SPAN) == Err(Error(error::ETIMEDOUT));
    let slept = (SPAN..20 * SPAN).contains(&(sys::monotonic() - begin));
    let end = sys::monotonic() + SPAN;
    let time = [end / 1_000_000_000, end % 1_000_000_000];
    let at = time.as_ptr().addr() as u64;
    let wait = futex(&WORD, operation::WAIT_BITSET | PRIVATE, 7, at, None, 1);
    let absolute = wait == Err(Error(error::ETIMEDOUT)) && (end..end + 20 * SPAN).contains(&sys::monotonic());
    let over = futex(&WORD, operation::WAIT_BITSET | PRIVATE, 7, at, None, 1) == wait;
    let wrong = [0u64, 1_000_000_000];
    let wrong = futex(&WORD, operation::WAIT | PRIVATE, 7, wrong.as_ptr().addr() as u64, None, 0);
    Ok(relative && slept && absolute && over && wrong == Err(Error(error::EINVAL)))
}

fn no_wait() -> Result<bool, Error> {
    static WORD: AtomicU32 = AtomicU32::new(7);
    let is = |outcome: Result<u64, Error>, error| outcome == Err(Error(error));
    let address = WORD.as_ptr().addr() as u64;
    // SAFETY: nothing is waited for.
    let raw = |address, operation| unsafe { call(number::FUTEX, [address, operation, 7, 0, 0, 0]) };
    let changed = is(futex(&WORD, operation::WAIT | PRIVATE, 8, 0, None, 0), error::EAGAIN);
    let compared = is(futex(&WORD, operation::CMP_REQUEUE | PRIVATE, 1, 1, Some(&WORD), 8), error::EAGAIN);
    let no_bits = is(futex(&WORD, operation::WAIT_BITSET | PRIVATE, 7, 0, None, 0), error::EINVAL);
    let misaligned = is(raw(address + 1, operation::WAIT | PRIVATE), error::EINVAL);
    let wild = is(raw(0x1234_5678_9000, operation::WAIT | PRIVATE), error::EFAULT);
    let negative = is(futex(&WORD, operation::REQUEUE | PRIVATE, u32::MAX, 1, Some(&WORD), 0), error::EINVAL);
    Ok(changed && compared && no_bits && misaligned && wild && negative && futex::wake(&WORD, 1)? == 0)
}

extern "C" fn ignore(_: u64) {}

fn interrupted() -> Result<bool, Error> {
    static WORD: AtomicU32 = AtomicU32::new(0);
    static ENDED: AtomicU32 = AtomicU32::new(0);
    let handler = ignore as Handler as usize as u64;
    let wait = || {
        let outcome = futex(&WORD, operation::WAIT | PRIVATE, 0, 0, None, 0);
        ENDED.store(if outcome == Err(Error(error::EINTR)) { 1 } else { 2 }, SeqCst);
    };
    process::handle(signal::USR1, handler, 0)?;
    let thread = thread::spawn(wait)?;
    process::sleep(2_000_000)?;
    thread::signal(thread.number, signal::USR1)?;
    thread.join()?;
    let stopped = ENDED.swap(0, SeqCst) == 1;
    process::handle(signal::USR1, handler, process::RESTART)?;
    let thread = thread::spawn(wait)?;
    process::sleep(2_000_000)?;
    thread::signal(thread.number, signal::USR1)?;
    process::sleep(2_000_000)?;
    let went_on = ENDED.load(SeqCst) == 0 && futex::wake(&WORD, 9)? == 1;
    thread.join()?;
    process::handle(signal::USR1, process::DEFAULT, 0)?;
    Ok(stopped && went_on && ENDED.load(SeqCst) == 2)
}

fn bits() -> Result<bool, Error> {
    static WORD: AtomicU32 = AtomicU32::new(0);
    static WOKEN: AtomicU32 = AtomicU32::new(0);
    let wait = |bits: u32| {
        thread::spawn(move || {
            if futex(&WORD, operation::WAIT_BITSET | PRIVATE, 0, 0, None, bits) == Ok(0) {
                WOKEN.fetch_or(bits, SeqCst);
            }
        })
    };
    let threads = [wait(1)?, wait(2)?, wait(4)?];
    let wake = |bits| futex(&WORD, operation::WAKE_BITSET | PRIVATE, 9, 0, None, bits);
    process::sleep(2_000_000)?;
    let one = wake(8)? == 0 && wake(2)? == 1 && until(|| WOKEN.load(SeqCst) == 2);
    let all = wake(u32::MAX)? == 2;
    for thread in threads {
        thread.join()?;
    }
    Ok(one && all && WOKEN.load(SeqCst) == 7)
}

fn moved() -> Result<bool, Error> {
    static WORDS: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
    static WOKEN: AtomicU32 = AtomicU32::new(0);
    let wait = || {
        let woken = futex(&WORDS[0], operation::WAIT | PRIVATE, 0, 0, None, 0) == Ok(0);
        WOKEN.fetch_add(woken.into(), SeqCst);
    };
    let threads = [thread::spawn(wait)?, thread::spawn(wait)?, thread::spawn(wait)?, thread::spawn(wait)?];
    process::sleep(2_000_000)?;
    let both = futex(&WORDS[0], operation::CMP_REQUEUE | PRIVATE, 1, 2, Some(&WORDS[1]), 0)? == 3;
    let first = until(|| WOKEN.load(SeqCst) == 1) && futex::wake(&WORDS[0], 9)? == 1;
    let second = until(|| WOKEN.load(SeqCst) == 2) && futex::wake(&WORDS[1], 9)? == 2;
    for thread in threads {
        thread.join()?;
    }
    Ok(both && first && second && WOKEN.load(SeqCst) == 4)
}

fn between_processes() -> Result<bool, Error> {
    const SHARED_ANONYMOUS: u64 = 0x21;
    // SAFETY: a new map overlays nothing.
    let map = unsafe { call(number::MMAP, [0, PAGE, RW, SHARED_ANONYMOUS, u64::MAX, 0]) }?;
    // SAFETY: the same page elsewhere: MREMAP_MAYMOVE of nothing makes a second map of a shared page.
    let again = unsafe { sys::remap(map, 0, PAGE, 1, 0) };
    let word = |address: u64| {
        // SAFETY: inside the map, which is zero at first.
        unsafe { &*core::ptr::with_exposed_provenance::<AtomicU32>(address as usize) }
    };
    let child = process::spawn(|| {
        let waited = futex::wait_shared(word(map), 0);
        u8::from(!(waited.is_ok() && word(map).load(SeqCst) == 5))
    })?;
    process::sleep(2_000_000)?;
    word(map).store(5, SeqCst);
    // By another address of the same page, where there is one; the private one has nobody who waits.
    let nobody = futex::wake(word(map), 1)? == 0;
    let woken = futex(word(again.unwrap_or(map)), operation::WAKE, 1, 0, None, 0)? == 1;
    let ended = process::wait_for(child)? == End::Exited(0);
    // SAFETY: nobody refers to them.
    unsafe { again.map(|again| sys::unmap(again, PAGE)).unwrap_or(Ok(0)).and_then(|_| sys::unmap(map, PAGE)) }?;
    Ok(nobody && woken && ended)
}

fn swapped() -> Result<bool, Error> {
    static MAP: AtomicU64 = AtomicU64::new(0);
    MAP.store(sys::map(PAGE, RW)?, SeqCst);
    let word = || {
        // SAFETY: inside the map, which is zero at first.
        unsafe { &*core::ptr::with_exposed_provenance::<AtomicU32>(MAP.load(SeqCst) as usize) }
    };
    word().store(3, SeqCst);
    let out = || {
        // SAFETY: contents stay as they are.
        unsafe { sys::advise(MAP.load(SeqCst), PAGE, sys::advice::PAGEOUT) }
    };
    out()?;
    let changed = futex::wait_for(word(), 4, 1) == Err(Error(error::EAGAIN));
    out()?;
    let thread = thread::spawn(move || futex::wait(word(), 3))?;
    process::sleep(2_000_000)?;
    out()?;
    let woken = futex::wake(word(), 1)? == 1;
    thread.join()?;
    // SAFETY: nobody refers to it.
    unsafe { sys::unmap(MAP.load(SeqCst), PAGE) }?;
    Ok(changed && woken)
}

/// A list of robust locks with one lock in it, as the C libraries lay it out.
#[repr(C)]
struct Robust {
    next: AtomicU64,
    offset: AtomicU64,
    pending: AtomicU64,
    entry: AtomicU64,
    lock: AtomicU32,
}

fn given_up() -> Result<bool, Error> {
    const WAITED_FOR: u32 = 0x8000_0000;
    const DEAD: u32 = 0x4000_0000;
    const HEAD: u64 = 24;
    static LIST: Robust = Robust {
        next: AtomicU64::new(0),
        offset: AtomicU64::new(8),
        pending: AtomicU64::new(0),
        entry: AtomicU64::new(0),
        lock: AtomicU32::new(0),
    };
    let thread = thread::spawn(|| {
        let (head, entry) = ((&raw const LIST).addr() as u64, LIST.entry.as_ptr().addr() as u64);
        LIST.next.store(entry, SeqCst);
        LIST.entry.store(head, SeqCst);
        // SAFETY: the kernel reads the list at the thread's end.
        let _ = unsafe { call(number::SET_ROBUST_LIST, [head, HEAD, 0, 0, 0, 0]) };
        LIST.lock.store(thread::own_thread() as u32, SeqCst);
        let _ = process::sleep(3_000_000);
    })?;
    let owned = until(|| LIST.lock.load(SeqCst) != 0);
    let held = LIST.lock.fetch_or(WAITED_FOR, SeqCst) | WAITED_FOR;
    futex::wait_shared(&LIST.lock, held)?;
    let is_dead = until(|| LIST.lock.load(SeqCst) == WAITED_FOR | DEAD);
    thread.join()?;
    Ok(owned && is_dead)
}
