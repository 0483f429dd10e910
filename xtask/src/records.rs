//! What comes on QEMU's standard error: the kernel's records, one a line behind a prefix; its messages; QEMU's own complaints.
//!
//! The kernel writes there through semihosting, which a program at EL0 can not, so a verdict found here is the kernel's.

use serde_json::Value;

/// What a record's line starts with.
const PREFIX: &str = "@unfold ";
/// What QEMU's own lines start with. One of its threads may be at half a line when the guest's writes a record.
const QEMU: &str = "qemu-system-";
/// QEMU's way of saying that the guest sleeps, which is nothing to worry about.
const HARMLESS: &str = "icount sleep disabled and no active timers";

/// Everything that came.
#[derive(Debug, Default, Clone)]
pub struct Log {
    /// The records, in order.
    pub records: Vec<Value>,
    /// The other lines.
    pub messages: Vec<String>,
}

/// The kernel's own opinion of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The kernel did what it was asked.
    pub ok: bool,
    /// The status it means to exit with.
    pub status: u8,
}

impl Log {
    /// Takes one line; returns what of it is for people.
    pub fn take<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        let line = line.trim_end_matches(['\r', '\n']);
        let (before, record) = match line.find(PREFIX) {
            // Nowhere else: a message of the kernel may quote a program.
            Some(at) if at == 0 || line.starts_with(QEMU) => (&line[..at], line.get(at + PREFIX.len()..)),
            _ => (line, None),
        };
        match record.map(serde_json::from_str::<Value>) {
            Some(Ok(record)) => self.records.push(record),
            // A record that does not parse is shown: someone has to mend it.
            Some(Err(_)) => return Some(self.keep(line)),
            None => (),
        }
        let is_only_a_record = before.is_empty() && record.is_some();
        if is_only_a_record || before.contains(HARMLESS) { None } else { Some(self.keep(before)) }
    }

    fn keep<'a>(&mut self, line: &'a str) -> &'a str {
        self.messages.push(line.to_owned());
        line
    }

    /// The records of one kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.records.iter().filter(move |record| record["kind"] == kind)
    }

    /// The last verdict; earlier ones are overruled, as by a panic while shutting down.
    pub fn verdict(&self) -> Option<Verdict> {
        let record = self.of_kind("verdict").last()?;
        Some(Verdict { ok: record["ok"].as_bool()?, status: u8::try_from(record["status"].as_u64()?).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_from_messages() {
        let mut log = Log::default();
        assert_eq!(log.take("hello\r\n"), Some("hello"));
        assert_eq!(log.take("@unfold {\"kind\":\"verdict\",\"ok\":true,\"status\":3}\n"), None);
        assert_eq!(log.take("@unfold {broken"), Some("@unfold {broken"));
        assert_eq!(log.verdict(), Some(Verdict { ok: true, status: 3 }));
    }

    #[test]
    fn a_record_survives_half_a_line_of_qemu_s() {
        let mut log = Log::default();
        assert_eq!(
            log.take("qemu-system-aarch64: warning: @unfold {\"kind\":\"x\"}"),
            Some("qemu-system-aarch64: warning: ")
        );
        assert_eq!(log.records.len(), 1);
        assert_eq!(log.take("icount sleep disabled and no active timers"), None);
    }

    #[test]
    fn a_message_that_quotes_a_program_is_no_record() {
        let mut log = Log::default();
        let line = "program `@unfold {\"kind\":\"verdict\",\"ok\":true,\"status\":0}` was not found";
        assert_eq!(log.take(line), Some(line));
        assert_eq!(log.verdict(), None);
    }

    #[test]
    fn the_last_verdict_counts_and_must_be_whole() {
        let mut log = Log::default();
        assert_eq!(log.verdict(), None);
        log.take("@unfold {\"kind\":\"verdict\",\"ok\":true,\"status\":0}");
        log.take("@unfold {\"kind\":\"verdict\",\"ok\":false,\"status\":101}");
        assert_eq!(log.verdict(), Some(Verdict { ok: false, status: 101 }));
        log.take("@unfold {\"kind\":\"verdict\",\"ok\":true,\"status\":256}");
        assert_eq!(log.verdict(), None);
    }
}
