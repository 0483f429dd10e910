//! The kernel image. All code is in the library, so that what is pure of it is tested on the host.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate kernel as _;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("This is an arm64 kernel: ./qemu-run.sh boots it.");
}
