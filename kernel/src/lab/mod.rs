//! What the kernel measures, shows and tests of itself: the top floor.
//!
//! 1. A figure in a table was counted in this run; Linux's, which stand beside, are in `linux` with their conditions.
//! 2. Nothing is printed between the marks of an interval.
//! 3. A test that can not fail is a defect.

pub mod counters;
pub mod grid;
pub mod linux;

#[cfg(target_os = "none")]
mod access;
#[cfg(target_os = "none")]
mod checks;
#[cfg(target_os = "none")]
mod conditions;
#[cfg(target_os = "none")]
mod ground;
#[cfg(target_os = "none")]
pub mod interval;
#[cfg(target_os = "none")]
mod other_cpu;
#[cfg(target_os = "none")]
mod program;
#[cfg(target_os = "none")]
mod shared;
#[cfg(target_os = "none")]
mod steps;
#[cfg(target_os = "none")]
mod table;
#[cfg(target_os = "none")]
mod tests;

#[cfg(target_os = "none")]
pub use job::run;

#[cfg(target_os = "none")]
mod job {
    use mmu::Door;

    use super::{counters::Counts, interval, program, shared, steps, table, tests};
    use crate::command_line::{Job, LogTarget, Options};
    use crate::dev::{log as kernel_log, record};

    /// The exit status of a run that could not begin.
    const FAILED: u8 = 1;
    /// The exit status of a wrong command line.
    const BAD_COMMAND_LINE: u8 = 2;

    /// Does what the command line says, and ends the machine.
    pub fn run(options: &Options) -> ! {
        crate::check::start();
        if let Err(message) = crate::memory::start(options) {
            log::error!("{message}");
            kernel_log::finish(false, FAILED);
        }
        interval::start();
        match options.job {
            Job::Run => run_program(options),
            Job::Steps => end(steps::run(options)),
            Job::Shared => end(shared::run(options)),
            Job::Test => end(tests::run(options)),
            _ => end(table::run(options)),
        }
    }

    fn end(good: bool) -> ! {
        let good = crate::check::is_clean() && good;
        kernel_log::finish(good, if good { 0 } else { FAILED })
    }

    /// Where the checker watches: whether memory is as it is when no program runs.
    fn is_all_given_back() -> bool {
        let outcome = if Door::IS_WATCHED { mm::audit::recount(crate::memory(), &[]) } else { Ok(()) };
        if let Err(finding) = &outcome {
            log::error!("after the program: {finding}");
        }
        outcome.is_ok()
    }

    fn run_program(options: &Options) -> ! {
        let Some(name) = &options.init else {
            log::error!("command line: job=run needs init=NAME, a program of the initrd");
            kernel_log::finish(false, BAD_COMMAND_LINE)
        };
        let arguments: alloc::vec::Vec<&str> = options.arguments.iter().map(|argument| &**argument).collect();
        let status = program::run(name, &arguments);
        let intervals = interval::take();
        if options.verify || options.counters {
            interval::record(&intervals, name);
        }
        if options.counters {
            let counts = Counts::now(crate::memory());
            if options.log == LogTarget::Uart {
                // Whoever reads the host's channel makes a table of the record.
                log::info!("{counts}");
            }
            record::write(format_args!(r#"{{"kind":"counters"{}}}"#, counts.fields()));
        }
        if !crate::check::is_clean() || !is_all_given_back() {
            kernel_log::finish(false, FAILED);
        }
        kernel_log::finish(true, status.code())
    }
}
