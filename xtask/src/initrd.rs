//! The initrd: a newc cpio archive of programs.
//!
//! The kernel and this file agree on names: an entry is called `bin/NAME`, and `init=bin/NAME` on the kernel's command line asks
//! for it. A program of the host is packed under its file name, in front of one of ours that is called the same.

use std::io::Cursor;

use anyhow::Result;
use cpio::{NewcBuilder, write_cpio};

/// A regular file that anyone may execute (`st_mode`).
const MODE: u32 = 0o100_755;

/// One program of the archive.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name, without a directory.
    pub name: String,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// The name under which the kernel finds the program called `name`.
pub fn entry_name(name: &str) -> String {
    format!("bin/{name}")
}

/// Packs `programs`; times and owners are zero, so that equal programs give equal bytes.
pub fn pack(programs: &[Program]) -> Result<Vec<u8>> {
    let entries = programs.iter().zip(1u32..).map(|(program, inode)| {
        let builder = NewcBuilder::new(&entry_name(&program.name)).ino(inode).nlink(1).mode(MODE);
        (builder, Cursor::new(program.data.clone()))
    });
    Ok(write_cpio(entries, Vec::new())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_reads_back() {
        let archive = pack(&[Program { name: "hello".to_owned(), data: b"12345".to_vec() }]).unwrap();
        assert_eq!(&archive[..6], b"070701");
        let reader = cpio::NewcReader::new(archive.as_slice()).unwrap();
        assert_eq!(reader.entry().name(), "bin/hello");
        assert_eq!(reader.entry().file_size(), 5);
        assert_eq!(reader.entry().mode(), MODE);
    }
}
