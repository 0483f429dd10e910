//! The text of files about memory, in Linux's formats (reference 6.2), from plain values. Pure: where these come from is `live`'s.

pub mod area;
pub mod status;
pub mod system;

use alloc::string::String;
use core::fmt::Write;

/// Appends a line of `meminfo` and `smaps`: a name with its colon, and kilobytes that end in column 24.
fn kilobytes(out: &mut String, name: &str, value: u64) {
    let width = 24usize.saturating_sub(name.len());
    put(out, format_args!("{name}{value:>width$} kB\n"));
}

/// Appends formatted text. A `String` takes all of it.
fn put(out: &mut String, text: core::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}
