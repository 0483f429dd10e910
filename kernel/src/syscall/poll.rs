//! ppoll: waiting until one of several streams is ready.

use alloc::vec::Vec;

use mm::Errno;

use super::{Arguments, Call, Outcome, call, time, user};
use crate::arch::timer;
use crate::task::files::{MOST, Open};
use crate::task::pipe::Ready;
use crate::task::stream::Stream;
use crate::task::{NoUse, Process, WaitQueue};

pub const CALLS: &[Call] = &[call(73, ppoll)];

/// Events, with Linux's values.
mod event {
    pub const IN: u16 = 1;
    pub const OUT: u16 = 4;
    pub const ERROR: u16 = 8;
    pub const HUNG_UP: u16 = 0x10;
    pub const INVALID: u16 = 0x20;
}

/// One entry of the list: what is asked about a descriptor.
#[derive(Clone, Copy)]
struct Entry {
    descriptor: u32,
    events: u16,
}

impl Entry {
    /// Bytes of an entry, and where its answer goes.
    const SIZE: u64 = 8;
    const ANSWER: u64 = 6;

    fn stream(self, process: &Process) -> Option<&Stream> {
        process.files.get(self.descriptor.into()).map(|Open { stream, .. }| stream)
    }

    /// What there is to say. A negative descriptor asks for nothing.
    fn answer(self, process: &Process) -> u16 {
        if self.descriptor > i32::MAX as u32 {
            return 0;
        }
        self.stream(process)
            .map_or(event::INVALID, |stream| state(stream) & (self.events | event::ERROR | event::HUNG_UP))
    }
}

/// What a stream is ready for. The UART always is: input never makes a program wait, output is taken at once.
fn state(stream: &Stream) -> u16 {
    match stream {
        Stream::Input => event::IN,
        Stream::Output => event::OUT,
        Stream::Reader(reader) => match reader.ready() {
            Ready::For(_) => event::IN,
            Ready::Closed => event::HUNG_UP,
            Ready::NotYet => 0,
        },
        Stream::Writer(writer) => match writer.ready() {
            Ready::For(_) => event::OUT,
            Ready::Closed => event::OUT | event::ERROR,
            Ready::NotYet => 0,
        },
    }
}

/// Where one waits for it to change.
fn queue(stream: &Stream) -> Option<&WaitQueue> {
    match stream {
        Stream::Input | Stream::Output => None,
        Stream::Reader(reader) => Some(reader.queue()),
        Stream::Writer(writer) => Some(writer.queue()),
    }
}

fn ppoll(process: &mut Process, &[list, count, timeout, mask, size, _]: &Arguments) -> Outcome {
    if count > MOST as u64 || (mask != 0 && size != 8) {
        return Err(Errno::EINVAL);
    }
    let entry = |index| {
        let [entry] = user::read_words(list.wrapping_add(index * Entry::SIZE))?;
        Ok(Entry { descriptor: entry as u32, events: (entry >> 32) as u16 })
    };
    let entries: Vec<Entry> = (0..count).map(entry).collect::<Result<_, Errno>>()?;
    let deadline = match timeout {
        0 => None,
        timeout => Some(timer::now_ns().saturating_add(time::read_span(timeout)?)),
    };
    if mask != 0 {
        let [mask] = user::read_words(mask)?;
        process.signals().begin_wait(mask);
    }
    let ready = || {
        let answers: Vec<u16> = entries.iter().map(|entry| entry.answer(process)).collect();
        answers.iter().any(|&answer| answer != 0).then_some(answers)
    };
    let queues: Vec<&WaitQueue> = entries.iter().filter_map(|entry| entry.stream(process)).filter_map(queue).collect();
    let answers = match process.sleep(&queues, "for a descriptor to be ready", deadline, ready) {
        Ok(answers) => answers,
        Err(NoUse::TimedOut) => alloc::vec![0; entries.len()],
        Err(NoUse::Signal) => return Err(Errno::EINTR),
    };
    process.signals().end_wait();
    for (index, answer) in (0..).zip(&answers) {
        let at = list.wrapping_add(index * Entry::SIZE + Entry::ANSWER);
        user::write_bytes(at, &answer.to_le_bytes())?;
    }
    Ok(answers.iter().filter(|&&answer| answer != 0).count() as u64)
}
