//! Tests of signals.

use alloc::boxed::Box;

use super::*;

const FIRST: Pid = 100;

fn of(thread: Pid, signals: &mut Signals) -> OfThread<&mut Signals> {
    OfThread::new(signals, thread)
}

/// Those of a process of one thread.
fn alone() -> OfThread<Box<Signals>> {
    OfThread::new(Box::new(Signals::new(FIRST)), FIRST)
}

#[test]
fn a_blocked_signal_waits() {
    let mut signals = alone();
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
    let mut signals = alone();
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
    let mut signals = alone();
    assert!(!signals.set_action(Signal::KILL, Action { handler: IGNORE, ..Action::default() }));
    signals.set_blocked(u64::MAX);
    assert_eq!(signals.blocked() & UNSTOPPABLE, 0);
    let kill = Info::sent_by(Signal::KILL, 7);
    assert!(signals.raise(kill) && signals.interrupts() && signals.is_doomed());
    assert_eq!(signals.take_awaited(u64::MAX), None);
    assert_eq!(signals.take(), Some(kill));
}

#[test]
fn a_wait_blocks_others_and_a_handler_puts_them_back() {
    let mut signals = alone();
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
fn a_stack_in_use_stays() {
    let mut signals = alone();
    let stack = AlternateStack { address: 0x1_0000, flags: 0, size: 0x2000 };
    let (on_it, below) = (0x1_1000, 0x9000);
    assert_eq!(signals.set_stack(AlternateStack { size: 5119, ..stack }, below), Err(Errno::ENOMEM));
    assert_eq!(signals.set_stack(AlternateStack { flags: 4, ..stack }, below), Err(Errno::EINVAL));
    assert_eq!(signals.stack().top(below), None);
    assert_eq!(signals.set_stack(stack, below), Ok(()));
    assert_eq!((signals.stack().top(below), signals.stack().top(on_it)), (Some(0x1_2000), None));
    assert_eq!((signals.stack().told(below).flags, signals.stack().told(on_it).flags), (0, 1));
    assert_eq!(signals.set_stack(AlternateStack::NONE, on_it), Err(Errno::EPERM));
    signals.enter_stack();
    assert_eq!(signals.stack(), stack);
    assert_eq!(signals.set_stack(AlternateStack { flags: 1 << 31, ..stack }, below), Ok(()));
    signals.enter_stack();
    assert_eq!(signals.stack(), AlternateStack::NONE);
}

#[test]
fn a_new_program_has_no_handlers() {
    let mut signals = alone();
    let handler = Action { handler: 0x1000, flags: 1, restorer: 2, mask: 3 };
    assert!(signals.set_action(Signal::ABRT, handler));
    assert!(signals.set_action(Signal::CHLD, Action { handler: IGNORE, ..handler }));
    signals.set_blocked(Signal::BUS.bit());
    signals.raise(Info::sent_by(Signal::BUS, 7));
    let mut child = signals.of_child(FIRST, 101);
    assert_eq!((child.action(Signal::ABRT), of(101, &mut child).pending()), (handler, 0));
    assert_eq!(of(101, &mut child).blocked(), Signal::BUS.bit());
    signals.start_program(FIRST, FIRST);
    assert_eq!((signals.action(Signal::ABRT), signals.action(Signal::CHLD).handler), (Action::default(), IGNORE));
    assert_eq!((signals.blocked(), signals.pending()), (Signal::BUS.bit(), Signal::BUS.bit()));
    assert!(signals.forgets_children());
}

#[test]
fn a_thread_that_does_not_block_it_takes_it() {
    let mut signals = Signals::new(FIRST);
    of(FIRST, &mut signals).set_blocked(Signal::ABRT.bit());
    signals.add_thread(FIRST, 101);
    signals.add_thread(FIRST, 102);
    of(102, &mut signals).set_blocked(0);
    let info = Info::sent_by(Signal::ABRT, 7);
    assert_eq!(signals.raise(info), Notices::One(102));
    assert!(!of(FIRST, &mut signals).interrupts() && !of(101, &mut signals).interrupts());
    assert!(of(102, &mut signals).interrupts());
    // It blocks it before it has taken it, and another one does not.
    of(102, &mut signals).set_blocked(u64::MAX);
    assert_eq!(signals.left_over(), None);
    of(101, &mut signals).set_blocked(0);
    assert_eq!(signals.left_over(), Some(101));
    assert_eq!(of(101, &mut signals).take(), Some(info));
    assert_eq!(of(102, &mut signals).pending(), 0);
    // The first is asked first; nobody takes what all block, but one may wait for it.
    of(FIRST, &mut signals).set_blocked(0);
    assert_eq!(signals.raise(info), Notices::One(FIRST));
    assert_eq!(of(FIRST, &mut signals).take(), Some(info));
    [FIRST, 101, 102].into_iter().for_each(|thread| of(thread, &mut signals).set_blocked(u64::MAX));
    assert_eq!(signals.raise(info), Notices::All);
    assert_eq!(of(102, &mut signals).take_awaited(Signal::ABRT.bit()), Some(info));
    assert_eq!(signals.raise(Info::from_kernel(Signal::KILL)), Notices::All);
}

#[test]
fn a_signal_for_a_thread_is_its_own() {
    let mut signals = Signals::new(FIRST);
    signals.add_thread(FIRST, 101);
    let info = Info::sent_to_thread(Signal::ABRT, 7);
    assert_eq!((signals.raise_in(101, info), signals.raise_in(102, info)), (Some(true), None));
    assert!(!of(FIRST, &mut signals).interrupts() && of(101, &mut signals).interrupts());
    assert!(signals.set_action(Signal::ABRT, Action { handler: IGNORE, ..Action::default() }));
    assert_eq!(of(101, &mut signals).pending(), 0, "who ignores it takes it from all");
    assert_eq!(signals.raise_in(101, info), Some(false));
}

#[test]
fn threads_that_are_to_end_take_nothing() {
    let mut signals = Signals::new(FIRST);
    signals.add_thread(FIRST, 101);
    signals.end_threads(Some(101));
    assert!(of(FIRST, &mut signals).must_end() && of(FIRST, &mut signals).is_doomed());
    assert_eq!(signals.raise(Info::sent_by(Signal::ABRT, 7)), Notices::One(101));
    assert_eq!((signals.remove_thread(FIRST), signals.threads()), (1, 1));
    signals.start_program(101, FIRST);
    assert_eq!((signals.threads(), of(FIRST, &mut signals).must_end()), (1, false));
    assert_eq!(signals.left_over(), Some(FIRST));
    signals.end_threads(None);
    assert_eq!(signals.left_over(), None);
}
