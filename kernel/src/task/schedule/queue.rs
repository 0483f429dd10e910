//! The state of the scheduler: who runs, whose turn is next, who sleeps until when.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use super::SLICE;
use super::stuck::LastResort;
use super::task::{State, Task};
use crate::arch::timer;

pub(super) struct Queue {
    /// The task that runs.
    pub(super) current: Arc<Task>,
    /// Those that could, in turn.
    pub(super) ready: VecDeque<Arc<Task>>,
    /// Those that wait until a time, by that and their number.
    sleepers: BTreeMap<(u64, u64), Arc<Task>>,
    /// All that have not ended.
    all: BTreeMap<u64, Arc<Task>>,
    /// The task that has ended last: the next one frees its stack, which it itself was still on.
    pub(super) buried: Option<Arc<Task>>,
    /// Since when the task that runs has done so.
    pub(super) since: u64,
    /// Nanoseconds that no task ran.
    pub(super) idle: u64,
    /// When its time is over, if others are ready.
    pub(super) slice_end: u64,
    /// When the timer's interrupt will come.
    pub(super) armed: Option<u64>,
    /// How often in a row tasks gave way to each other.
    pub(super) fruitless: usize,
    next_id: u64,
    /// What is tried when every task waits.
    pub(super) last_resort: LastResort,
}

/// From one task to another: where the SP of the one goes, and that of the other.
pub(super) type Change = (*mut u64, u64);

impl Queue {
    pub(super) fn new(first: Task, last_resort: LastResort) -> Self {
        let first = Arc::new(first);
        Self {
            current: first.clone(),
            ready: VecDeque::new(),
            sleepers: BTreeMap::new(),
            all: BTreeMap::from([(first.id, first)]),
            buried: None,
            since: timer::now_ns(),
            idle: 0,
            slice_end: 0,
            armed: None,
            fruitless: 0,
            next_id: 1,
            last_resort,
        }
    }

    pub(super) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// A new task, which is ready.
    pub(super) fn add(&mut self, task: Task) -> Arc<Task> {
        let task = Arc::new(task);
        self.all.insert(task.id, task.clone());
        self.make_ready(task.clone());
        task
    }

    pub(super) fn tasks(&self) -> Vec<Arc<Task>> {
        self.all.values().cloned().collect()
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// When the first of those that sleep until a time wakes.
    pub(super) fn first_deadline(&self) -> Option<u64> {
        self.sleepers.first_key_value().map(|(&(until, _), _)| until)
    }

    /// The task that runs is ready, behind all others.
    pub(super) fn requeue(&mut self) {
        self.ready.push_back(self.current.clone());
    }

    /// The task that runs waits.
    pub(super) fn put_to_sleep(&mut self, what: &'static str, until: Option<u64>) {
        let task = self.current.clone();
        *task.state.lock() = State::Waiting { what, until };
        if let Some(until) = until {
            self.sleepers.insert((until, task.id), task);
        }
    }

    /// The task that runs has ended.
    pub(super) fn bury(&mut self) {
        self.buried = self.all.remove(&self.current.id);
    }

    pub(super) fn wake(&mut self, task: &Arc<Task>) {
        let Some((_, until)) = task.waits_for() else { return };
        if let Some(until) = until {
            self.sleepers.remove(&(until, task.id));
        }
        *task.state.lock() = State::Runnable;
        self.make_ready(task.clone());
    }

    /// Wakes those whose time has come.
    pub(super) fn wake_sleepers(&mut self, now: u64) {
        while self.first_deadline().is_some_and(|until| until <= now) {
            let Some((_, task)) = self.sleepers.pop_first() else { return };
            *task.state.lock() = State::Runnable;
            self.make_ready(task);
        }
    }

    /// Whether the task that runs has had its time, and others wait for theirs.
    pub(super) fn is_turn_over(&mut self) -> bool {
        let now = timer::now_ns();
        self.wake_sleepers(now);
        !self.ready.is_empty() && now >= self.slice_end
    }

    fn make_ready(&mut self, task: Arc<Task>) {
        if self.ready.is_empty() {
            self.slice_end = timer::now_ns() + SLICE;
        }
        self.ready.push_back(task);
        self.arm();
    }

    /// Goes over to `next`; `None` if that is the task that runs already.
    pub(super) fn change_to(&mut self, next: Arc<Task>) -> Option<Change> {
        let now = timer::now_ns();
        self.slice_end = now + SLICE;
        self.arm();
        if Arc::ptr_eq(&next, &self.current) {
            return None;
        }
        assert!(self.current.is_intact(), "the kernel stack of {} has run over", self.current.name());
        self.current.add_time(now - self.since);
        self.since = now;
        mm::sync::exchange_held(&mut self.current.held.lock(), &mut next.held.lock());
        let change = (self.current.saved.as_ptr(), next.saved.load(Ordering::Relaxed));
        self.current = next;
        Some(change)
    }

    /// Has the timer's interrupt come when the CPU is somebody else's: at the first deadline, and at the end of the time of the task
    /// that runs if another one is ready.
    pub(super) fn arm(&mut self) {
        let slice = (!self.ready.is_empty()).then_some(self.slice_end);
        let next = match (slice, self.first_deadline()) {
            (Some(slice), Some(deadline)) => Some(slice.min(deadline)),
            (slice, deadline) => slice.or(deadline),
        };
        if next != self.armed {
            next.map_or_else(timer::disarm, timer::arm);
            self.armed = next;
        }
    }
}
