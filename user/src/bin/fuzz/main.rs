//! `fuzz SEED ROUNDS [STEPS]`: random system calls, with plausible and with senseless arguments. Each round is a child with a seed of its
//! own, which is printed if something is wrong; it may die of what it does. What it is about is the kernel: that it lives, and has all
//! its memory back at the end.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod calls;
#[cfg(target_os = "none")]
mod child;

#[cfg(target_os = "none")]
user::program!(program::main);

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod program {
    use user::args::Args;
    use user::process::{self, NOHANG, signal};
    use user::sys::{Error, error};
    use user::{eprintln, numbers, println};

    use super::child;

    /// Calls that a child makes unless it is said.
    const STEPS: u64 = 400;
    /// What a child that waits for something has, in milliseconds.
    const PATIENCE: u64 = 200;

    pub fn main(args: &Args) -> u8 {
        let number = |index| args.get(index).and_then(numbers::size);
        let (Some(seed), Some(rounds)) = (number(1), number(2)) else {
            eprintln!("usage: fuzz SEED ROUNDS [STEPS]");
            return 2;
        };
        let steps = number(3).unwrap_or(STEPS);
        // What the first child makes the kernel keep, it keeps.
        let mut result = round(seed, 1);
        let before = free();
        let mut killed = 0;
        for seed in seed..seed + rounds {
            match round(seed, steps) {
                Ok(is_killed) => killed += u64::from(is_killed),
                failed => result = failed,
            }
            let now = settled(before);
            if now != before {
                eprintln!("fuzz: seed {seed}: free memory and swap were {before:?}, are {now:?}");
                return 1;
            }
        }
        if let Err(Error(error)) = result {
            eprintln!("fuzz: a child could not be made, or ended: error {error}");
            return 1;
        }
        println!(
            "{rounds} children from seed {seed} on, {killed} of them ended for what they did; all memory came back"
        );
        0
    }

    /// Runs a child to its end, and what it leaves behind; whether it had to be ended, or a signal did.
    fn round(seed: u64, steps: u64) -> Result<bool, Error> {
        let child = process::spawn(|| child::run(seed, steps))?;
        let mut waited = 0;
        let mut killed = false;
        // Children of children become this process's own when their parents end.
        loop {
            match process::wait(-1, NOHANG) {
                Ok(Some((pid, end))) => killed |= pid == child && end != process::End::Exited(0),
                Ok(None) => {
                    if waited >= PATIENCE {
                        kill_all_others();
                    }
                    process::sleep(1_000_000)?;
                    waited += 1;
                }
                Err(Error(error::ECHILD)) => return Ok(killed),
                Err(error) => return Err(error),
            }
        }
    }

    /// What is free once all that was on its way to a swap device has arrived there: at the latest after a while.
    fn settled(wanted: [u64; 2]) -> [u64; 2] {
        for _ in 0..PATIENCE {
            if free() == wanted {
                break;
            }
            let _ = process::sleep(1_000_000);
        }
        free()
    }

    /// Every process but this one.
    fn kill_all_others() {
        let _ = process::kill(-1, signal::KILL);
    }

    /// Free memory and swap in kilobytes, as the kernel tells.
    fn free() -> [u64; 2] {
        let mut text = [0u8; 2048];
        let Ok(file) = process::open(c"/proc/meminfo", 0) else { return [0; 2] };
        let count = process::read(file, &mut text).unwrap_or(0);
        let _ = process::close(file);
        let text = core::str::from_utf8(&text[..count]).unwrap_or("");
        ["MemFree:", "SwapFree:"].map(|name| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("");
            line.split_whitespace().next().and_then(numbers::size).unwrap_or(0)
        })
    }
}
