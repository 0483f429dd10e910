//! Measured intervals: the difference of all counters between two moments: the entry and the exit of a MADV_PAGEOUT call, what a
//! program asks for by name (`syscall/interval.rs`), or begin and end of a test case.
//!
//! Both ends are marked for an observer outside ([`Mark::Begin`], [`Mark::End`]). Counters are read outside of the marks, and the
//! instruction counter at them, so that what is measured is the call alone. Nothing is printed in between and there is no tick.

use alloc::string::String;
use alloc::vec::Vec;

use mmu::Mark;

use super::counters::Counts;
use crate::arch::cpu::SpinLock;
use crate::dev::record::{self, Json};
use crate::syscall;

/// Intervals that are kept until they are taken; older ones are lost.
const KEPT: usize = 64;

/// One interval.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Its number, from 0, in order of their beginnings.
    pub index: u64,
    /// What the program calls it; empty if it did not ask for it.
    pub name: String,
    /// Instructions between the marks; 0 where nothing counts them.
    pub instructions: u64,
    /// What was counted between them.
    pub counts: Counts,
}

struct Ring {
    kept: [Interval; KEPT],
    /// How many there have been, and how many of them have been taken.
    ended: u64,
    taken: u64,
    /// The name of the open one.
    name: String,
    /// The counters when it began.
    before: Counts,
    /// The instruction counter then.
    begun: u32,
}

static RING: SpinLock<Ring> = SpinLock::new(Ring {
    kept: [const { Interval { index: 0, name: String::new(), instructions: 0, counts: Counts::ZERO } }; KEPT],
    ended: 0,
    taken: 0,
    name: String::new(),
    before: Counts::ZERO,
    begun: 0,
});

/// From now on every MADV_PAGEOUT of a program is an interval, and what a program asks for.
pub fn start() {
    syscall::measure(syscall::Interval { begin, end });
}

fn begin(name: &str) {
    let memory = crate::memory();
    let mut ring = RING.lock();
    ring.name = name.into();
    ring.before = Counts::now(memory);
    ring.begun = memory.door.mark(Mark::Begin);
}

fn end() {
    let memory = crate::memory();
    let ended = memory.door.mark(Mark::End);
    let mut ring = RING.lock();
    let index = ring.ended;
    let counts = Counts::now(memory).since(&ring.before);
    // The counter has 32 bits here; a call is shorter than that.
    let instructions = u64::from(ended.wrapping_sub(ring.begun));
    let name = core::mem::take(&mut ring.name);
    ring.kept[index as usize % KEPT] = Interval { index, name, instructions, counts };
    ring.ended += 1;
}

/// Makes an interval of `work`, in which no program pages out, and writes its record.
pub fn measure<R>(name: &str, work: impl FnOnce() -> R) -> R {
    measured(name, work).0
}

/// The same, and returns the interval too.
pub fn measured<R>(name: &str, work: impl FnOnce() -> R) -> (R, Option<Interval>) {
    begin("");
    let result = work();
    end();
    let mut intervals = take();
    record(&intervals, name);
    (result, intervals.pop())
}

/// The intervals since the last call of this, at most the last [`KEPT`] ones.
pub fn take() -> Vec<Interval> {
    let mut ring = RING.lock();
    let first = ring.taken.max(ring.ended.saturating_sub(KEPT as u64));
    ring.taken = ring.ended;
    (first..ring.ended).map(|index| ring.kept[index as usize % KEPT].clone()).collect()
}

/// Writes the records of `intervals`, which a run called `run` made. Only when no program runs.
pub fn record(intervals: &[Interval], run: &str) {
    for Interval { index, name, instructions, counts } in intervals {
        let name = if name.is_empty() { run.into() } else { alloc::format!("{run}: {name}") };
        let (name, fields) = (Json(&name), counts.fields());
        let [(loads, loaded), (stores, stored), (atomics, changed)] = counts.entry_accesses();
        record::write(format_args!(
            r#"{{"kind":"interval","index":{index},"name":{name},"instructions":{instructions},{}{fields}}}"#,
            format_args!(r#""{loads}":{loaded},"{stores}":{stored},"{atomics}":{changed}"#)
        ));
    }
}
