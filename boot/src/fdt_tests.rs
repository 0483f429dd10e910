//! Tests of the reader on trees built here, with the shapes that QEMU's have.

use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::info::{Machine, PsciConduit};

/// Builds a blob.
#[derive(Default)]
struct Builder {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Builder {
    fn word(&mut self, value: u32) -> &mut Self {
        self.structure.extend(value.to_be_bytes());
        self
    }

    fn begin(&mut self, name: &str) -> &mut Self {
        self.word(BEGIN_NODE).bytes(&[name.as_bytes(), &[0]].concat())
    }

    fn end(&mut self) -> &mut Self {
        self.word(END_NODE)
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.structure.extend(bytes);
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
        self
    }

    fn property(&mut self, name: &str, value: &[u8]) -> &mut Self {
        let at = self.strings.len() as u32;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        self.word(PROPERTY).word(value.len() as u32).word(at).bytes(value)
    }

    fn string(&mut self, name: &str, value: &str) -> &mut Self {
        self.property(name, (value.to_string() + "\0").as_bytes())
    }

    fn words(&mut self, name: &str, values: &[u32]) -> &mut Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
        self.property(name, &bytes)
    }

    fn blob(&mut self) -> Vec<u8> {
        self.word(9);
        let reservations = 40;
        let structure = reservations + 32;
        let strings = structure + self.structure.len();
        let total = strings + self.strings.len();
        let lengths = [self.strings.len() as u32, self.structure.len() as u32];
        let header = [
            MAGIC,
            total as u32,
            structure as u32,
            strings as u32,
            reservations as u32,
            17,
            16,
            0,
            lengths[0],
            lengths[1],
        ];
        let mut blob: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
        blob.extend([0x4800_0000_u64, 0x1000, 0, 0].iter().flat_map(|word| word.to_be_bytes()));
        blob.extend(&self.structure);
        blob.extend(&self.strings);
        blob
    }
}

/// A machine like QEMU's `virt`; `initrd` are the cells of its bounds.
fn virt(initrd: &[&[u32]; 2]) -> Vec<u8> {
    let mut tree = Builder::default();
    tree.begin("").words("#address-cells", &[2]).words("#size-cells", &[2]).string("compatible", "linux,dummy-virt");
    tree.begin("psci").property("compatible", b"arm,psci-1.0\0arm,psci-0.2\0arm,psci\0").string("method", "hvc").end();
    tree.begin("memory@40000000").words("reg", &[0, 0x4000_0000, 1, 0]).string("device_type", "memory").end();
    tree.begin("intc@8000000").string("compatible", "arm,gic-v3");
    tree.words("reg", &[0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0xf6_0000]).words("#address-cells", &[2]);
    tree.begin("its@8080000").words("reg", &[0, 0x808_0000, 0, 0x2_0000]).end().end();
    tree.begin("cpus").words("#address-cells", &[1]).words("#size-cells", &[0]);
    for cpu in 0..2 {
        tree.begin("cpu").words("reg", &[cpu]).string("device_type", "cpu").end();
    }
    tree.end();
    tree.begin("timer").string("compatible", "arm,armv8-timer");
    tree.words("interrupts", &[1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4]).end();
    tree.begin("pl011@9000000").property("compatible", b"arm,pl011\0arm,primecell\0");
    tree.words("reg", &[0, 0x900_0000, 0, 0x1000]).end();
    tree.begin("chosen").string("bootargs", "job=boot log=uart").string("stdout-path", "/pl011@9000000");
    tree.words("linux,initrd-start", initrd[0]).words("linux,initrd-end", initrd[1]).end();
    tree.end();
    tree.blob()
}

#[test]
fn the_machine_of_a_tree() {
    let blob = virt(&[&[0x4800_0000], &[0x4800_1234]]);
    let machine = Machine::read(&Fdt::new(&blob).unwrap());
    assert_eq!((machine.model, machine.command_line), ("linux,dummy-virt", "job=boot log=uart"));
    assert_eq!(machine.memory.as_slice(), [crate::PhysRange { start: 0x4000_0000, end: 0x1_4000_0000 }]);
    assert_eq!(machine.cpus().iter().map(|cpu| cpu.affinity).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(machine.uart.unwrap().registers.start, 0x900_0000);
    assert_eq!(machine.gic.unwrap().redistributors.start, 0x80a_0000);
    assert_eq!((machine.timer_interrupt, machine.psci), (Some(27), Some(PsciConduit::Hvc)));
    assert_eq!(machine.reserved.total(), 0x1000);
}

#[test]
fn initrd_with_cells_of_either_size() {
    let bounds = crate::PhysRange { start: 0x4800_0000, end: 0x4800_1234 };
    for cells in [[&[0x4800_0000][..], &[0x4800_1234]], [&[0, 0x4800_0000], &[0, 0x4800_1234]]] {
        let blob = virt(&cells);
        assert_eq!(Machine::read(&Fdt::new(&blob).unwrap()).initrd, Some(bounds));
    }
}

#[test]
fn cells_hold_for_children_not_for_grandchildren() {
    let blob = virt(&[&[0], &[0]]);
    let fdt = Fdt::new(&blob).unwrap();
    // Below intc, which gives two address cells and, by default, one size cell.
    assert_eq!(fdt.find("/intc/its").unwrap().reg().next(), Some((0x808_0000, 0)));
    assert_eq!(fdt.find("/cpus/cpu").unwrap().reg().next(), Some((0, 0)));
    assert!(fdt.find("/its").is_none() && fdt.find("/cpus/its").is_none() && fdt.find("/chosen/x").is_none());
}

#[test]
fn an_alias_with_options_names_the_uart() {
    let mut tree = Builder::default();
    tree.begin("").words("#address-cells", &[1]).words("#size-cells", &[1]);
    for address in [0x1000, 0x2000] {
        tree.begin(&(String::from("uart@") + &address.to_string())).string("compatible", "arm,pl011");
        tree.words("reg", &[address, 0x1000]).end();
    }
    tree.begin("aliases").string("serial0", "/uart@8192").end();
    tree.begin("chosen").string("stdout-path", "serial0:115200n8").end().end();
    let blob = tree.blob();
    assert_eq!(Machine::read(&Fdt::new(&blob).unwrap()).uart.unwrap().registers.start, 0x2000);
}

#[test]
fn what_is_no_tree_is_refused() {
    let blob = virt(&[&[0], &[0]]);
    assert_eq!(Fdt::new(&[0; 64]).err(), Some(Malformed::Magic));
    assert_eq!(Fdt::new(&blob[..blob.len() - 1]).err(), Some(Malformed::Header));
    assert_eq!(Fdt::new(&blob[..6]).err(), Some(Malformed::Magic));
}

/// Every single byte of the tree replaced: reading may find nonsense, but ends and does not panic.
#[test]
fn damage_is_survived() {
    let blob = virt(&[&[0x4800_0000], &[0x4800_1234]]);
    for place in 0..blob.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = blob.clone();
            damaged[place] = value;
            if let Ok(fdt) = Fdt::new(&damaged) {
                let machine = Machine::read(&fdt);
                assert!(machine.cpus().len() <= crate::MAX_CPUS);
            }
        }
    }
}
