//! From the first instruction to the program's `main`, and the end of a program that panics.

use crate::args::Args;
use crate::{eprintln, sys};

// At entry SP points at argc and is 16-aligned (the AAPCS64 asks for that at every call); nothing else is defined. The zeros in
// x29 and x30 end the chain of frame records.
core::arch::global_asm!(
    ".globl _start",
    ".type _start, %function",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "b {start}",
    ".size _start, . - _start",
    start = sym start,
);

unsafe extern "Rust" {
    /// Made by `program!`.
    safe fn program_main(args: &Args) -> u8;
}

/// Takes over from `_start` with the stack pointer that the kernel set up.
extern "C" fn start(stack: *const u64) -> ! {
    // SAFETY: `stack` is the stack pointer at entry, where the kernel has put argc, argv, envp and the auxiliary vector.
    let args = unsafe { Args::from_stack(stack) };
    sys::exit(program_main(&args))
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    eprintln!("{info}");
    sys::exit(101)
}
