//! Simulated CPUs as threads of the host that pass one turn around: each has its own call stack, and one runs at a time. Outside of a
//! run nothing here costs more than a look at a thread's own flag.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::panic::{self, AssertUnwindSafe, Location};
use std::string::String;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use std::vec::Vec;
use std::{format, thread_local};

use super::event::Event;
use super::machine::{Machine, RUNNING, lock};
use super::schedule::{Failure, FailureKind, Program, Report, Schedule, State};

/// A run under way.
#[derive(Debug)]
struct Turns {
    state: Mutex<State>,
    seats: Box<[Seat]>,
    /// The run failed: whoever is still inside leaves.
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Seat {
    turn: AtomicBool,
    thread: OnceLock<Thread>,
}

/// Sets the CPU that a thread is back to this one.
struct ThisCpu(usize);

impl Drop for ThisCpu {
    fn drop(&mut self) {
        CPU.set(self.0);
    }
}

/// What a CPU unwinds with when another has ended the run.
struct Stopped;

/// The CPU that a thread is.
struct Here {
    turns: Arc<Turns>,
    cpu: usize,
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static CPU: Cell<usize> = const { Cell::new(0) };
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
    /// How a thread outside of any run waits.
    static ALONE: Cell<Option<Alone>> = const { Cell::new(None) };
}

/// A wait of a thread that is no simulated CPU. Locks that it gets do not end it: who waits for more than a lock may take some at each look.
#[derive(Clone, Copy)]
struct Alone {
    since: Instant,
    last: Instant,
    looks: usize,
}

/// How long it may last, and how many looks at least it takes in that time to be one wait and not some that came to an end.
const ALONE_LIMIT: Duration = Duration::from_secs(10);
const ALONE_LOOKS: usize = 10_000;
/// How long its thread does something else when it is over.
const ALONE_PAUSE: Duration = Duration::from_secs(1);

/// The simulated CPU that this thread is, 0 outside of a run.
#[inline]
pub(crate) fn current_cpu() -> usize {
    CPU.get()
}

/// A possible switch at a lock or unlock.
#[inline]
pub(crate) fn switch_point() {
    if INSIDE.get() {
        here(|turns, cpu| turns.perhaps_switch(cpu, |state| state.lock_point(cpu)));
    }
}

/// A possible switch before an event.
#[inline]
pub(super) fn before(event: Event, location: &'static Location<'static>) {
    if INSIDE.get() {
        here(|turns, cpu| turns.perhaps_switch(cpu, |state| state.event(cpu, event, location)));
    }
}

/// This CPU waits: another goes on.
pub(crate) fn relax() {
    if INSIDE.get() { here(Turns::relax) } else { relax_alone() }
}

fn relax_alone() {
    let now = Instant::now();
    let going_on = ALONE.get().filter(|wait| now - wait.last < ALONE_PAUSE);
    let Alone { since, looks, .. } = going_on.unwrap_or(Alone { since: now, last: now, looks: 0 });
    ALONE.set(Some(Alone { since, last: now, looks: looks + 1 }));
    let is_endless = now - since >= ALONE_LIMIT && looks >= ALONE_LOOKS;
    assert!(!is_endless, "deadlock: CPU 0 waits, and there is no other CPU that could end that");
    thread::yield_now();
}

/// A new machine: what was waited for on another is over.
pub(super) fn begin() {
    ALONE.set(None);
}

#[cold]
fn here(work: impl FnOnce(&Turns, usize)) {
    HERE.with_borrow(|here| {
        if let Some(here) = here {
            work(&here.turns, here.cpu);
        }
    });
}

impl Turns {
    fn perhaps_switch(&self, cpu: usize, decide: impl FnOnce(&mut State) -> Option<usize>) {
        if thread::panicking() {
            return; // on the way out
        }
        if self.ended.load(Ordering::Acquire) {
            self.leave(cpu);
        }
        let next = decide(&mut lock(&self.state));
        if let Some(next) = next {
            self.hand(cpu, next);
        }
    }

    fn relax(&self, cpu: usize) {
        if thread::panicking() {
            // A guard's drop waits for a lock. The others leave too, and release what they hold.
            self.end();
            return relax_alone();
        }
        if self.ended.load(Ordering::Acquire) {
            self.leave(cpu);
        }
        let next = lock(&self.state).wait(cpu);
        match next {
            Ok(next) => self.hand(cpu, next),
            Err(()) => {
                lock(&self.state).fail(FailureKind::Deadlock, cpu, "deadlock: every CPU waits, and nothing changes");
                self.end();
                self.leave(cpu);
            }
        }
    }

    fn hand(&self, from: usize, to: usize) {
        if from != to {
            self.give(to);
            self.sit(from);
        }
    }

    fn give(&self, cpu: usize) {
        lock(&self.state).report.switches += 1;
        self.seats[cpu].turn.store(true, Ordering::Release);
        self.wake(cpu);
    }

    fn wake(&self, cpu: usize) {
        if let Some(thread) = self.seats[cpu].thread.get() {
            thread.unpark();
        }
    }

    /// Waits for the turn.
    fn sit(&self, cpu: usize) {
        while !self.seats[cpu].turn.swap(false, Ordering::Acquire) {
            if self.ended.load(Ordering::Acquire) {
                return self.leave(cpu);
            }
            thread::park();
        }
    }

    fn end(&self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            (0..self.seats.len()).for_each(|cpu| self.wake(cpu));
        }
    }

    /// Leaves the program of this CPU, without a message of the panic hook. In a deadlock it says where it waited, if RUST_BACKTRACE
    /// asks for that.
    fn leave(&self, cpu: usize) {
        if thread::panicking() {
            return;
        }
        if let Some(failure) =
            lock(&self.state).failure.as_mut().filter(|failure| failure.kind == FailureKind::Deadlock)
        {
            let trace = Backtrace::capture();
            if trace.status() == BacktraceStatus::Captured {
                let _ = writeln!(failure.message, "CPU {cpu} is in\n{}", places(&trace));
            }
        }
        panic::resume_unwind(Box::new(Stopped));
    }

    /// The life of one CPU.
    fn live(self: &Arc<Self>, cpu: usize, program: Program<'_>) {
        CPU.set(cpu);
        HERE.set(Some(Here { turns: Arc::clone(self), cpu }));
        INSIDE.set(true);
        let result = panic::catch_unwind(AssertUnwindSafe(|| {
            self.sit(cpu);
            program();
        }));
        INSIDE.set(false);
        HERE.set(None);
        match result {
            Ok(()) => {
                let next = lock(&self.state).finish(cpu);
                if let Some(next) = next {
                    self.give(next);
                }
            }
            Err(payload) => {
                if !payload.is::<Stopped>() {
                    let message = format!("CPU {cpu} panicked: {}", text(payload.as_ref()));
                    lock(&self.state).fail(FailureKind::Panic, cpu, &message);
                }
                self.end();
            }
        }
    }
}

/// The frames of a backtrace that are the project's own, the machine apart.
fn places(trace: &Backtrace) -> String {
    let text = format!("{trace}");
    let lines: Vec<&str> = text.lines().collect();
    let mut places = String::new();
    let ours = |at: &str| at.contains(".rs:") && !at.contains("/rustc/") && !at.contains("src/host/");
    for pair in lines.windows(2).filter(|pair| pair[1].trim_start().starts_with("at ") && ours(pair[1])) {
        let _ = writeln!(places, "{}\n{}", pair[0], pair[1]);
    }
    places
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").into()
}

impl Machine {
    /// Does `work` as `cpu`, outside of a run: events in the order in which they are written down.
    ///
    /// # Panics
    /// If there is no such CPU, or in a run.
    pub fn on_cpu<R>(&self, cpu: usize, work: impl FnOnce() -> R) -> R {
        assert!(cpu < self.cpus(), "CPU {cpu} of {}", self.cpus());
        let before = self.0.watched.fetch_or(RUNNING, Ordering::AcqRel);
        assert!(before & RUNNING == 0, "the machine runs already");
        let result = {
            let _back = ThisCpu(CPU.replace(cpu));
            work()
        };
        self.0.watched.fetch_and(!RUNNING, Ordering::AcqRel);
        result
    }

    /// Runs one program on each CPU, from CPU 0 on, switching where the seed says. The same seed gives the same run.
    ///
    /// # Panics
    /// If a CPU panics or all wait for ever, with the seed.
    #[track_caller]
    pub fn run(&self, seed: u64, programs: Vec<Program<'_>>) -> Report {
        match self.run_by(Schedule::seeded(seed), programs) {
            Ok(report) => report,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Runs one program on each CPU by a schedule.
    ///
    /// # Errors
    /// The first failure.
    #[track_caller]
    pub fn run_by(&self, schedule: Schedule, programs: Vec<Program<'_>>) -> Result<Report, Failure> {
        let cpus = programs.len();
        assert!((1..=self.cpus()).contains(&cpus), "{cpus} programs for {} CPUs", self.cpus());
        let before = self.0.watched.fetch_or(RUNNING, Ordering::AcqRel);
        assert!(before & RUNNING == 0, "the machine runs already");
        let turns = Arc::new(Turns {
            state: Mutex::new(State::new(schedule, cpus)),
            seats: (0..cpus).map(|_| Seat::default()).collect(),
            ended: AtomicBool::new(false),
        });
        thread::scope(|scope| {
            for (cpu, program) in programs.into_iter().enumerate() {
                let mine = Arc::clone(&turns);
                let builder = thread::Builder::new().name(format!("CPU {cpu}"));
                let handle =
                    builder.spawn_scoped(scope, move || mine.live(cpu, program)).expect("a thread of the host");
                let _ = turns.seats[cpu].thread.set(handle.thread().clone());
            }
            let first = lock(&turns.state).first();
            turns.give(first);
        });
        self.0.watched.fetch_and(!RUNNING, Ordering::AcqRel);
        let mut state = lock(&turns.state);
        state.end();
        state.failure.take().map_or(Ok(state.report), Err)
    }
}
