#!/bin/sh
# The one door to unfold: sets up what is missing, then hands over to xtask, which builds, boots and tests.
#   ./qemu-run.sh          the main job        ./qemu-run.sh test     every test        ./qemu-run.sh help     all the rest
# Only what xtask itself needs is looked for here: a cargo from 1.85 on, and a C linker.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

# Whether the cargo that "$1" names works, in this project, and is new enough.
usable() {
    minor=$(cd "$here" && "$1" --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p')
    [ -n "$minor" ] && [ "$minor" -ge 85 ]
}

choose_cargo() {
    if usable cargo; then
        cargo=cargo
    elif usable "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin/cargo"; then
        cargo=${CARGO_HOME:-${HOME:-/root}/.cargo}/bin/cargo
        PATH=$(dirname "$cargo"):$PATH
    elif usable /usr/bin/cargo; then
        # A cargo takes the first rustc on PATH, which may be rustup's.
        cargo=/usr/bin/cargo
        PATH=/usr/bin:$PATH
    else
        return 1
    fi
}

# Installs packages as root on Debian and Ubuntu after saying so; elsewhere says what to type. $1: what for, $2: names, $3: otherwise.
get() {
    if ! command -v apt-get >/dev/null; then
        echo "qemu-run: $1 is missing: $3" >&2
        exit 1
    elif [ "$(id -u)" != 0 ]; then
        echo "qemu-run: $1 is missing; type: sudo apt-get install $2   (or: $3)" >&2
        exit 1
    fi
    echo "qemu-run: $1 is missing; installing: apt-get install $2" >&2
    # A fresh machine has no lists of packages yet.
    apt-cache show "${2%% *}" >/dev/null 2>&1 || apt-get update -q >/dev/null || true
    # shellcheck disable=SC2086 # several names
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $2 >/dev/null
}

rust_packages() {
    [ "$(id -u)" != 0 ] || apt-get update -q >/dev/null 2>&1 || true
    if apt-cache show rustc-web >/dev/null 2>&1; then # Debian 12 keeps a newer Rust under this name
        echo "rustc-web cargo-web rust-web-src rustfmt-web rust-web-clippy"
    else
        echo "rustc cargo rust-src rustfmt rust-clippy"
    fi
}

rustup="install Rust 1.85 or newer, with rustup from https://rustup.rs"
if ! choose_cargo; then
    packages=
    command -v apt-get >/dev/null && packages=$(rust_packages)
    get "Rust (cargo 1.85 or newer)" "$packages" "$rustup"
    choose_cargo || { echo "qemu-run: the cargo of this distribution is too old; $rustup" >&2; exit 1; }
fi
command -v cc >/dev/null || get "a C linker" "gcc libc6-dev" "install gcc or clang"

# cargo and rustup read their files from the current directory on; xtask goes back to where it was called.
UNFOLD_DIRECTORY=$PWD
export PATH UNFOLD_DIRECTORY
cd "$here"
exec "$cargo" run --quiet --package xtask -- "$@"
