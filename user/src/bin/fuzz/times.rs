//! Waits, none of them without an end, and signals among threads.

use user::process::{self, bit, signal};
use user::sys::number;

use super::calls::{call, reap};
use super::child::Child;
use super::threads;

/// Waits for something, or for nothing.
pub fn wait(child: &mut Child) {
    let span = child.span();
    let span = span.as_ptr().addr() as u64;
    let _ = match child.random.below(9) {
        0 | 1 => call(number::SCHED_YIELD, [0; 6]),
        2 => call(number::NANOSLEEP, [span, 0, 0, 0, 0, 0]),
        3 => {
            let entries = [0; 3].map(|_: u64| child.file() | child.random.below(64) << 32);
            call(number::PPOLL, [entries.as_ptr().addr() as u64, child.random.below(4), span, 0, 0, 0])
        }
        4 => {
            let set = bit(signal::USR1) | bit(signal::CHLD);
            call(number::SIGTIMEDWAIT, [(&raw const set).addr() as u64, 0, span, 8, 0, 0])
        }
        5 => {
            let set = if child.random.once_in(2) { bit(signal::USR1) } else { 0 };
            process::set_blocked(set)
        }
        6 => {
            let to = threads::number(child.random.number());
            call(number::TGKILL, [process::own_number(), to, signal::USR1, 0, 0, 0])
        }
        _ => {
            reap();
            Ok(0)
        }
    };
}
