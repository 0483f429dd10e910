//! The checker of rules (`mmu::model`) held against the search, which knows harms and no rules: wherever a hazard can be reached the
//! model has to find a breach, and nowhere else. It gets the same programs for a real block of sixteen, through the door.
//!
//! The model keeps all that any CPU may have cached. So what is left to interleave is what changes entries on CPU 1: hardware that
//! records an access, and the fault handler. One access, of every kind and at every place, is enough to bring each about.

mod stage;

use mmu::model::Breach;
use mmu::{Access, Features};
use search::{Defect, Kind, Line, Program, report};
use stage::{PAGES, Stage};

/// An access before a step of this number.
type Disturbance = (usize, u8, Access);

fn play(kind: Kind, program: &Program, features: Features, disturbance: Option<Disturbance>) -> Option<Breach> {
    let mut stage = Stage::new(kind, program, features);
    let access = |stage: &mut Stage, now: usize| match disturbance {
        Some((at, page, access)) if at == now => stage.access(page, access),
        _ => {}
    };
    for (now, &step) in program.steps.iter().enumerate() {
        access(&mut stage, now);
        stage.step(step);
    }
    access(&mut stage, program.steps.len());
    stage.end();
    stage.breach()
}

/// The first breach of any interleaving.
fn judge(line: &Line) -> Option<Breach> {
    let program = line.defect.map_or(Some(line.kind.program(PAGES)), |defect| defect.program(line.kind, PAGES));
    let program = program.expect("a defect of a short block is one of a long block");
    let features = Features { range_tlbi: true, level_hint: true, lse: true, asid_bits: 8, ..line.features };
    let accesses = [(0, Access::Write), (1, Access::Write), (1, Access::Read)];
    let places = (0..=program.steps.len()).flat_map(|at| accesses.map(|(page, access)| (at, page, access)));
    let mut disturbances = std::iter::once(None).chain(places.map(Some));
    disturbances.find_map(|disturbance| play(line.kind, &program, features, disturbance))
}

/// The rule that asks for more than this program needs, and why.
fn needless(line: &Line) -> Option<&'static str> {
    let (defect, kind, level) = (line.defect?, line.kind, line.features.bbm_level);
    match (defect, kind) {
        // No flush is needed here; one that is done is done in order.
        (Defect::NoBarrierBefore, Kind::Fold | Kind::Unfold) if level == 3 => Some("MS-20"),
        (Defect::NoBarrierBefore, Kind::Restore) => Some("MS-20"),
        // The search caches a block whole or by pages, and pages of either form do not conflict. A TLB may hold parts of it as well.
        (Defect::FirstPageOnly, Kind::Unfold | Kind::PageOutOne) if level < 3 => Some("MS-14"),
        // That the folio is dirty makes up for it, which the model does not know.
        (Defect::FlagsForgotten, Kind::PartialRestore | Kind::PageOutOne) => Some("MS-15"),
        _ => None,
    }
}

#[test]
fn the_model_finds_a_breach_where_there_is_a_hazard() {
    let mut wrong = Vec::new();
    for line in report().iter().filter(|line| line.pages == 4) {
        let breach = judge(line);
        println!(
            "{line}; {}",
            breach.map_or("no breach".to_owned(), |breach| format!("{}: {}", breach.rule, breach.what))
        );
        let agrees = match needless(line) {
            Some(rule) => line.outcome.found.is_none() && breach.is_some_and(|breach| breach.rule.code() == rule),
            None => line.outcome.found.is_some() == breach.is_some(),
        };
        if !agrees {
            wrong.push(format!("{line}, but the model says {breach:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
