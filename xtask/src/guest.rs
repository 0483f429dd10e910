//! One run of the guest: QEMU started, its channels read, its end waited for, and what it all means.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cli::Options;
use crate::command;
use crate::initrd::{self, Program};
use crate::interrupt::Interrupt;
use crate::qemu::{BootFiles, Qemu};
use crate::records::{Log, Verdict};

/// Exit status of a run that ran into its time limit.
pub const TIMED_OUT: u8 = 124;
/// Exit status when guest and QEMU disagree, or QEMU failed.
pub const DISAGREED: u8 = 125;
/// How often a waiting thread looks again.
const PAUSE: Duration = Duration::from_millis(5);

/// What one run is made of.
#[derive(Debug)]
pub struct Boot<'a> {
    /// The QEMU to use.
    pub qemu: &'a Qemu,
    /// The machine.
    pub options: &'a Options,
    /// The kernel's Image.
    pub image: &'a [u8],
    /// The programs of the initrd.
    pub programs: Vec<Program>,
    /// The kernel's command line.
    pub command_line: String,
    /// More arguments for QEMU.
    pub arguments: Vec<String>,
    /// Time limit, if the options give none.
    pub limit: Option<Duration>,
    /// Whether people watch; otherwise everything is only collected.
    pub live: bool,
    /// Whether this program's standard input goes to the guest's UART.
    pub input: bool,
}

/// How QEMU ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status; none if a signal ended it.
    Exited(Option<i32>),
    /// It was ended at the time limit.
    TimedOut,
    /// It was ended because a signal came; this is the status for it.
    Interrupted(u8),
}

/// What a run left behind.
#[derive(Debug)]
pub struct Outcome {
    /// What came from the kernel and from QEMU itself.
    pub log: Log,
    /// What came over the UART; empty if it went to the terminal.
    pub output: Vec<u8>,
    /// How QEMU ended.
    pub end: End,
    /// Wall time.
    pub time: Duration,
}

/// What a run comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The status to exit with.
    pub status: u8,
    /// What is wrong with the run as such, whatever the program in it did.
    pub complaint: Option<String>,
}

impl Outcome {
    /// The last lines of both channels, for a failed test's report.
    pub fn tail(&self) -> String {
        const LINES: usize = 40;
        let output = String::from_utf8_lossy(&self.output);
        let output: Vec<_> = output.lines().collect();
        let messages = &self.log.messages;
        let mut text = format!("--- the end of the UART's output, after {:.1} s\n", self.time.as_secs_f64());
        text += &output[output.len().saturating_sub(LINES)..].join("\n");
        text += "\n--- the end of the messages\n";
        text + &messages[messages.len().saturating_sub(LINES)..].join("\n")
    }

    /// The status, believed only if the guest's verdict and QEMU's exit status agree.
    pub fn judge(&self) -> Judgement {
        let code = match self.end {
            End::TimedOut => return Judgement::bad(TIMED_OUT, "time limit reached; QEMU was ended".to_owned()),
            End::Interrupted(status) => return Judgement::bad(status, "interrupted; QEMU was ended".to_owned()),
            End::Exited(code) => code,
        };
        match (self.log.verdict(), code) {
            (Some(Verdict { ok: true, status }), Some(code)) if i32::from(status) == code => {
                Judgement { status, complaint: None }
            }
            (Some(Verdict { ok: false, status }), Some(code)) if status != 0 && i32::from(status) == code => {
                Judgement::bad(status, format!("the kernel says that it failed (status {status})"))
            }
            (Some(verdict), code) => {
                let (said, exit) = (verdict.status, describe(code));
                Judgement::bad(
                    DISAGREED,
                    format!("the kernel's verdict is status {said}, ok {}; QEMU {exit}", verdict.ok),
                )
            }
            (None, code) => Judgement::bad(DISAGREED, format!("the kernel gave no verdict; QEMU {}", describe(code))),
        }
    }
}

impl Judgement {
    fn bad(status: u8, complaint: String) -> Self {
        Self { status, complaint: Some(complaint) }
    }
}

fn describe(code: Option<i32>) -> String {
    code.map_or_else(|| "was killed by a signal".to_owned(), |code| format!("exited with status {code}"))
}

impl Boot<'_> {
    /// Runs the guest to its end.
    pub fn run(&self, interrupt: &Interrupt) -> Result<Outcome> {
        let directory = tempfile::Builder::new().prefix("unfold-").tempdir().context("no temporary directory")?;
        let path = |name: &str| directory.path().join(name);
        let (image, initrd) = (path("Image"), path("initrd"));
        std::fs::write(&image, self.image)?;
        std::fs::write(&initrd, initrd::pack(&self.programs)?)?;
        let files = BootFiles { image: &image, initrd: &initrd, command_line: &self.command_line };
        let mut qemu = self.qemu.command(self.options, &files);
        qemu.args(&self.arguments);
        if crate::is_verbose() && self.live {
            eprintln!("qemu-run: {}", command::quote(&qemu));
        }
        let start = Instant::now();
        let mut child = spawn(&mut qemu, self.input)?;
        std::thread::scope(|scope| {
            let log = self.take_log(scope, &mut child);
            let output = self.take_output(scope, &mut child);
            let end = self.wait(&mut child, start, interrupt);
            Ok(Outcome { log: join(log), output: join(output), end: end?, time: start.elapsed() })
        })
    }

    /// Waits for QEMU, and ends it if it has to be ended.
    fn wait(&self, child: &mut Child, start: Instant, interrupt: &Interrupt) -> Result<End> {
        let limit = self.options.timeout.or(self.limit).filter(|_| !self.options.gdb || self.options.timeout.is_some());
        loop {
            if let Some(status) = child.try_wait()? {
                // Ctrl-C reaches QEMU too, which then ends as if all were well.
                return Ok(interrupt.status().map_or_else(|| End::Exited(code_of(status)), End::Interrupted));
            }
            let end = match (interrupt.status(), limit) {
                (Some(status), _) => End::Interrupted(status),
                (None, Some(limit)) if start.elapsed() >= limit => End::TimedOut,
                (None, _) => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
            };
            child.kill()?;
            child.wait()?;
            return Ok(end);
        }
    }

    fn take_log<'s>(&'s self, scope: &'s Scope<'s, '_>, child: &mut Child) -> ScopedJoinHandle<'s, Log> {
        let stderr = child.stderr.take();
        scope.spawn(move || {
            let mut log = Log::default();
            let _ = stderr.map(|stderr| {
                for_each_line(stderr, |line| {
                    if let (Some(message), true) = (log.take(line), self.live) {
                        eprintln!("{message}");
                    }
                })
            });
            log
        })
    }

    fn take_output<'s>(&'s self, scope: &'s Scope<'s, '_>, child: &mut Child) -> ScopedJoinHandle<'s, Vec<u8>> {
        let mut uart = child.stdout.take();
        scope.spawn(move || {
            let mut collected = Vec::new();
            let mut buffer = [0; 4096];
            while let Some(count) =
                uart.as_mut().and_then(|uart| uart.read(&mut buffer).ok()).filter(|&count| count > 0)
            {
                if self.live {
                    // Whoever read our output may have gone; the run goes on without them.
                    let mut terminal = std::io::stdout().lock();
                    let _ = terminal.write_all(&buffer[..count]).and_then(|()| terminal.flush());
                } else {
                    collected.extend_from_slice(&buffer[..count]);
                }
            }
            collected
        })
    }
}

/// Calls `each` with every line of `source`, whatever bytes it is made of.
fn for_each_line(source: impl Read, mut each: impl FnMut(&str)) -> std::io::Result<()> {
    let mut reader = BufReader::new(source);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        each(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(())
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn code_of(status: ExitStatus) -> Option<i32> {
    status.code()
}

/// Starts QEMU with pipes for its standard streams: were the terminal its own, it would change the terminal's mode.
fn spawn(qemu: &mut Command, input: bool) -> Result<Child> {
    command::die_with_parent(qemu);
    qemu.stdin(if input { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        qemu.spawn().with_context(|| format!("cannot start {}", Path::new(qemu.get_program()).display()))?;
    if let Some(mut pipe) = child.stdin.take() {
        // Ends with the process: a read of the terminal can not be called off.
        std::thread::spawn(move || std::io::copy(&mut std::io::stdin().lock(), &mut Unbuffered(&mut pipe)));
    }
    Ok(child)
}

/// Passes each piece on at once.
struct Unbuffered<'a, W: Write>(&'a mut W);

impl<W: Write> Write for Unbuffered<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write_all(bytes)?;
        self.0.flush()?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(end: End, verdict: Option<&str>) -> Outcome {
        let mut log = Log::default();
        verdict.map(|verdict| log.take(&format!("@unfold {{\"kind\":\"verdict\",{verdict}}}")).map(str::len));
        Outcome { log, output: Vec::new(), end, time: Duration::ZERO }
    }

    #[test]
    fn success_needs_the_verdict_and_the_status() {
        let good = outcome(End::Exited(Some(0)), Some(r#""ok":true,"status":0"#)).judge();
        assert_eq!(good, Judgement { status: 0, complaint: None });
        assert_eq!(outcome(End::Exited(Some(0)), None).judge().status, DISAGREED);
        assert_eq!(outcome(End::Exited(Some(1)), Some(r#""ok":true,"status":0"#)).judge().status, DISAGREED);
        assert_eq!(outcome(End::Exited(Some(0)), Some(r#""ok":false,"status":0"#)).judge().status, DISAGREED);
        assert_eq!(outcome(End::Exited(None), Some(r#""ok":true,"status":0"#)).judge().status, DISAGREED);
    }

    #[test]
    fn a_program_s_status_is_passed_on() {
        let run = outcome(End::Exited(Some(139)), Some(r#""ok":true,"status":139"#)).judge();
        assert_eq!(run, Judgement { status: 139, complaint: None });
        let panic = outcome(End::Exited(Some(101)), Some(r#""ok":false,"status":101"#)).judge();
        assert_eq!(panic.status, 101);
        assert!(panic.complaint.is_some());
    }

    #[test]
    fn ends_of_our_making_have_their_status() {
        assert_eq!(outcome(End::TimedOut, Some(r#""ok":true,"status":0"#)).judge().status, TIMED_OUT);
        assert_eq!(outcome(End::Interrupted(130), None).judge().status, 130);
    }
}
