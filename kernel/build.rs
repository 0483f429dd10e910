//! Gives the linker script to the kernel's link, and only to that: on the host the crate is an ordinary one. Tells the kernel which
//! compiler builds it, as its figures depend on that.

fn main() {
    println!("cargo::rerun-if-changed=../linker.ld");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=COMPILER={}", compiler());
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let script = std::path::Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../linker.ld");
        println!("cargo::rustc-link-arg-bins=-T{}", script.display());
        println!("cargo::rustc-link-arg-bins=--build-id=none");
    }
}

fn compiler() -> String {
    let output = std::process::Command::new(std::env::var("RUSTC").unwrap()).arg("--version").output();
    output.map_or_else(|_| "rustc".into(), |output| String::from_utf8_lossy(&output.stdout).trim().into())
}
