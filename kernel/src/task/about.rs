//! What others may know about a process: its program, its arguments, its name.

use alloc::string::String;
use alloc::vec::Vec;

/// What others may know.
#[derive(Clone, Default, Debug)]
pub struct About {
    /// The path of its program.
    pub path: String,
    /// Its arguments, each with a zero behind it; the first so many bytes.
    pub arguments: Vec<u8>,
    /// What it calls itself: the program's name, until it says otherwise (PR_SET_NAME).
    pub name: [u8; 16],
}

/// Bytes of the arguments that are kept.
const KEPT: usize = 4096;

impl About {
    /// A program with this path and these arguments.
    pub fn new(path: &str, arguments: &[&[u8]]) -> Self {
        let mut bytes = Vec::new();
        for argument in arguments {
            let room = KEPT - bytes.len();
            bytes.extend(argument.iter().chain(&[0]).take(room));
        }
        let mut name = [0; 16];
        let last = path.rsplit('/').next().unwrap_or(path);
        for (to, from) in name[..15].iter_mut().zip(last.bytes()) {
            *to = from;
        }
        Self { path: path.into(), arguments: bytes, name }
    }

    /// Its name, without what follows it.
    pub fn name(&self) -> &[u8] {
        self.name.split(|&byte| byte == 0).next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_arguments() {
        let about = About::new("/bin/a-very-long-name", &[b"a", b"", b"b"]);
        assert_eq!(about.name(), b"a-very-long-nam");
        assert_eq!(about.arguments, b"a\0\0b\0");
        assert_eq!(About::new("", &[&[1; 5000]]).arguments.len(), 4096);
    }
}
