//! What the kernel knows at the moment: what the tree is made of, and what the files say.

use alloc::string::String;
use alloc::vec::Vec;

use super::tree::{ProcessFile, SystemFile, World};
use crate::task::Process;
use crate::task::family::Pid;
use crate::task::handle::family;
use crate::task::initrd;

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

/// A file about the system.
pub fn system(file: SystemFile) -> Vec<u8> {
    let text: &str = match file {
        SystemFile::Filesystems => "nodev\tproc\nnodev\tsysfs\nnodev\tramfs\n",
        SystemFile::Mounts => "rootfs / ramfs ro 0 0\nproc /proc proc rw 0 0\nsysfs /sys sysfs rw 0 0\n",
    };
    text.into()
}

/// A file about a process; nothing if it has ended.
pub fn process(pid: Pid, file: ProcessFile) -> Vec<u8> {
    let Some(process) = family().get(pid) else { return Vec::new() };
    let about = process.about();
    match file {
        ProcessFile::Arguments => about.arguments.clone(),
        ProcessFile::Name => [about.name(), b"\n"].concat(),
    }
}
