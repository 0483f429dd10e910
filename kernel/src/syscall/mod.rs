//! System calls of Linux on arm64: the number in x8, arguments in x0 to x5, the result or minus the error in x0.
//!
//! A call behaves as Linux's or answers ENOSYS; one that is missing is also noted, and listed when the program ends. Each family
//! has a file, which lists its calls by number; [`TABLE`] is made of these lists.

mod children;
mod descriptors;
mod files;
mod futex;
mod info;
mod interval;
mod io;
mod memory;
mod names;
mod poll;
mod process;
mod signal;
mod time;
mod user;
mod userfault;

use alloc::format;

pub use interval::{Interval, measure};
use mm::Errno;

use crate::task::{NoUse, Process};

/// The six argument registers.
type Arguments = [u64; 6];
/// What a call gives back.
type Outcome = Result<u64, Errno>;

/// One system call.
#[derive(Clone, Copy)]
struct Call {
    number: usize,
    function: fn(&mut Process, &Arguments) -> Outcome,
}

/// Makes an entry of a family's list.
const fn call(number: usize, function: fn(&mut Process, &Arguments) -> Outcome) -> Call {
    Call { number, function }
}

/// One past the largest number that the table has room for.
const NUMBERS: usize = 512;

/// From number to call.
static TABLE: [Option<Call>; NUMBERS] = table(&[
    io::CALLS,
    descriptors::CALLS,
    files::CALLS,
    poll::CALLS,
    memory::CALLS,
    process::CALLS,
    futex::CALLS,
    children::CALLS,
    signal::CALLS,
    time::CALLS,
    info::CALLS,
    userfault::CALLS,
]);

const fn table(families: &[&[Call]]) -> [Option<Call>; NUMBERS] {
    let mut table = [None; NUMBERS];
    let mut family = 0;
    while family < families.len() {
        let mut index = 0;
        while index < families[family].len() {
            let call = families[family][index];
            assert!(table[call.number].is_none(), "two system calls with one number");
            table[call.number] = Some(call);
            index += 1;
        }
        family += 1;
    }
    table
}

/// Does the system call that the program has just made.
pub fn dispatch(process: &mut Process) {
    let registers = &process.context.x;
    let number = registers[8] as u32 as usize;
    let arguments = [registers[0], registers[1], registers[2], registers[3], registers[4], registers[5]];
    let outcome = match TABLE.get(number).copied().flatten() {
        Some(call) => (call.function)(process, &arguments),
        None => Err(missing(process, number)),
    };
    process.context.x[0] = match outcome {
        Ok(value) => value,
        Err(error) => (-i64::from(error.number())) as u64,
    };
}

/// Notes a call that does not exist.
fn missing(process: &mut Process, number: usize) -> Errno {
    let name = names::name(number).unwrap_or("no system call of Linux that is known here");
    process.handle.missing().note(&format!("system call {number} ({name})"));
    Errno::ENOSYS
}

/// Notes a part of a call that does not exist.
fn missing_part(process: &mut Process, what: &str) -> Errno {
    process.handle.missing().note(what);
    Errno::ENOSYS
}

/// What a call answers whose wait has ended without use. One that a signal has interrupted may be made again after its handler.
fn ended_wait(process: &mut Process, end: NoUse) -> Errno {
    match end {
        NoUse::Signal => {
            process.note_interrupted();
            Errno::EINTR
        }
        NoUse::TimedOut => Errno::EAGAIN,
    }
}
