//! Getting a missing tool: as root on Debian and Ubuntu it is installed after saying so; elsewhere the command is named.

use std::process::{Command, Stdio};
use std::sync::Once;

use anyhow::{Result, bail};

use crate::command;

/// A tool that comes as a package, under different names in different releases.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    /// What it is for, in a message.
    pub what: &'static str,
    /// Debian's and Ubuntu's names for it, newest release's last; the first that exists is taken.
    pub packages: &'static [&'static str],
    /// The way to it elsewhere.
    pub elsewhere: &'static str,
}

/// QEMU for arm64.
pub const QEMU: Need = Need {
    what: "qemu-system-aarch64, 7.2 or newer",
    packages: &["qemu-system-arm"],
    elsewhere: "install QEMU's arm64 system emulator (Fedora: dnf install qemu-system-aarch64; macOS: brew install qemu)",
};

/// Rust itself, of the distribution.
pub const RUST: Need = Need {
    what: "rustc and cargo, 1.85 or newer",
    packages: &["rustc-web cargo-web", "rustc cargo"],
    elsewhere: "rustup target add aarch64-unknown-none-softfloat (rustup is at https://rustup.rs)",
};

/// The source of Rust's own libraries, from which `core` is built.
pub const RUST_SOURCE: Need = Need {
    what: "the source of Rust's core library",
    packages: &["rust-web-src", "rust-src"],
    elsewhere: "rustup target add aarch64-unknown-none-softfloat",
};

/// The distribution's lints, for its own compiler.
pub const CLIPPY: Need = Need {
    what: "clippy of the distribution's Rust",
    packages: &["rust-web-clippy", "rust-clippy"],
    elsewhere: "rustup component add clippy",
};

/// LLVM's linker.
pub const LINKER: Need =
    Need { what: "ld.lld", packages: &["lld-19", "lld"], elsewhere: "install LLVM's lld (Fedora: dnf install lld)" };

/// A C compiler, for the QEMU plugin.
pub const COMPILER: Need = Need {
    what: "a C compiler",
    packages: &["gcc libc6-dev"],
    elsewhere: "install gcc or clang (Fedora: dnf install gcc; macOS: xcode-select --install)",
};

/// Installs what `need` names, or fails with how to do it.
pub fn get(need: Need) -> Result<()> {
    if command::find("apt-get").is_none() {
        bail!("{} is missing: {}", need.what, need.elsewhere);
    }
    let is_root = command::output(Command::new("id").arg("-u")).as_deref() == Some("0");
    if is_root {
        refresh();
    }
    let names = need.packages.iter().find(|names| names.split(' ').all(exists)).unwrap_or(&need.packages[0]);
    if !is_root {
        bail!("{} is missing; type: sudo apt-get install {names}", need.what);
    }
    eprintln!("qemu-run: {} is missing; installing: apt-get install {names}", need.what);
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-q", "--no-install-recommends"]).args(names.split(' '));
    command::run(install.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()))
}

/// A fresh machine has no lists of packages yet.
fn refresh() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = command::output(Command::new("apt-get").args(["update", "-q"]));
    });
}

fn exists(package: &str) -> bool {
    let show = command::output(Command::new("apt-cache").args(["show", "--no-all-versions", package]));
    show.is_some_and(|text| !text.is_empty())
}
