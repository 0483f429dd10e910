//! The words of one line, taken from the left. What is wrong is told in words that say what would be right.

use std::iter::Peekable;
use std::str::SplitWhitespace;

/// What is wrong with a line.
pub type Wrong = String;

/// Neighbouring pages or frames: `5`, or `0-15` with both ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// The first.
    pub first: usize,
    /// How many.
    pub count: usize,
}

/// What is left of a line.
pub struct Words<'a>(Peekable<SplitWhitespace<'a>>);

impl<'a> Words<'a> {
    /// The words of `text`.
    pub fn of(text: &'a str) -> Self {
        Self(text.split_whitespace().peekable())
    }

    /// The next word, without taking it.
    pub fn peek(&mut self) -> Option<&'a str> {
        self.0.peek().copied()
    }

    /// The next word, which is one of `what`.
    pub fn next(&mut self, what: &str) -> Result<&'a str, Wrong> {
        self.0.next().ok_or_else(|| format!("the line ends where {what} should follow"))
    }

    /// Takes the next word if it is `word`.
    pub fn eat(&mut self, word: &str) -> bool {
        self.0.next_if(|next| *next == word).is_some()
    }

    /// Takes `words`, each of which has to be there.
    pub fn expect(&mut self, words: &str) -> Result<(), Wrong> {
        for word in words.split_whitespace() {
            let found = self.next(&format!("`{word}`"))?;
            if found != word {
                return Err(format!("`{found}` stands where `{word}` should"));
            }
        }
        Ok(())
    }

    /// One of a few words, with what it stands for.
    pub fn choose<T: Copy>(&mut self, choices: &[(&str, T)]) -> Result<T, Wrong> {
        let names = choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let word = self.next(&format!("one of {names}"))?;
        let found = choices.iter().find(|(name, _)| *name == word);
        found.map(|&(_, value)| value).ok_or_else(|| format!("`{word}` is none of {names}"))
    }

    /// A number, decimal, or hexadecimal after `0x`.
    pub fn number(&mut self) -> Result<u64, Wrong> {
        number(self.next("a number")?)
    }

    /// A number that fits.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Wrong> {
        let number = self.number()?;
        T::try_from(number).map_err(|_| format!("{number} is too large"))
    }

    /// The number behind `word`, if that is there.
    pub fn named<T: TryFrom<u64>>(&mut self, word: &str) -> Result<Option<T>, Wrong> {
        if self.eat(word) { self.small().map(Some) } else { Ok(None) }
    }

    /// Pages or frames.
    pub fn run(&mut self) -> Result<Run, Wrong> {
        let word = self.next("a number, or two as in 0-15")?;
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let (first, last) = (number(first)? as usize, number(last)? as usize);
        if last < first {
            return Err(format!("`{word}` ends before it begins"));
        }
        Ok(Run { first, count: last - first + 1 })
    }

    /// Nothing may be left.
    pub fn end(&mut self) -> Result<(), Wrong> {
        match self.0.next() {
            None => Ok(()),
            Some(word) => Err(format!("`{word}` is one word too many")),
        }
    }
}

fn number(word: &str) -> Result<u64, Wrong> {
    let parsed = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(&digits.replace('_', ""), 16),
        None => word.parse(),
    };
    parsed.map_err(|_| format!("`{word}` is no number"))
}
