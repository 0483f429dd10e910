//! How a case says that something is not as it must be.

use alloc::format;
use alloc::string::String;
use core::fmt::Debug;

/// The outcome of a case or of a step: what is wrong, if anything is.
pub type Outcome = Result<(), String>;

/// `left` must be `right`.
///
/// # Errors
/// Both values, under the name `what`.
pub fn same<T: PartialEq + Debug>(what: &str, left: T, right: T) -> Outcome {
    if left == right { Ok(()) } else { Err(format!("{what}: {left:?} instead of {right:?}")) }
}

/// `holds` must be so.
///
/// # Errors
/// `what`.
pub fn must(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(String::from(what)) }
}

/// An error of anything that can be shown, under the name `what`.
pub fn failed<E: Debug>(what: &str) -> impl FnOnce(E) -> String + '_ {
    move |error| format!("{what}: {error:?}")
}

/// Puts `place` in front of an error.
pub fn within<T>(place: &str, result: Result<T, String>) -> Result<T, String> {
    result.map_err(|error| format!("{place}: {error}"))
}
