//! What a child does: call after call.

use user::process::{self, signal};
use user::random::Random;
use user::sys::{self, PAGE};

use super::calls;

/// Areas that it keeps in mind.
const AREAS: usize = 12;
/// The largest of them, in pages.
const LARGEST: u64 = 1024;

/// The state of a child.
pub struct Child {
    /// What decides.
    pub random: Random,
    /// Where it has mapped something, with how many bytes; it may not be there any more.
    areas: [(u64, u64); AREAS],
    /// How many generations below it there may be.
    pub generations: u64,
}

/// Makes so many calls.
pub fn run(seed: u64, steps: u64) -> u8 {
    let mut child = Child { random: Random::new(seed), areas: [(0, 0); AREAS], generations: 2 };
    be_quiet();
    for signal in [signal::BUS, signal::SEGV] {
        let _ = process::handle(signal, (give_up as process::Handler) as usize as u64, 0);
    }
    child.go(steps);
    0
}

/// A touch of what is not there ends it, without a report.
extern "C" fn give_up(signal: u64) {
    sys::exit(128 + signal as u8);
}

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
    fn go(&mut self, steps: u64) {
        for step in 0..steps {
            if self.random.once_in(40) {
                self.fork(steps - step);
            } else {
                calls::make_one(self);
            }
        }
    }

    /// A child of its own goes on as it would, for a while.
    fn fork(&mut self, steps: u64) {
        if self.generations == 0 {
            return;
        }
        let seed = self.random.number();
        let (areas, generations) = (self.areas, self.generations - 1);
        let _ = process::spawn(|| {
            let mut child = Self { random: Random::new(seed), areas, generations };
            child.go(steps / 3);
            0
        });
    }

    /// Remembers where something was mapped.
    pub fn remember(&mut self, address: u64, length: u64) {
        let place = self.random.below(AREAS as u64) as usize;
        self.areas[place] = (address, length);
    }

    /// A number of pages, small ones more often.
    pub fn pages(&mut self) -> u64 {
        let most = self.random.one(&[1, 4, 16, 17, 64, 512, LARGEST]);
        1 + self.random.below(most)
    }

    /// A range: mostly one in an area that it has, whole or in part, or a little beyond it.
    pub fn range(&mut self) -> (u64, u64) {
        let (start, length) = self.random.one(&self.areas.clone());
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
}
