//! Children: how they end, whose memory is whose, other programs.

use core::arch::asm;
use core::ffi::CStr;

use user::check::Checks;
use user::process::{self, End, NOHANG, fork, signal, spawn, wait, wait_for};
use user::sys::{self, Error, PAGE, error, number};

pub const CHECKS: Checks = &[
    ("a child exits, and its parent hears how", exits),
    ("a child that a signal ends, and its parent hears which", killed),
    ("a child has its parent's memory, and what it writes is its own", memory),
    ("memory that is swapped out is in both", swapped),
    ("wait finds the child that is asked for, and no other", waits),
    ("a child knows who it is and who its parent is", identity),
    ("a child whose parent ends has another one", orphan),
    ("a child runs another program with its arguments", another_program),
    ("what is no program can not be run", no_program),
    ("a child that borrows memory runs another program", borrowed),
    ("groups and sessions", groups),
];

const RW: u64 = sys::PROT_READ | sys::PROT_WRITE;

fn exits() -> Result<bool, Error> {
    let child = spawn(|| 7)?;
    Ok(wait(-1, 0)? == Some((child, End::Exited(7))))
}

fn killed() -> Result<bool, Error> {
    let child = spawn(|| {
        loop {
            core::hint::spin_loop();
        }
    })?;
    process::kill(child as i64, signal::TERM)?;
    let term = wait_for(child)? == End::Killed(signal::TERM);
    let child = spawn(|| {
        // SAFETY: none; the access must end the child.
        unsafe { asm!("str xzr, [{0}]", in(reg) 0x1234_5678_9000_u64) };
        1
    })?;
    Ok(term && wait_for(child)? == End::Killed(signal::SEGV))
}

fn memory() -> Result<bool, Error> {
    const PAGES: u64 = 64;
    let start = sys::map(PAGES * PAGE, RW)?;
    let words = || (0..PAGES).map(|page| (page, (start + page * PAGE) as *mut u64));
    // SAFETY: words of our own map, in the parent and in the child.
    let (write, is) = (
        |value: u64| words().for_each(|(page, word)| unsafe { word.write_volatile(value + page) }),
        |value: u64| words().all(|(page, word)| unsafe { word.read_volatile() } == value + page),
    );
    write(1000);
    let child = spawn(|| {
        let inherited = is(1000);
        write(2000);
        u8::from(!inherited || !is(2000))
    })?;
    write(3000);
    let ended = wait_for(child)?;
    let kept = is(3000);
    // SAFETY: nobody refers to it.
    unsafe { sys::unmap(start, PAGES * PAGE) }?;
    Ok(kept && ended == End::Exited(0))
}

fn swapped() -> Result<bool, Error> {
    const PAGES: u64 = 64;
    let start = sys::map(PAGES * PAGE, RW)?;
    let words = || (0..PAGES).map(|page| (page, (start + page * PAGE) as *mut u64));
    // SAFETY: words of our own map, as above; page-out keeps what is in it.
    unsafe {
        words().for_each(|(page, word)| word.write_volatile(page + 1));
        sys::advise(start, PAGES * PAGE, sys::advice::PAGEOUT)?;
        let child = spawn(|| {
            let here = words().all(|(page, word)| word.read_volatile() == page + 1);
            words().for_each(|(page, word)| word.write_volatile(page + 500));
            let out = sys::advise(start, PAGES * PAGE, sys::advice::PAGEOUT).is_ok();
            u8::from(!(here && out && words().all(|(page, word)| word.read_volatile() == page + 500)))
        })?;
        let ended = wait_for(child)?;
        let here = words().all(|(page, word)| word.read_volatile() == page + 1);
        sys::unmap(start, PAGES * PAGE)?;
        Ok(here && ended == End::Exited(0))
    }
}

fn waits() -> Result<bool, Error> {
    let [read, write] = process::pipe(0)?;
    let none = wait(-1, 0) == Err(Error(error::ECHILD));
    let slow = spawn(|| {
        // Waits until its parent closes the pipe.
        let _ = process::close(write);
        process::read(read, &mut [0]).map_or(1, |count| 3 + count as u8)
    })?;
    let quick = spawn(|| 4)?;
    let not_yet = wait(slow as i64, NOHANG)?.is_none();
    let of_another = wait(1, 0) == Err(Error(error::ECHILD));
    let found = wait_for(quick)? == End::Exited(4);
    let again = wait(quick as i64, 0) == Err(Error(error::ECHILD));
    let options = wait(-1, 0x100) == Err(Error(error::EINVAL));
    process::close(write)?;
    process::close(read)?;
    Ok(none && not_yet && of_another && found && again && options && wait_for(slow)? == End::Exited(3))
}

fn identity() -> Result<bool, Error> {
    let own = process::own_number();
    let [read, write] = process::pipe(0)?;
    let child = spawn(|| {
        let numbers = [process::own_number().to_le_bytes(), process::parent_number().to_le_bytes()];
        u8::from(sys::write(write, numbers.as_flattened()) != Ok(16))
    })?;
    let mut numbers = [[0; 8]; 2];
    process::read(read, numbers.as_flattened_mut())?;
    process::close(read)?;
    process::close(write)?;
    let [of_child, of_parent] = numbers.map(u64::from_le_bytes);
    Ok(of_child == child && child != own && of_parent == own && wait_for(child)? == End::Exited(0))
}

fn orphan() -> Result<bool, Error> {
    let [read, write] = process::pipe(0)?;
    let middle = spawn(|| {
        let middle = process::own_number();
        let orphan = spawn(|| {
            while process::parent_number() == middle {
                let _ = process::sleep(1_000_000);
            }
            u8::from(sys::write(write, &process::parent_number().to_le_bytes()) != Ok(8))
        });
        u8::from(orphan.is_err())
    })?;
    let ended = wait_for(middle)?;
    let mut number = [0; 8];
    let told = process::read(read, &mut number)?;
    process::close(read)?;
    process::close(write)?;
    let adopted_by = u64::from_le_bytes(number);
    // The first process is whose they become: if that is this one, it can wait for the orphan.
    let is_reaped = adopted_by != process::own_number() || wait(-1, 0)?.is_some_and(|(_, end)| end == End::Exited(0));
    Ok(ended == End::Exited(0) && told == 8 && adopted_by != middle && is_reaped)
}

/// What a program of a child writes to its output, and how it ends.
fn output_of(path: &CStr, arguments: &[&CStr], output: &mut [u8]) -> Result<(usize, End), Error> {
    let [read, write] = process::pipe(process::CLOEXEC)?;
    let child = spawn(|| {
        if process::duplicate(write, 1).is_ok() {
            process::execute(path, arguments);
        }
        99
    })?;
    process::close(write)?;
    let mut length = 0;
    loop {
        match process::read(read, &mut output[length..])? {
            0 => break,
            count => length += count,
        }
    }
    process::close(read)?;
    Ok((length, wait_for(child)?))
}

fn another_program() -> Result<bool, Error> {
    let mut output = [0; 64];
    let (length, end) = output_of(c"/bin/hello", &[c"hello", c"a b", c""], &mut output)?;
    let hello = &output[..length] == b"hello from EL0\na b\n\n" && end == End::Exited(0);
    // Its other descriptors are closed there, and handlers and memory are its own.
    let (_, end) = output_of(c"/bin/procs", &[c"procs", c"expect-closed", c"3"], &mut output)?;
    Ok(hello && end == End::Exited(0))
}

fn no_program() -> Result<bool, Error> {
    let execute = |path: &CStr, error| process::execute(path, &[c"x"]) == Error(error);
    let absent = execute(c"/bin/absent", error::ENOENT) && execute(c"", error::ENOENT);
    // SAFETY: what the kernel is given can not be read.
    let wild =
        unsafe { sys::call(number::EXECVE, [c"/bin/hello".as_ptr().addr() as u64, 0x1234_5678_9000, 0, 0, 0, 0]) };
    // More than any stack takes: one text, again and again.
    let text = sys::map(256 << 10, RW)?;
    let list = sys::map(256 << 10, RW)?;
    // SAFETY: both maps are ours; the text ends with a zero, and the list with a null pointer.
    let large = unsafe {
        core::ptr::write_bytes(text as *mut u8, b'x', 64 << 10);
        (0..64).for_each(|index| (list as *mut u64).add(index).write_volatile(text));
        let large = sys::call(number::EXECVE, [c"/bin/hello".as_ptr().addr() as u64, list, 0, 0, 0, 0]);
        sys::unmap(text, 256 << 10)?;
        sys::unmap(list, 256 << 10)?;
        large
    };
    Ok(absent && wild == Err(Error(error::EFAULT)) && large == Err(Error(error::E2BIG)))
}

/// clone with CLONE_VM and CLONE_VFORK, and the child goes on with `procs expect-closed 3` without touching its parent's stack.
fn borrowed() -> Result<bool, Error> {
    const FLAGS: u64 = 0x4100 | signal::CHLD;
    let path = c"/bin/procs".as_ptr().addr() as u64;
    let arguments = [path, c"expect-closed".as_ptr().addr() as u64, c"63".as_ptr().addr() as u64, 0];
    let mut marked = 0u64;
    let child: i64;
    // SAFETY: the child stores one word of the parent's, and then has memory of its own; if it has not, it ends.
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 1f",
            "mov x9, #55",
            "str x9, [{marked}]",
            "mov x0, {path}",
            "mov x1, {arguments}",
            "mov x2, xzr",
            "mov x8, #221",
            "svc #0",
            "mov x0, #99",
            "mov x8, #94",
            "svc #0",
            "1:",
            marked = in(reg) &raw mut marked,
            path = in(reg) path,
            arguments = in(reg) arguments.as_ptr(),
            inlateout("x0") FLAGS => child,
            inlateout("x8") number::CLONE => _,
            inlateout("x1") 0u64 => _, inlateout("x2") 0u64 => _, inlateout("x3") 0u64 => _, inlateout("x4") 0u64 => _,
            out("x9") _,
        );
    }
    Ok(child > 0 && marked == 55 && wait_for(child as u64)? == End::Exited(0))
}

fn groups() -> Result<bool, Error> {
    // SAFETY: the calls touch no memory.
    let call = |number, first, second| unsafe { sys::call(number, [first, second, 0, 0, 0, 0]) };
    let [read, write] = process::pipe(0)?;
    let sleeper = || {
        spawn(|| {
            let _ = process::close(write);
            process::read(read, &mut [0]).map_or(1, |_| 2)
        })
    };
    let (one, two) = (sleeper()?, sleeper()?);
    let joined = call(number::SETPGID, one, one)? == 0 && call(number::SETPGID, two, one)? == 0;
    let group = call(number::GETPGID, two, 0)? == one && call(number::GETPGID, 0, 0)? != one;
    process::kill(-(one as i64), signal::TERM)?;
    let ended = [wait_for(one)?, wait_for(two)?] == [End::Killed(signal::TERM); 2];
    process::close(read)?;
    process::close(write)?;
    let leader = match fork()? {
        0 => {
            let own = process::own_number();
            let led = call(number::SETSID, 0, 0) == Ok(own);
            sys::exit(u8::from(!(led && call(number::SETSID, 0, 0) == Err(Error(error::EPERM)))))
        }
        child => wait_for(child)? == End::Exited(0),
    };
    let nobody = process::kill(30_000, 0) == Err(Error(error::ESRCH));
    Ok(joined && group && ended && leader && nobody)
}
