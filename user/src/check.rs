//! The checks of a test program: each done in turn, with a line that says how it went.

use crate::process::{self, NOHANG};
use crate::sys::{Error, error};
use crate::{eprintln, println};

/// A check: whether all is as it should be. A call that fails says no.
pub type Check = fn() -> Result<bool, Error>;
/// Checks, each behind what holds if it passes.
pub type Checks<C = Check> = &'static [(&'static str, C)];

/// Does all checks, each by `run`, and prints a line for each: the exit status, 1 if one failed.
pub fn all<C: Copy + 'static>(groups: &[Checks<C>], run: impl Fn(C) -> Result<bool, Error>) -> u8 {
    let mut status = 0;
    for &(name, check) in groups.iter().copied().flatten() {
        match run(check) {
            Ok(true) => println!("ok     {name}"),
            outcome => {
                println!("FAILED {name}: {outcome:?}");
                status = 1;
            }
        }
    }
    status
}

/// Does a check and looks whether it has left a child behind, or a thread, which would fail the next one too.
pub fn alone(check: Check) -> Result<bool, Error> {
    let outcome = check();
    let is_alone = process::wait(-1, NOHANG) == Err(Error(error::ECHILD));
    if !is_alone {
        eprintln!("a child is left");
    }
    outcome.map(|is_right| is_right && is_alone)
}
