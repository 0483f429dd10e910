//! Running other programs: where they are, what they print, how their failure is told.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The file that `name` would start, if it is anywhere on PATH.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| is_executable(file))
}

/// Whether `file` is a file that may be executed.
pub fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// What `command` prints on standard output, if it succeeds.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs `command` to its end; a failure is an error that quotes it.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", quote(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", quote(command));
    }
    Ok(())
}

/// The command as one would type it.
pub fn quote(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_string_lossy);
    shlex::try_join(words.map(|word| word.into_owned()).collect::<Vec<_>>().iter().map(String::as_str))
        .unwrap_or_else(|_| format!("{command:?}"))
}

/// Has the host's kernel end what `command` starts if this program is killed before it can.
#[cfg(target_os = "linux")]
pub fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let set = || Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?);
    // SAFETY: between fork and exec only a single system call is made, and nothing is allocated.
    unsafe { command.pre_exec(set) };
}

/// Only Linux can.
#[cfg(not(target_os = "linux"))]
pub fn die_with_parent(_: &mut Command) {}
