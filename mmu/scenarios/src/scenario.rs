//! One scenario: a file of events, and the verdict on them that is recorded at its end.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use mmu::host::Config;
use mmu::model::Rule;

use crate::outcome::{Played, outcome};
use crate::stage::{Stage, frame_zero};
use crate::verb::{self, Verb};
use crate::words::{Words, Wrong};

/// A scenario that was read.
pub struct Scenario {
    /// The name of its file, without `.txt`.
    pub name: String,
    /// The rule that it is about.
    pub rule: Rule,
    /// Whether it is one that does right.
    pub is_good: bool,
    /// The first comment, in full.
    pub comment: String,
    /// All of the file but the recorded outcome.
    pub text: String,
    /// What is recorded, line by line.
    pub recorded: Vec<String>,
    path: PathBuf,
    config: Config,
    steps: Vec<Step>,
}

/// One event.
struct Step {
    number: usize,
    text: String,
    cpu: usize,
    verb: Verb,
}

/// What is wrong with a file, and where.
#[derive(Debug)]
pub struct Mistake {
    path: PathBuf,
    line: usize,
    wrong: Wrong,
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.path.file_name().unwrap_or_default().to_string_lossy();
        write!(out, "{file}:{}: {}", self.line, self.wrong)
    }
}

impl std::error::Error for Mistake {}

impl Scenario {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, Mistake> {
        let mistake = |line, wrong| Mistake { path: path.to_owned(), line, wrong };
        let text = fs::read_to_string(path).map_err(|error| mistake(0, error.to_string()))?;
        Self::parse(path, &text)
    }

    /// Reads a scenario that is called `path` from its text.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Mistake> {
        let mistake = |line: usize, wrong| Mistake { path: path.to_owned(), line, wrong };
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (rule, is_good) = meaning(&name).map_err(|wrong| mistake(1, wrong))?;
        let (events, recorded) = text.split_once("\nexpect ").unwrap_or((text, ""));
        let recorded = recorded.lines().map(|line| line.strip_prefix("expect ").unwrap_or(line).to_owned()).collect();
        let comment: Vec<_> = events.lines().map_while(|line| line.strip_prefix('#')).map(str::trim).collect();
        if comment.is_empty() {
            return Err(mistake(
                1,
                "the file begins with a comment: `# what happens, and why that is right or wrong`".into(),
            ));
        }
        let mut scenario = Self {
            name,
            rule,
            is_good,
            comment: comment.join(" "),
            text: events.trim_end().to_owned(),
            recorded,
            path: path.to_owned(),
            config: Config::default(),
            steps: Vec::new(),
        };
        for (index, line) in events.lines().enumerate() {
            scenario.line(index + 1, line).map_err(|wrong| mistake(index + 1, wrong))?;
        }
        Ok(scenario)
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), Wrong> {
        let text = line.split('#').next().unwrap_or_default().trim();
        let mut words = Words::of(text);
        match words.peek() {
            None => return Ok(()),
            Some("cpus" | "features") if !self.steps.is_empty() => {
                return Err("the machine is described before the first event".to_owned());
            }
            Some("cpus") => {
                words.expect("cpus")?;
                self.config.cpus = words.small()?;
                if !(1..=mmu::model::MAX_CPUS).contains(&self.config.cpus) {
                    return Err(format!("a machine has 1 to {} CPUs", mmu::model::MAX_CPUS));
                }
                return words.end();
            }
            Some("features") => {
                words.expect("features")?;
                while words.peek().is_some() {
                    self.feature(words.next("a feature")?)?;
                }
                return Ok(());
            }
            Some(_) => {}
        }
        let mut cpu = 0;
        if words.eat("cpu") {
            let word = words.next("a number with a colon, as in `cpu 1: isb`")?;
            let digits = word.strip_suffix(':').ok_or("a colon follows the number of the CPU: `cpu 1: isb`")?;
            cpu = digits.parse().map_err(|_| format!("`{digits}` is no number"))?;
            if cpu >= self.config.cpus {
                return Err(format!("there is no CPU {cpu}; `cpus {}` at the top makes it", cpu + 1));
            }
        }
        let verb = verb::parse(&mut words, frame_zero())?;
        self.steps.push(Step { number, text: text.to_owned(), cpu, verb });
        Ok(())
    }

    fn feature(&mut self, word: &str) -> Result<(), Wrong> {
        let (name, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is not NAME=VALUE, as in bbm=0"))?;
        let on = |value: &str| match value {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(format!("`{name}` is on or off")),
        };
        let features = &mut self.config.features;
        match name {
            "bbm" => {
                let levels = ["0", "1", "2", "3"];
                let level = levels.iter().position(|level| *level == value);
                features.bbm_level = level.ok_or("bbm is 0, 1, 2 or 3")? as u8;
            }
            "hafdbs" => (features.hardware_access, features.hardware_dirty) = (on(value)?, on(value)?),
            "range" => features.range_tlbi = on(value)?,
            "ttl" => features.level_hint = on(value)?,
            "asid" if value == "8" || value == "16" => features.asid_bits = if value == "8" { 8 } else { 16 },
            "asid" => return Err("asid is 8 or 16 bits".to_owned()),
            _ => return Err(format!("`{name}` is none of bbm, hafdbs, range, ttl, asid")),
        }
        Ok(())
    }

    /// Plays it, and tells what came of it.
    ///
    /// # Errors
    /// If a line asks for what is not there.
    pub fn play(&self) -> Result<Vec<String>, Mistake> {
        let mut stage = Stage::new(self.config);
        let mut played = Vec::new();
        for Step { number, text, cpu, verb } in &self.steps {
            let mistake = |wrong| Mistake { path: self.path.clone(), line: *number, wrong };
            stage.play(*cpu, verb).map_err(mistake)?;
            let events = stage.machine.with_model(mmu::model::Model::events);
            played.push(Played { number: *number, text: text.clone(), events });
        }
        Ok(outcome(&stage, &played, self.rule))
    }

    /// Whether the outcome is one of its kind: nothing found in a good one, its own rule and no other in a bad one.
    pub fn suits(&self, outcome: &[String]) -> bool {
        let heads: Vec<_> = outcome.iter().filter(|line| !line.starts_with(' ')).collect();
        if self.is_good {
            return heads == ["pass"];
        }
        !heads.is_empty() && heads.iter().all(|head| head.split(' ').next() == Some(self.rule.code()))
    }

    /// Records an outcome in the file.
    pub fn bless(&self, outcome: &[String]) -> std::io::Result<()> {
        let lines =
            outcome.iter().map(|line| if line.starts_with(' ') { line.clone() } else { format!("expect {line}") });
        fs::write(&self.path, format!("{}\n\n{}\n", self.text, lines.collect::<Vec<_>>().join("\n")))
    }
}

/// What a name such as `ms-20-bad` or `ms-40-bad-table` says.
fn meaning(name: &str) -> Result<(Rule, bool), Wrong> {
    let wrong = || format!("`{name}` is no name of a scenario: those are like ms-20-good and ms-40-bad-table");
    let code = name.get(..5).ok_or_else(wrong)?.to_uppercase();
    let rule = Rule::ALL.iter().copied().find(|rule| rule.code() == code).ok_or_else(wrong)?;
    match name[5..].split('-').nth(1) {
        Some("good") => Ok((rule, true)),
        Some("bad") => Ok((rule, false)),
        _ => Err(wrong()),
    }
}
