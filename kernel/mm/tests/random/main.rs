//! Random operations over the simulated machine, on CPUs like three that QEMU has, in three forms: long sequences on one CPU (`alone`);
//! programs that other CPUs disturb in the middle of everything (`together`); and the three ways to unmap, held against each other
//! (`differential`). What a page must hold is kept in a shadow. A sequence that fails is made as small as it still fails, and printed.
//!
//! `UNFOLD_STEPS=1000000 cargo test -p mm --test random` does a million operations in each form; `UNFOLD_SEED` chooses which.

mod agreement;
mod alone;
mod checked;
mod differential;
mod halfway;
mod huge;
mod locking;
mod operation;
mod pins;
mod poison;
mod quiet;
mod runner;
mod scenes;
mod shadow;
mod source;
mod together;
mod view;
mod watching;
mod world;

use mmu::Features;
use mmu::host::cpus::{CORTEX_A72, MAX, NEOVERSE_N1};
use runner::run;

fn alone(name: &str, features: Features) {
    run(name, alone::PLAN, &alone::cases(), |case| alone::run(features, case));
}

fn together(name: &str, features: Features) {
    run(name, together::PLAN, &together::cases(), |case| together::run(features, case));
}

fn differential(name: &str, features: Features) {
    run(name, differential::PLAN, &differential::cases(), |case| differential::run(features, case));
}

#[test]
fn alone_on_max() {
    alone("alone on max", MAX);
}

#[test]
fn alone_on_neoverse_n1() {
    alone("alone on neoverse-n1", NEOVERSE_N1);
}

#[test]
fn alone_on_cortex_a72() {
    alone("alone on cortex-a72", CORTEX_A72);
}

#[test]
fn together_on_max() {
    together("together on max", MAX);
}

#[test]
fn together_on_neoverse_n1() {
    together("together on neoverse-n1", NEOVERSE_N1);
}

#[test]
fn together_on_cortex_a72() {
    together("together on cortex-a72", CORTEX_A72);
}

#[test]
fn differential_on_max() {
    differential("differential on max", MAX);
}

#[test]
fn differential_on_neoverse_n1() {
    differential("differential on neoverse-n1", NEOVERSE_N1);
}

#[test]
fn differential_on_cortex_a72() {
    differential("differential on cortex-a72", CORTEX_A72);
}
