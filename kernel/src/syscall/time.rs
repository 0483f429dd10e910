//! Time. Every clock counts from the start of the machine by the virtual counter (CNTVCT_EL0): under QEMU's `-icount` that is
//! virtual time, so a program that measures itself counts instructions. There is no clock of the day: CLOCK_REALTIME starts in 1970.

use mm::Errno;

use super::{Arguments, Call, Outcome, call, user};
use crate::arch::timer;
use crate::task::{NoUse, Process, schedule};

pub const CALLS: &[Call] = &[
    call(101, nanosleep),
    call(113, clock_gettime),
    call(114, clock_getres),
    call(115, clock_nanosleep),
    call(153, times),
    call(169, gettimeofday),
];

const SECOND: u64 = 1_000_000_000;

/// The time of a clock, in nanoseconds.
fn clock(process: &Process, id: u64) -> Result<u64, Errno> {
    match id as u32 {
        // REALTIME, MONOTONIC, MONOTONIC_RAW, REALTIME_COARSE, MONOTONIC_COARSE, BOOTTIME, TAI.
        0 | 1 | 4..=7 | 11 => Ok(timer::now_ns()),
        // PROCESS_CPUTIME_ID, THREAD_CPUTIME_ID.
        2 => Ok(process.handle.run_time()),
        3 => Ok(schedule::run_time()),
        _ => Err(Errno::EINVAL),
    }
}

fn clock_gettime(process: &mut Process, &[id, to, ..]: &Arguments) -> Outcome {
    let now = clock(process, id)?;
    user::write_words(to, [now / SECOND, now % SECOND])?;
    Ok(0)
}

fn clock_getres(process: &mut Process, &[id, to, ..]: &Arguments) -> Outcome {
    clock(process, id)?;
    if to != 0 {
        user::write_words(to, [0, SECOND.div_ceil(timer::frequency())])?;
    }
    Ok(0)
}

fn gettimeofday(_: &mut Process, &[to, zone, ..]: &Arguments) -> Outcome {
    let now = timer::now_ns();
    if to != 0 {
        user::write_words(to, [now / SECOND, now % SECOND / 1000])?;
    }
    if zone != 0 {
        user::write_words(zone, [0])?;
    }
    Ok(0)
}

/// All time is the program's own, in hundredths of a second; that of its children is not known.
fn times(process: &mut Process, &[to, ..]: &Arguments) -> Outcome {
    const TICK: u64 = SECOND / 100;
    let now = timer::now_ns();
    if to != 0 {
        user::write_words(to, [process.handle.run_time() / TICK, 0, 0, 0])?;
    }
    Ok(now / TICK)
}

/// Reads a `timespec` that says how long.
pub fn read_span(from: u64) -> Result<u64, Errno> {
    let [seconds, nanoseconds] = user::read_words(from)?;
    if seconds > i64::MAX as u64 || nanoseconds >= SECOND {
        return Err(Errno::EINVAL);
    }
    Ok(seconds.saturating_mul(SECOND).saturating_add(nanoseconds))
}

/// Waits that many nanoseconds, or until a signal comes.
pub fn sleep(process: &Process, nanoseconds: u64) -> NoUse {
    let end = timer::now_ns().saturating_add(nanoseconds);
    match process.sleep(&[], "for a time", Some(end), || None::<()>) {
        Ok(()) | Err(NoUse::TimedOut) => NoUse::TimedOut,
        Err(NoUse::Signal) => NoUse::Signal,
    }
}

/// Sleeps, and says at `rest` how much of it was left when a signal came.
fn sleep_or_tell(process: &Process, span: u64, rest: u64) -> Outcome {
    let end = timer::now_ns().saturating_add(span);
    if sleep(process, span) == NoUse::TimedOut {
        return Ok(0);
    }
    if rest != 0 {
        let left = end.saturating_sub(timer::now_ns());
        user::write_words(rest, [left / SECOND, left % SECOND])?;
    }
    Err(Errno::EINTR)
}

fn nanosleep(process: &mut Process, &[span, rest, ..]: &Arguments) -> Outcome {
    sleep_or_tell(process, read_span(span)?, rest)
}

fn clock_nanosleep(process: &mut Process, &[id, flags, span, rest, ..]: &Arguments) -> Outcome {
    const TIMER_ABSTIME: u64 = 1;
    let now = clock(process, id)?;
    let span = read_span(span)?;
    if flags & TIMER_ABSTIME != 0 {
        sleep_or_tell(process, span.saturating_sub(now), 0)
    } else {
        sleep_or_tell(process, span, rest)
    }
}
