//! The small runtime of the programs in `src/bin`: the first instruction, arguments, system calls, printing.
//!
//! The programs are ordinary static arm64 Linux programs: they run under Linux as they run here. They are built for the
//! soft-float target, so no compiled code of theirs touches a floating-point register; `abi` does, in assembly, on purpose.
//!
//! On the host only what is pure is compiled (`numbers`, `pattern`, `random`), with its tests.

#![cfg_attr(target_os = "none", no_std)]
pub mod numbers;
pub mod pattern;
pub mod random;

#[cfg(target_os = "none")]
pub mod args;
#[cfg(target_os = "none")]
pub mod check;
#[cfg(target_os = "none")]
pub mod filled;
#[cfg(target_os = "none")]
pub mod futex;
#[cfg(target_os = "none")]
pub mod memory_file;
#[cfg(target_os = "none")]
pub mod print;
#[cfg(target_os = "none")]
pub mod process;
#[cfg(target_os = "none")]
pub mod sigbus;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
pub mod sys;
#[cfg(target_os = "none")]
pub mod thread;
#[cfg(target_os = "none")]
pub mod told;

/// Makes `$main: fn(&user::args::Args) -> u8` the program; its result is the exit status.
///
/// On the host, where the programs are built only to be looked at by tools, there is an empty `main` instead.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        #[cfg(target_os = "none")]
        #[unsafe(no_mangle)]
        fn program_main(args: &$crate::args::Args) -> u8 {
            $main(args)
        }

        #[cfg(not(target_os = "none"))]
        fn main() {}
    };
}
