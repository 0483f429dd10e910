//! Signals reach their program: a handler is called, or the program ends.

use super::process::{Interrupted, Process};
use super::report;
use super::signal_frame::{self, CONTEXT, Frame, RECORD, Registers, SIZE};
use super::signals::{Action, DEFAULT, IGNORE, Info};
use super::space::Map;
use super::stack::STACK_TOP;
use super::status::{ExitStatus, Signal};
use crate::arch::uaccess;

/// Flags of an action, with Linux's values.
mod flag {
    pub const SIGINFO: u64 = 4;
    pub const RESTORER: u64 = 0x0400_0000;
    pub const ONSTACK: u64 = 0x0800_0000;
    pub const RESTART: u64 = 0x1000_0000;
    pub const NODEFER: u64 = 0x4000_0000;
    pub const RESETHAND: u64 = 0x8000_0000;
}

/// Where handlers return to if the program does not say: above its stack. Linux has this in its vDSO.
const TRAMPOLINE: u64 = STACK_TOP + (1 << 20);
/// `mov x8, #139` (rt_sigreturn), `svc #0`.
const TRAMPOLINE_CODE: [u32; 2] = [0xD280_1168, 0xD400_0001];

/// Delivers every signal that waits and is not blocked.
pub fn pending(process: &mut Process) {
    let mut is_called = false;
    while !process.must_end() {
        let Some((info, action)) = next(process) else { break };
        if matches!(action.handler, DEFAULT | IGNORE) {
            report::signalled(process, info);
            process.end(ExitStatus::Killed(info.signal));
        } else if !call(process, action, info) {
            no_room(process, info.signal);
        }
        is_called = true;
    }
    if !is_called {
        // Another thread has taken the signal: the call is made again, as if nothing had been.
        make_again(process);
    }
    process.interrupted = None;
    process.signals().end_wait();
    process.handle.wake_taker();
}

/// Takes the next signal that is not ignored, with what the program wants done about it.
fn next(process: &Process) -> Option<(Info, Action)> {
    let mut signals = process.signals();
    loop {
        let info = signals.take()?;
        if !signals.is_ignored(info.signal) {
            return Some((info, signals.action(info.signal)));
        }
    }
}

/// Delivers the signal of a bug, if the program has a handler that may run. False if it has not: the bug ends the program.
#[must_use]
pub fn bug(process: &mut Process, info: Info) -> bool {
    let Some(action) = handler(process, info.signal) else { return false };
    let called = call(process, action, info);
    if !called && info.signal != Signal::SEGV {
        no_room(process, info.signal);
        return true;
    }
    called
}

/// The action of a signal that has a handler and is not blocked.
fn handler(process: &Process, signal: Signal) -> Option<Action> {
    let mut signals = process.signals();
    let action = signals.action(signal);
    let is_blocked = signals.blocked() & signal.bit() != 0;
    (!is_blocked && !matches!(action.handler, DEFAULT | IGNORE)).then_some(action)
}

/// A stack has no room for the frame of this signal's handler, which is a bug of its own: SIGSEGV. That one's handler may have another
/// stack.
fn no_room(process: &mut Process, signal: Signal) {
    log::info!("{}: the stack at {:#x} has no room for the handler of {signal}", process.label(), process.context.sp);
    if signal == Signal::SEGV || handler(process, Signal::SEGV).is_none() {
        process.end(ExitStatus::Killed(Signal::SEGV));
    } else {
        process.signals().raise(Info::from_kernel(Signal::SEGV));
    }
}

/// Makes the program go on in its handler. False if its stack has no room.
fn call(process: &mut Process, action: Action, info: Info) -> bool {
    finish_interrupted_call(process, action);
    let mut signals = process.signals();
    let (mask, stack) = (signals.after_handler(), signals.stack());
    drop(signals);
    let frame = Frame { registers: registers(process), mask, stack };
    let top = stack_for(process, action) & !15;
    let Some(bottom) = top.checked_sub((SIZE + RECORD) as u64) else { return false };
    if uaccess::copy_out(bottom, &signal_frame::build(&frame, info)).is_err() || !return_path(process, action) {
        return false;
    }
    let context = &mut process.context;
    context.x[0] = info.signal.0.into();
    if action.flags & flag::SIGINFO != 0 {
        context.x[1] = bottom;
        context.x[2] = bottom + CONTEXT as u64;
    }
    context.x[29] = bottom + SIZE as u64;
    context.x[30] = if action.flags & flag::RESTORER != 0 { action.restorer } else { TRAMPOLINE };
    context.sp = bottom;
    context.pc = action.handler;
    let itself = if action.flags & flag::NODEFER != 0 { 0 } else { info.signal.bit() };
    process.signals().set_blocked(frame.mask | action.mask | itself);
    process.signals().enter_stack();
    if action.flags & flag::RESETHAND != 0 {
        // It was accepted for this signal before, so it is again.
        let _ = process.signals().set_action(info.signal, Action { handler: DEFAULT, ..action });
    }
    true
}

/// Has the system call that the signal has interrupted made again after the handler, if that says so; it returns EINTR otherwise.
fn finish_interrupted_call(process: &mut Process, action: Action) {
    if action.flags & flag::RESTART != 0 {
        make_again(process);
    }
    process.interrupted = None;
}

/// Has the system call that a signal has interrupted made again.
fn make_again(process: &mut Process) {
    const INSTRUCTION: u64 = 4;
    if let Some(Interrupted { argument }) = process.interrupted.take() {
        process.context.x[0] = argument;
        process.context.pc -= INSTRUCTION;
    }
}

/// The top of the stack that the handler runs on.
fn stack_for(process: &Process, action: Action) -> u64 {
    let sp = process.context.sp;
    let other = process.signals().stack().top(sp).filter(|_| action.flags & flag::ONSTACK != 0);
    other.unwrap_or(sp)
}

/// Makes the trampoline the first time that it is needed.
fn return_path(process: &mut Process, action: Action) -> bool {
    const READ_WRITE: u64 = 3;
    const READ_EXECUTE: u64 = 5;
    const PAGE: u64 = 4096;
    if action.flags & flag::RESTORER != 0 {
        return true;
    }
    let map = Map { address: TRAMPOLINE, length: PAGE, protection: READ_WRITE, flags: Map::NEW_THERE };
    process.space.make_once(|space| {
        space.mmap(map).is_ok()
            && uaccess::copy_out(TRAMPOLINE, TRAMPOLINE_CODE.map(u32::to_le_bytes).as_flattened()).is_ok()
            && space.mprotect(TRAMPOLINE, PAGE, READ_EXECUTE).is_ok()
    })
}

/// Makes the program go on where a signal interrupted it (`rt_sigreturn`). False if its stack holds no frame of a signal.
#[must_use]
pub fn sigreturn(process: &mut Process) -> bool {
    let mut bytes = [0; SIZE];
    let aligned = process.context.sp % 16 == 0;
    if !aligned || uaccess::copy_in(&mut bytes, process.context.sp).is_err() {
        return false;
    }
    let Some(frame) = signal_frame::parse(&bytes) else { return false };
    set_registers(process, &frame.registers);
    process.signals().set_blocked(frame.mask);
    // As on Linux, one that could not be set, as the program may have written there, is none.
    let _ = process.signals().set_stack(frame.stack, process.context.sp);
    true
}

fn registers(process: &Process) -> Registers {
    let context = &process.context;
    let mut general = [0; 34];
    general[..31].copy_from_slice(&context.x);
    general[31..].copy_from_slice(&[context.sp, context.pc, context.pstate]);
    Registers { general, control: [context.fpsr as u32, context.fpcr as u32], vectors: context.v }
}

/// PSTATE is taken as it is: what of it is not a program's to choose is masked at the entry to EL0.
fn set_registers(process: &mut Process, registers: &Registers) {
    let context = &mut process.context;
    context.x.copy_from_slice(&registers.general[..31]);
    [context.sp, context.pc, context.pstate] = [registers.general[31], registers.general[32], registers.general[33]];
    [context.fpsr, context.fpcr] = registers.control.map(u64::from);
    context.v = registers.vectors;
}
