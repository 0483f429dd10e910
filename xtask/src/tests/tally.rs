//! What passed and what failed, from several threads; failures are told in full, once more at the end by name.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Result;

use crate::interrupt::Interrupt;

/// A test: its name, and what does it.
pub type Test<'a> = (String, Box<dyn FnOnce() -> Result<()> + Send + 'a>);

/// The count of tests.
#[derive(Debug)]
pub struct Tally {
    filter: String,
    interrupt: Interrupt,
    results: Mutex<Results>,
}

#[derive(Debug, Default)]
struct Results {
    passed: usize,
    failed: Vec<String>,
}

impl Tally {
    /// Nothing yet; only tests whose name contains `filter` will run, and none after a signal has come.
    pub fn new(filter: &str, interrupt: &Interrupt) -> Self {
        Self { filter: filter.to_owned(), interrupt: interrupt.clone(), results: Mutex::default() }
    }

    /// Whether a test of this name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        name.contains(&self.filter) && self.interrupt.status().is_none()
    }

    /// Runs one test, if it is wanted.
    pub fn run(&self, name: &str, test: impl FnOnce() -> Result<()>) {
        if self.wants(name) {
            let start = Instant::now();
            let result = test();
            let name = format!("{name} ({:.1} s)", start.elapsed().as_secs_f64());
            match result {
                Ok(()) => self.passed(&name),
                Err(error) => self.failed(&name, &format!("{error:#}")),
            }
        }
    }

    /// Runs `tests` on all processors of this machine.
    pub fn run_all(&self, tests: Vec<Test<'_>>) {
        let queue = Mutex::new(VecDeque::from(tests));
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let next = || queue.lock().unwrap_or_else(|poison| poison.into_inner()).pop_front();
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some((name, test)) = next() {
                        self.run(&name, test);
                    }
                });
            }
        });
    }

    /// One test passed.
    pub fn passed(&self, name: &str) {
        self.with(|results| {
            results.passed += 1;
            println!("ok    {name}");
        });
    }

    /// Several tests passed, whose names nobody needs.
    pub fn passed_many(&self, name: &str, count: usize) {
        self.with(|results| {
            results.passed += count;
            println!("ok    {name}: {count} passed");
        });
    }

    /// One test failed.
    pub fn failed(&self, name: &str, message: &str) {
        self.with(|results| {
            println!("FAIL  {name}");
            message.lines().for_each(|line| println!("      {line}"));
            results.failed.push(name.to_owned());
        });
    }

    /// How many failed so far.
    pub fn failures(&self) -> usize {
        self.with(|results| results.failed.len())
    }

    /// Prints what failed and the closing line; whether all is well. No test at all is not.
    pub fn close(&self) -> bool {
        self.with(|results| {
            if !results.failed.is_empty() {
                println!("\nfailed:");
                results.failed.iter().for_each(|name| println!("  {name}"));
            }
            if results.passed == 0 && results.failed.is_empty() && self.interrupt.status().is_none() {
                println!("no test's name contains `{}`", self.filter);
            }
            println!("{} passed, {} failed", results.passed, results.failed.len());
            results.passed > 0 && results.failed.is_empty()
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Results) -> T) -> T {
        act(&mut self.results.lock().unwrap_or_else(|poison| poison.into_inner()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn failures_count_and_nothing_is_no_success() {
        let tally = Tally::new("", &Interrupt::default());
        assert!(!tally.close());
        tally.run("good", || Ok(()));
        assert!(tally.close());
        tally.run("bad", || bail!("because"));
        assert!(!tally.close());
    }

    #[test]
    fn only_what_is_wanted_runs() {
        let tally = Tally::new("x", &Interrupt::default());
        tally.run("a", || bail!("must not run"));
        tally.run_all(vec![
            ("xa".to_owned(), Box::new(|| Ok(()))),
            ("b".to_owned(), Box::new(|| bail!("must not run"))),
        ]);
        assert!(tally.close());
    }
}
