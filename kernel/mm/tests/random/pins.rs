//! A device that pins pages of programs, and reads and writes them later by where they are.
//!
//! As long as a page is mapped, device and program must see the same. Where the mapping has gone before the pin, what the device writes
//! must stay what it reads, and nobody else may see it.

use std::collections::BTreeMap;

use mm::fault::Access;
use mm::{Errno, Pinned};

use crate::checked::{Checked, Returned};
use crate::operation::Pages;
use crate::shadow::{FrameId, Shadow};
use crate::world::{PINS, WORDS, offset};

/// What a device has pinned, by number.
#[derive(Default)]
pub struct Pins<'b> {
    pins: [Option<Pin<'b>>; PINS],
    /// What it has written last to frames that no program maps any more.
    lost: BTreeMap<FrameId, [Option<u64>; WORDS]>,
    /// Frames that it has pinned so far.
    frames: FrameId,
}

/// Pages that were pinned together.
struct Pin<'b> {
    pinned: Pinned<'b>,
    access: Access,
    /// `None` for the zero page, which a write of the program's replaces.
    frames: Vec<Option<FrameId>>,
}

impl Pin<'_> {
    fn has(&self, frame: FrameId) -> bool {
        self.frames.contains(&Some(frame))
    }
}

impl Checked<'_> {
    /// Pins pages of the space that runs under a number. None of a file: several maps see what is written to its pages, and it may lose
    /// them, which shadows do not follow.
    pub fn pin(&mut self, number: usize, pages: Pages, access: Access) -> Result<Returned, String> {
        self.unpin(number);
        if self.shadow().has_page_of_file(pages) {
            return Ok(Ok(()));
        }
        let there = self.there(pages);
        let asks = |page| self.shadow().asks(page, access, there.contains(&page));
        let is_huge = |page| self.shadow().page(page).is_some_and(|page| page.huge.is_some());
        let is_allowed = |page| self.shadow().access(page, access).is_ok() && !asks(page) && !is_huge(page);
        let allowed = pages.iter().all(is_allowed);
        let right = if allowed { Ok(()) } else { Err(Errno::EFAULT) };
        let before = self.world.struck();
        let result = self.world.pin(self.running, pages, access).map(|pinned| {
            let frames = pages.iter().enumerate().map(|(index, page)| self.note_pin(&pinned, index, page)).collect();
            self.pins.pins[number] = Some(Pin { pinned, access, frames });
        });
        let excused = self.excuses(result, before);
        if result == right || excused { Ok(result) } else { Err(format!("returns {result:?} instead of {right:?}")) }
    }

    fn note_pin(&mut self, pinned: &Pinned<'_>, index: usize, page: usize) -> Option<FrameId> {
        if pinned.frame(index) == self.world.memory.zero_frame() {
            return None;
        }
        self.pins.frames += 1;
        let new = self.pins.frames;
        Some(self.shadow_mut().pin(page, new))
    }

    /// Takes the pins of a number off, if there are any.
    pub fn unpin(&mut self, number: usize) {
        let Some(Pin { pinned, frames, .. }) = self.pins.pins[number].take() else { return };
        pinned.unpin();
        for frame in frames.into_iter().flatten() {
            if !self.pins.pins.iter().flatten().any(|pin| pin.has(frame)) {
                self.shadows.iter_mut().flatten().for_each(|shadow| shadow.unpin(frame));
                self.pins.lost.remove(&frame);
            }
        }
    }

    /// The device stores a value to a word of each page that it may write.
    pub fn device_write(&mut self, number: usize, value: u64) {
        let Self { pins, shadows, .. } = self;
        let Some(pin) = pins.pins[number].as_ref().filter(|pin| pin.access == Access::Write) else { return };
        for (index, frame) in (0..).zip(&pin.frames).filter_map(|(index, frame)| Some((index, (*frame)?))) {
            let word = (index + 1) % WORDS;
            let value = value.wrapping_mul(2 * index as u64 + 1);
            pin.pinned.write(index, offset(word) as usize, &value.to_le_bytes());
            match page_of(shadows, frame) {
                Some((shadow, page)) => shadow.store(page, word, value),
                None => pins.lost.entry(frame).or_default()[word] = Some(value),
            }
        }
    }

    /// The device loads each word of each page.
    pub fn device_read(&mut self, number: usize) -> Result<(), String> {
        let Self { pins, shadows, .. } = self;
        let Some(pin) = &pins.pins[number] else { return Ok(()) };
        for (index, word) in (0..pin.frames.len()).flat_map(|index| (0..WORDS).map(move |word| (index, word))) {
            let mut bytes = [0; 8];
            pin.pinned.read(index, offset(word) as usize, &mut bytes);
            let found = u64::from_le_bytes(bytes);
            let right = match pin.frames[index] {
                None => found == 0,
                Some(frame) => match page_of(shadows, frame) {
                    Some((shadow, page)) => shadow.sees(page, word, found),
                    None => pins.lost.get(&frame).and_then(|words| words[word]).is_none_or(|last| last == found),
                },
            };
            if !right {
                return Err(format!("the device reads {found:#x} in word {word} of page {index}"));
            }
        }
        Ok(())
    }
}

/// The page that a program has in a pinned frame.
fn page_of(shadows: &mut [Option<Shadow>], frame: FrameId) -> Option<(&mut Shadow, usize)> {
    shadows.iter_mut().flatten().find_map(|shadow| shadow.page_of(frame).map(|page| (shadow, page)))
}
