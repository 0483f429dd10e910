//! The pools of huge pages as `hugepages=` describes them: a size and how many, as in `64K:32,2M:4`.

use mm::HugeSize;

use super::size;

/// The values that are right, in words.
pub const RIGHT: &str = "SIZE:COUNT, as in 64K:32,2M:4; sizes are 64K and 2M";

/// How many pages each pool shall have, by size.
pub type HugePages = [usize; HugeSize::COUNT];

/// Reads the option's value.
pub fn parse(value: &str) -> Option<HugePages> {
    let mut pools = HugePages::default();
    for word in value.split(',') {
        let (bytes, count) = word.split_once(':')?;
        pools[HugeSize::from_bytes(size(bytes)?)? as usize] = count.parse::<u32>().ok()? as usize;
    }
    Some(pools)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts() {
        assert_eq!(parse("64K:32,2M:4"), Some([32, 4]));
        assert_eq!(parse("2048K:1"), Some([0, 1]));
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(["", "64K", "64K:", "64K:-1", "32K:1", "64K:1,", "2M:1G"].iter().all(|value| parse(value).is_none()));
    }
}
