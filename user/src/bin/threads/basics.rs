//! What a thread has for itself, and what it shares.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use user::check::Checks;
use user::process::{self, Handler, signal};
use user::sys::{self, Error, call, error, number};
use user::thread::{self, SHARED};

pub const CHECKS: Checks = &[
    ("a thread runs, and is joined", joined),
    ("a thread has a number of its own, in the same process", numbers),
    ("threads that never give way keep their thread pointers and vector registers", registers),
    ("memory, files, directory and handlers are shared", shared),
    ("what can not be a thread is refused", refused),
];

fn joined() -> Result<bool, Error> {
    static SUM: AtomicU64 = AtomicU64::new(0);
    for value in [1, 10, 100] {
        let thread = thread::spawn(move || SUM.fetch_add(value, SeqCst))?;
        thread.join()?;
    }
    Ok(SUM.load(SeqCst) == 111)
}

fn numbers() -> Result<bool, Error> {
    static SEEN: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
    let thread = thread::spawn(|| {
        SEEN[0].store(thread::own_thread(), SeqCst);
        SEEN[1].store(process::own_number(), SeqCst);
    })?;
    let number = thread.number;
    thread.join()?;
    let own = process::own_number();
    Ok(SEEN[0].load(SeqCst) == number && number != own && SEEN[1].load(SeqCst) == own && thread::own_thread() == own)
}

/// Puts `value` into vector registers, and looks again and again whether it is there, and `value` in TPIDR_EL0; whether it always was.
fn keeps(value: u64) -> bool {
    const TURNS: u64 = 4_000_000;
    let left: u64;
    // SAFETY: compiled code of this target uses none of these registers.
    unsafe {
        asm!(
            ".arch_extension fp",
            ".arch_extension simd",
            "dup v0.2d, {value}",
            "dup v8.2d, {value}",
            "dup v31.2d, {value}",
            "1:",
            "mov {seen}, v0.d[1]",
            "cmp {seen}, {value}",
            "b.ne 2f",
            "mov {seen}, v8.d[0]",
            "cmp {seen}, {value}",
            "b.ne 2f",
            "mov {seen}, v31.d[1]",
            "cmp {seen}, {value}",
            "b.ne 2f",
            "mrs {seen}, tpidr_el0",
            "cmp {seen}, {value}",
            "b.ne 2f",
            "subs {turns}, {turns}, #1",
            "b.ne 1b",
            "2:",
            value = in(reg) value,
            seen = out(reg) _,
            turns = inlateout(reg) TURNS => left,
            options(nostack, nomem),
        );
    }
    left == 0
}

fn registers() -> Result<bool, Error> {
    static KEPT: AtomicU64 = AtomicU64::new(0);
    let values = [0x1111_2222, 0x3333_4444, 0x5555_6666];
    let spawn = |value| thread::spawn_with(value, move || KEPT.fetch_add(keeps(value).into(), SeqCst));
    let threads = [spawn(values[0])?, spawn(values[1])?, spawn(values[2])?];
    for thread in threads {
        thread.join()?;
    }
    Ok(KEPT.load(SeqCst) == 3 && thread::thread_pointer() == 0)
}

extern "C" fn ignore(_: u64) {}

fn directory() -> Result<[u8; 8], Error> {
    let mut path = [0; 8];
    // SAFETY: the kernel writes into the array.
    unsafe { call(number::GETCWD, [path.as_mut_ptr().addr() as u64, 8, 0, 0, 0, 0]) }?;
    Ok(path)
}

fn change_directory(path: &core::ffi::CStr) -> Result<u64, Error> {
    // SAFETY: the kernel reads the path.
    unsafe { call(number::CHDIR, [path.as_ptr().addr() as u64, 0, 0, 0, 0, 0]) }
}

fn shared() -> Result<bool, Error> {
    static PIPE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
    let thread = thread::spawn(|| {
        let Ok(pipe) = process::pipe(0) else { return };
        let done = sys::write(pipe[1], b"x").is_ok()
            && change_directory(c"/proc").is_ok()
            && process::handle(signal::USR1, ignore as Handler as usize as u64, 0).is_ok();
        if done {
            PIPE.iter().zip(pipe).for_each(|(to, end)| to.store(end as u64, SeqCst));
        }
    })?;
    thread.join()?;
    let [read, write] = [0, 1].map(|end| PIPE[end].load(SeqCst) as i32);
    let files = process::read(read, &mut [0])? == 1;
    process::close(read)?;
    process::close(write)?;
    let moved = directory()?.starts_with(b"/proc\0");
    change_directory(c"/")?;
    process::kill(process::own_number() as i64, signal::USR1)?;
    process::handle(signal::USR1, process::DEFAULT, 0)?;
    Ok(files && moved)
}

fn refused() -> Result<bool, Error> {
    const VM: u64 = 0x100;
    const SIGHAND: u64 = 0x800;
    // SAFETY: the calls fail.
    let clone = |flags| unsafe { call(number::CLONE, [flags, 0, 0, 0, 0, 0]) };
    let invalid = |flags| clone(flags) == Err(Error(error::EINVAL));
    Ok(invalid(SHARED & !SIGHAND) && invalid(SHARED & !VM) && invalid(SIGHAND | signal::CHLD))
}
