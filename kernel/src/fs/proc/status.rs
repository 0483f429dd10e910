//! `status`, `stat` and `statm`: one process.

use alloc::string::String;

use super::put;

/// What is told of a process's memory, in pages.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Sizes {
    pub mapped: u64,
    pub resident: u64,
    /// The most that were resident at a time.
    pub peak: u64,
    /// Of those resident, pages of memory files.
    pub of_files: u64,
    pub swapped: u64,
    pub locked: u64,
    pub stack: u64,
    pub executable: u64,
    pub data: u64,
    pub tables: u64,
}

/// What is told of a process.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Told<'a> {
    pub name: &'a str,
    /// `R` if it runs or could, `S` if it waits.
    pub state: char,
    pub pid: u32,
    pub parent: u32,
    pub group: u32,
    pub session: u32,
    /// Hundredths of a second that it had the CPU.
    pub ticks: u64,
    pub threads: usize,
    pub sizes: Sizes,
}

/// Permissions that no new file has. Programs can not change them here.
pub const UMASK: u32 = 0o022;

/// `status`.
pub fn status(out: &mut String, told: &Told<'_>) {
    let state = if told.state == 'R' { "R (running)" } else { "S (sleeping)" };
    let Told { name, pid, parent, sizes, .. } = told;
    put(
        out,
        format_args!("Name:\t{name}\nUmask:\t{UMASK:04o}\nState:\t{state}\nTgid:\t{pid}\nNgid:\t0\nPid:\t{pid}\n"),
    );
    put(out, format_args!("PPid:\t{parent}\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n"));
    for (name, pages) in [
        ("VmSize", sizes.mapped),
        ("VmLck", sizes.locked),
        ("VmHWM", sizes.peak),
        ("VmRSS", sizes.resident),
        ("RssAnon", sizes.resident - sizes.of_files),
        ("RssFile", 0),
        ("RssShmem", sizes.of_files),
        ("VmData", sizes.data),
        ("VmStk", sizes.stack),
        ("VmExe", sizes.executable),
        ("VmPTE", sizes.tables),
        ("VmSwap", sizes.swapped),
    ] {
        put(out, format_args!("{name}:\t{:>8} kB\n", pages << 2));
    }
    put(out, format_args!("Threads:\t{}\n", told.threads));
}

/// `stat`: fields that mean nothing here are zero.
pub fn stat(out: &mut String, told: &Told<'_>) {
    let Told { name, state, pid, parent, group, session, ticks, threads, sizes } = told;
    put(
        out,
        format_args!(
            "{pid} ({name}) {state} {parent} {group} {session} 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 {threads} 0 0 "
        ),
    );
    put(out, format_args!("{} {} {}", sizes.mapped << 12, sizes.resident, u64::MAX));
    (26..=52).for_each(|_| out.push_str(" 0"));
    out.push('\n');
}

/// `statm`, in pages.
pub fn statm(out: &mut String, sizes: &Sizes) {
    let Sizes { mapped, resident, of_files, executable, data, stack, .. } = sizes;
    put(out, format_args!("{mapped} {resident} {of_files} {executable} 0 {} 0\n", data + stack));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told<'static> {
        let sizes =
            Sizes { mapped: 100, resident: 25, swapped: 3, executable: 7, data: 60, stack: 5, ..Sizes::default() };
        Told {
            name: "hello",
            state: 'R',
            pid: 101,
            parent: 100,
            group: 100,
            session: 100,
            ticks: 12,
            threads: 3,
            sizes,
        }
    }

    #[test]
    fn lines_of_status() {
        let mut out = String::new();
        status(&mut out, &told());
        for line in [
            "Name:\thello",
            "State:\tR (running)",
            "VmRSS:\t     100 kB",
            "VmSwap:\t      12 kB",
            "PPid:\t100",
            "Threads:\t3",
        ] {
            assert!(out.lines().any(|own| own == line), "{line}\n{out}");
        }
    }

    #[test]
    fn stat_has_52_fields() {
        let mut out = String::new();
        stat(&mut out, &told());
        let fields: alloc::vec::Vec<_> = out.split_whitespace().collect();
        assert_eq!(fields.len(), 52);
        // Fields 1 to 4, 14 (utime), 20 (threads), 23 (vsize), 24 (rss).
        assert_eq!(&fields[..4], ["101", "(hello)", "R", "100"]);
        assert_eq!([fields[13], fields[19], fields[22], fields[23]], ["12", "3", "409600", "25"]);
    }

    #[test]
    fn statm_has_seven() {
        let mut out = String::new();
        statm(&mut out, &told().sizes);
        assert_eq!(out, "100 25 0 7 0 65 0\n");
    }
}
