//! Which folio sizes anonymous memory gets (reference 4.19), in Linux's words: `always`, `inherit`, `madvise` and `never` for each
//! size, under a top-level setting, with the advice given for the area.
//!
//! Linux's defaults: 2M inherits, the top level says `always`, all other sizes are `never`. As in Linux, naming any size on the
//! command line takes 2M's default away.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};

/// The smallest order of a large folio. Order 1 does not exist for anonymous memory.
pub const MIN_ORDER: u32 = 2;
/// The largest: 2 MiB, what one table maps.
pub const MAX_ORDER: u32 = 9;
/// The orders that can be asked for.
const ORDERS: u16 = ((1 << (MAX_ORDER + 1)) - 1) & !((1 << MIN_ORDER) - 1);

pub(crate) const RIGHT: &str = "SIZE[-SIZE][,SIZE..]:STATE[;..] or SIZE=STATE, \
    where SIZE is 16K|32K|64K|128K|256K|512K|1M|2M and STATE is always|inherit|madvise|never";
pub(crate) const RIGHT_TOP: &str = "always|madvise|never";

/// What an area was advised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Advice {
    /// Nothing.
    #[default]
    None,
    /// MADV_HUGEPAGE.
    Huge,
    /// MADV_NOHUGEPAGE.
    NoHuge,
}

/// The setting of one size, or of the top level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Enabled {
    /// For all areas that were not advised otherwise.
    Always,
    /// As the top level says.
    Inherit,
    /// For areas with MADV_HUGEPAGE.
    Madvise,
    /// For none.
    Never,
}

impl Enabled {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Always, Self::Inherit, Self::Madvise, Self::Never];

    /// The word that chooses it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Inherit => "inherit",
            Self::Madvise => "madvise",
            Self::Never => "never",
        }
    }

    /// The state that a word chooses.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// The setting of every size.
#[derive(Debug)]
pub struct FolioSizes {
    always: AtomicU16,
    inherit: AtomicU16,
    madvise: AtomicU16,
    top: AtomicU8,
    named: AtomicBool,
}

impl FolioSizes {
    /// Linux's defaults.
    pub const fn new() -> Self {
        Self {
            always: AtomicU16::new(0),
            inherit: AtomicU16::new(1 << MAX_ORDER),
            madvise: AtomicU16::new(0),
            top: AtomicU8::new(Enabled::Always as u8),
            named: AtomicBool::new(false),
        }
    }

    /// The orders that a fault in an area with this advice may use, one bit each.
    #[inline]
    pub fn orders(&self, advice: Advice) -> u16 {
        if advice == Advice::NoHuge {
            return 0;
        }
        let huge = advice == Advice::Huge;
        let mut orders = self.always.load(Ordering::Relaxed);
        if huge {
            orders |= self.madvise.load(Ordering::Relaxed);
        }
        let inherits = match self.top() {
            Enabled::Always => true,
            Enabled::Madvise => huge,
            _ => false,
        };
        if inherits {
            orders |= self.inherit.load(Ordering::Relaxed);
        }
        orders
    }

    /// The top-level setting; never [`Enabled::Inherit`].
    pub fn top(&self) -> Enabled {
        Enabled::ALL[self.top.load(Ordering::Relaxed) as usize % Enabled::ALL.len()]
    }

    /// Sets the top level. Inheriting means nothing there and is taken as `never`.
    pub fn set_top(&self, state: Enabled) {
        let state = if state == Enabled::Inherit { Enabled::Never } else { state };
        self.top.store(state as u8, Ordering::Relaxed);
    }

    /// The setting of an order.
    pub fn get(&self, order: u32) -> Enabled {
        let has = |mask: &AtomicU16| mask.load(Ordering::Relaxed) & (1 << order) != 0;
        if has(&self.always) {
            Enabled::Always
        } else if has(&self.inherit) {
            Enabled::Inherit
        } else if has(&self.madvise) {
            Enabled::Madvise
        } else {
            Enabled::Never
        }
    }

    /// Sets an order, [`MIN_ORDER`] to [`MAX_ORDER`]; others are ignored.
    pub fn set(&self, order: u32, state: Enabled) {
        if (MIN_ORDER..=MAX_ORDER).contains(&order) {
            self.set_all(1 << order, state);
        }
    }

    fn set_all(&self, orders: u16, state: Enabled) {
        for (mask, means) in
            [(&self.always, Enabled::Always), (&self.inherit, Enabled::Inherit), (&self.madvise, Enabled::Madvise)]
        {
            mask.fetch_and(!orders, Ordering::Relaxed);
            if state == means {
                mask.fetch_or(orders, Ordering::Relaxed);
            }
        }
    }

    /// Takes `64K=always`, or Linux's `thp_anon` form. `None`, and no change, if it is wrong.
    pub(crate) fn parse(&self, text: &str) -> Option<()> {
        let groups = || text.split(';').map(parse_group);
        if groups().any(|group| group.is_none()) {
            return None;
        }
        if !self.named.swap(true, Ordering::Relaxed) {
            self.set_all(ORDERS, Enabled::Never);
        }
        groups().flatten().for_each(|(orders, state)| self.set_all(orders, state));
        Some(())
    }

    /// Takes the top-level setting. `None`, and no change, if it is wrong.
    pub(crate) fn parse_top(&self, word: &str) -> Option<()> {
        let state = Enabled::from_word(word).filter(|&state| state != Enabled::Inherit)?;
        self.set_top(state);
        Some(())
    }

    /// Writes the setting of each size that is not `never`.
    pub(crate) fn show(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let mut between = "";
        for order in (MIN_ORDER..=MAX_ORDER).filter(|&order| self.get(order) != Enabled::Never) {
            write!(out, "{between}{}K:{}", 4 << order, self.get(order).word())?;
            between = ";";
        }
        if between.is_empty() { out.write_str("never") } else { Ok(()) }
    }
}

impl Default for FolioSizes {
    fn default() -> Self {
        Self::new()
    }
}

/// `16K-64K,128K:always` or `64K=always`: orders and their state.
fn parse_group(group: &str) -> Option<(u16, Enabled)> {
    let (sizes, state) = group.split_once([':', '='])?;
    let state = Enabled::from_word(state)?;
    let orders = sizes.split(',').try_fold(0, |orders, size| {
        let (first, last) = size.split_once('-').unwrap_or((size, size));
        let (first, last) = (parse_size(first)?, parse_size(last)?);
        (first <= last).then(|| orders | (first..=last).fold(0, |mask, order| mask | 1 << order))
    })?;
    Some((orders, state))
}

/// `64K`, `2M` or a number of bytes: the order, if there is one.
fn parse_size(size: &str) -> Option<u32> {
    let (digits, shift) = match size.as_bytes().last()? {
        b'K' | b'k' => (&size[..size.len() - 1], 10),
        b'M' | b'm' => (&size[..size.len() - 1], 20),
        _ => (size, 0),
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    (MIN_ORDER..=MAX_ORDER).find(|order| bytes == 4096 << order)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-P-1: every setting under every top level with every advice.
    #[test]
    fn table_of_enabled_top_and_advice() {
        use Advice::{Huge, NoHuge, None};
        use Enabled::{Always, Inherit, Madvise, Never};
        // (size, top, without advice, with MADV_HUGEPAGE, with MADV_NOHUGEPAGE)
        let table = [
            (Always, Always, true, true, false),
            (Always, Inherit, true, true, false),
            (Always, Madvise, true, true, false),
            (Always, Never, true, true, false),
            (Inherit, Always, true, true, false),
            (Inherit, Inherit, false, false, false),
            (Inherit, Madvise, false, true, false),
            (Inherit, Never, false, false, false),
            (Madvise, Always, false, true, false),
            (Madvise, Inherit, false, true, false),
            (Madvise, Madvise, false, true, false),
            (Madvise, Never, false, true, false),
            (Never, Always, false, false, false),
            (Never, Inherit, false, false, false),
            (Never, Madvise, false, false, false),
            (Never, Never, false, false, false),
        ];
        for (size, top, plain, huge, no_huge) in table {
            for order in MIN_ORDER..=MAX_ORDER {
                let sizes = FolioSizes::new();
                sizes.set_all(ORDERS, Never);
                sizes.set(order, size);
                sizes.set_top(top);
                for (advice, expected) in [(None, plain), (Huge, huge), (NoHuge, no_huge)] {
                    let orders = sizes.orders(advice);
                    assert_eq!(orders, u16::from(expected) << order, "{size:?} {top:?} {advice:?} {order}");
                }
            }
        }
    }

    #[test]
    fn defaults_are_those_of_linux() {
        let sizes = FolioSizes::new();
        assert_eq!(sizes.orders(Advice::None), 1 << 9);
        sizes.parse_top("madvise").unwrap();
        assert_eq!((sizes.orders(Advice::None), sizes.orders(Advice::Huge)), (0, 1 << 9));
    }

    #[test]
    fn naming_a_size_takes_the_default_of_2m_away() {
        let sizes = FolioSizes::new();
        sizes.parse("64K=always").unwrap();
        assert_eq!(sizes.orders(Advice::None), 1 << 4);
        sizes.parse("16K-32K,1M:madvise;2M:inherit").unwrap();
        assert_eq!(sizes.orders(Advice::None), 1 << 4 | 1 << 9);
        assert_eq!(sizes.orders(Advice::Huge), 0b11_0001_1100);
        sizes.parse("64K:never").unwrap();
        assert_eq!(sizes.get(4), Enabled::Never);
    }

    #[test]
    fn wrong_sizes_are_refused_without_change() {
        let sizes = FolioSizes::new();
        for text in
            ["8K=always", "4M=always", "64K=sometimes", "64K", "", "64K:always;x", "64K-16K:always", "65K=never"]
        {
            assert!(sizes.parse(text).is_none(), "{text}");
        }
        assert!(sizes.parse_top("inherit").is_none());
        assert_eq!(sizes.orders(Advice::None), 1 << 9);
    }

    #[test]
    fn order_one_does_not_exist() {
        let sizes = FolioSizes::new();
        sizes.set(1, Enabled::Always);
        sizes.set(0, Enabled::Always);
        sizes.set(10, Enabled::Always);
        assert_eq!(sizes.orders(Advice::None), 1 << 9);
    }
}
