//! What a line says: each event of a scenario as a value.

use mmu::{Access, Depth, Descriptor, Dsb, Form, Operation, Pfn, Role, Scope};

use crate::entry::{self, CHANGES, Change};
use crate::words::{Run, Words, Wrong};

/// Entries of a last-level table; that of space n has the number n.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The table.
    pub table: usize,
    /// Which entries.
    pub pages: Run,
}

/// A TLBI as it is written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tlbi {
    /// Which instruction: form, depth, scope.
    pub form: Form,
    /// Leaf entries alone, or walk caches too.
    pub depth: Depth,
    /// For whom.
    pub scope: Scope,
    /// Which pages, where the form names any.
    pub pages: Option<Run>,
    /// Whose.
    pub asid: u16,
    /// The level hint, 0 for none.
    pub level: u8,
    /// The operand as it is, in place of all that.
    pub operand: Option<u64>,
}

/// An event.
#[derive(Clone, Copy, Debug)]
pub enum Verb {
    /// Makes a space: its tables of four levels.
    Space(usize, u16),
    /// Makes a last-level table that nothing leads to.
    NewTable(usize),
    /// Links a table in the place of that of this space.
    Link(usize, usize),
    /// Makes a block of 2 MiB there.
    LinkBlock(usize, Descriptor),
    /// Clears the entry that leads to the last-level table of this space.
    Unlink(usize),
    /// Gives a table page back.
    FreeTable(usize),
    /// Writes TTBR0_EL1, with the ISB or without.
    Run(usize, Option<u16>, bool),
    /// Reads entries.
    Load(Place),
    /// Stores entries.
    Store(Place, Descriptor),
    /// Swaps entries.
    Swap(Place, Descriptor),
    /// Changes entries by compare-and-swap.
    Update(Place, Change),
    /// Writes an entry, past the door.
    Poke(Place, Descriptor),
    /// Issues a TLBI.
    Tlbi(Tlbi),
    /// Counts a TLBI that was not issued.
    Miscount(Tlbi),
    /// Issues a DSB.
    Dsb(Dsb),
    /// Issues an ISB.
    Isb,
    /// Frames get a use.
    Role(Run, Role),
    /// Fills frames with zero.
    Zero(Run),
    /// Copies the first frames to those from the second on.
    Copy(Run, usize),
    /// A device copies the first frames to those from the second on.
    Transfer(Run, usize),
    /// Writes frames to a device, relying on their contents.
    WriteOut(Run),
    /// A program's access to a page.
    Access(usize, Access),
    /// An operation begins.
    Begin(Operation),
    /// It is over.
    End(Operation),
    /// Takes the lock of a table.
    Lock(usize),
    /// Releases it.
    Unlock(usize),
    /// Entries are about to be treated as one.
    Batch(Place),
    /// Entries stay empty; whether that is right even if they were written.
    Discard(Place, bool),
    /// A fault is resolved.
    Resolved(Place, Access),
    /// No CPU raises a conflict abort.
    NoAbort,
    /// A read without the lock begins.
    SnapshotBegin(Place),
    /// It returns this.
    SnapshotEnd(Place, Descriptor),
    /// An event is not seen.
    Lose,
}

const ACCESSES: [(&str, Access); 3] = [("read", Access::Read), ("write", Access::Write), ("execute", Access::Execute)];

const BARRIERS: [(&str, Dsb); 4] = [("ishst", Dsb::IshSt), ("ish", Dsb::Ish), ("nshst", Dsb::NshSt), ("nsh", Dsb::Nsh)];

/// The instructions by their names in the manual (C5.5), without the `is` of those that are broadcast.
const INSTRUCTIONS: [(&str, Form, Depth); 8] = [
    ("vale1", Form::Page, Depth::Leaf),
    ("vae1", Form::Page, Depth::WalkCaches),
    ("rvale1", Form::Range, Depth::Leaf),
    ("rvae1", Form::Range, Depth::WalkCaches),
    ("aside1", Form::Asid, Depth::WalkCaches),
    ("vmalle1", Form::All, Depth::WalkCaches),
    ("vaale1", Form::PageAnyAsid, Depth::Leaf),
    ("vaae1", Form::PageAnyAsid, Depth::WalkCaches),
];

/// Reads one event; `frames` is what frame 0 stands for.
pub fn parse(words: &mut Words<'_>, frames: Pfn) -> Result<Verb, Wrong> {
    let verb = match words.next("a verb")? {
        "space" => {
            let space = words.small()?;
            Verb::Space(space, words.named("asid")?.unwrap_or(space as u16))
        }
        "run" => run(words)?,
        "load" => Verb::Load(place(words)?),
        "store" => with_entry(words, frames, Verb::Store)?,
        "swap" => with_entry(words, frames, Verb::Swap)?,
        "poke" => with_entry(words, frames, Verb::Poke)?,
        "update" => Verb::Update(place(words)?, words.choose(&CHANGES)?),
        "tlbi" => Verb::Tlbi(tlbi(words)?),
        "miscount" => {
            words.expect("tlbi")?;
            Verb::Miscount(tlbi(words)?)
        }
        "dsb" => Verb::Dsb(words.choose(&BARRIERS)?),
        "isb" => Verb::Isb,
        "new" if words.eat("table") => Verb::NewTable(words.small()?),
        "new" => Verb::Role(frame_run(words)?, Role::Folio),
        "free" if words.eat("table") => Verb::FreeTable(words.small()?),
        "free" => Verb::Role(frame_run(words)?, Role::Freed),
        "link" => link(words, frames)?,
        "unlink" => {
            words.expect("table of space")?;
            Verb::Unlink(words.small()?)
        }
        "zero" => Verb::Zero(frame_run(words)?),
        "copy" => {
            let from = frame_run(words)?;
            words.expect("to")?;
            Verb::Copy(from, words.small()?)
        }
        "device" => {
            words.expect("copies")?;
            let from = frame_run(words)?;
            words.expect("to")?;
            Verb::Transfer(from, words.small()?)
        }
        "write" if words.eat("out") => Verb::WriteOut(frame_run(words)?),
        "read" => Verb::Access(words.small()?, Access::Read),
        "write" => Verb::Access(words.small()?, Access::Write),
        "execute" => Verb::Access(words.small()?, Access::Execute),
        "begin" => Verb::Begin(operation(words)?),
        "end" => Verb::End(operation(words)?),
        "lock" => Verb::Lock(table(words)?),
        "unlock" => Verb::Unlock(table(words)?),
        "batch" => Verb::Batch(place(words)?),
        "discard" => Verb::Discard(place(words)?, words.eat("written")),
        "resolved" => Verb::Resolved(place(words)?, words.choose(&ACCESSES)?),
        "assume" => {
            words.expect("no abort")?;
            Verb::NoAbort
        }
        "snapshot" => snapshot(words, frames)?,
        "lose" => {
            words.expect("an event")?;
            Verb::Lose
        }
        other => return Err(format!("`{other}` is no verb; {VERBS}")),
    };
    words.end()?;
    Ok(verb)
}

const VERBS: &str = "the verbs are space, run, load, store, swap, update, poke, tlbi, dsb, isb, new, free, link, unlink, \
    zero, copy, write out, device copies, read, write, execute, begin, end, lock, unlock, \
    batch, discard, resolved, assume, snapshot, miscount, lose";

fn operation(words: &mut Words<'_>) -> Result<Operation, Wrong> {
    words.choose(&Operation::ALL.map(|operation| (operation.name(), operation)))
}

fn run(words: &mut Words<'_>) -> Result<Verb, Wrong> {
    words.expect("space")?;
    let (space, asid) = (words.small()?, words.named("asid")?);
    let without = words.eat("without");
    if without {
        words.expect("isb")?;
    }
    Ok(Verb::Run(space, asid, !without))
}

fn link(words: &mut Words<'_>, frames: Pfn) -> Result<Verb, Wrong> {
    if words.eat("block") {
        words.expect("in space")?;
        let space = words.small()?;
        words.expect("=")?;
        return Ok(Verb::LinkBlock(space, entry::parse(words, frames)?));
    }
    words.expect("table")?;
    let table = words.small()?;
    words.expect("in space")?;
    Ok(Verb::Link(table, words.small()?))
}

fn snapshot(words: &mut Words<'_>, frames: Pfn) -> Result<Verb, Wrong> {
    let place = place(words)?;
    if words.eat("begins") {
        return Ok(Verb::SnapshotBegin(place));
    }
    words.expect("returns")?;
    Ok(Verb::SnapshotEnd(place, entry::parse(words, frames)?))
}

/// `5`, `0-15`, `5 in table 2`.
fn place(words: &mut Words<'_>) -> Result<Place, Wrong> {
    let pages = words.run()?;
    if pages.first + pages.count > mmu::ENTRIES {
        return Err("a table has entries 0 to 511".to_owned());
    }
    Ok(Place { table: table(words)?, pages })
}

fn table(words: &mut Words<'_>) -> Result<usize, Wrong> {
    if !words.eat("in") {
        return Ok(1);
    }
    words.expect("table")?;
    words.small()
}

fn with_entry(words: &mut Words<'_>, frames: Pfn, verb: impl Fn(Place, Descriptor) -> Verb) -> Result<Verb, Wrong> {
    let place = place(words)?;
    words.expect("=")?;
    Ok(verb(place, entry::parse(words, frames)?))
}

fn frame_run(words: &mut Words<'_>) -> Result<Run, Wrong> {
    words.expect("frame")?;
    words.run()
}

/// `vale1is 5`, `rvale1is 0-15 asid 2 level 3`, `vaae1is operand 0x..`, `aside1is asid 1`, `vmalle1is`.
fn tlbi(words: &mut Words<'_>) -> Result<Tlbi, Wrong> {
    let name = words.next("a TLBI instruction")?;
    let (stem, scope) = name.strip_suffix("is").map_or((name, Scope::Local), |stem| (stem, Scope::Broadcast));
    let known = INSTRUCTIONS.iter().find(|(known, ..)| *known == stem);
    let &(_, form, depth) = known.ok_or_else(|| {
        let names: Vec<_> = INSTRUCTIONS.iter().map(|(known, ..)| format!("{known}is")).collect();
        format!("`{name}` is none of {}, nor one of these without is", names.join(", "))
    })?;
    let operand = words.named("operand")?;
    let names_pages = operand.is_none() && !matches!(form, Form::Asid | Form::All);
    let pages = if names_pages { Some(words.run()?) } else { None };
    if form == Form::Range && pages.is_some_and(|pages| range_fields(pages.count).is_none()) {
        return Err("a range operation covers (NUM + 1) * 2^(5 * SCALE + 1) pages: 2, 4, 6 .. 64, 128 ..".to_owned());
    }
    if form != Form::Range && pages.is_some_and(|pages| pages.count != 1) {
        return Err(format!("`{name}` names one page; for several there is rvale1is"));
    }
    let asid = words.named("asid")?.unwrap_or(1);
    let level = words.named("level")?.unwrap_or(0);
    if level > 3 {
        return Err(format!("level {level}: the levels are 1 to 3"));
    }
    Ok(Tlbi { form, depth, scope, pages, asid, level, operand })
}

/// SCALE and NUM of a range operation that covers exactly so many pages.
pub fn range_fields(pages: usize) -> Option<(u8, u8)> {
    (0..=3u8).find_map(|scale| {
        let unit = 1 << (5 * scale + 1);
        let count = pages / unit;
        ((1..=32).contains(&count) && pages % unit == 0).then(|| (scale, count as u8 - 1))
    })
}
