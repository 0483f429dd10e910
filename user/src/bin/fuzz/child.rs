//! What a thread of a child does: call after call.

use user::process::{self, signal};
use user::random::Random;
use user::sys::PAGE;
use user::thread;

use super::{calls, shared, threads, touch};

/// The largest area, in pages.
const LARGEST: u64 = 1024;

/// The state of a thread.
pub struct Child {
    /// What decides.
    pub random: Random,
    /// How many generations of processes and programs there may be below it.
    pub generations: u64,
    /// How many calls are left.
    pub steps: u64,
}

/// Makes so many calls in this process, which has nothing else to do.
pub fn run(seed: u64, steps: u64, generations: u64) -> ! {
    be_quiet();
    shared::start();
    touch::survive();
    for signal in [signal::USR1, signal::PIPE] {
        let _ = process::handle(signal, (go_on as process::Handler) as usize as u64, 0);
    }
    Child { random: Random::new(seed), generations, steps }.go()
}

/// What a call is interrupted by.
extern "C" fn go_on(_: u64) {}

/// Has its output go nowhere: what it writes by chance is no message.
fn be_quiet() {
    if let Ok(null) = process::open(c"/dev/null", 2) {
        for standard in 0..3 {
            let _ = process::duplicate(null, standard);
        }
        let _ = process::close(null);
    }
}

impl Child {
    /// Makes the calls that are left, and ends the thread: others go on.
    pub fn go(&mut self) -> ! {
        while self.steps > 0 {
            self.steps -= 1;
            calls::make_one(self);
        }
        thread::exit(0)
    }

    /// What another one does that goes on beside it, for a while: a thread.
    pub fn beside(&mut self) -> Self {
        Self { random: Random::new(self.random.number()), generations: self.generations, steps: self.steps / 3 }
    }

    /// The same of the next generation, if there may be one: a process, or another program.
    pub fn below(&mut self) -> Option<Self> {
        let generations = self.generations.checked_sub(1)?;
        Some(Self { generations, ..self.beside() })
    }

    /// A child of its own goes on as it would.
    pub fn fork(&mut self) {
        if let Some(mut child) = self.below() {
            let _ = process::spawn(|| {
                threads::forget();
                child.go()
            });
        }
    }

    /// Remembers where something was mapped.
    pub fn remember(&mut self, address: u64, length: u64) {
        shared::set_area(self.random.number(), (address, length));
    }

    /// A number of pages, small ones more often.
    pub fn pages(&mut self) -> u64 {
        let most = self.random.one(&[1, 4, 16, 17, 64, 512, LARGEST]);
        1 + self.random.below(most)
    }

    /// A range: mostly one in an area that it has, whole or in part, or a little beyond it.
    pub fn range(&mut self) -> (u64, u64) {
        let (start, length) = shared::area(self.random.number());
        let pages = (length / PAGE).max(1);
        match self.random.below(10) {
            0 => (self.random.number(), self.random.number()),
            1 => (start + self.random.below(length.max(1)), self.random.below(length.max(1) * 2)),
            2 | 3 => (start, length),
            4 => (start, length + PAGE * self.random.below(4)),
            _ => {
                let first = self.random.below(pages);
                (start + first * PAGE, PAGE * (1 + self.random.below(pages - first)))
            }
        }
    }

    /// A span in nanoseconds, as a `timespec`: none, or a short one.
    pub fn span(&mut self) -> [u64; 2] {
        [0, self.random.one(&[0, 1000, 100_000, 3_000_000])]
    }

    /// A descriptor: mostly one that it has.
    pub fn file(&mut self) -> u64 {
        let number = self.random.number();
        if number % 4 == 0 { self.random.below(16) } else { shared::file(number / 4) }
    }

    /// Remembers a descriptor; one that it forgets for it is closed now and then.
    pub fn remember_file(&mut self, descriptor: u64) {
        let before = shared::set_file(self.random.number(), descriptor);
        if before > 2 && self.random.once_in(2) {
            let _ = process::close(before as i32);
        }
    }
}
