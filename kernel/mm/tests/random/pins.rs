//! A device that pins pages of programs, and reads and writes them later by where they are.
//!
//! As long as a page is mapped, device and program must see the same; a page of a file, as long as the file has it, whoever maps it. Where
//! a mapping has gone before the pin, what the device writes must stay what it reads, and nobody else may see it. What was cut off a file
//! it leaves alone: whether the file has that frame still, for the next time that it grows, depends on what is left of the folio.

use std::collections::{BTreeMap, BTreeSet};

use mm::fault::Access;
use mm::{Errno, Pinned};

use crate::checked::{Checked, Returned};
use crate::operation::Pages;
use crate::shadow::{FrameId, Places, Shadow};
use crate::source::SharedFile;
use crate::world::{PINS, WORDS, offset};

/// What a device has pinned, by number.
#[derive(Default)]
pub struct Pins<'b> {
    pins: [Option<Pin<'b>>; PINS],
    /// What it has written last to frames that no program maps any more.
    lost: BTreeMap<FrameId, [Option<u64>; WORDS]>,
    /// Frames that were cut off the file.
    cut_off: BTreeSet<FrameId>,
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

impl Pins<'_> {
    /// The file has lost these.
    pub fn cut_off(&mut self, frames: Vec<FrameId>) {
        self.cut_off.extend(frames);
    }
}

impl Checked<'_> {
    /// Pins pages of the space that runs under a number.
    pub fn pin(&mut self, number: usize, pages: Pages, access: Access) -> Result<Returned, String> {
        self.unpin(number);
        let there = self.there(pages);
        let (running, before) = (self.running, self.world.struck());
        let pinned = self.world.pin(running, pages, access);
        self.note_copies(pages);
        let there = self.there_since(pages, there);
        let right = if self.may_pin(pages, access, &there) { Ok(()) } else { Err(Errno::EFAULT) };
        let result = pinned.map(|pinned| {
            let frames = pages.iter().enumerate().map(|(index, page)| self.note_pin(&pinned, index, page)).collect();
            self.pins.pins[number] = Some(Pin { pinned, access, frames });
        });
        let excused = self.excuses(result, before);
        if result == right || excused { Ok(result) } else { Err(format!("returns {result:?} instead of {right:?}")) }
    }

    /// Whether the program itself may do that, where these pages are there, and none is huge.
    fn may_pin(&self, pages: Pages, access: Access, there: &Places) -> bool {
        let shadow = self.shadow();
        let is_huge = |page| shadow.page(page).is_some_and(|page| page.huge.is_some());
        let asks = |page| shadow.asks(page, access, there.contains(&page));
        pages.iter().all(|page| shadow.access(page, access).is_ok() && !asks(page) && !is_huge(page))
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
                self.file.borrow_mut().unpin(frame);
                self.pins.lost.remove(&frame);
                self.pins.cut_off.remove(&frame);
            }
        }
    }

    /// The device stores a value to a word of each page that it may write.
    pub fn device_write(&mut self, number: usize, value: u64) {
        let Self { pins: Pins { pins, lost, cut_off, .. }, shadows, file, .. } = self;
        let Some(pin) = pins[number].as_ref().filter(|pin| pin.access == Access::Write) else { return };
        let frames = (0..).zip(&pin.frames).filter_map(|(index, frame)| Some((index, (*frame)?)));
        for (index, frame) in frames.filter(|(_, frame)| !cut_off.contains(frame)) {
            let word = (index + 1) % WORDS;
            let value = value.wrapping_mul(2 * index as u64 + 1);
            pin.pinned.write(index, offset(word) as usize, &value.to_le_bytes());
            match Home::of(frame, shadows, file) {
                Home::File(page) => file.borrow_mut().words[page][word] = value,
                Home::Space(shadow, page) => shadow.store(page, word, value),
                Home::Nowhere => lost.entry(frame).or_default()[word] = Some(value),
            }
        }
    }

    /// The device loads each word of each page.
    pub fn device_read(&mut self, number: usize) -> Result<(), String> {
        let Self { pins: Pins { pins, lost, cut_off, .. }, shadows, file, .. } = self;
        let Some(pin) = &pins[number] else { return Ok(()) };
        for (index, word) in (0..pin.frames.len()).flat_map(|index| (0..WORDS).map(move |word| (index, word))) {
            let mut bytes = [0; 8];
            pin.pinned.read(index, offset(word) as usize, &mut bytes);
            let found = u64::from_le_bytes(bytes);
            let right = match pin.frames[index] {
                None => found == 0,
                Some(frame) if cut_off.contains(&frame) => true,
                Some(frame) => match Home::of(frame, shadows, file) {
                    Home::File(page) => file.borrow().words[page][word] == found,
                    Home::Space(shadow, page) => shadow.sees(page, word, found),
                    Home::Nowhere => lost.get(&frame).and_then(|words| words[word]).is_none_or(|last| last == found),
                },
            };
            if !right {
                return Err(format!("the device reads {found:#x} in word {word} of page {index}"));
            }
        }
        Ok(())
    }
}

/// Who sees what is in a pinned frame.
enum Home<'a> {
    /// Whoever maps this page of the file.
    File(usize),
    /// A program, at this page.
    Space(&'a mut Shadow, usize),
    /// The device alone.
    Nowhere,
}

impl<'a> Home<'a> {
    fn of(frame: FrameId, shadows: &'a mut [Option<Shadow>], file: &SharedFile) -> Self {
        if let Some(page) = file.borrow().page_of(frame) {
            return Self::File(page);
        }
        let found = shadows.iter_mut().flatten().find_map(|shadow| shadow.page_of(frame).map(|page| (shadow, page)));
        found.map_or(Self::Nowhere, |(shadow, page)| Self::Space(shadow, page))
    }
}
