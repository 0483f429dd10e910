//! busybox for arm64 as Debian packages it, a static program of the wide world: fetched once into `target/`, without a change to what
//! the machine has installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;

const PACKAGE: &str = "busybox-static";

/// The program.
///
/// # Errors
/// If there is no `apt-get`, or it does not reach an archive that has the package.
pub fn get() -> Result<Vec<u8>> {
    let place = crate::root().join("target/busybox");
    let program = place.join("unpacked/bin/busybox");
    if !program.exists() {
        for tool in ["apt-get", "dpkg-deb"] {
            ensure!(command::find(tool).is_some(), "there is no {tool}");
        }
        fetch(&place)?;
    }
    fs::read(&program).with_context(|| format!("{} has no {}", PACKAGE, program.display()))
}

/// Lists and packages of another architecture go to places of their own.
fn fetch(place: &Path) -> Result<()> {
    let (lists, cache) = (place.join("lists"), place.join("cache"));
    for directory in [lists.join("partial"), cache.join("archives/partial")] {
        fs::create_dir_all(&directory)?;
    }
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.current_dir(place).args(["-q", "-o", "APT::Architecture=arm64", "-o", "APT::Sandbox::User="]);
        apt.arg("-o").arg(format!("Dir::State::Lists={}", lists.display()));
        apt.arg("-o").arg(format!("Dir::Cache={}", cache.display()));
        apt.args(["-o", "Debug::NoLocking=1"]).args(arguments);
        let output = apt.output().context("cannot start apt-get")?;
        ensure!(output.status.success(), "apt-get {}: {}", arguments.join(" "), tail(&output.stderr));
        Ok(())
    };
    apt(&["update"])?;
    apt(&["download", PACKAGE])?;
    let unpacked = place.join("unpacked");
    command::run(Command::new("dpkg-deb").arg("-x").arg(package(place)?).arg(&unpacked))
}

/// The package that was downloaded.
fn package(place: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(place)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut packages = files.filter(|file| file.extension().is_some_and(|extension| extension == "deb"));
    packages.next().with_context(|| format!("apt-get left no package in {}", place.display()))
}

fn tail(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.lines().last().unwrap_or_default().to_owned()
}
