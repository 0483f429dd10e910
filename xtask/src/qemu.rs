//! The QEMU that is there: its version, what it can do, and the arguments that make our machine of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cli::Options;
use crate::command;
use crate::packages;

/// The oldest QEMU whose behaviour we know.
const OLDEST: (u32, u32) = (7, 2);

/// One installed QEMU.
#[derive(Debug, Clone)]
pub struct Qemu {
    program: PathBuf,
    /// Major and minor number.
    pub version: (u32, u32),
    /// The version as QEMU writes it.
    pub version_text: String,
    /// The machine's name and the properties that this version has.
    machine: String,
}

/// Files and words of one boot.
#[derive(Debug)]
pub struct BootFiles<'a> {
    /// The flat kernel Image.
    pub image: &'a Path,
    /// The cpio archive.
    pub initrd: &'a Path,
    /// The kernel's command line.
    pub command_line: &'a str,
}

impl Qemu {
    /// Finds QEMU, installing it if that is allowed. The variable QEMU may name another one.
    pub fn find() -> Result<Self> {
        let named = std::env::var_os("QEMU");
        let program = named.as_ref().map_or_else(|| PathBuf::from("qemu-system-aarch64"), PathBuf::from);
        let mut text = command::output(Command::new(&program).arg("--version"));
        if text.is_none() && named.is_none() {
            packages::get(packages::QEMU)?;
            text = command::output(Command::new(&program).arg("--version"));
        }
        let text = text.with_context(|| format!("{} does not run", program.display()))?;
        let line = text.lines().next().unwrap_or_default().to_owned();
        let version = version_in(&line).with_context(|| format!("no version in `{line}`"))?;
        if version < OLDEST {
            bail!("{} is {}.{}; needed is {}", program.display(), version.0, version.1, packages::QEMU.what);
        }
        let properties = command::output(Command::new(&program).args(["-M", "virt,help"])).unwrap_or_default();
        let mut machine = "virt,gic-version=3".to_owned();
        // The device tree's random seeds would make two runs differ.
        if properties.contains("dtb-randomness") {
            machine.push_str(",dtb-randomness=off");
        }
        Ok(Self { program, version, version_text: line, machine })
    }

    /// Whether this QEMU has the CPU; otherwise the error names those that it has.
    pub fn check_cpu(&self, cpu: &str) -> Result<(), String> {
        let help =
            command::output(Command::new(&self.program).args(["-M", "virt", "-cpu", "help"])).unwrap_or_default();
        let known: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  ")).map(str::trim).collect();
        // Features may follow: `max,lpa2=off`.
        let name = cpu.split(',').next().unwrap_or_default();
        if known.is_empty() || known.contains(&name) {
            return Ok(());
        }
        let offered: Vec<&str> = known.into_iter().filter(|name| is_64_bit(name)).collect();
        Err(format!("QEMU has no CPU `{cpu}`; it has {}", offered.join(", ")))
    }

    /// The version of the plugin interface to build for; none if this QEMU takes no plugins.
    ///
    /// Version 1 is QEMU 7.2's. 9.0 no longer takes it, and 9.1 brought version 3, with which an instruction's bytes are copied out.
    /// Newer ones take 3 as well.
    pub fn plugin_interface(&self) -> Option<u32> {
        let help = command::output(Command::new(&self.program).arg("-help"))?;
        help.contains("\n-plugin ").then_some(match self.version {
            (..9, _) => 1,
            (9, 0) => 2,
            _ => 3,
        })
    }

    /// QEMU with the arguments for our machine.
    pub fn command(&self, options: &Options, files: &BootFiles) -> Command {
        let mut command = Command::new(&self.program);
        let el2 = if options.el2 { ",virtualization=on" } else { "" };
        command.arg("-M").arg(format!("{}{el2}", self.machine));
        command.args(["-cpu", &options.cpu, "-m", &options.mem, "-smp", &options.smp.to_string()]);
        command.args(["-nic", "none", "-display", "none", "-monitor", "none", "-serial", "stdio"]);
        if options.counts_instructions() {
            command.args(["-icount", "shift=0,sleep=off"]);
        }
        // The kernel's channel to QEMU's standard error; programs at EL0 can not reach it.
        command.args(["-semihosting-config", "enable=on,target=native,userspace=off"]);
        command.arg("-kernel").arg(files.image).arg("-initrd").arg(files.initrd);
        command.args(["-append", files.command_line]);
        if options.gdb {
            command.args(["-S", "-gdb", &format!("tcp:127.0.0.1:{}", options.gdb_port)]);
        }
        let more = options.qemu.iter().flat_map(|words| shlex::split(words).unwrap_or_else(|| vec![words.clone()]));
        command.args(more);
        command
    }
}

/// Whether a CPU of QEMU's is a 64-bit one of the A profile: of those called Cortex-A, numbers above 32 are.
fn is_64_bit(name: &str) -> bool {
    let cortex = name.strip_prefix("cortex-a").map(|number| number.trim_end_matches(|c: char| !c.is_ascii_digit()));
    cortex.and_then(|number| number.parse().ok()).is_some_and(|number: u32| number > 32)
        || name == "max"
        || name == "a64fx"
        || name.starts_with("neoverse")
}

/// The numbers in `QEMU emulator version 7.2.22 (...)`.
fn version_in(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.split("version ").nth(1)?.split(['.', ' ']).map_while(|part| part.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_run_the_kernel_is_offered() {
        assert!(["max", "neoverse-v1", "cortex-a35", "cortex-a78ae", "cortex-a710"].into_iter().all(is_64_bit));
        assert!(!["cortex-a7", "cortex-a15", "cortex-m33", "pxa270", "arm926"].into_iter().any(is_64_bit));
    }

    #[test]
    fn versions() {
        assert_eq!(version_in("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"), Some((7, 2)));
        assert_eq!(version_in("QEMU emulator version 10.0.2"), Some((10, 0)));
        assert_eq!(version_in("QEMU emulator version 11.1"), Some((11, 1)));
        assert_eq!(version_in("something else"), None);
    }
}
