//! A program's signals: what it asked for, what it blocks, what waits.
//!
//! Processes send them to each other, the kernel tells of ended children by one, and a program's bugs send it some. How they reach it
//! is in `deliver`.

use super::status::{ExitStatus, Signal};

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

/// Why a signal was sent: what a handler finds in `siginfo`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Info {
    /// The signal.
    pub signal: Signal,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`, or the process that sent it or has ended (`si_pid`).
    pub value: u64,
    /// `si_status`, of a child that has ended.
    pub status: i32,
}

impl Info {
    /// SI_USER: sent by process `pid`.
    pub const fn sent_by(signal: Signal, pid: u32) -> Self {
        Self { signal, code: 0, value: pid as u64, status: 0 }
    }

    /// SI_TKILL: sent by process `pid` to one thread.
    pub const fn sent_to_thread(signal: Signal, pid: u32) -> Self {
        Self { code: -6, ..Self::sent_by(signal, pid) }
    }

    /// SI_KERNEL: sent by nobody.
    pub const fn from_kernel(signal: Signal) -> Self {
        Self { code: 0x80, ..Self::sent_by(signal, 0) }
    }

    /// SIGCHLD: process `pid` has ended so.
    pub fn of_child(pid: u32, status: ExitStatus) -> Self {
        const EXITED: i32 = 1;
        const KILLED: i32 = 2;
        let (code, status) = match status {
            ExitStatus::Killed(signal) => (KILLED, signal.0),
            other => (EXITED, other.code()),
        };
        Self { signal: Signal::CHLD, code, value: pid.into(), status: status.into() }
    }
}

impl Info {
    /// Bytes of a `siginfo`.
    pub const SIZE: usize = 128;

    /// As a `siginfo`.
    pub fn bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&i32::from(self.signal.0).to_le_bytes());
        bytes[8..12].copy_from_slice(&self.code.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.value.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.status.to_le_bytes());
        bytes
    }
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
    /// Why each that waits was sent.
    infos: [Info; Signal::LAST as usize],
    /// What was blocked before a wait for signals blocked others: the next handler returns to that.
    before_wait: Option<u64>,
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
        let infos = [Info::from_kernel(Signal::KILL); Signal::LAST as usize];
        Self { actions: [none; Signal::LAST as usize], blocked: 0, pending: 0, infos, before_wait: None, stack }
    }

    /// What a child has: all of it, but nothing waits.
    pub fn of_child(&self) -> Self {
        Self { pending: 0, before_wait: None, ..self.clone() }
    }

    /// What another program in the same process has: what is ignored or blocked stays so, and what waits waits.
    pub fn of_new_program(&self) -> Self {
        let mut signals = Self { blocked: self.blocked, pending: self.pending, infos: self.infos, ..Self::new() };
        for (new, old) in signals.actions.iter_mut().zip(&self.actions) {
            if old.handler == IGNORE {
                new.handler = IGNORE;
            }
        }
        signals
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

    /// Sends a signal; one that waits already is not sent twice. False if the program ignores it. Who blocks a signal may wait for it,
    /// so then it is kept in any case.
    pub fn raise(&mut self, info: Info) -> bool {
        let bit = info.signal.bit();
        if self.is_ignored(info.signal) && self.blocked & bit == 0 {
            return false;
        }
        if self.pending & bit == 0 {
            self.infos[usize::from(info.signal.0) - 1] = info;
        }
        self.pending |= bit;
        true
    }

    /// Whether one waits that the program is to notice now, so that a wait of its must end.
    pub fn interrupts(&self) -> bool {
        let ready = self.pending & !self.blocked;
        let mut signals = (1..=Signal::LAST).filter_map(Signal::from_number);
        ready != 0 && signals.any(|signal| ready & signal.bit() != 0 && !self.is_ignored(signal))
    }

    /// Whether SIGKILL waits.
    pub fn is_killed(&self) -> bool {
        self.pending & Signal::KILL.bit() != 0
    }

    /// Takes the lowest signal that waits and is not blocked.
    pub fn take(&mut self) -> Option<Info> {
        self.take_of(!self.blocked)
    }

    /// Takes the lowest signal of a set that waits, but for SIGKILL and SIGSTOP, for which nobody can wait.
    pub fn take_awaited(&mut self, set: u64) -> Option<Info> {
        self.take_of(set & !UNSTOPPABLE)
    }

    fn take_of(&mut self, set: u64) -> Option<Info> {
        let ready = self.pending & set;
        if ready == 0 {
            return None;
        }
        let number = ready.trailing_zeros();
        self.pending &= !(1 << number);
        Some(self.infos[number as usize])
    }

    /// Blocks these signals until one comes, or [`end_wait`](Self::end_wait).
    pub fn begin_wait(&mut self, set: u64) {
        self.before_wait = Some(self.blocked);
        self.set_blocked(set);
    }

    /// Blocks again what was blocked before the wait, if no signal has come.
    pub fn end_wait(&mut self) {
        if let Some(before) = self.before_wait.take() {
            self.set_blocked(before);
        }
    }

    /// What is to be blocked again after a handler.
    pub fn after_handler(&mut self) -> u64 {
        self.before_wait.take().unwrap_or(self.blocked)
    }

    /// Whether ended children of the program are forgotten at once: it ignores SIGCHLD, or has said so (SA_NOCLDWAIT).
    pub fn forgets_children(&self) -> bool {
        const NOCLDWAIT: u64 = 2;
        let action = self.action(Signal::CHLD);
        action.handler == IGNORE || action.flags & NOCLDWAIT != 0
    }

    /// Whether the program does not notice it.
    pub fn is_ignored(&self, signal: Signal) -> bool {
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
        let sent = Info::sent_by(Signal::ABRT, 7);
        assert!(signals.raise(sent) && !signals.interrupts());
        signals.raise(Info::sent_by(Signal::ABRT, 8));
        assert_eq!(signals.take(), None);
        assert_eq!(signals.pending(), Signal::ABRT.bit());
        signals.set_blocked(0);
        assert!(signals.interrupts());
        assert_eq!(signals.take(), Some(sent), "the first sender counts");
        assert_eq!(signals.take(), None);
    }

    #[test]
    fn ignored_signals_vanish() {
        let mut signals = Signals::new();
        assert!(!signals.raise(Info::of_child(101, ExitStatus::Exited(0))));
        assert!(signals.set_action(Signal::ABRT, Action { handler: IGNORE, ..Action::default() }));
        assert!(!signals.raise(Info::sent_by(Signal::ABRT, 7)) && !signals.interrupts());
        assert_eq!(signals.take(), None);
        signals.set_blocked(u64::MAX);
        signals.raise(Info::from_kernel(Signal::SEGV));
        assert!(signals.set_action(Signal::SEGV, Action { handler: IGNORE, ..Action::default() }));
        assert_eq!(signals.pending(), 0);
        assert!(signals.raise(Info::of_child(101, ExitStatus::Exited(0))), "it is blocked, so it may be waited for");
        signals.set_blocked(0);
        assert!(!signals.interrupts());
    }

    #[test]
    fn nothing_holds_off_kill() {
        let mut signals = Signals::new();
        assert!(!signals.set_action(Signal::KILL, Action { handler: IGNORE, ..Action::default() }));
        signals.set_blocked(u64::MAX);
        assert_eq!(signals.blocked() & UNSTOPPABLE, 0);
        let kill = Info::sent_by(Signal::KILL, 7);
        assert!(signals.raise(kill) && signals.interrupts() && signals.is_killed());
        assert_eq!(signals.take_awaited(u64::MAX), None);
        assert_eq!(signals.take(), Some(kill));
    }

    #[test]
    fn a_wait_blocks_others_and_a_handler_puts_them_back() {
        let mut signals = Signals::new();
        signals.set_blocked(Signal::CHLD.bit());
        signals.begin_wait(Signal::ABRT.bit());
        assert_eq!(signals.blocked(), Signal::ABRT.bit());
        assert_eq!(signals.after_handler(), Signal::CHLD.bit());
        signals.end_wait();
        assert_eq!(signals.blocked(), Signal::ABRT.bit(), "the handler does it");
        signals.begin_wait(0);
        signals.end_wait();
        assert_eq!(signals.blocked(), Signal::ABRT.bit());
    }

    #[test]
    fn a_new_program_has_no_handlers() {
        let mut signals = Signals::new();
        let handler = Action { handler: 0x1000, flags: 1, restorer: 2, mask: 3 };
        assert!(signals.set_action(Signal::ABRT, handler));
        assert!(signals.set_action(Signal::CHLD, Action { handler: IGNORE, ..handler }));
        signals.set_blocked(Signal::BUS.bit());
        signals.raise(Info::sent_by(Signal::BUS, 7));
        let new = signals.of_new_program();
        assert_eq!((new.action(Signal::ABRT), new.action(Signal::CHLD).handler), (Action::default(), IGNORE));
        assert_eq!((new.blocked(), new.pending()), (Signal::BUS.bit(), Signal::BUS.bit()));
        assert!(new.forgets_children());
        let child = signals.of_child();
        assert_eq!((child.action(Signal::ABRT), child.pending()), (handler, 0));
    }
}
