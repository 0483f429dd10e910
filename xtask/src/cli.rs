//! The command line: verbs, and the options that every verb takes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};

/// Boots unfold in QEMU: with no verb it runs the main job, which swaps 256 MiB out in three ways and prints what each cost.
#[derive(Parser, Debug)]
#[command(name = "qemu-run.sh", bin_name = "qemu-run.sh", version)]
#[command(
    after_help = "Exit status: 0 only when the guest said so and QEMU agrees; 2 wrong command line; 124 time limit; \
    125 guest and QEMU disagree, or QEMU failed; 130 interrupted; with `run`, the program's own (126 not runnable, 127 not found)."
)]
pub struct Cli {
    /// What every verb takes.
    #[command(flatten)]
    pub options: Options,
    /// What to do.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What to do; nothing means the main job.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Run every test: on the host, in the guest on each CPU, programs at EL0, counts against the plugin
    Test {
        /// Only those whose name contains this
        filter: Option<String>,
    },
    /// Run a static arm64 Linux program in the guest; exits with its status
    Run {
        // The names are those of `user/src/bin`.
        /// The program: a file of this machine, or the name of one of ours (abi, bad, badswap, files, fuzz, hello, huge, look, pins,
        /// pressure, procs, steps, swapout, threads, touch, uffd); then its arguments
        #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["PROGRAM", "ARGS"])]
        command: Vec<OsString>,
    },
    /// What each step costs of 256 MiB with data in it, beside Linux: page-out, swap-in, fork, moves, munmap
    Steps,
    /// What reclaim of 256 MiB costs that 1, 2, 8 and 32 processes share after fork
    Shared,
    /// Play sequences of events, right and wrong ones for every rule of the MMU, and compare the verdicts with what is recorded
    Scenarios {
        /// Only those whose name contains this; or `list`, `show NAME` for one with its verdict, --bless to record what comes out
        #[arg(num_args = 0.., allow_hyphen_values = true, value_names = ["FILTER"])]
        arguments: Vec<String>,
    },
    /// Run the main job under a QEMU plugin that counts by itself, and compare interval by interval
    VerifyCounts,
    /// Switch on each known defect in turn, and look whether it is caught
    Mutants {
        /// Only those whose name contains this
        filter: Option<String>,
    },
    /// The long random runs, round by round; goes on where the last call stopped
    Soak {
        /// How long; a round is finished in any case
        #[arg(long, value_name = "HOURS", default_value_t = 0.5, value_parser = parse_hours)]
        hours: f64,
    },
    /// Boot a kernel ELF that cargo built (used as cargo's runner)
    #[command(hide = true)]
    Boot {
        /// The ELF file
        kernel: PathBuf,
    },
}

/// Options of every verb; they stand before a program's own arguments.
#[derive(Args, Debug, Clone)]
pub struct Options {
    /// CPU to emulate: max, neoverse-n1, cortex-a72 or another that QEMU has
    #[arg(long, global = true, value_name = "CPU", default_value = "max")]
    pub cpu: String,
    /// Number of CPUs
    #[arg(long, global = true, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub smp: u32,
    /// Memory of the machine
    #[arg(long, global = true, value_name = "SIZE", default_value = "1G", value_parser = parse_memory)]
    pub mem: String,
    /// Size of the swap device; 0 for none. Behind a comma how it behaves: `512M,async`, `512M,unreadable=19-20`
    #[arg(long, global = true, value_name = "SIZE[,...]", default_value = "512M", value_parser = parse_swap)]
    pub swap: String,
    /// Huge pages to set aside for MAP_HUGETLB, of 64K and of 2M
    #[arg(long, global = true, value_name = "SIZE:COUNT,...")]
    pub hugepages: Option<String>,
    /// Folio size to use whenever it fits: 16K, 32K, 64K ... 2M, or Linux's `64K=always;128K=madvise` form
    #[arg(long, global = true, value_name = "SIZE")]
    pub thp: Option<String>,
    /// Switches of memory management, as in unmap=folio,contpte=off; the kernel lists the right ones for a wrong one
    #[arg(long, global = true, value_name = "KEY=VALUE,...", value_parser = parse_policy)]
    pub policy: Vec<String>,
    /// Count instructions: virtual time advances by instructions executed (this is the default)
    #[arg(long, global = true, overrides_with = "no_icount")]
    pub icount: bool,
    /// Let virtual time follow the host's: faster, not repeatable
    #[arg(long, global = true)]
    pub no_icount: bool,
    /// Boot at EL2, as with a hypervisor's CPU
    #[arg(long, global = true)]
    pub el2: bool,
    /// Hold every event of the kernel against the model of a TLB as stale as it may be; the kernel stops at the first breach of a rule
    #[arg(long, global = true)]
    pub check: bool,
    /// Wait for a debugger, and print the command for it
    #[arg(long, global = true)]
    pub gdb: bool,
    /// Port on which --gdb waits
    #[arg(long, global = true, value_name = "PORT", default_value_t = 1234)]
    pub gdb_port: u16,
    /// End QEMU after this time: 90, 90s or 2m
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_time)]
    pub timeout: Option<Duration>,
    /// Print the counters in a table at exit
    #[arg(long, global = true)]
    pub counters: bool,
    /// Write what was counted to this file
    #[arg(long, global = true, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Hand these arguments to QEMU; may be given more than once
    #[arg(long, global = true, value_name = "ARGS", allow_hyphen_values = true)]
    pub qemu: Vec<String>,
    /// Hand these words to the kernel's command line; may be given more than once
    #[arg(long, global = true, value_name = "WORDS")]
    pub append: Vec<String>,
    /// Say what is done, and with `run` show the kernel's banner
    #[arg(long, short, global = true)]
    pub verbose: bool,
}

impl Options {
    /// The words of the kernel's command line that these options stand for.
    pub fn kernel_words(&self) -> Vec<String> {
        let mut words = vec![format!("swap={}", self.swap)];
        words.extend(self.hugepages.iter().map(|pools| format!("hugepages={pools}")));
        if let Some(thp) = &self.thp {
            let names_its_use = thp.contains(['=', ':']);
            words.push(if names_its_use { format!("thp={thp}") } else { format!("thp={thp}=always") });
        }
        words.extend(self.policy.iter().flat_map(|policy| policy_words(policy)));
        words.extend(self.append.iter().flat_map(|words| words.split_whitespace()).map(str::to_owned));
        words
    }

    /// Whether virtual time counts instructions.
    pub fn counts_instructions(&self) -> bool {
        !self.no_icount
    }
}

/// Reads the command line; a mistake ends the process with status 2 and the list of what would have been right.
pub fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        if error.kind() == ErrorKind::UnknownArgument {
            eprintln!("\nOptions are: {}", option_names().join(" "));
        } else if error.kind() == ErrorKind::InvalidSubcommand {
            if let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidSubcommand) {
                eprintln!("\n`{wrong}` is no verb. To run a program in the guest: qemu-run.sh run {wrong}");
            }
        }
        std::process::exit(error.exit_code());
    })
}

fn option_names() -> Vec<String> {
    let command = Cli::command();
    command.get_arguments().filter_map(|argument| argument.get_long()).map(|name| format!("--{name}")).collect()
}

/// The words of `KEY=VALUE,...`. One value has a comma in it: `bbm=elide,assume=noabort`.
fn policy_words(policy: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for part in policy.split(',') {
        match words.last_mut() {
            Some(word) if part.starts_with("assume=") => *word = format!("{word},{part}"),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

/// A size as QEMU and the kernel both read it: digits and K, M or G.
fn parse_size(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches(['K', 'M', 'G', 'k', 'm', 'g']);
    let suffix = &text[digits.len()..];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) || suffix.len() > 1 {
        return Err("a size is a number with K, M or G behind it, as in 512M".to_owned());
    }
    if suffix.is_empty() && digits != "0" {
        return Err(format!("say which unit: {digits}M or {digits}G"));
    }
    Ok(text.to_uppercase())
}

/// A size of which 0 is none: to QEMU it would mean its own default.
fn parse_memory(text: &str) -> Result<String, String> {
    let size = parse_size(text)?;
    let is_none = size.trim_end_matches(['K', 'M', 'G']).bytes().all(|digit| digit == b'0');
    if is_none { Err("a machine needs memory, as in 512M".to_owned()) } else { Ok(size) }
}

/// A size, and words that the kernel knows.
fn parse_swap(text: &str) -> Result<String, String> {
    match text.split_once(',') {
        None => parse_size(text),
        Some((_, behaviour)) if behaviour.contains(char::is_whitespace) => {
            Err("how the device behaves is one word, as in async,unreadable=19-20".to_owned())
        }
        Some((size, behaviour)) => Ok(format!("{},{behaviour}", parse_size(size)?)),
    }
}

fn parse_policy(text: &str) -> Result<String, String> {
    for word in text.split(',') {
        let named = word.split_once('=').is_some_and(|(key, value)| !key.is_empty() && !value.is_empty());
        if !named || word.contains(char::is_whitespace) {
            return Err(format!("`{word}` is not KEY=VALUE, as in unmap=folio"));
        }
    }
    Ok(text.to_owned())
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let (digits, unit) = match text.strip_suffix('m') {
        Some(digits) => (digits, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    match digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)) {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err("a time is a number of seconds, or as in 2m of minutes".to_owned()),
    }
}

fn parse_hours(text: &str) -> Result<f64, String> {
    const MOST: f64 = 10_000.0;
    let hours = text.parse().ok().filter(|&hours| hours > 0.0 && hours <= MOST);
    hours.ok_or_else(|| format!("hours are a number above 0 and up to {MOST}, as in 0.5"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_stand_on_both_sides_of_the_verb() {
        for line in ["x --cpu cortex-a72 run a.out", "x run --cpu cortex-a72 a.out"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.options.cpu, "cortex-a72");
        }
    }

    #[test]
    fn what_follows_the_program_is_its_own() {
        let cli = Cli::try_parse_from("x run --counters prog --cpu --bogus -x -- y".split(' ')).unwrap();
        assert!(cli.options.counters);
        assert_eq!(cli.options.cpu, "max");
        let Some(Verb::Run { command }) = cli.verb else { panic!() };
        assert_eq!(command, ["prog", "--cpu", "--bogus", "-x", "--", "y"]);
    }

    #[test]
    fn a_wrong_option_before_the_program_is_refused() {
        for line in
            ["x run --bogus prog", "x --bogus", "x --swap 5", "x --swap 5Q", "x --policy unmap", "x --timeout 0"]
        {
            assert_eq!(Cli::try_parse_from(line.split(' ')).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn hours_and_memory_that_make_no_sense_are_refused() {
        for line in ["--hours=-1", "--hours=nan", "--hours=inf", "--hours=1e300", "--hours=abc", "--hours=0"] {
            assert_eq!(Cli::try_parse_from(["x", "soak", line]).unwrap_err().exit_code(), 2, "{line}");
        }
        assert!(Cli::try_parse_from(["x", "soak", "--hours=0.01"]).is_ok());
        for size in ["0", "0M", "00G", "x"] {
            assert_eq!(Cli::try_parse_from(["x", "--mem", size]).unwrap_err().exit_code(), 2, "{size}");
        }
    }

    #[test]
    fn the_version_can_be_asked_for() {
        assert_eq!(Cli::try_parse_from(["x", "--version"]).unwrap_err().kind(), ErrorKind::DisplayVersion);
    }

    #[test]
    fn the_help_of_run_names_every_program() {
        let files = std::fs::read_dir(crate::root().join("user/src/bin")).unwrap();
        let stem = |file: std::fs::DirEntry| file.path().file_stem().unwrap().to_str().unwrap().to_owned();
        let mut names: Vec<_> = files.map(|file| stem(file.unwrap())).collect();
        names.sort();
        let mut command = Cli::command();
        let help = command.find_subcommand_mut("run").unwrap().render_long_help().to_string();
        let help: Vec<_> = help.split_whitespace().collect();
        assert!(help.join(" ").contains(&format!("one of ours ({});", names.join(", "))), "{names:?}");
    }

    #[test]
    fn words_for_the_kernel() {
        let cli = Cli::try_parse_from(
            "x --thp 64K --policy unmap=page,bbm=elide,assume=noabort,contpte=off --swap 1g".split(' '),
        )
        .unwrap();
        assert_eq!(
            cli.options.kernel_words(),
            ["swap=1G", "thp=64K=always", "unmap=page", "bbm=elide,assume=noabort", "contpte=off"]
        );
    }
}
