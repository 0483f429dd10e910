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

/// Prints the `counters` records, and what each interval cost, on standard error, since standard output is the program's.
pub fn print_counters(log: &Log) {
    let intervals: Vec<&Value> = log.of_kind("interval").collect();
    if !intervals.is_empty() {
        eprint!("{}", interval_table(&intervals));
    }
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

/// What an interval's row shows: a head, and how the keys begin whose sum it is.
const INTERVAL_COLUMNS: [(&str, &[&str]); 8] = [
    ("instructions", &["instructions"]),
    ("TLBI", &["tlbi_"]),
    ("DSB", &["dsb_"]),
    ("entry writes", &["entry_stores", "entry_atomics"]),
    ("unfolds", &["unfolds"]),
    ("folds", &["folds"]),
    ("faults", &["faults_"]),
    ("pages out", &["pages_swapped_out"]),
];

/// A row for each interval, in their order.
fn interval_table(intervals: &[&Value]) -> String {
    let width = 8 + intervals.iter().filter_map(|interval| interval["name"].as_str()).map(str::len).max().unwrap_or(0);
    let heads = INTERVAL_COLUMNS.iter().map(|(head, _)| format!("{head:>13}"));
    let mut text = format!("{:width$}{}\n", "interval", heads.collect::<String>());
    for interval in intervals {
        let cells = INTERVAL_COLUMNS.iter().map(|(_, keys)| format!("{:>13}", with_separators(sum(interval, keys))));
        let name = interval["name"].as_str().unwrap_or_default();
        text += &format!("{name:width$}{}\n", cells.collect::<String>());
    }
    text + "\n"
}

/// The sum of a record's numbers whose keys are one of `keys`, or begin with one that ends in an underscore.
fn sum(record: &Value, keys: &[&str]) -> u64 {
    let counts = |name: &str| keys.iter().any(|key| name == *key || key.ends_with('_') && name.starts_with(key));
    let fields = record.as_object().into_iter().flatten().filter(|(name, _)| counts(name));
    fields.filter_map(|(_, value)| value.as_u64()).sum()
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
    fn an_interval_is_a_row() {
        let first = json!({
            "kind": "interval", "index": 0, "name": "run: fork", "instructions": 1234,
            "tlbi_page": 2, "tlbi_asid": 1, "folds": 7, "unfolds": 0,
        });
        let table = interval_table(&[&first]);
        let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["run:", "fork", "1,234", "3", "0", "0", "0", "7", "0", "0"]);
    }

    #[test]
    fn separators() {
        assert_eq!(with_separators(0), "0");
        assert_eq!(with_separators(999), "999");
        assert_eq!(with_separators(65536), "65,536");
    }
}
