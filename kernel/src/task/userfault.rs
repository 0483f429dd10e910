//! Monitors: who watches memory by userfaultfd, and the programs that sleep until he has answered.
//!
//! A monitor watches the space of the process that made it, whoever has its descriptor. A thread that touches what is watched sleeps
//! until its page is woken, and tries again. So does one for which the kernel copies, or populates its memory, unless the monitor is for
//! programs' own accesses alone: then the call ends with EFAULT.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use core::num::NonZeroU32;

use mm::Errno;
use mm::fault::Access;
use mm::uffd::{self, Notice};
use mm::vma::AreaFlags;

use super::process::Process;
use super::schedule;
use super::space::UserSpace;
use super::wait::WaitQueue;
use crate::arch::cpu::SpinLock;

/// All monitors, by number.
static MONITORS: SpinLock<BTreeMap<NonZeroU32, Weak<Monitor>>> = SpinLock::new(BTreeMap::new());

/// One descriptor of userfaultfd.
pub struct Monitor {
    id: uffd::Monitor,
    /// What it watches. It does not keep it alive.
    space: Weak<UserSpace>,
    /// Whether it is asked about what the kernel touches for a program, too.
    is_for_copies: bool,
    state: SpinLock<State>,
    /// Whoever reads waits here for something to be asked.
    pub readers: WaitQueue,
    sleepers: WaitQueue,
}

#[derive(Default)]
struct State {
    /// Whether its version was agreed on.
    is_ready: bool,
    questions: VecDeque<Question>,
    next: u64,
}

/// Somebody sleeps for an answer.
#[derive(Clone, Copy)]
struct Question {
    number: u64,
    notice: Notice,
    /// Whether it was read.
    is_told: bool,
}

impl Monitor {
    /// A new monitor of a process's memory; `is_for_copies` if the kernel's copies are to wait for it, too.
    ///
    /// # Errors
    /// `ENFILE` if there are too many.
    pub fn new(process: &Process, is_for_copies: bool) -> Result<Arc<Self>, Errno> {
        uffd::set_ask(ask_for_copy);
        let mut monitors = MONITORS.lock();
        let last = monitors.last_key_value().map_or(0, |(id, _)| id.get());
        let id = last.checked_add(1).and_then(NonZeroU32::new).ok_or(Errno::ENFILE)?;
        let monitor = Arc::new(Self {
            id: uffd::Monitor(id),
            space: Arc::downgrade(&process.space),
            is_for_copies,
            state: SpinLock::new(State::default()),
            readers: WaitQueue::new("for a fault in memory that it watches"),
            sleepers: WaitQueue::new("for whoever watches its memory"),
        });
        monitors.insert(id, Arc::downgrade(&monitor));
        Ok(monitor)
    }

    /// Whether its version was agreed on: before that it does nothing.
    pub fn is_ready(&self) -> bool {
        self.state.lock().is_ready
    }

    /// Its version is agreed on. False if it was already.
    #[must_use]
    pub fn make_ready(&self) -> bool {
        !core::mem::replace(&mut self.state.lock().is_ready, true)
    }

    /// What it watches.
    ///
    /// # Errors
    /// `ESRCH` if it is gone.
    pub fn space(&self) -> Result<Arc<UserSpace>, Errno> {
        self.space.upgrade().ok_or(Errno::ESRCH)
    }

    /// Watches a range from now on.
    ///
    /// # Errors
    /// Linux's.
    pub fn register(&self, range: (u64, u64), modes: AreaFlags) -> Result<(), Errno> {
        crate::memory().uffd_register(self.space()?.inner(), range, self.id, modes)
    }

    /// Watches it no longer.
    ///
    /// # Errors
    /// Linux's.
    pub fn unregister(&self, range: (u64, u64)) -> Result<(), Errno> {
        crate::memory().uffd_unregister(self.space()?.inner(), range, self.id)?;
        self.wake(range);
        Ok(())
    }

    /// Those who sleep for pages of a range try again.
    pub fn wake(&self, (start, length): (u64, u64)) {
        let is_meant = |question: &Question| question.notice.address.as_u64().wrapping_sub(start) < length;
        self.state.lock().questions.retain(|question| !is_meant(question));
        self.sleepers.wake_all();
    }

    /// Whether there is something to read.
    pub fn is_asked(&self) -> bool {
        self.state.lock().questions.iter().any(|question| !question.is_told)
    }

    /// The next question that was not read yet.
    pub fn next_question(&self) -> Option<Notice> {
        let mut state = self.state.lock();
        let question = state.questions.iter_mut().find(|question| !question.is_told)?;
        question.is_told = true;
        Some(question.notice)
    }

    fn ask(&self, notice: Notice) -> u64 {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state.questions.push_back(Question { number, notice, is_told: false });
        drop(state);
        self.readers.wake_all();
        number
    }

    fn waits(&self, number: u64) -> bool {
        self.state.lock().questions.iter().any(|question| question.number == number)
    }

    /// Nobody has its descriptor any more: nothing is watched, and nobody sleeps.
    pub fn close(&self) {
        MONITORS.lock().remove(&self.id.0);
        if let Ok(space) = self.space() {
            crate::memory().uffd_release(space.inner(), self.id);
        }
        self.wake((0, u64::MAX));
    }
}

fn monitor_of(notice: &Notice) -> Option<Arc<Monitor>> {
    MONITORS.lock().get(&notice.monitor.0).and_then(Weak::upgrade)
}

/// Sleeps until the monitor has answered, or a signal has come; the access is to be tried again in any case.
pub(super) fn ask(process: &Process, notice: Notice) {
    let Some(monitor) = monitor_of(&notice) else { return };
    let number = monitor.ask(notice);
    let answered = || (!monitor.waits(number)).then_some(());
    if process.sleep(&[&monitor.sleepers], monitor.sleepers.what(), None, answered).is_err() {
        monitor.state.lock().questions.retain(|question| question.number != number);
    }
}

/// The same for a copy of the kernel's, or for pages that a call brings in, in which no signal but a deadly one is noticed. False if it
/// is not to be tried again.
#[must_use]
pub(super) fn ask_for_copy(notice: Notice) -> bool {
    let Some(monitor) = monitor_of(&notice) else { return true };
    if !monitor.is_for_copies {
        return false;
    }
    let number = monitor.ask(notice);
    let is_answered = monitor.sleepers.sleep(|| match monitor.waits(number) {
        false => Some(true),
        true => schedule::is_doomed().then_some(false),
    });
    monitor.state.lock().questions.retain(|question| question.number != number);
    is_answered
}

/// The flags with which Linux tells a notice.
pub fn flags(notice: &Notice) -> u64 {
    const WRITE: u64 = 1;
    const PROTECTED: u64 = 2;
    let write = if notice.access == Access::Write { WRITE } else { 0 };
    write | if notice.is_protected { PROTECTED } else { 0 }
}
