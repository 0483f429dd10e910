//! `verify-counts`: the kernel's counts against the plugin's, interval by interval and key by key.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::Result;
use serde_json::Value;

use crate::guest::Boot;
use crate::interrupt::Interrupt;
use crate::jobs::MAIN_JOB_LIMIT;
use crate::plugin::{self, Plugin};

/// A plugin slows the guest down.
const SLOWNESS: u32 = 3;

/// Columns that are always shown, also where nothing was counted. Others are added where something was.
const COLUMNS: [&str; 10] = [
    "tlbi_page",
    "tlbi_range",
    "tlbi_asid",
    "tlbi_all",
    "dsb_ishst",
    "dsb_ish",
    "isb",
    "entry_loads",
    "entry_stores",
    "entry_atomics",
];
/// How the keys begin that the plugin counts as well.
const COUNTED: [&str; 4] = ["tlbi_", "dsb_", "isb", "entry_"];

/// What the comparison found.
#[derive(Debug)]
pub struct Comparison {
    /// One row an interval, and the head.
    pub table: String,
    /// Intervals that agree in every key.
    pub passed: usize,
    /// Intervals that do not.
    differing: usize,
    /// A line for each key that differs, and for all else that is wrong.
    pub differences: Vec<String>,
}

impl Comparison {
    /// Whether all agrees.
    pub fn is_good(&self) -> bool {
        self.differences.is_empty()
    }

    /// How many intervals differ; what is wrong with the run itself counts as one more.
    pub fn failed(&self) -> usize {
        if self.differing == 0 { usize::from(!self.is_good()) } else { self.differing }
    }
}

/// Runs `boot` under the plugin and compares.
pub fn verify(mut boot: Boot, plugin: &Plugin, name: &str, interrupt: &Interrupt) -> Result<Comparison> {
    let (arguments, out) = plugin.arguments(name);
    boot.arguments.extend(arguments);
    boot.limit = boot.limit.or(Some(MAIN_JOB_LIMIT)).map(|limit| limit * SLOWNESS);
    let outcome = boot.run(interrupt)?;
    let kernel: Vec<Value> = outcome.log.of_kind("interval").cloned().collect();
    let mut comparison = compare(&kernel, &plugin::intervals(&out).unwrap_or_default());
    let judgement = outcome.judge();
    match judgement.complaint {
        Some(complaint) => comparison.differences.push(format!("the run itself: {complaint}")),
        None if judgement.status != 0 => {
            comparison.differences.push(format!("the run itself: exit status {}", judgement.status));
        }
        None => (),
    }
    Ok(comparison)
}

/// Compares interval by interval.
fn compare(kernel: &[Value], plugin: &[Value]) -> Comparison {
    let found: BTreeSet<&str> = kernel.iter().chain(plugin).flat_map(counted_keys).collect();
    let others = found.into_iter().filter(|key| !COLUMNS.contains(key));
    let keys: Vec<&str> = COLUMNS.iter().copied().chain(others).collect();
    let mut result = Comparison { table: head(&keys), passed: 0, differing: 0, differences: Vec::new() };
    if kernel.is_empty() {
        result.differences.push("the kernel recorded no interval".to_owned());
    }
    let unrecorded = plugin.iter().filter(|seen| kernel.iter().all(|said| said["index"] != seen["index"]));
    result.differences.extend(unrecorded.map(|seen| format!("the kernel recorded no interval {}", seen["index"])));
    for kernel in kernel {
        let index = &kernel["index"];
        let Some(plugin) = plugin.iter().find(|seen| seen["index"] == *index) else {
            result.differences.push(format!("the plugin saw no interval {index}"));
            continue;
        };
        let before = result.differences.len();
        let name = kernel["name"].as_str().unwrap_or_default();
        let mut row = format!("{:>5}  {name:<24}", index.to_string());
        for key in &keys {
            let (said, seen) = (count(kernel, key), count(plugin, key));
            let cell = if said == seen { said.to_string() } else { format!("{said}/{seen}!") };
            let _ = write!(row, " {cell:>width$}", width = key.len().max(8));
            if said != seen {
                result.differences.push(format!("interval {index} {name}: {key}: kernel {said}, plugin {seen}"));
            }
        }
        let agrees = result.differences.len() == before;
        result.passed += usize::from(agrees);
        result.differing += usize::from(!agrees);
        let _ = writeln!(result.table, "{row}  {}", if agrees { "agree" } else { "DIFFER" });
    }
    result
}

fn head(keys: &[&str]) -> String {
    let mut head = format!("{:>5}  {:<24}", "", "interval");
    for key in keys {
        let _ = write!(head, " {key:>width$}", width = key.len().max(8));
    }
    head + "\n"
}

/// The keys of a record that the plugin counts as well.
fn counted_keys(record: &Value) -> impl Iterator<Item = &str> {
    let keys = record.as_object().into_iter().flat_map(|fields| fields.keys());
    keys.map(String::as_str).filter(|key| COUNTED.iter().any(|start| key.starts_with(start)))
}

fn count(record: &Value, key: &str) -> u64 {
    record[key].as_u64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_is_zero_and_other_keys_do_not_matter() {
        let kernel = [json!({"kind": "interval", "index": 0, "name": "page", "tlbi_page": 3, "isb": 0, "pages": 9})];
        let plugin = [json!({"kind": "interval", "index": 0, "tlbi_page": 3})];
        let result = compare(&kernel, &plugin);
        assert!(result.is_good());
        assert_eq!(result.passed, 1);
        assert!(result.table.contains("agree"));
    }

    #[test]
    fn each_difference_is_named() {
        let kernel = [json!({"index": 0, "tlbi_page": 3, "dsb_ish": 1}), json!({"index": 1, "entry_stores": 7})];
        let plugin =
            [json!({"index": 0, "tlbi_page": 4, "dsb_ish": 1, "dsb_other": 2}), json!({"index": 1, "entry_stores": 8})];
        let result = compare(&kernel, &plugin);
        assert_eq!((result.passed, result.failed()), (0, 2));
        assert_eq!(result.differences.len(), 3);
        assert!(result.differences[0].contains("tlbi_page: kernel 3, plugin 4"));
        assert!(result.differences[1].contains("dsb_other: kernel 0, plugin 2"));
        assert!(result.differences[2].contains("entry_stores: kernel 7, plugin 8"));
    }

    #[test]
    fn nothing_to_compare_is_no_success() {
        assert!(!compare(&[], &[]).is_good());
        let interval = json!({"index": 0, "isb": 1});
        assert!(!compare(std::slice::from_ref(&interval), &[]).is_good());
        assert!(!compare(&[], &[interval]).is_good());
    }
}
