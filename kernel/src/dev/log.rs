//! The kernel's messages: to the UART, or to the host so that the UART carries a program's output alone.
//!
//! `log::info!` and its kin are for messages; [`Urgent`] is for the last words of a kernel that can not trust its locks any more.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::pl011;
use crate::arch::cpu::SpinLock;
use crate::arch::{psci, semihosting};

/// The exit status of a kernel that has failed.
pub const PANIC_STATUS: u8 = 101;

/// Whether messages go to the host.
static TO_HOST: AtomicBool = AtomicBool::new(false);
/// How often the kernel has failed: a failure of the report itself must end too.
static DYING: AtomicU32 = AtomicU32::new(0);

/// Collects a line, so that each is one semihosting call and never broken by a record.
struct Line {
    bytes: [u8; 256],
    length: usize,
}

static LINE: SpinLock<Line> = SpinLock::new(Line::new());

impl Line {
    const fn new() -> Self {
        Self { bytes: [0; 256], length: 0 }
    }

    fn flush(&mut self) {
        emit(&self.bytes[..self.length]);
        self.length = 0;
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            self.bytes[self.length] = byte;
            self.length += 1;
            if byte == b'\n' || self.length == self.bytes.len() {
                self.flush();
            }
        }
        Ok(())
    }
}

fn emit(bytes: &[u8]) {
    if !TO_HOST.load(Ordering::Relaxed) || !semihosting::write(bytes) {
        uart(bytes);
    }
}

/// Before the UART's driver is set up there is only what boot has.
fn uart(bytes: &[u8]) {
    if pl011::is_ready() {
        pl011::write(bytes);
    } else if let Ok(text) = core::str::from_utf8(bytes) {
        let _ = boot::console::Early.write_str(text);
    }
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut line = LINE.lock();
        let _ = match record.level() {
            log::Level::Error => writeln!(line, "error: {}", record.args()),
            log::Level::Warn => writeln!(line, "warning: {}", record.args()),
            _ => writeln!(line, "{}", record.args()),
        };
        line.flush();
    }

    fn flush(&self) {}
}

/// Starts the log, on the UART.
pub fn init() {
    // The only logger; a second call could only come from a test.
    let _ = log::set_logger(&Logger);
    log::set_max_level(log::LevelFilter::Info);
}

/// From now on messages go to the host, where there is semihosting.
pub fn to_host() {
    TO_HOST.store(true, Ordering::Relaxed);
}

/// Writes without a lock, for reports of failure; and for what is longer than a message. What is not a whole line appears when it is
/// dropped.
pub struct Urgent(Line);

impl Urgent {
    /// With nothing to write yet.
    pub const fn new() -> Self {
        Self(Line::new())
    }
}

impl Default for Urgent {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Urgent {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(text)
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Marks that a report of failure begins. A failure inside it ends at once.
pub fn dying() {
    if DYING.fetch_add(1, Ordering::Relaxed) > 0 {
        emit(b"\nfailed again while reporting a failure\n");
        end(PANIC_STATUS)
    }
}

/// Ends the machine after a report of failure.
pub fn die() -> ! {
    super::record::write(format_args!(r#"{{"kind":"verdict","ok":false,"status":{PANIC_STATUS}}}"#));
    end(PANIC_STATUS)
}

/// Ends the machine with `status`, after the verdict: success is what the caller says it is.
pub fn finish(ok: bool, status: u8) -> ! {
    super::record::write(format_args!(r#"{{"kind":"verdict","ok":{ok},"status":{status}}}"#));
    end(status)
}

/// QEMU's exit status, or where there is no semihosting just off.
fn end(status: u8) -> ! {
    semihosting::exit(status);
    psci::off()
}
