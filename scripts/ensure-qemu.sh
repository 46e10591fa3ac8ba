#!/bin/sh
# Make sure that qemu-img and qemu-io are there: the tests and benchmarks compare with them.
set -eu

have_qemu() {
    command -v qemu-img >/dev/null 2>&1 && command -v qemu-io >/dev/null 2>&1
}

if have_qemu; then
    exit 0
fi

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing qemu-utils (qemu-img and qemu-io)..." >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends qemu-utils
fi

if ! have_qemu; then
    echo "qemu-img and qemu-io are missing: install them" \
        "(Debian and Ubuntu: apt-get install qemu-utils; Fedora: dnf install qemu-img;" \
        "Arch: pacman -S qemu-img; macOS: brew install qemu)." >&2
    exit 1
fi
