//! What the device tree says about the machine, and [`BootInfo`], which the kernel starts from.

use mmu::{PhysAddr, Table};

use crate::fdt::{Fdt, Node};
use crate::memory::{PhysRange, Ranges};

/// Most CPUs that are listed.
pub const MAX_CPUS: usize = 64;

/// A CPU as the device tree lists it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Affinity fields of its MPIDR_EL1.
    pub affinity: u64,
}

/// The PL011 that messages and programs' output go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uart {
    /// Its registers.
    pub registers: PhysRange,
}

/// A GICv3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gic {
    /// Registers of the distributor.
    pub distributor: PhysRange,
    /// Registers of the redistributors, one pair of 64 KiB frames for each CPU.
    pub redistributors: PhysRange,
}

/// The instruction that reaches PSCI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsciConduit {
    /// HVC.
    Hvc,
    /// SMC.
    Smc,
}

/// What the device tree says.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// The `model` of the root, or its first `compatible` string.
    pub model: &'a str,
    /// `bootargs`.
    pub command_line: &'a str,
    /// All memory.
    pub memory: Ranges,
    /// Memory that the device tree says is not ours.
    pub reserved: Ranges,
    /// The initial RAM disk.
    pub initrd: Option<PhysRange>,
    /// The UART.
    pub uart: Option<Uart>,
    /// The interrupt controller.
    pub gic: Option<Gic>,
    /// Interrupt number (INTID) of the EL1 virtual timer.
    pub timer_interrupt: Option<u32>,
    /// How to reach PSCI.
    pub psci: Option<PsciConduit>,
    cpus: [Cpu; MAX_CPUS],
    cpu_count: usize,
}

impl<'a> Machine<'a> {
    /// Reads it all. What is missing is `None` or empty; the caller decides what it can not do without.
    pub fn read(fdt: &Fdt<'a>) -> Self {
        let root = fdt.find("/");
        let chosen = fdt.find("/chosen");
        let mut machine = Self {
            model: root
                .and_then(|root| root.string("model").or_else(|| root.string("compatible")))
                .unwrap_or("unknown"),
            command_line: chosen.and_then(|chosen| chosen.string("bootargs")).unwrap_or(""),
            memory: Ranges::new(),
            reserved: Ranges::new(),
            initrd: chosen.and_then(initrd),
            uart: uart(fdt),
            gic: fdt.compatible("arm,gic-v3").and_then(gic),
            timer_interrupt: fdt.compatible("arm,armv8-timer").and_then(virtual_timer),
            psci: fdt.nodes().find(is_psci).and_then(conduit),
            cpus: [Cpu::default(); MAX_CPUS],
            cpu_count: 0,
        };
        machine.read_nodes(fdt);
        machine
    }

    /// The CPUs, in the device tree's order.
    pub fn cpus(&self) -> &[Cpu] {
        &self.cpus[..self.cpu_count]
    }

    /// Whether the command line sends messages elsewhere, so that the UART is a program's alone: the one key that boot knows.
    pub fn log_is_elsewhere(&self) -> bool {
        self.command_line.split(' ').any(|word| word == "log=host")
    }

    fn read_nodes(&mut self, fdt: &Fdt<'a>) {
        fdt.reservations().for_each(|(start, size)| self.reserved.add(PhysRange::new(start, size)));
        let mut in_reserved = false;
        for node in fdt.nodes() {
            if node.depth == 1 {
                in_reserved = node.is_named("reserved-memory");
            }
            match node.string("device_type") {
                Some("memory") => node.reg().for_each(|(start, size)| self.memory.add(PhysRange::new(start, size))),
                Some("cpu") => self.add_cpu(&node),
                _ if in_reserved && node.depth == 2 => {
                    node.reg().for_each(|(start, size)| self.reserved.add(PhysRange::new(start, size)));
                }
                _ => {}
            }
        }
    }

    fn add_cpu(&mut self, node: &Node<'_>) {
        // A CPU's `reg` is all address and has no size.
        if let (Some((affinity, _)), Some(place)) = (node.reg().next(), self.cpus.get_mut(self.cpu_count)) {
            *place = Cpu { affinity };
            self.cpu_count += 1;
        }
    }
}

/// Bounds of the initial RAM disk: 4-byte cells or 8-byte ones, by who wrote the tree.
fn initrd(chosen: Node<'_>) -> Option<PhysRange> {
    let (start, end) = (chosen.number("linux,initrd-start")?, chosen.number("linux,initrd-end")?);
    (start < end).then_some(PhysRange { start, end })
}

/// The UART of `stdout-path`, a path or an alias with options behind a colon; else the first PL011.
fn uart(fdt: &Fdt<'_>) -> Option<Uart> {
    let named = || {
        let path = fdt.find("/chosen")?.string("stdout-path")?.split(':').next()?;
        let path = if path.starts_with('/') { path } else { fdt.find("/aliases")?.string(path)? };
        fdt.find(path).filter(|node| node.is_compatible("arm,pl011"))
    };
    let node = named().or_else(|| fdt.compatible("arm,pl011"))?;
    let (start, size) = node.reg().next()?;
    Some(Uart { registers: PhysRange::new(start, size) })
}

fn gic(node: Node<'_>) -> Option<Gic> {
    let mut reg = node.reg().map(|(start, size)| PhysRange::new(start, size));
    Some(Gic { distributor: reg.next()?, redistributors: reg.next()? })
}

/// The third interrupt of the timer's node, three cells each: kind (1: private), number, flags.
fn virtual_timer(node: Node<'_>) -> Option<u32> {
    const FIRST_PRIVATE: u32 = 16;
    let number = node.property("interrupts")?.get(2 * 12 + 4..2 * 12 + 8)?;
    Some(u32::from_be_bytes(number.try_into().ok()?) + FIRST_PRIVATE)
}

fn is_psci(node: &Node<'_>) -> bool {
    ["arm,psci-1.0", "arm,psci-0.2"].iter().any(|name| node.is_compatible(name))
}

fn conduit(node: Node<'_>) -> Option<PsciConduit> {
    match node.string("method")? {
        "hvc" => Some(PsciConduit::Hvc),
        "smc" => Some(PsciConduit::Smc),
        _ => None,
    }
}

/// What `kernel_main` gets: the machine, and where boot has put things.
pub struct BootInfo {
    /// What the device tree says.
    pub machine: Machine<'static>,
    /// The exception level at which the image was entered: 1 or 2.
    pub entry_level: u64,
    /// Memory that nothing is in: all of it but image, device tree, initrd and what is reserved. Allocators start from it.
    pub free: Ranges,
    /// The kernel image with BSS, stacks and the kernel's own tables.
    pub image: PhysRange,
    /// The initial RAM disk, through the linear map.
    pub initrd: &'static [u8],
    /// Level 0 table of the upper half (TTBR1_EL1).
    pub kernel_root: Table,
    /// A level 0 table without entries, for TTBR0_EL1 while there is no program.
    pub empty_root: Table,
    /// Table pages of the kernel's own map that are in use.
    pub table_pages: usize,
}

impl BootInfo {
    /// The address of the empty table.
    pub const fn empty_table(&self) -> PhysAddr {
        self.empty_root.address()
    }
}
