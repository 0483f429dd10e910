//! The cases, one family a file.

pub mod counts;
pub mod data;
pub mod device;
pub mod file;
pub mod file_device;
pub mod file_range;
pub mod file_swap;
pub mod flush;
pub mod fold;
pub mod fork;
pub mod getters;
pub mod helpers;
pub mod huge;
pub mod lazyfree;
pub mod locked;
pub mod marker;
pub mod moving;
pub mod pin;
pub mod poison;
pub mod populate;
pub mod pressure;
pub mod protect;
pub mod rollback;
pub mod split;
pub mod swap_full;
pub mod swap_in;
pub mod swap_out;
pub mod totals;
pub mod uffd;
pub mod watched_file;
pub mod watched_huge;
pub mod watching;
pub mod zap;

use crate::Case;

/// All of them.
pub const FAMILIES: &[&[Case]] = &[
    fold::CASES,
    getters::CASES,
    helpers::CASES,
    counts::CASES,
    swap_out::CASES,
    rollback::CASES,
    lazyfree::CASES,
    swap_in::CASES,
    device::CASES,
    fork::CASES,
    pin::CASES,
    locked::CASES,
    zap::CASES,
    populate::CASES,
    protect::CASES,
    moving::CASES,
    file::CASES,
    file_swap::CASES,
    file_device::CASES,
    file_range::CASES,
    split::CASES,
    swap_full::CASES,
    uffd::CASES,
    watched_file::CASES,
    marker::CASES,
    watched_huge::CASES,
    pressure::CASES,
    flush::CASES,
    huge::CASES,
    poison::CASES,
    totals::CASES,
    data::CASES,
];
