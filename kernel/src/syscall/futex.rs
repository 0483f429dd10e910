//! futex: threads that wait for a word of their memory to change, and wake each other. Requests about priority inheritance are missing.

use alloc::format;

use mm::Errno;
use mmu::USER_END;

use super::{Arguments, Call, Outcome, call, ended_wait, missing_part, time};
use crate::arch::timer;
use crate::task::futex::{self, ANY, Key, NotWoken};
use crate::task::{NoUse, Process};

pub const CALLS: &[Call] = &[call(98, futex), call(99, set_robust_list)];

/// What is asked for, with Linux's numbers.
mod operation {
    pub const WAIT: u32 = 0;
    pub const WAKE: u32 = 1;
    pub const REQUEUE: u32 = 3;
    pub const CMP_REQUEUE: u32 = 4;
    pub const WAIT_BITSET: u32 = 9;
    pub const WAKE_BITSET: u32 = 10;
    /// FUTEX_PRIVATE_FLAG: nobody else's memory has the word.
    pub const PRIVATE: u32 = 128;
    /// FUTEX_CLOCK_REALTIME, which is the same clock as the other one here.
    pub const REAL_TIME: u32 = 256;
}

/// The list has the locks that the thread holds at its end.
fn set_robust_list(process: &mut Process, &[list, size, ..]: &Arguments) -> Outcome {
    const HEAD: u64 = 24;
    if size != HEAD {
        return Err(Errno::EINVAL);
    }
    process.farewell.locks = list;
    Ok(0)
}

fn futex(process: &mut Process, arguments: &Arguments) -> Outcome {
    let &[address, operation, value, fourth, other, third] = arguments;
    let (operation, value) = (operation as u32, value as u32);
    let kind = operation & !(operation::PRIVATE | operation::REAL_TIME);
    if operation & operation::REAL_TIME != 0 && kind != operation::WAIT_BITSET {
        return Err(Errno::ENOSYS);
    }
    let key = |address: u64| {
        if address % 4 != 0 {
            return Err(Errno::EINVAL);
        }
        if address >= USER_END {
            return Err(Errno::EFAULT);
        }
        process.space.futex(address, operation & operation::PRIVATE != 0)
    };
    match kind {
        operation::WAIT => {
            let until = |span: u64| timer::now_ns().saturating_add(span);
            let deadline = deadline(fourth)?.map(until);
            let key = key(address)?;
            wait(process, (address, key), value, ANY, deadline)
        }
        operation::WAIT_BITSET => {
            let deadline = deadline(fourth)?;
            let (bits, key) = (bits(third)?, key(address)?);
            wait(process, (address, key), value, bits, deadline)
        }
        operation::WAKE => Ok(futex::wake(key(address)?, ANY, at_least_one(value)) as u64),
        operation::WAKE_BITSET => Ok(futex::wake(key(address)?, bits(third)?, at_least_one(value)) as u64),
        operation::REQUEUE => requeue(key(address)?, key(other)?, (value, fourth as u32)),
        operation::CMP_REQUEUE => {
            let (from, to) = (key(address)?, key(other)?);
            let requeue = |word| {
                if word == third as u32 { requeue(from, to, (value, fourth as u32)) } else { Err(Errno::EAGAIN) }
            };
            futex::with_word(address, requeue)?
        }
        unknown => Err(missing_part(process, &format!("futex operation {unknown}"))),
    }
}

/// A `timespec`, if there is one.
fn deadline(from: u64) -> Result<Option<u64>, Errno> {
    if from == 0 { Ok(None) } else { time::read_span(from).map(Some) }
}

fn bits(bits: u64) -> Result<u32, Errno> {
    if bits as u32 == 0 { Err(Errno::EINVAL) } else { Ok(bits as u32) }
}

/// As on Linux, who wakes none wakes one, and a number below zero is one too.
fn at_least_one(count: u32) -> usize {
    (count as i32).max(1) as usize
}

fn wait(process: &mut Process, futex: (u64, Key), value: u32, bits: u32, deadline: Option<u64>) -> Outcome {
    match futex::wait(process, futex, value, bits, deadline) {
        Ok(()) => Ok(0),
        Err(NotWoken::Changed) => Err(Errno::EAGAIN),
        Err(NotWoken::Fault) => Err(Errno::EFAULT),
        Err(NotWoken::NoUse(NoUse::TimedOut)) => Err(Errno::ETIMEDOUT),
        // With a time it is not made again: that would be a longer one.
        Err(NotWoken::NoUse(NoUse::Signal)) if deadline.is_some() => Err(Errno::EINTR),
        Err(NotWoken::NoUse(end)) => Err(ended_wait(process, end)),
    }
}

/// Wakes the first `wakes`, and has `moves` more wait for the other futex; how many both were.
fn requeue(from: Key, to: Key, (wakes, moves): (u32, u32)) -> Outcome {
    if (wakes as i32) < 0 || (moves as i32) < 0 {
        return Err(Errno::EINVAL);
    }
    let woken = futex::wake(from, ANY, wakes as usize);
    Ok((woken + futex::requeue(from, to, moves as usize)) as u64)
}
