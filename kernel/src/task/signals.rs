//! A program's signals: what it asked for, what it blocks, what waits.
//!
//! A program can only send signals to itself, and its bugs send it some. How they reach it is in `deliver`.

use super::status::Signal;

/// SIG_DFL.
pub const DEFAULT: u64 = 0;
/// SIG_IGN.
pub const IGNORE: u64 = 1;

/// What a program asked for with `rt_sigaction`, in the order of Linux's structure.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Action {
    /// [`DEFAULT`], [`IGNORE`], or the address of a handler.
    pub handler: u64,
    /// SA_… flags.
    pub flags: u64,
    /// Where a handler returns to.
    pub restorer: u64,
    /// Signals blocked while it runs.
    pub mask: u64,
}

/// What `sigaltstack` was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AlternateStack {
    /// Its lowest address.
    pub address: u64,
    /// SS_… flags.
    pub flags: u32,
    /// Its size.
    pub size: u64,
}

impl AlternateStack {
    /// SS_DISABLE: there is none.
    pub const DISABLED: u32 = 2;
}

/// The state of a program's signals.
#[derive(Clone, Debug)]
pub struct Signals {
    actions: [Action; Signal::LAST as usize],
    blocked: u64,
    pending: u64,
    /// The stack for handlers.
    pub stack: AlternateStack,
}

/// SIGKILL and SIGSTOP, which nothing holds off.
const UNSTOPPABLE: u64 = Signal::KILL.bit() | Signal::STOP.bit();

impl Signals {
    /// What a new program has: every action the default, nothing blocked.
    pub const fn new() -> Self {
        let none = Action { handler: DEFAULT, flags: 0, restorer: 0, mask: 0 };
        let stack = AlternateStack { address: 0, flags: AlternateStack::DISABLED, size: 0 };
        Self { actions: [none; Signal::LAST as usize], blocked: 0, pending: 0, stack }
    }

    /// The action of a signal.
    pub fn action(&self, signal: Signal) -> Action {
        self.actions[usize::from(signal.0) - 1]
    }

    /// Sets the action of a signal. False for SIGKILL and SIGSTOP, whose action can not be set.
    #[must_use]
    pub fn set_action(&mut self, signal: Signal, action: Action) -> bool {
        if UNSTOPPABLE & signal.bit() != 0 {
            return false;
        }
        self.actions[usize::from(signal.0) - 1] = action;
        if self.is_ignored(signal) {
            self.pending &= !signal.bit();
        }
        true
    }

    /// The signals that are blocked.
    pub fn blocked(&self) -> u64 {
        self.blocked
    }

    /// Blocks these signals and no others.
    pub fn set_blocked(&mut self, set: u64) {
        self.blocked = set & !UNSTOPPABLE;
    }

    /// The signals that wait.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Sends a signal.
    pub fn raise(&mut self, signal: Signal) {
        if !self.is_ignored(signal) {
            self.pending |= signal.bit();
        }
    }

    /// Takes the lowest signal that waits and is not blocked.
    pub fn take(&mut self) -> Option<Signal> {
        let ready = self.pending & !self.blocked;
        if ready == 0 {
            return None;
        }
        self.pending &= !(1 << ready.trailing_zeros());
        Signal::from_number(u64::from(ready.trailing_zeros()) + 1)
    }

    fn is_ignored(&self, signal: Signal) -> bool {
        match self.action(signal).handler {
            DEFAULT => signal.is_ignored_by_default(),
            IGNORE => true,
            _ => false,
        }
    }
}

impl Default for Signals {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_waits() {
        let mut signals = Signals::new();
        signals.set_blocked(Signal::ABRT.bit());
        signals.raise(Signal::ABRT);
        assert_eq!(signals.take(), None);
        assert_eq!(signals.pending(), Signal::ABRT.bit());
        signals.set_blocked(0);
        assert_eq!(signals.take(), Some(Signal::ABRT));
        assert_eq!(signals.take(), None);
    }

    #[test]
    fn ignored_signals_vanish() {
        let mut signals = Signals::new();
        signals.raise(Signal(17));
        assert!(signals.set_action(Signal::ABRT, Action { handler: IGNORE, ..Action::default() }));
        signals.raise(Signal::ABRT);
        assert_eq!(signals.take(), None);
        signals.set_blocked(u64::MAX);
        signals.raise(Signal::SEGV);
        assert!(signals.set_action(Signal::SEGV, Action { handler: IGNORE, ..Action::default() }));
        assert_eq!(signals.pending(), 0);
    }

    #[test]
    fn nothing_holds_off_kill() {
        let mut signals = Signals::new();
        assert!(!signals.set_action(Signal::KILL, Action { handler: IGNORE, ..Action::default() }));
        signals.set_blocked(u64::MAX);
        assert_eq!(signals.blocked() & UNSTOPPABLE, 0);
        signals.raise(Signal::KILL);
        assert_eq!(signals.take(), Some(Signal::KILL));
    }
}
