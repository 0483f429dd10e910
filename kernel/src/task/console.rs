//! What a program's standard streams are: the UART, byte for byte.

use alloc::sync::Arc;

use mm::Errno;

use super::file::{File, Kind, OpenFile, Stat, event, flags};
use crate::dev::pl011;

/// Standard input, output and error. The last two are one.
pub fn standard() -> [Arc<OpenFile>; 3] {
    let output = OpenFile::new(Output, PATH, flags::WRITE_ONLY);
    [OpenFile::new(Input, PATH, 0), output.clone(), output]
}

/// What the path of the UART would be on Linux.
pub const PATH: &str = "/dev/ttyS0";

/// What comes from the UART.
struct Input;

/// What goes to the UART.
struct Output;

/// The first serial port, as Linux numbers it.
const fn stat() -> Stat {
    Stat { kind: Kind::Character, permissions: 0o620, inode: 1, size: 0, device: (4, 64) }
}

impl File for Input {
    fn stat(&self) -> Stat {
        stat()
    }

    /// Reads what has come in. Does not wait: with nothing there, the input is at its end.
    fn read(&self, _: u64, into: &mut [u8]) -> Result<usize, Errno> {
        let mut count = 0;
        while count < into.len() {
            let Some(byte) = pl011::read() else { break };
            into[count] = byte;
            count += 1;
        }
        Ok(count)
    }

    fn poll(&self) -> u16 {
        event::IN
    }
}

impl File for Output {
    fn stat(&self) -> Stat {
        stat()
    }

    /// Writes bytes as they are, and all of them.
    fn write(&self, _: u64, bytes: &[u8]) -> Result<usize, Errno> {
        pl011::write(bytes);
        Ok(bytes.len())
    }

    fn poll(&self) -> u16 {
        event::OUT
    }
}
