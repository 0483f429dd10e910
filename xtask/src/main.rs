//! The host's side of unfold: builds the kernel and its programs, boots them in QEMU, runs tests, collects results.
//!
//! `qemu-run.sh` starts this program; `cargo run` does too. A room a concept: [`cli`] reads the command line, [`toolchain`] and
//! [`qemu`] find the tools ([`packages`] gets them), [`build`], [`image`] and [`initrd`] make what QEMU loads, [`guest`] runs it and
//! [`records`] reads what the kernel says; [`jobs`] and [`report`] are the verbs for people, [`plugin`] and [`verify`]
//! count a second time, [`scenarios`] plays sequences of events, right and wrong ones, [`tests`] runs every test, [`mutants`] tests the
//! tests, [`soak`] goes on for hours.

mod build;
mod busybox;
mod cli;
mod command;
mod guest;
mod image;
mod initrd;
mod interrupt;
mod jobs;
mod mutants;
mod packages;
mod plugin;
mod qemu;
mod records;
mod report;
mod scenarios;
mod soak;
mod tests;
mod toolchain;
mod verify;

use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::Result;

use crate::cli::{Cli, Verb};
use crate::interrupt::Interrupt;
use crate::jobs::Bench;
use crate::qemu::Qemu;
use crate::toolchain::Toolchain;

/// Exit status of a wrong command line, as clap has it.
const BAD_USAGE: u8 = 2;

static VERBOSE: OnceLock<bool> = OnceLock::new();

/// Whether `--verbose` was given.
pub(crate) fn is_verbose() -> bool {
    VERBOSE.get().copied().unwrap_or(false)
}

/// The top of the source tree.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn main() -> ExitCode {
    if let Some(directory) = std::env::var_os("UNFOLD_DIRECTORY") {
        // Where the person stands; qemu-run.sh had to leave it. If it is gone, names of files will be told as missing.
        let _ = std::env::set_current_dir(directory);
    }
    let cli = cli::parse();
    let _ = VERBOSE.set(cli.options.verbose);
    match work(&cli) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("qemu-run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work(cli: &Cli) -> Result<u8> {
    // These need no guest, so neither QEMU nor a kernel is looked for.
    if let Some(Verb::Scenarios { arguments }) = &cli.verb {
        return scenarios::run(arguments);
    }
    let qemu = Qemu::find()?;
    if let Err(message) = qemu.check_cpu(&cli.options.cpu) {
        eprintln!("qemu-run: {message}");
        return Ok(BAD_USAGE);
    }
    let toolchain = Toolchain::find()?;
    if is_verbose() {
        eprintln!("qemu-run: {}; {}", toolchain.description, qemu.version_text);
    }
    // These build kernels of their own.
    if let Some(Verb::Mutants { filter }) = &cli.verb {
        return mutants::run(&cli.options, &qemu, &toolchain, &Interrupt::catch()?, filter.as_deref());
    }
    if let Some(Verb::Soak { hours }) = cli.verb {
        return soak::run(&cli.options, &qemu, &toolchain, &Interrupt::catch()?, hours);
    }
    let build = match &cli.verb {
        Some(Verb::Boot { kernel }) => build::with_kernel(&toolchain, kernel),
        _ => build::build(&toolchain, if cli.options.check { &["check"] } else { &[] }),
    };
    let interrupt = Interrupt::catch()?;
    let build = match (build, &cli.verb) {
        (Ok(build), _) => build,
        (Err(error), Some(Verb::Test { filter })) => {
            return Ok(tests::run_without_guest(&error, &toolchain, &interrupt, filter.as_deref()));
        }
        (Err(error), _) => return Err(error),
    };
    let bench = Bench {
        options: &cli.options,
        qemu: &qemu,
        build: &build,
        compiler: &toolchain.version,
        interrupt: &interrupt,
    };
    match &cli.verb {
        None | Some(Verb::Boot { .. }) => bench.table("table"),
        Some(Verb::Steps) => bench.table("steps"),
        Some(Verb::Shared) => bench.table("shared"),
        Some(Verb::Run { command }) => bench.run(command),
        Some(Verb::Test { filter }) => tests::run(&bench, &toolchain, filter.as_deref()),
        Some(Verb::VerifyCounts) => bench.verify_counts(),
        Some(Verb::Scenarios { .. } | Verb::Mutants { .. } | Verb::Soak { .. }) => unreachable!("done above"),
    }
}
