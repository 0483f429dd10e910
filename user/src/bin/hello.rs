//! `hello [ARGUMENT]...`: says hello and prints its arguments, one a line.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
user::program!(program::main);

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod program {
    use user::args::Args;
    use user::println;

    pub fn main(args: &Args) -> u8 {
        println!("hello from EL0");
        for argument in args.iter() {
            println!("{argument}");
        }
        0
    }
}
