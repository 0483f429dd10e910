//! The host side.
fn main() {}
