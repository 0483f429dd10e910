//! Files whose content is made when it is read, in pieces so that a long one never is in memory as a whole. A read at position 0 makes it
//! anew; one further on goes on with what was made, so that who reads in small steps reads whole pieces. And files whose content does
//! not change.

use alloc::boxed::Box;
use alloc::vec::Vec;

use mm::Errno;

use crate::arch::cpu::SpinLock;
use crate::heap::{Claim, Share};
use crate::task::file::{File, Stat};

/// A piece of a content, and what makes the next one.
pub type Piece = (Vec<u8>, u64);
/// Makes the piece that begins at a mark: the first at 0, the next where the one before has said. `None` at the end.
pub type Make = Box<dyn Fn(u64) -> Option<Piece> + Send + Sync>;
/// Takes what a program writes.
pub type Take = Box<dyn Fn(&[u8]) -> Result<(), Errno> + Send + Sync>;

/// Bytes of the heap that a file takes while it is open: the piece that was read last.
const LISTING: usize = 8 << 10;

/// A content of one piece.
pub fn whole(make: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Make {
    Box::new(move |mark| (mark == 0).then(|| (make(), 1)))
}

/// A file whose content is made when it is read.
pub struct Text {
    stat: Stat,
    make: Make,
    take: Option<Take>,
    made: SpinLock<Made>,
    _room: Claim,
}

/// The piece that was made last.
#[derive(Clone, Default)]
struct Made {
    /// Its position in the file.
    start: u64,
    bytes: Vec<u8>,
    /// What makes the next one.
    next: u64,
}

impl Made {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl Text {
    /// A file that `make` makes, and `take` takes what is written to.
    ///
    /// # Errors
    /// `ENFILE` if there are too many for the heap.
    pub fn new(stat: Stat, make: Make, take: Option<Take>) -> Result<Self, Errno> {
        let room = Share::Listings.claim(LISTING).ok_or(Errno::ENFILE)?;
        Ok(Self { stat, make, take, made: SpinLock::new(Made::default()), _room: room })
    }
}

impl File for Text {
    fn stat(&self) -> Stat {
        self.stat
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<usize, Errno> {
        // Made without the lock: it may have to wait for one of memory management.
        let mut made = core::mem::take(&mut *self.made.lock());
        if at == 0 || at < made.start {
            made = Made::default();
        }
        let mut done = 0;
        while done < into.len() {
            let at = at + done as u64;
            if at < made.end() {
                done += copy(&made.bytes, at - made.start, &mut into[done..]);
                continue;
            }
            let Some((bytes, next)) = (self.make)(made.next) else { break };
            made = Made { start: made.end(), bytes, next };
        }
        *self.made.lock() = made;
        Ok(done)
    }

    fn write(&self, _: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let take = self.take.as_ref().ok_or(Errno::EINVAL)?;
        take(bytes).map(|()| bytes.len())
    }

    fn end(&self) -> Option<u64> {
        Some(0)
    }
}

/// A file whose content does not change.
pub struct Bytes {
    /// What it is.
    pub stat: Stat,
    /// Its content.
    pub bytes: &'static [u8],
}

impl File for Bytes {
    fn stat(&self) -> Stat {
        self.stat
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<usize, Errno> {
        Ok(copy(self.bytes, at, into))
    }

    fn end(&self) -> Option<u64> {
        Some(self.bytes.len() as u64)
    }
}

/// Copies what there is from a position on; how much.
fn copy(bytes: &[u8], at: u64, into: &mut [u8]) -> usize {
    let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
    let count = rest.len().min(into.len());
    into[..count].copy_from_slice(&rest[..count]);
    count
}
