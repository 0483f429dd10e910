//! Checks of kernel tasks: their turns, their waits, and a lock of memory management that one holds while it does not run.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use mm::sync::{Rank, RwLock};

use super::ensure;
use crate::arch::cpu::SpinLock;
use crate::arch::timer;
use crate::task::WaitQueue;
use crate::task::schedule::{self, Body};
use crate::task::wait::sleep_on;

const NAP: u64 = 2_000_000;
/// No check takes so long unless something is wrong, in nanoseconds.
const PATIENCE: u64 = 500_000_000;

/// Has tasks do these, and waits for their ends.
fn run(bodies: Vec<Body>) -> Result<(), String> {
    let ended = Arc::new((WaitQueue::new("for the tasks of a check"), AtomicUsize::new(0)));
    let count = bodies.len();
    for body in bodies {
        let ended = ended.clone();
        let body = move || {
            body();
            ended.1.fetch_add(1, Ordering::Relaxed);
            ended.0.wake_all();
        };
        ensure!(schedule::spawn("a check", None, Box::new(body)).is_ok(), "there is no room for a task");
    }
    let deadline = Some(timer::now_ns() + PATIENCE);
    let all = || (ended.1.load(Ordering::Relaxed) == count).then_some(());
    ensure!(sleep_on(&[&ended.0], "for the tasks of a check", deadline, all).is_some(), "not all tasks have ended");
    Ok(())
}

pub(super) fn turns() -> Result<(), String> {
    let order = Arc::new(SpinLock::new(Vec::new()));
    let body = |name: char| -> Body {
        let order = order.clone();
        Box::new(move || {
            for _ in 0..3 {
                order.lock().push(name);
                schedule::yield_now();
            }
        })
    };
    run(['a', 'b', 'c'].map(body).into())?;
    let order: String = order.lock().iter().collect();
    ensure!(order == "abcabcabc", "the tasks took turns as {order}");
    Ok(())
}

pub(super) fn deadlines() -> Result<(), String> {
    let order = Arc::new(SpinLock::new(Vec::new()));
    let body = |naps: u64| -> Body {
        let order = order.clone();
        Box::new(move || {
            let end = timer::now_ns() + naps * NAP;
            let nothing = sleep_on(&[], "for a time", Some(end), || None::<()>);
            order.lock().push((naps, nothing.is_none() && timer::now_ns() >= end));
        })
    };
    run([3, 1, 2].map(body).into())?;
    let order = order.lock().clone();
    ensure!(order == [(1, true), (2, true), (3, true)], "sleepers woke as {order:?}");
    Ok(())
}

/// The holder sleeps with the lock, so whoever waits for it must give way, and what each holds must go with it.
pub(super) fn held_over_a_wait() -> Result<(), String> {
    let areas = Arc::new(RwLock::new(Rank::Areas, 0));
    let held = Arc::new((WaitQueue::new("for the lock to be held"), AtomicUsize::new(0)));
    let holder: Body = {
        let (areas, held) = (areas.clone(), held.clone());
        Box::new(move || {
            let mut value = areas.write();
            held.1.store(1, Ordering::Relaxed);
            held.0.wake_all();
            let _ = sleep_on(&[], "for a time, with a lock", Some(timer::now_ns() + NAP), || None::<()>);
            *value += 1;
        })
    };
    let waiter = || -> Body {
        let (areas, held) = (areas.clone(), held.clone());
        Box::new(move || {
            held.0.sleep(|| (held.1.load(Ordering::Relaxed) == 1).then_some(()));
            *areas.write() *= 10;
        })
    };
    run([holder, waiter(), waiter()].into())?;
    let value = *areas.read();
    ensure!(value == 100, "the lock did not keep others out: {value} instead of 100");
    Ok(())
}
