//! `scenarios`: plays the sequences of events in `mmu/scenarios/rules` on the host. They need neither QEMU nor a kernel.

use std::process::Command;

use anyhow::{Context, Result};

use crate::toolchain;

/// Hands the words of the command line on. Returns the exit status.
pub fn run(arguments: &[String]) -> Result<u8> {
    let mut cargo = Command::new(toolchain::cargo_here());
    cargo.args(["run", "--quiet", "--package", "scenarios", "--"]).args(arguments).current_dir(crate::root());
    let status = cargo.status().context("cannot start cargo to play scenarios")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
