//! Pinned memory of processes that fork and end.

use user::check::Checks;
use user::process::{self, End};
use user::sys::{self, Error, PAGE, PROT_READ, PROT_WRITE};
use user::told::{self, FRAME, PRESENT};

use super::device::{Device, Memory, PAGES, request};

/// The checks.
pub const CHECKS: Checks = &[
    ("fork copies a pinned page for the child: what the device writes is the parent's", forked),
    ("fork copies a page that is pinned to be read as well", forked_read),
    ("a page that is shared is copied before it is pinned to be written", shared_write),
    ("a page that is shared is copied before it is pinned to be read", shared_read),
    ("a child that ends has unpinned its pages", ended),
    ("pages of a process that ended stay pinned as long as another has the device", inherited),
    ("a process that runs another program keeps its device, which keeps the old memory's pages", replaced),
];

/// A child that says when it is there, and does `work` when it is told to go on.
struct Child {
    number: u64,
    go: i32,
}

impl Child {
    fn new(work: impl FnOnce() -> bool) -> Result<Self, Error> {
        let ([wait, go], [ready, there]) = (process::pipe(0)?, process::pipe(0)?);
        let number = process::spawn(|| {
            let _ = (process::close(go), sys::write(there, b"!"));
            let _ = process::read(wait, &mut [0; 1]);
            u8::from(!work())
        })?;
        process::read(ready, &mut [0; 1])?;
        [wait, ready, there].into_iter().try_for_each(|end| process::close(end).map(drop))?;
        Ok(Self { number, go })
    }

    /// Lets it go on: whether its work was right.
    fn finish(self) -> Result<bool, Error> {
        process::close(self.go)?;
        Ok(process::wait_for(self.number)? == End::Exited(0))
    }
}

/// Whether a page is in memory, and in another frame than `word` of pagemap says.
fn is_elsewhere(memory: &Memory, page: u64, word: u64) -> bool {
    memory.told().is_ok_and(|told| {
        let own = told[page as usize];
        own & word & PRESENT != 0 && own & FRAME != word & FRAME
    })
}

fn forked() -> Result<bool, Error> {
    let memory = Memory::new()?;
    let device = Device::writing(memory.page(3), 2)?;
    let before = memory.told()?;
    let child = Child::new(|| {
        let is_copy = is_elsewhere(&memory, 3, before[3]) && is_elsewhere(&memory, 4, before[4]);
        let is_old = memory.is_whole_but(0, 0);
        memory.put(4, 400);
        is_copy && is_old
    })?;
    device.set_word(0, 30)?;
    memory.put(4, 40);
    let seen = memory.get(3) == 30 && device.word(1)? == 40;
    let right = child.finish()?;
    let stays = (3..5).all(|page| memory.told().is_ok_and(|told| told[page] & FRAME == before[page] & FRAME));
    Ok(seen && right && stays && device.word(1)? == 40 && memory.is_whole_but(3, 5))
}

fn forked_read() -> Result<bool, Error> {
    let memory = Memory::new()?;
    let device = Device::reading(memory.page(3), 1)?;
    let frame = memory.frame(3)?;
    let child = Child::new(|| memory.is_whole_but(0, 0))?;
    // Were it shared, this would go to a copy, and the device would not see it.
    memory.put(3, 30);
    let seen = device.word(0)? == 30 && memory.frame(3)? == frame;
    Ok(child.finish()? && seen)
}

fn shared_write() -> Result<bool, Error> {
    let memory = Memory::new()?;
    let before = memory.told()?;
    let child = Child::new(|| memory.is_whole_but(0, 0))?;
    let device = Device::writing(memory.page(3), 1)?;
    let copied = is_elsewhere(&memory, 3, before[3]) && !is_elsewhere(&memory, 4, before[4]);
    device.set_word(0, 30)?;
    let seen = memory.get(3) == 30;
    Ok(child.finish()? && copied && seen && memory.is_whole_but(3, 4))
}

fn shared_read() -> Result<bool, Error> {
    let memory = Memory::new()?;
    let before = memory.told()?;
    let child = Child::new(|| {
        memory.put(3, 31);
        memory.is_whole_but(3, 4)
    })?;
    let device = Device::reading(memory.page(3), 1)?;
    let copied = is_elsewhere(&memory, 3, before[3]) && device.word(0)? == 4;
    memory.put(3, 30);
    let seen = device.word(0)? == 30;
    Ok(child.finish()? && copied && seen && device.word(0)? == 30)
}

/// Bytes of memory whose frames are missed.
const MANY: u64 = 4 << 20;
/// Kilobytes of the kernel's own that come and go with processes.
const FEW: u64 = 512;

fn ended() -> Result<bool, Error> {
    let [before, _] = told::free();
    for _ in 0..3 {
        let child = process::spawn(|| {
            let pinned = sys::map(MANY, PROT_READ | PROT_WRITE).and_then(|at| Device::writing(at, MANY / PAGE));
            let is_pinned = pinned.is_ok();
            core::mem::forget(pinned);
            u8::from(!is_pinned)
        })?;
        if process::wait_for(child)? != End::Exited(0) {
            return Ok(false);
        }
    }
    let [after, _] = told::free();
    Ok(after + FEW > before)
}

fn inherited() -> Result<bool, Error> {
    let device = Device::open()?;
    let [before, _] = told::free();
    let child = process::spawn(|| {
        let pinned = sys::map(MANY, PROT_READ | PROT_WRITE)
            .and_then(|at| device.pin(request::PIN_TO_WRITE, at, MANY).map(|_| at));
        // SAFETY: a word of a map of our own.
        let put = pinned.map(|at| unsafe { ((at + 5 * PAGE) as *mut u64).write_volatile(55) });
        u8::from(put.is_err())
    })?;
    let right = process::wait_for(child)? == End::Exited(0);
    let [with, _] = told::free();
    let kept = device.word(5)? == 55 && with < before - (MANY >> 10) + FEW;
    device.set_word(5, 56)?;
    let written = device.word(5)? == 56;
    device.unpin()?;
    let [after, _] = told::free();
    Ok(right && kept && written && after + FEW > before)
}

fn replaced() -> Result<bool, Error> {
    let device = Device::open()?;
    let memory = Memory::new()?;
    let child = process::spawn(|| {
        let pinned = device.pin(request::PIN_TO_WRITE, memory.address, PAGES * PAGE);
        if pinned.is_ok() {
            let _ = process::execute(c"/bin/hello", &[c"hello"]);
        }
        1
    })?;
    let right = process::wait_for(child)? == End::Exited(0);
    device.set_word(3, 30)?;
    // It was the child's copy.
    Ok(right && device.word(3)? == 30 && device.word(4)? == 5 && memory.is_whole_but(0, 0))
}
