//! On what figures depend: the CPU, QEMU and the compiler; and which switches are not as they are by default.

use alloc::format;
use alloc::string::String;

use mm::Memory;
use mm::policy::{KEYS, Policy};

use super::linux;
use crate::arch::{cpus, pmu};
use crate::command_line::Options;
use crate::dev::record::{self, Json};
use crate::machine::machine;

/// The compiler that this kernel was built with (`build.rs`).
const COMPILER: &str = env!("COMPILER");

/// Switches that measurements set themselves.
pub const SET_BY_RUNS: [&str; 4] = ["unmap", "thp", "thp_anon", "transparent_hugepage"];

/// The conditions of this run.
pub struct Conditions {
    qemu: String,
    cpu: &'static str,
    switches: String,
    counts_instructions: bool,
}

impl Conditions {
    /// Reads them.
    pub fn new(memory: &Memory, options: &Options) -> Self {
        Self {
            qemu: options.qemu.clone().unwrap_or_else(|| "of a version that was not told".into()),
            cpu: machine().features.cpu_name(),
            switches: changed_switches(memory),
            counts_instructions: pmu::instructions() != 0,
        }
    }

    /// QEMU's name of the CPU, if Linux was measured on it.
    pub fn cpu_of_linux(&self) -> &'static str {
        match self.cpu {
            "QEMU max" => "max",
            "Cortex-A72" => "cortex-a72",
            "Neoverse N1" => "neoverse-n1",
            other => other,
        }
    }

    /// One line for people, to stand below a table.
    pub fn line(&self) -> String {
        let icount = if self.counts_instructions {
            "-icount shift=0,sleep=off"
        } else {
            "no icount: instructions are not counted"
        };
        let checker = if cfg!(feature = "check") { "; the checker's own instructions are among them" } else { "" };
        let cpus = match cpus::count() {
            1 => "one CPU".into(),
            count => format!("{count} CPUs, of which one works"),
        };
        format!("QEMU {}, {}, {cpus}, {icount}{checker}; {COMPILER}{}", self.qemu, self.cpu, self.switches())
    }

    fn switches(&self) -> String {
        if self.switches.is_empty() { String::new() } else { format!("; {}", self.switches) }
    }

    /// The record of them.
    pub fn record(&self) {
        let (qemu, cpu, compiler, switches) = (Json(&self.qemu), Json(self.cpu), Json(COMPILER), Json(&self.switches));
        let icount = self.counts_instructions;
        record::write(format_args!(
            r#"{{"kind":"conditions","qemu":{qemu},"cpu":{cpu},"icount":{icount},"compiler":{compiler},"policy":{switches}}}"#
        ));
    }

    /// What Linux's figures depend on.
    pub const fn of_linux() -> &'static [&'static str] {
        &linux::CONDITIONS
    }
}

/// The switches that are not as by default, as words.
fn changed_switches(memory: &Memory) -> String {
    let usual = Policy::new();
    let mut words = String::new();
    for &(key, _) in KEYS.iter().filter(|(key, _)| !SET_BY_RUNS.contains(key)) {
        let (mut now, mut default) = (String::new(), String::new());
        // Writing to a String can not fail.
        let _ = memory.policy().show(key, &mut now);
        let _ = usual.show(key, &mut default);
        if now != default {
            words += &format!("{}{key}={now}", if words.is_empty() { "" } else { " " });
        }
    }
    words
}
