//! What the programs fill memory with, so that every byte can be checked after swap-in: a word depends on its place and on the
//! round, so no two pages are alike, no page is all zeros, and a page of an earlier round is not taken for one of this.

/// How memory is filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fill {
    /// All zeros, written: the pages are there, and all alike.
    Zero,
    /// Words made from their place.
    Pattern,
}

impl Fill {
    /// The fill of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "zero" => Some(Self::Zero),
            "pattern" => Some(Self::Pattern),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Pattern => "pattern",
        }
    }

    /// Word number `index` in round `round`.
    #[inline]
    pub fn word(self, index: u64, round: u64) -> u64 {
        match self {
            Self::Zero => 0,
            Self::Pattern => pattern(index, round),
        }
    }

    /// Fills `words`, the first of which is word number `first`.
    pub fn write(self, words: &mut [u64], first: u64, round: u64) {
        match self {
            Self::Zero => words.fill(0),
            Self::Pattern => {
                for (index, word) in (first..).zip(words) {
                    *word = pattern(index, round);
                }
            }
        }
    }

    /// The place and the value of the first byte that is not as `write` left it: (byte offset from word 0, expected, found).
    pub fn first_wrong(self, words: &[u64], first: u64, round: u64) -> Option<(u64, u8, u8)> {
        let (index, found) = (first..).zip(words).find(|&(index, &word)| word != self.word(index, round))?;
        let (expected, found) = (self.word(index, round).to_le_bytes(), found.to_le_bytes());
        let byte = (0..8).find(|&byte| expected[byte] != found[byte])?;
        Some((index * 8 + byte as u64, expected[byte], found[byte]))
    }
}

/// A bijection of `index` for each `round` with every bit of both in play: an odd factor, then the upper half folded onto the lower.
#[inline]
fn pattern(index: u64, round: u64) -> u64 {
    let mixed = (index + 1 + (round << 48)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_differ_by_place_and_round() {
        let mut seen = std::collections::HashSet::new();
        for round in 0..4 {
            for index in 0..4096 {
                assert!(seen.insert(pattern(index, round)));
            }
        }
        assert!(!seen.contains(&0));
    }

    #[test]
    fn any_single_wrong_byte_is_found() {
        for fill in [Fill::Zero, Fill::Pattern] {
            let mut words = [1u64; 64];
            fill.write(&mut words, 640, 2);
            assert_eq!(fill.first_wrong(&words, 640, 2), None);
            for byte in 0..512 {
                let mut broken = words;
                broken[byte / 8] ^= 0x10 << (byte % 8 * 8) & (0xFF << (byte % 8 * 8));
                let expected = words[byte / 8].to_le_bytes()[byte % 8];
                let place = 640 * 8 + byte as u64;
                assert_eq!(fill.first_wrong(&broken, 640, 2), Some((place, expected, expected ^ 0x10)));
            }
        }
    }

    #[test]
    fn names() {
        for fill in [Fill::Zero, Fill::Pattern] {
            assert_eq!(Fill::from_name(fill.name()), Some(fill));
        }
        assert_eq!(Fill::from_name("zeros"), None);
    }
}
