//! What a descriptor can stand for: the UART, or an end of a pipe. There is no file tree yet.

use alloc::sync::Arc;

use super::pipe::{Reader, Writer};

/// What a descriptor stands for. Copies of it share what they stand for, with its flags.
#[derive(Clone)]
pub enum Stream {
    /// What comes from the UART.
    Input,
    /// What goes to the UART.
    Output,
    /// The end of a pipe that is read.
    Reader(Arc<Reader>),
    /// The end of a pipe that is written.
    Writer(Arc<Writer>),
}

/// Standard input, output and error.
pub const STANDARD: [Stream; 3] = [Stream::Input, Stream::Output, Stream::Output];
