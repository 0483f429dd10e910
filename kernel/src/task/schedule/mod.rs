//! The scheduler: which task has the first CPU. Programs and kernel tasks run there alone; the other CPUs do what they are handed
//! (`arch::cpus`).
//!
//! Tasks take turns. Interrupts are masked in the kernel, so a task leaves the CPU only where it says so: it waits, gives way, or ends;
//! and at EL0, where the timer takes it away. There is a tick only while somebody else could run, so that a program that is alone is
//! never disturbed. With nothing to run the CPU sleeps until the first deadline; if there is none, nothing will ever happen again, and
//! [`stuck`] says so.

mod queue;
mod stuck;
mod task;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use mm::Space;
use mmu::Fact;
use spin::once::Once;

use self::queue::Queue;
pub use self::stuck::LastResort;
pub use self::task::{Body, Task};
use super::space;
use crate::arch::context::{self, KernelStack, STACK_BLOCK};
use crate::arch::cpu::{SpinLock, Yield};
use crate::arch::timer;
use crate::heap::Share;
use crate::memory;

/// How long a task may run while another one could, in nanoseconds.
const SLICE: u64 = 10_000_000;
const MOST_TASKS: usize = 128;
/// How often each task gives way, with nothing else happening, until they all wait for the first deadline.
const FRUITLESS: usize = 8;
/// The same where there is no deadline, until it is clear that none will get on.
const HOPELESS: usize = 1000;

static SCHEDULER: Once<SpinLock<Queue>, Yield> = Once::new();

/// There are as many tasks as there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany;

/// Starts scheduling: the caller is the first task. `last_resort` is tried when every task waits.
pub fn start(last_resort: LastResort) {
    SCHEDULER.call_once(|| SpinLock::new(Queue::new(Task::new(0, "the kernel", None), last_resort)));
    mm::sync::set_other_tasks(give_way);
    mm::sync::set_turns(take_turns);
}

fn scheduler() -> &'static SpinLock<Queue> {
    SCHEDULER.get().expect("asked for before the scheduler has started")
}

/// How many tasks there may be: each takes a stack from the heap.
pub fn most_tasks() -> usize {
    (Share::Stacks.bytes() / STACK_BLOCK).clamp(4, MOST_TASKS)
}

/// A new task, which runs in `space`, if it has one, and ends when `body` returns.
///
/// # Errors
/// [`TooMany`], of tasks or for the heap.
pub fn spawn(name: &str, space: Option<Arc<Space>>, body: Body) -> Result<Arc<Task>, TooMany> {
    let mut queue = scheduler().lock();
    if queue.count() >= most_tasks() {
        return Err(TooMany);
    }
    let mut stack = KernelStack::new().ok_or(TooMany)?;
    let sp = stack.start(begin);
    let task = Task::new(queue.new_id(), name, Some(stack));
    task.saved.store(sp, Ordering::Relaxed);
    *task.body.lock() = Some(body);
    *task.space.lock() = space;
    Ok(queue.add(task))
}

/// A new task that belongs to no program.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_kernel(name: &str, body: fn()) -> Result<Arc<Task>, TooMany> {
    spawn(name, None, Box::new(body))
}

/// The first code of every task but the first.
extern "C" fn begin() -> ! {
    finish_switch();
    let body = current().body.lock().take();
    if let Some(body) = body {
        body();
    }
    end()
}

/// The task that asks.
pub fn current() -> Arc<Task> {
    scheduler().lock().current.clone()
}

/// Nanoseconds that the task that asks has had the CPU.
pub fn run_time() -> u64 {
    run_time_of(&current())
}

/// Nanoseconds that a task has had the CPU.
pub fn run_time_of(task: &Arc<Task>) -> u64 {
    let queue = scheduler().lock();
    let now = if Arc::ptr_eq(task, &queue.current) { timer::now_ns().saturating_sub(queue.since) } else { 0 };
    task.ran.load(Ordering::Relaxed) + now
}

/// Nanoseconds that no task had the CPU.
pub fn idle_time() -> u64 {
    scheduler().lock().idle
}

/// The task that asks runs in `space` from now on; with none, in whichever is active.
pub fn set_space(space: Option<&Arc<Space>>) {
    *current().space.lock() = space.cloned();
    if let Some(space) = space {
        space::run_in(space);
    }
}

/// Lets the others that could run go first.
pub fn yield_now() {
    let mut queue = scheduler().lock();
    queue.fruitless = 0;
    queue.requeue();
    drop(queue);
    leave();
}

/// As [`yield_now`], where memory management waits for what another task holds. If all do so in turn, only time can help.
fn give_way() {
    mmu::relax();
    if mmu::current_cpu() != 0 {
        return;
    }
    let mut queue = scheduler().lock();
    queue.fruitless += 1;
    let (rounds, deadline) = (queue.fruitless / (queue.ready.len() + 1), queue.first_deadline());
    queue.requeue();
    drop(queue);
    match deadline {
        Some(deadline) if rounds > FRUITLESS => sleep_until(deadline),
        None if rounds > HOPELESS => stuck::in_vain(&tasks()),
        _ => {}
    }
    leave();
}

/// Waits until [`wake`], or until the time `until`; it may also return for no reason. `what` says what for.
pub fn block(what: &'static str, until: Option<u64>) {
    let mut queue = scheduler().lock();
    queue.fruitless = 0;
    queue.put_to_sleep(what, until);
    drop(queue);
    leave();
}

/// Whether the task that asks is to end soon.
pub fn is_doomed() -> bool {
    current().is_doomed.load(Ordering::Relaxed)
}

/// Ends the wait of a task, if it waits.
pub fn wake(task: &Arc<Task>) {
    scheduler().lock().wake(task);
}

/// The timer has come while a program ran: it goes to the back if its time is over.
pub fn tick() {
    let mut queue = scheduler().lock();
    (queue.armed, queue.fruitless) = (None, 0);
    let is_over = queue.is_turn_over();
    queue.arm();
    drop(queue);
    if is_over {
        yield_now();
    }
}

/// The same in the middle of long work in the kernel, where no timer comes. False if the task is being ended.
fn take_turns() -> bool {
    if mmu::current_cpu() != 0 {
        return true;
    }
    let mut queue = scheduler().lock();
    let (task, is_over) = (queue.current.clone(), queue.is_turn_over());
    drop(queue);
    if is_over {
        yield_now();
    }
    !task.is_doomed.load(Ordering::Relaxed)
}

/// Ends the task that asks. What it held must be given back by now.
fn end() -> ! {
    scheduler().lock().bury();
    leave();
    unreachable!("a task went on after its end");
}

fn tasks() -> Vec<Arc<Task>> {
    scheduler().lock().tasks()
}

/// Goes on with the task whose turn it is, and returns when it is this one's again.
fn leave() {
    let change = loop {
        let mut queue = scheduler().lock();
        queue.wake_sleepers(timer::now_ns());
        if let Some(next) = queue.ready.pop_front() {
            break queue.change_to(next);
        }
        let (deadline, last_resort) = (queue.first_deadline(), queue.last_resort);
        drop(queue);
        match deadline {
            Some(deadline) => sleep_until(deadline),
            None => stuck::resolve(&tasks(), last_resort),
        }
    };
    if let Some((from, to)) = change {
        // SAFETY: `to` was left by a task that does not run, and whose stack is there as long as it has not ended; interrupts are
        // masked.
        unsafe { context::switch(from, to) };
        finish_switch();
    }
}

/// The CPU has nothing to do until then.
fn sleep_until(deadline: u64) {
    let began = timer::now_ns();
    timer::sleep_until(deadline);
    let mut queue = scheduler().lock();
    queue.armed = None;
    queue.idle += timer::now_ns() - began;
}

/// The first thing that a task does after a switch to it.
fn finish_switch() {
    let mut queue = scheduler().lock();
    let buried = queue.buried.take();
    let space = queue.current.space.lock().clone();
    memory().door.fact(Fact::Task(queue.current.id));
    drop(queue);
    drop(buried);
    if let Some(space) = space {
        space::run_in(&space);
    }
}
