//! The kernel that people run has nothing of the checker and of the known defects in it: no symbol, and no text that is loaded.

use anyhow::{Context, Result, ensure};
use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, Sym};

use super::Tally;
use crate::build::{self, Build};
use crate::jobs::Bench;

/// Parts of the names of symbols that are theirs.
const SYMBOLS: [&str; 3] = ["6mutant", "6mutate", "3mmu5model"];
/// Texts that are theirs: rules by their numbers (but for three, which the audit of memory management names too), mutants by their names.
const TEXTS: [&str; 8] = [
    "MS-01",
    "MS-20",
    "MS-40",
    "MS-51",
    "mutant",
    "no-dsb-before-tlbi",
    "restore-failing-run-only",
    "may still be held",
];

/// Looks into the kernel that was built.
pub fn run(bench: &Bench, tally: &Tally) {
    tally.run("kernel: nothing of the checker or of defects is in it", || check(bench.build));
}

fn check(build: &Build) -> Result<()> {
    let symbols = symbols(&build::read(&build.kernel)?)?;
    ensure!(symbols.iter().any(|name| name.contains("kernel_main")), "the kernel has no symbols to look at");
    let found: Vec<_> =
        symbols.iter().filter(|name| SYMBOLS.iter().any(|part| name.contains(part))).map(String::as_str).collect();
    ensure!(found.is_empty(), "symbols: {}", found.join(", "));
    let found: Vec<_> = TEXTS.into_iter().filter(|text| holds(&build.image, text)).collect();
    ensure!(found.is_empty(), "texts: {}", found.join(", "));
    Ok(())
}

/// The names in the symbol table of an ELF file.
fn symbols(file: &[u8]) -> Result<Vec<String>> {
    let header = FileHeader64::<LittleEndian>::parse(file).context("the kernel is no 64-bit ELF file")?;
    let endian = header.endian()?;
    let table = header.sections(endian, file)?.symbols(endian, file, elf::SHT_SYMTAB)?;
    let names = table.iter().filter_map(|symbol| symbol.name(endian, table.strings()).ok());
    Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

/// Whether a text is in the image.
fn holds(image: &[u8], text: &str) -> bool {
    image.windows(text.len()).any(|window| window == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found() {
        assert!(holds(b"..MS-20 error", "MS-20") && !holds(b"MS-2", "MS-20"));
        assert!(holds(b"a mutant", "mutant") && !holds(b"mutan", "mutant"));
    }
}
