//! What a program's standard streams are: the UART, byte for byte.

use crate::dev::pl011;

/// Writes bytes as they are.
pub fn write(bytes: &[u8]) {
    pl011::write(bytes);
}

/// Reads what has come in, up to the length of `into`. Does not wait.
pub fn read(into: &mut [u8]) -> usize {
    let mut count = 0;
    while count < into.len() {
        let Some(byte) = pl011::read() else { break };
        into[count] = byte;
        count += 1;
    }
    count
}
