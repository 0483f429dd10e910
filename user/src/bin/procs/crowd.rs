//! Many processes at once: turns, registers, address spaces, and an end to it.

use user::check::Checks;
use user::process::{self, End, signal, spawn, wait_for};
use user::sys::{self, Error, PAGE, error};

pub const CHECKS: Checks = &[
    ("sleepers wake in the order of their times", sleepers),
    ("programs that never give way share the CPU, and keep their vector registers", spinners),
    ("a token goes round through many address spaces", ring),
    ("there is an end to making processes", bomb),
];

fn sleepers() -> Result<bool, Error> {
    let [read, write] = process::pipe(0)?;
    for (name, milliseconds) in [(b'c', 9), (b'a', 3), (b'b', 6)] {
        spawn(|| {
            let slept = process::sleep(milliseconds * 1_000_000).is_ok();
            u8::from(!(slept && sys::write(write, &[name]) == Ok(1)))
        })?;
    }
    process::close(write)?;
    let mut order = [0; 3];
    for byte in order.chunks_mut(1) {
        process::read(read, byte)?;
    }
    process::close(read)?;
    let mut ended = true;
    for _ in 0..3 {
        ended &= process::wait(-1, 0)?.is_some_and(|(_, end)| end == End::Exited(0));
    }
    Ok(ended && &order == b"abc")
}

// Fills v0 to v31 and FPCR from x0, and returns when one of them is not what it was. In a file of its own dialect, since the compiler
// of this target knows no FP.
core::arch::global_asm!(
    ".arch_extension fp",
    ".arch_extension simd",
    ".macro each_vector operation",
    ".irp number, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "\\operation \\number",
    ".endr",
    ".endm",
    ".macro fill number",
    "add x1, x0, #\\number",
    "dup v\\number\\().2d, x1",
    ".endm",
    ".macro compare number",
    "add x1, x0, #\\number",
    "mov x2, v\\number\\().d[0]",
    "cmp x1, x2",
    "b.ne 2f",
    "mov x2, v\\number\\().d[1]",
    "cmp x1, x2",
    "b.ne 2f",
    ".endm",
    "spin_with_vectors:",
    "and x3, x0, #0xc00000",
    "msr fpcr, x3",
    "each_vector fill",
    "1:",
    "each_vector compare",
    "mrs x2, fpcr",
    "cmp x2, x3",
    "b.eq 1b",
    "2:",
    "ret",
);

unsafe extern "C" {
    /// FPCR.RMode is bits 23:22 of the value.
    fn spin_with_vectors(value: u64);
}

fn spinners() -> Result<bool, Error> {
    let values = [0x0011_1111_1111_1111, 0x0022_2222_2262_2222, 0x0033_3333_33b3_3333];
    let mut children = [0; 3];
    for (child, value) in children.iter_mut().zip(values) {
        *child = spawn(|| {
            // SAFETY: compiled code of this target uses none of these registers.
            unsafe { spin_with_vectors(value) };
            1
        })?;
    }
    // Several turns each. That this returns at all needs the CPU to be taken from the children.
    process::sleep(150_000_000)?;
    let mut kept = true;
    for child in children {
        process::kill(child as i64, signal::KILL)?;
        kept &= wait_for(child)? == End::Killed(signal::KILL);
    }
    Ok(kept)
}

/// Each process adds to a counter in its own memory and hands the token on; with fewer ASIDs than processes they run out again and
/// again.
fn ring() -> Result<bool, Error> {
    const MEMBERS: usize = 12;
    const ROUNDS: u64 = 40;
    const RW: u64 = sys::PROT_READ | sys::PROT_WRITE;
    let own = sys::map(PAGE, RW)? as *mut u64;
    let mut ends = [[0; 2]; MEMBERS];
    for pipe in &mut ends {
        *pipe = process::pipe(0)?;
    }
    for member in 1..MEMBERS {
        spawn(|| {
            let (read, write) = (ends[member][0], ends[(member + 1) % MEMBERS][1]);
            for round in 0..ROUNDS {
                let mut token = [0; 8];
                // SAFETY: the word is this process's own.
                let count = unsafe {
                    own.write_volatile(if round == 0 { member as u64 } else { own.read_volatile() + 1 });
                    own.read_volatile()
                };
                let passed = process::read(read, &mut token) == Ok(8)
                    && count == member as u64 + round
                    && sys::write(write, &(u64::from_le_bytes(token) + 1).to_le_bytes()) == Ok(8);
                if !passed {
                    return 1;
                }
            }
            0
        })?;
    }
    let mut token = 0;
    for _ in 0..ROUNDS {
        let mut bytes = [0; 8];
        sys::write(ends[1][1], &(token + 1_u64).to_le_bytes())?;
        process::read(ends[0][0], &mut bytes)?;
        token = u64::from_le_bytes(bytes);
    }
    let mut ended = true;
    for _ in 1..MEMBERS {
        ended &= process::wait(-1, 0)?.is_some_and(|(_, end)| end == End::Exited(0));
    }
    for [read, write] in ends {
        process::close(read)?;
        process::close(write)?;
    }
    // SAFETY: nobody refers to it.
    unsafe { sys::unmap(own as u64, PAGE) }?;
    Ok(ended && token == ROUNDS * MEMBERS as u64)
}

/// Makes processes until there may be no more, and then lets them all end.
fn bomb() -> Result<bool, Error> {
    const MOST: usize = 400;
    let [read, write] = process::pipe(0)?;
    let mut made = 0;
    let refused = loop {
        let child = spawn(|| {
            let _ = process::close(write);
            process::read(read, &mut [0]).map_or(1, |_| 0)
        });
        match child {
            Ok(_) if made < MOST => made += 1,
            Ok(_) => break None,
            Err(error) => break Some(error),
        }
    };
    process::close(write)?;
    process::close(read)?;
    let mut ended = 0;
    while let Ok(Some((_, End::Exited(0)))) = process::wait(-1, 0) {
        ended += 1;
    }
    Ok(ended == made && made > 3 && refused == Some(Error(error::EAGAIN)))
}
