//! Panics that are results: while a case is made smaller it panics again and again, and none of that is to be printed.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::thread;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    /// The last panic, with its place.
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Does `work`. A panic in it, here or on a simulated CPU, is an error and prints nothing.
pub fn catch<R>(work: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(set_hook);
    QUIET.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    result.unwrap_or_else(|_: Box<dyn Any + Send>| Err(LAST.take()))
}

fn set_hook() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if QUIET.get() {
            LAST.set(info.to_string());
        } else if !thread::current().name().is_some_and(|name| name.starts_with("CPU ")) {
            usual(info);
        }
    }));
}
