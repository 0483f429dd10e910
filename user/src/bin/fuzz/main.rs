//! `fuzz SEED ROUNDS [STEPS]`: random system calls, with plausible and with senseless arguments, of threads beside one another. Each round
//! is a child with a seed of its own, which is printed if something is wrong; it may die of what it does. What it is about is the kernel:
//! that it lives, and has all that it gave back at the end. With 0 rounds the program is such a child, of so many generations.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod calls;
#[cfg(target_os = "none")]
mod child;
#[cfg(target_os = "none")]
mod files;
#[cfg(target_os = "none")]
mod ground;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod own;
#[cfg(target_os = "none")]
mod shared;
#[cfg(target_os = "none")]
mod threads;
#[cfg(target_os = "none")]
mod times;
#[cfg(target_os = "none")]
mod touch;
#[cfg(target_os = "none")]
mod watch;

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

    use super::ground::{Ground, NAMES, Stock, stock};
    use super::{child, own};

    /// Calls that a child makes unless it is said, and generations below it.
    const STEPS: u64 = 400;
    const GENERATIONS: u64 = 2;
    /// What a child that waits for something has, in milliseconds.
    const PATIENCE: u64 = 200;
    /// Rounds after which it says how far it has come.
    const NEWS: u64 = 50;

    /// What is to be done.
    struct Run {
        first: u64,
        rounds: u64,
        steps: u64,
        generations: u64,
    }

    pub fn main(args: &Args) -> u8 {
        let number = |index| args.get(index).and_then(numbers::size);
        let (Some(first), Some(rounds)) = (number(1), number(2)) else {
            eprintln!("usage: fuzz SEED ROUNDS [STEPS [GENERATIONS]]");
            return 2;
        };
        let (steps, generations) = (number(3).unwrap_or(STEPS), number(4).unwrap_or(GENERATIONS));
        if rounds == 0 {
            child::run(first, steps, generations);
        }
        match own::settle().and_then(|()| all(&Run { first, rounds, steps, generations })) {
            Ok(Some(killed)) => {
                println!(
                    "{rounds} children from seed {first} on, {killed} of them ended for what they did; all came back"
                );
                0
            }
            Ok(None) => 1,
            Err(Error(error)) => {
                eprintln!("fuzz: a child could not be made, or ended: error {error}");
                1
            }
        }
    }

    /// One round after the other; how many children had to be ended, or a signal did. `None` if something was not given back.
    fn all(run: &Run) -> Result<Option<u64>, Error> {
        let ground = Ground::now();
        // What the first child makes the kernel keep, it keeps.
        round(run.first, 1, 0)?;
        ground.put_back();
        println!("seed {}", run.first);
        let before = stock();
        let mut killed = 0;
        for done in 0..run.rounds {
            let seed = run.first + done;
            if done % NEWS == NEWS - 1 {
                println!("seed {seed}");
            }
            killed += u64::from(round(seed, run.steps, run.generations)?);
            ground.put_back();
            let now = settled(&before);
            if now != before {
                eprintln!("fuzz: seed {seed}: {NAMES:?} were {before:?}, are {now:?}");
                return Ok(None);
            }
        }
        Ok(Some(killed))
    }

    /// Runs a child to its end, and what it leaves behind; whether it had to be ended, or a signal did.
    fn round(seed: u64, steps: u64, generations: u64) -> Result<bool, Error> {
        let child = process::spawn(|| child::run(seed, steps, generations))?;
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

    /// What there is once all that was on its way to a swap device has arrived there: at the latest after a while.
    fn settled(wanted: &Stock) -> Stock {
        for _ in 0..PATIENCE {
            if stock() == *wanted {
                break;
            }
            let _ = process::sleep(1_000_000);
        }
        stock()
    }

    /// Every process but this one.
    fn kill_all_others() {
        let _ = process::kill(-1, signal::KILL);
    }
}
