//! The swap device as `swap=` describes it: its size, and behind commas how it behaves, as in `512M,async,unreadable=19-20`.

use core::ops::Range;

use super::size;

/// The values that are right, in words.
pub const RIGHT: &str =
    "a size such as 512M, or 0; then any of ,async ,unreadable=FIRST-LAST ,unwritable=FIRST-LAST with numbers of slots";

/// A swap device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SwapOption {
    /// Its size; 0 for none.
    pub bytes: u64,
    /// Its writes complete some time after they were asked for.
    pub is_async: bool,
    /// Slots that can not be read.
    pub unreadable: Range<usize>,
    /// Slots that can not be written.
    pub unwritable: Range<usize>,
}

/// Reads the option's value.
pub fn parse(value: &str) -> Option<SwapOption> {
    let mut words = value.split(',');
    let mut swap = SwapOption { bytes: size(words.next()?)?, ..SwapOption::default() };
    for word in words {
        match word.split_once('=') {
            None if word == "async" => swap.is_async = true,
            Some(("unreadable", range)) => swap.unreadable = slots(range)?,
            Some(("unwritable", range)) => swap.unwritable = slots(range)?,
            _ => return None,
        }
    }
    Some(swap)
}

/// `FIRST-LAST`, both among them.
fn slots(text: &str) -> Option<Range<usize>> {
    let (first, last) = text.split_once('-')?;
    let number = |text: &str| text.parse::<u32>().ok().map(|number| number as usize);
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_alone_is_a_device_without_faults() {
        assert_eq!(parse("4M"), Some(SwapOption { bytes: 4 << 20, ..SwapOption::default() }));
        assert_eq!(parse("0"), Some(SwapOption::default()));
    }

    #[test]
    fn what_follows_says_how_it_behaves() {
        let swap = parse("4M,async,unreadable=19-19,unwritable=3-40").unwrap();
        assert!(swap.is_async);
        assert_eq!((swap.unreadable, swap.unwritable), (19..20, 3..41));
    }

    #[test]
    fn anything_else_is_refused() {
        let wrong = ["", "async", "4M,", "4M,asynchronous", "4M,unreadable", "4M,unreadable=5", "4M,unwritable=5-4"];
        assert!(wrong.iter().all(|value| parse(value).is_none()));
    }
}
