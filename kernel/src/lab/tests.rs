//! `job=test`: every test that runs in the guest, one record each.

use alloc::format;
use alloc::string::String;

use cases::Bench;

use super::access::Mmu;
use super::{checks, ground, interval, other_cpu};
use crate::command_line::Options;
use crate::dev::record::{self, Json};

/// MiB of memory, and of swap, that a large case may take.
const LARGE_CASE: usize = 256;

/// Runs the tests that are chosen and keeps the score.
pub struct Runner<'a> {
    /// Only tests whose name contains this.
    filter: &'a str,
    passed: usize,
    failed: usize,
}

impl Runner<'_> {
    /// Runs a test, if it is chosen.
    pub fn case(&mut self, name: &str, test: impl FnOnce() -> Result<(), String>) {
        if !name.contains(self.filter) {
            return;
        }
        let outcome = test();
        let message = outcome.as_ref().err().map_or("", |message| message);
        *if outcome.is_ok() { &mut self.passed } else { &mut self.failed } += 1;
        if outcome.is_ok() {
            log::info!("ok      {name}");
        } else {
            log::error!("FAILED  {name}: {message}");
        }
        let (name, message, ok) = (Json(name), Json(message), outcome.is_ok());
        record::write(format_args!(r#"{{"kind":"test","name":{name},"ok":{ok},"message":{message}}}"#));
    }
}

/// Runs the tests whose name contains what the command line says. Whether there is one and none fails. With `verify=on` each case of
/// memory management is an interval, for an observer outside.
pub fn run(options: &Options) -> bool {
    let mut runner = Runner { filter: options.tests.as_deref().unwrap_or(""), passed: 0, failed: 0 };
    for (name, test) in ground::ALL.iter().chain(ground::FIRST_CPU) {
        runner.case(name, test);
    }
    other_cpu::run(&mut runner);
    let bench = Bench::new(crate::memory(), &Mmu, LARGE_CASE).with_drive(crate::memory::drive());
    for case in cases::all() {
        let run = || bench.run(case.run);
        let measured = || interval::measure(case.name, run);
        runner.case(&format!("case/{}", case.name), || if options.verify { measured() } else { run() });
    }
    checks::run(&mut runner);
    let Runner { filter, passed, failed } = runner;
    if passed + failed == 0 {
        log::error!("no test has '{filter}' in its name");
    }
    log::info!("{passed} passed, {failed} failed");
    failed == 0 && passed > 0
}
