//! Random numbers for programs, the same in every run.
//!
//! Exact counts need runs that repeat, so AT_RANDOM and getrandom come from a generator with a fixed seed: **they are not secret**.
//! The generator is SplitMix64 (Steele, Lea and Flood, 2014): a counter, and a mixing function in which every bit matters.

/// The state of a generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator that every program starts with.
    pub const fn new() -> Self {
        Self(0x756E_666F_6C64)
    }

    /// A generator for a child, whose numbers are others.
    pub fn of_child(&mut self) -> Self {
        Self(self.word())
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// What a new program finds at AT_RANDOM.
    pub fn sixteen(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        bytes
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.word().to_le_bytes()[..chunk.len()]);
        }
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_vector() {
        // The first outputs of SplitMix64 from seed 1234567.
        let mut random = Random(1_234_567);
        assert_eq!([random.word(), random.word()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn repeats_and_fills_every_byte() {
        let (mut one, mut two) = ([0; 19], [0; 19]);
        Random::new().fill(&mut one);
        Random::new().fill(&mut two);
        assert_eq!(one, two);
        assert_ne!(one[16..], [0; 3]);
    }
}
