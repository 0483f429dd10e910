//! A program that runs, as one of its threads has it: the thread's registers, its memory, and what it has asked for.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;

use spin::mutex::SpinMutexGuard;

use super::about::About;
use super::console;
use super::family::{FIRST, Pid};
use super::farewell::Farewell;
use super::file::OpenFile;
use super::files::Files;
use super::handle::Handle;
use super::random::Random;
use super::run;
use super::signals::{OfThread, Signals};
use super::space::UserSpace;
use super::status::ExitStatus;
use super::wait::{WaitQueue, sleep_on};
use crate::arch::cpu::{SpinLock, Yield};
use crate::arch::user::UserContext;

/// What is the same for all programs of a run.
#[derive(Clone, Copy)]
pub struct World {
    /// The archive that has the programs.
    pub initrd: &'static [u8],
    /// Does the system call that a program has just made.
    pub system_call: fn(&mut Process),
}

/// What the threads of a process share, beside their memory and what is in its handle.
pub struct Shared {
    files: SpinLock<Files<Arc<OpenFile>>>,
    directory: SpinLock<String>,
}

/// A process, as one of its threads has it. The thread's task alone uses it; what others may reach is in its handle.
pub struct Process {
    /// Its program's name, for reports.
    pub name: String,
    /// The thread's registers.
    pub context: Box<UserContext>,
    /// Its memory, which a child may borrow until it runs a program of its own.
    pub space: Arc<UserSpace>,
    /// The thread's source of random numbers.
    pub random: Random,
    /// What others have of it.
    pub handle: Arc<Handle>,
    /// What is the same for all.
    pub world: World,
    /// What the thread does at its end for others that wait for it.
    pub farewell: Farewell,
    thread: Pid,
    shared: Arc<Shared>,
    /// The system call under way that a signal has interrupted.
    pub(super) interrupted: Option<Interrupted>,
    /// Whether the thread ends, and the others go on.
    leaves: bool,
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
        let handle = Arc::new(Handle::new(FIRST, Signals::new(FIRST), about));
        let space = Arc::new(space);
        handle.set_space(&space);
        Self {
            name,
            context: Box::new(context),
            space,
            random,
            handle,
            world,
            farewell: Farewell::default(),
            thread: FIRST,
            shared: Arc::new(Shared {
                files: SpinLock::new(Files::new(console::standard())),
                directory: SpinLock::new("/".into()),
            }),
            interrupted: None,
            leaves: false,
        }
    }

    /// A copy of it, with this memory and handle, which goes on behind the system call that makes it.
    pub(super) fn child(&mut self, space: Arc<UserSpace>, handle: Arc<Handle>) -> Self {
        handle.set_space(&space);
        let (files, directory) = (self.files().clone(), self.directory());
        let shared = Shared { files: SpinLock::new(files), directory: SpinLock::new(directory) };
        let thread = handle.pid;
        Self { space, handle, shared: Arc::new(shared), ..self.new_thread(thread) }
    }

    /// Another thread of it, of this number, which goes on behind the system call that makes it.
    pub(super) fn new_thread(&mut self, thread: Pid) -> Self {
        let mut context = self.context.clone();
        context.x[0] = 0;
        Self {
            name: self.name.clone(),
            context,
            space: self.space.clone(),
            random: self.random.of_child(),
            handle: self.handle.clone(),
            world: self.world,
            farewell: Farewell::default(),
            thread,
            shared: self.shared.clone(),
            interrupted: None,
            leaves: false,
        }
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        self.handle.pid
    }

    /// The number of the thread.
    pub fn thread(&self) -> Pid {
        self.thread
    }

    /// Its signals, as the thread has them.
    pub fn signals(&self) -> OfThread<SpinMutexGuard<'_, Signals, Yield>> {
        OfThread::new(self.handle.signals(), self.thread)
    }

    /// Its open descriptors. What is closed must not be dropped while they are locked: that may take memory management's locks.
    pub fn files(&self) -> SpinMutexGuard<'_, Files<Arc<OpenFile>>, Yield> {
        self.shared.files.lock()
    }

    /// The directory that its relative paths start from.
    pub fn directory(&self) -> String {
        self.shared.directory.lock().clone()
    }

    /// Has its relative paths start from another directory.
    pub fn set_directory(&self, path: String) {
        *self.shared.directory.lock() = path;
    }

    /// Its name in reports: with its number, but for the first, and that of the thread if there may be several.
    pub fn label(&self) -> String {
        let process = label(&self.name, self.pid());
        if self.thread == self.pid() { process } else { alloc::format!("{process}, thread {}", self.thread) }
    }

    /// It runs another program, with this thread, alone, as its first.
    pub(super) fn start_program(&mut self, about: About) {
        self.handle.start_program(self.thread);
        self.thread = self.pid();
        self.farewell = Farewell::default();
        self.set_about(about);
    }

    /// It is another program from now on.
    fn set_about(&mut self, about: About) {
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

    /// Ends it, with all its threads. The first end counts.
    pub fn end(&mut self, status: ExitStatus) {
        self.handle.end_all(status);
    }

    /// Ends the thread; the process too, if it is the last.
    pub fn leave(&mut self, status: ExitStatus) {
        if self.thread == self.pid() {
            self.handle.end_first(status);
        }
        self.leaves = true;
    }

    /// Whether the thread is to end.
    pub(super) fn must_end(&self) -> bool {
        self.leaves || self.signals().must_end()
    }
}

/// A process's name in reports.
pub(super) fn label(name: &str, pid: Pid) -> String {
    if pid == FIRST { name.into() } else { alloc::format!("{name}, process {pid}") }
}
