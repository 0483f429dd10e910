//! From a path to an open file.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;

use mm::Errno;

use super::directory::OpenDirectory;
use super::live::{self, Seen};
use super::text::{Bytes, Make, Text};
use super::tree::{self, Found, Node};
use crate::arch::cpu::SpinLock;
use crate::task::file::{Entry, File, Kind, OpenFile, Stat, flags};
use crate::task::{Process, initrd};

/// Follows a path as `process` does; a link at its end only if `follows` says so.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, `ELOOP`.
pub fn find(process: &Process, path: &str, follows: bool) -> Result<Found, Errno> {
    tree::find(&Seen(process), &process.directory, path, follows)
}

/// Opens what a path leads to.
///
/// # Errors
/// Linux's. Nothing can be made in this tree: `EROFS`.
pub fn open(process: &Process, path: &str, flags: u32) -> Result<Arc<OpenFile>, Errno> {
    let writes = matches!(flags & flags::ACCESS, flags::WRITE_ONLY | flags::BOTH);
    let found = match find(process, path, flags & flags::NOFOLLOW == 0) {
        Err(Errno::ENOENT) if flags & flags::CREATE != 0 => return Err(Errno::EROFS),
        found => found?,
    };
    if flags & (flags::CREATE | flags::EXCLUSIVE) == flags::CREATE | flags::EXCLUSIVE {
        return Err(Errno::EEXIST);
    }
    if flags & flags::DIRECTORY != 0 && !found.node.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    let file: Box<dyn File> = match &found.node {
        Node::Directory(_) | Node::Process(_) if writes || flags & flags::CREATE != 0 => return Err(Errno::EISDIR),
        Node::Directory(_) | Node::Process(_) => Box::new(directory(process, &found)),
        Node::Link(_) if flags & flags::PATH == 0 => return Err(Errno::ELOOP),
        Node::Link(_) => Box::new(Bytes { stat: stat(process, &found), bytes: &[] }),
        Node::Device(device) => Box::new(*device),
        Node::Program(_) if writes => return Err(Errno::EROFS),
        Node::Program(name) => Box::new(Bytes { stat: stat(process, &found), bytes: program(process, name) }),
        &Node::System(file) => Box::new(text(process, &found, Box::new(move || live::system(file)))),
        &Node::OfProcess(pid, file) => Box::new(text(process, &found, Box::new(move || live::process(pid, file)))),
    };
    Ok(OpenFile::boxed(file, &found.path, flags))
}

fn text(process: &Process, found: &Found, make: Make) -> Text {
    Text { stat: stat(process, found), make, take: None, last: SpinLock::new(None) }
}

fn program(process: &Process, name: &str) -> &'static [u8] {
    initrd::find(process.world.initrd, name).ok().flatten().map_or(&[], |file| file.data)
}

/// What `stat` tells about a node.
pub fn stat(process: &Process, found: &Found) -> Stat {
    let (permissions, size) = match &found.node {
        Node::Directory(_) | Node::Process(_) => (0o555, 0),
        Node::System(_) | Node::OfProcess(..) => (0o444, 0),
        Node::Device(device) => return device.stat(),
        Node::Program(name) => (0o555, program(process, name).len() as u64),
        Node::Link(target) => (0o777, target.len() as u64),
    };
    let inode = tree::inode(&found.path);
    Stat { kind: kind(&found.node), permissions, inode, size, device: (0, 0) }
}

const fn kind(node: &Node) -> Kind {
    match node {
        Node::Directory(_) | Node::Process(_) => Kind::Directory,
        Node::System(_) | Node::OfProcess(..) | Node::Program(_) => Kind::Regular,
        Node::Device(_) => Kind::Character,
        Node::Link(_) => Kind::Link,
    }
}

fn directory(process: &Process, found: &Found) -> OpenDirectory {
    let base = found.path.trim_end_matches('/');
    let above = base.rsplit_once('/').map_or("/", |(above, _)| if above.is_empty() { "/" } else { above });
    let dots = [(".", found.path.as_str()), ("..", above)];
    let dots =
        dots.map(|(name, path)| Entry { name: name.to_owned(), kind: Kind::Directory, inode: tree::inode(path) });
    let children = found.node.children(&Seen(process)).into_iter().map(|(name, node)| {
        let inode = tree::inode(&format!("{base}/{name}"));
        Entry { name, kind: kind(&node), inode }
    });
    OpenDirectory { stat: stat(process, found), entries: dots.into_iter().chain(children).collect() }
}
