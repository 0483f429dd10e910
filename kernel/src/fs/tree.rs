//! Paths to nodes: what the file tree has, and how a path is followed through it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mm::Errno;
use mm::count::SizeCounters;
use mm::frame::HugeSize;
use mm::policy::{KEYS, MAX_ORDER, MIN_ORDER};

use crate::task::family::Pid;

/// A character device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Device {
    /// `/dev/null`.
    Null,
    /// `/dev/zero`.
    Zero,
    /// `/dev/random` and `/dev/urandom`.
    Random,
}

/// A file about the whole system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are those of the files")]
pub enum SystemFile {
    Cpuinfo,
    Filesystems,
    Meminfo,
    Mounts,
    Stat,
    Swaps,
    Uptime,
    Vmstat,
    MaxMapCount,
    MmapMinAddr,
    OvercommitMemory,
    /// All counters: what passed through the door, and what memory management counts.
    Counters,
    /// What the kernel's heap is used for.
    Heap,
    /// A switch, by its place among [`mm::policy::KEYS`].
    Policy(usize),
    /// Which areas get folios of the sizes that inherit.
    Enabled,
    HpagePmdSize,
    /// Which areas get folios of an order.
    EnabledSize(u32),
    /// A counter of an order, by its place among those counted, with [`LOOKED_AT`] behind them.
    SizeStat(u32, usize),
    /// A number of a pool of huge pages, by its place among [`POOL`].
    Pool(HugeSize, usize),
}

/// A file about one process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are those of the files")]
pub enum ProcessFile {
    Cmdline,
    Comm,
    Maps,
    Pagemap,
    Smaps,
    SmapsRollup,
    Stat,
    Statm,
    Status,
}

/// Those counters of a folio size that are counted, not looked at.
const COUNTED: &[&str] = SizeCounters::NAMES;
/// The counters of a folio size that a look at the lists tells: folios there are, and those mapped in part.
pub const LOOKED_AT: [&str; 2] = ["nr_anon", "nr_anon_partially_mapped"];

/// The numbers of a pool of huge pages.
pub const POOL: [&str; 5] =
    ["nr_hugepages", "free_hugepages", "resv_hugepages", "surplus_hugepages", "nr_overcommit_hugepages"];

/// What a path leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    /// A directory with what is always in it.
    Directory(&'static Directory),
    /// The directory in which files without a name can be made.
    Temporary,
    /// The directory of a process.
    Process(Pid),
    /// The directory of a folio size, by its order.
    Size(u32),
    /// The directory of its counters.
    SizeStats(u32),
    /// The directory of a pool of huge pages.
    Pool(HugeSize),
    /// A file about the system.
    System(SystemFile),
    /// A file about a process.
    OfProcess(Pid, ProcessFile),
    /// A device.
    Device(Device),
    /// The device that pins pages: each that opens it has one of its own.
    Pins,
    /// A program of the initrd, by its name there.
    Program(String),
    /// A symbolic link to this path.
    Link(String),
}

/// A directory: names that are always there, and those that come and go.
#[derive(PartialEq, Eq, Debug)]
pub struct Directory {
    names: &'static [(&'static str, Fixed)],
    more: More,
}

/// What is always there.
#[derive(PartialEq, Eq, Debug)]
enum Fixed {
    Directory(&'static Directory),
    File(SystemFile),
    Device(Device),
    Pins,
    Temporary,
    /// To the directory of the process that looks.
    LinkToOwn,
}

/// What comes and goes.
#[derive(PartialEq, Eq, Debug)]
enum More {
    Nothing,
    Programs,
    Processes,
    Policies,
    Sizes,
    Pools,
}

const fn fixed(names: &'static [(&'static str, Fixed)]) -> Directory {
    Directory { names, more: More::Nothing }
}

static ROOT: Directory = fixed(&[
    ("bin", Fixed::Directory(&BIN)),
    ("dev", Fixed::Directory(&DEV)),
    ("proc", Fixed::Directory(&PROC)),
    ("sys", Fixed::Directory(&SYS)),
    ("tmp", Fixed::Temporary),
]);

static BIN: Directory = Directory { names: &[], more: More::Programs };

static DEV: Directory = fixed(&[
    ("null", Fixed::Device(Device::Null)),
    ("pins", Fixed::Pins),
    ("random", Fixed::Device(Device::Random)),
    ("urandom", Fixed::Device(Device::Random)),
    ("zero", Fixed::Device(Device::Zero)),
]);

static PROC: Directory = Directory {
    names: &[
        ("cpuinfo", Fixed::File(SystemFile::Cpuinfo)),
        ("filesystems", Fixed::File(SystemFile::Filesystems)),
        ("meminfo", Fixed::File(SystemFile::Meminfo)),
        ("mounts", Fixed::File(SystemFile::Mounts)),
        ("self", Fixed::LinkToOwn),
        ("stat", Fixed::File(SystemFile::Stat)),
        ("swaps", Fixed::File(SystemFile::Swaps)),
        ("sys", Fixed::Directory(&PROC_SYS)),
        ("uptime", Fixed::File(SystemFile::Uptime)),
        ("vmstat", Fixed::File(SystemFile::Vmstat)),
    ],
    more: More::Processes,
};

static PROC_SYS: Directory = fixed(&[("vm", Fixed::Directory(&PROC_SYS_VM))]);

static PROC_SYS_VM: Directory = fixed(&[
    ("max_map_count", Fixed::File(SystemFile::MaxMapCount)),
    ("mmap_min_addr", Fixed::File(SystemFile::MmapMinAddr)),
    ("overcommit_memory", Fixed::File(SystemFile::OvercommitMemory)),
]);

static SYS: Directory = fixed(&[("kernel", Fixed::Directory(&SYS_KERNEL))]);

static SYS_KERNEL: Directory = fixed(&[("mm", Fixed::Directory(&SYS_MM)), ("unfold", Fixed::Directory(&UNFOLD))]);

static SYS_MM: Directory =
    fixed(&[("hugepages", Fixed::Directory(&POOLS)), ("transparent_hugepage", Fixed::Directory(&THP))]);

static POOLS: Directory = Directory { names: &[], more: More::Pools };

static THP: Directory = Directory {
    names: &[("enabled", Fixed::File(SystemFile::Enabled)), ("hpage_pmd_size", Fixed::File(SystemFile::HpagePmdSize))],
    more: More::Sizes,
};

static UNFOLD: Directory = fixed(&[
    ("counters", Fixed::File(SystemFile::Counters)),
    ("heap", Fixed::File(SystemFile::Heap)),
    ("policy", Fixed::Directory(&POLICY)),
]);

static POLICY: Directory = Directory { names: &[], more: More::Policies };

/// What is in the directory of a process, beside the link to its program.
const OF_PROCESS: &[(&str, ProcessFile)] = &[
    ("cmdline", ProcessFile::Cmdline),
    ("comm", ProcessFile::Comm),
    ("maps", ProcessFile::Maps),
    ("pagemap", ProcessFile::Pagemap),
    ("smaps", ProcessFile::Smaps),
    ("smaps_rollup", ProcessFile::SmapsRollup),
    ("stat", ProcessFile::Stat),
    ("statm", ProcessFile::Statm),
    ("status", ProcessFile::Status),
];
/// The link to a process's program.
const PROGRAM: &str = "exe";

/// What the tree must be told of what comes and goes.
pub trait World {
    /// The process that looks.
    fn own(&self) -> Pid;
    /// The processes there are.
    fn processes(&self) -> Vec<Pid>;
    /// The path of a process's program.
    fn program_of(&self, pid: Pid) -> Option<String>;
    /// The names of the initrd.
    fn programs(&self) -> Vec<String>;
}

impl SystemFile {
    /// Whether programs may write to it.
    pub const fn is_writable(self) -> bool {
        matches!(self, Self::Policy(_) | Self::Enabled | Self::EnabledSize(_) | Self::Pool(_, 0))
    }
}

impl Node {
    /// Where paths start.
    pub const fn root() -> Self {
        Self::Directory(&ROOT)
    }

    /// Whether it has names in it.
    pub const fn is_directory(&self) -> bool {
        use Node::{Directory, Pool, Process, Size, SizeStats, Temporary};
        matches!(self, Directory(_) | Temporary | Process(_) | Size(_) | SizeStats(_) | Pool(_))
    }

    /// What `name` is in it.
    fn child(&self, world: &dyn World, name: &str) -> Option<Self> {
        self.children(world).into_iter().find(|(own, _)| own == name).map(|(_, node)| node)
    }

    /// All names in it, and what they name.
    pub fn children(&self, world: &dyn World) -> Vec<(String, Self)> {
        match self {
            Self::Directory(directory) => {
                let fixed = directory.names.iter().map(|(name, fixed)| ((*name).to_owned(), fixed.node(world)));
                fixed.chain(directory.more.nodes(world)).collect()
            }
            Self::Process(pid) => {
                let files = OF_PROCESS.iter().map(|&(name, file)| (name.to_owned(), Self::OfProcess(*pid, file)));
                let program = world.program_of(*pid).map(|path| (PROGRAM.to_owned(), Self::Link(path)));
                files.chain(program).collect()
            }
            &Self::Size(order) => {
                let enabled = ("enabled".to_owned(), Self::System(SystemFile::EnabledSize(order)));
                [enabled, ("stats".to_owned(), Self::SizeStats(order))].into()
            }
            &Self::SizeStats(order) => {
                let names = COUNTED.iter().chain(&LOOKED_AT).enumerate();
                names
                    .map(|(index, &name)| (name.to_owned(), Self::System(SystemFile::SizeStat(order, index))))
                    .collect()
            }
            &Self::Pool(size) => {
                let number = |(at, name): (usize, &str)| (name.to_owned(), Self::System(SystemFile::Pool(size, at)));
                POOL.into_iter().enumerate().map(number).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Fixed {
    fn node(&self, world: &dyn World) -> Node {
        match self {
            Self::Directory(directory) => Node::Directory(directory),
            Self::File(file) => Node::System(*file),
            Self::Device(device) => Node::Device(*device),
            Self::Pins => Node::Pins,
            Self::Temporary => Node::Temporary,
            Self::LinkToOwn => Node::Link(world.own().to_string()),
        }
    }
}

impl More {
    fn nodes(&self, world: &dyn World) -> Vec<(String, Node)> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Programs => {
                let programs = world.programs().into_iter();
                programs.filter_map(|path| Some((path.strip_prefix("bin/")?.to_owned(), Node::Program(path)))).collect()
            }
            Self::Processes => world.processes().into_iter().map(|pid| (pid.to_string(), Node::Process(pid))).collect(),
            Self::Policies => {
                let keys = KEYS.iter().enumerate();
                keys.map(|(index, (key, _))| ((*key).to_owned(), Node::System(SystemFile::Policy(index)))).collect()
            }
            Self::Sizes => {
                let size = |order: u32| (format!("hugepages-{}kB", 4 << order), Node::Size(order));
                (MIN_ORDER..=MAX_ORDER).map(size).collect()
            }
            Self::Pools => {
                let pool = |size: HugeSize| (format!("hugepages-{}kB", size.bytes() >> 10), Node::Pool(size));
                HugeSize::ALL.into_iter().map(pool).collect()
            }
        }
    }
}

/// A node, and the path to it without links.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// What is there.
    pub node: Node,
    /// Where: absolute, without a `/` at the end but for the root's.
    pub path: String,
}

/// Follows a path from a directory. A link at its end is followed only if `follows` says so.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, `ELOOP`.
pub fn find(world: &dyn World, directory: &str, path: &str, follows: bool) -> Result<Found, Errno> {
    const MOST_LINKS: usize = 40;
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let start = if path.starts_with('/') { "" } else { directory };
    // What is left to follow, the next part last.
    let mut parts: Vec<String> = [path, start].iter().flat_map(|path| path.rsplit('/')).map(str::to_owned).collect();
    let mut way: Vec<(String, Node)> = Vec::new();
    let mut links = 0;
    while let Some(part) = parts.pop() {
        let here = way.last().map_or_else(Node::root, |(_, node)| node.clone());
        match part.as_str() {
            "" | "." if here.is_directory() => {}
            ".." if here.is_directory() => drop(way.pop()),
            _ if !here.is_directory() => return Err(Errno::ENOTDIR),
            name => match here.child(world, name).ok_or(Errno::ENOENT)? {
                Node::Link(target) if follows || !parts.is_empty() => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::ELOOP);
                    }
                    if target.starts_with('/') {
                        way.clear();
                    }
                    parts.extend(target.rsplit('/').map(str::to_owned));
                }
                node => way.push((part, node)),
            },
        }
    }
    let path = format!("/{}", way.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("/"));
    Ok(Found { node: way.pop().map_or_else(Node::root, |(_, node)| node), path })
}

/// A number for a path that is the same whenever it is asked for.
pub fn inode(path: &str) -> u64 {
    // FNV-1a, of 32 bits, so that it fits wherever a program keeps it.
    path.bytes().fold(0x811C_9DC5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two;

    impl World for Two {
        fn own(&self) -> Pid {
            101
        }

        fn processes(&self) -> Vec<Pid> {
            [100, 101].into()
        }

        fn program_of(&self, pid: Pid) -> Option<String> {
            (pid == 100).then(|| "/bin/hello".into())
        }

        fn programs(&self) -> Vec<String> {
            ["bin/hello".into(), "other".into()].into()
        }
    }

    fn follow(path: &str) -> Result<(String, Node), Errno> {
        find(&Two, "/proc", path, true).map(|found| (found.path, found.node))
    }

    #[test]
    fn paths_lead_to_nodes() {
        let name = Node::OfProcess(101, ProcessFile::Comm);
        assert_eq!(follow("/proc/self/comm"), Ok(("/proc/101/comm".into(), name.clone())));
        assert_eq!(follow("self/comm"), Ok(("/proc/101/comm".into(), name.clone())));
        assert_eq!(follow("//proc/./self/../101//comm"), Ok(("/proc/101/comm".into(), name)));
        assert_eq!(follow("/proc/100/exe"), Ok(("/bin/hello".into(), Node::Program("bin/hello".into()))));
        assert_eq!(follow("/"), Ok(("/".into(), Node::root())));
        assert_eq!(follow("/../..").unwrap().0, "/");
        assert_eq!(follow(".").unwrap().0, "/proc");
        assert_eq!(follow("/dev/null/").err(), Some(Errno::ENOTDIR));
        assert_eq!(follow("/dev/null/x").err(), Some(Errno::ENOTDIR));
        assert_eq!(follow("/dev/nothing").err(), Some(Errno::ENOENT));
        assert_eq!(follow("").err(), Some(Errno::ENOENT));
        // No such link: nobody knows that process's program.
        assert_eq!(follow("/proc/101/exe").err(), Some(Errno::ENOENT));
    }

    #[test]
    fn a_link_at_the_end_is_followed_if_so_asked() {
        let link = |path| find(&Two, "/", path, false).unwrap();
        assert_eq!(link("/proc/self").node, Node::Link("101".into()));
        assert_eq!(link("/proc/100/exe").path, "/proc/100/exe");
        assert_eq!(link("/proc/self/comm").path, "/proc/101/comm");
    }

    #[test]
    fn names_in_a_directory_are_distinct_and_found() {
        let mut directories = [Found { node: Node::root(), path: String::new() }].to_vec();
        let mut inodes = Vec::new();
        while let Some(found) = directories.pop() {
            for (name, node) in found.node.children(&Two) {
                let path = format!("{}/{name}", found.path);
                assert_eq!(find(&Two, "/", &path, false), Ok(Found { node: node.clone(), path: path.clone() }));
                inodes.push(inode(&path));
                if node.is_directory() {
                    directories.push(Found { node, path });
                }
            }
        }
        let count = inodes.len();
        inodes.sort_unstable();
        inodes.dedup();
        assert!(count > 150 && inodes.len() == count);
    }
}
