//! Runs one program of the initrd to its end.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::process::Process;
use super::status::ExitStatus;
use super::{deliver, fault, initrd, load, report};
use crate::arch::user::{self, Trap};
use crate::swap_clock;

/// What to run.
#[derive(Clone, Copy)]
pub struct Launch<'a> {
    /// The archive that has the program.
    pub initrd: &'a [u8],
    /// Its path in the archive; what it may leave out is `bin/`.
    pub path: &'a str,
    /// Its arguments, without its own name.
    pub arguments: &'a [&'a str],
    /// Its environment.
    pub environment: &'a [&'a str],
    /// Does the system call that the program has just made.
    pub system_call: fn(&mut Process),
}

impl<'a> Launch<'a> {
    /// The program's name: the last part of its path.
    pub fn name(&self) -> &'a str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

/// Runs a program to its end.
pub fn run(launch: &Launch<'_>) -> ExitStatus {
    let file = match find(launch) {
        Ok(Some(file)) => file,
        Ok(None) => {
            log::error!("{}: there is no such program; there are: {}", launch.path, names(launch.initrd));
            return ExitStatus::NotFound;
        }
        Err(damaged) => {
            log::error!("{}: {damaged}", launch.path);
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
            log::error!("{}: can not be run: {why}", launch.name());
            ExitStatus::NotExecutable
        }
    }
}

fn find<'a>(launch: &Launch<'a>) -> Result<Option<initrd::File<'a>>, initrd::Damaged> {
    let file = initrd::find(launch.initrd, launch.path)?;
    if file.is_some() {
        return Ok(file);
    }
    initrd::find(launch.initrd, &format!("bin/{}", launch.path))
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
        swap_clock::poll();
        deliver::pending(process);
        if let Some(status) = process.ended() {
            return status;
        }
    }
}
