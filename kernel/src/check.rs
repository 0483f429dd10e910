//! The checker in the running kernel (feature `check`): the model of a TLB behind the door, and what is said of its verdicts. At an
//! error the kernel stops with a report; a warning is told at once, and the run fails at its end.

#[cfg(feature = "check")]
pub use on::{is_clean, start};

/// Nothing to start.
#[cfg(not(feature = "check"))]
pub fn start() {}

/// Nothing was checked, so nothing was found.
#[cfg(not(feature = "check"))]
pub fn is_clean() -> bool {
    true
}

#[cfg(feature = "check")]
mod on {
    use alloc::format;
    use alloc::string::String;
    use core::fmt::Write;

    use mmu::model::{Breach, Config, Level, MAX_CPUS, Model, Verdict};
    use mmu::{CONT_PTES, PAGE_SIZE, PhysAddr};

    use crate::arch::backtrace;
    use crate::dev::log as kernel_log;
    use crate::dev::record::{self, Json};
    use crate::machine::machine;

    /// One table page in so many frames is more than any program reaches.
    const FRAMES_A_TABLE: usize = 128;

    /// From here on every event of the door is judged. Before memory management starts.
    pub fn start() {
        let machine = machine();
        let memory = machine.info.machine.memory.as_slice();
        let first = memory.iter().map(|range| range.start).min().unwrap_or(0);
        let end = memory.iter().map(|range| range.end).max().unwrap_or(0);
        let frames = ((end - first) / PAGE_SIZE) as usize;
        let model = Model::new(Config {
            features: machine.features.mmu(),
            cpus: machine.info.machine.cpus().len().clamp(1, MAX_CPUS),
            first_frame: PhysAddr::new(first).frame(),
            frames,
            block: CONT_PTES,
            tables: frames / FRAMES_A_TABLE,
            stale: Config::STALE,
        });
        mmu::observe(model, report);
    }

    /// Tells of a breach where it happens.
    fn report(breach: &Breach) {
        record::write(format_args!(
            r#"{{"kind":"breach","rule":"{}","what":{},"text":{}}}"#,
            breach.rule,
            Json(breach.what),
            Json(&format!("{breach}"))
        ));
        if breach.rule.level() == Level::Warning {
            return log::warn!("{breach}");
        }
        kernel_log::dying();
        let out = &mut kernel_log::Urgent::new();
        // The text goes to a device, which takes everything.
        let _ = writeln!(out, "\nthe checker: {breach}");
        let (frame, here): (u64, u64);
        // SAFETY: reads two registers.
        unsafe { core::arch::asm!("mov {}, x29", "adr {}, .", out(reg) frame, out(reg) here, options(nostack, nomem)) };
        backtrace::print(out, here, frame);
        kernel_log::die()
    }

    /// Says what was checked. Whether nothing was found and nothing escaped.
    pub fn is_clean() -> bool {
        mmu::with_model(|model| {
            let warnings = model.warnings().count();
            let assumed = if model.assumes_no_abort() { ", assuming that no CPU raises a conflict abort" } else { "" };
            let lints: String = model.lints().map(|(rule, count)| format!(", {rule} {count}")).collect();
            let verdict = model.verdict();
            log::info!(
                "checker: {} events, {verdict}{assumed}; {warnings} warnings; costs{}",
                model.events(),
                &lints[1..]
            );
            record::write(format_args!(
                r#"{{"kind":"check","events":{},"verdict":{},"warnings":{warnings}}}"#,
                model.events(),
                Json(&format!("{verdict}"))
            ));
            *verdict == Verdict::Pass && warnings == 0
        })
        .unwrap_or(true)
    }
}
