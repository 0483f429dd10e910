//! Tests with a second CPU: that it runs as the first does, and that no translation which it holds outlives what it stood for.
//!
//! For the latter CPU 1 runs in a space and has touched its pages. CPU 0 changes the space. CPU 1, which has meanwhile neither faulted
//! nor switched, must see the change at its next access.

use alloc::format;
use alloc::string::String;

use aarch64_cpu::registers::{
    CNTKCTL_EL1, CPACR_EL1, MAIR_EL1, Readable, SCTLR_EL1, TCR_EL1, TTBR0_EL1, TTBR1_EL1, VBAR_EL1,
};
use cases::{Bench, Field, Outcome, Size, WAYS};
use mm::space::advice::DONTNEED;
use mm::tlb;
use mm::vma::Prot;
use mmu::{Cause, Depth, Descriptor};

use super::access::OtherCpu;
use super::ground::{self, ensure};
use super::tests::Runner;
use crate::arch::cpus;

/// Pages of a space.
const PAGES: usize = 64;
const SIZES: [Size; 2] = [Size(4), Size(64)];

/// A case for the bench.
type Case = fn(&Bench<'_>) -> Outcome;

/// What needs a program on another CPU.
const CASES: [(&str, Case); 5] = [
    ("cpus/a-translation-stays-until-it-is-flushed", stays_until_flushed),
    ("cpus/page-out-reaches-another-cpu", page_out),
    ("cpus/mprotect-reaches-another-cpu", protect),
    ("cpus/munmap-and-a-new-map-reach-another-cpu", unmap),
    ("cpus/dontneed-reaches-another-cpu", dont_need),
];

/// The tests, if there is a second CPU.
pub fn run(runner: &mut Runner<'_>) {
    if cpus::count() < 2 {
        return;
    }
    runner.case("cpus/registers-are-as-the-first-has-them", each_has_the_registers);
    for number in 1..cpus::count() {
        runner.case(&format!("cpus/ground-of-cpu-{number}"), || cpus::call(number, ground_is_firm));
    }
    let bench = Bench::new(crate::memory(), &OtherCpu, 0);
    for (name, case) in CASES {
        runner.case(name, || bench.run(case));
    }
}

fn each_has_the_registers() -> Result<(), String> {
    let first = registers();
    for number in 1..cpus::count() {
        let (own, found) = cpus::call(number, || (mmu::current_cpu(), registers()));
        ensure!(own == number, "CPU {number} takes itself for CPU {own}");
        ensure!(found == first, "CPU {number} has {found:x?}, the first {first:x?}");
    }
    Ok(())
}

/// The registers that every CPU must have alike, while none is in a space.
fn registers() -> [(&'static str, u64); 8] {
    [
        ("SCTLR", SCTLR_EL1.get()),
        ("TCR", TCR_EL1.get()),
        ("MAIR", MAIR_EL1.get()),
        ("TTBR0", TTBR0_EL1.get()),
        ("TTBR1", TTBR1_EL1.get()),
        ("VBAR", VBAR_EL1.get()),
        ("CPACR", CPACR_EL1.get()),
        ("CNTKCTL", CNTKCTL_EL1.get()),
    ]
}

/// Everything that the first CPU was asked, on this one.
fn ground_is_firm() -> Result<(), String> {
    ground::ALL.iter().try_for_each(|(name, check)| check().map_err(|message| format!("{name}: {message}")))
}

/// That the tests below could fail: QEMU's TLB keeps what it holds, as any may.
fn stays_until_flushed(bench: &Bench<'_>) -> Outcome {
    let field = filled(bench, Size(4))?;
    let (memory, va) = (bench.memory(), field.va(3));
    let slot = field.with_table(3, |_, slot| slot);
    let entry = memory.door.swap(slot, Descriptor::NONE);
    let stale = OtherCpu::read(va);
    tlb::flush_range(memory, &field.space, va, 1, Depth::Leaf, Cause::Test);
    let flushed = OtherCpu::read(va);
    memory.door.store(slot, entry);
    ensure!(stale.is_some(), "CPU 1's TLB held nothing: the tests of this file can not fail");
    ensure!(flushed.is_none(), "CPU 1 reads {flushed:x?} after the flush");
    Ok(())
}

fn page_out(bench: &Bench<'_>) -> Outcome {
    for way in WAYS {
        bench.set(&format!("unmap={way}"))?;
        for size in SIZES {
            let field = filled(bench, size)?;
            field.page_out(0, PAGES)?;
            must_fault(&field, &format!("{}K folios, unmap={way}", size.0))?;
            field.verify(0, PAGES)?;
            must_read(&field, |page| field.content(page)[0], "after swap-in")?;
        }
    }
    Ok(())
}

fn protect(bench: &Bench<'_>) -> Outcome {
    for size in SIZES {
        let field = filled(bench, size)?;
        field.protect(0, PAGES, Prot::READ)?;
        let written = (0..PAGES).find(|&page| OtherCpu::write(field.va(page)));
        ensure!(written.is_none(), "CPU 1 writes to page {written:?}, which is read-only");
        must_read(&field, |page| field.content(page)[0], "PROT_READ")?;
        field.protect(0, PAGES, Prot::empty())?;
        must_fault(&field, "PROT_NONE")?;
    }
    Ok(())
}

fn unmap(bench: &Bench<'_>) -> Outcome {
    for size in SIZES {
        let field = filled(bench, size)?;
        field.unmap(0, PAGES)?;
        must_fault(&field, "munmap")?;
        let field = Field::new(bench, field.space.clone(), field.start, PAGES)?;
        field.touch(0, PAGES)?;
        must_read(&field, |_| 0, "a new map")?;
        // In place of the one that is there, without a fault between the two.
        field.fill(0, PAGES)?;
        must_read(&field, |page| field.content(page)[0], "filled")?;
        let field = Field::new(bench, field.space.clone(), field.start, PAGES)?;
        must_fault(&field, "a map in place of another")?;
    }
    Ok(())
}

fn dont_need(bench: &Bench<'_>) -> Outcome {
    for size in SIZES {
        let field = filled(bench, size)?;
        field.advise(0, PAGES, DONTNEED).map_err(|error| format!("MADV_DONTNEED: {error}"))?;
        must_fault(&field, "MADV_DONTNEED")?;
        field.verify_zero(0, PAGES)?;
        must_read(&field, |_| 0, "after MADV_DONTNEED")?;
    }
    Ok(())
}

/// Pages that CPU 1 has written and read, so that its TLB holds each of them.
fn filled<'b, 'm>(bench: &'b Bench<'m>, size: Size) -> Result<Field<'b, 'm>, String> {
    let field = bench.filled(size, PAGES)?;
    must_read(&field, |page| field.content(page)[0], "filled")?;
    Ok(field)
}

/// CPU 1 must read this byte of each page, without a fault.
fn must_read(field: &Field<'_, '_>, wanted: impl Fn(usize) -> u8, when: &str) -> Outcome {
    for page in 0..PAGES {
        let (seen, wanted) = (OtherCpu::read(field.va(page)), Some(wanted(page)));
        ensure!(seen == wanted, "{when}: CPU 1 reads {seen:x?} instead of {wanted:x?} in page {page}");
    }
    Ok(())
}

/// No page may be there for CPU 1.
fn must_fault(field: &Field<'_, '_>, when: &str) -> Outcome {
    for page in 0..PAGES {
        let seen = OtherCpu::read(field.va(page));
        ensure!(seen.is_none(), "{when}: CPU 1 still reads {seen:x?} in page {page}");
    }
    Ok(())
}
