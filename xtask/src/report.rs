//! The counters for people, and everything for machines.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::records::Log;

/// On what a run's figures depend.
#[derive(Debug)]
pub struct Run<'a> {
    /// QEMU's version.
    pub qemu: &'a str,
    /// The emulated CPU.
    pub cpu: &'a str,
    /// The compiler's version.
    pub compiler: &'a str,
    /// The kernel's command line.
    pub command_line: &'a str,
    /// How it ended.
    pub status: u8,
}

/// Prints the `counters` records on standard error, since standard output is the program's.
pub fn print_counters(log: &Log) {
    let mut rows = Vec::new();
    for record in log.of_kind("counters") {
        flatten("", record, &mut rows);
    }
    if rows.is_empty() {
        eprintln!("qemu-run: the kernel gave no counters");
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in rows {
        eprintln!("{name:width$}  {value:>16}");
    }
}

/// The leaves of a record, nested names joined by dots.
fn flatten(prefix: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    let Value::Object(fields) = value else {
        let text = value.as_u64().map_or_else(|| value.to_string(), with_separators);
        rows.push((prefix.to_owned(), text));
        return;
    };
    for (key, value) in fields.iter().filter(|(key, _)| !(prefix.is_empty() && *key == "kind")) {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        flatten(&name, value, rows);
    }
}

/// 1234567 as `1,234,567`.
fn with_separators(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes the run and all its records.
pub fn write_json(file: &Path, run: &Run, log: &Log) -> Result<()> {
    let value = json!({
        "unfold": env!("CARGO_PKG_VERSION"),
        "qemu": run.qemu,
        "cpu": run.cpu,
        "compiler": run.compiler,
        "command_line": run.command_line,
        "status": run.status,
        "records": log.records,
    });
    let text = serde_json::to_string_pretty(&value)? + "\n";
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_shown_flat() {
        let record = json!({"kind": "counters", "tlbi": {"page": 1234567, "range": 0}, "cpu": "max"});
        let mut rows = Vec::new();
        flatten("", &record, &mut rows);
        let rows: Vec<_> = rows.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(rows, [("tlbi.page", "1,234,567"), ("tlbi.range", "0"), ("cpu", "\"max\"")]);
    }

    #[test]
    fn separators() {
        assert_eq!(with_separators(0), "0");
        assert_eq!(with_separators(999), "999");
        assert_eq!(with_separators(65536), "65,536");
    }
}
