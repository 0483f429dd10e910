//! Who runs next: the plan of a run of several CPUs and the bookkeeping behind it. Pure decisions; `turns` carries them out.

use std::boxed::Box;
use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::format;
use std::panic::Location;
use std::string::String;
use std::vec::Vec;

use super::event::Event;
use super::random::Random;

/// What one simulated CPU executes.
pub type Program<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Boxes a program.
pub fn program<'a>(work: impl FnOnce() + Send + 'a) -> Program<'a> {
    Box::new(work)
}

/// How CPUs take turns.
#[derive(Debug)]
pub struct Schedule {
    seed: Option<u64>,
    pace: Option<u64>,
    windows: Vec<Window>,
}

/// A place in the work of one CPU where another is let in.
struct Window {
    cpu: usize,
    nth: usize,
    matches: Box<dyn Fn(&Event) -> bool + Send>,
    run: usize,
    seen: usize,
    opened: bool,
}

impl fmt::Debug for Window {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "before event {} of CPU {} let CPU {} run", self.nth, self.cpu, self.run)
    }
}

impl Schedule {
    /// Switches at places that the seed chooses; it also chooses how often.
    pub fn seeded(seed: u64) -> Self {
        Self { seed: Some(seed), pace: None, windows: Vec::new() }
    }

    /// Each CPU runs until it is done or waits, the lowest number first, but for windows.
    pub fn in_turn() -> Self {
        Self { seed: None, pace: None, windows: Vec::new() }
    }

    /// On average one switch in `events` possible ones.
    pub fn one_in(mut self, events: u64) -> Self {
        self.pace = Some(events.max(1));
        self
    }

    /// Before CPU `cpu` does its `nth` event (from 1) that matches, CPU `run` runs until it is done or waits. A run in which this
    /// never comes about fails.
    pub fn window(
        mut self,
        cpu: usize,
        nth: usize,
        matches: impl Fn(&Event) -> bool + Send + 'static,
        run: usize,
    ) -> Self {
        self.windows.push(Window { cpu, nth, matches: Box::new(matches), run, seen: 0, opened: false });
        self
    }
}

/// What a good run was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Times that a CPU was given the turn, the first included.
    pub switches: u64,
    /// Events of the door and of programs.
    pub events: u64,
}

/// How a run failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    /// A CPU panicked.
    Panic,
    /// All that are not done wait, and nothing changes.
    Deadlock,
    /// A window of the schedule never opened.
    Unopened,
}

/// A run that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// How.
    pub kind: FailureKind,
    /// The CPU that noticed.
    pub cpu: usize,
    /// The seed that leads here again, if the schedule had one.
    pub seed: Option<u64>,
    /// What happened, with the last events of each CPU.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seed {
            Some(seed) => writeln!(out, "seed {seed}: {}", self.message),
            None => writeln!(out, "{}", self.message),
        }
    }
}

impl std::error::Error for Failure {}

/// Events of each CPU that a verdict shows.
const SHOWN: usize = 8;
/// Waits in a row, with nothing between them, after which a CPU counts as stuck.
const STUCK: u32 = 100;
/// Waits since anybody changed anything, whatever else the waiting CPU looked at between them, after which it counts as stuck.
const STUCK_LOOKING: u32 = 20_000;

#[derive(Debug, Default)]
struct Cpu {
    done: bool,
    /// It waits, and nothing has happened since that could end that.
    waiting: bool,
    /// Waits in a row.
    in_a_row: u32,
    /// Waits since `change`.
    waits: u32,
    change: u64,
    recent: VecDeque<(Event, &'static Location<'static>)>,
}

/// Where a run stands.
#[derive(Debug)]
pub(super) struct State {
    cpus: Vec<Cpu>,
    seed: Option<u64>,
    random: Option<Random>,
    pace: u64,
    until_switch: u64,
    windows: Vec<Window>,
    /// CPUs whose windows are open, the innermost last.
    open: Vec<usize>,
    /// Counts what somebody could be waiting for.
    change: u64,
    pub(super) report: Report,
    pub(super) failure: Option<Failure>,
}

impl State {
    pub(super) fn new(schedule: Schedule, cpus: usize) -> Self {
        let mut random = schedule.seed.map(Random::new);
        let pace = match (&mut random, schedule.pace) {
            (_, Some(pace)) => pace,
            (Some(random), None) => 2 << random.below(6), // 2 to 64: some runs switch often, some work long in one place
            (None, None) => 1,
        };
        for window in &schedule.windows {
            assert!(window.cpu < cpus && window.run < cpus && window.cpu != window.run && window.nth > 0, "{window:?}");
        }
        let mut state = Self {
            cpus: (0..cpus).map(|_| Cpu::default()).collect(),
            seed: schedule.seed,
            random,
            pace,
            until_switch: 0,
            windows: schedule.windows,
            open: Vec::new(),
            change: 0,
            report: Report::default(),
            failure: None,
        };
        state.plan_switch();
        state
    }

    fn plan_switch(&mut self) {
        self.until_switch = match &mut self.random {
            Some(random) => 1 + random.below(2 * self.pace as usize - 1) as u64,
            None => u64::MAX,
        };
    }

    /// Who starts.
    pub(super) fn first(&mut self) -> usize {
        let cpus = self.cpus.len();
        self.random.as_mut().map_or(0, |random| random.below(cpus))
    }

    /// `cpu` is about to do `event`. Returns who runs before that.
    pub(super) fn event(&mut self, cpu: usize, event: Event, location: &'static Location<'static>) -> Option<usize> {
        self.report.events += 1;
        if event.is_progress() {
            self.change += 1;
            self.somebody_may_go_on();
        }
        let mine = &mut self.cpus[cpu];
        (mine.waiting, mine.in_a_row) = (false, 0);
        if mine.recent.len() == SHOWN {
            mine.recent.pop_front();
        }
        mine.recent.push_back((event, location));
        self.window(cpu, &event).or_else(|| self.switch(cpu))
    }

    /// `cpu` is about to take a lock, or has released one.
    pub(super) fn lock_point(&mut self, cpu: usize) -> Option<usize> {
        self.cpus[cpu].in_a_row = 0;
        self.somebody_may_go_on();
        self.switch(cpu)
    }

    fn somebody_may_go_on(&mut self) {
        for cpu in &mut self.cpus {
            cpu.waiting = false;
        }
    }

    fn window(&mut self, cpu: usize, event: &Event) -> Option<usize> {
        let mut next = None;
        for window in self.windows.iter_mut().filter(|window| window.cpu == cpu && !window.opened) {
            window.seen += usize::from((window.matches)(event));
            if next.is_none() && window.seen >= window.nth && !self.cpus[window.run].done {
                window.opened = true;
                next = Some(window.run);
            }
        }
        if next.is_some() {
            self.open.push(cpu);
        }
        next
    }

    fn switch(&mut self, cpu: usize) -> Option<usize> {
        self.until_switch -= 1;
        if self.until_switch > 0 {
            return None;
        }
        self.plan_switch();
        if self.open.is_empty() { self.choose(cpu, false) } else { None }
    }

    /// Another CPU that is not done; one that waits only if `waiting`.
    fn choose(&mut self, cpu: usize, waiting: bool) -> Option<usize> {
        let cpus = self.cpus.len();
        let may = |other: &usize| {
            let other = &self.cpus[*other];
            !other.done && (waiting || !other.waiting)
        };
        let others: Vec<usize> = (1..cpus).map(|step| (cpu + step) % cpus).filter(may).collect();
        match &mut self.random {
            _ if others.is_empty() => None,
            Some(random) => Some(others[random.below(others.len())]),
            None => others.iter().min().copied(),
        }
    }

    /// The CPU whose window was open for one that is done or waits now.
    fn close(&mut self) -> Option<usize> {
        core::iter::from_fn(|| self.open.pop()).find(|&owner| !self.cpus[owner].done)
    }

    /// `cpu` waits. Returns who runs meanwhile; an error if everybody waits in vain.
    pub(super) fn wait(&mut self, cpu: usize) -> Result<usize, ()> {
        let change = self.change;
        let mine = &mut self.cpus[cpu];
        mine.waiting = true;
        mine.in_a_row += 1;
        mine.waits = if mine.change == change { mine.waits + 1 } else { 1 };
        mine.change = change;
        if self.is_stuck(|cpu| cpu.in_a_row >= STUCK)
            || self.is_stuck(|cpu| cpu.waits >= STUCK_LOOKING && cpu.change == change)
        {
            return Err(());
        }
        let next = self.close().or_else(|| self.choose(cpu, false)).or_else(|| self.choose_waiting(cpu));
        Ok(next.unwrap_or(cpu))
    }

    /// Among CPUs that all wait, each has its turn.
    fn choose_waiting(&self, cpu: usize) -> Option<usize> {
        let cpus = self.cpus.len();
        (1..cpus).map(|step| (cpu + step) % cpus).find(|&other| !self.cpus[other].done)
    }

    fn is_stuck(&self, stuck: impl Fn(&Cpu) -> bool) -> bool {
        self.cpus.iter().all(|cpu| cpu.done || stuck(cpu))
    }

    /// `cpu` is done. Returns who goes on, if anybody is left.
    pub(super) fn finish(&mut self, cpu: usize) -> Option<usize> {
        self.cpus[cpu].done = true;
        self.change += 1;
        self.somebody_may_go_on();
        self.close().or_else(|| self.choose(cpu, true))
    }

    /// Records why the run ends, unless that is known already.
    pub(super) fn fail(&mut self, kind: FailureKind, cpu: usize, message: &str) {
        if self.failure.is_none() {
            let message = format!("{message}\n{}", self.last_events());
            self.failure = Some(Failure { kind, cpu, seed: self.seed, message });
        }
    }

    /// The end of a run in which nobody failed: were all windows opened?
    pub(super) fn end(&mut self) {
        if let Some(window) = self.windows.iter().find(|window| !window.opened) {
            let message = format!("the window \"{window:?}\" never opened; {} events matched", window.seen);
            self.fail(FailureKind::Unopened, window.cpu, &message);
        }
    }

    fn last_events(&self) -> String {
        let mut text = String::new();
        for (number, cpu) in self.cpus.iter().enumerate() {
            let state = if cpu.done {
                "done"
            } else if cpu.waits > 0 && cpu.waiting {
                "waiting"
            } else {
                "running"
            };
            let _ = writeln!(text, "CPU {number}, {state}; its last events:");
            for (event, location) in &cpu.recent {
                let _ = writeln!(text, "  {event:?} at {location}");
            }
        }
        text
    }
}
