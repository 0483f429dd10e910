//! Runs one program of the initrd to its end.

use alloc::string::String;
use alloc::vec::Vec;

use super::process::Process;
use super::status::ExitStatus;
use super::{deliver, fault, initrd, load, report};
use crate::arch::user::{self, Trap};

/// What to run.
#[derive(Clone, Copy)]
pub struct Launch<'a> {
    /// The archive that has the program.
    pub initrd: &'a [u8],
    /// Its path in the archive.
    pub name: &'a str,
    /// Its arguments, its own name the first.
    pub arguments: &'a [&'a str],
    /// Its environment.
    pub environment: &'a [&'a str],
    /// Does the system call that the program has just made.
    pub system_call: fn(&mut Process),
}

/// Runs a program to its end.
pub fn run(launch: &Launch<'_>) -> ExitStatus {
    let file = match initrd::find(launch.initrd, launch.name) {
        Ok(Some(file)) => file,
        Ok(None) => {
            log::error!("{}: there is no such program; the initrd has: {}", launch.name, names(launch.initrd));
            return ExitStatus::NotFound;
        }
        Err(damaged) => {
            log::error!("{}: {damaged}", launch.name);
            return ExitStatus::NotFound;
        }
    };
    match load::load(launch, file.data) {
        Ok(mut process) => {
            let status = run_to_end(&mut process, launch.system_call);
            report::missing(&process);
            status
        }
        Err(why) => {
            log::error!("{}: can not be run: {why}", launch.name);
            ExitStatus::NotExecutable
        }
    }
}

fn names(archive: &[u8]) -> String {
    let names: Vec<&str> = initrd::files(archive).map_while(Result::ok).map(|file| file.name).collect();
    names.join(" ")
}

fn run_to_end(process: &mut Process, system_call: fn(&mut Process)) -> ExitStatus {
    loop {
        let trap = user::enter(&mut process.context);
        if trap == Trap::Syscall {
            system_call(process);
        } else if let Err(bug) = fault::handle(process, trap) {
            let info = bug.info(process.context.pc);
            if !deliver::bug(process, info) {
                report::bug(process, &bug);
                return ExitStatus::Killed(bug.signal());
            }
        }
        deliver::pending(process);
        if let Some(status) = process.ended() {
            return status;
        }
    }
}
