//! The kernel's command line: `key=value`, separated by spaces; what follows ` -- ` are the program's arguments.
//!
//! All keys stand in [`KEYS`]; those of memory management are passed on as they are (`mm::policy`).

mod hugepages;
mod swap;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub use hugepages::HugePages;
pub use swap::SwapOption;

/// What the kernel shall do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Job {
    /// The main job: the tables.
    Table,
    /// What each step of memory with data in it costs.
    Steps,
    /// What reclaim costs of memory that processes share.
    Shared,
    /// Run the program `init` to its end.
    Run,
    /// The in-guest tests.
    Test,
    /// Print the banner and stop.
    Boot,
    /// Print the kernel's own map and stop.
    Map,
    /// Start the machine anew, which QEMU's `-no-reboot` makes an end.
    Reset,
}

/// Where messages go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogTarget {
    /// The UART.
    Uart,
    /// The host's standard error.
    Host,
}

/// A way to fail on purpose, for tests of the report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// A panic.
    Panic,
    /// A read of an address that is not mapped.
    Fault,
    /// A call that never ends.
    Overflow,
    /// An undefined instruction.
    Undefined,
}

/// The command line, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// `job=`
    pub job: Job,
    /// `log=`
    pub log: LogTarget,
    /// `init=`
    pub init: Option<String>,
    /// What follows ` -- `, percent-decoded.
    pub arguments: Vec<String>,
    /// `swap=`
    pub swap: SwapOption,
    /// `hugepages=`
    pub huge_pages: HugePages,
    /// `tests=`
    pub tests: Option<String>,
    /// `counters=on`
    pub counters: bool,
    /// `quick=on`
    pub quick: bool,
    /// `verify=on`
    pub verify: bool,
    /// `banner=`; see [`Options::has_banner`].
    pub banner: Option<bool>,
    /// `crash=`
    pub crash: Option<Crash>,
    /// `qemu=`: QEMU's version, to be printed beside figures.
    pub qemu: Option<String>,
    /// `mutant=`: a known defect to switch on.
    #[cfg(feature = "mutants")]
    pub mutant: Option<mmu::mutant::Mutant>,
    /// Keys of memory management and their values, in order.
    pub policy: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            job: Job::Table,
            log: LogTarget::Uart,
            init: None,
            arguments: Vec::new(),
            swap: SwapOption::default(),
            huge_pages: HugePages::default(),
            tests: None,
            counters: false,
            quick: false,
            verify: false,
            banner: None,
            crash: None,
            qemu: None,
            #[cfg(feature = "mutants")]
            mutant: None,
            policy: Vec::new(),
        }
    }
}

impl Options {
    /// Whether the machine is described at the start: unless the command line says otherwise not for `job=run`, which shall look like
    /// running the program.
    pub fn has_banner(&self) -> bool {
        self.banner.unwrap_or(self.job != Job::Run)
    }
}

type Setter = fn(&mut Options, &str) -> bool;

/// Each key, the values that are right, and what takes them.
const KEYS: &[(&str, &str, Setter)] = &[
    ("job", "table, steps, shared, run, test, boot, map, reset", |options, value| {
        let jobs = [
            ("table", Job::Table),
            ("steps", Job::Steps),
            ("shared", Job::Shared),
            ("run", Job::Run),
            ("test", Job::Test),
            ("boot", Job::Boot),
            ("map", Job::Map),
            ("reset", Job::Reset),
        ];
        choose(&jobs, value, &mut options.job)
    }),
    ("log", "uart, host", |options, value| {
        choose(&[("uart", LogTarget::Uart), ("host", LogTarget::Host)], value, &mut options.log)
    }),
    ("init", "the name of a program in the initrd", |options, value| text(value, &mut options.init)),
    ("swap", swap::RIGHT, |options, value| swap::parse(value).map(|swap| options.swap = swap).is_some()),
    ("hugepages", hugepages::RIGHT, |options, value| {
        hugepages::parse(value).map(|pools| options.huge_pages = pools).is_some()
    }),
    ("tests", "a part of a test's name, percent-encoded", |options, value| {
        decode(value).is_ok_and(|name| text(&name, &mut options.tests))
    }),
    ("counters", "on, off", |options, value| switch(value, &mut options.counters)),
    ("quick", "on, off", |options, value| switch(value, &mut options.quick)),
    ("verify", "on, off", |options, value| switch(value, &mut options.verify)),
    ("banner", "on, off", |options, value| {
        choose(&[("on", Some(true)), ("off", Some(false))], value, &mut options.banner)
    }),
    ("crash", "panic, fault, overflow, undefined", |options, value| {
        let ways = [
            ("panic", Some(Crash::Panic)),
            ("fault", Some(Crash::Fault)),
            ("overflow", Some(Crash::Overflow)),
            ("undefined", Some(Crash::Undefined)),
        ];
        choose(&ways, value, &mut options.crash)
    }),
    ("qemu", "QEMU's version, percent-encoded", |options, value| {
        decode(value).is_ok_and(|version| text(&version, &mut options.qemu))
    }),
    #[cfg(feature = "mutants")]
    ("mutant", mmu::mutant::Mutant::NAMES, |options, value| {
        options.mutant = mmu::mutant::Mutant::named(value);
        options.mutant.is_some()
    }),
];

/// Takes `line` apart. `policy` are the keys that memory management knows.
///
/// # Errors
/// A message that names what would have been right.
pub fn parse(line: &str, policy: &[&str]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    for word in words.by_ref().take_while(|&word| word != "--") {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("'{word}' is not key=value"))?;
        if let Some((_, right, set)) = KEYS.iter().find(|(name, ..)| *name == key) {
            if !set(&mut options, value) {
                return Err(format!("{key}={value}: the value must be one of: {right}"));
            }
        } else if policy.contains(&key) {
            options.policy.push((key.into(), value.into()));
        } else {
            return Err(unknown(key, policy));
        }
    }
    options.arguments = words.map(decode).collect::<Result<_, _>>()?;
    Ok(options)
}

fn unknown(key: &str, policy: &[&str]) -> String {
    let names: Vec<&str> = KEYS.iter().map(|(name, ..)| *name).chain(policy.iter().copied()).collect();
    format!("unknown key '{key}'; the keys are: {}", names.join(", "))
}

fn choose<T: Copy>(choices: &[(&str, T)], value: &str, place: &mut T) -> bool {
    choices.iter().find(|(name, _)| *name == value).map(|&(_, choice)| *place = choice).is_some()
}

fn switch(value: &str, place: &mut bool) -> bool {
    choose(&[("on", true), ("off", false)], value, place)
}

fn text(value: &str, place: &mut Option<String>) -> bool {
    *place = Some(value.into());
    !value.is_empty()
}

/// A number of bytes with an optional K, M or G behind it.
pub fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `%20` and its kin: two hexadecimal digits behind each percent sign. A lone percent sign is the empty word, which could not stand
/// between spaces.
fn decode(word: &str) -> Result<String, String> {
    if word == "%" {
        return Ok(String::new());
    }
    let wrong = || format!("argument '{word}' is not percent-encoded UTF-8");
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (&[high, low], tail) = rest.split_first_chunk::<2>().ok_or_else(wrong)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or_else(wrong);
        bytes.push((digit(high)? << 4 | digit(low)?) as u8);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_the_main_job() {
        assert_eq!(parse("", &[]), Ok(Options::default()));
    }

    #[test]
    fn keys_policy_and_arguments() {
        let line = "job=run  init=hello swap=512M unmap=folio qemu=7.2.22%20(Debian) -- a%20b % %25 --";
        let options = parse(line, &["unmap"]).unwrap();
        assert_eq!((options.job, options.swap.bytes), (Job::Run, 512 << 20));
        assert_eq!(options.init.as_deref(), Some("hello"));
        assert_eq!(options.qemu.as_deref(), Some("7.2.22 (Debian)"));
        assert_eq!(options.arguments, ["a b", "", "%", "--"]);
        assert_eq!(options.policy, [("unmap".into(), "folio".into())]);
    }

    #[test]
    fn what_is_wrong_names_what_is_right() {
        let says = |line: &str| parse(line, &["unmap"]).unwrap_err();
        assert!(says("jbo=run").contains("job, log, init") && says("jbo=run").contains("unmap"));
        assert!(says("job=walk").contains("table, steps, shared, run, test"));
        assert!(says("swap=12Q").contains("512M"));
        assert!(says("quick").contains("key=value"));
        for word in ["%g1", "%+1", "a%", "%2", "%ff"] {
            assert!(says(&format!("job=run -- {word}")).contains("percent"), "{word}");
        }
    }

    #[test]
    #[cfg(feature = "mutants")]
    fn a_defect_has_its_name() {
        assert!(parse("mutant=short-range", &[]).unwrap().mutant.is_some());
        assert!(parse("mutant=shortrange", &[]).unwrap_err().contains("leaf-only, short-range, "));
    }

    #[test]
    #[cfg(not(feature = "mutants"))]
    fn without_defects_their_key_is_unknown() {
        assert!(parse("mutant=short-range", &[]).unwrap_err().contains("unknown key 'mutant'"));
    }

    #[test]
    fn a_program_runs_without_a_banner() {
        let shown = |line: &str| parse(line, &[]).unwrap().has_banner();
        assert_eq!(["", "job=boot", "banner=off"].map(shown), [true, true, false]);
        assert_eq!(["job=run", "job=run banner=on", "banner=on job=run"].map(shown), [false, true, true]);
    }

    #[test]
    fn sizes() {
        assert_eq!([size("4"), size("4K"), size("3G")], [Some(4), Some(4096), Some(3 << 30)]);
        assert_eq!([size(""), size("M"), size("1MK"), size("-1"), size("99999999999G")], [None; 5]);
    }
}
