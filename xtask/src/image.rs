//! From the kernel's ELF file to the flat arm64 Image that QEMU's `-kernel` wants.
//!
//! QEMU passes the device tree in x0 only to an image with the header of Linux's arm64 boot protocol, not to an ELF. The kernel is
//! linked high and moved wherever QEMU puts it, so a segment's place in the image is its address less that of the first.

use anyhow::{Context, Result, ensure};
use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};

/// Offset of the magic number in the header, and the number.
const MAGIC: (usize, &[u8; 4]) = (0x38, b"ARM\x64");
/// Offset of the size that the image takes in memory, .bss included.
const SIZE: usize = 0x10;
/// More than this is no kernel but a mistake of the linker script.
const LIMIT: u64 = 64 << 20;

/// The loadable segments of `file`, each at its place.
pub fn flatten(file: &[u8]) -> Result<Vec<u8>> {
    let header = FileHeader64::<LittleEndian>::parse(file).context("the kernel is no 64-bit ELF file")?;
    let endian = header.endian()?;
    ensure!(header.e_machine(endian) == elf::EM_AARCH64, "the kernel was not built for arm64");
    let segments: Vec<_> = header
        .program_headers(endian, file)?
        .iter()
        .filter(|segment| segment.p_type(endian) == elf::PT_LOAD && segment.p_memsz(endian) != 0)
        .collect();
    let base = segments.iter().map(|segment| segment.p_vaddr(endian)).min().context("the kernel has no segments")?;
    let mut image = Vec::new();
    let mut end = 0;
    for segment in segments {
        let start = segment.p_vaddr(endian) - base;
        end = end.max(start + segment.p_memsz(endian));
        ensure!(end <= LIMIT, "the kernel's segments are further apart than {LIMIT} bytes");
        let data = segment.data(endian, file).ok().context("the kernel's ELF file is cut off")?;
        let start = start as usize;
        if image.len() < start + data.len() {
            image.resize(start + data.len(), 0);
        }
        image[start..start + data.len()].copy_from_slice(data);
    }
    check(&image, end)?;
    Ok(image)
}

fn check(image: &[u8], end: u64) -> Result<()> {
    ensure!(image.get(MAGIC.0..MAGIC.0 + 4) == Some(MAGIC.1), "the kernel does not start with an arm64 Image header");
    let size = u64::from_le_bytes(image[SIZE..SIZE + 8].try_into()?);
    ensure!(size >= end, "the Image header says {size:#x} bytes, the segments take {end:#x}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with these segments: address, bytes, size in memory.
    fn elf(segments: &[(u64, &[u8], u64)]) -> Vec<u8> {
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let half = |value: u16| value.to_le_bytes();
        file.extend(half(2).into_iter().chain(half(elf::EM_AARCH64)).chain(1u32.to_le_bytes()));
        file.extend([0u64, 64, 0].into_iter().flat_map(u64::to_le_bytes));
        file.extend(0u32.to_le_bytes());
        file.extend([64, 56, segments.len() as u16, 64, 0, 0].into_iter().flat_map(half));
        let mut offset = 64 + 56 * segments.len() as u64;
        for (address, data, memory) in segments {
            file.extend([elf::PT_LOAD, 7].into_iter().flat_map(u32::to_le_bytes));
            let length = data.len() as u64;
            file.extend([offset, *address, *address, length, *memory, 1].into_iter().flat_map(u64::to_le_bytes));
            offset += length;
        }
        segments.iter().for_each(|(_, data, _)| file.extend(*data));
        file
    }

    fn head(size: u64) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[SIZE..SIZE + 8].copy_from_slice(&size.to_le_bytes());
        head[MAGIC.0..MAGIC.0 + 4].copy_from_slice(MAGIC.1);
        head
    }

    #[test]
    fn segments_go_to_their_places() {
        let base = 0xFFFF_8000_0020_0000;
        let image = flatten(&elf(&[(base, &head(0x2000), 64), (base + 0x1000, b"data", 0x100)])).unwrap();
        assert_eq!(image.len(), 0x1004);
        assert_eq!(&image[0x1000..], b"data");
        assert!(image[64..0x1000].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn what_would_boot_to_silence_is_refused() {
        let base = 0x4020_0000;
        assert!(flatten(b"not an ELF file").is_err());
        assert!(flatten(&elf(&[(base, &[0; 64], 64)])).is_err(), "no header");
        assert!(flatten(&elf(&[(base, &head(0x100), 0x200)])).is_err(), "header too small for .bss");
        assert!(flatten(&elf(&[(base, &head(64), 64), (base + LIMIT, b"x", 1)])).is_err(), "too far apart");
    }
}
