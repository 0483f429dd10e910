//! Makes cases, runs them, and makes one that fails smaller. How much and which by environment variables.

use std::cell::Cell;
use std::fmt::Debug;
use std::io::Write;
use std::time::Instant;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::quiet;

/// Tests that share the operations of a form: one for each kind of CPU.
const TESTS: u64 = 3;
/// Attempts to make a failing case smaller.
const SHRINKS: u32 = 2000;
/// How long that may take, in milliseconds: smaller ones may wait for ever, which takes a while to be seen.
const SHRINKING: u32 = 120_000;

/// How much is done in a form.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Operations of all its tests together, unless `UNFOLD_STEPS` says otherwise.
    pub operations: u64,
    /// Operations of an average case.
    pub average: usize,
}

fn number(variable: &str, usual: u64) -> u64 {
    match std::env::var(variable) {
        Err(_) => usual,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text}: a number is wanted")),
    }
}

/// Runs as many cases as the plan says.
///
/// # Panics
/// With the smallest case found that fails.
pub fn run<S>(name: &str, plan: Plan, cases: &S, test: impl Fn(&S::Value) -> Result<usize, String>)
where
    S: Strategy,
    S::Value: Debug,
{
    let (operations, seed) = (number("UNFOLD_STEPS", plan.operations), number("UNFOLD_SEED", 1));
    let count = (operations / TESTS / plan.average as u64).max(1);
    let config = Config {
        cases: u32::try_from(count).unwrap_or(u32::MAX),
        failure_persistence: None,
        max_shrink_iters: SHRINKS,
        max_shrink_time: SHRINKING,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..].iter_mut().zip(name.bytes()).for_each(|(byte, letter)| *byte = letter);
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let (began, done, failed) = (Instant::now(), Cell::new(0), Cell::new(false));
    let result = runner.run(cases, |case| match quiet::catch(|| test(&case)) {
        Ok(operations) => {
            done.set(done.get() + operations);
            Ok(())
        }
        Err(error) => {
            // A smaller case may fail otherwise.
            if !failed.replace(true) {
                say(&format!("{name}, UNFOLD_SEED={seed}, fails: {error}\nin {case:?}\nMaking it smaller.\n"));
            }
            Err(TestCaseError::fail(error))
        }
    });
    match result {
        Ok(()) => report(name, done.get(), began),
        Err(TestError::Fail(reason, case)) => panic!("{name}, UNFOLD_SEED={seed}: {reason}\nin {case:?}"),
        Err(TestError::Abort(reason)) => panic!("{name}: no cases could be made: {reason}"),
    }
}

/// Says how much was done: a long run shows that it was one.
fn report(name: &str, operations: usize, began: Instant) {
    say(&format!("{name}: {operations} operations in {:.1} s\n", began.elapsed().as_secs_f64()));
}

/// Writes past the capture of output.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
