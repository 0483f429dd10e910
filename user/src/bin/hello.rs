//! `hello [ARGUMENT]...`: says hello and prints its arguments, one a line.

#![cfg_attr(target_os = "none", no_std, no_main)]

user::program!(program::main);

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
