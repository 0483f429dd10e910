//! Tests that need no guest: cargo's own, the format, clippy for host and target.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

use super::Tally;
use crate::command;
use crate::packages;
use crate::toolchain::{self, Toolchain};

/// Runs them all.
pub fn run(toolchain: &Toolchain, tally: &Tally) {
    if tally.wants("host: cargo test") {
        cargo_test(tally);
    }
    tally.run("host: the list of known defects", || {
        // Built with them the crate has more tests; what the defects do is for `mutants`.
        succeeds(here(&["test", "--quiet", "--package", "mmu", "--features", "mutants", "--lib", "mutant"])?)
    });
    if here(&["fmt", "--version"]).is_ok_and(|output| output.status.success()) {
        tally.run("host: cargo fmt --check", || succeeds(here(&["fmt", "--all", "--check"])?));
    } else {
        println!("skip  host: cargo fmt --check: rustfmt is not installed");
    }
    if here(&["clippy", "--version"]).is_ok_and(|output| output.status.success()) {
        let arguments = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
        tally.run("host: clippy", || succeeds(here(&arguments)?));
    } else {
        println!("skip  host: clippy is not installed");
    }
    if tally.wants("host: clippy for the target") && toolchain.is_distribution() && !toolchain.has("clippy") {
        // Without it the test is skipped below.
        let _ = packages::get(packages::CLIPPY);
    }
    if toolchain.has("clippy") {
        tally.run("host: clippy for the target", || clippy_for_the_target(toolchain, &[]));
        // What is left out of the usual kernel, and what is left out of a checked one.
        tally.run("host: clippy for the target, checker and defects", || {
            clippy_for_the_target(toolchain, &["--features", "kernel/check,kernel/mutants"])
        });
    } else {
        println!("skip  host: clippy for the target: it is not installed");
    }
}

fn clippy_for_the_target(toolchain: &Toolchain, features: &[&str]) -> Result<()> {
    let mut clippy = toolchain.cargo("clippy");
    clippy.args(["--quiet", "--release", "--package", "kernel", "--package", "user"]).args(features);
    clippy.args(["--", "--deny", "warnings"]);
    succeeds(output(&mut clippy)?)
}

fn here(arguments: &[&str]) -> Result<Output> {
    output(Command::new(toolchain::cargo_here()).args(arguments).current_dir(crate::root()))
}

fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", command::quote(command)))
}

fn succeeds(output: Output) -> Result<()> {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}", text.trim());
    Ok(())
}

/// Runs the tests of all crates; each of them counts.
fn cargo_test(tally: &Tally) {
    const NAME: &str = "host: cargo test --workspace";
    let output = match here(&["test", "--workspace", "--no-fail-fast"]) {
        Ok(output) => output,
        Err(error) => return tally.failed(NAME, &format!("{error:#}")),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let (passed, failed) = results(&text);
    tally.passed_many(NAME, passed);
    for name in &failed {
        tally.failed(&format!("host: {name}"), &message_of(name, &text));
    }
    if !output.status.success() && failed.is_empty() {
        // Nothing failed by name, so something did not build, or a test process died.
        let errors = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<_> = errors.lines().rev().take(60).collect();
        tally.failed(NAME, &tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
}

/// How many tests passed, and the names of those that failed.
fn results(text: &str) -> (usize, Vec<String>) {
    let tests = text.lines().filter_map(|line| line.strip_prefix("test ")?.rsplit_once(" ... "));
    let mut passed = 0;
    let mut failed = Vec::new();
    for (name, result) in tests {
        match result {
            "ok" => passed += 1,
            "FAILED" => failed.push(name.to_owned()),
            _ => (),
        }
    }
    (passed, failed)
}

/// What a failed test printed.
fn message_of(name: &str, text: &str) -> String {
    let head = format!("---- {} stdout ----", name.split(" - should panic").next().unwrap_or(name));
    let lines = text.lines().skip_while(|line| *line != head).skip(1);
    lines.take_while(|line| !line.starts_with("---- ") && *line != "failures:").collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "running 3 tests\ntest a::b ... ok\ntest src/lib.rs - X (line 3) - compile fail ... ok\n\
        test c ... FAILED\ntest d ... ignored\n\nfailures:\n\n---- c stdout ----\nbecause\nof this\n\nfailures:\n    c\n";

    #[test]
    fn the_test_harness_s_lines_are_read() {
        assert_eq!(results(TEXT), (2, vec!["c".to_owned()]));
        assert_eq!(message_of("c", TEXT).trim(), "because\nof this");
    }
}
