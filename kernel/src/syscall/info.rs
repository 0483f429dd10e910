//! What the system tells about itself: uname, sysinfo, random numbers.

use mm::Errno;

use super::{Arguments, Call, Outcome, call, user};
use crate::arch::timer;
use crate::task::Process;
use crate::task::handle::family;

pub const CALLS: &[Call] = &[call(160, uname), call(179, sysinfo), call(278, getrandom)];

/// The release is that of the Linux whose calls these are, with our name and version behind it.
fn uname(_: &mut Process, &[to, ..]: &Arguments) -> Outcome {
    const FIELD: usize = 65;
    let release = concat!("7.3.4-unfold-", env!("CARGO_PKG_VERSION"));
    let texts = ["Linux", "unfold", release, "#1", "aarch64", "(none)"];
    let mut bytes = [[0; FIELD]; 6];
    for (field, text) in bytes.iter_mut().zip(texts) {
        field[..text.len()].copy_from_slice(text.as_bytes());
    }
    user::write_bytes(to, bytes.as_flattened())?;
    Ok(0)
}

fn sysinfo(process: &mut Process, &[to, ..]: &Arguments) -> Outcome {
    const SECOND: u64 = 1_000_000_000;
    let memory = process.space.totals();
    let mut words = [0; 14];
    words[0] = timer::now_ns() / SECOND;
    words[4] = memory.total;
    words[5] = memory.free;
    words[8] = memory.swap_total;
    words[9] = memory.swap_free;
    words[10] = family().count() as u64; // processes and threads
    words[13] = 1; // bytes in a unit of memory
    user::write_words(to, words)?;
    Ok(0)
}

/// See `task::random`: the same in every run.
fn getrandom(process: &mut Process, &[to, length, flags, ..]: &Arguments) -> Outcome {
    /// GRND_NONBLOCK, GRND_RANDOM and GRND_INSECURE make no difference here.
    const FLAGS: u64 = 7;
    const MOST: u64 = 0x7FFF_FFFF;
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let mut buffer = [0; 256];
    let length = length.min(MOST);
    let mut done = 0;
    while done < length {
        let chunk = &mut buffer[..(length - done).min(256) as usize];
        process.random.fill(chunk);
        match user::write_bytes(to.wrapping_add(done), chunk) {
            Ok(()) => done += chunk.len() as u64,
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done)
}
