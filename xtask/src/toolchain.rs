//! Which Rust builds the kernel and its programs: one that has the bare-metal target, or one that builds `core` from source.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::command;
use crate::packages::{self, Need};

/// What kernel and programs are built for: the kernel must not touch floating-point registers.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";
/// The oldest Rust that builds them, `rust-version` in Cargo.toml.
const OLDEST: (u32, u32) = (1, 85);
/// The libraries built from source where the target is not installed.
const BUILD_STD: &str = "-Zbuild-std=core,alloc,compiler_builtins";

/// A way to call cargo for the bare-metal target.
#[derive(Debug, Clone)]
pub struct Toolchain {
    cargo: PathBuf,
    /// For the environment of cargo.
    environment: Vec<(String, String)>,
    /// Put behind cargo's subcommand.
    arguments: Vec<String>,
    /// rustc's version, which every table of figures repeats.
    pub version: String,
    /// What it is, for people.
    pub description: String,
}

impl Toolchain {
    /// Finds one, installing what is missing if that is allowed.
    pub fn find() -> Result<Self> {
        if let Some(found) = Self::with_target().or_else(Self::from_source) {
            return Ok(found);
        }
        if Self::ask_rustup() {
            if let Some(found) = Self::with_target() {
                return Ok(found);
            }
        }
        for need in Self::missing() {
            packages::get(need)?;
        }
        match Self::from_source() {
            Some(found) => Ok(found),
            None => bail!("no Rust for {TARGET} found; type: rustup target add {TARGET}"),
        }
    }

    /// `cargo SUBCOMMAND --target ...`, ready for more arguments.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.cargo);
        command.args([subcommand, "--target", TARGET]).args(&self.arguments).current_dir(crate::root());
        // Set by the cargo that runs this program, for that cargo's own toolchain.
        for variable in ["RUSTC", "RUSTDOC", "CARGO", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS"] {
            command.env_remove(variable);
        }
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Whether this toolchain has a subcommand such as clippy. The distribution's cargo would run another toolchain's, if that is on
    /// PATH, so its own must lie beside it.
    pub fn has(&self, subcommand: &str) -> bool {
        if self.is_distribution() && !command::is_executable(&self.cargo.with_file_name(format!("cargo-{subcommand}")))
        {
            return false;
        }
        let mut command = Command::new(&self.cargo);
        command.args([subcommand, "--version"]).envs(self.environment.iter().map(|(key, value)| (key, value)));
        command::output(&mut command).is_some()
    }

    /// Whether it came as the distribution's packages.
    pub fn is_distribution(&self) -> bool {
        !self.arguments.is_empty()
    }

    /// The rustc on PATH, if the target is installed for it.
    fn with_target() -> Option<Self> {
        let libraries = command::output(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))?;
        let has_core = std::fs::read_dir(libraries).ok()?.flatten().any(|file| {
            let name = file.file_name();
            name.to_string_lossy().starts_with("libcore-")
        });
        let version = version_of(Path::new("rustc"))?;
        has_core.then(|| Self {
            cargo: cargo_here(),
            environment: Vec::new(),
            arguments: Vec::new(),
            description: format!("{version}, target installed"),
            version,
        })
    }

    /// The distribution's rustc, if it comes with the source of its libraries and there is a linker.
    fn from_source() -> Option<Self> {
        let rustc = Path::new("/usr/bin/rustc");
        let version = version_of(rustc).filter(|version| is_new_enough(version))?;
        let sysroot = command::output(Command::new(rustc).args(["--print", "sysroot"]))?;
        let has_source = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/Cargo.toml").exists();
        let linker = linker()?;
        if !has_source || !command::is_executable(Path::new("/usr/bin/cargo")) {
            return None;
        }
        // cargo takes the first rustc on PATH, which may be rustup's.
        let path = format!("/usr/bin:{}", std::env::var("PATH").unwrap_or_default());
        let linker_variable = format!("CARGO_TARGET_{}_LINKER", TARGET.to_uppercase().replace('-', "_"));
        Some(Self {
            cargo: PathBuf::from("/usr/bin/cargo"),
            environment: vec![
                ("PATH".to_owned(), path),
                // The distribution's compiler is a release one, which knows -Z options only when told so.
                ("RUSTC_BOOTSTRAP".to_owned(), "1".to_owned()),
                (linker_variable, linker.to_string_lossy().into_owned()),
            ],
            arguments: vec![BUILD_STD.to_owned()],
            description: format!("{version} of the distribution, core built from source"),
            version,
        })
    }

    /// Has rustup fetch the target, unless it was told to fetch nothing by itself.
    fn ask_rustup() -> bool {
        if command::find("rustup").is_none() || std::env::var("RUSTUP_AUTO_INSTALL").as_deref() == Ok("0") {
            return false;
        }
        eprintln!("qemu-run: the target {TARGET} is missing; asking for it: rustup target add {TARGET}");
        command::run(Command::new("rustup").args(["target", "add", TARGET])).is_ok()
    }

    fn missing() -> Vec<Need> {
        let rustc = Path::new("/usr/bin/rustc");
        let mut needs = Vec::new();
        if !version_of(rustc).is_some_and(|version| is_new_enough(&version)) {
            needs.push(packages::RUST);
        }
        needs.push(packages::RUST_SOURCE);
        if linker().is_none() {
            needs.push(packages::LINKER);
        }
        needs
    }
}

/// The cargo that started this program, so that both use one toolchain.
pub fn cargo_here() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

fn linker() -> Option<PathBuf> {
    let versions = (14..=30).rev().map(|version| format!("ld.lld-{version}"));
    std::iter::once("ld.lld".to_owned()).chain(versions).find_map(|name| command::find(&name))
}

fn version_of(rustc: &Path) -> Option<String> {
    command::output(Command::new(rustc).arg("--version"))
}

/// Whether a line like `rustc 1.85.0 (...)` names a version from [`OLDEST`] on.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split(' ').nth(1).unwrap_or_default().split('.').map(|part| part.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(Some(major)), Some(Some(minor))) if (major, minor) >= OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_new_enough("rustc 1.85.0 (4d91de4e4 2025-02-17)"));
        assert!(is_new_enough("rustc 1.100.0-nightly (x)"));
        assert!(is_new_enough("rustc 2.0.1"));
        assert!(!is_new_enough("rustc 1.63.0"));
        assert!(!is_new_enough("rustc"));
    }
}
