//! `pins`: checks of pages that a device has pinned and writes to later, by `/dev/pins`, whatever the program does to its memory
//! meanwhile. Prints one line for each check and exits with 1 if any failed. Linux has no such device.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod device;
#[cfg(target_os = "none")]
mod families;
#[cfg(target_os = "none")]
mod ranges;

user::program!(program::main);

#[cfg(target_os = "none")]
mod program {
    use user::args::Args;
    use user::check;

    use super::{families, ranges};

    pub fn main(_: &Args) -> u8 {
        check::all(&[ranges::CHECKS, families::CHECKS], |check| check())
    }
}
