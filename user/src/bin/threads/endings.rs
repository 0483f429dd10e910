//! How processes of several threads end, and what checks run as another program.

use core::arch::asm;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::SeqCst;

use user::check::Checks;
use user::futex;
use user::println;
use user::process::{self, End, signal, spawn, wait_for};
use user::sys::{self, Error, call, number};
use user::{thread, told};

pub const CHECKS: Checks = &[
    ("a process lives until its last thread ends, and ends as its first did", first_ends_first),
    ("exit_group ends threads that sleep in any way", group_ends),
    ("a bug of one thread ends all", bug),
    ("SIGKILL ends all", killed),
    ("a thread that runs another program is its only one", another_program),
    ("a child of a thread has that thread alone", child_of_thread),
];

/// Does what `word` says.
pub fn run(word: &str, argument: Option<&str>) -> u8 {
    match word {
        "expect-number" => expect_number(argument.and_then(|text| text.parse().ok()).unwrap_or(0)),
        "deadlock" => deadlock(),
        _ => {
            println!("usage: threads [deadlock]");
            2
        }
    }
}

/// Threads that sleep in every way there is, for ever.
fn sleepers() -> Result<(), Error> {
    static WORD: AtomicU32 = AtomicU32::new(0);
    let [read, _write] = process::pipe(0)?;
    thread::spawn(|| futex::wait(&WORD, 0))?;
    thread::spawn(|| process::sleep(1 << 60))?;
    thread::spawn(move || process::read(read, &mut [0]))?;
    thread::spawn(move || {
        let mut entry = [read as u64 | 1 << 32];
        // SAFETY: the kernel writes the answer into the entry.
        let _ = unsafe { call(number::PPOLL, [entry.as_mut_ptr().addr() as u64, 1, 0, 0, 0, 0]) };
    })?;
    thread::spawn(|| {
        let set = 0u64;
        // SAFETY: the kernel reads the set.
        let _ = unsafe { call(number::SIGSUSPEND, [(&raw const set).addr() as u64, 8, 0, 0, 0, 0]) };
    })?;
    thread::spawn(|| {
        loop {
            core::hint::spin_loop();
        }
    })?;
    process::sleep(2_000_000).map(drop)
}

fn first_ends_first() -> Result<bool, Error> {
    let [read, write] = process::pipe(0)?;
    let before = told::threads();
    let child = spawn(|| {
        let made = thread::spawn(move || {
            let _ = process::sleep(5_000_000);
            let _ = sys::write(write, b"x");
            thread::exit(9)
        });
        if made.is_err() {
            return 1;
        }
        thread::exit(7)
    })?;
    process::sleep(2_000_000)?;
    let lives = process::wait(child as i64, process::NOHANG)?.is_none() && process::kill(child as i64, 0).is_ok();
    let written = process::read(read, &mut [0])? == 1;
    process::close(read)?;
    process::close(write)?;
    // What its last thread was is no thread of anybody's then.
    Ok(lives && written && wait_for(child)? == End::Exited(7) && told::threads() == before)
}

fn group_ends() -> Result<bool, Error> {
    let by_first = spawn(|| if sleepers().is_ok() { 9 } else { 1 })?;
    let by_another = spawn(|| {
        let ends = sleepers().and_then(|()| {
            thread::spawn(|| {
                let _ = process::sleep(1_000_000);
                sys::exit(8)
            })
        });
        // The first sleeps too, for a child that does not end.
        let child = spawn(|| {
            let _ = process::sleep(20_000_000);
            0
        });
        u8::from(ends.and(child).and_then(wait_for).is_err())
    })?;
    let ended = [wait_for(by_first)?, wait_for(by_another)?] == [End::Exited(9), End::Exited(8)];
    reap();
    Ok(ended)
}

/// Waits for the children of children, if they are this process's now.
fn reap() {
    while let Ok(Some(_)) = process::wait(-1, 0) {}
}

fn bug() -> Result<bool, Error> {
    let child = spawn(|| {
        let made = sleepers().and_then(|()| {
            thread::spawn(|| {
                // SAFETY: none; the access must end the process.
                unsafe { asm!("str xzr, [{0}]", in(reg) 0x1234_5678_9000_u64) };
            })
        });
        let _ = process::sleep(1 << 60);
        u8::from(made.is_err())
    })?;
    Ok(wait_for(child)? == End::Killed(signal::SEGV))
}

fn killed() -> Result<bool, Error> {
    let child = spawn(|| u8::from(sleepers().is_err() || process::sleep(1 << 60).is_err()))?;
    process::sleep(5_000_000)?;
    process::kill(child as i64, signal::KILL)?;
    Ok(wait_for(child)? == End::Killed(signal::KILL))
}

/// Whether this is the first and only thread of the process with this number.
fn expect_number(number: u64) -> u8 {
    let alone = status_line("Threads:\t").is_ok_and(|count| count == 1);
    u8::from(!(alone && process::own_number() == number && thread::own_thread() == number))
}

/// A number of `/proc/self/status`.
fn status_line(name: &str) -> Result<u64, Error> {
    let mut text = [0; 2048];
    let file = process::open(c"/proc/self/status", 0)?;
    let length = process::read(file, &mut text)?;
    process::close(file)?;
    let text = core::str::from_utf8(&text[..length]).map_err(|_| Error(0))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or(Error(0))?;
    line.trim().parse().map_err(|_| Error(0))
}

fn another_program() -> Result<bool, Error> {
    let child = spawn(|| {
        let many = sleepers().is_ok() && status_line("Threads:\t") == Ok(7);
        let made = thread::spawn(move || {
            let mut digits = [0; 8];
            let number = decimal(process::own_number(), &mut digits);
            process::execute(c"/bin/threads", &[c"threads", c"expect-number", number]);
        });
        if made.is_err() || !many {
            return 1;
        }
        let _ = process::sleep(1 << 60);
        2
    })?;
    Ok(wait_for(child)? == End::Exited(0))
}

/// A number as a text.
fn decimal(mut number: u64, digits: &mut [u8; 8]) -> &core::ffi::CStr {
    let mut at = digits.len() - 1;
    digits[at] = 0;
    while at > 0 && (number > 0 || at == digits.len() - 1) {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    core::ffi::CStr::from_bytes_with_nul(&digits[at..]).unwrap_or_default()
}

fn child_of_thread() -> Result<bool, Error> {
    static CHILD: AtomicU32 = AtomicU32::new(0);
    let others = thread::spawn(|| process::sleep(4_000_000))?;
    let thread = thread::spawn(|| {
        let child = spawn(|| {
            let alone = status_line("Threads:\t") == Ok(1);
            u8::from(!(alone && thread::own_thread() == process::own_number()))
        });
        CHILD.store(child.unwrap_or(0) as u32, SeqCst);
    })?;
    thread.join()?;
    others.join()?;
    // It is the process's child, so that any thread may ask for it.
    Ok(wait_for(CHILD.load(SeqCst).into())? == End::Exited(0))
}

/// Two threads that wait for ever: nothing will ever happen.
fn deadlock() -> u8 {
    static WORD: AtomicU32 = AtomicU32::new(0);
    let Ok(thread) = thread::spawn(|| futex::wait(&WORD, 0)) else { return 1 };
    u8::from(thread.join().is_err())
}
