//! `pins`: checks of pages that a device has pinned and writes to later, by `/dev/pins`, whatever the program does to its memory
//! meanwhile. Prints one line for each check and exits with 1 if any failed. Linux has no such device.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod device;
#[cfg(target_os = "none")]
mod families;
#[cfg(target_os = "none")]
mod ranges;

#[cfg(target_os = "none")]
user::program!(program::main);

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod program {
    use user::args::Args;
    use user::println;
    use user::sys::Error;

    use super::{families, ranges};

    /// Whether it is as it should be; a call that fails says no.
    pub type Check = fn() -> Result<bool, Error>;

    pub fn main(_: &Args) -> u8 {
        let mut failed = 0;
        for (name, check) in ranges::CHECKS.iter().chain(families::CHECKS) {
            let outcome = check();
            let ok = outcome == Ok(true);
            println!("{} {name}", if ok { "ok    " } else { "FAILED" });
            if !ok {
                println!("       {outcome:?}");
            }
            failed |= u8::from(!ok);
        }
        failed
    }
}
