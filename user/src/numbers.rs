//! Numbers as people type them: sizes with a suffix, and ranges.

/// A number in decimal, or in hexadecimal after `0x`, with `K`, `M` or `G` for a power of 1,024. `None` if it is none, or too large.
pub fn size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' | b'k' => (&text[..text.len() - 1], 10),
        b'M' | b'm' => (&text[..text.len() - 1], 20),
        b'G' | b'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let (digits, radix) = match digits.strip_prefix("0x") {
        Some(rest) => (rest, 16),
        None => (digits, 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()?.checked_mul(1 << shift)
}

/// `A-B` (both ends belong to it) or `A`, as a half-open range of page numbers.
pub fn range(text: &str) -> Option<core::ops::Range<u64>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (size(first)?, size(last)?);
    (first <= last).then_some(first..last.checked_add(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("256M"), Some(256 << 20));
        assert_eq!(size("64k"), Some(65536));
        assert_eq!(size("4096"), Some(4096));
        assert_eq!(size("0x10"), Some(16));
        assert_eq!(size("0x10K"), Some(16384));
        for wrong in ["", "M", "1T", "-1", "+1", "99999999999G", "0x", "1 M"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ranges() {
        assert_eq!(range("3"), Some(3..4));
        assert_eq!(range("0-15"), Some(0..16));
        for wrong in ["", "-", "5-4", "1-", "-1", "0-18446744073709551615"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }
}
