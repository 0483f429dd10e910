//! Gives the linker what an ordinary arm64 Linux program has: the usual address, and segments on pages of their own.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    for argument in [
        "--image-base=0x400000",
        // No two segments share a page, in memory or in the file: each has its own permissions, exactly.
        "-zseparate-loadable-segments",
        "-zmax-page-size=4096",
        "-znoexecstack",
        "-znognustack",
        "--no-eh-frame-hdr",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
