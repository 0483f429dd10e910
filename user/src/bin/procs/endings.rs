//! What ends the whole run in some way, and what other checks run as another program.

use user::println;
use user::process::{self, spawn, wait_for};
use user::sys::{self, Error, error, number};

/// Does what `word` says.
pub fn run(word: &str, argument: Option<&str>) -> u8 {
    match word {
        "expect-closed" => expect_closed(argument.and_then(|text| text.parse().ok()).unwrap_or(0)),
        "leave" => leave(),
        "deadlock" => deadlock(),
        "bomb" => endless(),
        _ => {
            println!("usage: procs [leave | deadlock | bomb]");
            2
        }
    }
}

/// The descriptor is not open: it was not for this program.
fn expect_closed(descriptor: u64) -> u8 {
    // SAFETY: the call touches no memory. F_GETFD is 1.
    let flags = unsafe { sys::call(number::FCNTL, [descriptor, 1, 0, 0, 0, 0]) };
    u8::from(flags != Err(Error(error::EBADF)))
}

/// Ends with children that never would: they go with it.
fn leave() -> u8 {
    let started = [
        spawn(|| {
            loop {
                core::hint::spin_loop();
            }
        }),
        spawn(|| process::sleep(1 << 60).map_or(1, |_| 0)),
    ];
    let _ = process::sleep(30_000_000);
    if started.iter().all(Result::is_ok) { 5 } else { 1 }
}

/// Two processes that wait for each other: nothing will ever happen.
fn deadlock() -> u8 {
    let Ok([read, _write]) = process::pipe(0) else { return 1 };
    let child = spawn(|| process::read(read, &mut [0]).map_or(1, |_| 0));
    child.and_then(wait_for).map_or(1, |_| 0)
}

/// Makes processes that make processes, and ends while they do.
fn endless() -> u8 {
    for _ in 0..3 {
        let child = spawn(|| {
            loop {
                if process::fork().is_err() {
                    let _ = process::sleep(1_000_000);
                }
            }
        });
        if child.is_err() {
            return 1;
        }
    }
    let _ = process::sleep(300_000_000);
    6
}
