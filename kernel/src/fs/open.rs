//! From a path to an open file.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;

use mm::Errno;

use super::directory::OpenDirectory;
use super::live::Seen;
use super::pins::Pins;
use super::proc::status::UMASK;
use super::process::Pagemap;
use super::text::{Bytes, Text, whole};
use super::tree::{self, Found, Node, ProcessFile};
use super::{memory, process as about};
use crate::task::file::{Entry, File, Kind, OpenFile, Stat, flags};
use crate::task::handle::family;
use crate::task::memory_file::MemoryFile;
use crate::task::{Process, initrd};

/// Follows a path as `process` does; a link at its end only if `follows` says so.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, `ELOOP`.
pub fn find(process: &Process, path: &str, follows: bool) -> Result<Found, Errno> {
    tree::find(&Seen(process), &process.directory(), path, follows)
}

/// Opens what a path leads to; `permissions` are for a file that is made.
///
/// # Errors
/// Linux's. Nothing can be made in this tree but files without a name: `EROFS`.
pub fn open(process: &Process, path: &str, flags: u32, permissions: u32) -> Result<Arc<OpenFile>, Errno> {
    let writes = matches!(flags & flags::ACCESS, flags::WRITE_ONLY | flags::BOTH);
    let found = match find(process, path, flags & flags::NOFOLLOW == 0) {
        Err(Errno::ENOENT) if flags & flags::CREATE != 0 => return Err(Errno::EROFS),
        found => found?,
    };
    if flags & flags::TEMPORARY == flags::TEMPORARY {
        return temporary(&found, flags, permissions);
    }
    if flags & (flags::CREATE | flags::EXCLUSIVE) == flags::CREATE | flags::EXCLUSIVE {
        return Err(Errno::EEXIST);
    }
    if flags & flags::DIRECTORY != 0 && !found.node.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    if writes && found.node.is_directory() {
        return Err(Errno::EISDIR);
    }
    let stat = stat(process, &found);
    if writes && stat.permissions & 0o222 == 0 {
        return Err(if matches!(found.node, Node::Program(_)) { Errno::EROFS } else { Errno::EACCES });
    }
    let file: Box<dyn File> = match &found.node {
        node if node.is_directory() => Box::new(directory(process, &found)),
        Node::Link(_) if flags & flags::PATH == 0 => return Err(Errno::ELOOP),
        Node::Device(device) => Box::new(*device),
        Node::Pins => Box::new(Pins::default()),
        Node::Program(name) => Box::new(Bytes { stat, bytes: program(process, name) }),
        &Node::System(file) => Box::new(Text::new(stat, whole(move || memory::content(file)), memory::take(file))?),
        &Node::OfProcess(pid, file) => {
            let handle = family().get(pid).ok_or(Errno::ESRCH)?;
            match file {
                ProcessFile::Pagemap => Box::new(Pagemap { stat, space: handle.space() }),
                _ => Box::new(Text::new(stat, about::content(&handle, file), None)?),
            }
        }
        _ => Box::new(Bytes { stat, bytes: &[] }),
    };
    Ok(OpenFile::boxed(file, &found.path, flags))
}

/// A new file in a directory, without a name, gone with the last who has it.
fn temporary(found: &Found, flags: u32, permissions: u32) -> Result<Arc<OpenFile>, Errno> {
    if flags & flags::CREATE != 0 || !matches!(flags & flags::ACCESS, flags::WRITE_ONLY | flags::BOTH) {
        return Err(Errno::EINVAL);
    }
    match &found.node {
        Node::Temporary => {
            let path = format!("{}/ (deleted)", found.path);
            let file = MemoryFile::unlinked(&path, permissions & 0o777 & !UMASK)?;
            Ok(OpenFile::new(file, &path, flags))
        }
        node if node.is_directory() => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::ENOTDIR),
    }
}

fn program(process: &Process, name: &str) -> &'static [u8] {
    initrd::find(process.world.initrd, name).ok().flatten().map_or(&[], |file| file.data)
}

/// What `stat` tells about a node.
pub fn stat(process: &Process, found: &Found) -> Stat {
    let (permissions, size) = match &found.node {
        node if node.is_directory() => (0o555, 0),
        Node::System(file) if file.is_writable() => (0o644, 0),
        Node::Device(device) => return device.stat(),
        Node::Pins => return Pins::STAT,
        Node::Program(name) => (0o555, program(process, name).len() as u64),
        Node::Link(target) => (0o777, target.len() as u64),
        _ => (0o444, 0),
    };
    let inode = tree::inode(&found.path);
    Stat { kind: kind(&found.node), permissions, inode, size, device: (0, 0) }
}

const fn kind(node: &Node) -> Kind {
    match node {
        Node::Device(_) | Node::Pins => Kind::Character,
        Node::Link(_) => Kind::Link,
        node if node.is_directory() => Kind::Directory,
        _ => Kind::Regular,
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
