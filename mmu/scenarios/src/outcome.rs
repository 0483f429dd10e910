//! What came of a scenario, in its own words: pages, frames and lines by their numbers.

use mmu::model::{Breach, Level, Model, Rule, Verdict, When};
use mmu::{Asid, PAGE_SIZE, TABLE_SPAN, VirtAddr};

use crate::entry::describe;
use crate::stage::{PAGES, Stage, frame_zero};

/// For each line that was played: its number in the file, its text, and the number of events that had happened after it.
pub struct Played {
    /// The line's number.
    pub number: usize,
    /// What it says.
    pub text: String,
    /// Events so far.
    pub events: u64,
}

/// The outcome, one line each, as it stands behind `expect`. Of the lints only that of `rule` is told.
pub fn outcome(stage: &Stage, played: &[Played], rule: Rule) -> Vec<String> {
    let teller = Teller { stage, played };
    stage.machine.with_model(|model| match model.verdict() {
        Verdict::Unknown(why) => vec![format!("{} unknown", Rule::LostEvents), format!("{INDENT}{why}")],
        Verdict::Breach(breach) => teller.breach(breach),
        Verdict::Pass => {
            let mut lines: Vec<_> = model.warnings().flat_map(|warning| teller.breach(warning)).collect();
            lines.extend(cost(model, rule));
            if lines.is_empty() { vec!["pass".to_owned()] } else { lines }
        }
    })
}

const INDENT: &str = "    ";

fn cost(model: &Model, rule: Rule) -> Option<String> {
    let (_, count) = model.lints().find(|&(lint, count)| lint == rule && count > 0)?;
    Some(format!("{rule} cost {count}"))
}

struct Teller<'a> {
    stage: &'a Stage,
    played: &'a [Played],
}

impl Teller<'_> {
    fn breach(&self, breach: &Breach) -> Vec<String> {
        let level = if breach.rule.level() == Level::Warning { "warning" } else { "error" };
        let mut lines = vec![format!("{} {level}", breach.rule), breach.what.to_owned()];
        lines.extend(place(breach.address, breach.asid));
        lines.push(self.moment("", &breach.when));
        if let Some(held) = &breach.held {
            let entry = match self.stage.table_at(held.entry.address()) {
                Some(table) => format!("the way to table {table}"),
                None => describe(held.entry, frame_zero()),
            };
            lines.push(format!("{} may still hold {entry}", cpus(held.cpus)));
            lines.push(self.moment("which was replaced in ", &held.replaced));
            if let Some((event, _)) = held.near {
                lines.push(format!("in spite of {}", self.line_of(event)));
            }
        }
        for line in &mut lines[1..] {
            line.insert_str(0, INDENT);
        }
        lines
    }

    fn moment(&self, words: &str, when: &When) -> String {
        format!("{words}{}", self.line_of(when.event))
    }

    /// The line in which an event happened.
    fn line_of(&self, event: u64) -> String {
        match self.played.iter().find(|played| event <= played.events) {
            Some(played) => format!("line {}: {}", played.number, played.text),
            None => format!("event {event}"),
        }
    }
}

/// Where it is: a page of the table that scenarios speak of, a frame, or an address as it is.
fn place(address: VirtAddr, asid: Asid) -> Option<String> {
    let (pages, frames) = (PAGES.as_u64(), frame_zero().start().as_u64());
    match address.as_u64() {
        0 => None,
        at if (pages..pages + TABLE_SPAN).contains(&at) => {
            Some(format!("page {} of ASID {}", (at - pages) / PAGE_SIZE, asid.as_u16()))
        }
        at if (frames..pages).contains(&at) => Some(format!("frame {}", (at - frames) / PAGE_SIZE)),
        at => Some(format!("address {at:#x}")),
    }
}

/// `CPU 0`, or `CPUs 0 and 1`.
fn cpus(set: u8) -> String {
    let numbers: Vec<_> = (0..u8::BITS).filter(|cpu| set & (1 << cpu) != 0).map(|cpu| cpu.to_string()).collect();
    format!("{} {}", if numbers.len() == 1 { "CPU" } else { "CPUs" }, numbers.join(" and "))
}
