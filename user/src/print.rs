//! Printing to standard output and standard error, one `write` for a whole message where it fits the buffer.

use core::fmt::{self, Write};

use crate::sys;

/// Standard output's descriptor.
pub const OUT: i32 = 1;
/// Standard error's descriptor.
pub const ERROR: i32 = 2;

/// Gathers the pieces of one message, so that it goes out in few system calls.
struct Buffer {
    descriptor: i32,
    used: usize,
    bytes: [u8; 512],
}

impl Buffer {
    fn flush(&mut self) {
        let mut rest = &self.bytes[..self.used];
        while !rest.is_empty() {
            match sys::write(self.descriptor, rest) {
                Ok(0) | Err(_) => break,
                Ok(count) => rest = &rest[count..],
            }
        }
        self.used = 0;
    }
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.used == self.bytes.len() {
                self.flush();
            }
            self.bytes[self.used] = byte;
            self.used += 1;
        }
        Ok(())
    }
}

/// Writes a message to `descriptor`; used by `println!` and `eprintln!`.
pub fn print(descriptor: i32, message: fmt::Arguments) {
    let mut buffer = Buffer { descriptor, used: 0, bytes: [0; 512] };
    // Nothing can be done about a program's output that can not be written.
    let _ = buffer.write_fmt(message);
    buffer.flush();
}

/// Prints a line on standard output.
#[macro_export]
macro_rules! println {
    ($($part:tt)*) => { $crate::print::print($crate::print::OUT, format_args!("{}\n", format_args!($($part)*))) };
}

/// Prints a line on standard error.
#[macro_export]
macro_rules! eprintln {
    ($($part:tt)*) => { $crate::print::print($crate::print::ERROR, format_args!("{}\n", format_args!($($part)*))) };
}
