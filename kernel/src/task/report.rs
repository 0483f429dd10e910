//! What is said about a program that did not end well.

use alloc::string::String;
use core::fmt::Write;

use mmu::USER_END;

use super::fault::Bug;
use super::handle::Handle;
use super::process::{Process, label};
use super::run;
use super::signals::Info;

/// Reports a bug: what, where, the registers, and the way of the address through the tables.
pub fn bug(process: &Process, bug: &Bug) {
    let mut text = String::new();
    describe(&mut text, process, bug);
    // Lines go out one by one: a message has a limit.
    for line in text.lines() {
        log::info!("{line}");
    }
}

fn describe(out: &mut String, process: &Process, bug: &Bug) {
    let _ = write!(out, "{}: {}: {}", process.label(), bug.signal(), bug.what);
    if let Some((access, address)) = bug.access {
        let _ = write!(out, ": {access} at {address:#x}");
    }
    if let Some(instruction) = bug.instruction {
        let _ = write!(out, ": {instruction:#010x}");
    }
    let _ = writeln!(out);
    registers(out, process);
    if let Some((_, address)) = bug.access.filter(|(_, address)| *address < USER_END) {
        let _ = write!(out, "{}", process.space.walk(address));
    }
}

fn registers(out: &mut String, process: &Process) {
    let context = &process.context;
    let _ = writeln!(
        out,
        "  pc {:016x}  sp {:016x}  pstate {:08x}  tpidr {:016x}",
        context.pc, context.sp, context.pstate, context.tpidr
    );
    for (row, values) in context.x.chunks(4).enumerate() {
        let _ = write!(out, " ");
        for (column, value) in values.iter().enumerate() {
            let _ = write!(out, " x{:<2} {value:016x}", row * 4 + column);
        }
        let _ = writeln!(out);
    }
}

/// Reports a signal that was sent to the program, which did not handle it. The kernel's own need no words: it has said why.
pub fn signalled(process: &Process, info: Info) {
    const SI_KERNEL: i32 = 0x80;
    let (name, signal) = (process.label(), info.signal);
    if info.value == process.pid().into() {
        log::info!("{name}: ended by {signal}, which it sent to itself");
    } else if info.code != SI_KERNEL {
        log::info!("{name}: ended by {signal}, sent by process {}", info.value);
    }
}

/// Lists what the program asked for in vain.
pub fn missing(process: &Handle) {
    let mut text = String::new();
    let _ = write!(text, "{}", *process.missing());
    if !text.is_empty() {
        let label = label(run::name(&process.about().path), process.pid);
        log::info!("{label}: {}", text.trim_end());
    }
}
