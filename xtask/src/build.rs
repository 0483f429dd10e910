//! Builds the kernel and the programs for EL0.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command;
use crate::image;
use crate::initrd::Program;
use crate::toolchain::Toolchain;

/// What a boot needs.
#[derive(Debug, Clone)]
pub struct Build {
    /// The kernel's ELF file, for a debugger.
    pub kernel: PathBuf,
    /// The kernel as QEMU loads it.
    pub image: Vec<u8>,
    /// The programs for EL0.
    pub programs: Vec<Program>,
}

/// Builds everything, the kernel with `features`.
pub fn build(toolchain: &Toolchain, features: &[&str]) -> Result<Build> {
    let mut executables = compile(toolchain, &["kernel", "user"], features)?;
    let kernel = executables.iter().position(|(name, _)| name == "kernel").context("the build made no kernel")?;
    let (_, kernel) = executables.remove(kernel);
    assemble(&kernel, executables)
}

/// Builds the programs for EL0; the kernel is given.
pub fn with_kernel(toolchain: &Toolchain, kernel: &Path) -> Result<Build> {
    assemble(kernel, compile(toolchain, &["user"], &[])?)
}

fn assemble(kernel: &Path, programs: Vec<(String, PathBuf)>) -> Result<Build> {
    let programs = programs.into_iter().map(|(name, file)| Ok(Program { name, data: read(&file)? }));
    let programs = programs.collect::<Result<_>>()?;
    Ok(Build { image: image::flatten(&read(kernel)?)?, kernel: kernel.to_owned(), programs })
}

/// Runs cargo; gives each executable's name and file.
fn compile(toolchain: &Toolchain, packages: &[&str], features: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let mut cargo = toolchain.cargo("build");
    cargo.args(["--release", "--message-format=json-render-diagnostics"]);
    if !features.is_empty() {
        // A directory of its own for each set, so that going from one to another builds nothing anew.
        let directory = crate::root().join("target").join(features.join("-"));
        cargo.arg("--target-dir").arg(directory);
        cargo.args(features.iter().map(|feature| format!("--features=kernel/{feature}")));
    }
    cargo.args(packages.iter().flat_map(|package| ["--package", package]));
    if !crate::is_verbose() {
        cargo.arg("--quiet");
    }
    run_for_executables(&mut cargo)
}

/// Runs a cargo that builds and tells of it as JSON; gives each executable's name and file.
pub fn run_for_executables(cargo: &mut Command) -> Result<Vec<(String, PathBuf)>> {
    // Only the messages for machines come on standard output; the others go to the terminal.
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {}", command::quote(cargo)))?;
    if !output.status.success() {
        bail!("the build failed: {}", command::quote(cargo));
    }
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

fn executables(messages: &str) -> Vec<(String, PathBuf)> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let artifacts = messages.filter(|message| message["reason"] == "compiler-artifact");
    artifacts
        .filter_map(|artifact| {
            let file = PathBuf::from(artifact["executable"].as_str()?);
            Some((artifact["target"]["name"].as_str()?.to_owned(), file))
        })
        .collect()
}

/// A file's bytes, or an error with its name.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executables_are_taken() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"mmu"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"hello"},"executable":"/t/hello"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
            "\n"
        );
        assert_eq!(executables(messages), [("hello".to_owned(), PathBuf::from("/t/hello"))]);
    }
}
