//! What the guest says over the log channel: machine-readable records, one a line behind a prefix, and kernel messages.
//!
//! A program at EL0 cannot write there, so a verdict found here is the kernel's.

use serde_json::Value;

/// What a record's line starts with.
const PREFIX: &str = "@unfold ";

/// Everything that came over the log channel.
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
    /// Takes one line; returns it if it is a message for people.
    pub fn take<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        let line = line.trim_end_matches(['\r', '\n']);
        match line.strip_prefix(PREFIX).map(serde_json::from_str::<Value>) {
            Some(Ok(record)) => {
                self.records.push(record);
                None
            }
            // A record that does not parse is shown: someone has to mend it.
            Some(Err(_)) | None => {
                self.messages.push(line.to_owned());
                Some(line)
            }
        }
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
