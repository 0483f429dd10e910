//! What the verbs without tests do: the main job, and a program of the host.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::build::{self, Build};
use crate::cli::Options;
use crate::command;
use crate::guest::{Boot, Outcome};
use crate::initrd::{self, Program};
use crate::interrupt::Interrupt;
use crate::plugin::Plugin;
use crate::qemu::Qemu;
use crate::report;
use crate::verify;

/// A main job that takes longer hangs.
pub const MAIN_JOB_LIMIT: Duration = Duration::from_secs(300);
/// Status of a program that was not found, as a shell has it.
pub const NOT_FOUND: u8 = 127;

/// Bytes that stand for themselves among a program's arguments on the kernel's command line.
pub const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'/')
    .remove(b'=')
    .remove(b':')
    .remove(b',')
    .remove(b'+');

/// Everything that a verb works with.
#[derive(Debug, Clone, Copy)]
pub struct Bench<'a> {
    /// The options of the command line.
    pub options: &'a Options,
    /// QEMU.
    pub qemu: &'a Qemu,
    /// Kernel and programs.
    pub build: &'a Build,
    /// The compiler's version, for the report.
    pub compiler: &'a str,
    /// Signals.
    pub interrupt: &'a Interrupt,
}

impl Bench<'_> {
    /// Boots with `words` on the kernel's command line, for people to watch.
    fn boot(&self, words: &[String], programs: Vec<Program>, limit: Option<Duration>, input: bool) -> Result<Outcome> {
        if self.options.gdb {
            announce_debugger(&self.build.kernel, self.options.gdb_port);
        }
        let boot = Boot {
            qemu: self.qemu,
            options: self.options,
            image: &self.build.image,
            programs,
            command_line: self.command_line(&words.join(" ")),
            arguments: Vec::new(),
            limit,
            live: true,
            input,
        };
        boot.run(self.interrupt)
    }

    /// The kernel's command line: QEMU's version first, for figures depend on it, and arguments stay last.
    fn command_line(&self, words: &str) -> String {
        let version = self.qemu.version_text.trim_start_matches("QEMU emulator version ");
        format!("qemu={} {words}", percent_encode(version.as_bytes(), PLAIN))
    }

    /// A run that nobody watches, with all our programs.
    pub fn quiet_boot<'b>(&'b self, options: &'b Options, words: &str, limit: Duration) -> Boot<'b> {
        Boot {
            qemu: self.qemu,
            options,
            image: &self.build.image,
            programs: self.build.programs.clone(),
            command_line: self.command_line(words),
            arguments: Vec::new(),
            limit: Some(limit),
            live: false,
            input: false,
        }
    }

    /// The main job under the plugin; 1 if anything differs.
    pub fn verify_counts(&self) -> Result<u8> {
        let plugin = Plugin::build(self.qemu)?;
        let mut words = vec!["job=table".to_owned(), "log=uart".to_owned(), "verify=on".to_owned()];
        words.extend(self.options.kernel_words());
        let mut boot = self.quiet_boot(self.options, &words.join(" "), MAIN_JOB_LIMIT);
        boot.live = true;
        let comparison = verify::verify(boot, &plugin, "main", self.interrupt)?;
        println!(
            "\nThe kernel's counts (and the plugin's, where they differ), for each marked interval:\n{}",
            comparison.table
        );
        comparison.differences.iter().for_each(|difference| println!("{difference}"));
        println!("{} passed, {} failed", comparison.passed, comparison.failed());
        Ok(u8::from(!comparison.is_good()))
    }

    /// A job that prints tables, such as the main one, `table`: everything goes to standard output.
    pub fn table(&self, job: &str) -> Result<u8> {
        self.check_json()?;
        let mut words = vec![format!("job={job}"), "log=uart".to_owned()];
        words.extend(self.options.kernel_words());
        let outcome = self.boot(&words, self.build.programs.clone(), Some(MAIN_JOB_LIMIT), false)?;
        self.finish(&outcome, &words)
    }

    /// A program: standard output is its alone, the kernel speaks on standard error.
    pub fn run(&self, command: &[OsString]) -> Result<u8> {
        self.check_json()?;
        let (program, arguments) = command.split_first().context("no program")?;
        let Some((name, programs)) = choose(Path::new(program), &self.build.programs)? else {
            let ours: Vec<_> = self.build.programs.iter().map(|program| program.name.as_str()).collect();
            let program = program.to_string_lossy();
            eprintln!("qemu-run: no program `{program}`: neither a file here, nor one of ours ({})", ours.join(", "));
            return Ok(NOT_FOUND);
        };
        let mut words = run_words(&name);
        if crate::is_verbose() {
            words.push("banner=on".to_owned());
        }
        if self.options.counters || self.options.json.is_some() {
            words.push("counters=on".to_owned());
        }
        words.extend(self.options.kernel_words());
        words.extend(argument_words(arguments));
        let outcome = self.boot(&words, programs, None, true)?;
        self.finish(&outcome, &words)
    }

    /// Whether the file for what is counted can be written, before anything is: what it has is kept until then.
    fn check_json(&self) -> Result<()> {
        if let Some(file) = &self.options.json {
            let opened = std::fs::OpenOptions::new().append(true).create(true).open(file);
            opened.with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }

    fn finish(&self, outcome: &Outcome, words: &[String]) -> Result<u8> {
        let judgement = outcome.judge();
        if let Some(complaint) = &judgement.complaint {
            eprintln!("qemu-run: {complaint}");
        }
        if self.options.counters {
            report::print_counters(&outcome.log);
        }
        if let Some(file) = &self.options.json {
            let run = report::Run {
                qemu: &self.qemu.version_text,
                cpu: &self.options.cpu,
                compiler: self.compiler,
                command_line: &words.join(" "),
                status: judgement.status,
            };
            report::write_json(file, &run, &outcome.log)?;
        }
        Ok(judgement.status)
    }
}

/// The words that have the kernel run `name`.
pub fn run_words(name: &str) -> Vec<String> {
    vec!["job=run".to_owned(), "log=host".to_owned(), format!("init={}", initrd::entry_name(name))]
}

/// A program's arguments as words behind `--`: percent-encoded, and a lone `%` for an empty one.
pub fn argument_words(arguments: &[OsString]) -> Vec<String> {
    if arguments.is_empty() {
        return Vec::new();
    }
    let encode = |argument: &OsString| match argument.as_bytes() {
        [] => "%".to_owned(),
        bytes => percent_encode(bytes, PLAIN).to_string(),
    };
    std::iter::once("--".to_owned()).chain(arguments.iter().map(encode)).collect()
}

/// The program that is meant, and all programs with it among them.
fn choose(program: &Path, ours: &[Program]) -> Result<Option<(String, Vec<Program>)>> {
    let name = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if program.is_dir() {
        bail!("{} is a directory", program.display());
    }
    if program.exists() {
        // A file name may hold anything; the kernel's command line may not.
        let name: String = name.chars().map(|c| if c.is_ascii_graphic() && c != '%' { c } else { '_' }).collect();
        let mut programs = vec![Program { name: name.clone(), data: build::read(program)? }];
        programs.extend(ours.iter().filter(|other| other.name != name).cloned());
        return Ok(Some((name, programs)));
    }
    let is_ours = program.components().count() == 1 && ours.iter().any(|other| other.name == name);
    Ok(is_ours.then(|| (name, ours.to_vec())))
}

fn announce_debugger(kernel: &Path, port: u16) {
    let debugger = ["gdb-multiarch", "aarch64-linux-gnu-gdb", "aarch64-elf-gdb", "rust-gdb", "gdb"];
    let debugger = debugger.into_iter().find(|name| command::find(name).is_some()).unwrap_or("gdb-multiarch");
    eprintln!("qemu-run: waiting for a debugger; in the other terminal type:");
    eprintln!("  {debugger} {} -ex 'target remote :{port}' -ex 'hbreak kernel_main' -ex continue", kernel.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_survive_the_command_line() {
        assert!(argument_words(&[]).is_empty());
        let arguments = ["a b", "", "100%", "--x=1", "é"].map(OsString::from);
        assert_eq!(argument_words(&arguments), ["--", "a%20b", "%", "100%25", "--x=1", "%C3%A9"]);
    }

    #[test]
    fn a_file_of_the_host_comes_before_ours() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("hello");
        std::fs::write(&file, b"host").unwrap();
        let ours = [Program { name: "hello".to_owned(), data: b"ours".to_vec() }];
        let (name, programs) = choose(&file, &ours).unwrap().unwrap();
        assert_eq!((name.as_str(), programs.len()), ("hello", 1));
        assert_eq!(programs[0].data, b"host");
        assert_eq!(choose(Path::new("hello"), &ours).unwrap().unwrap().1[0].data, b"ours");
        assert!(choose(Path::new("./hello"), &ours).unwrap().is_some_and(|_| false) || !Path::new("./hello").exists());
        assert!(choose(Path::new("absent"), &ours).unwrap().is_none());
        assert!(choose(directory.path(), &ours).is_err());
    }
}
