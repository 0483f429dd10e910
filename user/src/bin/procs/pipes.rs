//! Pipes: bytes from one process to another, and ends that are closed.

use user::check::Checks;
use user::process::{self, End, IGNORE, NONBLOCK, signal, spawn, wait_for};
use user::sys::{self, Error, error, number};

pub const CHECKS: Checks = &[
    ("bytes go through a pipe, more than it holds", through),
    ("a pipe with a closed end says so", closed),
    ("a pipe that shall not make wait does not", never_waits),
    ("ppoll waits until a pipe is ready", poll),
    ("small writes of several processes stay whole", whole),
];

/// Words that go through the pipe: several times what it holds.
const WORDS: u64 = 40_000;

fn through() -> Result<bool, Error> {
    let ([read, write], [back_read, back_write]) = (process::pipe(0)?, process::pipe(0)?);
    let child = spawn(|| {
        let _ = process::close(write);
        let mut sum = 0u64;
        let mut next = 0;
        while let Ok(word) = read_word(read) {
            next += u64::from(word == next);
            sum = sum.wrapping_add(word);
        }
        u8::from(next != WORDS || sys::write(back_write, &sum.to_le_bytes()) != Ok(8))
    })?;
    process::close(read)?;
    let mut chunk = [0u64; 1000];
    for first in (0..WORDS).step_by(chunk.len()) {
        for (word, value) in chunk.iter_mut().zip(first..) {
            *word = value;
        }
        let bytes = chunk.map(u64::to_le_bytes);
        if sys::write(write, bytes.as_flattened())? != size_of_val(&bytes) {
            return Ok(false);
        }
    }
    process::close(write)?;
    let sum = read_word(back_read)?;
    process::close(back_read)?;
    process::close(back_write)?;
    Ok(sum == WORDS * (WORDS - 1) / 2 && wait_for(child)? == End::Exited(0))
}

/// The next word; an error at the end.
fn read_word(descriptor: i32) -> Result<u64, Error> {
    let mut bytes = [0; 8];
    let mut length = 0;
    while length < bytes.len() {
        match process::read(descriptor, &mut bytes[length..])? {
            0 => return Err(Error(0)),
            count => length += count,
        }
    }
    Ok(u64::from_le_bytes(bytes))
}

fn closed() -> Result<bool, Error> {
    let [read, write] = process::pipe(0)?;
    sys::write(write, b"last")?;
    process::close(write)?;
    let mut bytes = [0; 8];
    let last = process::read(read, &mut bytes)? == 4 && process::read(read, &mut bytes)? == 0;
    process::close(read)?;
    let [read, write] = process::pipe(0)?;
    process::close(read)?;
    let child = spawn(|| u8::from(sys::write(write, b"x").is_ok()))?;
    let signalled = wait_for(child)? == End::Killed(signal::PIPE);
    process::handle(signal::PIPE, IGNORE, 0)?;
    let refused = sys::write(write, b"x") == Err(Error(error::EPIPE));
    process::handle(signal::PIPE, process::DEFAULT, 0)?;
    process::close(write)?;
    let gone = process::read(read, &mut bytes) == Err(Error(error::EBADF));
    Ok(last && signalled && refused && gone)
}

fn never_waits() -> Result<bool, Error> {
    let [read, write] = process::pipe(NONBLOCK)?;
    let again = Err(Error(error::EAGAIN));
    let empty = process::read(read, &mut [0; 8]) == again;
    let mut written = 0;
    loop {
        match sys::write(write, &[7; 4096]) {
            Ok(count) => written += count,
            Err(error) if Err(error) == again => break,
            Err(error) => return Err(error),
        }
    }
    // SAFETY: the call touches no memory. F_GETFL is 3.
    let flags = unsafe { sys::call(number::FCNTL, [read as u64, 3, 0, 0, 0, 0]) }?;
    process::close(read)?;
    process::close(write)?;
    let refused = process::pipe(1) == Err(Error(error::EINVAL));
    Ok(empty && written == 64 << 10 && flags & NONBLOCK != 0 && refused)
}

fn poll() -> Result<bool, Error> {
    const IN: u64 = 1;
    const HUNG_UP: u64 = 0x10;
    let [read, write] = process::pipe(0)?;
    let poll = |nanoseconds: u64| {
        let mut entry = [read as u64 | IN << 32];
        let span = [0, nanoseconds];
        let arguments = [entry.as_mut_ptr().addr() as u64, 1, span.as_ptr().addr() as u64, 0, 0, 0];
        // SAFETY: the kernel reads both and writes the entry's answer.
        let count = unsafe { sys::call(number::PPOLL, arguments) }?;
        Ok((count, entry[0] >> 48))
    };
    let too_early = poll(1_000_000)? == (0, 0);
    let child = spawn(|| {
        let _ = process::sleep(2_000_000);
        u8::from(sys::write(write, b"x") != Ok(1))
    })?;
    let ready = poll(900_000_000)? == (1, IN);
    process::read(read, &mut [0])?;
    let ended = wait_for(child)? == End::Exited(0);
    process::close(write)?;
    let hung_up = poll(0)? == (1, HUNG_UP);
    process::close(read)?;
    Ok(too_early && ready && ended && hung_up)
}

fn whole() -> Result<bool, Error> {
    const WRITERS: u8 = 4;
    const RECORDS: usize = 30;
    const RECORD: usize = 1000;
    let [read, write] = process::pipe(0)?;
    for writer in 0..WRITERS {
        spawn(|| u8::from(!(0..RECORDS).all(|_| sys::write(write, &[b'a' + writer; RECORD]) == Ok(RECORD))))?;
    }
    process::close(write)?;
    let mut counts = [0; WRITERS as usize];
    let mut record = [0; RECORD];
    let mut is_whole = true;
    'records: loop {
        let mut length = 0;
        while length < RECORD {
            match process::read(read, &mut record[length..])? {
                0 => break 'records,
                count => length += count,
            }
        }
        is_whole &= record.iter().all(|&byte| byte == record[0]);
        counts[usize::from(record[0] - b'a') % counts.len()] += 1;
    }
    process::close(read)?;
    let mut ended = true;
    for _ in 0..WRITERS {
        ended &= process::wait(-1, 0)?.is_some_and(|(_, end)| end == End::Exited(0));
    }
    Ok(is_whole && ended && counts == [RECORDS; WRITERS as usize])
}
