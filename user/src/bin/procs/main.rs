//! `procs`: checks of processes, pipes and signals. Without an argument it does all checks, prints one line for each and exits with 1
//! if any failed; they hold on a Linux kernel too. With an argument it does what is meant to end the whole run in some way.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod children;
#[cfg(target_os = "none")]
mod crowd;
#[cfg(target_os = "none")]
mod endings;
#[cfg(target_os = "none")]
mod pipes;
#[cfg(target_os = "none")]
mod signals;

user::program!(program::main);

#[cfg(target_os = "none")]
mod program {
    use user::args::Args;
    use user::check;

    use super::{children, crowd, endings, pipes, signals};

    pub fn main(args: &Args) -> u8 {
        if let Some(word) = args.get(1) {
            return endings::run(word, args.get(2));
        }
        check::all(&[children::CHECKS, pipes::CHECKS, signals::CHECKS, crowd::CHECKS], check::alone)
    }
}
