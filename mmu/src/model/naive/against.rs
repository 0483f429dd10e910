//! The model held against the naive TLB. Both see the same events, at random. After each event whatever some CPU holds has to be known to
//! the model, and as long as no tables are unlinked and barriers are for all CPUs, nothing else. `UNFOLD_RUNS` says how many sequences are
//! played.

use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::super::entry::{is_cacheable, is_covered_by};
use super::super::stale::Kind;
use super::super::{Config, Judged, Line, Means, Model, Rule, Verdict, Write, one};
use super::{ASIDS, BASE, CPUS, Cached, Naive, PAGES, SPACES};
use crate::addr::{Asid, Pfn};
use crate::descriptor::{Descriptor, Protection};
use crate::events::Dsb;
use crate::fact::{Fact, Role};
use crate::features::Features;
use crate::tlb_op::{Depth, Scope, TlbOp};

const LINE: Line = core::panic::Location::caller();

/// Both, and what happened.
struct World {
    model: Model,
    naive: Naive,
    /// The space that each ASID belongs to.
    owner: Vec<Option<usize>>,
    /// The CPU that has a table locked.
    locked: [Option<usize>; SPACES],
    told: [u64; CPUS],
    log: Vec<String>,
    /// Whether tables are unlinked and linked again, and barriers order for one CPU alone. The model may hold more than there is then: a
    /// CPU that has run the space, though it can not walk to the table, or one that has since stored to the same entry itself.
    is_rough: bool,
    random: u64,
}

fn frame(number: usize) -> Pfn {
    Pfn::new(0x1000 + number as u64)
}

/// The table of `level` of a space.
fn table(space: usize, level: usize) -> Pfn {
    frame(4 * space + level)
}

impl World {
    fn new(seed: u64) -> Self {
        let features =
            Features { asid_bits: 8, bbm_level: 2, range_tlbi: true, level_hint: true, ..Features::default() };
        let config =
            Config { features, cpus: CPUS, first_frame: frame(0), frames: 64, block: 16, tables: 16, stale: 256 };
        let mut world = Self {
            model: Model::new(config),
            naive: Naive::default(),
            owner: vec![None; usize::from(ASIDS) + 1],
            locked: [None; SPACES],
            told: [0; CPUS],
            log: Vec::new(),
            is_rough: seed % 2 == 0,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        };
        for space in 0..SPACES {
            for level in 0..4 {
                let role = Role::Table { level: level as u8 };
                world.judge(0, |model| model.fact(0, Fact::FrameRole(table(space, level), 1, role)));
            }
            for level in 0..3 {
                world.write_link(0, space, level, Descriptor::table(table(space, level + 1).start()));
            }
            world.naive.linked[space] = true;
        }
        world.judge(0, |model| model.dsb(0, Dsb::Ish));
        world
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % limit
    }

    fn judge(&mut self, cpu: usize, work: impl FnOnce(&mut Model) -> Judged) {
        self.told[cpu] += 1;
        self.model.judge(cpu, self.told[cpu], LINE, work);
    }

    fn write_link(&mut self, cpu: usize, space: usize, level: usize, new: Descriptor) {
        let address = table(space, level).start().add_bytes(8 * BASE.index(level as u8) as u64);
        let id = self.model.table_in(table(space, level)).unwrap();
        let old = self.model.tables.entry(id, BASE.index(level as u8));
        self.judge(cpu, |model| model.write(cpu, address, Write { old, new, means: Means::Swap }));
    }

    /// What may come in the place of `old`, which is mostly not a breach.
    fn some_entry(&mut self, old: Descriptor) -> Descriptor {
        let protection = Protection { read: true, write: self.below(2) == 0, execute: false };
        let frame = if old.is_valid() && self.below(30) > 0 { old.frame() } else { frame(32 + self.below(2)) };
        let entry = Descriptor::user_page(frame, protection).make_dirty();
        match self.below(5) {
            0 | 1 if old.is_valid() => Descriptor::NONE,
            2 => entry,
            _ => entry.make_young(),
        }
    }

    fn some_op(&mut self) -> TlbOp {
        let scope = if self.below(3) == 0 { Scope::Local } else { Scope::Broadcast };
        let asid = Asid::new(1 + self.below(ASIDS.into()) as u16);
        let page = BASE.add_pages(self.below(PAGES));
        match self.below(6) {
            0 => TlbOp::all(scope),
            1 => TlbOp::asid(asid, scope),
            2 | 3 => TlbOp::page(asid, page, 0, Depth::WalkCaches, scope),
            _ => TlbOp::page(asid, page, 3, Depth::Leaf, scope),
        }
    }

    fn lock(&mut self, cpu: usize, space: usize) {
        if self.locked[space].is_none() {
            self.log.push(format!("cpu {cpu}: lock {space}"));
            self.naive.seen[cpu].extend(self.naive.given_up[space].iter().copied());
            self.locked[space] = Some(cpu);
            self.judge(cpu, |model| model.fact(cpu, Fact::Lock(table(space, 3))));
        }
    }

    /// One event, for both.
    fn step(&mut self) {
        let cpu = self.below(CPUS);
        let space = self.below(SPACES);
        match self.below(16) {
            0 => {
                let free =
                    (1..=ASIDS).find(|&of| self.naive.held.iter().all(|held| !held.contains_key(&(of, Cached::Any))));
                let asid = free.filter(|_| self.below(20) > 0).unwrap_or(1 + self.below(ASIDS.into()) as u16);
                let asid = (1..=ASIDS).find(|&of| self.owner[usize::from(of)] == Some(space)).unwrap_or(asid);
                self.log.push(format!("cpu {cpu}: run space {space} asid {asid}"));
                self.judge(cpu, |model| model.activate(cpu, table(space, 0).start(), Asid::new(asid)));
                self.judge(cpu, |model| model.isb(cpu));
                if self.passes() {
                    self.owner[usize::from(asid)] = Some(space);
                    self.naive.runs[cpu] = Some((space, asid));
                }
            }
            1 => {
                self.log.push(format!("cpu {cpu}: leave"));
                self.judge(cpu, |model| model.activate(cpu, frame(63).start(), Asid::RESERVED));
                self.judge(cpu, |model| model.isb(cpu));
                self.naive.runs[cpu] = None;
            }
            2..=6 => {
                // Entries are changed by who has the table's lock.
                let cpu = self.locked[space].unwrap_or(cpu);
                self.lock(cpu, space);
                let page = self.below(PAGES);
                let old = self.naive.pages[space][page];
                let new = self.some_entry(old);
                self.log.push(format!("cpu {cpu}: space {space} swap {page} = {new} (was {old})"));
                let address = table(space, 3).start().add_bytes(8 * (BASE.index(3) + page) as u64);
                self.naive.store(cpu, space, Some(page), old);
                self.naive.pages[space][page] = new;
                self.judge(cpu, |model| model.write(cpu, address, Write { old, new, means: Means::Swap }));
            }
            7..=9 => {
                let kinds = [Dsb::Ish, Dsb::Ish, Dsb::IshSt, Dsb::Nsh, Dsb::NshSt];
                let kind = kinds[self.below(if self.is_rough { 5 } else { 3 })];
                self.log.push(format!("cpu {cpu}: dsb {kind:?}"));
                self.naive.dsb(cpu, kind);
                self.judge(cpu, |model| model.dsb(cpu, kind));
            }
            10..=12 => {
                let op = self.some_op();
                if self.below(4) > 0 {
                    self.log.push(format!("cpu {cpu}: dsb ishst"));
                    self.naive.dsb(cpu, Dsb::IshSt);
                    self.judge(cpu, |model| model.dsb(cpu, Dsb::IshSt));
                }
                self.log.push(format!("cpu {cpu}: {op:?}"));
                let (owner, pages, linked) = (self.owner.clone(), self.naive.pages, self.naive.linked);
                let is_current = |asid: u16, page: usize, bits: u64| {
                    owner[usize::from(asid)].is_some_and(|space| linked[space] && pages[space][page].bits() == bits)
                };
                self.naive.tlbi(cpu, op, is_current);
                self.judge(cpu, |model| model.tlbi(cpu, op));
            }
            13 if self.is_rough && self.below(3) == 0 => {
                let linked = self.naive.linked[space];
                self.log.push(format!("cpu {cpu}: space {space} {}", if linked { "unlink" } else { "link" }));
                let link = Descriptor::table(table(space, 3).start());
                self.naive.store(cpu, space, None, if linked { link } else { Descriptor::NONE });
                if !linked {
                    self.naive.publish(cpu, space);
                }
                self.naive.linked[space] = !linked;
                self.write_link(cpu, space, 2, if linked { Descriptor::NONE } else { link });
            }
            _ => match self.locked[space] {
                None => self.lock(cpu, space),
                Some(cpu) => {
                    self.log.push(format!("cpu {cpu}: unlock {space}"));
                    self.naive.given_up[space].clone_from(&self.naive.seen[cpu]);
                    self.locked[space] = None;
                    self.judge(cpu, |model| model.fact(cpu, Fact::Unlock(table(space, 3))));
                }
            },
        }
        self.naive.walk();
        self.naive.count_left(&self.owner);
    }

    fn passes(&self) -> bool {
        matches!(self.model.verdict(), Verdict::Pass)
    }

    /// Whether what some CPU holds is, as far as it goes, what is in the table now.
    fn is_current(&self, asid: u16, page: usize, held: Descriptor) -> bool {
        let Some(space) = self.owner[usize::from(asid)].filter(|&space| self.naive.linked[space]) else { return false };
        let now = self.naive.pages[space][page];
        is_cacheable(now) && is_covered_by(held, now)
    }

    /// What the model knows of it: the runs that cover the page with as much as was held.
    fn model_has(&self, cpu: usize, asid: u16, page: usize, held: Descriptor) -> bool {
        let number = BASE.page_number() + page as u64;
        self.model.stale.iter().any(|stale| {
            stale.kind == Kind::Leaf
                && stale.asid.as_u16() == asid
                && stale.covers(number)
                && stale.holders & one(cpu) != 0
                && is_covered_by(held, stale.entry_at(number))
        })
    }

    fn compare(&self) -> Result<(), String> {
        for cpu in 0..CPUS {
            for &(asid, what) in self.naive.held[cpu].keys() {
                if let Cached::Page(page, bits) = what {
                    let held = Descriptor::from_bits(bits);
                    if !self.is_current(asid, page, held) && !self.model_has(cpu, asid, page, held) {
                        return Err(format!("missed: CPU {cpu} holds page {page} of ASID {asid}: {held}"));
                    }
                }
            }
        }
        for stale in self.model.stale.iter().filter(|_| !self.is_rough) {
            for cpu in (0..CPUS).filter(|&cpu| stale.holders & one(cpu) != 0) {
                for page in stale.first..stale.end() {
                    let page_number = (page - BASE.page_number()) as usize;
                    let same = |&&(asid, what): &&(u16, Cached)| match what {
                        _ if asid != stale.asid.as_u16() => false,
                        Cached::Page(of, bits) => {
                            stale.kind == Kind::Leaf
                                && of == page_number
                                && Descriptor::from_bits(bits).address() == stale.entry_at(page).address()
                        }
                        Cached::Walk(_) => stale.kind == Kind::Walk,
                        Cached::Any => false,
                    };
                    if !self.naive.held[cpu].keys().any(|key| same(&key)) {
                        return Err(format!("CPU {cpu} does not hold {stale:?}"));
                    }
                    if stale.kind == Kind::Walk {
                        break;
                    }
                }
            }
        }
        self.compare_counts()
    }

    /// The frames' counts are the entries of the tables, and the replaced ones.
    fn compare_counts(&self) -> Result<(), String> {
        for number in 32..34 {
            let frame = frame(number);
            let entries = self.naive.pages.iter().flatten();
            let mapped = entries.filter(|entry| entry.is_valid() && entry.frame() == frame).count();
            let held = self.model.stale.iter().filter(|stale| stale.page_of(frame).is_some()).count();
            let known = self.model.frames.get(frame).unwrap();
            if (known.mapped as usize, known.held as usize) != (mapped, held) {
                return Err(format!("frame {number}: {known:?}, but {mapped} mapped and {held} held"));
            }
        }
        Ok(())
    }

    /// Whether a verdict has its reason.
    fn is_founded(&self, before: &[BTreeMap<(u16, Cached), u8>; CPUS]) -> bool {
        let Verdict::Breach(breach) = self.model.verdict() else { return true };
        let asid = breach.asid.as_u16();
        let page = (breach.address.page_number().wrapping_sub(BASE.page_number())) as usize;
        let holds = |test: &dyn Fn(Cached) -> bool| {
            before.iter().any(|held| held.keys().any(|&(of, what)| of == asid && test(what)))
        };
        match breach.rule {
            Rule::ReusedAsid => holds(&|what| what == Cached::Any) || self.naive.runs.iter().flatten().count() > 0,
            _ if breach.what.contains("becomes valid while") || breach.what.contains("output address") => {
                holds(&|what| matches!(what, Cached::Page(of, _) if of == page))
            }
            _ => true,
        }
    }
}

#[test]
fn the_model_holds_what_a_naive_tlb_holds() {
    let runs = std::env::var("UNFOLD_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(20_000);
    let mut ends = BTreeMap::new();
    for seed in 1..=runs {
        let mut world = World::new(seed);
        for _ in 0..80 {
            let before = world.naive.held.clone();
            world.step();
            if !world.passes() {
                assert!(
                    world.is_rough || world.is_founded(&before),
                    "seed {seed}: {:#?}\n{}",
                    world.log,
                    world.model.verdict()
                );
                break;
            }
            if let Err(wrong) = world.compare() {
                panic!("seed {seed}: {:#?}\n{wrong}", world.log);
            }
        }
        let end = match world.model.verdict() {
            Verdict::Pass => "pass",
            Verdict::Breach(breach) => breach.rule.code(),
            Verdict::Unknown(_) => "unknown",
        };
        *ends.entry(end).or_insert(0) += 1;
    }
    std::println!("{ends:?}");
}
