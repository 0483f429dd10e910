//! Runs of bits, and of bytes, that lie together in words of 64 bits.

/// Shows `see` each word that a run meets, and which bits of a 64-slot word, or bytes of an 8-slot word, it takes of it.
#[inline(always)]
pub(crate) fn spans<const PER_WORD: usize>(at: usize, count: usize, mut see: impl FnMut(usize, u64)) {
    let bits = 64 / PER_WORD;
    if at % PER_WORD + count <= PER_WORD && count > 0 {
        // Most often it is one word.
        return see(at / PER_WORD, (u64::MAX >> (64 - count * bits)) << (at % PER_WORD * bits));
    }
    let end = at + count;
    let mut at = at;
    while at < end {
        let (word, first) = (at / PER_WORD, at % PER_WORD);
        let length = (PER_WORD - first).min(end - at);
        see(word, (u64::MAX >> (64 - length * bits)) << (first * bits));
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::spans;

    #[test]
    fn spans_cover_a_run_and_nothing_else() {
        for (at, count) in [(0, 1), (0, 512), (3, 70), (63, 2), (64, 64), (511, 1), (16, 16)] {
            let mut bits = Vec::new();
            spans::<64>(at, count, |word, mask| {
                bits.extend((0..64).filter(|bit| mask >> bit & 1 != 0).map(|bit| word * 64 + bit));
            });
            assert!(bits.into_iter().eq(at..at + count));
            let mut bytes = Vec::new();
            spans::<8>(at, count, |word, mask| {
                for byte in 0..8 {
                    match mask >> (8 * byte) & 0xff {
                        0xff => bytes.push(word * 8 + byte),
                        part => assert_eq!(part, 0),
                    }
                }
            });
            assert!(bytes.into_iter().eq(at..at + count));
        }
    }
}
