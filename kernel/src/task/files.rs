//! A program's open descriptors: numbers for what they stand for, which several may share. Pure: what that is, is in `file`.

use alloc::vec::Vec;

/// An open descriptor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Open<S> {
    /// What it stands for.
    pub file: S,
    /// FD_CLOEXEC.
    pub close_on_exec: bool,
}

/// The descriptors of one program.
#[derive(Clone, Debug)]
pub struct Files<S> {
    open: [Option<Open<S>>; MOST],
}

/// How many descriptors a program can have, its RLIMIT_NOFILE.
pub const MOST: usize = 64;

impl<S: Clone> Files<S> {
    /// Standard input, output and error.
    pub fn new(standard: [S; 3]) -> Self {
        let mut open = [const { None }; MOST];
        for (place, file) in open.iter_mut().zip(standard) {
            *place = Some(Open { file, close_on_exec: false });
        }
        Self { open }
    }

    /// The open descriptor of this number.
    pub fn get(&self, number: u64) -> Option<&Open<S>> {
        self.open.get(number as u32 as usize)?.as_ref()
    }

    /// As [`Self::get`], to change it.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Open<S>> {
        self.open.get_mut(number as u32 as usize)?.as_mut()
    }

    /// Closes a descriptor; what it stood for, if it was open.
    #[must_use]
    pub fn close(&mut self, number: u64) -> Option<Open<S>> {
        self.open.get_mut(number as u32 as usize)?.take()
    }

    /// Closes those that another program shall not have; what they stood for.
    #[must_use]
    pub fn close_on_exec(&mut self) -> Vec<Open<S>> {
        self.open.iter_mut().filter_map(|place| place.take_if(|open| open.close_on_exec)).collect()
    }

    /// Opens the lowest free number from `least` on; `None` if there is none.
    pub fn open(&mut self, open: Open<S>, least: u64) -> Option<u64> {
        let least = usize::try_from(least).ok()?;
        let free = (least..MOST).find(|&number| self.open[number].is_none())?;
        self.open[free] = Some(open);
        Some(free as u64)
    }

    /// Makes `number` stand for `open`; what it stood for. `Err` with `open` if the number is too large.
    pub fn replace(&mut self, number: u64, open: Open<S>) -> Result<Option<Open<S>>, Open<S>> {
        match self.open.get_mut(number as u32 as usize) {
            Some(place) => Ok(place.replace(open)),
            None => Err(open),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_free_number() {
        let mut files = Files::new(["in", "out", "error"]);
        let out = files.get(1).unwrap().clone();
        assert_eq!(files.open(out.clone(), 0), Some(3));
        assert!(files.close(0).is_some() && files.close(0).is_none());
        assert_eq!(files.open(out.clone(), 0), Some(0));
        assert_eq!(files.open(out.clone(), 10), Some(10));
        assert_eq!(files.open(out.clone(), 64), None);
        assert_eq!(files.open(out.clone(), u64::MAX), None);
        assert_eq!(files.get(u64::MAX), None);
        // Only the lower 32 bits of a descriptor count, since it is an int.
        assert_eq!(files.get(1 << 32 | 1), Some(&out));
        assert_eq!(files.replace(63, out.clone()), Ok(None));
        assert_eq!(files.replace(63, out.clone()), Ok(Some(out.clone())));
        assert_eq!(files.replace(64, out.clone()), Err(out));
    }

    #[test]
    fn some_are_not_for_the_next_program() {
        let mut files = Files::new([1, 2, 3]);
        files.get_mut(1).unwrap().close_on_exec = true;
        assert_eq!(files.close_on_exec(), [Open { file: 2, close_on_exec: true }]);
        assert!(files.get(0).is_some() && files.get(1).is_none() && files.get(2).is_some());
    }
}
