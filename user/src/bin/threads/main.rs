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

#[cfg(target_os = "none")]
user::program!(program::main);

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod program {
    use user::args::Args;
    use user::process;
    use user::sys::Error;
    use user::{eprintln, println};

    use super::{basics, crowd, endings, futexes, memory, signals};

    /// Whether it is as it should be; a call that fails says no.
    pub type Check = fn() -> Result<bool, Error>;

    pub fn main(args: &Args) -> u8 {
        if let Some(word) = args.get(1) {
            return endings::run(word, args.get(2));
        }
        let groups: [&[(&str, Check)]; 6] =
            [basics::CHECKS, futexes::CHECKS, signals::CHECKS, endings::CHECKS, memory::CHECKS, crowd::CHECKS];
        let mut failed = 0;
        for (name, check) in groups.into_iter().flatten() {
            let outcome = check();
            // A check leaves no child behind, and no thread.
            let is_alone = process::wait(-1, process::NOHANG) == Err(Error(user::sys::error::ECHILD));
            let ok = outcome == Ok(true) && is_alone;
            println!("{} {name}", if ok { "ok    " } else { "FAILED" });
            if !ok {
                eprintln!("threads: {name}: {outcome:?}, alone: {is_alone}");
            }
            failed |= u8::from(!ok);
        }
        failed
    }
}
