"""Bases that differ in version, cluster size, refcount width and allocation."""

from __future__ import annotations

import random
from pathlib import Path

from tests.corpus import qemu
from tests.corpus.base import GIB, KIB, MIB, BaseRegister, Recipe, plain

base = BaseRegister()

base("v3-64k", "what everybody has", "")(plain(64 * MIB, 64 * KIB, 40))
base("v2-64k", "the old version, made by compat=0.10", "v2")(
    plain(64 * MIB, 64 * KIB, 40, compat="0.10")
)
base("v3-512", "the smallest cluster: many tables, several refcount blocks", "multi-l2")(
    plain(MIB, 512, 220)
)
base("v2-512", "smallest cluster and old version", "v2 multi-l2")(
    plain(768 * KIB, 512, 70, compat="0.10")
)
base("v3-4k", "4 KiB clusters, several L2 tables", "multi-l2")(plain(8 * MIB, 4 * KIB, 80))
base("v3-2m", "the largest cluster", "")(plain(64 * MIB, 2 * MIB, 3))
base("refcount-1", "refcounts of one bit: nothing can be shared", "")(
    plain(32 * MIB, 64 * KIB, 40, refcount_bits=1)
)
base("refcount-2", "refcounts of two bits", "multi-l2")(
    plain(4 * MIB, 4 * KIB, 60, refcount_bits=2)
)
base("refcount-4", "refcounts of four bits", "multi-l2")(plain(512 * KIB, 512, 50, refcount_bits=4))
base("refcount-8", "refcounts of one byte", "")(plain(32 * MIB, 64 * KIB, 40, refcount_bits=8))
base("refcount-32", "refcounts of 32 bits", "multi-l2")(
    plain(4 * MIB, 4 * KIB, 60, refcount_bits=32)
)


@base("refcount-64", "refcounts of 64 bits: so many blocks that their table grew", "multi-l2")
def _refcount_64(path: Path, rng: random.Random) -> None:
    qemu.create(path, 4 * MIB, cluster_size=512, refcount_bits=64)
    qemu.io(path, [f"write -P 5 300k {2 * MIB}", *qemu.churn(rng, 4 * MIB, 512, 40)])


base("odd-size", "a virtual size that is no whole number of clusters", "multi-l2")(
    plain(5 * MIB + 1536, 4 * KIB, 60)
)


@base("empty", "nothing was ever written", "empty")
def _empty(path: Path, rng: random.Random) -> None:
    qemu.create(path, 64 * MIB)


@base("wide", "a terabyte with a few clusters here and there", "multi-l2")
def _wide(path: Path, rng: random.Random) -> None:
    qemu.create(path, 1024 * GIB)
    places = [rng.randrange(1024 * GIB // 65536) * 65536 for _ in range(8)]
    qemu.io(
        path, [f"write -P {i + 1} {place} {rng.randint(1, 300)}k" for i, place in enumerate(places)]
    )


@base("grown", "resized twice, so that the L1 table moved", "multi-l2")
def _grown(path: Path, rng: random.Random) -> None:
    qemu.create(path, MIB, cluster_size=512)
    qemu.io(path, qemu.churn(rng, MIB, 512, 30))
    for size in (3 * MIB, 8 * MIB):
        qemu.img("resize", "-q", "-f", "qcow2", path, str(size))
        qemu.io(path, qemu.churn(rng, size, 512, 30))


@base("shrunk", "cut to half its size", "multi-l2")
def _shrunk(path: Path, rng: random.Random) -> None:
    qemu.create(path, 8 * MIB, cluster_size=4096)
    qemu.io(path, qemu.churn(rng, 8 * MIB, 4096, 60))
    qemu.img("resize", "-q", "--shrink", "-f", "qcow2", path, str(4 * MIB))


@base("amended", "version 2 brought to version 3 with other refcounts, then used", "multi-l2")
def _amended(path: Path, rng: random.Random) -> None:
    qemu.create(path, 4 * MIB, cluster_size=4096, compat="0.10")
    qemu.io(path, qemu.churn(rng, 4 * MIB, 4096, 40))
    qemu.img("amend", "-f", "qcow2", "-o", "compat=1.1", path)
    qemu.img("amend", "-f", "qcow2", "-o", "refcount_bits=8", path)
    qemu.io(path, qemu.churn(rng, 4 * MIB, 4096, 20))


@base("zeroed", "written, then large ranges zeroed and discarded", "")
def _zeroed(path: Path, rng: random.Random) -> None:
    qemu.create(path, 16 * MIB)
    commands = ["write -P 7 0 8M"]
    for verb in ("write -z", "write -z -u", "discard", "write -z", "discard"):
        start = rng.randrange(100)
        commands.append(f"{verb} {start * 64}k {rng.randint(2, 20) * 64}k")
    qemu.io(path, commands)


def preallocated(mode: str) -> Recipe:
    """An image preallocated in `mode`, then written to here and there."""

    def recipe(path: Path, rng: random.Random) -> None:
        qemu.create(path, 6 * MIB, preallocation=mode)
        qemu.io(path, qemu.churn(rng, 6 * MIB, 65536, 10))

    return recipe


base("prealloc-metadata", "preallocation=metadata: tables are full, data is a hole", "")(
    preallocated("metadata")
)
base("prealloc-falloc", "preallocation=falloc", "")(preallocated("falloc"))
base("prealloc-full", "preallocation=full", "")(preallocated("full"))
