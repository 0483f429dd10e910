//! Many threads at once, and an end to it.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::SeqCst;

use user::check::Checks;
use user::futex;
use user::sys::{Error, error};
use user::thread::{self, Thread};

pub const CHECKS: Checks = &[("there is an end to making threads", bound), ("and they can be made again", bound)];

fn bound() -> Result<bool, Error> {
    const MOST: usize = 400;
    static GATE: AtomicU32 = AtomicU32::new(0);
    static RAN: AtomicU32 = AtomicU32::new(0);
    GATE.store(0, SeqCst);
    RAN.store(0, SeqCst);
    let mut threads: [Option<Thread>; MOST] = [const { None }; MOST];
    let mut made = 0;
    let refused = loop {
        let thread = thread::spawn(|| {
            while GATE.load(SeqCst) == 0 {
                let _ = futex::wait(&GATE, 0);
            }
            RAN.fetch_add(1, SeqCst);
        });
        match thread {
            Ok(thread) if made < MOST => {
                threads[made] = Some(thread);
                made += 1;
            }
            Ok(_) => break None,
            Err(error) => break Some(error),
        }
    };
    GATE.store(1, SeqCst);
    futex::wake(&GATE, i32::MAX as u32)?;
    threads.into_iter().flatten().try_for_each(Thread::join)?;
    Ok(made > 3 && RAN.load(SeqCst) as usize == made && refused == Some(Error(error::EAGAIN)))
}
