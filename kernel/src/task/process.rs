//! A program that runs: its registers, its memory, and what it has asked for.

use alloc::boxed::Box;
use alloc::string::String;

use super::files::Files;
use super::missing::Missing;
use super::random::Random;
use super::signals::Signals;
use super::space::UserSpace;
use super::status::ExitStatus;
use crate::arch::user::UserContext;

/// One program, of one thread.
pub struct Process {
    /// Its name, for reports.
    pub name: String,
    /// Its registers.
    pub context: Box<UserContext>,
    /// Its memory.
    pub space: UserSpace,
    /// Its open descriptors.
    pub files: Files,
    /// Its signals.
    pub signals: Signals,
    /// Its source of random numbers.
    pub random: Random,
    /// What it asked for in vain.
    pub missing: Missing,
    /// When it started, in nanoseconds.
    pub started: u64,
    /// What it calls its thread (PR_SET_NAME).
    pub thread_name: [u8; 16],
    /// Whether its space has the code that handlers return to.
    pub(super) has_trampoline: bool,
    ended: Option<ExitStatus>,
}

impl Process {
    /// A program that is loaded and has not run yet.
    pub(super) fn new(name: &str, context: UserContext, space: UserSpace, random: Random) -> Self {
        let mut thread_name = [0; 16];
        for (to, from) in thread_name[..15].iter_mut().zip(name.bytes()) {
            *to = from;
        }
        Self {
            name: name.into(),
            context: Box::new(context),
            space,
            files: Files::new(),
            signals: Signals::new(),
            random,
            missing: Missing::default(),
            started: crate::arch::timer::now_ns(),
            thread_name,
            has_trampoline: false,
            ended: None,
        }
    }

    /// Ends it. The first end counts.
    pub fn end(&mut self, status: ExitStatus) {
        self.ended.get_or_insert(status);
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        self.ended
    }
}
