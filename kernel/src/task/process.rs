//! A program that runs: its registers, its memory, and what it has asked for.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;

use spin::mutex::SpinMutexGuard;

use super::about::About;
use super::console;
use super::family::{FIRST, Pid};
use super::file::OpenFile;
use super::files::Files;
use super::handle::Handle;
use super::missing::Missing;
use super::random::Random;
use super::run;
use super::signals::Signals;
use super::space::UserSpace;
use super::status::ExitStatus;
use super::wait::{WaitQueue, sleep_on};
use crate::arch::cpu::Yield;
use crate::arch::user::UserContext;

/// What is the same for all programs of a run.
#[derive(Clone, Copy)]
pub struct World {
    /// The archive that has the programs.
    pub initrd: &'static [u8],
    /// Does the system call that a program has just made.
    pub system_call: fn(&mut Process),
}

/// One program, of one thread. Its task alone uses it; what others may reach is in its handle.
pub struct Process {
    /// Its program's name, for reports.
    pub name: String,
    /// Its registers.
    pub context: Box<UserContext>,
    /// Its memory, which a child may borrow until it runs a program of its own.
    pub space: Arc<UserSpace>,
    /// Its open descriptors.
    pub files: Files<Arc<OpenFile>>,
    /// The directory that its relative paths start from.
    pub directory: String,
    /// Its source of random numbers.
    pub random: Random,
    /// What it asked for in vain.
    pub missing: Missing,
    /// What others have of it.
    pub handle: Arc<Handle>,
    /// What is the same for all.
    pub world: World,
    /// The system call under way that a signal has interrupted.
    pub(super) interrupted: Option<Interrupted>,
    /// Whether its space has the code that handlers return to.
    pub(super) has_trampoline: bool,
    ended: Option<ExitStatus>,
}

/// A system call that a signal has interrupted: it returns EINTR, or is made again after the handler if that says so (SA_RESTART).
#[derive(Clone, Copy, Debug)]
pub(super) struct Interrupted {
    /// What x0 was.
    pub(super) argument: u64,
}

/// Why a wait ended without what it was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoUse {
    /// A signal has come.
    Signal,
    /// The time is over.
    TimedOut,
}

impl Process {
    /// A program that is loaded and has not run yet.
    pub(super) fn new(about: About, context: UserContext, space: UserSpace, random: Random, world: World) -> Self {
        let name = run::name(&about.path).into();
        let handle = Arc::new(Handle::new(FIRST, Signals::new(), about));
        let space = Arc::new(space);
        handle.set_space(&space);
        Self {
            name,
            context: Box::new(context),
            space,
            files: Files::new(console::standard()),
            directory: "/".into(),
            random,
            missing: Missing::default(),
            handle,
            world,
            interrupted: None,
            has_trampoline: false,
            ended: None,
        }
    }

    /// A copy of it, with this memory and handle, which goes on behind the system call that makes it.
    pub(super) fn child(&mut self, space: Arc<UserSpace>, handle: Arc<Handle>) -> Self {
        let mut context = self.context.clone();
        context.x[0] = 0;
        handle.set_space(&space);
        Self {
            name: self.name.clone(),
            context,
            space,
            files: self.files.clone(),
            directory: self.directory.clone(),
            random: self.random.of_child(),
            missing: Missing::default(),
            handle,
            world: self.world,
            interrupted: None,
            has_trampoline: self.has_trampoline,
            ended: None,
        }
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        self.handle.pid
    }

    /// Its signals.
    pub fn signals(&self) -> SpinMutexGuard<'_, Signals, Yield> {
        self.handle.signals.lock()
    }

    /// Its name in reports: with its number, but for the first.
    pub fn label(&self) -> String {
        label(&self.name, self.pid())
    }

    /// It is another program from now on.
    pub(super) fn set_about(&mut self, about: About) {
        self.name = run::name(&about.path).into();
        *self.handle.about() = about;
        self.handle.set_task_name(&self.label());
    }

    /// Sleeps until `ready` gives something, in `queues`; or until the time `deadline`.
    ///
    /// # Errors
    /// [`NoUse`], if it gave nothing up to then, or a signal has come.
    pub fn sleep<R>(
        &self,
        queues: &[&WaitQueue],
        what: &'static str,
        deadline: Option<u64>,
        mut ready: impl FnMut() -> Option<R>,
    ) -> Result<R, NoUse> {
        let interrupted = || self.signals().interrupts().then_some(Err(NoUse::Signal));
        sleep_on(queues, what, deadline, || ready().map(Ok).or_else(interrupted)).unwrap_or(Err(NoUse::TimedOut))
    }

    /// Says that the system call under way was interrupted, and may be made again after the handler of the signal.
    pub fn note_interrupted(&mut self) {
        self.interrupted = Some(Interrupted { argument: self.context.x[0] });
    }

    /// Says that the system call under way was interrupted, but has done some of its work, which it returns.
    pub fn note_finished(&mut self) {
        self.interrupted = None;
    }

    /// Ends it. The first end counts.
    pub fn end(&mut self, status: ExitStatus) {
        self.ended.get_or_insert(status);
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        self.ended
    }
}

/// A process's name in reports.
pub(super) fn label(name: &str, pid: Pid) -> String {
    if pid == FIRST { name.into() } else { alloc::format!("{name}, process {pid}") }
}
