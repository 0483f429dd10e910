//! What the tree is made of at the moment.

use alloc::string::String;
use alloc::vec::Vec;

use super::tree::World;
use crate::task::family::Pid;
use crate::task::handle::family;
use crate::task::{Process, initrd};

/// The tree as a process sees it.
pub struct Seen<'a>(pub &'a Process);

impl World for Seen<'_> {
    fn own(&self) -> Pid {
        self.0.pid()
    }

    fn processes(&self) -> Vec<Pid> {
        family().alive().iter().map(|process| process.pid).collect()
    }

    fn program_of(&self, pid: Pid) -> Option<String> {
        let process = family().get(pid)?;
        Some(process.about().path.clone())
    }

    fn programs(&self) -> Vec<String> {
        initrd::files(self.0.world.initrd).map_while(Result::ok).map(|file| file.name.into()).collect()
    }
}
