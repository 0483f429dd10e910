//! What one thread does with signals: blocks them, waits for them, takes them, and has a stack for their handlers.

use core::ops::{Deref, DerefMut};

use mm::Errno;

use super::{AlternateStack, Info, Own, Signals, UNSTOPPABLE};
use crate::task::family::Pid;
use crate::task::status::Signal;

/// The signals of a process as one of its threads has them.
pub struct OfThread<G> {
    all: G,
    thread: Pid,
}

impl<G: Deref<Target = Signals>> Deref for OfThread<G> {
    type Target = Signals;

    fn deref(&self) -> &Signals {
        &self.all
    }
}

impl<G: DerefMut<Target = Signals>> DerefMut for OfThread<G> {
    fn deref_mut(&mut self) -> &mut Signals {
        &mut self.all
    }
}

impl<G: DerefMut<Target = Signals>> OfThread<G> {
    /// As `thread` has them, which is there.
    pub const fn new(all: G, thread: Pid) -> Self {
        Self { all, thread }
    }

    fn own(&mut self) -> &mut Own {
        self.all.threads.entry(self.thread).or_default()
    }

    /// The stack for handlers.
    pub fn stack(&mut self) -> AlternateStack {
        self.own().stack
    }

    /// Sets the stack for handlers of a thread with this stack pointer.
    ///
    /// # Errors
    /// `EPERM` if that is on the present one; `EINVAL` for unknown flags; `ENOMEM` for one that is too small.
    pub fn set_stack(&mut self, stack: AlternateStack, sp: u64) -> Result<(), Errno> {
        if self.own().stack.is_in_use(sp) {
            return Err(Errno::EPERM);
        }
        self.own().stack = stack.checked()?;
        Ok(())
    }

    /// A handler begins on the stack.
    pub fn enter_stack(&mut self) {
        if self.own().stack.flags & AlternateStack::AUTODISARM != 0 {
            self.own().stack = AlternateStack::NONE;
        }
    }

    /// The signals that are blocked.
    pub fn blocked(&mut self) -> u64 {
        self.own().blocked
    }

    /// Blocks these signals and no others.
    pub fn set_blocked(&mut self, set: u64) {
        self.own().blocked = set & !UNSTOPPABLE;
    }

    /// The signals that wait for it, or for any thread.
    pub fn pending(&mut self) -> u64 {
        self.own().waiting.set() | self.all.waiting.set()
    }

    /// Sends it a signal, as [`Signals::raise_in`].
    pub fn raise(&mut self, info: Info) -> bool {
        self.all.raise_in(self.thread, info).unwrap_or(false)
    }

    /// Whether it is to end.
    pub fn must_end(&mut self) -> bool {
        self.own().must_end
    }

    /// Whether there is something that it is to notice now, so that a wait of its must end: a signal, or its end.
    pub fn interrupts(&mut self) -> bool {
        let ready = self.pending() & !self.blocked();
        let mut signals = (1..=Signal::LAST).filter_map(Signal::from_number);
        self.must_end() || ready != 0 && signals.any(|signal| ready & signal.bit() != 0 && !self.is_ignored(signal))
    }

    /// Whether it ends, whatever else happens.
    pub fn is_doomed(&mut self) -> bool {
        self.must_end() || self.pending() & Signal::KILL.bit() != 0
    }

    /// Takes the lowest signal that waits and is not blocked, its own first.
    pub fn take(&mut self) -> Option<Info> {
        let set = !self.blocked();
        self.take_of(set)
    }

    /// Takes the lowest signal of a set that waits, but for SIGKILL and SIGSTOP, for which nobody can wait.
    pub fn take_awaited(&mut self, set: u64) -> Option<Info> {
        self.take_of(set & !UNSTOPPABLE)
    }

    fn take_of(&mut self, set: u64) -> Option<Info> {
        let own = self.own().waiting.take(set);
        own.or_else(|| self.all.waiting.take(set))
    }

    /// Blocks these signals until one comes, or [`end_wait`](Self::end_wait).
    pub fn begin_wait(&mut self, set: u64) {
        self.own().before_wait = Some(self.own().blocked);
        self.set_blocked(set);
    }

    /// Blocks again what was blocked before the wait, if no signal has come.
    pub fn end_wait(&mut self) {
        if let Some(before) = self.own().before_wait.take() {
            self.set_blocked(before);
        }
    }

    /// What is to be blocked again after a handler.
    pub fn after_handler(&mut self) -> u64 {
        let own = self.own();
        own.before_wait.take().unwrap_or(own.blocked)
    }
}
