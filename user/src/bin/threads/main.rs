//! `threads`: checks of threads and futexes. Without an argument it does all checks, prints one line for each and exits with 1 if any
//! failed; they hold on a Linux kernel too. With an argument it does what the checks run as another program, or what is meant to end the
//! whole run in some way.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod basics;
#[cfg(target_os = "none")]
mod crowd;
#[cfg(target_os = "none")]
mod endings;
#[cfg(target_os = "none")]
mod futexes;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod signals;

user::program!(program::main);

#[cfg(target_os = "none")]
mod program {
    use user::args::Args;
    use user::check;

    use super::{basics, crowd, endings, futexes, memory, signals};

    pub fn main(args: &Args) -> u8 {
        if let Some(word) = args.get(1) {
            return endings::run(word, args.get(2));
        }
        let groups = [basics::CHECKS, futexes::CHECKS, signals::CHECKS, endings::CHECKS, memory::CHECKS, crowd::CHECKS];
        check::all(&groups, check::alone)
    }
}
