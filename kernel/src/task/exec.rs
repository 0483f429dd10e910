//! Replaces a process's program by another one. Its other threads end first; the one that asks is the first thread then.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mm::Errno;

use super::about::About;
use super::files::Open;
use super::load::{self, Program};
use super::process::Process;
use super::{handle, initrd};

/// What to run instead: copied out of the old program's memory, which is gone before the new one runs.
#[derive(Debug)]
pub struct Exec<'a> {
    /// The path in the archive.
    pub path: &'a str,
    /// The arguments, its name the first.
    pub arguments: &'a [Vec<u8>],
    /// The environment.
    pub environment: &'a [Vec<u8>],
}

/// Runs another program in the process. Until it is loaded, nothing has changed.
///
/// # Errors
/// `ENOENT`, `ENOEXEC`, `ENOMEM`, `E2BIG`; `EINTR` if the process ends meanwhile, or another thread of it runs another program.
pub fn exec(process: &mut Process, exec: &Exec<'_>) -> Result<(), Errno> {
    let file = initrd::find(process.world.initrd, exec.path).ok().flatten().ok_or(Errno::ENOENT)?;
    let arguments: Vec<&[u8]> = exec.arguments.iter().map(Vec::as_slice).collect();
    let environment: Vec<&[u8]> = exec.environment.iter().map(Vec::as_slice).collect();
    let program = Program {
        file: file.data,
        path: exec.path.as_bytes(),
        arguments: &arguments,
        environment: &environment,
        random: process.random.sixteen(),
    };
    let loaded = load::load(&program);
    let (space, context) = loaded.map_err(|why| {
        process.space.enter();
        why.errno()
    })?;
    if !process.must_end() {
        process.handle.end_others(process.thread());
    }
    if process.must_end() {
        process.space.enter();
        return Err(Errno::EINTR);
    }
    process.say_farewell();
    process.space = Arc::new(space);
    process.handle.set_space(&process.space);
    *process.context = context;
    let closed: Vec<Open<_>> = process.files().close_on_exec();
    drop(closed);
    process.start_program(About::new(exec.path, &arguments));
    handle::family().note_execution(process.pid());
    process.handle.give_back_memory();
    Ok(())
}
