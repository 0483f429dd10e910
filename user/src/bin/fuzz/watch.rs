//! userfaultfd: memory is watched, over anonymous memory, files and huge pages, and whoever sleeps is answered, by chance.

use user::process::NONBLOCK;
use user::sys::{PAGE, number};

use super::calls::call;
use super::child::Child;

/// Requests, with Linux's numbers.
mod request {
    pub const API: u64 = 0xC018_AA3F;
    pub const REGISTER: u64 = 0xC020_AA00;
    pub const UNREGISTER: u64 = 0x8010_AA01;
    pub const WAKE: u64 = 0x8010_AA02;
    pub const COPY: u64 = 0xC028_AA03;
    pub const ZEROPAGE: u64 = 0xC020_AA04;
    pub const WRITEPROTECT: u64 = 0xC018_AA06;
}

/// Makes one call.
pub fn make_one(child: &mut Child) {
    if child.random.once_in(4) {
        return open(child);
    }
    let descriptor = child.file();
    if child.random.once_in(3) {
        return answer(child, descriptor);
    }
    let ((start, length), (from, _)) = (child.range(), child.range());
    let mode = child.random.below(4);
    let _ = match child.random.below(12) {
        0..=3 => ask(descriptor, request::REGISTER, [start, length, mode, 0, 0]),
        4 => ask(descriptor, request::UNREGISTER, [start, length, 0, 0, 0]),
        5 => ask(descriptor, request::WAKE, [start, length, 0, 0, 0]),
        6 | 7 => ask(descriptor, request::COPY, [start, from, length, mode, 0]),
        8 => ask(descriptor, request::ZEROPAGE, [start, length, mode, 0, 0]),
        9 | 10 => ask(descriptor, request::WRITEPROTECT, [start, length, mode, 0, 0]),
        _ => ask(descriptor, child.random.number(), [start, length, mode, 0, 0]),
    };
}

/// A new descriptor, mostly for what the program itself touches alone, as nobody may answer for what the kernel does.
fn open(child: &mut Child) {
    const USER_MODE_ONLY: u64 = 1;
    let mode = child.random.one(&[USER_MODE_ONLY, USER_MODE_ONLY, 0]);
    if let Ok(descriptor) = call(number::USERFAULTFD, [NONBLOCK | mode, 0, 0, 0, 0, 0]) {
        let _ = ask(descriptor, request::API, [0xAA, 0, 0, 0, 0]);
        child.remember_file(descriptor);
    }
}

fn ask(descriptor: u64, request: u64, mut words: [u64; 5]) -> Result<u64, user::sys::Error> {
    call(number::IOCTL, [descriptor, request, words.as_mut_ptr().addr() as u64, 0, 0, 0])
}

/// Does about the next message what may be done about it.
fn answer(child: &mut Child, descriptor: u64) {
    let mut message = [0u64; 4];
    let to = message.as_mut_ptr().addr() as u64;
    if call(number::READ, [descriptor, to, 32, 0, 0, 0]) != Ok(32) {
        return;
    }
    let (start, length) = (message[2] & !(PAGE - 1), PAGE * child.random.one(&[1, 1, 16]));
    let (from, _) = child.range();
    let _ = match child.random.below(4) {
        0 => ask(descriptor, request::COPY, [start, from & !(PAGE - 1), length, child.random.below(4), 0]),
        1 => ask(descriptor, request::ZEROPAGE, [start, length, 0, 0, 0]),
        2 => ask(descriptor, request::WRITEPROTECT, [start, length, 0, 0, 0]),
        _ => ask(descriptor, request::UNREGISTER, [start, length, 0, 0, 0]),
    };
    let _ = ask(descriptor, request::WAKE, [start, length, 0, 0, 0]);
}
