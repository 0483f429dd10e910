//! What an action cost: the columns of the reference's table 2.9 and what stands behind them, as differences of the counters.
//!
//! A case says what it expects as a line of text, `"g=2 r=22 x=16"`; columns that it does not name may be anything.

use alloc::format;
use alloc::string::String;

use mm::Memory;
use mmu::{Depth, Dsb, Form, Scope, TlbOp};

/// The names: first those of reference 2.9, then what they are made of, then others.
pub const NAMES: [&str; 28] = [
    "g", "r", "x", "s", "T", "I", "D", "U", "W", "k", "c", "b", "f", "n", "page", "range", "asid", "all", "walk",
    "local", "nshst", "nsh", "isb", "cas", "folds", "pending", "put_back", "links",
];

/// How many columns reference 2.9 has; they come first.
pub const OF_THE_REFERENCE: usize = 14;

/// A value for each of [`NAMES`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Columns([u64; NAMES.len()]);

fn kind(form: Form, depth: Depth, scope: Scope) -> usize {
    TlbOp { form, depth, scope, operand: 0 }.kind()
}

const FORMS: [Form; Form::COUNT] = [Form::Page, Form::Range, Form::Asid, Form::All, Form::PageAnyAsid];

impl Columns {
    /// The counters of this CPU now.
    pub fn now(memory: &Memory) -> Self {
        let (events, count) = (memory.door.events(), memory.count());
        let both = |form, scope| {
            [Depth::Leaf, Depth::WalkCaches]
                .iter()
                .map(|&depth| events.tlbi[kind(form, depth, scope)].get())
                .sum::<u64>()
        };
        let every = |scope| FORMS.iter().map(|&form| both(form, scope)).sum::<u64>();
        let deep = |form| events.tlbi[kind(form, Depth::WalkCaches, Scope::Broadcast)].get();
        let dsb = |kind: Dsb| events.dsb[kind as usize].get();
        Self([
            count.getters.get(),
            events.reads.get(),
            events.swaps.get(),
            events.stores.get(),
            every(Scope::Broadcast),
            dsb(Dsb::IshSt),
            dsb(Dsb::Ish),
            count.unfolds.get(),
            count.walk_turns.get(),
            count.swap_dups.get(),
            count.space_counts.get(),
            count.full_barriers.get(),
            count.ref_drops.get(),
            count.generations.get(),
            both(Form::Page, Scope::Broadcast),
            both(Form::Range, Scope::Broadcast),
            both(Form::Asid, Scope::Broadcast),
            both(Form::All, Scope::Broadcast),
            deep(Form::Page) + deep(Form::Range),
            every(Scope::Local),
            dsb(Dsb::NshSt),
            dsb(Dsb::Nsh),
            events.isb.get(),
            events.exchanges.get(),
            count.folds.get(),
            count.pending_flushes.get(),
            count.unmap_failures.get(),
            events.table_stores.get(),
        ])
    }

    /// What was added since `before`.
    pub fn since(self, before: Self) -> Self {
        Self(core::array::from_fn(|index| self.0[index].wrapping_sub(before.0[index])))
    }

    /// The value of a column.
    ///
    /// # Panics
    /// If there is no such column.
    pub fn get(&self, name: &str) -> u64 {
        self.0[index_of(name)]
    }

    /// The value of a column, to change.
    ///
    /// # Panics
    /// If there is no such column.
    pub fn at(&mut self, name: &str) -> &mut u64 {
        &mut self.0[index_of(name)]
    }

    /// The columns that a line names, all others 0.
    ///
    /// # Panics
    /// If the line is not made of `name=number`.
    pub fn parse(line: &str) -> Self {
        let mut columns = Self::default();
        columns.replace(line);
        columns
    }

    /// Gives the columns that a line names these values.
    ///
    /// # Panics
    /// If the line is not made of `name=number`.
    pub fn replace(&mut self, line: &str) {
        for (name, value) in words(line) {
            *self.at(name) = value;
        }
    }

    /// Whether the columns that `line` names have the values it gives.
    ///
    /// # Errors
    /// Each column that differs.
    pub fn must_be(&self, line: &str) -> Result<(), String> {
        self.compare(words(line))
    }

    /// Whether the columns of reference 2.9 are those of `wanted`, every one.
    ///
    /// # Errors
    /// Each column that differs.
    pub fn must_equal(&self, wanted: &Self) -> Result<(), String> {
        self.compare(NAMES.into_iter().take(OF_THE_REFERENCE).map(|name| (name, wanted.get(name))))
    }

    fn compare<'a>(&self, wanted: impl Iterator<Item = (&'a str, u64)>) -> Result<(), String> {
        let mut differences = String::new();
        for (name, value) in wanted {
            if self.get(name) != value {
                differences += &format!(" {name}={} instead of {value};", self.get(name));
            }
        }
        if differences.is_empty() { Ok(()) } else { Err(format!("counts differ:{differences} all: {}", self.show())) }
    }

    /// Every column that is not 0, as a line.
    pub fn show(&self) -> String {
        let mut line = String::new();
        for (name, value) in NAMES.iter().zip(self.0).filter(|&(_, value)| value != 0) {
            line += &format!("{name}={value} ");
        }
        line
    }

    /// This many times as much.
    pub fn times(self, factor: u64) -> Self {
        Self(self.0.map(|value| value * factor))
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self(core::array::from_fn(|index| self.0[index] + other.0[index]))
    }
}

fn index_of(name: &str) -> usize {
    NAMES.iter().position(|&known| known == name).unwrap_or_else(|| panic!("no column {name}"))
}

fn words(line: &str) -> impl Iterator<Item = (&str, u64)> {
    line.split_whitespace().map(|word| {
        let (name, value) = word.split_once('=').unwrap_or_else(|| panic!("{word} is not name=number"));
        (name, value.parse().unwrap_or_else(|_| panic!("{word} is not name=number")))
    })
}
