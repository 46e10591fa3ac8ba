#!/bin/sh
# Make sure that the tools are there which the tests and benchmarks judge by: the tools of QEMU,
# without which nothing can be said, and with --all the shells, formatters and the browser that
# few tests need.
set -eu

all_of() {
    for tool in "$@"; do
        command -v "$tool" >/dev/null 2>&1 || return 1
    done
}

install() {
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Installing $*..." >&2
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
    fi
}

all_of qemu-img qemu-io || install qemu-utils
all_of qemu-storage-daemon || install qemu-system-common
if ! all_of qemu-img qemu-io qemu-storage-daemon; then
    echo "qemu-img, qemu-io and qemu-storage-daemon are not all there: install them" \
        "(Debian and Ubuntu: apt-get install qemu-utils qemu-system-common;" \
        "Fedora: dnf install qemu-img; Arch: pacman -S qemu-img qemu-storage-daemon;" \
        "macOS: brew install qemu)." >&2
    exit 1
fi

if [ "${1:-}" = --all ] && ! all_of chattr; then
    install e2fsprogs
fi
if [ "${1:-}" = --all ] && ! all_of zsh fish groff mandoc chromium; then
    install zsh fish groff mandoc chromium
    all_of zsh fish groff mandoc chromium ||
        echo "zsh, fish, groff, mandoc and chromium are not all there:" \
            "tests that need them are skipped." >&2
fi
