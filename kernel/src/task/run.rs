//! Runs a program of the initrd, and the processes that it makes, to their ends.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::about::About;
use super::load::{self, Program};
use super::process::{Process, World};
use super::random::Random;
use super::status::ExitStatus;
use super::{deliver, fault, handle, initrd, reclaim, report, schedule, writeback};
use crate::arch::user::{self, Trap};

/// What to run.
#[derive(Clone, Copy)]
pub struct Launch<'a> {
    /// The programs that there are, and their system calls.
    pub world: World,
    /// Its path in the archive; what it may leave out is `bin/`.
    pub path: &'a str,
    /// Its arguments, without its own name.
    pub arguments: &'a [&'a str],
    /// Its environment.
    pub environment: &'a [&'a str],
}

impl<'a> Launch<'a> {
    /// The program's name: the last part of its path.
    pub fn name(&self) -> &'a str {
        name(self.path)
    }
}

/// The last part of a path.
pub(super) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Runs a program to its end, and those that it has started: they are killed when it ends.
pub fn run(launch: &Launch<'_>) -> ExitStatus {
    let file = match find(launch) {
        Ok(Some(file)) => file,
        Ok(None) => {
            log::error!("{}: there is no such program; there are: {}", launch.path, names(launch.world.initrd));
            return ExitStatus::NotFound;
        }
        Err(damaged) => {
            log::error!("{}: {damaged}", launch.path);
            return ExitStatus::NotFound;
        }
    };
    let started =
        writeback::start().and_then(|()| reclaim::start()).and_then(|()| load(launch, file.data)).and_then(start);
    if let Err(why) = &started {
        log::error!("{}: can not be run: {why}", launch.name());
        return ExitStatus::NotExecutable;
    }
    handle::outlive(super::family::FIRST)
}

fn find<'a>(launch: &Launch<'a>) -> Result<Option<initrd::File<'a>>, initrd::Damaged> {
    let file = initrd::find(launch.world.initrd, launch.path)?;
    if file.is_some() {
        return Ok(file);
    }
    initrd::find(launch.world.initrd, &format!("bin/{}", launch.path))
}

fn names(archive: &[u8]) -> String {
    let names: Vec<&str> = initrd::files(archive).map_while(Result::ok).map(|file| file.name).collect();
    names.join(" ")
}

/// Makes a process of the ELF file `file`.
fn load(launch: &Launch<'_>, file: &[u8]) -> Result<Process, String> {
    let mut random = Random::new();
    let path = format!("/{}", launch.path.trim_start_matches('/'));
    let arguments = core::iter::once(launch.name()).chain(launch.arguments.iter().copied());
    let arguments: Vec<&[u8]> = arguments.map(str::as_bytes).collect();
    let environment: Vec<&[u8]> = launch.environment.iter().map(|text| text.as_bytes()).collect();
    let program = Program {
        file,
        path: path.as_bytes(),
        arguments: &arguments,
        environment: &environment,
        random: random.sixteen(),
    };
    let (space, context) = load::load(&program).map_err(|why| format!("{why}"))?;
    Ok(Process::new(About::new(&path, &arguments), context, space, random, launch.world))
}

/// Has the first process run.
fn start(process: Process) -> Result<(), String> {
    let first = process.handle.clone();
    handle::family().found(|_| first.clone());
    let (label, space) = (process.label(), process.space.inner().clone());
    let task = schedule::spawn(&label, Some(space), Box::new(|| live(process)));
    // The task that has loaded it runs in no space of its own.
    schedule::set_space(None);
    match task {
        Ok(task) => first.add_task(first.pid, task),
        Err(schedule::TooMany) => {
            handle::family().forget(first.pid);
            return Err("the heap has no room for its kernel stack: give the machine more memory (--mem)".into());
        }
    }
    Ok(())
}

/// The life of a thread, in its own task; with the last one its process ends.
pub(super) fn live(mut process: Process) {
    run_to_end(&mut process);
    process.say_farewell();
    let (handle, thread) = (process.handle.clone(), process.thread());
    // Everything is given back before anybody hears of the end.
    schedule::set_space(None);
    drop(process);
    match handle.remove_thread(thread) {
        Some(status) => {
            report::missing(&handle);
            handle.give_back_memory();
            handle::end(&handle, status);
        }
        None => handle::family().forget_thread(thread),
    }
}

fn run_to_end(process: &mut Process) {
    let system_call = process.world.system_call;
    loop {
        deliver::pending(process);
        if process.must_end() {
            return;
        }
        match user::enter(&mut process.context) {
            Trap::Syscall => system_call(process),
            Trap::Interrupt => schedule::tick(),
            trap => {
                if let Err(bug) = fault::handle(process, trap) {
                    let info = bug.info(process.context.pc);
                    if !deliver::bug(process, info) {
                        report::bug(process, &bug);
                        process.end(ExitStatus::Killed(bug.signal()));
                    }
                }
            }
        }
        writeback::notice();
        reclaim::notice();
    }
}
