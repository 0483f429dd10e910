//! What there is to see of a world from outside, without a fault: the contents and the state of each page, the folios and swap slots
//! behind them, areas, accounts and counts. Two worlds that did the same have equal views, whatever their frames and slots are: folios
//! and slots are numbered as they come into sight. Left out is what may differ (reference 5.11): the Contiguous bit, access flags, and
//! which entries of a folio say that it is dirty.

use std::collections::BTreeMap;

use mm::count::Counters;
use mm::folio::Folio;
use mm::inject::Point;
use mm::lru::LruList;
use mm::swap::{SwapEntry, bad_frame};
use mm::vma::{AreaFlags, Prot};
use mm::{HugeCounts, HugeSize, Space};
use mmu::{Descriptor, ENTRIES, Pfn};

use crate::world::{PAGES, WORDS, World, at, offset};

/// Counters of work that is the same in all ways.
const COUNTED: [&str; 15] = [
    "faults_anonymous",
    "faults_huge",
    "faults_zero_page",
    "faults_copy",
    "faults_reuse",
    "faults_swap_major",
    "faults_swap_minor",
    "folio_fallbacks",
    "folios_allocated",
    "folios_swapped_out",
    "pages_swapped_out",
    "pages_zero_marked",
    "pages_swapped_in",
    "swap_fallbacks",
    "unmap_failures",
];

/// All of a world.
#[derive(Clone, PartialEq, Debug)]
pub struct View {
    pub sums: Sums,
    pub spaces: Vec<SpaceView>,
    /// By number.
    pub folios: Vec<FolioView>,
}

/// What is counted of the whole machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sums {
    pub free_frames: usize,
    pub free_slots: usize,
    pub anon_vmas: usize,
    pub bad_frames: usize,
    pub pools: [HugeCounts; HugeSize::COUNT],
    pub counted: Counted,
}

/// What only grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counted {
    /// How often each point has failed.
    pub failures: [u64; Point::COUNT],
    pub counts: [u64; COUNTED.len()],
}

impl Counted {
    /// One of the counts.
    ///
    /// # Panics
    /// If it is none of those.
    pub fn count(&self, name: &str) -> u64 {
        self.counts[COUNTED.iter().position(|&counted| counted == name).expect("a count that is compared")]
    }

    fn pairs<'a>(&'a mut self, other: &'a Self) -> impl Iterator<Item = (&'a mut u64, &'a u64)> {
        let failures = self.failures.iter_mut().zip(&other.failures);
        failures.chain(self.counts.iter_mut().zip(&other.counts))
    }

    pub fn add(&mut self, other: &Self) {
        self.pairs(other).for_each(|(sum, more)| *sum += more);
    }

    /// Takes off what was counted before.
    pub fn subtract(&mut self, before: &Self) {
        self.pairs(before).for_each(|(sum, less)| *sum -= less);
    }
}

/// A space; empty if there is none of its number.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SpaceView {
    pub anon_pages: i64,
    pub swap_entries: i64,
    pub areas: Vec<AreaView>,
    pub pages: Vec<PageView>,
}

/// An area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AreaView {
    pub start: u64,
    pub end: u64,
    pub prot: Prot,
    pub flags: AreaFlags,
    pub pgoff: u64,
    pub has_anon_vma: bool,
}

/// A page of the field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageView {
    pub entry: Entry,
    /// What the program would find.
    pub words: [u64; WORDS],
}

/// A page of a folio: the folio's number, and which of its pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    pub folio: usize,
    pub page: usize,
}

/// What the entry of a page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    None,
    /// Nothing is there, and it is protected.
    Marker,
    /// The memory that was there is bad.
    Bad,
    /// It was a huge page that somebody else had reserved.
    Lost,
    ZeroPage {
        valid: bool,
        uffd: bool,
    },
    Present {
        valid: bool,
        writable: bool,
        uffd: bool,
        exclusive: bool,
        maps: usize,
        part: Part,
    },
    Swapped {
        exclusive: bool,
        uffd: bool,
        slot: usize,
        count: usize,
        zero: bool,
        cached: Option<Part>,
    },
}

impl Entry {
    /// Whether a write to the page is the monitor's to allow.
    pub fn is_marked(self) -> bool {
        match self {
            Self::Marker => true,
            Self::None | Self::Bad | Self::Lost => false,
            Self::ZeroPage { uffd, .. } | Self::Present { uffd, .. } | Self::Swapped { uffd, .. } => uffd,
        }
    }

    /// Whether nothing is there.
    pub fn is_absent(self) -> bool {
        matches!(self, Self::None | Self::Marker)
    }

    /// Whether the page is in memory.
    pub fn is_present(self) -> bool {
        matches!(self, Self::ZeroPage { .. } | Self::Present { .. })
    }
}

/// A folio that is mapped or cached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FolioView {
    pub pages: usize,
    pub mapcount: usize,
    pub mapped_pages: usize,
    pub refs: usize,
    pub cached: bool,
    pub pinned: bool,
    /// The LRU list that it is on.
    pub list: Option<LruList>,
    /// Whether it or one of its entries is dirty.
    pub dirty: bool,
}

/// Looks at all of a world.
pub fn look(world: &World<'_>) -> View {
    let mut looker = Looker { world, folios: Numbers::default(), slots: BTreeMap::new() };
    let spaces = world.spaces.iter().map(|space| space.as_ref().map_or_else(SpaceView::default, |it| looker.space(it)));
    let spaces = spaces.collect();
    View { sums: sums(world), spaces, folios: looker.folios.seen }
}

fn sums(world: &World<'_>) -> Sums {
    let memory = world.memory;
    let counts = memory.count_all();
    let place = |name| Counters::NAMES.iter().position(|&known| known == name).expect("a counter");
    Sums {
        free_frames: memory.frames.free_count(),
        free_slots: memory.swap.free_count(),
        anon_vmas: memory.anon.len(),
        bad_frames: memory.frames.bad_count(),
        pools: HugeSize::ALL.map(|size| world.pool(size)),
        counted: Counted {
            failures: Point::ALL.map(|point| memory.inject.failures(point)),
            counts: COUNTED.map(|name| counts[place(name)]),
        },
    }
}

/// The folios that have been seen.
#[derive(Default)]
struct Numbers {
    by_head: BTreeMap<Pfn, usize>,
    seen: Vec<FolioView>,
}

impl Numbers {
    fn part(&mut self, folio: Folio<'_>, page: usize, dirty: bool) -> Part {
        let number = *self.by_head.entry(folio.head()).or_insert_with(|| {
            self.seen.push(view_folio(folio));
            self.seen.len() - 1
        });
        self.seen[number].dirty |= dirty;
        Part { folio: number, page }
    }
}

fn view_folio(folio: Folio<'_>) -> FolioView {
    FolioView {
        pages: folio.pages(),
        mapcount: folio.mapcount(),
        mapped_pages: folio.mapped_pages(),
        refs: folio.refs(),
        cached: folio.is_swap_cache(),
        pinned: folio.maybe_pinned(),
        list: folio.is_on_lru().then(|| LruList::of(&folio)),
        dirty: folio.is_dirty(),
    }
}

struct Looker<'a> {
    world: &'a World<'a>,
    folios: Numbers,
    slots: BTreeMap<SwapEntry, usize>,
}

impl Looker<'_> {
    fn space(&mut self, space: &Space) -> SpaceView {
        SpaceView {
            anon_pages: space.anon_pages(),
            swap_entries: space.swap_entries(),
            areas: areas(space),
            pages: self.entries(space).into_iter().map(|entry| self.page(entry)).collect(),
        }
    }

    /// Those of the field, a table at a time.
    fn entries(&self, space: &Space) -> Vec<Descriptor> {
        let memory = self.world.memory;
        let mut found = Vec::with_capacity(PAGES);
        while found.len() < PAGES {
            let start = at(found.len(), 0).page();
            let mut entries = [Descriptor::NONE; ENTRIES];
            match space.tables.find(memory, start) {
                Some(table) => memory.door.load_all(table, &mut entries),
                None => block(space.tables.look(memory, start), &mut entries),
            }
            found.extend_from_slice(&entries[start.index(3)..]);
        }
        found.truncate(PAGES);
        found
    }

    fn page(&mut self, entry: Descriptor) -> PageView {
        if entry.is_none() {
            PageView { entry: Entry::None, words: [0; WORDS] }
        } else if entry.is_marker() {
            PageView { entry: Entry::Marker, words: [0; WORDS] }
        } else if entry.is_present() {
            self.present(entry)
        } else if bad_frame(entry).is_some() {
            PageView { entry: Entry::Bad, words: [0; WORDS] }
        } else if entry.is_lost() {
            PageView { entry: Entry::Lost, words: [0; WORDS] }
        } else {
            self.swapped(entry)
        }
    }

    fn present(&mut self, entry: Descriptor) -> PageView {
        let words = self.words(entry.frame());
        let valid = entry.is_valid();
        if entry.is_special() {
            return PageView { entry: Entry::ZeroPage { valid, uffd: entry.is_uffd() }, words };
        }
        let folio = self.world.memory.frames.folio_of(entry.frame());
        // A huge page has one mark and one map count.
        let index = if folio.is_huge() { 0 } else { folio.index_of(entry.frame()) };
        let entry = Entry::Present {
            valid,
            writable: entry.is_writable(),
            uffd: entry.is_uffd(),
            exclusive: folio.is_exclusive(index),
            maps: folio.page_maps(index),
            part: self.folios.part(folio, index, entry.is_dirty()),
        };
        PageView { entry, words }
    }

    fn swapped(&mut self, entry: Descriptor) -> PageView {
        let memory = self.world.memory;
        let swapped = SwapEntry::from_descriptor(entry).expect("a swap entry");
        let zero = memory.swap.zero_run(swapped.entry, 1) == Some(true);
        let cached = memory.swap.lookup(memory, swapped.entry).map(|folio| {
            assert!(folio.put(1).is_none(), "a cached folio has references");
            (folio, (swapped.entry.slot - folio.swap_entry(0).slot) as usize)
        });
        let words = match cached {
            Some((folio, index)) => self.words(folio.page(index)),
            None if zero => [0; WORDS],
            None => self.words(self.world.device.frame(swapped.entry.slot as usize)),
        };
        let known = self.slots.len();
        let entry = Entry::Swapped {
            exclusive: swapped.exclusive,
            uffd: swapped.uffd,
            slot: *self.slots.entry(swapped.entry).or_insert(known),
            count: memory.swap.count(swapped.entry),
            zero,
            cached: cached.map(|(folio, index)| self.folios.part(folio, index, false)),
        };
        PageView { entry, words }
    }

    /// The words that `frame` holds.
    fn words(&self, frame: Pfn) -> [u64; WORDS] {
        std::array::from_fn(|word| {
            let mut bytes = [0; 8];
            self.world.memory.door.read_bytes(frame.start().add_bytes(offset(word)), &mut bytes);
            u64::from_le_bytes(bytes)
        })
    }
}

/// Whether a write to what an entry stands for is the monitor's to allow.
pub fn is_marked(entry: Descriptor) -> bool {
    let swapped = SwapEntry::from_descriptor(entry);
    entry.is_marker() || entry.is_present() && entry.is_uffd() || swapped.is_some_and(|swapped| swapped.uffd)
}

/// The entries that stand for the pages of a block: what a walk found, and at which level.
fn block((entry, level): (Descriptor, u8), entries: &mut [Descriptor; ENTRIES]) {
    if level == 2 {
        let advances = entry.is_present();
        entries.iter_mut().enumerate().for_each(|(page, to)| *to = entry.advance(if advances { page } else { 0 }));
    }
}

fn areas(space: &Space) -> Vec<AreaView> {
    let layout = space.layout().read();
    let view = |area: &mm::vma::Area| AreaView {
        start: area.start.as_u64(),
        end: area.end.as_u64(),
        prot: area.prot,
        flags: area.flags,
        pgoff: area.pgoff,
        has_anon_vma: area.anon.is_some(),
    };
    layout.areas.iter().map(view).collect()
}
