//! A program's open files: the UART, as standard input, output and error, and copies of these. There is no file tree yet.

/// What a descriptor stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// What comes from the UART.
    Input,
    /// What goes to the UART.
    Output,
}

/// An open descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Open {
    /// What it stands for.
    pub stream: Stream,
    /// FD_CLOEXEC.
    pub close_on_exec: bool,
}

/// The descriptors of one program.
#[derive(Clone, Debug)]
pub struct Files {
    open: [Option<Open>; Files::MOST],
}

impl Files {
    /// How many descriptors a program can have, its RLIMIT_NOFILE.
    pub const MOST: usize = 64;

    /// Standard input, output and error.
    pub const fn new() -> Self {
        let mut open = [None; Self::MOST];
        open[0] = Some(Open { stream: Stream::Input, close_on_exec: false });
        open[1] = Some(Open { stream: Stream::Output, close_on_exec: false });
        open[2] = Some(Open { stream: Stream::Output, close_on_exec: false });
        Self { open }
    }

    /// The open descriptor of this number.
    pub fn get(&self, number: u64) -> Option<Open> {
        *self.open.get(number as u32 as usize)?
    }

    /// As [`Self::get`], to change it.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Open> {
        self.open.get_mut(number as u32 as usize)?.as_mut()
    }

    /// Closes a descriptor; false if it was not open.
    #[must_use]
    pub fn close(&mut self, number: u64) -> bool {
        self.open.get_mut(number as u32 as usize).is_some_and(|open| open.take().is_some())
    }

    /// Opens the lowest free number from `least` on; `None` if there is none.
    pub fn open(&mut self, open: Open, least: u64) -> Option<u64> {
        let least = usize::try_from(least).ok()?;
        let free = (least..Self::MOST).find(|&number| self.open[number].is_none())?;
        self.open[free] = Some(open);
        Some(free as u64)
    }

    /// Makes `number` stand for `open`, whatever it stood for; false if it is too large.
    #[must_use]
    pub fn replace(&mut self, number: u64, open: Open) -> bool {
        let Some(place) = self.open.get_mut(number as u32 as usize) else { return false };
        *place = Some(open);
        true
    }
}

impl Default for Files {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_free_number() {
        let mut files = Files::new();
        let out = files.get(1).unwrap();
        assert_eq!(files.open(out, 0), Some(3));
        assert!(files.close(0) && !files.close(0));
        assert_eq!(files.open(out, 0), Some(0));
        assert_eq!(files.open(out, 10), Some(10));
        assert_eq!(files.open(out, 64), None);
        assert_eq!(files.open(out, u64::MAX), None);
        assert_eq!(files.get(u64::MAX), None);
        // Only the lower 32 bits of a descriptor count, since it is an int.
        assert_eq!(files.get(1 << 32 | 1), Some(out));
        assert!(files.replace(63, out) && !files.replace(64, out));
    }
}
