//! The initial RAM disk: a cpio archive in the `newc` form, as `xtask` packs it and Linux reads it.
//!
//! An entry is a header of 110 characters (a magic and thirteen numbers of eight hexadecimal digits), the name with a closing zero,
//! padding to 4 bytes, the data, padding to 4 bytes. An entry named `TRAILER!!!` ends the archive.

use core::fmt;

const HEADER: usize = 110;
/// Numbers of the header that matter here, by their place after the magic.
const MODE: usize = 1;
const FILE_SIZE: usize = 6;
const NAME_SIZE: usize = 11;

/// A regular file of the archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct File<'a> {
    /// Its path, without a leading `./` or `/`.
    pub name: &'a str,
    /// Its contents.
    pub data: &'a [u8],
}

/// The archive makes no sense from byte `at` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damaged {
    /// Where the entry starts that makes no sense.
    pub at: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for Damaged {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "the initrd is damaged at byte {}: {}; it must be a cpio archive in the newc form",
            self.at, self.what
        )
    }
}

/// The regular files of `archive`, in its order, up to its trailer or the first thing that is damaged. An absent archive, of no
/// bytes, has no files.
pub fn files(archive: &[u8]) -> Files<'_> {
    Files { archive, at: 0, done: archive.is_empty() }
}

/// The file `name` of `archive`.
///
/// # Errors
/// When the archive is damaged before the file is found.
pub fn find<'a>(archive: &'a [u8], name: &str) -> Result<Option<File<'a>>, Damaged> {
    let name = plain(name);
    for file in files(archive) {
        let file = file?;
        if file.name == name {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// Iterator over the files of an archive, made by [`files`].
#[derive(Debug)]
pub struct Files<'a> {
    archive: &'a [u8],
    at: usize,
    done: bool,
}

struct Entry<'a> {
    mode: u32,
    file: File<'a>,
    next: usize,
}

impl<'a> Iterator for Files<'a> {
    type Item = Result<File<'a>, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        const FORMAT: u32 = 0o17_0000;
        const REGULAR: u32 = 0o10_0000;
        while !self.done {
            let entry = self.entry();
            self.done = true;
            match entry {
                Err(what) => return Some(Err(Damaged { at: self.at, what })),
                Ok(entry) if entry.file.name == "TRAILER!!!" => {}
                Ok(entry) => {
                    self.done = false;
                    self.at = entry.next;
                    if entry.mode & FORMAT == REGULAR {
                        return Some(Ok(entry.file));
                    }
                }
            }
        }
        None
    }
}

impl<'a> Files<'a> {
    fn entry(&self) -> Result<Entry<'a>, &'static str> {
        let rest = &self.archive[self.at..];
        if rest.is_empty() {
            return Err("it ends without its trailer");
        }
        let header = rest.get(..HEADER).ok_or("it ends inside a header")?;
        if !matches!(&header[..6], b"070701" | b"070702") {
            return Err("there is no header");
        }
        let name_end = HEADER + number(header, NAME_SIZE)? as usize;
        let name = rest.get(HEADER..name_end).ok_or("it ends inside a name")?;
        let name = name.strip_suffix(&[0]).ok_or("a name does not end")?;
        let name = core::str::from_utf8(name).map_err(|_| "a name is not UTF-8")?;
        let start = name_end.next_multiple_of(4).min(rest.len());
        let end = start + number(header, FILE_SIZE)? as usize;
        let data = rest.get(start..end).ok_or("it ends inside a file")?;
        let next = self.archive.len().min(self.at + end.next_multiple_of(4));
        Ok(Entry { mode: number(header, MODE)?, file: File { name: plain(name), data }, next })
    }
}

/// Number `place` of a header.
fn number(header: &[u8], place: usize) -> Result<u32, &'static str> {
    let digits = &header[6 + place * 8..][..8];
    let wrong = "a header has a wrong number";
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(wrong);
    }
    core::str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or(wrong)
}

/// A path without what leads from the root.
fn plain(name: &str) -> &str {
    name.trim_start_matches("./").trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::*;

    fn add(archive: &mut Vec<u8>, name: &str, mode: u32, data: &[u8]) {
        let numbers = [1, mode, 0, 0, 1, 0, data.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        let numbers: String = numbers.iter().map(|number| format!("{number:08x}")).collect();
        archive.extend(format!("070701{numbers}{name}\0").bytes());
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(data);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }

    fn example() -> Vec<u8> {
        let mut archive = Vec::new();
        add(&mut archive, "bin", 0o04_0755, b"");
        add(&mut archive, "bin/hello", 0o10_0755, b"first");
        add(&mut archive, "./touch", 0o10_0755, b"");
        add(&mut archive, "/swapout", 0o10_0755, b"12345678");
        add(&mut archive, "TRAILER!!!", 0, b"");
        archive.resize(archive.len().next_multiple_of(512), 0);
        archive
    }

    #[test]
    fn finds_regular_files_by_name() {
        let archive = example();
        let names: Vec<_> = files(&archive).map(|file| file.unwrap().name).collect();
        assert_eq!(names, ["bin/hello", "touch", "swapout"]);
        assert_eq!(find(&archive, "bin/hello").unwrap().unwrap().data, b"first");
        assert_eq!(find(&archive, "swapout").unwrap().unwrap().data, b"12345678");
        assert_eq!(find(&archive, "/touch").unwrap().unwrap().data, b"");
        assert_eq!(find(&archive, "bin").unwrap(), None);
        assert_eq!(find(&archive, "absent").unwrap(), None);
    }

    #[test]
    fn a_cut_anywhere_is_noticed() {
        let archive = example();
        let trailer = archive.windows(7).position(|bytes| bytes == b"TRAILER").unwrap() + "TRAILER!!!".len() + 1;
        for cut in 1..trailer {
            let found: Vec<_> = files(&archive[..cut]).collect();
            let (last, before) = found.split_last().unwrap();
            assert!(last.is_err() && before.iter().all(Result::is_ok), "{cut}");
        }
        assert_eq!(files(&archive[..trailer]).count(), 3);
        assert_eq!(find(&archive[..120], "touch").unwrap_err().at, 116);
    }

    #[test]
    fn damage_is_named() {
        let mut archive = example();
        archive[116] = b'x';
        assert_eq!(find(&archive, "touch"), Err(Damaged { at: 116, what: "there is no header" }));
        let mut archive = example();
        archive[6 + FILE_SIZE * 8..][..8].copy_from_slice(b"ffffffff");
        assert_eq!(find(&archive, "touch"), Err(Damaged { at: 0, what: "it ends inside a file" }));
        archive[6 + FILE_SIZE * 8..][..8].copy_from_slice(b"+1234567");
        assert_eq!(find(&archive, "touch"), Err(Damaged { at: 0, what: "a header has a wrong number" }));
        assert_eq!(find(b"", "touch"), Ok(None));
    }
}
