//! The first Rust code: from early tables in the upper half to `kernel_main` on the kernel's own map.

use core::arch::{asm, global_asm};
use core::fmt::Write;
use core::mem::MaybeUninit;

use aarch64_cpu::registers::{ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1, Readable, TCR_EL1, TPIDR_EL1, TTBR0_EL1, Writeable};
use mmu::{LINEAR_BASE, PerCpu, PhysAddr, Table, VirtAddr};

use crate::console::{self, Early};
use crate::early::{BLOCK, EARLY_TABLES, FDT_SLOT, UART_SLOT, UPPER, WINDOW};
use crate::fdt::Fdt;
use crate::info::{BootInfo, Machine};
use crate::map::{KernelMap, TablePage, Use, device_address};
use crate::memory::{PhysRange, Ranges};
use crate::secondary::MAX_RUNNING;

/// Table pages for the kernel's own map: about a dozen are used.
const POOL_PAGES: usize = 64;

/// Bytes of a CPU's stack, and of the guard below it (linker.ld).
const STACK: u64 = 64 << 10;

/// What appears first; the kernel's banner goes on behind it.
pub const FIRST_WORD: &str = "unfold";

/// SCTLR_EL1 with the MMU off: its bits that are RES1.
const SCTLR_OFF: u64 = 0x30d0_0800;
/// MMU, caches and stack alignment checks on for EL1 and EL0 (SA, SA0). EL0 may use DC ZVA (DZE), cache maintenance (UCI) and
/// CTR_EL0 (UCT), and WFE, but not WFI (nTWI clear), which would stop a machine that has no tick. SPAN is clear: an exception
/// to EL1 sets PAN.
const SCTLR_ON: u64 = (SCTLR_OFF & !(1 << 23)) | 0b1_1101 | (1 << 12) | (1 << 14) | (1 << 15) | (1 << 18) | (1 << 26);
global_asm!(
    include_str!("head.s"),
    SCTLR_OFF = const SCTLR_OFF,
    SCTLR_ON = const SCTLR_ON,
    MAIR = const mmu::MAIR,
    UPPER_ROOT = const UPPER * 4096,
    STACK_BLOCK_SHIFT = const (2 * STACK).trailing_zeros(),
);

#[unsafe(link_section = ".early_tables")]
#[unsafe(no_mangle)]
static mut early_tables: [TablePage; EARLY_TABLES] = [TablePage::EMPTY; EARLY_TABLES];
static mut POOL: [TablePage; POOL_PAGES] = [TablePage::EMPTY; POOL_PAGES];
static EMPTY_TABLE: TablePage = TablePage::EMPTY;
static PER_CPU: [PerCpu; MAX_RUNNING] = [
    PerCpu::new(0),
    PerCpu::new(1),
    PerCpu::new(2),
    PerCpu::new(3),
    PerCpu::new(4),
    PerCpu::new(5),
    PerCpu::new(6),
    PerCpu::new(7),
];

unsafe extern "C" {
    static _image_start: u8;
    static _text_end: u8;
    static _rodata_end: u8;
    static _boot_stack_top: u8;
    static _emergency_stack_guard: u8;
    static _emergency_stack_bottom: u8;
    static _emergency_stack_top: u8;
    fn switch_upper_half();
    /// The kernel's exception vectors, which work from before `kernel_main` on.
    static exception_vectors: u8;
}

unsafe extern "Rust" {
    /// The kernel's entry.
    fn kernel_main(info: &'static BootInfo) -> !;
}

macro_rules! address {
    ($symbol:ident) => {
        &raw const $symbol as u64
    };
}

/// head.s comes here with the device tree and the image (physical addresses) and the exception level at entry.
#[unsafe(no_mangle)]
extern "C" fn first_rust(device_tree: u64, image: u64, entry_level: u64) -> ! {
    enter_cpu(0);
    if device_tree == 0 {
        console::stop("unfold: no device tree in x0: boot the flat image, not the ELF file\n");
    }
    let early = WINDOW + FDT_SLOT as u64 * BLOCK + device_tree % BLOCK;
    // SAFETY: head.s has mapped the 2 MiB block that holds the first byte and the next one, so 2 MiB from there.
    let Ok(fdt) = Fdt::new(unsafe { core::slice::from_raw_parts(early as *const u8, BLOCK as usize) }) else {
        console::stop("unfold: x0 does not point at a device tree\n");
    };
    let machine = Machine::read(&fdt);
    first_character(&machine);
    let place = Place { device_tree: PhysRange::new(device_tree, fdt.total_size() as u64), image };
    let (root, table_pages) = build_map(&machine, &place);
    if let Some(uart) = machine.uart {
        // The early window goes with the early tables.
        console::set(device_address(uart.registers.start));
    }
    switch(root, &place);
    finish(&place, root, table_pages, entry_level)
}

/// What every CPU does first: its exceptions have vectors, and it knows its number.
pub(crate) fn enter_cpu(number: usize) {
    // SAFETY: the vectors are aligned by the linker script and mapped for ever.
    unsafe { asm!("msr vbar_el1, {}", "isb", in(reg) address!(exception_vectors)) };
    TPIDR_EL1.set(&raw const PER_CPU[number] as u64);
}

/// Where boot found things, in physical addresses.
struct Place {
    device_tree: PhysRange,
    image: u64,
}

impl Place {
    /// The physical address of a symbol of the image.
    const fn physical(&self, address: u64) -> u64 {
        address - (WINDOW + BLOCK) + self.image
    }

    /// The physical range between two symbols of the image.
    const fn between(&self, start: u64, end: u64) -> PhysRange {
        PhysRange { start: self.physical(start), end: self.physical(end) }
    }
}

/// Maps the UART into the early window and says that there is somebody.
fn first_character(machine: &Machine<'_>) {
    let Some(uart) = machine.uart else {
        console::stop("unfold: the device tree has no PL011\n");
    };
    let base = uart.registers.start;
    // Valid block, access flag, attribute 1 (Device-nGnRE), never executed.
    let block = (base & !(BLOCK - 1)) | 1 | (1 << 2) | (1 << 10) | (3 << 53);
    // SAFETY: the entry is unused, and the early tables are this CPU's alone; the barriers make the walker see the store.
    unsafe {
        let entry = &raw mut early_tables[EARLY_TABLES - 1].0[UART_SLOT];
        entry.write_volatile(mmu::Descriptor::from_bits(block));
        asm!("dsb ishst", "isb");
    }
    console::set(WINDOW + UART_SLOT as u64 * BLOCK + base % BLOCK);
    if !machine.log_is_elsewhere() {
        let _ = Early.write_str(FIRST_WORD);
    }
}

/// The kernel's own map. Returns its level 0 table and how many pages it took.
fn build_map(machine: &Machine<'_>, place: &Place) -> (PhysAddr, usize) {
    let pool_address = place.physical(&raw const POOL as u64);
    // SAFETY: nothing else refers to the pool; its tables are not in use yet.
    let pool = unsafe { core::slice::from_raw_parts_mut((&raw mut POOL).cast(), POOL_PAGES) };
    let mut map = KernelMap::new(pool, PhysAddr::new(pool_address));
    let done = map_image(&mut map, place)
        .and_then(|()| map_stacks(&mut map, place, machine))
        .and_then(|()| map_memory(&mut map, &machine.memory, place))
        .and_then(|()| map_devices(&mut map, machine));
    if done.is_err() {
        console::stop("unfold: too few pages for the kernel's tables: the memory map is too broken up\n");
    }
    (map.root(), map.used())
}

/// The image at its link address: text, constants, data, and the stack for emergencies; nothing at the guard below that.
fn map_image(map: &mut KernelMap<'_>, place: &Place) -> Result<(), crate::map::PoolEmpty> {
    let pieces = [
        (address!(_image_start), address!(_text_end), Use::Text),
        (address!(_text_end), address!(_rodata_end), Use::Constants),
        (address!(_rodata_end), address!(_emergency_stack_guard), Use::Data),
        (address!(_emergency_stack_bottom), address!(_emergency_stack_top), Use::Data),
    ];
    pieces.iter().try_for_each(|&(start, end, usage)| map.map(VirtAddr::new(start), place.between(start, end), usage))
}

/// A stack for each CPU; nothing at the guards below them.
fn map_stacks(map: &mut KernelMap<'_>, place: &Place, machine: &Machine<'_>) -> Result<(), crate::map::PoolEmpty> {
    (0..=last_cpu(machine))
        .map(stack_top)
        .try_for_each(|top| map.map(VirtAddr::new(top - STACK), place.between(top - STACK, top), Use::Data))
}

/// The highest number that a CPU of this machine can have.
fn last_cpu(machine: &Machine<'_>) -> u64 {
    machine.cpus().len().clamp(1, MAX_RUNNING) as u64 - 1
}

/// Where the stack of a CPU starts, to grow down. The first one's is the boot stack.
fn stack_top(cpu: u64) -> u64 {
    address!(_boot_stack_top) + cpu * 2 * STACK
}

/// All memory at its linear address, never executable; where it is the alias of text and constants, read-only.
fn map_memory(map: &mut KernelMap<'_>, memory: &Ranges, place: &Place) -> Result<(), crate::map::PoolEmpty> {
    let constant = place.between(address!(_image_start), address!(_rodata_end));
    for range in memory.as_slice().iter().map(PhysRange::pages_inside) {
        let inside = PhysRange { start: range.start.max(constant.start), end: range.end.min(constant.end) };
        if inside.is_empty() {
            map_linear(map, range, Use::Data)?;
            continue;
        }
        map_linear(map, PhysRange { start: range.start, end: inside.start }, Use::Data)?;
        map_linear(map, inside, Use::Constants)?;
        map_linear(map, PhysRange { start: inside.end, end: range.end }, Use::Data)?;
    }
    Ok(())
}

fn map_linear(map: &mut KernelMap<'_>, range: PhysRange, usage: Use) -> Result<(), crate::map::PoolEmpty> {
    map.map(VirtAddr::new(LINEAR_BASE | range.start), range, usage)
}

fn map_devices(map: &mut KernelMap<'_>, machine: &Machine<'_>) -> Result<(), crate::map::PoolEmpty> {
    let mut devices = Ranges::new();
    if let Some(uart) = machine.uart {
        devices.add(uart.registers.pages_around());
    }
    if let Some(gic) = machine.gic {
        devices.add(gic.distributor.pages_around());
        // Only as many redistributors as there are CPUs: on QEMU the region is 16 MiB and more.
        let used = 0x2_0000 * machine.cpus().len() as u64;
        devices.add(PhysRange::new(gic.redistributors.start, used.min(gic.redistributors.size())).pages_around());
    }
    devices
        .as_slice()
        .iter()
        .try_for_each(|&range| map.map(VirtAddr::new(device_address(range.start)), range, Use::Device))
}

/// Leaves the early tables for the kernel's own, with the features of TCR_EL1 that the CPU has.
fn switch(root: PhysAddr, place: &Place) {
    let code = place.physical(switch_upper_half as *const () as u64);
    let empty = place.physical(&raw const EMPTY_TABLE as u64);
    // SAFETY: the code lies in the identity map and needs no stack. The new map has the image, stack included, where the old one
    // has it, so execution goes on after it.
    unsafe {
        asm!("dsb ishst", "blr {code}", code = in(reg) code, inout("x0") root.as_u64() => _, inout("x1") empty => _,
             inout("x2") tcr() => _, lateout("x30") _);
    }
    leave_identity_map(empty);
}

/// Makes the lower half of this CPU's addresses empty: `empty` is the physical address of a table without entries.
pub(crate) fn leave_identity_map(empty: u64) {
    TTBR0_EL1.set(empty);
    // SAFETY: nothing uses the lower half any more. This is before the CPU's first use of the door, so boot issues its own.
    unsafe { asm!("isb", "tlbi vmalle1", "dsb nsh", "isb") };
}

/// TCR_EL1 with 16-bit ASIDs and hardware management of access flag and dirty state, as far as the CPU has them.
fn tcr() -> u64 {
    const AS: u64 = 1 << 36;
    const HA: u64 = 1 << 39;
    const HD: u64 = 1 << 40;
    let wide_asid = ID_AA64MMFR0_EL1.read(ID_AA64MMFR0_EL1::ASIDBits) == 2;
    let hardware = ID_AA64MMFR1_EL1.read(ID_AA64MMFR1_EL1::HAFDBS);
    let mut value = TCR_EL1.get();
    for (has, bit) in [(wide_asid, AS), (hardware >= 1, HA), (hardware >= 2, HD)] {
        if has {
            value |= bit;
        }
    }
    value
}

/// On the kernel's own map: reads the device tree again, now at its address for good, and hands over.
fn finish(place: &Place, root: PhysAddr, table_pages: usize, entry_level: u64) -> ! {
    let Ok(fdt) = Fdt::new(linear(place.device_tree)) else { unreachable!("it was one a moment ago") };
    let machine = Machine::read(&fdt);
    // It ends with the last stack in use; those of CPUs that the machine has not got are free memory.
    let image = place.between(address!(_image_start), stack_top(last_cpu(&machine)));
    let mut free = Ranges::new();
    machine.memory.as_slice().iter().for_each(|range| free.add(range.pages_inside()));
    for taken in [Some(image), Some(place.device_tree), machine.initrd].into_iter().flatten() {
        free.remove(taken.pages_around());
    }
    machine.reserved.as_slice().iter().for_each(|range| free.remove(range.pages_around()));
    let initrd = machine.initrd.map_or(&[][..], linear);
    let empty = place.physical(&raw const EMPTY_TABLE as u64);
    static mut INFO: MaybeUninit<BootInfo> = MaybeUninit::uninit();
    let info = BootInfo {
        machine,
        entry_level,
        free,
        image,
        initrd,
        kernel_root: Table::new(root, 0),
        empty_root: Table::new(PhysAddr::new(empty), 0),
        table_pages,
    };
    let place = (&raw mut INFO).cast::<BootInfo>();
    // SAFETY: one CPU, once; the kernel only ever sees it shared. kernel_main has this signature.
    unsafe {
        place.write(info);
        kernel_main(&*place)
    }
}

/// Memory through the linear map.
fn linear(range: PhysRange) -> &'static [u8] {
    // SAFETY: the ranges asked for are memory by the device tree's word, are taken from the free list, and nobody writes them.
    unsafe { core::slice::from_raw_parts((LINEAR_BASE | range.start) as *const u8, range.size() as usize) }
}
