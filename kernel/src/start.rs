//! From `boot` to the job: devices, features, heap, banner, command line.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use boot::BootInfo;
use mm::policy::{KEYS, Policy};

use crate::arch::features::Features;
use crate::arch::tables::{self, Half};
use crate::arch::{cpus, gic, pmu, psci};
use crate::command_line::{self, Crash, Job, Options};
use crate::dev::{log as kernel_log, pl011};
use crate::heap;
use crate::lab;
use crate::machine::{self, Machine};
use crate::task;

/// The exit status of a wrong command line.
const BAD_COMMAND_LINE: u8 = 2;

/// boot comes here.
#[unsafe(no_mangle)]
fn kernel_main(info: &'static BootInfo) -> ! {
    if let Some(uart) = info.machine.uart {
        pl011::init(uart);
    }
    kernel_log::init();
    if info.machine.log_is_elsewhere() {
        kernel_log::to_host();
    }
    if !info.machine.log_is_elsewhere() {
        first_line(info);
    }
    psci::init(info.machine.psci);
    let features = Features::read();
    features.enable();
    // SAFETY: the first CPU, once, before any door is opened.
    unsafe { mmu::set_features(features.mmu()) };
    let mut free = info.free;
    let size = heap::size_for(info.machine.memory.total());
    let Some(heap) = free.take(size, size).or_else(|| free.take(size, mmu::PAGE_SIZE)) else {
        let (free, size) = (free.total() >> 10, size >> 10);
        log::error!("too little memory: {free} KiB are free, the heap needs {size} KiB in one piece");
        kernel_log::finish(false, kernel_log::PANIC_STATUS)
    };
    // SAFETY: taken from the free list just now.
    unsafe { heap::init(heap) };
    let machine = machine::set(info, features, heap, free);
    pmu::init();
    task::start();
    let options = options(info.machine.command_line);
    #[cfg(feature = "mutants")]
    options.mutant.into_iter().for_each(mmu::mutant::choose);
    let interrupts = info.machine.gic.is_some_and(|gic| gic::init(gic, info.machine.timer_interrupt));
    if let Err(error) = cpus::start(info, interrupts) {
        log::warn!("{error}; the kernel goes on with {} of {}", cpus::count(), info.machine.cpus().len());
    }
    if options.has_banner() {
        banner(machine, interrupts);
    }
    run(&options)
}

/// Parses the command line, or ends with a message.
fn options(line: &str) -> Options {
    let keys: Vec<&str> = KEYS.iter().map(|&(key, _)| key).collect();
    match command_line::parse(line, &keys).and_then(check_policy) {
        Ok(options) => options,
        Err(message) => {
            log::error!("command line: {message}");
            kernel_log::finish(false, BAD_COMMAND_LINE)
        }
    }
}

/// Tries the switches of memory management, before there is any.
fn check_policy(options: Options) -> Result<Options, String> {
    let policy = Policy::new();
    let mut words = options.policy.iter();
    words.try_for_each(|(key, value)| policy.parse(key, value)).map_err(|error| error.to_string())?;
    Ok(options)
}

/// The banner's first line. On the UART it comes before anything can go wrong, and boot has written its first word already.
fn first_line(info: &BootInfo) {
    let first = if info.machine.log_is_elsewhere() { boot::start::FIRST_WORD } else { "" };
    log::info!("{first} {} on {}, entered at EL{}", env!("CARGO_PKG_VERSION"), info.machine.model, info.entry_level);
}

fn banner(machine: &Machine, interrupts: bool) {
    let Machine { info, features, heap, .. } = machine;
    if info.machine.log_is_elsewhere() {
        first_line(info);
    }
    let cpus = info.machine.cpus();
    log::info!("cpu:      {} (MIDR {:#010x})", features.cpu_name(), features.midr);
    log::info!("features: {features}");
    let memory: Vec<_> = info.machine.memory.as_slice().iter().map(|range| alloc::format!("{range}")).collect();
    log::info!("memory:   {} MiB at {}", info.machine.memory.total() >> 20, memory.join(", "));
    log::info!(
        "kernel:   image {} ({} KiB), {} table pages, heap {} MiB, initrd {} KiB",
        info.image,
        info.image.size() >> 10,
        info.table_pages,
        heap.size() >> 20,
        info.initrd.len() >> 10
    );
    let affinities: Vec<_> = cpus.iter().map(|cpu| alloc::format!("{:#x}", cpu.affinity)).collect();
    log::info!("cpus:     {} found ({}), {}", cpus.len(), affinities.join(", "), running());
    let power = psci::version().map_or("no PSCI".into(), |version| alloc::format!("PSCI {version}"));
    log::info!(
        "devices:  PL011, {}, timer {} Hz, {power}",
        if interrupts { "GICv3" } else { "no GICv3" },
        crate::arch::timer::frequency()
    );
    log::info!("command line: {}", info.machine.command_line);
}

/// How many CPUs run.
fn running() -> String {
    match cpus::count() {
        1 => "the first runs".into(),
        count => alloc::format!("{count} run: the first works, the others sleep until they are given something to do"),
    }
}

fn run(options: &Options) -> ! {
    if let Some(crash) = options.crash {
        self::crash(crash);
    }
    match options.job {
        Job::Boot => kernel_log::finish(true, 0),
        Job::Reset => psci::reset(),
        Job::Map => {
            // Printing can not fail: the text goes to a device.
            let _ = tables::dump(&mut kernel_log::Urgent::new(), Half::Kernel);
            kernel_log::finish(true, 0)
        }
        _ => lab::run(options),
    }
}

/// Fails on purpose.
fn crash(way: Crash) {
    #[expect(unconditional_recursion, reason = "the stack shall run over")]
    #[inline(never)]
    fn deeper(depth: u64) -> u64 {
        let room = core::hint::black_box([depth; 64]);
        deeper(depth + 1) + room[1]
    }
    match way {
        Crash::Panic => panic!("on purpose"),
        // SAFETY: meant to fault.
        Crash::Fault => unsafe {
            core::hint::black_box((0xffff_7000_1234_5678_u64 as *const u8).read_volatile());
        },
        Crash::Overflow => {
            core::hint::black_box(deeper(0));
        }
        // SAFETY: meant to be undefined.
        Crash::Undefined => unsafe { core::arch::asm!("udf #0") },
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    use core::fmt::Write;
    kernel_log::dying();
    let out = &mut kernel_log::Urgent::new();
    let _ = writeln!(out, "\nkernel {info}");
    if let Some(bytes) = heap::refused() {
        let _ = writeln!(
            out,
            "the heap had no room for {bytes} bytes: if that is why, give the machine more memory (--mem)"
        );
    }
    let (frame, here): (u64, u64);
    // SAFETY: reads two registers.
    unsafe { core::arch::asm!("mov {}, x29", "adr {}, .", out(reg) frame, out(reg) here, options(nostack, nomem)) };
    crate::arch::backtrace::print(out, here, frame);
    kernel_log::die()
}
