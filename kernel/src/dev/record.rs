//! Records for the host's tool: one line of JSON each, on the host channel, where no program can write.

use core::fmt::{self, Write};

use crate::arch::semihosting;

/// What each record starts with.
const PREFIX: &[u8] = b"@unfold ";

/// Longest record.
const LONGEST: usize = 4096;

struct Buffer {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        // The last byte is kept for the end of the line.
        let place = self.bytes[..LONGEST - 1].get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Writes a record: `arguments` is JSON without a line break. One that is too long is replaced by an error record, never cut.
pub fn write(arguments: fmt::Arguments<'_>) {
    let mut buffer = Buffer { bytes: [0; LONGEST], length: 0 };
    buffer.bytes[..PREFIX.len()].copy_from_slice(PREFIX);
    buffer.length = PREFIX.len();
    if buffer.write_fmt(arguments).is_err() {
        buffer.length = PREFIX.len();
        let _ = buffer.write_str(r#"{"kind":"error","message":"record too long"}"#);
    }
    buffer.bytes[buffer.length] = b'\n';
    semihosting::write(&buffer.bytes[..=buffer.length]);
}

/// A string as JSON: quoted, with what must be escaped escaped.
pub struct Json<'a>(pub &'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(out, "\\{character}")?,
                '\n' => out.write_str("\\n")?,
                control if control < ' ' => write!(out, "\\u{:04x}", control as u32)?,
                other => out.write_char(other)?,
            }
        }
        out.write_char('"')
    }
}
