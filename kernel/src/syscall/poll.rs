//! ppoll: waiting until one of several files is ready.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mm::Errno;

use super::io::open_file;
use super::{Arguments, Call, Outcome, call, time, user};
use crate::arch::timer;
use crate::task::file::{OpenFile, event};
use crate::task::files::MOST;
use crate::task::{NoUse, Process, WaitQueue};

pub const CALLS: &[Call] = &[call(73, ppoll)];

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

    /// What there is to say of its file. A negative descriptor asks for nothing.
    fn answer(self, open: Option<&Arc<OpenFile>>) -> u16 {
        if self.descriptor > i32::MAX as u32 {
            return 0;
        }
        open.map_or(event::INVALID, |open| open.file.poll() & (self.events | event::ERROR | event::HUNG_UP))
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
    // Those that are open now, whatever another thread closes meanwhile.
    let files: Vec<Option<Arc<OpenFile>>> =
        entries.iter().map(|entry| open_file(process, entry.descriptor.into()).ok()).collect();
    let ready = || {
        let answers: Vec<u16> = entries.iter().zip(&files).map(|(entry, open)| entry.answer(open.as_ref())).collect();
        answers.iter().any(|&answer| answer != 0).then_some(answers)
    };
    let queues: Vec<&WaitQueue> = files.iter().flatten().filter_map(|open| open.file.queue()).collect();
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
