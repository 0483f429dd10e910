//! Every switch of memory management, with Linux's behaviour among the values of each (`docs/`, "Policy").
//!
//! Set by words `key=value`: on the kernel's command line, through files, by a shell. A wrong value is refused with the right ones.
//! Reading a switch is one relaxed load. Folio sizes are in [`FolioSizes`].

use alloc::string::{String, ToString};
use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};

use mmu::Features;

pub use thp::{Advice, Enabled, FolioSizes, MAX_ORDER, MIN_ORDER};

mod thp;

/// Why a word was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PolicyError {
    /// No switch has this name.
    UnknownKey(String),
    /// The switch has no such value.
    WrongValue {
        /// The name of the switch.
        key: &'static str,
        /// What was asked for.
        value: String,
        /// The right values, for people.
        right: &'static str,
    },
    /// `bbm=elide` on a CPU that may raise a TLB conflict abort: refused, not left without effect.
    ConflictAbort {
        /// The BBM level of the CPU.
        level: u8,
    },
}

impl fmt::Display for PolicyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey(key) => {
                write!(out, "unknown policy '{key}'; there are:")?;
                KEYS.iter().try_for_each(|(key, right)| write!(out, " {key}={right}"))
            }
            Self::WrongValue { key, value, right } => write!(out, "{key}={value}: the right values are {right}"),
            Self::ConflictAbort { level } => write!(
                out,
                "bbm=elide needs a CPU with BBM level 3, and this one has level {level}; \
                 say bbm=elide,assume=noabort if it never raises a conflict abort"
            ),
        }
    }
}

impl core::error::Error for PolicyError {}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident, $right:literal { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$value_doc])* $value,)*
        }

        impl $name {
            const RIGHT: &'static str = $right;
            const ALL: &'static [Self] = &[$(Self::$value),*];

            /// The value that is kept as `number`; only `parse`, with a value of this kind, stores one.
            #[inline(always)]
            const fn from_number(number: u8) -> Self {
                $(if number == Self::$value as u8 {
                    return Self::$value;
                })*
                Self::ALL[0]
            }

            /// The word that chooses it.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)*
                }
            }

            fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($text => Some(Self::$value),)*
                    _ => None,
                }
            }
        }
    };
}

choice! {
    /// How a folio is unmapped for reclaim.
    Unmap, "page|folio|gather" {
        /// Page by page, as Linux 7.3.
        Page = "page",
        /// All the pages of a folio in one table at once, as the series.
        Folio = "folio",
        /// A whole reclaim batch at once.
        Gather = "gather",
    }
}

choice! {
    /// A switch that is on or off.
    Switch, "on|off" {
        /// Off.
        Off = "off",
        /// On.
        On = "on",
    }
}

choice! {
    /// Which TLB invalidations are used for runs.
    Tlbi, "range|single" {
        /// By range, where the CPU has them.
        Range = "range",
        /// Page by page.
        Single = "single",
    }
}

choice! {
    /// When the flush of an unmap is complete.
    Flush, "deferred|immediate" {
        /// Once before the pages are used: one barrier for many.
        Deferred = "deferred",
        /// At once.
        Immediate = "immediate",
    }
}

choice! {
    /// What happens between taking a block's entries away and putting them back with the Contiguous bit changed.
    Bbm, "flush|elide|elide,assume=noabort" {
        /// A flush: break before make.
        Flush = "flush",
        /// Nothing; the CPU has BBM level 3.
        Elide = "elide",
        /// Nothing, on the assumption that the CPU never raises a conflict abort. Every table and verdict repeats it.
        ElideAssumed = "elide,assume=noabort",
    }
}

choice! {
    /// How the public getter gathers a block's access flag and dirty state.
    Getter, "early|full" {
        /// Until both are found, as Linux 7.2 and later.
        Early = "early",
        /// From all entries, as Linux 6.12.
        Full = "full",
    }
}

choice! {
    /// The unit in which something is done.
    Unit, "folio|page" {
        /// A folio.
        Folio = "folio",
        /// A page.
        Page = "page",
    }
}

impl From<Switch> for bool {
    #[inline(always)]
    fn from(switch: Switch) -> Self {
        switch == Switch::On
    }
}

macro_rules! policy {
    ($($(#[$doc:meta])* $field:ident: $kind:ident as $seen:ty = $default:ident,)*) => {
        /// The value of every switch. Reading and writing need no lock.
        #[derive(Debug)]
        pub struct Policy {
            $($field: AtomicU8,)*
            asid_bits: AtomicU8,
            sizes: FolioSizes,
        }

        /// The switches and their right values, for people.
        pub const KEYS: &[(&str, &str)] = &[
            $((stringify!($field), $kind::RIGHT),)*
            ("asid_bits", ASID_RIGHT),
            ("thp", thp::RIGHT),
            ("thp_anon", thp::RIGHT),
            ("transparent_hugepage", thp::RIGHT_TOP),
        ];

        impl Policy {
            /// Linux's behaviour, except that folios are unmapped whole.
            pub const fn new() -> Self {
                Self {
                    $($field: AtomicU8::new($kind::$default as u8),)*
                    asid_bits: AtomicU8::new(MAX_ASID_BITS),
                    sizes: FolioSizes::new(),
                }
            }

            $(
                $(#[$doc])*
                #[inline(always)]
                pub fn $field(&self) -> $seen {
                    <$seen>::from($kind::from_number(self.$field.load(Ordering::Relaxed)))
                }
            )*

            fn parse_choice(&self, key: &str, value: &str) -> Option<Result<(), PolicyError>> {
                match key {
                    $(stringify!($field) => Some(match $kind::from_word(value) {
                        Some(choice) => {
                            self.$field.store(choice as u8, Ordering::Relaxed);
                            Ok(())
                        }
                        None => Err(wrong(stringify!($field), value, $kind::RIGHT)),
                    }),)*
                    _ => None,
                }
            }

            fn show_choice(&self, key: &str) -> Option<&'static str> {
                match key {
                    $(stringify!($field) => Some($kind::from_number(self.$field.load(Ordering::Relaxed)).word()),)*
                    _ => None,
                }
            }
        }
    };
}

policy! {
    /// How a folio is unmapped for reclaim.
    unmap: Unmap as Unmap = Folio,
    /// Whether the Contiguous bit is used at all.
    contpte: Switch as bool = On,
    /// Which TLB invalidations are used for runs.
    tlbi: Tlbi as Tlbi = Range,
    /// When the flush of an unmap is complete.
    flush: Flush as Flush = Deferred,
    /// Whether a conversion of a block flushes in between.
    bbm: Bbm as Bbm = Flush,
    /// How the public getter gathers.
    getter: Getter as Getter = Early,
    /// Whether an unmap looks whether it must leave userfaultfd markers.
    uffd_check: Switch as bool = Off,
    /// Whether entries are batched in areas that userfaultfd watches for writes.
    uffd_batch: Switch as bool = On,
    /// The unit of swap-in.
    swapin: Unit as Unit = Folio,
    /// The unit in which lazily freed memory is discarded.
    lazyfree: Unit as Unit = Folio,
}

/// The most bits of an ASID; the CPU may have fewer.
const MAX_ASID_BITS: u8 = 16;
/// The fewest: more ASIDs than CPUs must remain at a rollover.
const MIN_ASID_BITS: u8 = 4;
const ASID_RIGHT: &str = "4 to 16";

impl Policy {
    /// Takes one word `key=value`, if it can be on a CPU with these features.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse), and [`ConflictAbort`](PolicyError::ConflictAbort); nothing has changed then.
    pub fn set(&self, key: &str, value: &str, features: &Features) -> Result<(), PolicyError> {
        let level = features.bbm_level;
        if key == "bbm" && value == Bbm::Elide.word() && level < 3 {
            return Err(PolicyError::ConflictAbort { level });
        }
        self.parse(key, value)
    }

    /// Takes one word `key=value`.
    ///
    /// # Errors
    /// If there is no such switch, or the switch has no such value; nothing has changed then.
    pub fn parse(&self, key: &str, value: &str) -> Result<(), PolicyError> {
        if let Some(result) = self.parse_choice(key, value) {
            return result;
        }
        match key {
            "asid_bits" => {
                let bits = value.parse().ok().filter(|bits| (MIN_ASID_BITS..=MAX_ASID_BITS).contains(bits));
                let bits = bits.ok_or_else(|| wrong("asid_bits", value, ASID_RIGHT))?;
                self.asid_bits.store(bits, Ordering::Relaxed);
                Ok(())
            }
            "thp" | "thp_anon" => self.sizes.parse(value).ok_or_else(|| wrong("thp", value, thp::RIGHT)),
            "transparent_hugepage" => {
                let right = thp::RIGHT_TOP;
                self.sizes.parse_top(value).ok_or_else(|| wrong("transparent_hugepage", value, right))
            }
            _ => Err(PolicyError::UnknownKey(key.to_string())),
        }
    }

    /// Whether there is a switch of this name.
    pub fn knows(key: &str) -> bool {
        KEYS.iter().any(|&(known, _)| known == key)
    }

    /// Writes the value that a switch has. Nothing is written if there is no such switch.
    pub fn show(&self, key: &str, out: &mut impl fmt::Write) -> fmt::Result {
        match key {
            "asid_bits" => write!(out, "{}", self.asid_bits()),
            "thp" | "thp_anon" => self.sizes.show(out),
            "transparent_hugepage" => out.write_str(self.sizes.top().word()),
            _ => out.write_str(self.show_choice(key).unwrap_or_default()),
        }
    }

    /// Whether an unmap leaves the completion of its flush to the one who needs it.
    #[inline(always)]
    pub fn flush_deferred(&self) -> bool {
        self.flush() == Flush::Deferred
    }

    /// Whether the conversion of a block needs no flush in between on this CPU. Without BBM level 3 only an assumption allows that.
    #[inline(always)]
    pub fn elide(&self, features: &Features) -> bool {
        match self.bbm() {
            Bbm::Flush => false,
            Bbm::Elide => features.bbm_level >= 3,
            Bbm::ElideAssumed => true,
        }
    }

    /// The most bits that ASIDs may have.
    pub fn asid_bits(&self) -> u8 {
        self.asid_bits.load(Ordering::Relaxed)
    }

    /// Which folio sizes anonymous memory gets.
    #[inline(always)]
    pub const fn sizes(&self) -> &FolioSizes {
        &self.sizes
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}

fn wrong(key: &'static str, value: &str, right: &'static str) -> PolicyError {
    PolicyError::WrongValue { key, value: value.to_string(), right }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(policy: &Policy, key: &str) -> String {
        let mut text = String::new();
        policy.show(key, &mut text).unwrap();
        text
    }

    #[test]
    fn every_value_that_is_shown_as_right_is_right() {
        let policy = Policy::new();
        for (key, right) in KEYS.iter().filter(|(_, right)| right.contains('|') && !right.contains(':')) {
            for value in right.split('|') {
                policy.parse(key, value).unwrap();
                assert_eq!(shown(&policy, key), value, "{key}");
            }
        }
        assert_eq!(policy.unmap(), Unmap::Gather);
        assert_eq!(policy.bbm(), Bbm::ElideAssumed);
    }

    #[test]
    fn a_wrong_value_is_refused_with_the_right_ones_and_changes_nothing() {
        let policy = Policy::new();
        let error = policy.parse("unmap", "fast").unwrap_err();
        assert_eq!(error.to_string(), "unmap=fast: the right values are page|folio|gather");
        assert_eq!(policy.unmap(), Unmap::Folio);
        for value in ["3", "17", "x", ""] {
            assert!(policy.parse("asid_bits", value).is_err());
        }
        policy.parse("asid_bits", "8").unwrap();
        assert_eq!(policy.asid_bits(), 8);
    }

    #[test]
    fn elision_needs_a_cpu_without_conflict_aborts_or_who_says_so() {
        let policy = Policy::new();
        let level = |bbm_level| Features { bbm_level, ..Features::default() };
        assert_eq!(policy.set("bbm", "elide", &level(2)), Err(PolicyError::ConflictAbort { level: 2 }));
        assert_eq!(policy.bbm(), Bbm::Flush);
        assert_eq!(policy.set("bbm", "elide,assume=noabort", &level(0)), Ok(()));
        assert_eq!(policy.set("bbm", "elide", &level(3)), Ok(()));
        assert_eq!(policy.bbm(), Bbm::Elide);
    }

    #[test]
    fn an_unknown_switch_is_answered_with_all() {
        let message = Policy::new().parse("unmpa", "page").unwrap_err().to_string();
        assert!(KEYS.iter().all(|(key, _)| message.contains(key)), "{message}");
        assert!(Policy::knows("thp") && !Policy::knows("unmpa"));
    }
}
